//! The socket that the daemon listens on.

use listenfd::ListenFd;
use nix::unistd::Group;

use super::start_error::StartError;
use masker_config::Config;
use masker_http::{Socket, SocketOptions};

/// Returns the socket inherited from systemd, or binds one.
///
/// # Errors
/// The inherited socket is of another type, or the configured one cannot be bound.
pub(super) fn open(config: &Config) -> Result<Socket, StartError> {
    let inherited = ListenFd::from_env().take_unix_listener(0).map_err(|error| {
        format!(
            "the inherited socket is not a listening Unix stream socket: {error}; see `ListenStream=` in masker.socket"
        )
    })?;
    if let Some(listener) = inherited {
        return Ok(Socket::from_inherited(listener)?);
    }
    let server = &config.server;
    let group = server.socket_group.as_deref().map(group_id).transpose()?;
    Ok(Socket::bind(&SocketOptions { path: server.socket.clone(), mode: server.socket_mode, group })?)
}

/// Returns the gid of a group given by name or number.
fn group_id(name: &str) -> Result<u32, StartError> {
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(format!(
            "there is no group `{name}` on this host; create it with `groupadd --system {name}`, or change `[server] \
             socket_group`"
        )
        .into()),
        Err(error) => Err(format!("failed to look up the group `{name}`: {error}").into()),
    }
}
