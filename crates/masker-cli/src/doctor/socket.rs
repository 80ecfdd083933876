//! The socket: only the intended users can connect, because a connection can request every value.

use std::path::Path;

use nix::unistd::Group;

use super::{
    directory::hidden,
    files::{FileFacts, FileType, PathStatus, group_name, user_name},
    finding::Finding,
    finding_id::FindingId,
    units::ServiceUser,
};
use crate::key_files::quoted;
use masker_config::ServerConfig;

/// The facts about the daemon's socket.
#[derive(Debug)]
pub(super) struct SocketFacts {
    socket: PathStatus,
    directory: PathStatus,
    /// The number of the configured group, if there is one. The error is empty if the group does not exist.
    group: Option<Result<u32, String>>,
    /// Whether systemd makes the socket, with the mode and the group of its own unit.
    by_systemd: bool,
}

/// Examines the socket and its directory. `by_systemd` is the path of the socket that systemd makes.
pub(super) fn gather(server: &ServerConfig, by_systemd: Option<&Path>) -> SocketFacts {
    let group = server.socket_group.as_deref().map(|name| {
        let group = Group::from_name(name).map_err(|error| error.to_string());
        name.parse().or_else(|_| group?.map(|group| group.gid.as_raw()).ok_or_else(String::new))
    });
    SocketFacts {
        socket: PathStatus::at(&server.socket),
        directory: PathStatus::at(directory(&server.socket)),
        group,
        by_systemd: by_systemd == Some(&*server.socket),
    }
}

fn directory(socket: &Path) -> &Path {
    socket.parent().unwrap_or(Path::new("/"))
}

/// Returns the findings of every check of the socket.
pub(super) fn judge(facts: &SocketFacts, server: &ServerConfig, runs_as: &ServiceUser) -> Vec<Finding> {
    let mut findings = group(facts, server);
    findings.push(folder(&facts.directory, directory(&server.socket), runs_as));
    match &facts.socket {
        PathStatus::Missing => {
            let found = format!("{} does not exist: no daemon serves on it", shown(server));
            findings.push(Finding::not_checked("socket.mode", found, "start the daemon, and run doctor again"));
        }
        PathStatus::Hidden(why) => findings.push(hidden("socket.mode", &server.socket, why)),
        PathStatus::Present(file) => findings.extend(mode(file, facts, server, runs_as)),
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
        Some(Err(why)) if why.is_empty() && facts.by_systemd => {
            let found = format!(
                "the group `{name}` of `[server] socket_group` does not exist, and is not used: systemd makes the socket, with the \
                 group of its own unit"
            );
            vec![Finding::ok("socket.group", found)]
        }
        Some(Err(why)) if why.is_empty() => {
            let found = format!("the group `{name}` of `[server] socket_group` does not exist");
            let remedy = format!("`groupadd --system {name}` as root, or correct `[server] socket_group`");
            vec![Finding::error("socket.group", FindingId::SocketGroupMissing, found, remedy)]
        }
        Some(Err(why)) => {
            let found = format!("failed to look up the group `{name}`: {why}");
            vec![Finding::not_checked(
                "socket.group",
                found,
                format!("`getent group {name}` shows whether the group database answers"),
            )]
        }
    }
}

/// `socket.directory`: no other user can replace the socket.
fn folder(status: &PathStatus, path: &Path, runs_as: &ServiceUser) -> Finding {
    const CHECK: &str = "socket.directory";
    let shown = path.display();
    let facts = match status {
        PathStatus::Missing => {
            return Finding::ok(CHECK, format!("{shown} does not exist yet: it is created with the socket"));
        }
        PathStatus::Hidden(why) => return hidden(CHECK, path, why),
        PathStatus::Present(facts) => facts,
    };
    let mode = facts.mode;
    if mode & 0o022 != 0 {
        let found =
            format!("{shown} has mode {mode:04o}: other users can put their own socket there and receive its requests");
        // In a sticky directory users cannot remove the files of others, but they can create the socket first. Such a directory is
        // shared on purpose.
        let remedy = match mode & 0o1000 {
            0 => format!(
                "`chmod go-w {}`, as root or its owner, or set `[server] socket` to a path in another directory",
                quoted(path)
            ),
            _ => {
                "set `[server] socket` to a path in a directory of the daemon, and leave the mode of this one as it is"
                    .to_owned()
            }
        };
        return Finding::error(CHECK, FindingId::SocketDirectoryOpen, found, remedy);
    }
    if facts.uid != 0 && facts.uid != runs_as.uid && !runs_as.is_default_user {
        let found = format!(
            "{shown} belongs to {}, who can put another socket there and receive its requests",
            user_name(facts.uid)
        );
        let remedy = "set `[server] socket` to a path in a directory of root or of the daemon's user";
        return Finding::error(CHECK, FindingId::SocketDirectoryOpen, found, remedy);
    }
    Finding::ok(CHECK, format!("no other user can write to {shown}"))
}

/// `socket.mode`: only the configured users can connect.
fn mode(file: &FileFacts, facts: &SocketFacts, server: &ServerConfig, runs_as: &ServiceUser) -> Vec<Finding> {
    let (shown, mode) = (shown(server), file.mode);
    if file.kind != FileType::Socket {
        let remedy = format!(
            "look at what it is, then `mv --no-clobber {0} {0}.found`, or set `[server] socket` to another path",
            quoted(&server.socket)
        );
        return vec![Finding::error(
            "socket.mode",
            FindingId::SocketNotASocket,
            format!("{shown} is not a socket"),
            remedy,
        )];
    }
    // systemd creates the socket of the unit, and a restart of the service alone keeps it.
    let remedy = |setting: &str, value: &str| match &runs_as.unit {
        Some(_) => format!(
            "as root: `systemctl edit masker.socket`, with the lines `[Socket]` and `{setting}={value}`, then `systemctl restart masker.socket \
             masker.service`"
        ),
        None => "restart the daemon, which sets what is configured".to_owned(),
    };
    if mode & 0o002 != 0 {
        let found = format!("{shown} has mode {mode:04o}: every user of this host can connect and request every value");
        return vec![Finding::error("socket.mode", FindingId::SocketOpen, found, remedy("SocketMode", "0660"))];
    }
    let mut findings = Vec::new();
    if mode & 0o777 != server.socket_mode {
        let found = format!("{shown} has mode {mode:04o}, but {:04o} is configured", server.socket_mode);
        let remedy = remedy("SocketMode", &format!("{:04o}", server.socket_mode));
        findings.push(Finding::warning("socket.mode", FindingId::SocketDiffers, found, remedy));
    }
    if let Some(Ok(gid)) = facts.group
        && gid != file.gid
    {
        let name = server.socket_group.as_deref().unwrap_or_default();
        let found = format!("{shown} belongs to the group {}, but `{name}` is configured", group_name(file.gid));
        findings.push(Finding::warning("socket.mode", FindingId::SocketDiffers, found, remedy("SocketGroup", name)));
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

    fn facts(kind: FileType, mode: u32) -> PathStatus {
        PathStatus::Present(FileFacts { kind, mode, uid: 1, gid: 70_000, modified: None })
    }

    fn statuses(
        socket: PathStatus,
        directory: PathStatus,
        group: Option<Result<u32, String>>,
    ) -> Vec<(&'static str, Severity)> {
        let server = server(group.is_some().then_some("masker"));
        let runs_as = ServiceUser { uid: 1, unit: None, is_default_user: false };
        let findings = judge(&SocketFacts { socket, directory, group, by_systemd: false }, &server, &runs_as);
        findings.iter().map(|finding| (finding.id, finding.status)).collect()
    }

    #[test]
    fn judges_the_socket_and_its_directory() {
        use Severity::{Error, NotChecked, Ok, Warning};
        let sound = || facts(FileType::Directory, 0o755);
        let on = |status, group| statuses(status, sound(), group).pop().unwrap();
        assert_eq!(on(facts(FileType::Socket, 0o660), None), ("socket.mode", Ok));
        assert_eq!(on(PathStatus::Missing, None), ("socket.mode", NotChecked));
        assert_eq!(on(facts(FileType::Socket, 0o666), None), ("socket.mode", Error));
        assert_eq!(on(facts(FileType::Socket, 0o600), None), ("socket.mode", Warning));
        assert_eq!(on(facts(FileType::Regular, 0o660), None), ("socket.mode", Error));
        assert_eq!(on(facts(FileType::Socket, 0o660), Some(Result::Ok(70_000))), ("socket.mode", Ok));
        assert_eq!(on(facts(FileType::Socket, 0o660), Some(Result::Ok(70_001))), ("socket.mode", Warning));
        assert_eq!(statuses(PathStatus::Missing, sound(), Some(Err(String::new())))[0], ("socket.group", Error));
        assert_eq!(statuses(PathStatus::Missing, sound(), Some(Err("x".to_owned())))[0], ("socket.group", NotChecked));
        for mode in [0o777, 0o775, 0o1777] {
            let found = statuses(PathStatus::Missing, facts(FileType::Directory, mode), None);
            assert_eq!(found[0], ("socket.directory", Error), "{mode:o}");
        }
        assert_eq!(statuses(PathStatus::Missing, PathStatus::Missing, None)[0], ("socket.directory", Ok));
        assert_eq!(statuses(PathStatus::Hidden("x".to_owned()), sound(), None)[1], ("socket.mode", NotChecked));
    }

    #[test]
    fn looks_up_groups_by_name_and_number() {
        let group = |name| gather(&server(Some(name)), None).group.unwrap();
        assert_eq!(group("0"), Ok(0));
        assert_eq!(group("root"), Ok(0));
        assert_eq!(group("no-such-group"), Err(String::new()));
        // A start with systemd's socket looks up no group.
        let server = server(Some("no-such-group"));
        let runs_as = ServiceUser { uid: 1, unit: None, is_default_user: false };
        for (by_systemd, expected) in [(Some("/run/masker/masker.sock"), Severity::Ok), (Some("/x"), Severity::Error)] {
            let facts = gather(&server, by_systemd.map(Path::new));
            assert_eq!(judge(&facts, &server, &runs_as)[0].status, expected, "{by_systemd:?}");
        }
    }
}
