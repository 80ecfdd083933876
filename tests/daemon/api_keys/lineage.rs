//! Keys that keys create, and secrets that others replace.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Issued, create, outcome, refused};
use crate::harness::{Client, Daemon, Site, TestKey, events_of};

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
    let lesser = create(&mut root, "lesser", &["api-keys:admin", "tokenize"], json!({}));
    let strong = create(&mut root, "strong", &["tokenize", "rehydrate"], json!({}));
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
