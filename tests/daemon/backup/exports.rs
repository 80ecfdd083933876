//! Exports, imports, purges and compactions by the command line, on a running daemon.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use masker_core::token::Token;
use masker_store::{
    RowKey, Store,
    embedded::{EmbeddedStore, StoreOptions},
    record::Record,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::Ended;
use crate::harness::{Client, Daemon, Launch, Site, TestKey, error_code};

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
    command.args(words).env_clear().current_dir("/").stdin(Stdio::null());
    command
}

/// Runs a command against a daemon.
fn masker(daemon: &Daemon, words: &[&str]) -> Ended {
    Ended::of(command(words).env("MASKER_SOCKET", daemon.socket()).output().expect("masker can be run"))
}

fn export(daemon: &Daemon, file: &Path) -> Value {
    masker(daemon, &["vault", "export", "--json", "--output", path(file)]).json(0)
}

fn import(daemon: &Daemon, file: &Path) -> Value {
    masker(daemon, &["vault", "import", "--json", path(file)]).json(0)
}

fn path(file: &Path) -> &str {
    file.to_str().expect("a name that is text")
}

fn assert_sound(daemon: &Daemon) -> Value {
    masker(daemon, &["vault", "check", "--json"]).json(0)
}

/// Starts under the first key; `second` starts under the second, with the first as the old one.
fn first(site: &Site) -> Launch<'_> {
    site.launch().care_keys()
}

fn second(site: &Site) -> Launch<'_> {
    first(site).key("K_CARE", &TestKey::named("care, later")).old_key("K_CARE", &TestKey::named("care"))
}

fn phones(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("+1415{number:07}")).collect()
}

#[test]
fn an_export_restores_a_vault_on_another_host_under_other_keys() {
    let (here, there) = (Site::new(), Site::new());
    let daemon = first(&here).start();
    let mut client = daemon.client();
    let old = client.tokens("PHONE", &phones(0, 300));
    let forgotten = client.token("PHONE", "415-555-9999");
    assert_eq!(masker(&daemon, &["vault", "forget", &forgotten]).stdout, "forgotten\n");
    daemon.stop();
    let daemon = second(&here).start();
    let mut client = daemon.client();
    let new = client.tokens("PHONE", &phones(300, 500));

    let file = here.path("masker.export");
    let report = export(&daemon, &file);
    assert_eq!(report["bytes"], fs::metadata(&file).unwrap().len());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let names = || fs::read_dir(file.parent().unwrap()).unwrap().map(|file| file.unwrap().file_name());
    assert!(names().all(|name| !name.to_string_lossy().ends_with(".partial")), "{:?}", names().collect::<Vec<_>>());
    let again = masker(&daemon, &["vault", "export", "--output", path(&file)]);
    assert!(again.code == Some(1) && again.stderr.contains("exists already"), "{}", again.stderr);
    assert_eq!(masker(&daemon, &["vault", "export", "--force", "--output", path(&file)]).code, Some(0));
    let piped = command(&["vault", "export", "--output", "-"]).env("MASKER_SOCKET", daemon.socket()).output().unwrap();
    assert!(piped.status.success() && piped.stdout.starts_with(b"masker export\n\x02"));
    daemon.stop();

    // This needs no daemon.
    let inspected = Ended::of(command(&["vault", "inspect", "--json", path(&file)]).output().unwrap());
    assert!(inspected.stderr.contains("is not authenticated"), "{}", inspected.stderr);
    let inspected = inspected.json(0);
    assert_eq!(inspected["vault_id"], report["vault_id"]);
    let mut keys: Vec<(String, u64, bool)> = inspected["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| {
            (key["fingerprint"].as_str().unwrap().into(), key["records"].as_u64().unwrap(), key["opens"] == true)
        })
        .collect();
    keys.sort();
    let name = |key: &str, kid: &str| TestKey::named(key).fingerprint(kid);
    let mut expected = vec![
        (name("care", "K_CARE"), 300, false),
        (name("care, later", "K_CARE"), 200, true),
        (name("pay", "K_PAY"), 0, true),
    ];
    expected.sort();
    assert_eq!(keys, expected);

    let daemon = second(&there).start();
    let report = import(&daemon, &file);
    assert_eq!(
        (&report["imported"], &report["resealed"], &report["tombstones_added"]),
        (&500.into(), &300.into(), &1.into())
    );
    let report = import(&daemon, &file);
    assert_eq!((&report["imported"], &report["present"]), (&0.into(), &500.into()), "a second import changes nothing");
    assert_eq!(assert_sound(&daemon)["index_rows"], 1_000);
    daemon.stop();
    // All records are under the new key, so the old one can be removed.
    let daemon = first(&there).key("K_CARE", &TestKey::named("care, later")).start();
    let mut client = daemon.client();
    let all = [old, new].concat();
    for (result, phone) in client.rehydrate(&all).iter().zip(phones(0, 500)) {
        assert_eq!(*result, json!({"value": phone, "kind": "PHONE", "generation": "active"}));
    }
    assert_eq!(client.tokens("PHONE", &phones(0, 500)), all, "the same value has the same token");
    assert_eq!(error_code(&client.rehydrate(&[forgotten.as_str()])[0]), "token.not_found");
    assert_sound(&daemon);
    daemon.stop();
}

#[test]
fn an_export_contains_all_answers_before_its_start() {
    let (here, there) = (Site::new(), Site::new());
    let daemon = first(&here).start();
    daemon.client().tokens("PHONE", &phones(0, 5_000));
    let (answered, ended) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let file = here.path("masker.export");
    let expected = thread::scope(|scope| {
        for connection in 1..=8 {
            let (daemon, answered, ended) = (&daemon, &answered, &ended);
            scope.spawn(move || {
                let mut client = daemon.client();
                for step in 0.. {
                    let phone = format!("+1{connection}{step:09}");
                    let token = client.token("PHONE", &phone);
                    answered.lock().unwrap().push((phone, token));
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
        while answered.lock().unwrap().len() < 500 {
            thread::yield_now();
        }
        let before = answered.lock().unwrap().clone();
        export(&daemon, &file);
        ended.store(true, Ordering::SeqCst);
        before
    });
    daemon.stop();
    let daemon = first(&there).start();
    let report = import(&daemon, &file);
    assert!(report["imported"].as_u64().unwrap() >= 5_000 + expected.len() as u64, "{report}");
    let mut client = daemon.client();
    let tokens: Vec<String> = expected.iter().map(|(_, token)| token.clone()).collect();
    for (result, (phone, _)) in client.rehydrate(&tokens).iter().zip(&expected) {
        assert_eq!(result["value"], *phone);
    }
    assert_sound(&daemon);
    daemon.stop();
}

#[test]
fn rejects_incomplete_exports_and_writes_nothing() {
    let (here, there) = (Site::new(), Site::new());
    let daemon = first(&here).start();
    daemon.client().tokens("PHONE", &phones(0, 1_000));
    let file = here.path("masker.export");
    export(&daemon, &file);
    let whole = fs::read(&file).unwrap();
    // Another caller with the wrong keys.
    let stranger = Site::new();
    let strange = stranger.launch().key("K_CARE", &TestKey::named("x")).key("K_PAY", &TestKey::named("y")).start();
    let refused = masker(&strange, &["vault", "import", path(&file)]);
    assert!(refused.code == Some(1) && refused.stderr.contains("key.unavailable"), "{}", refused.stderr);
    assert!(refused.stderr.contains(&TestKey::named("care").fingerprint("K_CARE")), "{}", refused.stderr);
    strange.stop();

    let other = first(&there).start();
    let altered = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let chunk = 64 * 1_024 + 16;
    for bytes in [
        altered(40),
        altered(whole.len() / 2),
        altered(whole.len() - 1),
        whole[..whole.len() - 1].to_vec(),
        whole[..whole.len() - whole.len() % chunk].to_vec(),
        [&whole[..], b"\0"].concat(),
        b"masker export\n\x01\0\0\0\0".to_vec(),
    ] {
        let file = there.path("altered");
        fs::write(&file, bytes).unwrap();
        let refused = masker(&other, &["vault", "import", path(&file)]);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{}", refused.stderr);
    }
    let refused = Ended::of(
        command(&["vault", "import", "-"])
            .env("MASKER_SOCKET", other.socket())
            .stdin(fs::File::open(there.path("altered")).unwrap())
            .output()
            .unwrap(),
    );
    assert!(refused.stderr.contains("export.invalid"), "{}", refused.stderr);
    let mut client = other.client();
    client.exchange("POST", "/api/v1/vault/import?restore_erased=perhaps", &whole).problem(400, "request.invalid");
    client.exchange("POST", "/api/v1/vault/import", &whole[..200]).problem(422, "export.invalid");
    assert_eq!(client.get("/api/v1/vault/stats").ok()["records"], 0);
    assert_eq!(client.exchange("POST", "/api/v1/vault/import", &whole).ok()["imported"], 1_000);
    assert_eq!(fs::read_dir(there.vault()).unwrap().count(), 3, "lock, witness and database: the export is in none");
    daemon.stop();
    other.stop();
}

#[test]
fn an_import_can_be_repeated_after_a_kill() {
    let (here, there) = (Site::new(), Site::new());
    let daemon = first(&here).start();
    let mut client = daemon.client();
    let tokens: Vec<String> =
        (0..4).flat_map(|part| client.tokens("PHONE", &phones(part * 10_000, (part + 1) * 10_000))).collect();
    let file = here.path("masker.export");
    export(&daemon, &file);
    daemon.stop();

    let daemon = second(&there).start();
    let records = |client: &mut Client| client.get("/api/v1/vault/stats").ok()["records"].as_u64().unwrap();
    let interrupted = thread::scope(|scope| {
        let importing = scope.spawn(|| masker(&daemon, &["vault", "import", path(&file)]));
        let mut client = daemon.client();
        while records(&mut client) == 0 {}
        daemon.signal(Signal::SIGKILL);
        importing.join().unwrap()
    });
    // If the import was done before the kill, it succeeds.
    assert!(matches!(interrupted.code, Some(5 | 0)), "{}", interrupted.stderr);
    daemon.kill();
    let daemon = second(&there).start();
    let there_already = records(&mut daemon.client());
    assert!(there_already > 0);
    let report = import(&daemon, &file);
    assert_eq!((&report["present"], &report["imported"]), (&there_already.into(), &(40_000 - there_already).into()));
    let mut client = daemon.client();
    for (tokens, from) in tokens.chunks(10_000).zip((0..4).map(|part| part * 10_000)) {
        for (result, phone) in client.rehydrate(tokens).iter().zip(phones(from, from + 10_000)) {
            assert_eq!(result["value"], phone);
        }
    }
    let checked = assert_sound(&daemon);
    assert_eq!((&checked["records"], &checked["index_rows"]), (&40_000.into(), &80_000.into()));
    daemon.stop();
}

#[test]
fn a_purge_counts_and_then_erases() {
    let site = Site::new();
    let daemon = first(&site).start();
    let mut client = daemon.client();
    let tokens = client.tokens("PHONE", &phones(0, 1_500));
    let purge = |words: &[&str]| masker(&daemon, &[&["vault", "purge", "--json"], words].concat());
    assert_eq!(purge(&["--before", "2001-01-01"]).json(0)["records"], 0);
    let counted = purge(&["--before", "9999-01-01"]);
    assert!(counted.stderr.contains("nothing was erased"), "{}", counted.stderr);
    let care = TestKey::named("care").fingerprint("K_CARE");
    let by_kid = json!([{"kid": "K_CARE", "fingerprint": care, "records": 1_500}]);
    assert_eq!(counted.json(2), json!({"dry_run": true, "records": 1_500, "damaged": 0, "by_kid": by_kid}));
    // The active key cannot be purged, nor an unknown one.
    for key in [care.as_str(), "0011223344556677"] {
        let refused = purge(&["--key", key, "--yes"]);
        assert!(refused.code == Some(1) && refused.stderr.contains("purge.refused"), "{}", refused.stderr);
    }
    for body in
        [json!({}), json!({"before": "soon"}), json!({"key": "x"}), json!({"before": "2001-01-01", "key": care})]
    {
        client.post("/api/v1/vault/purge", &body).problem(400, "request.invalid");
    }
    assert_eq!(client.post("/api/v1/vault/purge", &json!({"before": "9999-01-01"})).ok()["dry_run"], true);
    assert_eq!(client.get("/api/v1/vault/stats").ok()["records"], 1_500, "nothing was erased so far");
    daemon.stop();

    // The key is lost: new values are refused until the loss is accepted.
    let daemon = first(&site).key("K_CARE", &TestKey::named("care, later")).start();
    let mut client = daemon.client();
    let new = json!({"items": [{"kind": "PHONE", "value": "415-555-2671"}]});
    assert_eq!(error_code(&client.post("/api/v1/tokenize", &new).results(1)[0]), "key.unavailable");
    let erased = masker(&daemon, &["vault", "purge", "--json", "--key", &care, "--yes"]).json(0);
    assert_eq!((&erased["records"], &erased["dry_run"]), (&1_500.into(), &false.into()));
    let receipt = &daemon.log().wait_for(1, "records were purged")[0];
    assert_eq!((&receipt["records"], &receipt["keys"]), (&1_500.into(), &format!("K_CARE {care}: 1500").into()));
    assert_eq!(error_code(&client.rehydrate(&[tokens[0].as_str()])[0]), "token.not_found");
    client.token("PHONE", "415-555-2671");
    let checked = assert_sound(&daemon);
    assert_eq!((&checked["records"], &checked["tombstones"]), (&1.into(), &1_500.into()));
    daemon.stop();
}

/// Whether any file below a directory contains these bytes.
fn stands_in(directory: &Path, needle: &[u8]) -> bool {
    let mut found = false;
    for entry in fs::read_dir(directory).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        found |= if path.is_dir() {
            stands_in(&path, needle)
        } else {
            fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle)
        };
    }
    found
}

/// Returns the end of a sealed value in the vault of a stopped daemon.
fn sealed_bytes(site: &Site, token: &str) -> Vec<u8> {
    let Ok(Token::Vault { id, .. }) = Token::parse(token) else { panic!("no vault token") };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = EmbeddedStore::open(site.vault(), StoreOptions::default()).expect("the daemon has stopped");
        let row = store.get_many(vec![RowKey::record(id.as_bytes())]).await.unwrap().remove(0).expect("it is there");
        store.close().await.unwrap();
        let ciphertext = Record::decode(&row).expect("a record").ciphertext;
        ciphertext[ciphertext.len() - 32..].to_vec()
    })
}

#[test]
fn no_file_has_forgotten_values_after_a_compaction() {
    let site = Site::new();
    let daemon = first(&site).start();
    let mut client = daemon.client();
    let kept = client.tokens("PHONE", &phones(0, 2_000));
    let forgotten = client.token("PHONE", "415-555-2671");
    daemon.stop();
    let needles = [&forgotten, &kept[7]].map(|token| sealed_bytes(&site, token));
    assert!(needles.iter().all(|needle| stands_in(&site.vault(), needle)));

    let daemon = first(&site).start();
    assert_eq!(masker(&daemon, &["vault", "forget", &forgotten]).code, Some(0));
    let receipt = &daemon.log().wait_for(1, "records were forgotten")[0];
    assert_eq!(receipt["records"], 1);
    assert!(!daemon.log().text().contains(&forgotten), "a receipt names no token");
    let report = masker(&daemon, &["vault", "compact", "--json"]).json(0);
    assert!(report["bytes_before"].is_u64() && report["bytes_after"].is_u64(), "{report}");
    daemon.log().wait_for(1, "vault compacted");
    for when in ["while it serves", "after it was killed"] {
        assert!(!stands_in(&site.vault(), &needles[0]), "{when}");
        assert!(stands_in(&site.vault(), &needles[1]), "{when}: the search works");
        if when == "while it serves" {
            daemon.signal(Signal::SIGKILL);
        }
    }
    daemon.kill();
    let daemon = first(&site).start();
    let mut client = daemon.client();
    assert_eq!(client.value(&kept[7]), phones(7, 8)[0]);
    assert_eq!(error_code(&client.rehydrate(&[forgotten.as_str()])[0]), "token.not_found");
    assert_ne!(client.token("PHONE", "415-555-2671"), forgotten, "a forgotten value gets a new token");
    assert_sound(&daemon);
    daemon.stop();
}

#[test]
fn exports_to_one_name_at_one_time_do_not_disturb_each_other() {
    let (here, there) = (Site::new(), Site::new());
    let daemon = first(&here).start();
    daemon.client().tokens("PHONE", &phones(0, 3_000));
    let file = here.path("masker.export");
    let export = || {
        let mut command = command(&["vault", "export", "--json", "--force", "--output", path(&file)]);
        command.env("MASKER_SOCKET", daemon.socket()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let running: Vec<_> = (0..6).map(|_| export()).collect();
    for child in running {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    daemon.stop();
    let daemon = first(&there).start();
    assert_eq!(import(&daemon, &file)["imported"], 3_000);
    daemon.stop();
}
