//! Routes about the daemon itself.

use std::process;

use serde_json::{Value, json};

use crate::harness::{Site, TestKey, item, shape_of};

/// Removes members whose value varies from an object, after `is_right` has checked each.
fn check_and_take(object: &mut Value, members: &[&str], is_right: fn(&Value) -> bool) {
    for member in members {
        let value = object.as_object_mut().and_then(|object| object.remove(*member));
        assert!(value.as_ref().is_some_and(is_right), "{member} of {object}: {value:?}");
    }
}

/// Whether a value is an RFC 3339 time in UTC.
fn is_time(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()
}

fn is_count(value: &Value) -> bool {
    value.is_u64()
}

#[test]
fn health_lists_each_component() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut health = daemon.client().get("/health").ok();
    check_and_take(&mut health, &["uptime_seconds"], is_count);
    let configuration =
        health.as_object_mut().and_then(|members| members.remove("configuration")).expect("for an operator");
    assert_eq!(configuration["socket"], site.socket().to_str().expect("UTF-8"), "{configuration}");
    let off = "MASKER_AUDIT_HMAC_KEY is not set: there is no audit log";
    let expected = json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "components": {
            "vault": {"status": "ok"},
            "keys": {"status": "ok"},
            "audit_log": {"status": "off", "detail": off},
            "policies": {"status": "ok"},
        },
    });
    assert_eq!(health, expected);
    assert!(daemon.log().text().contains(off), "start-up says so, too");
    daemon.stop();
}

#[test]
fn keys_are_listed_by_fingerprint() {
    let site = Site::new();
    let (care, pay, before) = (TestKey::named("care"), TestKey::named("pay"), TestKey::named("care before"));
    let daemon = site.launch().care_keys().old_key("K_CARE", &before).start();
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-2671");
    assert_eq!(client.value(&token), "415-555-2671");
    let mut answer = client.get("/api/v1/keys").ok();
    assert_eq!(shape_of(&answer), ["advice", "keys"]);
    let advice = answer["advice"].as_array().unwrap();
    let of_kids: Vec<&Value> = advice.iter().map(|advice| &advice["kid"]).collect();
    assert_eq!(of_kids, ["K_CARE", "K_PAY"]);
    assert!(advice[0]["text"].as_str().unwrap().contains(&before.fingerprint("K_CARE")), "{}", advice[0]);
    assert_eq!(advice[0]["action"], "prove");
    let apply = "restart the daemon with the changed variables";
    assert_eq!(advice[1], json!({"kid": "K_PAY", "action": "none", "text": "nothing to do", "apply": apply}));
    let keys = answer["keys"].as_array_mut().unwrap();
    assert_eq!(keys.len(), 3);
    for key in keys.iter_mut() {
        check_and_take(key, &["first_seen"], is_time);
        check_and_take(key, &["reason"], |reason| reason.as_str().is_some_and(|reason| !reason.is_empty()));
    }
    check_and_take(&mut keys[0], &["last_used"], is_time);
    check_and_take(&mut keys[1], &["old_since", "grace_ends"], is_time);
    let active = |kid: &str, key: &TestKey, records: u64| {
        json!({"kid": kid, "fingerprint": key.fingerprint(kid), "generation": "active", "loaded": true, "old_since": null,
               "grace_ends": null, "grace_days_left": null, "vault_records": records, "vault_index_rows": 2 * records, "last_used": null,
               "proven_at": null, "tokens_last_opened": null, "tokens_opened_30_days": 0, "open_sessions": null, "removable": false})
    };
    let mut first = active("K_CARE", &care, 1);
    first.as_object_mut().unwrap().remove("last_used");
    assert_eq!(keys[0], first);
    let old = json!({"kid": "K_CARE", "fingerprint": before.fingerprint("K_CARE"), "generation": "old", "loaded": true,
                     "grace_days_left": 30, "vault_records": 0, "vault_index_rows": 0, "last_used": null, "proven_at": null,
                     "tokens_last_opened": null, "tokens_opened_30_days": 0, "open_sessions": 0,
                     "removable": false});
    assert_eq!(keys[1], old);
    assert_eq!(keys[2], active("K_PAY", &pay, 0));
    daemon.stop();
}

#[test]
fn stats_count_by_key() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let by_kid = |records: u64| {
        let kid = |kid: &str, key: &str, records: u64| json!({"kid": kid, "fingerprint": TestKey::named(key).fingerprint(kid), "generation": "active", "records": records});
        json!([kid("K_CARE", "care", records), kid("K_PAY", "pay", 0)])
    };
    let mut empty = client.get("/api/v1/vault/stats").ok();
    check_and_take(&mut empty, &["bytes_on_disk"], is_count);
    assert_eq!(empty, json!({"records": 0, "index_rows": 0, "oldest": null, "newest": null, "by_kid": by_kid(0)}));

    client.tokens("PHONE", &["1", "2", "3", "1"]);
    let mut stats = client.get("/api/v1/vault/stats").ok();
    let times = ["oldest", "newest"].map(|name| stats[name].as_str().unwrap_or_default().to_owned());
    assert!(times[0] <= times[1], "{times:?}");
    check_and_take(&mut stats, &["oldest", "newest"], is_time);
    check_and_take(&mut stats, &["bytes_on_disk"], |bytes| bytes.as_u64().is_some_and(|bytes| bytes > 0));
    assert_eq!(stats, json!({"records": 3, "index_rows": 6, "by_kid": by_kid(3)}));
    assert_eq!(client.metric("masker_vault_records"), Some(3.0));
    daemon.stop();
}

#[test]
fn a_check_reads_the_whole_vault() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    client.tokens("PHONE", &["1", "2", "3"]);
    let report = client.exchange("POST", "/api/v1/vault/check", b"").ok();
    let expected = json!({"ok": true, "records": 3, "opened": 3, "key_not_loaded": 0, "damaged_records": 0, "index_rows": 6,
                          "damaged_index_rows": 0, "tombstones": 0, "counts_agree": true, "problems": []});
    assert_eq!(report, expected);
    daemon.stop();
}

#[test]
fn policies_are_shown_with_all_defaults() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let summary = json!({"name": "care", "version": 3, "description": "for tests", "default": true, "entities": 9});
    assert_eq!(client.get("/api/v1/policies").ok(), json!({"policies": [summary]}));

    let vault = |normalize: &str, context: &str| {
        json!({"action": "tokenize", "kid": "K_CARE", "tokenization": "vault-deterministic", "deterministic": true,
               "normalize": normalize, "context": context})
    };
    let own = |cipher: &str, deterministic: bool, context: &str| {
        json!({"action": "tokenize", "kid": "K_PAY", "tokenization": "reversible-aead", "cipher": cipher,
               "deterministic": deterministic, "context": context})
    };
    let expected = json!({
        "name": "care",
        "version": 3,
        "description": "for tests",
        "default": true,
        "entities": {
            "PHONE": vault("phone_nanp", "optional"),
            "NAME": vault("casefold", "optional"),
            "SSN": vault("digits", "required"),
            "NOTE": {"action": "redact", "context": "optional"},
            "CITY": {"action": "passthrough", "context": "optional"},
            "CARD": own("aes-256-gcm", true, "optional"),
            "IBAN": own("xchacha20-poly1305", true, "required"),
            "PIN": own("aes-256-gcm", false, "optional"),
            "CVV": own("xchacha20-poly1305", false, "optional"),
        },
        "text": {
            "text.allow": "0 values", "text.keep": "age_under_90", "text.languages": "en", "text.min_confidence": "0.5",
            "text.regions": "US",
        },
    });
    assert_eq!(client.get("/api/v1/policies/care").ok(), expected);
    assert_eq!(client.exchange("POST", "/api/v1/policies/reload", b"").ok(), json!({"policies": 1, "warnings": []}));
    daemon.stop();
}

#[test]
fn whoami_shows_the_caller_that_the_kernel_attests() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut whoami = daemon.client().get("/api/v1/auth/whoami").ok();
    let scopes = whoami.as_object_mut().unwrap().remove("scopes").unwrap();
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let user = nix::unistd::User::from_uid(uid).unwrap().map(|user| user.name);
    let unit = whoami.as_object_mut().unwrap().remove("unit").unwrap();
    assert!(unit.is_null() || unit.as_str().is_some_and(|unit| unit.contains('.')), "{unit}");
    let expected = json!({"name": "trusted", "policies": null, "contexts": null, "workspace": null, "key_prefix": null, "limits": "none",
                          "limits_left": {}, "user": user, "uid": uid.as_raw(), "gid": gid.as_raw(), "pid": process::id(),
                          "attested_by": "peer-credentials", "mode": "live", "certificate": null, "gateway": null, "address": null});
    assert_eq!(whoami, expected);
    let names = [
        "agents:read",
        "api-keys:admin",
        "audit:read",
        "forget",
        "keys:admin",
        "keys:read",
        "lookup",
        "metrics:read",
        "policies:read",
        "policies:reload",
        "rehydrate",
        "reports:read",
        "rewrap",
        "sessions:read",
        "text:detect",
        "text:mask",
        "text:restore",
        "tokenize",
        "vault:admin",
        "vault:read",
    ];
    assert_eq!(shape_of(&scopes), names);
    assert!(names.iter().all(|name| scopes[*name] == true), "{scopes}");
    daemon.stop();
}

#[test]
fn metrics_count_requests_by_route_and_tokens_by_outcome() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let phone = client.token("PHONE", "1");
    client.tokenize(&[
        item("PHONE", "1"),
        item("PHONE", "2"),
        item("CARD", "4111"),
        item("NOTE", "a"),
        item("NOSUCH", "a"),
    ]);
    client.rehydrate(&[phone.as_str(), "rubbish"]);
    client.get("/api/v1/policies/care").ok();
    client.get("/api/v1/policies/other").problem(422, "policy.unknown");
    client.get("/nosuch").problem(404, "route.not_found");
    let tokens = |op: &str, scheme: &str, kid: &str, generation: &str, outcome: &str| {
        format!(
            "masker_tokens_total{{generation=\"{generation}\",kid=\"{kid}\",op=\"{op}\",outcome=\"{outcome}\",scheme=\"{scheme}\"}}"
        )
    };
    let requests = |route: &str, status: u16| format!("masker_requests_total{{route=\"{route}\",status=\"{status}\"}}");
    for (line, count) in [
        (tokens("tokenize", "MSKV1", "K_CARE", "active", "created"), 2),
        (tokens("tokenize", "MSKV1", "K_CARE", "active", "existing"), 1),
        (tokens("tokenize", "MSK1", "K_PAY", "active", "created"), 1),
        (tokens("tokenize", "", "", "", "redacted"), 1),
        (tokens("tokenize", "", "", "", "kind.unknown"), 1),
        (tokens("rehydrate", "MSKV1", "K_CARE", "active", "ok"), 1),
        (tokens("rehydrate", "", "", "", "token.malformed"), 1),
        (requests("/api/v1/tokenize", 200), 2),
        (requests("/api/v1/policies/{name}", 200), 1),
        (requests("/api/v1/policies/{name}", 422), 1),
        (requests("unmatched", 404), 1),
        ("masker_request_duration_seconds_count{route=\"/api/v1/tokenize\"}".to_owned(), 2),
        ("masker_vault_records".to_owned(), 2),
        ("masker_connections".to_owned(), 1),
        ("masker_vault_damaged_total".to_owned(), 0),
    ] {
        assert_eq!(client.metric(&line), Some(f64::from(count)), "{line}");
    }
    assert!(client.metric("masker_disk_free_bytes{of=\"vault\"}").is_some_and(|bytes| bytes > 0.0));
    for limit in ["distinct_values_per_day", "rehydrations_per_day"] {
        assert_eq!(client.metric(&format!("masker_budget_crossed_total{{limit=\"{limit}\"}}")), Some(0.0));
    }
    for name in
        ["masker_vault_size_bytes", "process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"]
    {
        assert!(client.metric(name).is_some(), "{name}");
    }
    daemon.stop();
}
