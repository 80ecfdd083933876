//! The sandbox of the running daemon, as the system sees it.

use std::{fs, os::unix::net::UnixListener, process::Command};

use nix::sys::signal::Signal;
use serde_json::json;

use super::harness::{Daemon, Site, TestKey};
use masker_cli::doctor::kernel::KernelFeatures;

/// A field of the status of each thread.
fn of_threads(daemon: &Daemon, field: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let values = threads.filter_map(|thread| {
        // One may end meanwhile.
        let status = fs::read_to_string(thread.unwrap().path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    });
    let mut values: Vec<String> = values.collect();
    values.sort();
    values.dedup();
    values
}

#[test]
fn every_thread_of_a_daemon_is_held() {
    for engine in ["sled", "fjall"] {
        let site = Site::of(engine);
        let daemon = site.launch().care_keys().start();
        let mut client = daemon.client();
        client.token("PHONE", "415-555-2671");
        let filter = if KernelFeatures::here().filters() { "2" } else { "0" };
        for (field, value) in [
            ("NoNewPrivs", "1"),
            ("Seccomp", filter),
            ("CapPrm", "0000000000000000"),
            ("CapEff", "0000000000000000"),
            ("CapInh", "0000000000000000"),
            ("CapAmb", "0000000000000000"),
        ] {
            assert_eq!(of_threads(&daemon, field), [value], "{engine} {field}");
        }
        let said = daemon.log().wait_for(1, "the sandbox is closed");
        assert_eq!(said[0]["capabilities"], "none");
        if KernelFeatures::here().filters() {
            assert_eq!(said[0]["seccomp"], "violations kill");
        }
        daemon.stop();
    }
}

#[test]
fn a_violation_ends_nothing_where_it_is_only_logged() {
    let mut site = Site::new();
    for (mode, filter, said) in [("log", "2", "violations are logged"), ("off", "0", "off")] {
        site.set("sandbox", "seccomp", format!("{mode:?}"));
        site.set("sandbox", "landlock", "\"off\"");
        let daemon = site.launch().care_keys().start();
        if KernelFeatures::here().filters() {
            assert_eq!(of_threads(&daemon, "Seccomp"), [filter]);
            let line = &daemon.log().wait_for(1, "the sandbox is closed")[0];
            assert_eq!((&line["seccomp"], &line["landlock"]), (&json!(said), &json!("off")));
        }
        daemon.client().token("PHONE", "415-555-2671");
        daemon.stop();
    }
    let refused = {
        site.set("sandbox", "seccomp", "\"perhaps\"");
        site.launch().care_keys().refused().code(3)
    };
    assert!(refused.contains("seccomp"), "{refused}");
}

#[test]
fn what_is_renewed_by_a_rename_is_read_again_from_within() {
    let mut site = Site::new();
    fs::create_dir(site.path("keys")).unwrap();
    let key = |name: &str| TestKey::named(name).base64();
    let lay = |file: &str, text: String| {
        fs::write(site.path("keys/draft"), text).unwrap();
        fs::rename(site.path("keys/draft"), site.path("keys").join(file)).unwrap();
    };
    lay("care", key("care"));
    let daemon = site
        .launch()
        .key("K_PAY", &TestKey::named("pay"))
        .env("MASKER_KEY_K_CARE_FILE", site.path("keys/care"))
        .env("MASKER_KEY_K_CARE_OLD_FILE", site.path("keys/care-old"))
        .start();
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-2671");

    lay("care-old", key("care"));
    lay("care", key("care-2"));
    site.policy("more.toml", "name = \"more\"\nversion = 1\n[entities.NOTE]\naction = \"redact\"\n");
    // The daemon looks this user up in the user databases of the host.
    site.client("name = \"operator\"\nuser = \"root\"\nscopes = [\"*\"]");
    site.client("name = \"tests\"\nuid = 0\nscopes = [\"*\"]");
    let own = nix::unistd::geteuid().as_raw();
    site.client(&format!("name = \"own\"\nuid = {own}\nscopes = [\"*\"]"));
    site.write();
    daemon.reload();
    assert_eq!(client.get("/api/v1/policies").ok()["policies"].as_array().unwrap().len(), 2);
    assert_eq!(client.value(&token), "415-555-2671");
    assert_eq!(client.get("/health").ok()["status"], "ok");

    // Nobody is called that: every source of users was asked, and none of it was a forbidden call.
    site.client("name = \"ghost\"\nuser = \"masker-no-such-user\"\nscopes = [\"*\"]");
    site.write();
    daemon.reload();
    let components = client.get("/health").json()["components"].clone();
    assert!(components["policies"]["detail"].as_str().unwrap().contains("masker-no-such-user"), "{components}");
    assert_eq!(client.value(&token), "415-555-2671", "what was in force before stays so");
    daemon.stop();
}

#[test]
fn the_watchdog_is_fed_where_there_is_one() {
    let site = Site::new();
    let launch = || site.launch().care_keys().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64());
    let daemon = launch().env("WATCHDOG_USEC", "20000").start();
    for _ in 0..3 {
        assert_eq!(daemon.notification().unwrap(), ["WATCHDOG=1"]);
    }
    // Notifications that are under way are no concern of this test.
    daemon.signal(Signal::SIGKILL);

    // A watchdog for another process is not fed.
    let daemon = launch().env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1").start();
    daemon.client().get("/health").ok();
    daemon.stop();
}

/// A lookup of a user that connects to a socket of another process, and answers with the error's number.
const LOOKUP: &str = r#"
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int getpwuid_r(uid_t uid, struct passwd *user, char *text, size_t length, struct passwd **found) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = ELSEWHERE};
    int connection = socket(AF_UNIX, SOCK_STREAM, 0);
    int error = connect(connection, (struct sockaddr *)&address, sizeof address) ? errno : 0;
    close(connection);
    snprintf(text, length, "error %d", error);
    *user = (struct passwd){.pw_name = text, .pw_passwd = "", .pw_uid = uid, .pw_gecos = "", .pw_dir = "", .pw_shell = ""};
    *found = user;
    return 0;
}
"#;

#[test]
fn the_daemon_can_connect_to_no_other_process_and_still_notifies() {
    if !KernelFeatures::here().filters() {
        return println!("skipped: this kernel has no seccomp");
    }
    for (mode, error) in [("enforce", libc::EACCES), ("log", 0)] {
        let mut site = Site::new();
        site.set("sandbox", "seccomp", format!("{mode:?}"));
        let (source, library, elsewhere) = (site.path("lookup.c"), site.path("lookup.so"), site.path("elsewhere"));
        let _listener = UnixListener::bind(&elsewhere).unwrap();
        fs::write(&source, LOOKUP).unwrap();
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let compiled = Command::new(compiler)
            .args(["-shared", "-fPIC", &format!("-DELSEWHERE=\"{}\"", elsewhere.display()), "-o"])
            .args([&library, &source])
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let daemon = site.launch().care_keys().env("LD_PRELOAD", &library).start();
        assert_eq!(daemon.client().get("/api/v1/auth/whoami").ok()["user"], format!("error {error}"));
        // The notification of the reload comes through the connection that was there before the sandbox.
        daemon.reload();
        daemon.stop();
    }
}
