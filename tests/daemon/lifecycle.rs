//! From start to stop: refusals, reloads, and an end in order.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::harness::{CARE, Daemon, Site, TestKey, error_code, item};

fn start(site: &Site) -> Daemon {
    site.launch().care_keys().start()
}

#[test]
fn requests_in_flight_are_answered_before_the_end() {
    let site = Site::new();
    let daemon = start(&site);
    let items: Vec<Value> = (0..2_000).map(|i| item("PHONE", &i.to_string())).collect();
    let body = json!({ "items": items }).to_string();
    let head = format!(
        "POST /api/v1/tokenize HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut in_flight: Vec<_> = (0..4).map(|_| daemon.client()).collect();
    for client in &mut in_flight {
        client.send_raw(head.as_bytes()).unwrap();
        // The daemon has begun with the request, and waits for the rest.
        client.receive_continue();
    }
    let mut idle = [daemon.client(), daemon.client()];
    idle[1].get("/health").ok();

    let since = daemon.terminate();
    for client in &mut idle {
        client.expect_end();
    }
    let tokens: Vec<Vec<Value>> = in_flight
        .iter_mut()
        .map(|client| {
            client.send_raw(body.as_bytes()).unwrap();
            let response = client.receive();
            assert!(response.close, "there will be no other answer on this connection");
            client.expect_end();
            response.results(items.len()).into_iter().map(|result| result["token"].clone()).collect()
        })
        .collect();
    assert!(tokens.iter().all(|answer| *answer == tokens[0]));
    daemon.stopped(since);

    let daemon = start(&site);
    let values = daemon.client().rehydrate(&tokens[0]);
    assert!(values.iter().zip(&items).all(|(value, item)| value["value"] == item["value"]), "answered is durable");
    daemon.stop();
}

#[test]
fn clients_that_stall_do_not_hold_up_the_end() {
    let site = Site::new();
    let daemon = start(&site);
    let [mut head, mut body, mut answer] = [daemon.client(), daemon.client(), daemon.client()];
    head.get("/health").ok();
    head.send_raw(b"GET /health HTTP/1.1\r\n").unwrap();
    body.send_raw(b"POST /api/v1/tokenize HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n")
        .unwrap();
    body.receive_continue();
    let items = vec![item("CITY", &"x".repeat(1_000)); 4_000];
    answer.send("POST", "/api/v1/tokenize", json!({ "items": items }).to_string().as_bytes());
    answer.read_up_to(1);

    let ended = daemon.stop();
    assert!(ended.took >= Duration::from_secs(5), "requests in flight have their time: {:?}", ended.took);
    let cut_off = ended.log.lines().iter().any(|line| line["connections"].as_u64().is_some_and(|cut_off| cut_off >= 2));
    assert!(cut_off, "{}", ended.log.text());
    let daemon = start(&site);
    daemon.client().get("/health").ok();
    daemon.stop();
}

#[test]
fn an_interrupt_ends_it_too_and_so_does_a_start_right_after_a_stop() {
    let site = Site::new();
    let mut tokens = Vec::new();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGINT] {
        let daemon = start(&site);
        tokens.push(daemon.client().token("PHONE", "415-555-2671"));
        let since = Instant::now();
        daemon.signal(signal);
        assert_eq!(daemon.notification().unwrap(), ["STOPPING=1"]);
        daemon.stopped(since);
    }
    assert!(tokens.iter().all(|token| *token == tokens[0]));
}

const REDACTED: &str = "name = \"care\"\nversion = 4\n[entities.PHONE]\naction = \"redact\"\n";

#[test]
fn a_reload_puts_policies_into_force() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-2671");
    site.policy("care.toml", REDACTED);
    client.token("PHONE", "415-555-0000");
    daemon.reload();
    assert_eq!(client.tokenize(&[item("PHONE", "415-555-2671")]), [json!({"redacted": "[REDACTED:PHONE]"})]);
    assert_eq!(error_code(&client.tokenize(&[item("NAME", "a")])[0]), "kind.unknown");
    assert_eq!(client.value(&token), "415-555-2671", "tokens stay what they are");
    assert_eq!(client.get("/api/v1/policies").ok()["policies"][0]["version"], 4);

    site.policy("care.toml", CARE);
    site.policy("second.toml", "name = \"second\"\nversion = 1\n[entities.NOTE]\naction = \"redact\"\n");
    let report = client.exchange("POST", "/api/v1/policies/reload", b"").ok();
    assert_eq!(report, json!({"policies": 2, "warnings": []}));
    let body = json!({"policy": "care", "items": [item("PHONE", "415-555-2671")]});
    assert_eq!(client.post("/api/v1/tokenize", &body).results(1), [json!({"token": token, "created": false})]);
    daemon.stop();
}

#[test]
fn a_reload_that_does_not_validate_changes_nothing_and_health_says_where() {
    let site = Site::new();
    let daemon = start(&site);
    let mut client = daemon.client();
    let broken = [
        (
            "name = \"care\"\nversion = 1\nkid = \"K_CARE\"\n\n[entities.PHONE]\nnormalise = \"phone\"\n",
            "care.toml:6: ",
        ),
        ("name = \"care\"\nversion = \n", "care.toml:2: "),
        (
            "name = \"care\"\nversion = 1\nkid = \"K_NEW\"\ntokenization = \"vault-deterministic\"\n[entities.A]\n",
            "MASKER_KEY_K_NEW",
        ),
    ];
    for (text, expected) in broken {
        for by_signal in [true, false] {
            site.policy("care.toml", text);
            if by_signal {
                daemon.reload();
            } else {
                let detail = client.exchange("POST", "/api/v1/policies/reload", b"").problem(422, "policy.invalid");
                assert!(detail.contains(expected), "{detail}");
            }
            let (status, components) = client.health();
            assert_eq!(status, "degraded");
            assert_eq!(components["policies"]["status"], "degraded");
            let detail = components["policies"]["detail"].as_str().unwrap();
            assert!(detail.contains(expected), "{detail}");
            assert_eq!(client.get("/api/v1/policies").ok()["policies"][0]["version"], 3);
            client.token("PHONE", "415-555-2671");

            site.policy("care.toml", CARE);
            if by_signal {
                daemon.reload();
            } else {
                client.exchange("POST", "/api/v1/policies/reload", b"").ok();
            }
            assert_eq!(client.health().0, "ok");
        }
    }
    // One sound file beside a broken one: all or nothing.
    site.policy("care.toml", REDACTED);
    site.policy("second.toml", "name = \"second\"\n");
    daemon.reload();
    client.token("PHONE", "415-555-2671");
    daemon.stop();
}

#[test]
fn reloads_under_load_fail_no_request_and_split_none() {
    const CONNECTIONS: usize = 4;
    const RELOADS: usize = 12;
    let site = Site::new();
    let daemon = start(&site);
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let (daemon, done, answered) = (&daemon, &done, &answered);
            scope.spawn(move || {
                let mut client = daemon.client();
                let mut round = 0;
                while !done.load(Ordering::Relaxed) {
                    round += 1;
                    let value = |i| item("PHONE", &format!("{connection}-{round:06}-{i:02}"));
                    let results = client.tokenize(&(0..20).map(value).collect::<Vec<_>>());
                    let redacted = results.iter().filter(|result| result["redacted"] == "[REDACTED:PHONE]").count();
                    let minted = results.iter().filter(|result| result["created"] == true).count();
                    assert!((redacted, minted) == (20, 0) || (redacted, minted) == (0, 20), "{results:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for reload in 0..RELOADS {
            site.policy("care.toml", if reload % 2 == 0 { REDACTED } else { CARE });
            daemon.reload();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(answered.load(Ordering::Relaxed) >= CONNECTIONS);
    let log = daemon.stop().log;
    assert_eq!(log.wait_for(RELOADS, "the policies were reloaded").len(), RELOADS);
}

#[test]
fn a_vault_has_one_daemon() {
    let site = Site::new();
    let daemon = start(&site);
    let token = daemon.client().token("PHONE", "415-555-2671");
    let other = site.path("other.sock");
    let log = site.launch().care_keys().socket(&other).refused().code(1);
    assert!(log.contains("is in use by process ") && log.contains(&daemon.pid().to_string()), "{log}");
    assert!(!other.exists(), "it takes its socket along");
    assert_eq!(daemon.client().value(&token), "415-555-2671");
    daemon.kill();
    let daemon = site.launch().care_keys().socket(&other).start();
    assert_eq!(daemon.client().value(&token), "415-555-2671", "the dead hold no lock");
    daemon.stop();
}

#[test]
fn everything_that_is_wrong_with_the_configuration_is_told_at_once() {
    let mut site = Site::new();
    site.set("server", "socket_mode", "\"0999\"");
    site.set("keys", "grace_days", "-1");
    site.set("keys", "grace_acton", "\"refuse\"");
    let short = TestKey::named("short").base64()[..20].to_owned();
    let launch = site.launch().env("MASKER_KEY_K_CARE", short.clone()).env("MASKER_KEY_k_pay", "x");
    let log = launch.env("MASKER_KEY_K_PAY_OLD", TestKey::named("pay").base64()).refused().code(3);
    for expected in [
        "masker.toml:",
        "socket_mode",
        "grace_days",
        "grace_acton",
        "MASKER_KEY_K_CARE ",
        "15 bytes",
        "MASKER_KEY_k_pay",
        "MASKER_KEY_K_PAY_OLD",
    ] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    assert!(!log.contains(&short), "{log}");
    assert!(!site.vault().exists());
}

#[test]
fn keys_that_are_no_keys_are_refused_by_name_and_never_shown() {
    let site = Site::new();
    let good = TestKey::named("care").base64();
    let file = site.path("key");
    fs::write(&file, &good).unwrap();
    let cases: [(&str, &str, &str); 6] = [
        ("MASKER_KEY_K_CARE", "not base64 at all!", "standard base64"),
        ("MASKER_KEY_K_CARE", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=", "all its bytes equal"),
        ("MASKER_KEY_K_CARE_OLD", &good, "the same key as MASKER_KEY_K_CARE"),
        ("MASKER_KEY_K_CARE_FILE", file.to_str().unwrap(), "both set"),
        ("MASKER_KEY_K_PAY_FILE", "/nowhere/at/all", "cannot be read"),
        ("MASKER_AUDIT_HMAC_KEY", "c2hvcnQ=", "5 bytes"),
    ];
    for (name, value, expected) in cases {
        let launch = site.launch().env("MASKER_KEY_K_CARE", good.clone()).env(name, value);
        let log = launch.refused().code(1);
        assert!(log.contains(name.trim_end_matches("_FILE")) && log.contains(expected), "{name}: {log}");
        assert!(!log.contains(&good) && !log.contains("QUFBQ") && !log.contains("at all!"), "{log}");
    }
}

#[test]
fn a_policy_without_its_key_stops_the_start() {
    let site = Site::new();
    site.policy(
        "more.toml",
        "name = \"more\"\nversion = 1\nkid = \"K_MORE\"\ntokenization = \"reversible-aead\"\n[entities.A]\n",
    );
    let log = site.launch().key("K_CARE", &TestKey::named("care")).refused().code(3);
    for (policy, kid) in [("care", "K_PAY"), ("more", "K_MORE")] {
        assert!(log.contains(&format!("`{policy}` names the key {kid}")), "{log}");
        assert!(log.contains(&format!("set MASKER_KEY_{kid} ")), "{log}");
    }
    // The other way round is a warning: a rotation may need it.
    let daemon = site
        .launch()
        .care_keys()
        .key("K_MORE", &TestKey::named("more"))
        .key("K_SPARE", &TestKey::named("spare"))
        .start();
    let warned =
        daemon.log().wait_for(1, "this key is loaded and no policy names it; it opens what was minted under it");
    assert_eq!((warned.len(), &warned[0]["kid"]), (1, &json!("K_SPARE")));
    daemon.stop();
}

#[test]
fn policies_that_do_not_validate_stop_the_start_with_every_problem() {
    let site = Site::new();
    site.policy("care.toml", "name = \"care\"\nversion = 0\nkid = \"K_CARE\"\n[entities.PHONE]\nnormalise = \"x\"\n");
    site.policy("twin.toml", "name = \"Twin\"\nversion = 1\n");
    let log = site.launch().care_keys().refused().code(3);
    for expected in ["care.toml:2: ", "care.toml:5: ", "twin.toml:1: "] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    fs::remove_dir_all(site.path("policies")).unwrap();
    let log = site.launch().care_keys().refused().code(3);
    assert!(log.contains("no such file or directory"), "{log}");
}

/// A vault with a value in it, and the files that make it up.
fn vault_with_a_value(site: &Site) -> String {
    let daemon = start(site);
    let token = daemon.client().token("PHONE", "415-555-2671");
    daemon.stop();
    token
}

/// Names and contents of the files of a vault, but for the lock.
fn files(site: &Site) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![site.vault()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if entry.file_name() != "lock" {
                files.push((path.display().to_string(), fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_vault_of_a_later_release_is_refused_and_left_as_it_was() {
    const VERSION_AT: usize = 15;
    let site = Site::new();
    vault_with_a_value(&site);
    let witness = site.vault().join("witness");
    let mut bytes = fs::read(&witness).unwrap();
    bytes[VERSION_AT] += 1;
    fs::write(&witness, bytes).unwrap();
    let before = files(&site);
    let log = site.launch().care_keys().refused().code(1);
    assert!(log.contains("use a later release"), "{log}");
    assert!(files(&site) == before, "something was changed");
    assert!(!site.socket().exists());
}

#[test]
fn a_damaged_vault_is_refused_and_left_as_it_was() {
    let site = Site::new();
    let token = vault_with_a_value(&site);
    let witness = site.vault().join("witness");
    let sound = fs::read(&witness).unwrap();
    fs::write(&witness, &sound[..100]).unwrap();
    let before = files(&site);
    let log = site.launch().care_keys().refused().code(1);
    assert!(log.contains("is damaged") && log.contains("--accept-loss"), "{log}");
    assert!(files(&site) == before, "something was changed");

    fs::write(&witness, sound).unwrap();
    let daemon = start(&site);
    assert_eq!(daemon.client().value(&token), "415-555-2671", "mended");
    daemon.stop();

    // Acknowledged rows that are not there any more.
    let database = site.vault().join("sled/db");
    let bytes = fs::read(&database).unwrap();
    fs::write(&database, vec![0; bytes.len()]).unwrap();
    let before = files(&site);
    let log = site.launch().care_keys().refused().code(1);
    assert!(log.contains("of the vault in") && log.contains("restore the vault"), "{log}");
    assert!(files(&site) == before, "something was changed");
}

#[test]
fn a_directory_that_is_not_the_daemons_own_is_refused() {
    let site = Site::new();
    let vault = site.vault();
    let refused = |expected: &str| {
        let log = site.launch().care_keys().refused().code(1);
        assert!(log.contains(expected), "{log}");
    };
    fs::create_dir(&vault).unwrap();
    fs::set_permissions(&vault, fs::Permissions::from_mode(0o777)).unwrap();
    refused("can be changed by others");
    fs::set_permissions(&vault, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(vault.join("letter.txt"), "Dear Ann").unwrap();
    refused("holds no vault, but \\\"letter.txt\\\"");
    let names: Vec<_> = fs::read_dir(&vault).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["letter.txt"], "nothing was added");
    fs::remove_file(vault.join("letter.txt")).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&vault, Some(54_321), None).unwrap();
        refused("belongs to user 54321");
        std::os::unix::fs::chown(&vault, Some(0), None).unwrap();
    }
    fs::remove_dir_all(&vault).unwrap();
    fs::write(&vault, "a file").unwrap();
    refused("cannot use the vault's directory");
    assert_eq!(fs::read(&vault).unwrap(), b"a file");
}
