//! Backups and restores that are killed, and full disks.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use nix::{sys::stat::Mode, unistd::mkfifo};

use super::{BACKUP, Ended, backup, create, launch, set_aside, text};
use crate::harness::Site;

fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("masker can be run")
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until a path exists, while a command runs.
fn wait_for(path: &Path, child: &mut Child) {
    while !path.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the command has ended before");
        thread::yield_now();
    }
}

#[test]
fn a_killed_creation_leaves_no_backup_and_is_repeated() {
    let site = Site::new();
    let daemon = launch(&site).start();
    daemon.client().token("PHONE", "415-555-2671");
    let (directory, hidden) = (site.path(BACKUP), site.path(".backup.partial"));
    // Reading it does not end: the command stops after the export and the audit log.
    let endless = site.path("policies/endless.toml");
    mkfifo(&endless, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let words = ["backup", "create", text(&directory)];
    let mut child = spawn(launch(&site).command(&words));
    wait_for(&hidden.join("policies"), &mut child);
    // Two at once do not disturb each other.
    backup(&launch(&site), "create", &directory).refused(&["another command is writing"]);
    kill(child);
    assert!(!directory.exists() && hidden.join("vault.export").exists());
    backup(&launch(&site), "verify", &hidden).refused(&["is not a complete backup"]);
    fs::remove_file(&endless).unwrap();
    // What is not of a backup is not removed.
    fs::write(hidden.join("mine"), "").unwrap();
    backup(&launch(&site), "create", &directory).refused(&["is in the way", "mine"]);
    fs::remove_file(hidden.join("mine")).unwrap();
    backup(&launch(&site), "create", &directory).json(0);
    assert!(!hidden.exists());
    backup(&launch(&site), "verify", &directory).json(0);
    daemon.stop();
}

/// Runs a command whose files can have so many KiB.
fn limited(command: &Command, kib: u32) -> Ended {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("ulimit -f {}; exec \"$0\" \"$@\"", kib * 2)]).arg(command.get_program());
    shell.args(command.get_args()).env_clear().current_dir("/");
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ended::of(shell.output().expect("there is a shell"))
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let phones: Vec<String> = (0..2_000).map(|number| format!("+1415{number:07}")).collect();
    let tokens = daemon.client().tokens("PHONE", &phones);
    let directory = site.path(BACKUP);
    let creating = launch(&site).command(&["backup", "create", text(&directory)]);
    limited(&creating, 64).refused(&["failed to write", "vault.export"]);
    assert!(!directory.exists() && !site.path(".backup.partial").exists());
    create(&site);
    daemon.stop();
    set_aside(&site);
    let restoring = launch(&site).command(&["backup", "restore", text(&directory)]);
    let failed = limited(&restoring, 64);
    assert_eq!(failed.code, Some(1), "{}", failed.stdout);
    assert_eq!(fs::read_dir(site.vault()).unwrap().count(), 0, "{}", failed.stderr);
    // The audit log has another vault: no start takes the empty directory for the vault.
    let log = launch(&site).refused().code(1);
    assert!(log.contains("there is no vault in"), "{log}");
    backup(&launch(&site), "restore", &directory).json(0);
    let daemon = launch(&site).start();
    assert_eq!(daemon.client().value(&tokens[1_999]), phones[1_999]);
    daemon.stop();
}

#[test]
fn a_killed_restore_is_repeated_and_no_daemon_starts_before() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let phones: Vec<String> = (0..10_000).map(|number| format!("+1415{number:07}")).collect();
    let tokens = daemon.client().tokens("PHONE", &phones);
    let directory = create(&site);
    daemon.stop();
    set_aside(&site);
    let restoring = site.vault().join("restoring");
    let assert_interrupted = |when: &str| {
        let log = launch(&site).refused().code(1);
        assert!(
            log.contains("a restore into") && log.contains("run the same `masker backup restore` again"),
            "{when}: {log}"
        );
        let (code, text) = launch(&site).recover(&[]);
        assert!(code == Some(1) && text.contains("a restore into"), "{when}: {text}");
    };
    let mut child = spawn(launch(&site).command(&["backup", "restore", text(&directory)]));
    wait_for(&restoring, &mut child);
    // While it is at work.
    backup(&launch(&site), "restore", &directory).refused(&["another restore into"]);
    kill(child);
    assert_interrupted("killed while it built");
    let again = || backup(&launch(&site), "restore", &directory);
    again().json(0);
    assert!(!restoring.exists());

    // Killed after the vault was in its place, and before the end.
    fs::create_dir(&restoring).unwrap();
    assert_interrupted("killed before its end");
    again().json(0);
    // Killed between the two parts of the vault.
    fs::create_dir(&restoring).unwrap();
    fs::rename(site.vault().join("witness"), restoring.join("witness")).unwrap();
    assert_interrupted("killed between the parts");
    again().json(0);
    let daemon = launch(&site).start();
    assert_eq!(daemon.client().value(&tokens[9_999]), phones[9_999]);
    assert_eq!(daemon.client().exchange("POST", "/api/v1/vault/check", b"").ok()["records"], 10_000);
    daemon.stop();
    // Repeated after it has ended, it is refused like in any vault.
    again().refused(&["is not empty", "mv "]);
}
