//! The socket's file: its permissions, what it replaces, and who removes it.

use std::{
    fs,
    io::ErrorKind,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixDatagram, UnixListener, UnixStream},
        },
    },
    path::Path,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::harness::{Client, Daemon, Site, connect_as, is_root};

/// A user and a group that this host does not have.
const STRANGER: u32 = 54_321;
const GROUP: u32 = 54_322;

fn start(site: &Site) -> Daemon {
    site.launch().care_keys().start()
}

/// Returns the permission bits and the group of a socket's file.
fn mode_and_group(socket: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(socket).unwrap();
    assert!(found.file_type().is_socket());
    (found.mode() & 0o7777, found.gid())
}

/// Lets other users reach the socket's file.
fn open_the_way(site: &Site) {
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o711)).unwrap();
}

#[test]
fn sets_mode_and_group_under_any_umask() {
    let own = nix::unistd::getegid().as_raw();
    let mut site = Site::new();
    let daemon = start(&site);
    assert_eq!(mode_and_group(daemon.socket()), (0o660, own), "the defaults");
    daemon.stop();
    for (mode, umask) in [("0600", "umask 000"), ("0640", "umask 077"), ("0660", "umask 000"), ("0660", "umask 027")] {
        site.set("server", "socket_mode", format!("{mode:?}"));
        let group = if nix::unistd::geteuid().is_root() { GROUP } else { own };
        site.set("server", "socket_group", format!("\"{group}\""));
        let daemon = site.launch().care_keys().prelude(umask).start();
        let expected = u32::from_str_radix(mode, 8).unwrap();
        assert_eq!(mode_and_group(daemon.socket()), (expected, group), "{mode} under {umask}");
        daemon.stop();
    }
}

#[test]
fn refuses_a_world_writable_socket() {
    let mut site = Site::new();
    site.set("server", "socket_mode", "\"0666\"");
    let log = site.launch().care_keys().refused().code(3);
    assert!(log.contains("socket_mode") && log.contains("every user"), "{log}");
    assert!(!site.socket().exists());

    site.set("server", "socket_mode", "\"0660\"");
    site.set("server", "socket_group", "\"no-such-group\"");
    let log = site.launch().care_keys().refused().code(1);
    assert!(log.contains("there is no group `no-such-group`"), "{log}");
    assert!(!site.socket().exists());
}

#[test]
fn removes_its_socket_and_replaces_a_stale_one() {
    let site = Site::new();
    let daemon = start(&site);
    let inode = fs::symlink_metadata(daemon.socket()).unwrap().ino();
    daemon.kill();
    assert_eq!(fs::symlink_metadata(site.socket()).unwrap().ino(), inode, "kill -9 leaves it");
    let refused = Client::connect(&site.socket()).err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::ConnectionRefused));

    let daemon = start(&site);
    daemon.client().get("/health").ok();
    daemon.stop();
    assert!(!site.socket().exists(), "an orderly stop removes it");
}

#[test]
fn refuses_a_socket_in_use() {
    let (first, mut second) = (Site::new(), Site::new());
    let daemon = start(&first);
    second.set("server", "socket", format!("{:?}", first.socket()));
    let log = second.launch().care_keys().refused().code(1);
    assert!(log.contains("another process is listening on this socket"), "{log}");
    assert!(!second.vault().exists(), "no vault was created");
    daemon.client().get("/health").ok();
    daemon.stop();
}

#[test]
fn refuses_a_path_that_is_not_a_socket() {
    let site = Site::new();
    fs::write(site.socket(), "precious").unwrap();
    let log = site.launch().care_keys().refused().code(1);
    assert!(log.contains("this is not a socket"), "{log}");
    assert_eq!(fs::read(site.socket()).unwrap(), b"precious");

    // A symbolic link is refused even if it leads to a socket.
    let daemon = site.launch().care_keys().socket(&site.path("other.sock")).start();
    let link = site.path("link.sock");
    std::os::unix::fs::symlink(site.path("other.sock"), &link).unwrap();
    let other = Site::new();
    let log = other.launch().care_keys().socket(&link).refused().code(1);
    assert!(log.contains("this is not a socket"), "{log}");
    daemon.stop();
}

#[test]
fn keeps_a_socket_from_the_service_manager() {
    let site = Site::new();
    let path = site.path("handed.sock");
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = site.launch().care_keys().handed_over(&listener).start();
    let token = daemon.client().token("PHONE", "415-555-2671");
    assert!(!site.socket().exists(), "the configured socket is not created");
    daemon.stop();
    assert_eq!(mode_and_group(&path).0, 0o600, "the service manager removes the file");

    // A client that connects between two daemons waits for the second.
    let mut early = Client::connect(&path).unwrap();
    early.send("POST", "/api/v1/rehydrate", format!("{{\"tokens\": [\"{token}\"]}}").as_bytes());
    let daemon = site.launch().care_keys().handed_over(&listener).start();
    assert_eq!(early.receive().results(1)[0]["value"], "415-555-2671");
    daemon.kill();
    let daemon = site.launch().care_keys().handed_over(&listener).start();
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    daemon.stop();
}

#[test]
fn refuses_other_descriptors_from_the_service_manager() {
    let site = Site::new();
    let datagram = UnixDatagram::bind(site.path("datagram.sock")).unwrap();
    let listener = UnixListener::from(OwnedFd::from(datagram));
    let log = site.launch().care_keys().handed_over(&listener).refused().code(1);
    assert!(log.contains("is not a listening Unix stream socket"), "{log}");

    let (connected, _peer) = UnixStream::pair().unwrap();
    let idle = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    for handed_over in [OwnedFd::from(connected), idle] {
        let log = site.launch().care_keys().handed_over(&UnixListener::from(handed_over)).refused().code(1);
        assert!(log.contains("the inherited socket does not accept connections"), "{log}");
    }
}

#[test]
fn an_unlisted_user_is_denied() {
    if !is_root("connecting as another user") {
        return;
    }
    let mut site = Site::new();
    site.set("access", "unlisted", "[]");
    open_the_way(&site);
    let path = site.path("open.sock");
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    std::os::unix::fs::chown(&path, None, Some(GROUP)).unwrap();
    let daemon = site.launch().care_keys().handed_over(&listener).start();
    let token = daemon.client().token("PHONE", "415-555-2671");

    let mut stranger = Client::over(connect_as(STRANGER, STRANGER, &path).unwrap());
    let items = br#"{"items": [{"kind": "PHONE", "value": "415-555-2671"}]}"#;
    let tokens = format!("{{\"tokens\": [\"{token}\"]}}");
    for (method, route, body, scope) in [
        ("POST", "/api/v1/tokenize", &items[..], "tokenize"),
        ("POST", "/api/v1/rehydrate", tokens.as_bytes(), "rehydrate"),
        ("POST", "/api/v1/lookup", items, "lookup"),
        ("POST", "/api/v1/rewrap", tokens.as_bytes(), "rewrap"),
        ("POST", "/api/v1/forget", tokens.as_bytes(), "forget"),
        ("GET", "/api/v1/keys", b"", "keys:read"),
        ("GET", "/api/v1/vault/stats", b"", "vault:read"),
        ("POST", "/api/v1/vault/check", b"", "vault:admin"),
        ("GET", "/api/v1/policies", b"", "policies:read"),
        ("GET", "/api/v1/policies/care", b"", "policies:read"),
        ("POST", "/api/v1/policies/reload", b"", "policies:reload"),
        ("GET", "/metrics", b"", "metrics:read"),
    ] {
        let detail = stranger.exchange(method, route, body).problem(403, "perm.denied");
        assert!(detail.contains(&format!("`{scope}`")), "{route}: {detail}");
    }
    let whoami = stranger.get("/api/v1/auth/whoami").ok();
    assert_eq!((whoami["uid"].as_u64(), whoami["gid"].as_u64()), (Some(STRANGER.into()), Some(STRANGER.into())));
    assert!(whoami["scopes"].as_object().unwrap().values().all(|allowed| *allowed == false), "{whoami}");

    let mut member = Client::over(connect_as(STRANGER, GROUP, &path).unwrap());
    member.exchange("POST", "/api/v1/rehydrate", tokens.as_bytes()).problem(403, "perm.denied");
    assert_eq!(daemon.client().value(&token), "415-555-2671", "nothing was forgotten");
    daemon.stop();
}

#[test]
fn other_users_cannot_connect_to_the_socket() {
    if !is_root("connecting as another user") {
        return;
    }
    let mut site = Site::new();
    open_the_way(&site);
    site.set("server", "socket_group", format!("\"{GROUP}\""));
    let daemon = start(&site);
    let refused = connect_as(STRANGER, STRANGER, daemon.socket()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    Client::over(connect_as(STRANGER, GROUP, daemon.socket()).unwrap()).get("/api/v1/auth/whoami").ok();
    daemon.stop();
}
