//! Placeholders: whose they are, what they survive, and how long they last.

use masker_store::{
    Store,
    embedded::{EmbeddedStore, StoreOptions},
    record::RowName,
};
use serde_json::{Value, json};

use super::{MASK, NOTE, RESTORE, ask, ask_all, launch, mask, notes, restore};
use crate::{
    api_keys::create,
    harness::{Client, Daemon, Site, TestKey},
};

/// Opens a session, and returns its id.
pub(super) fn open(client: &mut Client) -> String {
    let response = client.post("/api/v1/sessions", &json!({}));
    assert_eq!(response.status, 201);
    response.json()["id"].as_str().unwrap().to_owned()
}

fn masked(client: &mut Client, text: &str) -> String {
    mask(client, text, json!({"replace_with": "placeholder"}))
}

/// Returns the placeholders of a masked text.
fn placeholders(text: &str) -> Vec<&str> {
    text.split('[').skip(1).filter_map(|part| part.split(']').next()).collect()
}

fn is_placeholder(text: &str, kind: &str) -> bool {
    let code = text.strip_prefix(&format!("{kind}_")).unwrap_or_default();
    code.len() == 8 && code.bytes().all(|byte| b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(&byte))
}

#[test]
fn placeholders_name_values_and_come_back() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let result = ask(&mut client, MASK, NOTE, json!({"replace_with": "placeholder"}));
    let text = result["text"].as_str().unwrap();
    let named = placeholders(text);
    for (name, finding) in named.iter().zip(result["findings"].as_array().unwrap()) {
        assert!(is_placeholder(name, finding["kind"].as_str().unwrap()), "{name}");
        assert_eq!(finding["placeholder"], format!("[{name}]"));
        // The token is the value's own.
        assert!(finding["token"].as_str().unwrap().starts_with("MSKV1."), "{finding}");
    }
    assert_eq!(named.len(), 4);
    assert_eq!(restore(&mut client, text, json!({})), NOTE);
    // One value has one placeholder in all texts, and masking again changes nothing.
    assert_eq!(masked(&mut client, NOTE), text);
    let again = ask(&mut client, MASK, text, json!({"replace_with": "placeholder"}));
    assert_eq!((&again["text"], &again["existing"]), (&json!(text), &json!(4)));
    let other = masked(&mut client, "the mail of Maria Lopez, (212) 555-0147 and (212) 555-0148");
    assert!(other.contains(named[0]) && other.contains(named[2]), "{other}");
    assert_ne!(placeholders(&other)[1], placeholders(&other)[2]);
    daemon.stop();
}

#[test]
fn placeholders_survive_what_models_do_to_them() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let text = masked(&mut client, "call (212) 555-0147");
    let own = placeholders(&text)[0].to_owned();
    let escaped = own.replace('_', "\\_");
    for (changed, expected) in [
        (own.to_lowercase(), "V"),
        (own.clone(), "V"),
        (format!("({own})"), "V"),
        (format!("<{own}>"), "V"),
        (format!("**[{own}]**"), "**V**"),
        (format!("`[{own}]`"), "`V`"),
        (format!("[**{own}**]"), "V"),
        (format!("[{escaped}]"), "V"),
        (format!("\\[{escaped}\\]"), "V"),
        (format!("[{}\n_{}]", &own[..5], &own[6..]), "V"),
        (format!("[{}\n{}]", &own[..9], &own[9..]), "V"),
        (format!("{own}'s line"), "V's line"),
    ] {
        let restored = ask(&mut client, RESTORE, &format!("Call {changed}."), json!({}));
        assert_eq!(restored["text"], format!("Call {}.", expected.replace('V', "(212) 555-0147")), "{changed}");
        // Masked again, it still can be restored.
        let again = masked(&mut client, &format!("Call {changed}."));
        assert_eq!(ask(&mut client, RESTORE, &again, json!({}))["text"], restored["text"], "{changed}: {again}");
    }
    // A wrong character is never guessed, wherever it is.
    for at in 6..own.len() {
        let wrong = if own.as_bytes()[at] == b'7' { "8" } else { "7" };
        let changed = format!("[{}{wrong}{}]", &own[..at], &own[at + 1..]);
        let result = ask(&mut client, RESTORE, &changed, json!({}));
        assert_eq!(result["text"], changed);
        assert_eq!(result["unrestored"], json!([{"start": 0, "end": changed.len(), "reason": "placeholder.check"}]));
    }
    let stranger = ask(&mut client, RESTORE, "[PHONE_00000000]", json!({}));
    assert_eq!(stranger["unrestored"][0]["reason"], "placeholder.not_found");
    daemon.stop();
}

#[test]
fn placeholders_belong_to_a_session_or_a_caller() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut root = daemon.client();
    let scopes = ["text:mask", "text:restore"];
    let [one, other] = ["one", "other"].map(|name| create(&mut root, name, &scopes, json!({})));
    let session = open(&mut one.client(&daemon));
    let second = open(&mut one.client(&daemon));
    let mut clients = [
        one.client(&daemon),
        one.client(&daemon).within(&session),
        one.client(&daemon).within(&second),
        other.client(&daemon),
        daemon.client(),
    ];
    let texts: Vec<String> = clients.iter_mut().map(|client| masked(client, "call (212) 555-0147")).collect();
    for (at, text) in texts.iter().enumerate() {
        for (client_at, client) in clients.iter_mut().enumerate() {
            let result = ask(client, RESTORE, text, json!({}));
            assert_eq!(result["restored"], u64::from(client_at == at), "{at} {client_at}: {result}");
            let reason = result["unrestored"][0]["reason"].as_str();
            assert!(client_at == at || reason == Some("placeholder.not_found"), "{result}");
        }
    }
    let mut distinct = texts.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), texts.len(), "nobody shares a placeholder: {texts:?}");
    // Only the one who opened a session can use it.
    let mut thief = other.client(&daemon).within(&session);
    thief.post(RESTORE, &json!({"text": texts[1]})).problem(404, "session.not_found");
    // A placeholder of another is text like any other.
    let strange = masked(&mut clients[3], &texts[0]);
    assert_eq!(ask(&mut clients[3], RESTORE, &strange, json!({}))["text"], texts[0]);
    daemon.stop();
}

#[test]
fn a_placeholder_has_the_context_of_its_value() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let text = |context: &str, client: &mut Client| {
        mask(client, "call (212) 555-0147", json!({"replace_with": "placeholder", "context": context}))
    };
    let (one, other) = (text("a", &mut client), text("b", &mut client));
    assert_ne!(one, other);
    assert_eq!(restore(&mut client, &one, json!({"context": "a"})), "call (212) 555-0147");
    let result = ask(&mut client, RESTORE, &one, json!({"context": "b"}));
    assert_eq!(result["unrestored"][0]["reason"], "token.not_found");
    daemon.stop();
}

#[test]
fn values_with_random_tokens_have_one_placeholder() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let text = masked(&mut client, "4111 1111 1111 1111, 4111 1111 1111 1111 and 5500 0000 0000 0004");
    let named = placeholders(&text);
    assert!(named[0] == named[1] && named[1] != named[2], "{text}");
    assert_eq!(masked(&mut client, "card 4111 1111 1111 1111"), format!("card [{}]", named[0]));
    assert_eq!(
        restore(&mut client, &text, json!({})),
        "4111 1111 1111 1111, 4111 1111 1111 1111 and 5500 0000 0000 0004"
    );
    daemon.stop();
}

#[test]
fn an_erased_value_does_not_come_back_by_its_placeholder() {
    let site = notes();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let result = ask(&mut client, MASK, "call (212) 555-0147", json!({"replace_with": "placeholder"}));
    let (text, token) = (result["text"].as_str().unwrap(), &result["findings"][0]["token"]);
    assert_eq!(client.post("/api/v1/forget", &json!({"tokens": [token]})).results(1)[0]["forgotten"], true);
    assert_eq!(ask(&mut client, RESTORE, text, json!({}))["unrestored"][0]["reason"], "token.not_found");
    // The value gets another token and a longer code.
    let again = masked(&mut client, "call (212) 555-0147");
    assert_eq!(again.len(), text.len() + 1, "{again}");
    assert_eq!(restore(&mut client, &again, json!({})), "call (212) 555-0147");
    assert_eq!(masked(&mut client, "call (212) 555-0147"), again);
    daemon.stop();
}

/// Starts with the keys of a generation, and of the one before.
fn start(site: &Site, generation: u32) -> Daemon {
    let key = |name: &str, age: u32| TestKey::named(&format!("{name} {age}"));
    let mut launch = launch(site).key("K_CARE", &key("care", generation)).key("K_PAY", &key("pay", generation));
    if generation > 1 {
        launch = launch.old_key("K_CARE", &key("care", generation - 1)).old_key("K_PAY", &key("pay", generation - 1));
    }
    launch.start()
}

#[test]
fn placeholders_outlive_kills_rotations_and_new_control_keys() {
    let site = notes();
    let daemon = start(&site, 1);
    let mut client = daemon.client();
    let session = open(&mut client);
    let mut client = daemon.client().within(&session);
    let text = masked(&mut client, NOTE);
    daemon.kill();
    for generation in 2..4 {
        let daemon = start(&site, generation);
        let mut client = daemon.client().within(&session);
        assert_eq!(restore(&mut client, &text, json!({})), NOTE, "generation {generation}");
        assert_eq!(masked(&mut client, NOTE), text, "generation {generation}");
        for kid in ["K_CARE", "K_PAY"] {
            let begun = daemon.client().post("/api/v1/vault/rotations", &json!({ "new_kid": kid }));
            assert_eq!(begun.status, 202);
            let path = format!("/api/v1/vault/rotations/{}", begun.json()["id"].as_str().unwrap());
            while daemon.client().get(&path).ok()["state"] == "running" {}
        }
        daemon.client().post("/api/v1/vault/control-key", &json!({})).ok();
        assert_eq!(restore(&mut client, &text, json!({})), NOTE, "after the rotation to generation {generation}");
        let report = daemon.client().post("/api/v1/vault/check", &json!({})).ok();
        assert_eq!(report["ok"], true, "{report}");
        daemon.stop();
    }
}

/// Counts the rows of placeholders and of their keys in the vault of a stopped daemon.
pub(super) fn rows_of_placeholders(site: &Site) -> u64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = EmbeddedStore::open(site.vault(), StoreOptions::default()).expect("the daemon has stopped");
        let (keys, rows) = (store.count(RowName::PLACEHOLDER_KEYS).await, store.count(RowName::PLACEHOLDERS).await);
        store.close().await.unwrap();
        keys.unwrap() + rows.unwrap()
    })
}

#[test]
fn the_placeholders_of_a_session_end_with_it() {
    let site = notes();
    let daemon = launch(&site).start();
    let session = open(&mut daemon.client());
    let mut inside = daemon.client().within(&session);
    let text = masked(&mut inside, NOTE);
    let before = daemon.client().get(&format!("/api/v1/sessions/{session}")).ok();
    assert_eq!((&before["minted"], &before["rehydrated"]), (&json!(4), &json!(0)));
    restore(&mut inside, &text, json!({}));
    let closed = daemon.client().exchange("DELETE", &format!("/api/v1/sessions/{session}"), b"").ok();
    assert_eq!((&closed["status"], &closed["rehydrated"]), (&json!("closed"), &json!(4)));
    inside.post(RESTORE, &json!({ "text": text })).problem(404, "session.not_found");
    let result = ask(&mut daemon.client(), RESTORE, &text, json!({}));
    assert_eq!(result["restored"], 0);
    daemon.stop();
    assert_eq!(rows_of_placeholders(&site), 0);
}

#[test]
fn requests_at_once_give_a_value_one_placeholder() {
    let site = notes();
    let daemon = launch(&site).start();
    let session = open(&mut daemon.client());
    let texts: Vec<String> = (0..40).map(|number| format!("call (212) 555-01{number:02}")).collect();
    let answers: Vec<Vec<Value>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let mut client = daemon.client().within(&session);
                let body = json!({"texts": texts, "replace_with": "placeholder"});
                scope.spawn(move || ask_all(&mut client, MASK, &body, 40))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let masked = |answer: &[Value]| answer.iter().map(|result| result["text"].clone()).collect::<Vec<Value>>();
    for answer in &answers {
        assert_eq!(masked(answer), masked(&answers[0]));
    }
    daemon.stop();
}
