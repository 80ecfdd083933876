//! Concurrent clients get one token for each value.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Barrier,
    thread,
};

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

use super::harness::{Site, item};

const CONNECTIONS: usize = 8;
const VALUES: usize = 1_000;

#[test]
fn values_minted_concurrently_get_one_token_each() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let begin = Barrier::new(CONNECTIONS);
    let answers: Vec<Vec<(usize, String, bool)>> = thread::scope(|scope| {
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let (daemon, begin) = (&daemon, &begin);
                scope.spawn(move || {
                    let seed = connection as u64;
                    let mut order: Vec<usize> = (0..VALUES).collect();
                    order.shuffle(&mut StdRng::seed_from_u64(seed));
                    let mut client = daemon.client();
                    begin.wait();
                    let mut answers = Vec::new();
                    // From single values to large batches.
                    for batch in order.chunks([1, 3, 10, 30, 100, 300, 500, 1_000][connection]) {
                        let items: Vec<Value> = batch.iter().map(|value| item("PHONE", &value.to_string())).collect();
                        for (value, result) in batch.iter().zip(client.tokenize(&items)) {
                            let token = result["token"].as_str().unwrap_or_else(|| panic!("seed {seed}: {result}"));
                            answers.push((*value, token.to_owned(), result["created"] == true));
                        }
                    }
                    answers
                })
            })
            .collect();
        connections.into_iter().map(|connection| connection.join().expect("no client failed")).collect()
    });

    let mut tokens: BTreeMap<usize, HashSet<String>> = BTreeMap::new();
    let mut created: BTreeMap<usize, usize> = BTreeMap::new();
    for (value, token, new) in answers.into_iter().flatten() {
        tokens.entry(value).or_default().insert(token);
        *created.entry(value).or_default() += usize::from(new);
    }
    assert!(tokens.values().all(|tokens| tokens.len() == 1), "two tokens for one value");
    assert!(created.values().all(|created| *created == 1), "each is created once");
    assert_eq!(tokens.values().flatten().collect::<HashSet<_>>().len(), VALUES, "one token for two values");
    assert_eq!(daemon.client().get("/api/v1/vault/stats").ok()["records"], VALUES);
    daemon.stop();
}

#[test]
fn large_batches_keep_their_order() {
    const ITEMS: usize = 10_000;
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    // All outcomes of an item, mixed by its index.
    let kind = |i: usize| ["PHONE", "CARD", "CITY", "NOTE", "NOSUCH", "NAME", "PIN"][i % 7];
    let items: Vec<Value> = (0..ITEMS).map(|i| item(kind(i), &i.to_string())).collect();
    let results = client.tokenize(&items);
    let mut tokens = Vec::new();
    for (i, result) in results.iter().enumerate() {
        match kind(i) {
            "CITY" => assert_eq!(result["value"], i.to_string()),
            "NOTE" => assert_eq!(*result, json!({"redacted": "[REDACTED:NOTE]"})),
            "NOSUCH" => assert_eq!(result["error"]["code"], "kind.unknown"),
            _ => tokens.push((i, result["token"].clone())),
        }
    }
    let asked: Vec<Value> = tokens.iter().map(|(_, token)| token.clone()).collect();
    for ((i, _), result) in tokens.iter().zip(client.rehydrate(&asked)) {
        assert_eq!((&result["value"], &result["kind"]), (&json!(i.to_string()), &json!(kind(*i))));
    }
    for (result, again) in results.iter().zip(client.tokenize(&items)) {
        if result["created"] == true {
            assert_eq!(again, json!({"token": result["token"], "created": false}));
        }
    }
    daemon.stop();
}

#[test]
fn concurrent_minting_and_forgetting_leaves_a_sound_vault() {
    const ROUNDS: usize = 100;
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let begin = Barrier::new(4);
    thread::scope(|scope| {
        for connection in 0..4 {
            let (daemon, begin) = (&daemon, &begin);
            scope.spawn(move || {
                let mut client = daemon.client();
                let values: Vec<String> = (0..5).map(|i| i.to_string()).collect();
                begin.wait();
                for _ in 0..ROUNDS {
                    let tokens = client.tokens("PHONE", &values);
                    let path = if connection % 2 == 0 { "/api/v1/forget" } else { "/api/v1/rehydrate" };
                    for (value, result) in values.iter().zip(client.ask_tokens(path, &tokens)) {
                        // Another connection may have forgotten it in between.
                        let gone = result["error"]["code"] == "token.not_found";
                        let right = result["forgotten"] == true || result["value"] == value.as_str();
                        assert!(gone || right, "{result}");
                    }
                }
            });
        }
    });
    let mut client = daemon.client();
    let report = client.exchange("POST", "/api/v1/vault/check", b"").ok();
    assert_eq!(
        (&report["ok"], &report["records"]),
        (&json!(true), &client.get("/api/v1/vault/stats").ok()["records"]),
        "{report}"
    );
    daemon.stop();
}
