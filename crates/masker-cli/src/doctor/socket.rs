//! The socket: only the intended users can connect, because a connection can request every value.

use std::path::Path;

use nix::unistd::Group;

use super::{
    directory::hidden,
    files::{FileFacts, FileKind, PathStatus, group_name},
    finding::Finding,
};
use masker_config::ServerConfig;

/// The facts about the daemon's socket.
#[derive(Debug)]
pub(super) struct SocketFacts {
    socket: PathStatus,
    directory: PathStatus,
    /// The number of the configured group, if there is one. The error is empty if the group does not exist.
    group: Option<Result<u32, String>>,
}

/// Examines the socket and its directory.
pub(super) fn gather(server: &ServerConfig) -> SocketFacts {
    let group = server.socket_group.as_deref().map(|name| {
        let group = Group::from_name(name).map_err(|error| error.to_string());
        name.parse().or_else(|_| group?.map(|group| group.gid.as_raw()).ok_or_else(String::new))
    });
    SocketFacts { socket: PathStatus::at(&server.socket), directory: PathStatus::at(directory(&server.socket)), group }
}

fn directory(socket: &Path) -> &Path {
    socket.parent().unwrap_or(Path::new("/"))
}

/// Returns the findings of every check of the socket.
pub(super) fn judge(facts: &SocketFacts, server: &ServerConfig) -> Vec<Finding> {
    let mut findings = group(facts, server);
    findings.extend(folder(&facts.directory, directory(&server.socket)));
    match &facts.socket {
        PathStatus::Missing => {
            findings
                .push(Finding::ok("socket.mode", format!("{} does not exist: no daemon is running", shown(server))));
        }
        PathStatus::Hidden(why) => findings.push(hidden("socket.mode", &server.socket, why)),
        PathStatus::Present(file) => findings.extend(mode(file, facts, server)),
    }
    findings
}

fn shown(server: &ServerConfig) -> String {
    server.socket.display().to_string()
}

/// `socket.group`: the configured group exists.
fn group(facts: &SocketFacts, server: &ServerConfig) -> Vec<Finding> {
    let name = server.socket_group.as_deref().unwrap_or_default();
    match &facts.group {
        None => Vec::new(),
        Some(Ok(_)) => vec![Finding::ok("socket.group", format!("the group `{name}` may connect"))],
        Some(Err(why)) if why.is_empty() => {
            let found = format!("the group `{name}` of `[server] socket_group` does not exist");
            vec![Finding::error("socket.group", found, format!("groupadd --system {name}"))]
        }
        Some(Err(why)) => {
            let found = format!("failed to look up the group `{name}`: {why}");
            vec![Finding::warning("socket.group", found, format!("getent group {name}"))]
        }
    }
}

/// `socket.directory`: no other user can replace the socket.
fn folder(status: &PathStatus, path: &Path) -> Vec<Finding> {
    let shown = path.display();
    match status {
        PathStatus::Missing => {
            vec![Finding::ok("socket.directory", format!("{shown} does not exist yet: it is created with the socket"))]
        }
        PathStatus::Hidden(why) => vec![hidden("socket.directory", path, why)],
        // In a sticky directory users cannot remove the files of others, but they can create the socket first.
        PathStatus::Present(FileFacts { mode, .. }) if mode & 0o022 != 0 => {
            let found = format!(
                "{shown} has mode {mode:04o}: other users can put their own socket there and receive its requests"
            );
            vec![Finding::error("socket.directory", found, format!("chmod go-w {shown}, or configure another path"))]
        }
        PathStatus::Present(_) => vec![Finding::ok("socket.directory", format!("no other user can write to {shown}"))],
    }
}

/// `socket.mode`: only the configured users can connect.
fn mode(file: &FileFacts, facts: &SocketFacts, server: &ServerConfig) -> Vec<Finding> {
    let (shown, mode) = (shown(server), file.mode);
    if file.kind != FileKind::Socket {
        let remedy = "move it away, or configure another path (`[server] socket`)";
        return vec![Finding::error("socket.mode", format!("{shown} is not a socket"), remedy)];
    }
    if mode & 0o002 != 0 {
        let found = format!("{shown} has mode {mode:04o}: every user of this host can connect and request every value");
        let remedy = "restart the daemon; under systemd, `SocketMode=0660` in masker.socket";
        return vec![Finding::error("socket.mode", found, remedy)];
    }
    let mut findings = Vec::new();
    if mode & 0o777 != server.socket_mode {
        let found = format!("{shown} has mode {mode:04o}, but {:04o} is configured", server.socket_mode);
        let remedy = "restart the daemon; under systemd the mode is `SocketMode=` in masker.socket";
        findings.push(Finding::warning("socket.mode", found, remedy));
    }
    if let Some(Ok(gid)) = facts.group
        && gid != file.gid
    {
        let name = server.socket_group.as_deref().unwrap_or_default();
        let found = format!("{shown} belongs to the group {}, but `{name}` is configured", group_name(file.gid));
        let remedy = "restart the daemon; under systemd the group is `SocketGroup=` in masker.socket";
        findings.push(Finding::warning("socket.mode", found, remedy));
    }
    if findings.is_empty() {
        let whose = if mode & 0o020 == 0 { "only its owner".to_owned() } else { group_name(file.gid) };
        findings.push(Finding::ok("socket.mode", format!("{shown} has mode {mode:04o}: {whose} may connect")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    fn server(group: Option<&str>) -> ServerConfig {
        ServerConfig {
            socket: std::path::PathBuf::from("/run/masker/masker.sock"),
            socket_mode: 0o660,
            socket_group: group.map(str::to_owned),
            head_timeout_seconds: 1,
            body_timeout_seconds: 1,
            write_timeout_seconds: 1,
        }
    }

    fn facts(kind: FileKind, mode: u32) -> PathStatus {
        PathStatus::Present(FileFacts { kind, mode, uid: 1, gid: 70_000, modified: None })
    }

    fn statuses(
        socket: PathStatus,
        directory: PathStatus,
        group: Option<Result<u32, String>>,
    ) -> Vec<(&'static str, Severity)> {
        let server = server(group.is_some().then_some("masker"));
        let findings = judge(&SocketFacts { socket, directory, group }, &server);
        findings.iter().map(|finding| (finding.id, finding.status)).collect()
    }

    #[test]
    fn judges_the_socket_and_its_directory() {
        use Severity::{Error, Ok, Warning};
        let sound = || facts(FileKind::Directory, 0o755);
        let on = |status, group| statuses(status, sound(), group).pop().unwrap();
        assert_eq!(on(facts(FileKind::Socket, 0o660), None), ("socket.mode", Ok));
        assert_eq!(on(PathStatus::Missing, None), ("socket.mode", Ok));
        assert_eq!(on(facts(FileKind::Socket, 0o666), None), ("socket.mode", Error));
        assert_eq!(on(facts(FileKind::Socket, 0o600), None), ("socket.mode", Warning));
        assert_eq!(on(facts(FileKind::Regular, 0o660), None), ("socket.mode", Error));
        assert_eq!(on(facts(FileKind::Socket, 0o660), Some(Result::Ok(70_000))), ("socket.mode", Ok));
        assert_eq!(on(facts(FileKind::Socket, 0o660), Some(Result::Ok(70_001))), ("socket.mode", Warning));
        assert_eq!(statuses(PathStatus::Missing, sound(), Some(Err(String::new())))[0], ("socket.group", Error));
        assert_eq!(statuses(PathStatus::Missing, sound(), Some(Err("x".to_owned())))[0], ("socket.group", Warning));
        for mode in [0o777, 0o775, 0o1777] {
            let found = statuses(PathStatus::Missing, facts(FileKind::Directory, mode), None);
            assert_eq!(found[0], ("socket.directory", Error), "{mode:o}");
        }
        assert_eq!(statuses(PathStatus::Missing, PathStatus::Missing, None)[0], ("socket.directory", Ok));
        assert_eq!(statuses(PathStatus::Hidden("x".to_owned()), sound(), None)[1], ("socket.mode", Warning));
    }

    #[test]
    fn looks_up_groups_by_name_and_number() {
        let group = |name| gather(&server(Some(name))).group.unwrap();
        assert_eq!(group("0"), Ok(0));
        assert_eq!(group("root"), Ok(0));
        assert_eq!(group("no-such-group"), Err(String::new()));
    }
}
