//! Procedures of an operator, under a systemd of their own.

mod host;
mod procedures;

use host::Host;

#[test]
fn an_operator_is_told_what_to_do_and_loses_nothing() {
    let Some(host) = Host::start() else { return };
    first_start(&host);
    doctor_of_the_unit(&host);
    let token = rotation(&host);
    older_copy(&host, &token);
}

/// The first start: without keys it fails with words, and `masker init` makes them.
fn first_start(host: &Host) {
    // As the book has it, also before systemd has loaded the units.
    let reset = "systemctl reset-failed 'masker.*'";
    host.run(reset).ok();
    // Starts that fail too often are refused until then.
    let executed = || {
        host.run("systemctl start masker.service");
        host.run("systemctl show --property=ExecMainPID --value masker.service").ok()
    };
    host.run("for start in 1 2 3 4 5 6; do systemctl start masker.service; done");
    let last = executed();
    assert_eq!(executed(), last, "a start beyond the limit executes nothing");
    host.run(reset).ok();
    assert_ne!(executed(), last);
    let log = host.refused();
    assert!(log.contains("MASKER_AUDIT_HMAC_KEY is empty, or its file is missing"), "{log}");
    let made = host.run("masker init").ok();
    assert!(made.contains("systemctl start masker.socket masker.service"), "{made}");
    let modes = host.run("stat --format '%a %U:%G %n' /etc/masker/keys /etc/masker/keys/* /etc/masker/audit.key").ok();
    let expected = "700 root:root /etc/masker/keys\n400 root:root /etc/masker/keys/K_HEALTHCARE\n400 root:root /etc/masker/audit.key\n";
    assert_eq!(modes, expected);
    let sums = "sha256sum /etc/masker/keys/* /etc/masker/audit.key /etc/masker/masker.toml";
    let before = host.run(sums).ok();
    host.run("masker init").ok();
    assert_eq!(host.run(sums).ok(), before, "a second run changed something");

    // An empty directory of keys, and none.
    for (take, put) in [
        ("mv /etc/masker/keys/K_HEALTHCARE /run/kept", "mv /run/kept /etc/masker/keys/K_HEALTHCARE"),
        ("mv /etc/masker/keys /run/keys", "mv /run/keys /etc/masker/keys"),
    ] {
        host.run(take).ok();
        let log = host.refused();
        assert!(log.contains("names the key K_HEALTHCARE, which is not loaded"), "{take}: {log}");
        host.run(put).ok();
    }
    host.start_units();
    // Starts that succeed do not count for the limit of starts.
    for _ in 0..8 {
        let restarted = host.run("systemctl restart masker.service");
        assert_eq!(restarted.code, Some(0), "{}", host.journal());
    }
    let health = host.run("masker health").ok();
    assert!(health.lines().any(|line| line.starts_with("audit log\tok")), "{health}");
}

/// What doctor says of keys and files as the unit has them.
fn doctor_of_the_unit(host: &Host) {
    let lines = |text: &str, check: &str| {
        let of_check = text.lines().filter(|line| line.split('\t').nth(1) == Some(check));
        of_check.map(str::to_owned).collect::<Vec<_>>()
    };
    // For a user without rights, doctor suggests neither to move a key nor to change an owner.
    let text = host.run("runuser -u nobody -- masker doctor").text;
    assert!(!text.contains("audit.key") && !text.contains("chown"), "{text}");
    // All key files are gone: the daemon has the last copies.
    host.run("mkdir -m 0700 /run/kept && mv /etc/masker/keys/* /run/kept/").ok();
    let text = host.run("masker doctor").code(1);
    for check in ["keys.identity", "policies.keys"] {
        assert!(lines(&text, check).iter().any(|line| line.contains("in its memory")), "{check}: {text}");
    }
    let reloaded = host.run("masker keys reload").ok();
    assert!(reloaded.contains("`masker doctor` compare them first"), "{reloaded}");
    // systemd loads no links from a directory, and no hidden files.
    host.run("ln -s /run/kept/K_HEALTHCARE /etc/masker/keys/K_HEALTHCARE").ok();
    let text = host.run("masker doctor").code(1);
    assert!(lines(&text, "keys.read").iter().any(|line| line.contains("is a link")), "{text}");
    host.stop_units();
    assert!(host.run("masker recover").code(1).contains("K_HEALTHCARE"));
    let log = host.refused();
    assert!(log.contains("K_HEALTHCARE"), "{log}");
    host.run("rm /etc/masker/keys/K_HEALTHCARE && mv /run/kept/* /etc/masker/keys/").ok();
    host.run("cp /etc/masker/keys/K_HEALTHCARE /etc/masker/keys/.K_HEALTHCARE.0123456789abcdef.partial").ok();
    let text = host.run("masker recover").ok();
    assert!(text.contains("nothing prevents a start"), "{text}");
    let text = host.run("masker doctor").text;
    assert!(lines(&text, "files.strays").iter().any(|line| line.contains(".partial")), "{text}");
    host.run("rm /etc/masker/keys/.K_HEALTHCARE.0123456789abcdef.partial").ok();
    // Modes of files that were written with the umask 077, and a vault that root owns.
    for (bad, good) in [
        ("chmod 0600 /etc/masker/masker.toml", "chmod 0644 /etc/masker/masker.toml"),
        ("chmod 0700 /etc/masker/policies", "chmod 0755 /etc/masker/policies"),
        ("chmod 0700 /etc/masker", "chmod 0755 /etc/masker"),
        ("chown root /var/lib/masker/witness", "chown masker /var/lib/masker/witness"),
    ] {
        host.run(bad).ok();
        let text = host.run("masker doctor").code(1);
        assert!(lines(&text, "daemon.start").iter().any(|line| line.starts_with("error")), "{bad}: {text}");
        host.run("masker recover").code(1);
        host.run(good).ok();
    }
    // The last start has failed, and nothing prevents the next one.
    let text = host.run("masker doctor").text;
    assert!(lines(&text, "daemon.start").iter().any(|line| line.contains("nothing prevents a start")), "{text}");
    host.start_units();
    let text = host.run("masker doctor").text;
    assert!(lines(&text, "daemon.start").iter().all(|line| line.starts_with("ok")), "{text}");
}

/// A rotation, with its steps repeated and too early. Returns a token from before.
fn rotation(host: &Host) -> String {
    let token = host.run("echo 415-555-0132 | masker tokenize --kind PHONE").ok();
    let rotate = "masker keys rotate --dir /etc/masker/keys --kid K_HEALTHCARE";
    let remove = "masker keys remove-old --dir /etc/masker/keys --kid K_HEALTHCARE --yes";
    let move_records = "masker vault rotate-key --new-kid K_HEALTHCARE";
    let rehydrate = format!("echo {} | masker rehydrate", token.trim());
    let restart = "run `systemctl restart masker.service`";
    let next = host.run(rotate).ok();
    assert!(next.contains(&format!("2. {restart}")), "{next}");
    for early in [rotate, remove] {
        let refused = host.run(early).code(1);
        assert!(refused.contains(restart), "{refused}");
    }
    let reloaded = host.run("masker keys reload").ok();
    assert!(reloaded.contains("no key has changed") && reloaded.contains(restart), "{reloaded}");
    host.run("systemctl restart masker.service").ok();
    assert!(host.run(remove).code(1).contains("needs it"));
    assert!(host.run(rotate).code(1).contains(move_records));
    host.run(move_records).ok();
    host.run(move_records).ok();
    host.run(remove).ok();
    assert!(host.run(remove).code(1).contains("nothing is to be removed"));
    host.run("systemctl restart masker.service").ok();
    assert_eq!(host.run(&rehydrate).ok(), "415-555-0132\n");
    rehydrate
}

/// An older copy of the vault is put back: refused, shown, accepted once.
fn older_copy(host: &Host, rehydrate: &str) {
    assert!(host.run("masker recover").ok().contains("a daemon serves the vault"));
    host.stop_units();
    assert!(host.run("masker recover").ok().contains("nothing prevents a start"));
    host.run("cp -a /var/lib/masker /var/lib/masker.copy").ok();
    host.start_units();
    host.run("echo 415-555-0133 | masker tokenize --kind PHONE").ok();
    host.stop_units();
    let put_back = "rm -r /var/lib/masker && cp -a /var/lib/masker.copy /var/lib/masker";
    host.run(put_back).ok();
    let log = host.refused();
    assert!(log.contains("is an older copy") && log.contains("masker recover"), "{log}");
    let shown = host.run("masker recover").code(2);
    assert!(shown.contains("behind-audit-log") && shown.contains("masker recover --accept loss"), "{shown}");
    host.refused();
    let accepted = host.run("masker recover --accept loss").ok();
    assert!(accepted.contains("systemctl reset-failed 'masker.*'"), "{accepted}");
    host.run("masker recover --accept loss").ok();
    let files = host.run("stat --format '%a %U' /etc/masker/recover.toml; find /var/lib/masker -not -user masker").ok();
    assert_eq!(files, "644 root\n");
    // The daemon's user cannot accept anything.
    host.run("chown masker /etc/masker/recover.toml").ok();
    assert!(host.refused().contains("must belong to root"));
    host.run("chown root /etc/masker/recover.toml").ok();
    host.start_units();
    assert_eq!(host.run(rehydrate).ok(), "415-555-0132\n");
    host.run("systemctl restart masker.service").ok();
    // The same copy a second time.
    host.stop_units();
    host.run(put_back).ok();
    assert!(host.refused().contains("is an older copy"));
    host.run("masker recover --accept loss").ok();
    host.start_units();
    assert_eq!(host.run(rehydrate).ok(), "415-555-0132\n");
}
