//! Keys that keys create, and secrets that others replace.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Issued, create, outcome, refused};
use crate::harness::{Client, Daemon, Site, TestKey, error_code, events_of};

const ADMIN: [&str; 2] = ["api-keys:admin", "tokenize"];

fn mint(client: &mut Client) -> u16 {
    client.post("/api/v1/tokenize", &json!({"items": [{"kind": "PHONE", "value": "1"}]})).status
}

fn rotate(client: &mut Client, key: &Issued, grace: u64) -> Issued {
    Issued::of(&client.post(&format!("{}/rotate", key.path()), &json!({"grace_seconds": grace})).ok())
}

#[test]
fn created_keys_draw_on_the_limits_of_their_creators() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let limits = json!({"limits": {"requests_per_hour": 20}});
    let creator = create(&mut daemon.client(), "creator", &ADMIN, limits.clone());
    let mut client = creator.client(&daemon);
    let child = create(&mut client, "child", &ADMIN, json!({"limits": {"requests_per_hour": 20}, "workspace": "a"}));
    let grandchild = create(
        &mut child.client(&daemon),
        "grandchild",
        &["tokenize"],
        json!({"limits": {"requests_per_hour": 20}, "workspace": "b"}),
    );
    // Two requests have created keys, and one of those was the child's.
    let admitted = (0..30).filter(|_| mint(&mut grandchild.client(&daemon)) == 200).count();
    assert_eq!(admitted, 18);
    for key in [&creator, &child, &grandchild] {
        assert_eq!(mint(&mut key.client(&daemon)), 429);
        let whoami = key.client(&daemon).get("/api/v1/auth/whoami").ok();
        assert_eq!(whoami["limits_left"]["requests_per_hour"], 0, "{whoami}");
    }
    let shown = daemon.client().get(&grandchild.path()).ok();
    assert_eq!((&shown["parent_id"], &shown["created_by"]), (&json!(child.id), &json!("child")));
    // Also after a restart, which forgets what was used.
    daemon.stop();
    let daemon = site.launch().care_keys().start();
    let admitted: usize =
        [&child, &grandchild].iter().map(|key| (0..30).filter(|_| mint(&mut key.client(&daemon)) == 200).count()).sum();
    assert_eq!(admitted, 20);
    daemon.stop();
}

#[test]
fn a_revocation_reaches_the_keys_that_a_key_has_created() {
    let site = Site::new();
    let launch = || site.launch().care_keys().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64());
    let daemon = launch().start();
    let mut root = daemon.client();
    let family = |root: &mut Client, daemon: &Daemon| {
        let parent = create(root, "parent", &ADMIN, json!({}));
        let child = create(&mut parent.client(daemon), "child", &ADMIN, json!({"workspace": "elsewhere"}));
        let grandchild = create(&mut child.client(daemon), "grandchild", &["tokenize"], json!({}));
        [parent, child, grandchild]
    };
    let unrelated = create(&mut root, "unrelated", &ADMIN, json!({}));
    let ended = family(&mut root, &daemon);
    let kept = family(&mut root, &daemon);
    root.exchange("DELETE", &ended[0].path(), b"").ok();
    root.exchange("DELETE", &format!("{}?keep_descendants=maybe", kept[0].path()), b"").problem(400, "request.invalid");
    root.exchange("DELETE", &format!("{}?keep_descendants=true", kept[0].path()), b"").ok();
    let check = |daemon: &Daemon| {
        for key in ended.iter().chain([&kept[0]]) {
            refused(&mut key.client(daemon), "auth.revoked");
        }
        for key in [&kept[1], &kept[2], &unrelated] {
            assert_eq!(outcome(&mut key.client(daemon)).0, 200);
        }
    };
    check(&daemon);
    daemon.kill();
    let daemon = launch().start();
    check(&daemon);
    // A child may revoke its creator, and ends itself by that.
    kept[1].client(&daemon).exchange("DELETE", &kept[0].path(), b"").ok();
    refused(&mut kept[1].client(&daemon), "auth.revoked");
    daemon.stop();
    let events = events_of(&site.audit_events(), "api_key.revoke");
    let counts: Vec<&Value> = events.iter().map(|event| &event["detail"]["descendants"]).collect();
    assert_eq!(counts, [&json!(2), &Value::Null, &json!(0), &json!(2)], "{events:?}");
}

#[test]
fn what_a_key_hands_out_is_bounded_in_all_workspaces_together() {
    let mut site = Site::new();
    site.set("access", "api_keys_per_workspace", "3");
    let daemon = site.launch().care_keys().start();
    let mut root = daemon.client();
    let creator = create(&mut root, "creator", &ADMIN, json!({}));
    let mut client = creator.client(&daemon);
    let body = |workspace: &str| json!({"name": "one more", "scopes": ADMIN, "workspace": workspace, "limits": "none"});
    let first = create(&mut client, "first", &ADMIN, json!({"workspace": "a"}));
    let second = create(&mut client, "second", &ADMIN, json!({"workspace": "b"}));
    create(&mut first.client(&daemon), "third", &ADMIN, json!({"workspace": "c"}));
    for key in [&creator, &first] {
        let detail = key.client(&daemon).post("/api/v1/api-keys", &body("d")).problem(409, "api_key.limit");
        assert!(detail.contains("in all workspaces"), "{detail}");
    }
    // The operator is not bounded, and what was revoked does not count.
    create(&mut root, "of the operator", &ADMIN, json!({"workspace": "d"}));
    client.exchange("DELETE", &second.path(), b"").ok();
    assert_eq!(client.post("/api/v1/api-keys", &body("e")).status, 201);
    daemon.stop();
}

#[test]
fn only_who_holds_all_that_a_key_ever_had_changes_or_rotates_it() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut root = daemon.client();
    let lesser = create(&mut root, "lesser", &["api-keys:admin", "tokenize", "rehydrate"], json!({}));
    let strong = create(&mut lesser.client(&daemon), "strong", &["tokenize", "rehydrate"], json!({}));
    root.exchange("PATCH", &lesser.path(), br#"{"scopes": ["api-keys:admin", "tokenize"]}"#).ok();
    let patch =
        |client: &mut Client, body: Value| client.exchange("PATCH", &strong.path(), body.to_string().as_bytes());
    // An operator narrows it. Its holder may have the scope again later.
    patch(&mut root, json!({"scopes": ["tokenize"]})).ok();
    let mut client = lesser.client(&daemon);
    let rotation = format!("{}/rotate", strong.path());
    let detail = client.post(&rotation, &json!({})).problem(403, "perm.denied");
    assert!(detail.contains("`rehydrate`, which this key has or had"), "{detail}");
    patch(&mut client, json!({"name": "mine"})).problem(403, "perm.denied");
    daemon.stop();
    let daemon = site.launch().care_keys().start();
    let mut client = lesser.client(&daemon);
    client.post(&rotation, &json!({})).problem(403, "perm.denied");
    daemon.client().post(&rotation, &json!({})).ok();
    daemon.stop();
}

#[test]
fn a_narrowed_key_hands_out_nothing_that_it_lost() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut root = daemon.client();
    let admin = create(&mut root, "admin", &["tokenize", "rehydrate", "api-keys:admin"], json!({}));
    // A request of which the body is still arriving when its key is narrowed.
    let begin = |path: &str, body: &str| {
        let mut late = daemon.client();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: masker\r\nauthorization: Bearer {}\r\nexpect: 100-continue\r\n\
             content-length: {}\r\n\r\n",
            admin.key,
            body.len()
        );
        late.send_raw(head.as_bytes()).unwrap();
        late.receive_continue();
        late
    };
    let child = json!({"name": "late", "scopes": ["rehydrate"], "limits": "none"}).to_string();
    let tokens = json!({"tokens": [root.token("PHONE", "415-555-2671")]}).to_string();
    let mut creating = begin("/api/v1/api-keys", &child);
    let mut rehydrating = begin("/api/v1/rehydrate", &tokens);
    root.exchange("PATCH", &admin.path(), br#"{"scopes": ["tokenize", "api-keys:admin"]}"#).ok();
    creating.send_raw(child.as_bytes()).unwrap();
    let detail = creating.receive().problem(403, "perm.denied");
    assert!(detail.contains("`rehydrate`"), "{detail}");
    rehydrating.send_raw(tokens.as_bytes()).unwrap();
    rehydrating.receive().problem(403, "perm.denied");

    let child = json!({"name": "late", "scopes": ["tokenize"], "limits": "none"}).to_string();
    let mut creating = begin("/api/v1/api-keys", &child);
    root.exchange("PATCH", &admin.path(), br#"{"scopes": ["tokenize"]}"#).ok();
    creating.send_raw(child.as_bytes()).unwrap();
    creating.receive().problem(403, "perm.denied");
    daemon.stop();
}

#[test]
fn a_secret_in_its_grace_period_manages_no_keys() {
    let site = Site::new();
    let daemon = site.launch().care_keys().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64()).start();
    let mut root = daemon.client();
    let first = create(&mut root, "admin", &ADMIN, json!({}));
    let other = create(&mut root, "other", &["tokenize"], json!({}));
    let mut old = first.client(&daemon);
    // A request of which the body is still arriving when its secret is replaced.
    let body = json!({"name": "late", "scopes": ["tokenize"], "limits": "none"}).to_string();
    let mut late = daemon.client();
    let head = format!(
        "POST /api/v1/api-keys HTTP/1.1\r\nhost: masker\r\nauthorization: Bearer {}\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n",
        first.key,
        body.len()
    );
    late.send_raw(head.as_bytes()).unwrap();
    late.receive_continue();
    let second = rotate(&mut root, &first, 3_600);
    late.send_raw(body.as_bytes()).unwrap();
    late.receive().problem(403, "perm.denied");

    assert_eq!(mint(&mut old), 200, "everything else goes on");
    let whoami = old.get("/api/v1/auth/whoami").ok();
    assert_eq!(whoami["scopes"]["api-keys:admin"], false, "{whoami}");
    assert_eq!(whoami["key_prefix"], first.key[..16]);
    let detail =
        old.post("/api/v1/api-keys", &json!({"name": "x", "scopes": ["tokenize"]})).problem(403, "perm.denied");
    assert!(detail.contains("grace period"), "{detail}");
    old.get("/api/v1/api-keys").problem(403, "perm.denied");
    old.post(&format!("{}/rotate", first.path()), &json!({"grace_seconds": 0})).problem(403, "perm.denied");
    old.exchange("PATCH", &other.path(), br#"{"name": "x"}"#).problem(403, "perm.denied");
    old.exchange("DELETE", &other.path(), b"").problem(403, "perm.denied");
    let mut new = second.client(&daemon);
    assert_eq!(new.get("/api/v1/api-keys").ok()["api_keys"].as_array().unwrap().len(), 2);
    mint(&mut old);

    // Lists and the audit log tell the secrets apart.
    let shown = root.get(&first.path()).ok();
    assert_eq!(shown["prefix"], second.key[..16]);
    let in_grace = &shown["secrets_in_grace"][0];
    assert_eq!((&in_grace["prefix"], &in_grace["ends"]), (&json!(first.key[..16]), &shown["grace_ends"]), "{shown}");
    assert!([&first, &second].iter().any(|key| shown["last_used"]["prefix"] == key.key[..16]), "{shown}");
    daemon.stop();
    let events = events_of(&site.audit_events(), "tokenize");
    assert!(!events.is_empty());
    for event in &events {
        assert_eq!(event["caller"]["key_prefix"], first.key[..16], "{event}");
    }
    let listed = events_of(&site.audit_events(), "api_key.list");
    assert!(listed.iter().any(|event| event["caller"]["key_prefix"] == second.key[..16]), "{listed:?}");
}

#[test]
fn a_rotation_keeps_the_grace_periods_that_were_promised() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut root = daemon.client();
    let first = create(&mut root, "busy", &["tokenize"], json!({}));
    for _ in 0..8 {
        rotate(&mut root, &first, 3_600);
    }
    let path = format!("{}/rotate", first.path());
    let detail = root.post(&path, &json!({"grace_seconds": 3_600})).problem(409, "api_key.limit");
    assert!(detail.contains("without a grace period"), "{detail}");
    assert_eq!(outcome(&mut first.client(&daemon)).0, 200);
    rotate(&mut root, &first, 0);
    assert_eq!(outcome(&mut first.client(&daemon)).0, 401);
    daemon.stop();
}

#[test]
fn a_key_that_becomes_active_again_counts() {
    let mut site = Site::new();
    site.set("access", "api_keys_per_workspace", "2");
    let daemon = site.launch().care_keys().start();
    let mut root = daemon.client();
    let ends = (Timestamp::now() + SignedDuration::from_millis(1_500)).to_string();
    let brief: Vec<Issued> =
        (0..2).map(|_| create(&mut root, "brief", &["tokenize"], json!({"expires_at": ends}))).collect();
    for key in &brief {
        let mut client = key.client(&daemon);
        while outcome(&mut client).0 == 200 {}
    }
    create(&mut root, "in its place", &["tokenize"], json!({}));
    let forever = br#"{"expires_at": null}"#;
    root.exchange("PATCH", &brief[0].path(), br#"{"name": "still expired"}"#).ok();
    root.exchange("PATCH", &brief[0].path(), forever).ok();
    root.exchange("PATCH", &brief[1].path(), forever).problem(409, "api_key.limit");
    // One that is active already may change.
    root.exchange("PATCH", &brief[0].path(), forever).ok();
    daemon.stop();
}

#[test]
fn an_api_key_changes_and_rotates_only_what_comes_from_it() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut root = daemon.client();
    let parent = create(&mut root, "parent", &ADMIN, json!({}));
    let child = create(&mut parent.client(&daemon), "child", &ADMIN, json!({"workspace": "a"}));
    let grandchild = create(&mut child.client(&daemon), "grandchild", &ADMIN, json!({"workspace": "b"}));
    let sibling = create(&mut parent.client(&daemon), "sibling", &ADMIN, json!({"workspace": "c"}));
    let other = create(&mut root, "other", &["tokenize"], json!({}));
    // A holder of the secret of one of these would have its limits too, and keep it after a revocation.
    let mut client = child.client(&daemon);
    for key in [&parent, &sibling, &other] {
        for grace in [0, 3_600] {
            let rotation = client.post(&format!("{}/rotate", key.path()), &json!({"grace_seconds": grace}));
            let detail = rotation.problem(403, "perm.denied");
            assert!(detail.contains("only itself and the keys that come from it"), "{detail}");
        }
        client.exchange("PATCH", &key.path(), br#"{"name": "mine"}"#).problem(403, "perm.denied");
        assert_eq!(outcome(&mut key.client(&daemon)).0, 200);
    }
    // Keys that come from it, and itself.
    client.exchange("PATCH", &grandchild.path(), br#"{"name": "renamed"}"#).ok();
    let rotated = rotate(&mut parent.client(&daemon), &grandchild, 0);
    assert_eq!(outcome(&mut rotated.client(&daemon)).0, 200);
    let rotated = rotate(&mut client, &child, 0);
    refused(&mut client, "auth.expired");
    root.exchange("DELETE", &parent.path(), b"").ok();
    refused(&mut rotated.client(&daemon), "auth.revoked");
    // A client of the configuration may do it with every key.
    rotate(&mut root, &other, 0);
    daemon.stop();
}

#[test]
fn what_a_creator_loses_its_keys_lose() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let mut root = daemon.client();
    let token = root.token("PHONE", "415-555-2671");
    let rehydrate = |client: &mut Client| client.post("/api/v1/rehydrate", &json!({"tokens": [token]}));
    let scopes = ["tokenize", "rehydrate", "api-keys:admin"];
    let parent = create(&mut root, "parent", &scopes, json!({}));
    let child = create(&mut parent.client(&daemon), "child", &scopes, json!({"workspace": "a"}));
    let grandchild = create(&mut child.client(&daemon), "grandchild", &["rehydrate"], json!({"workspace": "b"}));
    let change = |root: &mut Client, scopes: &[&str]| {
        root.exchange("PATCH", &parent.path(), json!({"scopes": scopes}).to_string().as_bytes()).ok();
    };
    let mut open = grandchild.client(&daemon);
    assert_eq!(rehydrate(&mut open).status, 200);
    change(&mut root, &["tokenize", "rehydrate:NAME", "api-keys:admin"]);
    for key in [&child, &grandchild] {
        let result = rehydrate(&mut key.client(&daemon)).results(1).remove(0);
        assert_eq!(error_code(&result), "perm.denied");
        assert_eq!(key.client(&daemon).get("/api/v1/auth/whoami").ok()["scopes"]["rehydrate"], false);
    }
    change(&mut root, &["tokenize", "api-keys:admin"]);
    rehydrate(&mut open).problem(403, "perm.denied");
    assert_eq!(root.get(&grandchild.path()).ok()["scopes"], json!(["rehydrate"]), "it has them again with its creator");
    // A creator that lost the right to create keys has still given the others.
    change(&mut root, &["rehydrate"]);
    daemon.kill();
    let daemon = site.launch().care_keys().start();
    assert_eq!(rehydrate(&mut grandchild.client(&daemon)).status, 200);
    assert_eq!(mint(&mut child.client(&daemon)), 403);
    daemon.stop();
}

#[test]
fn keys_of_a_client_have_its_rights_as_long_as_it_is_listed() {
    let mut site = Site::new();
    let own = |scopes: &str| {
        let uid = nix::unistd::geteuid();
        format!("name = \"ops\"\nuid = {uid}\nscopes = [{scopes}]\n[clients.limits]\nrehydrations_per_day = 3")
    };
    site.client(&own("\"*\""));
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let limits = json!({"limits": {"rehydrations_per_day": 3}});
    let key = create(&mut client, "left", &["rehydrate", "tokenize"], limits).client(&daemon);
    let mut key = key;
    let token = client.token("PHONE", "415-555-2671");
    let body = json!({"tokens": [token]});
    assert_eq!([0; 3].map(|_| key.post("/api/v1/rehydrate", &body).status), [200; 3]);
    key.post("/api/v1/rehydrate", &body).problem(429, "quota.exceeded");

    let mut list = |text: Option<&str>| {
        site.forget_clients();
        text.into_iter().for_each(|text| site.client(text));
        site.write();
        daemon.reload();
    };
    list(Some(&own("\"rehydrate\"")));
    assert_eq!(mint(&mut key), 403);
    key.post("/api/v1/rehydrate", &body).problem(429, "quota.exceeded");
    // A client that is not listed has no rights, so its keys have none.
    list(None);
    key.post("/api/v1/rehydrate", &body).problem(403, "perm.denied");
    assert_eq!(key.get("/api/v1/auth/whoami").ok()["scopes"]["rehydrate"], false);
    let warned = daemon.log().text();
    assert!(
        warned.contains("which masker.toml does not list have no rights, until it lists them again: `ops`"),
        "{warned}"
    );
    list(Some(&own("\"*\"")));
    assert_eq!(mint(&mut key), 200);
    daemon.stop();
}

#[test]
fn a_key_has_no_name_that_looks_like_another_caller() {
    let mut site = Site::new();
    site.client("name = \"billing\"\nuid = 61999\nscopes = [\"tokenize\"]");
    let daemon = site.launch().care_keys().start();
    let mut root = daemon.client();
    let key = create(&mut root, "invoices", &["tokenize"], json!({"owner": "Zoë 山田"}));
    for name in [
        "trusted",
        "unlisted",
        "billing",
        " Billing",
        "in\u{202e}voices",
        "bill\u{200b}ing",
        "a\u{2028}b",
        "\u{feff}x",
        "x\u{e0041}",
        "a\nb",
        "\u{3164}",
    ] {
        let body = json!({"name": name, "scopes": ["tokenize"]});
        let detail = root.post("/api/v1/api-keys", &body).problem(400, "request.invalid");
        assert!(detail.contains("`name`") && !detail.contains(name), "{detail}");
        let change = json!({"name": name}).to_string();
        root.exchange("PATCH", &key.path(), change.as_bytes()).problem(400, "request.invalid");
        if !["trusted", "unlisted", "billing", " Billing"].contains(&name) {
            let body = json!({"name": "x", "owner": name, "scopes": ["tokenize"]});
            let detail = root.post("/api/v1/api-keys", &body).problem(400, "request.invalid");
            assert!(detail.contains("`owner`"), "{detail}");
        }
    }
    daemon.stop();
}
