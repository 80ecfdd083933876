//! What doctor and `masker recover` say before a start that would be refused, or that would lose a key.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
};

use super::{
    Outcome, contents,
    doctor::{Findings, Made, exchange, found, of_site, remedy},
};
use crate::harness::{is_root, masker};

/// A user who does not exist.
const USER: u32 = 12_345;

/// Gives a directory and everything in it to a user.
fn give(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(uid)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), uid));
    }
}

/// Gives the site policies of its own, in place of those of this project.
fn own_policies(made: &Made) {
    let (project, own) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"), made.path("policies"));
    fs::create_dir(&own).unwrap();
    for (policy, text) in contents(&project) {
        fs::write(own.join(policy.file_name().unwrap()), text).unwrap();
    }
    let config = made.path("masker.toml");
    let text = fs::read_to_string(&config).unwrap();
    let (project, own) = (project.display().to_string(), own.display().to_string());
    assert!(text.contains(&project), "{text}");
    fs::write(&config, text.replace(&project, &own)).unwrap();
}

#[test]
fn keys_that_only_the_daemons_memory_has_are_errors_and_no_restart_is_advised() {
    let made = Made::served();
    own_policies(&made);
    let daemon = made.start();
    let kept = made.home().join("kept");
    fs::create_dir(&kept).unwrap();
    let names = ["MASKER_KEY_K_HEALTHCARE", "MASKER_KEY_K_PAYMENTS"];
    for name in names {
        fs::rename(made.key(name), kept.join(name)).unwrap();
    }
    let findings = made.doctor();
    let missing: Vec<_> = findings.0.iter().filter(|one| one["finding"] == "key-missing").collect();
    let of = |id: &str| missing.iter().filter(|one| one["id"] == id).copied().collect::<Vec<_>>();
    let (identity, policies) = (of("keys.identity"), of("policies.keys"));
    assert!(identity.len() == 2 && !policies.is_empty(), "{missing:#?}");
    for one in identity.iter().chain(&policies) {
        assert!(found(one).contains("in its memory") && remedy(one).starts_with("do not stop or restart"), "{one}");
    }
    assert!(policies.iter().all(|one| one["status"] == "error"));
    // Records are counted, not their index rows as well.
    assert!(identity.iter().any(|one| found(one).ends_with("; 1 record needs it")), "{identity:#?}");
    let reload = made.run(&["keys", "reload"]).refused(&["put the key back from its copy"]);
    for word in ["purge", "masker init"] {
        assert!(!reload.contains(word), "{reload}");
    }
    for name in names {
        fs::rename(kept.join(name), made.key(name)).unwrap();
    }
    made.run(&["keys", "reload"]).ok();
    assert_eq!(made.doctor().faults(), []);

    // A policy of a key that nobody has.
    let policy = made.path("policies").join("new.toml");
    let (_, text) = contents(&made.path("policies")).into_iter().find(|(_, text)| text.contains("K_PAYMENTS")).unwrap();
    fs::write(&policy, text.replace("K_PAYMENTS", "K_NEW").replace("\"payments\"", "\"new\"")).unwrap();
    let findings = made.doctor();
    let new = findings.0.iter().find(|one| one["id"] == "policies.keys" && found(one).contains("K_NEW")).unwrap();
    assert!(new["status"] == "error" && found(new).contains("not provided: the daemon will not start"), "{new}");
    fs::remove_file(&policy).unwrap();

    // An old key that records need, while the daemon runs and while it does not.
    made.run(&["keys", "rotate", "--dir", "d/keys", "--kid", "K_HEALTHCARE"]).ok();
    made.run(&["keys", "reload"]).ok();
    let old = made.key("MASKER_KEY_K_HEALTHCARE_OLD");
    fs::rename(&old, kept.join("old")).unwrap();
    made.doctor().one("key-missing", "error");
    daemon.stop();
    let findings = made.doctor();
    let missing = findings.one("key-missing", "error");
    assert!(missing["id"] == "daemon.start" && found(missing).contains("K_HEALTHCARE_OLD"), "{missing}");
    let recover = made.run(&["recover"]).ok();
    assert!(recover.contains("a start goes on without a key") && recover.contains("K_HEALTHCARE_OLD"), "{recover}");
    fs::rename(kept.join("old"), &old).unwrap();
    assert_eq!(of_site(made.doctor().faults()), []);
}

#[test]
fn what_the_next_start_would_refuse_is_found_while_the_daemon_serves() {
    let made = Made::served();
    own_policies(&made);
    let daemon = made.start();
    let assert_sound = || {
        let findings = made.doctor();
        assert_eq!(of_site(findings.faults()), []);
        assert_eq!(findings.status("daemon.start"), "ok");
    };
    assert_sound();
    let assert_refused = |words: &str| {
        let findings = made.doctor();
        let is_start = |one: &&serde_json::Value| one["id"] == "daemon.start" && one["status"] == "error";
        let start = findings.0.iter().find(is_start).unwrap_or_else(|| panic!("{words}: {:#?}", findings.faults()));
        assert!(found(start).contains("the next start is refused") && found(start).contains(words), "{words}: {start}");
        assert!(remedy(start).contains("before the daemon is stopped or restarted"), "{start}");
        findings
    };
    let config = made.path("masker.toml");
    let sound = fs::read_to_string(&config).unwrap();
    // As a line of an editor: a name of an engine, a path, and a value that is none.
    fs::write(&config, sound.replacen("[vault]", "[vault]\nengine = \"sled\"", 1)).unwrap();
    assert_refused("sled");
    let policies = made.path("policies").display().to_string();
    fs::write(&config, sound.replace(&policies, "/nonexistent/policies")).unwrap();
    let findings = assert_refused("/nonexistent/policies");
    assert_eq!(findings.one("other-daemon", "warning")["id"], "config", "it has other files than the daemon");
    fs::write(&config, sound.replacen("[vault]", "[vault]\nengine = \"fjal\"", 1)).unwrap();
    made.doctor().one("config-invalid", "error");
    fs::write(&config, &sound).unwrap();

    let foreign = made.path("audit").join("notes.txt");
    fs::write(&foreign, "").unwrap();
    assert_refused("notes.txt");
    fs::remove_file(&foreign).unwrap();
    let (witness, kept) = (made.path("vault").join("witness"), made.home().join("witness"));
    fs::rename(&witness, &kept).unwrap();
    assert_refused("the witness file of the vault");
    fs::rename(&kept, &witness).unwrap();
    assert_sound();
    daemon.stop();
}

#[test]
fn an_audit_log_that_is_gone_is_named_and_not_taken_for_a_missing_scope() {
    let made = Made::served();
    let daemon = made.start();
    let (log, kept) = (made.path("audit"), made.home().join("audit"));
    fs::rename(&log, &kept).unwrap();
    // The second one finds a daemon that has noticed it.
    for _ in 0..2 {
        let findings = made.doctor();
        let gone = findings.one("audit-log-missing", "error");
        assert!(found(gone).contains("is not in") && remedy(gone).starts_with("move the log back"), "{gone}");
        for one in findings.0.iter().filter(|one| one["status"] != "ok") {
            assert!(!remedy(one).contains("access.root") && !found(one).contains("scope"), "{one}");
        }
    }
    fs::rename(&kept, &log).unwrap();
    daemon.stop();
}

#[test]
fn what_a_start_refuses_is_an_error_of_doctor() {
    let made = Made::served();
    let vault = made.path("vault");
    let copy = |to: &str| {
        let copied = Command::new("cp").arg("--archive").arg(&vault).arg(made.home().join(to)).status().unwrap();
        assert!(copied.success());
    };
    copy("older");
    let daemon = made.start();
    daemon.client().token("PHONE", "415-555-2672");
    daemon.stop();
    let put = |name: &str| {
        fs::rename(&vault, made.home().join("aside")).unwrap();
        fs::rename(made.home().join(name), &vault).unwrap();
    };
    let take_back = |name: &str| {
        fs::rename(&vault, made.home().join(name)).unwrap();
        fs::rename(made.home().join("aside"), &vault).unwrap();
    };
    let refused = |text: &str| {
        let findings = made.doctor();
        let finding = findings.one("start-refused", "error");
        assert!(found(finding).contains(text), "{text}: {finding}");
        made.start_is_refused();
        assert_eq!(made.doctor().one("start-refused", "error")["id"], "daemon.start");
    };
    let sound = || assert_eq!(of_site(made.doctor().faults()), []);
    sound();

    put("older");
    refused("loss: the vault in");
    // A broken `recover.toml` accepts nothing.
    assert_eq!(made.run(&["recover", "--accept", "loss"]).code, 0);
    sound();
    let accepted = made.path("recover.toml");
    let text = fs::read_to_string(&accepted).unwrap();
    fs::write(&accepted, "accept = \"all\"\n").unwrap();
    let findings = made.doctor();
    let of_start = |text: &str| findings.0.iter().any(|one| one["id"] == "daemon.start" && found(one).contains(text));
    assert!(of_start("loss: ") && of_start("recover.toml is invalid"), "{:#?}", findings.0);
    fs::write(&accepted, text).unwrap();
    take_back("older");
    sound();

    let witness = vault.join("witness");
    fs::rename(&witness, made.home().join("aside")).unwrap();
    refused("the witness file of the vault");
    fs::rename(made.home().join("aside"), &witness).unwrap();
    let engine = ["sled", "fjall"].into_iter().find(|engine| vault.join(engine).exists()).unwrap();
    fs::rename(vault.join(engine), made.home().join("aside")).unwrap();
    refused("its database is missing");
    fs::create_dir(vault.join(engine)).unwrap();
    let emptied = made.doctor();
    let emptied = emptied.one("start-refused", "error");
    assert!(!found(emptied).starts_with("loss") && found(emptied).contains("restore a backup"), "{emptied}");
    fs::remove_dir_all(vault.join(engine)).unwrap();
    fs::rename(made.home().join("aside"), vault.join(engine)).unwrap();
    sound();

    let config = made.path("masker.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        format!("{text}\n[[clients]]\nname = \"app\"\nuser = \"masker-nobody\"\nscopes = [\"tokenize\"]\n"),
    )
    .unwrap();
    refused("masker-nobody");
    fs::write(&config, text).unwrap();
    sound();

    // Keys that are exchanged, and an earlier one that is active again.
    let [care, pay] = ["MASKER_KEY_K_HEALTHCARE", "MASKER_KEY_K_PAYMENTS"].map(|name| made.key(name));
    exchange(&care, &pay);
    let findings = made.doctor();
    let of_start = findings.0.iter().filter(|one| one["finding"] == "start-refused").map(found);
    assert!(of_start.into_iter().any(|found| found.contains("of K_PAYMENTS: put each key back")), "{:#?}", findings.0);
    made.start_is_refused();
    exchange(&care, &pay);
    let daemon = made.start();
    made.run(&["keys", "rotate", "--dir", "d/keys", "--kid", "K_HEALTHCARE"]).ok();
    made.run(&["keys", "reload"]).ok();
    daemon.stop();
    let old = made.key("MASKER_KEY_K_HEALTHCARE_OLD");
    exchange(&care, &old);
    refused("key-rollback: ");
    exchange(&care, &old);
    sound();
    made.start().stop();
}

#[test]
fn files_that_the_daemons_user_cannot_read_are_found_by_root() {
    if !is_root("files of another user") {
        return;
    }
    let made = Made::served();
    own_policies(&made);
    let (config, policies) = (made.path("masker.toml"), made.path("policies"));
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    give(&made.path("vault"), USER);
    give(&made.path("audit"), USER);
    for path in [made.home(), &made.path("")] {
        set(path, 0o755);
    }
    contents(&policies).iter().for_each(|(policy, _)| set(policy, 0o644));
    set(&policies, 0o755);
    set(&config, 0o644);
    let started = |findings: &Findings| findings.status("daemon.start").to_owned();
    assert_eq!(started(&made.doctor()), "ok");
    let policy = contents(&policies).remove(0).0;
    // Root's group is not the daemon's.
    for (path, bad, good) in
        [(&config, 0o640, 0o644), (&policies, 0o700, 0o755), (&policy, 0o600, 0o644), (&made.path(""), 0o700, 0o755)]
    {
        set(path, bad);
        assert_eq!(started(&made.doctor()), "error", "{}", path.display());
        let recover = made.run(&["recover"]);
        assert!(recover.code == 1 && recover.stdout.contains("ermission denied"), "{}", recover.stdout);
        set(path, good);
    }
    assert_eq!(started(&made.doctor()), "ok");

    // For a user without rights, doctor says so, and suggests no change of the owner.
    let mut doctor = Command::new(masker());
    doctor.args(["doctor", "--json"]).env_clear().env("MASKER_CONFIG", &config).current_dir("/").stdin(Stdio::null());
    std::os::unix::process::CommandExt::uid(&mut doctor, USER + 1);
    let output = doctor.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    let findings = Findings::of(Outcome { code, stdout: text(output.stdout), stderr: text(output.stderr) });
    for id in ["vault.directory", "audit.directory", "daemon.start", "policies.keys"] {
        assert_eq!(findings.status(id), "not_checked", "{id}");
    }
    assert!(findings.0.iter().all(|one| !one.to_string().contains("chown")), "{:#?}", findings.0);
}

#[test]
fn a_key_whose_name_is_in_small_letters_is_renamed_and_a_copy_is_moved() {
    let made = Made::served();
    let files = contents(&made.path("keys"));
    fs::rename(made.key("MASKER_KEY_K_HEALTHCARE"), made.key("MASKER_KEY_k_healthcare")).unwrap();
    let findings = made.doctor();
    assert!(made.follow(remedy(findings.one("key-name-invalid", "error"))));
    assert_eq!(contents(&made.path("keys")), files);
    // Beside the key itself, it is a copy.
    fs::copy(made.key("MASKER_KEY_K_HEALTHCARE"), made.key("MASKER_KEY_k_healthcare")).unwrap();
    assert!(made.follow(remedy(made.doctor().one("key-name-invalid", "error"))));
    assert_eq!(contents(&made.path("keys")), files);
    assert!(made.home().join("MASKER_KEY_k_healthcare").exists());
}
