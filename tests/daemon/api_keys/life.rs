//! The life cycle of a key, with kills between the steps.

use std::{fs, path::Path, process::Command, time::Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Issued, create, outcome, refused};
use crate::harness::{Daemon, LIMIT, Site, masker};

/// Returns the contents of all files below a directory.
fn contents(directory: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(contents(&entry.path())),
            false => found.push(fs::read(entry.path()).unwrap()),
        }
    }
    found
}

fn holds(files: &[Vec<u8>], needle: &str) -> bool {
    files.iter().any(|file| file.windows(needle.len()).any(|window| window == needle.as_bytes()))
}

#[test]
fn a_secret_that_is_not_written_is_lost_with_words() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let run = |words: &[&str]| {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(masker());
        command.args(words).env("MASKER_SOCKET", daemon.socket()).stdout(full);
        let ended = command.output().unwrap();
        assert_eq!(ended.status.code(), Some(1));
        String::from_utf8(ended.stderr).unwrap()
    };
    let text = run(&["api-keys", "create", "--name", "a", "--scope", "tokenize"]);
    let list = daemon.client().get("/api/v1/api-keys").ok();
    let id = list["api_keys"][0]["id"].as_str().unwrap().to_owned();
    assert!(text.contains(&format!("`masker api-keys revoke {id}`")), "{text}");
    let text = run(&["api-keys", "rotate", &id]);
    assert!(text.contains("failed to write standard output") && text.contains(&id), "{text}");
    let text = run(&["vault", "plant-honeytoken", "--kind", "PHONE"]);
    assert!(text.contains("is planted, and its token is lost"), "{text}");
    daemon.stop();
}

/// Kills the daemon and starts another one on the same vault.
fn again(site: &Site, daemon: Daemon, log: &mut String) -> Daemon {
    log.push_str(&daemon.kill().log.text());
    site.launch().care_keys().start()
}

#[test]
fn changes_of_a_key_survive_a_kill_and_only_its_hash_is_stored() {
    let (site, mut log) = (Site::new(), String::new());
    let daemon = site.launch().care_keys().start();
    let first =
        create(&mut daemon.client(), "nightly-import", &["tokenize"], json!({"owner": "Ada", "workspace": "etl"}));
    let daemon = again(&site, daemon, &mut log);
    let whoami = first.client(&daemon).get("/api/v1/auth/whoami").ok();
    assert_eq!((&whoami["name"], &whoami["attested_by"]), (&json!("nightly-import"), &json!("api-key")));
    assert_eq!((&whoami["workspace"], &whoami["mode"]), (&json!("etl"), &json!("live")));
    assert_eq!(whoami["key_prefix"], first.key[..16]);
    let shown = daemon.client().get(&first.path()).ok();
    assert_eq!(
        (&shown["owner"], &shown["created_by"], &shown["state"]),
        (&json!("Ada"), &json!("trusted"), &json!("active"))
    );
    assert_eq!(shown["last_used"]["uid"], nix::unistd::geteuid().as_raw());

    // New scopes apply at once, on an open connection too.
    let mut open = first.client(&daemon);
    let token = open.token("PHONE", "415-555-2671");
    open.post("/api/v1/rehydrate", &json!({"tokens": [token]})).problem(403, "perm.denied");
    daemon.client().exchange("PATCH", &first.path(), br#"{"scopes": ["rehydrate"], "name": "reader"}"#).ok();
    assert_eq!(open.value(&token), "415-555-2671");
    open.post("/api/v1/tokenize", &json!({"items": []})).problem(403, "perm.denied");
    let daemon = again(&site, daemon, &mut log);
    assert_eq!(first.client(&daemon).value(&token), "415-555-2671");

    // A rotation with a grace period leaves two valid secrets; without one it leaves one.
    let rotate = |daemon: &Daemon, grace: u64| {
        let path = format!("{}/rotate", first.path());
        Issued::of(&daemon.client().post(&path, &json!({"grace_seconds": grace})).ok())
    };
    let second = rotate(&daemon, 3_600);
    assert_eq!(second.id, first.id);
    let daemon = again(&site, daemon, &mut log);
    for issued in [&first, &second] {
        assert_eq!(issued.client(&daemon).value(&token), "415-555-2671");
    }
    assert!(daemon.client().get(&first.path()).ok()["grace_ends"].is_string());
    let third = rotate(&daemon, 0);
    // Without a grace period, the secret of the rotation before ends as well.
    for before in [&first, &second] {
        refused(&mut before.client(&daemon), "auth.expired");
    }
    assert_eq!(third.client(&daemon).value(&token), "415-555-2671");
    let daemon = again(&site, daemon, &mut log);
    refused(&mut second.client(&daemon), "auth.expired");
    assert_eq!(third.client(&daemon).value(&token), "415-555-2671");
    daemon
        .client()
        .post(&format!("{}/rotate", first.path()), &json!({"grace_seconds": 2_592_001}))
        .problem(400, "request.invalid");

    // A revocation ends all of them permanently.
    let mut open = third.client(&daemon);
    assert_eq!(outcome(&mut open).0, 200);
    assert_eq!(daemon.client().exchange("DELETE", &first.path(), b"").ok()["state"], "revoked");
    refused(&mut open, "auth.revoked");
    let daemon = again(&site, daemon, &mut log);
    refused(&mut third.client(&daemon), "auth.revoked");
    refused(&mut first.client(&daemon), "auth.revoked");
    let mut client = daemon.client();
    client.post(&format!("{}/rotate", first.path()), &json!({})).problem(409, "api_key.revoked");
    client.exchange("PATCH", &first.path(), br#"{"expires_at": null}"#).problem(409, "api_key.revoked");
    client.get(&format!("/api/v1/api-keys/{}", "0".repeat(32))).problem(404, "api_key.not_found");

    let answers = [client.get("/api/v1/api-keys"), client.get(&first.path())].map(|answer| answer.body);
    log.push_str(&daemon.stop().log.text());
    let files = contents(&site.vault());
    assert!(holds(&files, "reader") && holds(&answers, "reader"), "the search finds what is there");
    for issued in [first, second, third] {
        // The random part only, so that a key with another prefix would be found too.
        let secret = &issued.key["masker_live_".len() + 4..];
        assert!(!holds(&files, secret), "a key is in the vault's files");
        assert!(!holds(&answers, secret), "a key is shown again");
        assert!(!log.contains(secret), "a key is in the log");
    }
}

#[test]
fn a_key_is_valid_until_it_expires() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let ends = Timestamp::now() + SignedDuration::from_secs(2);
    let key = create(&mut daemon.client(), "brief", &["tokenize"], json!({"expires_at": ends.to_string()}));
    let (mut client, began) = (key.client(&daemon), Instant::now());
    while outcome(&mut client).0 == 200 {
        assert!(began.elapsed() < LIMIT, "it does not expire");
    }
    // Times have a resolution of a millisecond.
    assert!(Timestamp::now() + SignedDuration::from_millis(1) >= ends, "it expired too early");
    refused(&mut client, "auth.expired");
    assert_eq!(daemon.client().get(&key.path()).ok()["state"], "expired");
    daemon.client().exchange("PATCH", &key.path(), br#"{"expires_at": null}"#).ok();
    assert_eq!(outcome(&mut client).0, 200);
    for wrong in ["2020-01-01T00:00:00Z", "tomorrow"] {
        let body = json!({"name": "x", "scopes": ["tokenize"], "expires_at": wrong});
        let detail = daemon.client().post("/api/v1/api-keys", &body).problem(400, "request.invalid");
        assert!(!detail.contains(wrong), "{detail}");
    }
    daemon.stop();
}

#[test]
fn the_number_of_keys_in_a_workspace_is_limited() {
    let mut site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let body = |workspace: &str| json!({"name": "one of many", "scopes": ["tokenize"], "workspace": workspace});
    let made: Vec<Issued> = (0..10).map(|_| create(&mut client, "one of many", &["tokenize"], json!({}))).collect();
    client.post("/api/v1/api-keys", &body("default")).problem(409, "api_key.limit");
    create(&mut client, "another", &["tokenize"], json!({"workspace": "other"}));
    client.exchange("DELETE", &made[3].path(), b"").ok();
    create(&mut client, "in its place", &["tokenize"], json!({}));
    client.post("/api/v1/api-keys", &body("default")).problem(409, "api_key.limit");
    assert_eq!(client.metric("masker_api_keys{state=\"active\"}"), Some(11.0));
    assert_eq!(client.metric("masker_api_keys{state=\"revoked\"}"), Some(1.0));
    daemon.stop();

    site.set("access", "api_keys_per_workspace", "11");
    let daemon = site.launch().care_keys().start();
    create(&mut daemon.client(), "the eleventh", &["tokenize"], json!({}));
    daemon.client().post("/api/v1/api-keys", &body("default")).problem(409, "api_key.limit");
    daemon.stop();
}

#[test]
fn the_command_line_issues_keys_and_authenticates_with_them() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let masker = |key: Option<&str>, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
        command
            .args(words)
            .arg("--socket")
            .arg(daemon.socket())
            .env_clear()
            .envs(key.map(|key| ("MASKER_API_KEY", key)));
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let words = ["api-keys", "create", "--name", "nightly", "--scope", "tokenize,lookup", "--scope", "rehydrate:PHONE"];
    let more = ["--policy", "care", "--context", "", "--expires", "90d", "--limits", "values_per_hour=7", "-v"];
    let (code, stdout, stderr) = masker(None, &[&words[..], &more[..]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    let key = stdout.strip_suffix('\n').unwrap();
    assert!(key.len() == 55 && key.starts_with("masker_live_"), "{stdout}");
    assert!(stderr.contains("shown once") && !stderr.contains(&key[16..]), "{stderr}");

    let (code, stdout, _) = masker(Some(key), &["whoami"]);
    assert_eq!(code, Some(0));
    for line in [
        "name\tnightly",
        &format!("key prefix\t{}", &key[..16]),
        "workspace\tdefault",
        "limits\tvalues_per_hour=7",
        "left of values_per_hour\t7",
        "may tokenize\tyes",
        "may rehydrate\tno",
        "may rehydrate:PHONE\tyes",
    ] {
        assert!(stdout.lines().any(|known| known == line), "{line:?} is not in\n{stdout}");
    }
    let (_, token, _) = masker(Some(key), &["tokenize", "--kind", "PHONE", "415-555-2671"]);
    assert_eq!(masker(Some(key), &["rehydrate", token.trim()]).1, "415-555-2671\n");
    assert_eq!(masker(Some(key), &["api-keys", "list"]).0, Some(4), "it lacks the scope");

    let (_, stdout, _) = masker(None, &["api-keys", "list"]);
    let [header, row] = stdout.lines().collect::<Vec<_>>()[..] else { panic!("{stdout}") };
    assert!(header.starts_with("ID\tNAME\tPREFIX\tSTATE\tMODE\t"), "{header}");
    let cells: Vec<&str> = row.split('\t').collect();
    assert_eq!((cells[1], cells[2], cells[3], cells[4]), ("nightly", &key[..16], "active", "live"), "{stdout}");
    let id = cells[0];
    assert!(masker(None, &["api-keys", "show", id]).1.contains("scopes\ttokenize, lookup, rehydrate:PHONE\n"));

    let (code, stdout, stderr) = masker(None, &["api-keys", "rotate", "--grace", "0", id, "--json"]);
    assert!(code == Some(0) && stderr.contains("shown once"), "{stderr}");
    let next: Value = serde_json::from_str(&stdout).unwrap();
    let next = next["key"].as_str().unwrap();
    let (code, stdout, stderr) = masker(Some(key), &["whoami"]);
    assert!(code == Some(4) && stdout.is_empty() && stderr.contains("auth.expired"), "{stderr}");
    assert_eq!(masker(Some(next), &["whoami"]).0, Some(0));
    assert_eq!(masker(None, &["api-keys", "revoke", id]).1, format!("API KEY\tSTATE\n{id}\trevoked\n"));
    let (code, _, stderr) = masker(Some(next), &["tokenize", "--kind", "PHONE", "1"]);
    assert!(code == Some(4) && stderr.contains("auth.revoked") && !stderr.contains(&next[16..]), "{stderr}");
    // A malformed key is not sent.
    let (code, _, stderr) = masker(Some(&key[..54]), &["whoami"]);
    assert!(code == Some(4) && stderr.contains("MASKER_API_KEY is not a whole API key"), "{stderr}");
    assert_eq!(masker(None, &["api-keys", "show", key]).0, Some(64), "no key in a URL");
    let log = daemon.stop().log.text();
    assert!(!log.contains(&key[16..]) && !log.contains("credential refused\",\"reason\":\"this is no"), "{log}");
}
