//! Rotations over HTTP and by the command line, on a running daemon.

use std::{process::Command, time::Instant};

use serde_json::{Value, json};

use super::harness::{Client, LIMIT, Launch, Site, TestKey, item, shape_of};

/// Rows per second at which a rotation of a few records does not end during a test.
const SLOWLY: u64 = 1;

fn key(generation: u32) -> TestKey {
    TestKey::named(&format!("care {generation}"))
}

/// Starts under the key of a generation, with the key before it as the old one.
fn launch(site: &Site, generation: u32) -> Launch<'_> {
    let launch = site.launch().care_keys().key("K_CARE", &key(generation));
    if generation > 1 { launch.old_key("K_CARE", &key(generation - 1)) } else { launch }
}

/// Mints values under key 1 and stops the daemon. Returns the values with their tokens.
fn minted(site: &Site, values: usize) -> Vec<(String, String)> {
    let daemon = launch(site, 1).start();
    let values: Vec<String> = (0..values).map(|number| format!("patient {number}")).collect();
    let tokens = daemon.client().tokens("NAME", &values);
    daemon.stop();
    values.into_iter().zip(tokens).collect()
}

fn begin(client: &mut Client, request: &Value) -> Value {
    let response = client.post("/api/v1/vault/rotations", request);
    assert_eq!(response.status, 202);
    response.json()
}

fn get(client: &mut Client, rotation: &Value) -> Value {
    client.get(&format!("/api/v1/vault/rotations/{}", rotation["id"].as_str().unwrap())).ok()
}

fn wait(client: &mut Client, rotation: &Value) -> Value {
    let began = Instant::now();
    loop {
        let rotation = get(client, rotation);
        if rotation["state"] != "running" {
            return rotation;
        }
        assert!(began.elapsed() < LIMIT, "it does not end: {rotation}");
    }
}

fn old_key(client: &mut Client) -> Value {
    let keys = client.get("/api/v1/keys").ok();
    keys["keys"].as_array().unwrap().iter().find(|key| key["generation"] == "old").unwrap().clone()
}

/// Runs the command line on the site's socket.
fn masker(site: &Site, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
    let output = command.args(words).arg("--socket").arg(site.socket()).env_clear().output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_rotation_moves_each_record_and_makes_the_old_key_removable() {
    let site = Site::new();
    let minted = minted(&site, 500);
    let daemon = launch(&site, 2).start();
    let mut client = daemon.client();
    let before = old_key(&mut client);
    assert_eq!((&before["vault_records"], &before["removable"]), (&json!(500), &json!(false)), "{before}");

    let begun = begin(&mut client, &json!({"new_kid": "k_care"}));
    assert_eq!(
        shape_of(&begun),
        [
            "conflicts",
            "detail",
            "dry_run",
            "eta_seconds",
            "failures",
            "fingerprint",
            "finished_at",
            "id",
            "max_rows_per_second",
            "new_kid",
            "old_kid",
            "phase",
            "rows_done",
            "rows_failed",
            "rows_per_second",
            "rows_resealed",
            "rows_total",
            "started_at",
            "state"
        ]
    );
    assert_eq!(
        (&begun["new_kid"], &begun["old_kid"], &begun["rows_total"]),
        (&json!("K_CARE"), &json!("K_CARE"), &json!(500))
    );
    assert_eq!(begun["fingerprint"], key(2).fingerprint("K_CARE"));
    let done = wait(&mut client, &begun);
    assert_eq!(
        (&done["state"], &done["phase"], &done["detail"]),
        (&json!("done"), &json!("ended"), &Value::Null),
        "{done}"
    );
    for (member, count) in
        [("rows_total", 500), ("rows_done", 500), ("rows_resealed", 500), ("rows_failed", 0), ("conflicts", 0)]
    {
        assert_eq!(done[member], count, "{member}");
    }
    let after = old_key(&mut client);
    assert_eq!(
        (&after["vault_records"], &after["vault_index_rows"], &after["removable"]),
        (&json!(0), &json!(0), &json!(true)),
        "{after}"
    );
    assert!(after["proven_at"].is_string(), "{after}");
    assert_eq!(client.metric("masker_rotation_rows_total"), Some(500.0));
    let stats = client.get("/api/v1/vault/stats").ok();
    assert_eq!((&stats["records"], &stats["index_rows"]), (&json!(500), &json!(1_000)), "{stats}");
    let (code, table, advice) = masker(&site, &["keys", "status"]);
    assert_eq!(code, Some(0));
    assert!(table.contains(&key(1).fingerprint("K_CARE")), "{table}");
    assert!(advice.contains("the old key") && advice.contains("can be removed"), "{advice}");
    daemon.stop();

    // Without the old key, and then with another one, values keep their tokens.
    let daemon = site.launch().care_keys().key("K_CARE", &key(2)).start();
    let mut client = daemon.client();
    assert_eq!(client.health().0, "ok");
    for (value, token) in &minted {
        assert_eq!((&client.value(token), &client.token("NAME", value)), (value, token));
    }
    daemon.stop();
}

#[test]
fn a_rotation_continues_after_a_restart_and_can_be_cancelled() {
    let site = Site::new();
    minted(&site, 20);
    let daemon = launch(&site, 2).start();
    let mut client = daemon.client();
    let begun = begin(&mut client, &json!({"new_kid": "K_CARE", "max_rows_per_second": SLOWLY}));
    let second = client.post("/api/v1/vault/rotations", &json!({"new_kid": "K_CARE"}));
    let detail = second.problem(409, "rotation.running");
    assert!(detail.contains(begun["id"].as_str().unwrap()), "{detail}");
    client
        .post("/api/v1/vault/rotations", &json!({"new_kid": "K_CARE", "dry_run": true}))
        .problem(409, "rotation.running");
    daemon.kill();

    let daemon = launch(&site, 2).start();
    let mut client = daemon.client();
    let resumed = get(&mut client, &begun);
    assert_eq!((&resumed["state"], &resumed["rows_total"]), (&json!("running"), &json!(20)), "{resumed}");
    assert_eq!(client.metric("masker_rotation_running"), Some(1.0));
    assert!(client.metric("masker_rotation_rows_left").is_some_and(|left| (1.0..=20.0).contains(&left)));
    let path = format!("/api/v1/vault/rotations/{}", begun["id"].as_str().unwrap());
    let cancelled = client.exchange("DELETE", &path, b"").ok();
    assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
    client.exchange("DELETE", &path, b"").problem(409, "rotation.ended");
    assert_eq!(client.metric("masker_rotation_running"), Some(0.0));
    assert_eq!(client.metric("masker_rotation_rows_left"), Some(0.0));
    let moved = cancelled["rows_resealed"].as_u64().unwrap();
    let listed = client.get("/api/v1/vault/rotations").ok();
    assert_eq!(listed["rotations"].as_array().unwrap().len(), 1, "{listed}");

    let another = begin(&mut client, &json!({"new_kid": "K_CARE"}));
    let done = wait(&mut client, &another);
    assert_eq!((&done["state"], &done["rows_resealed"]), (&json!("done"), &json!(20 - moved)), "{done}");
    daemon.stop();
}

#[test]
fn rejects_invalid_rotations_with_the_reason() {
    let site = Site::new();
    let daemon = launch(&site, 1).start();
    let mut client = daemon.client();
    for (request, status, code) in [
        (json!({}), 400, "request.invalid"),
        (json!({"new_kid": "not a kid"}), 400, "request.invalid"),
        (json!({"new_kid": "K_CARE", "old_kid": "?"}), 400, "request.invalid"),
        (json!({"new_kid": "K_CARE", "max_rows_per_second": -1}), 400, "request.invalid"),
        (json!({"new_kid": "K_CARE", "more": 1}), 400, "request.invalid"),
        (json!({"new_kid": "K_NOSUCH"}), 422, "key.unavailable"),
        (json!({"new_kid": "K_CARE", "old_kid": "K_NOSUCH"}), 422, "key.unavailable"),
    ] {
        client.post("/api/v1/vault/rotations", &request).problem(status, code);
    }
    for id in ["0", "00000000000000000000000000000000", "x".repeat(200).as_str()] {
        client.get(&format!("/api/v1/vault/rotations/{id}")).problem(404, "rotation.not_found");
        client.exchange("DELETE", &format!("/api/v1/vault/rotations/{id}"), b"").problem(404, "rotation.not_found");
    }
    assert_eq!(client.get("/api/v1/vault/rotations").ok(), json!({"rotations": []}));
    daemon.stop();
}

#[test]
fn the_command_line_waits_for_a_rotation_and_shows_progress() {
    let site = Site::new();
    minted(&site, 30);
    let daemon = launch(&site, 2).start();
    let mut client = daemon.client();

    let (code, stdout, stderr) = masker(&site, &["vault", "rotate-key", "--new-kid", "K_CARE", "--dry-run"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("state\tdone\n") && stdout.contains("would be moved\t30\n"), "{stdout}");
    assert!(stderr.contains("dry run ") && stderr.contains("of 30 records"), "{stderr}");
    assert_eq!(old_key(&mut client)["vault_records"], 30, "a dry run moves nothing");

    let slow = SLOWLY.to_string();
    let words = ["vault", "rotate-key", "--new-kid", "K_CARE", "--max-rows-per-second", &slow, "--detach", "--json"];
    let (code, stdout, stderr) = masker(&site, &words);
    let begun: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, stderr.as_str(), &begun["state"]), (Some(0), "", &json!("running")));
    let (code, stdout, _) = masker(&site, &["vault", "rotations"]);
    assert!(
        code == Some(0) && stdout.contains(begun["id"].as_str().unwrap()) && stdout.contains("\trunning\t"),
        "{stdout}"
    );
    let (code, stdout, _) = masker(&site, &["vault", "cancel-rotation", begun["id"].as_str().unwrap()]);
    assert!(code == Some(0) && stdout.contains("state\tcancelled\n"), "{stdout}");
    let (code, _, stderr) = masker(&site, &["vault", "cancel-rotation", "../x"]);
    assert!(code == Some(64) && stderr.contains("32 hex digits"), "{stderr}");

    let (code, stdout, stderr) = masker(&site, &["vault", "rotate-key", "--new-kid", "K_CARE"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("state\tdone\n") && stderr.contains("`masker keys status`"), "{stdout}{stderr}");
    assert_eq!(old_key(&mut client)["removable"], true);
    let (code, _, stderr) = masker(&site, &["vault", "rotate-key", "--new-kid", "K_NOSUCH"]);
    assert!(code == Some(1) && stderr.contains("MASKER_KEY_K_NOSUCH"), "{stderr}");
    daemon.stop();
}

/// Looks values up while records move: each is found at any time, by the token that it has.
#[test]
fn values_are_found_while_records_move() {
    let site = Site::new();
    let minted = minted(&site, 2_000);
    let daemon = launch(&site, 2).start();
    let mut client = daemon.client();
    let begun = begin(&mut client, &json!({"new_kid": "K_CARE"}));
    let mut rounds = 0;
    loop {
        let chunk = &minted[rounds % 20 * 100..][..100];
        let items: Vec<Value> = chunk.iter().map(|(value, _)| item("NAME", value)).collect();
        for (result, (_, token)) in client.ask_items("/api/v1/lookup", &items).iter().zip(chunk) {
            assert_eq!(result["tokens"], json!([token]));
        }
        for (result, (_, token)) in client.tokenize(&items).iter().zip(chunk) {
            assert_eq!((&result["token"], &result["created"]), (&json!(token), &json!(false)));
        }
        rounds += 1;
        let rotation = get(&mut client, &begun);
        if rotation["state"] != "running" {
            assert_eq!((&rotation["state"], &rotation["rows_resealed"]), (&json!("done"), &json!(2_000)), "{rotation}");
            break;
        }
    }
    println!("{rounds} rounds of questions beside the rotation");
    assert!(rounds > 3);
    daemon.stop();
}
