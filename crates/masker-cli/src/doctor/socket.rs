//! The socket: whoever can write to it can ask for every value.

use std::path::Path;

use nix::unistd::Group;

use super::{
    Finding,
    files::{FileFacts, FileKind, PathStatus, group_name},
    hidden,
};
use masker_config::ServerConfig;

/// What is found where the daemon listens.
#[derive(Debug)]
pub(super) struct SocketFacts {
    socket: PathStatus,
    directory: PathStatus,
    /// The number of the configured group, where one is configured.
    group: Option<Result<u32, String>>,
}

/// Looks at the socket and its directory.
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

/// Every check of the socket.
pub(super) fn judge(place: &SocketFacts, server: &ServerConfig) -> Vec<Finding> {
    let mut findings = group(place, server);
    findings.extend(folder(&place.directory, directory(&server.socket)));
    match &place.socket {
        PathStatus::Missing => {
            findings.push(Finding::ok("socket.mode", format!("{} is not there: no daemon serves", shown(server))));
        }
        PathStatus::Hidden(why) => findings.push(hidden("socket.mode", &server.socket, why)),
        PathStatus::There(facts) => findings.extend(mode(facts, place, server)),
    }
    findings
}

fn shown(server: &ServerConfig) -> String {
    server.socket.display().to_string()
}

/// `socket.group`: the configured group is there.
fn group(place: &SocketFacts, server: &ServerConfig) -> Vec<Finding> {
    let name = server.socket_group.as_deref().unwrap_or_default();
    match &place.group {
        None => Vec::new(),
        Some(Ok(_)) => vec![Finding::ok("socket.group", format!("the group `{name}` may connect"))],
        Some(Err(why)) if why.is_empty() => {
            let found = format!("this host has no group `{name}`, which `[server] socket_group` names");
            vec![Finding::error("socket.group", found, format!("groupadd --system {name}"))]
        }
        Some(Err(why)) => {
            let found = format!("the group `{name}` could not be looked up: {why}");
            vec![Finding::warning("socket.group", found, format!("getent group {name}"))]
        }
    }
}

/// `socket.directory`: nobody else can put another socket in the place of this one.
fn folder(look: &PathStatus, path: &Path) -> Vec<Finding> {
    let shown = path.display();
    match look {
        PathStatus::Missing => {
            vec![Finding::ok(
                "socket.directory",
                format!("{shown} is not there yet: whoever makes the socket makes it"),
            )]
        }
        PathStatus::Hidden(why) => vec![hidden("socket.directory", path, why)],
        // Of a sticky directory nobody takes others' files away, but whoever comes first makes the socket.
        PathStatus::There(FileFacts { mode, .. }) if mode & 0o022 != 0 => {
            let found =
                format!("{shown} has mode {mode:04o}: others can put a socket of theirs there, and be asked instead");
            vec![Finding::error("socket.directory", found, format!("chmod go-w {shown}, or configure another path"))]
        }
        PathStatus::There(_) => vec![Finding::ok("socket.directory", format!("nobody else can write to {shown}"))],
    }
}

/// `socket.mode`: those may connect who are meant to, and nobody else.
fn mode(facts: &FileFacts, place: &SocketFacts, server: &ServerConfig) -> Vec<Finding> {
    let (shown, mode) = (shown(server), facts.mode);
    if facts.kind != FileKind::Socket {
        let remedy = "move it away, or configure another path (`[server] socket`)";
        return vec![Finding::error("socket.mode", format!("{shown} is no socket"), remedy)];
    }
    if mode & 0o002 != 0 {
        let found = format!("{shown} has mode {mode:04o}: every user of this host can connect and ask for every value");
        let remedy = "restart the daemon; under systemd, `SocketMode=0660` in masker.socket";
        return vec![Finding::error("socket.mode", found, remedy)];
    }
    let mut findings = Vec::new();
    if mode & 0o777 != server.socket_mode {
        let found = format!("{shown} has mode {mode:04o}, and {:04o} is configured", server.socket_mode);
        let remedy = "restart the daemon; under systemd the mode is `SocketMode=` in masker.socket";
        findings.push(Finding::warning("socket.mode", found, remedy));
    }
    if let Some(Ok(gid)) = place.group
        && gid != facts.gid
    {
        let name = server.socket_group.as_deref().unwrap_or_default();
        let found = format!("{shown} is of the group {}, and `{name}` is configured", group_name(facts.gid));
        let remedy = "restart the daemon; under systemd the group is `SocketGroup=` in masker.socket";
        findings.push(Finding::warning("socket.mode", found, remedy));
    }
    if findings.is_empty() {
        let whose = if mode & 0o020 == 0 { "its owner alone".to_owned() } else { group_name(facts.gid) };
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
        PathStatus::There(FileFacts { kind, mode, uid: 1, gid: 70_000, modified: None })
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
    fn each_fault_of_a_socket_is_found() {
        use Severity::{Error, Ok, Warning};
        let sound = || facts(FileKind::Directory, 0o755);
        let on = |look, group| statuses(look, sound(), group).pop().unwrap();
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
    fn groups_are_looked_up_by_name_and_number() {
        let group = |name| gather(&server(Some(name))).group.unwrap();
        assert_eq!(group("0"), Ok(0));
        assert_eq!(group("root"), Ok(0));
        assert_eq!(group("no-such-group"), Err(String::new()));
    }
}
