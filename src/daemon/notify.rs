//! Notifications to systemd (sd_notify(3)), through a socket that is connected before the sandbox refuses connections.

use std::{
    env,
    ffi::OsStr,
    fmt::Write,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::OnceLock,
};

use sd_notify::NotifyState;
use tracing::warn;

/// The connection to the service manager that started the process.
static MANAGER: OnceLock<UnixDatagram> = OnceLock::new();

/// Connects to systemd if it listens. A failure is only logged. Call this before the sandbox is closed.
pub(super) fn connect_to_manager() {
    let Some(address) = env::var_os("NOTIFY_SOCKET") else { return };
    match connected(&address) {
        Ok(socket) => drop(MANAGER.set(socket)),
        Err(error) => warn!(%error, "failed to connect to systemd for notifications"),
    }
}

/// Notifies systemd if it listens. A failure is only logged.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    let Some(manager) = MANAGER.get() else { return };
    let mut message = String::new();
    for state in states {
        // Writing to a string does not fail.
        let _ = writeln!(message, "{state}");
    }
    if let Err(error) = manager.send(message.as_bytes()) {
        warn!(%error, "failed to notify systemd");
    }
}

/// Notifies systemd that a reload begins. It requires the time; without one, the reload is reported all the same.
pub(super) fn notify_reloading() {
    let now = NotifyState::monotonic_usec_now().unwrap_or(NotifyState::MonotonicUsec(0));
    notify(&[NotifyState::Reloading, now]);
}

/// Connects to an address as `NOTIFY_SOCKET` gives it: a path, or `@` and an abstract name.
fn connected(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn connects_to_paths_and_to_abstract_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("masker-notify-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (address, receiver) in [(path.into_os_string(), by_path), (format!("@{name}").into(), by_name)] {
            connected(&address).unwrap().send(b"READY=1\n").unwrap();
            let mut buffer = [0; 16];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\n");
        }
        assert!(connected(OsStr::new("/masker/no-such-socket")).is_err());
    }
}
