//! A gateway that was taken over: a process of its user can do what *Gateway* in the book says, and nothing else.

use masker_http::routes;
use serde_json::{Value, json};

use super::{ADDRESS, ALL, CERTIFICATE, GATEWAY, add_gateway, certificate, holder_of, role, start};
use crate::{
    api_keys::{Issued, create},
    harness::{OpenDaemon, Site, is_root},
};

/// Returns a site with a gateway of the default ceiling, and roles of everything and of `tokenize`.
fn site_with(ceiling: &str) -> Site {
    let mut site = Site::new();
    add_gateway(&mut site, GATEWAY, ALL, ceiling);
    let staff = role("staff", &["*"], &["cert:san:dns:staff.example"], "");
    let ci = role("ci", &["tokenize"], &["cert:san:dns:ci.example"], "");
    site.client(&format!("name = \"root\"\nuser = \"root\"\nscopes = [\"*\"]\n{staff}{ci}"));
    site
}

#[test]
fn it_has_no_rights_of_its_own_and_those_of_credentials_up_to_the_ceiling() {
    if !is_root("being several users") {
        return;
    }
    let site = site_with("");
    let daemon = start(&site);
    let mut root = daemon.client_of(0);
    let token = root.token("PHONE", "415-555-2671");
    let captured = create(&mut root, "captured", &["*"], json!({}));

    // Without a credential: the status, and nothing else, also as it claims to be another.
    for route in routes().iter().filter(|route| route.path() != "/health") {
        let path = route.path().replace("{id}", "0").replace("{name}", "care");
        let mut client = daemon.client_of(GATEWAY).header(ADDRESS, "127.0.0.1");
        client.exchange(route.method().as_str(), &path, b"").problem(401, "auth.missing");
    }
    for (name, value) in
        [("Masker-Gateway-Login", "root"), ("Masker-Gateway-User", "root"), ("Masker-Gateway-Role", "staff")]
    {
        daemon.client_of(GATEWAY).header(name, value).get("/api/v1/keys").problem(400, "gateway.invalid");
    }
    for identity in ["san:dns:root", "san:dns:role:staff", "san:uri:staff.example"] {
        let identities = format!("{}, {identity}", super::key_of(1));
        daemon.client_of(GATEWAY).header(CERTIFICATE, &identities).get("/api/v1/keys").problem(403, "role.none");
    }

    // As any certificate of any role, with any API key that passes: up to the ceiling.
    let key = || daemon.client_of(GATEWAY).show(&captured.key);
    for mut client in [holder_of(&daemon, GATEWAY, 1, "staff.example"), key()] {
        assert_eq!(client.token("PHONE", "415-555-2671"), token);
        client.get("/api/v1/keys").ok();
        client.get("/api/v1/audit/events").ok();
        for (path, body) in [
            ("/api/v1/rehydrate", json!({"tokens": [token]})),
            ("/api/v1/lookup", json!({"items": [{"kind": "PHONE", "value": "415-555-2671"}]})),
            ("/api/v1/text/restore", json!({"texts": [token]})),
            ("/api/v1/vault/export", json!({})),
            ("/api/v1/keys/reload", json!({})),
        ] {
            // The advice is about the ceiling: these credentials have every scope.
            let denied = client.post(path, &body).problem(403, "perm.denied");
            assert!(denied.contains("`ceiling`"), "{path}: {denied}");
        }
        // Nor does it see the value by a way around.
        client
            .post("/api/v1/forget", &json!({"items": [{"kind": "PHONE", "value": "415-555-2671"}]}))
            .problem(403, "perm.denied");
    }
    holder_of(&daemon, GATEWAY, 2, "ci.example").get("/api/v1/keys").problem(403, "perm.denied");
    daemon.stop();
}

#[test]
fn what_it_creates_has_no_more_than_the_ceiling() {
    if !is_root("being several users") {
        return;
    }
    let site = site_with("");
    let daemon = start(&site);
    let mut root = daemon.client_of(0);
    let token = root.token("PHONE", "415-555-2671");
    let captured = create(&mut root, "captured", &["*"], json!({}));
    let mut through = daemon.client_of(GATEWAY).show(&captured.key);
    for scopes in [&["*"][..], &["rehydrate"], &["tokenize", "rehydrate:PHONE"], &["keys:admin"]] {
        let body = json!({"name": "more", "scopes": scopes, "limits": "none"});
        through.post("/api/v1/api-keys", &body).problem(403, "perm.denied");
    }
    let child = create(&mut through, "child", &["tokenize", "api-keys:admin"], json!({}));
    // On the host it has no more than it got.
    let mut local = child.client(&daemon);
    local.token("PHONE", "415-555-2671");
    local.post("/api/v1/rehydrate", &json!({"tokens": [token]})).problem(403, "perm.denied");
    // It learns no secret of a key that has more, and raises none.
    through.post(&format!("{}/rotate", captured.path()), &json!({})).problem(403, "perm.denied");
    let patch = json!({"scopes": ["tokenize", "rehydrate"]}).to_string();
    through.exchange("PATCH", &child.path(), patch.as_bytes()).problem(403, "perm.denied");
    let patch = json!({"name": "renamed"}).to_string();
    through.exchange("PATCH", &captured.path(), patch.as_bytes()).problem(403, "perm.denied");
    assert_eq!(through.exchange("PATCH", &child.path(), patch.as_bytes()).ok()["name"], "renamed");
    // The same key raises it on the host, and the ceiling bounds the result.
    let patch = json!({"scopes": ["tokenize", "rehydrate"]}).to_string();
    captured.client(&daemon).exchange("PATCH", &child.path(), patch.as_bytes()).ok();
    assert_eq!(child.client(&daemon).value(&token), "415-555-2671");
    let mut child = daemon.client_of(GATEWAY).show(&child.key);
    child.post("/api/v1/rehydrate", &json!({"tokens": [token]})).problem(403, "perm.denied");

    // A role creates keys that end with it.
    let mut staff = holder_of(&daemon, GATEWAY, 1, "staff.example");
    let of_role = create(&mut staff, "of-role", &["tokenize"], json!({}));
    let listed = root.get(&of_role.path()).ok();
    assert_eq!((&listed["created_by"], &listed["parent_id"]), (&json!("role:staff"), &Value::Null));
    of_role.client(&daemon).token("PHONE", "415-555-2671");
    staff.post("/api/v1/api-keys", &json!({"name": "Role:x", "scopes": []})).problem(400, "request.invalid");
    daemon.stop();
}

#[test]
fn certificates_do_not_share_sessions() {
    if !is_root("being several users") {
        return;
    }
    let site = site_with("ceiling = [\"tokenize\", \"rehydrate\"]");
    let daemon = start(&site);
    let open = |number| {
        let mut client = holder_of(&daemon, GATEWAY, number, "ci.example");
        let opened = client.post("/api/v1/sessions", &json!({"label": "x"}));
        assert_eq!(opened.status, 201);
        opened.json()["id"].as_str().unwrap().to_owned()
    };
    let (one, other) = (open(1), open(2));
    for (number, own, foreign) in [(1, &one, &other), (2, &other, &one)] {
        let within = |session: &str| holder_of(&daemon, GATEWAY, number, "ci.example").within(session);
        within(own).token("PHONE", "415-555-2671");
        within(foreign).post("/api/v1/tokenize", &json!({"items": []})).problem(404, "session.not_found");
        let mut client = holder_of(&daemon, GATEWAY, number, "ci.example");
        let listed = client.get("/api/v1/sessions").ok();
        assert_eq!(listed["sessions"].as_array().unwrap().len(), 1, "{listed}");
        assert_eq!(
            listed["sessions"][0]["opened_by"]["name"],
            format!("role:ci {}", format!("{number:02x}").repeat(32))
        );
        client.get(&format!("/api/v1/sessions/{foreign}")).problem(404, "session.not_found");
    }
    daemon.stop();
}

/// Requests that a gateway has passed on, whose bodies are still arriving when the configuration changes.
#[test]
fn rights_that_change_while_a_body_arrives_are_those_of_the_end() {
    if !is_root("being several users") {
        return;
    }
    const BODY: &[u8] = b"{\"items\":[]}";
    let mut site = site_with("");
    let daemon = start(&site);
    let captured: Issued = create(&mut daemon.client_of(0), "captured", &["*"], json!({}));
    let key = format!("authorization: Bearer {}", captured.key);
    let staff = format!("{CERTIFICATE}: {}", certificate(1, "staff.example"));
    let begin = |header: &str| {
        let mut client = daemon.client_of(GATEWAY);
        let head = format!(
            "POST /api/v1/tokenize HTTP/1.1\r\nhost: masker\r\n{header}\r\n{ADDRESS}: 192.0.2.1\r\nexpect: 100-continue\r\n\
             content-length: {}\r\n\r\n",
            BODY.len()
        );
        client.send_raw(head.as_bytes()).unwrap();
        client.receive_continue();
        client
    };
    let role_of = |identity: &str| role("staff", &["*"], &[identity], "");
    let (own, foreign) = (role_of("cert:san:dns:staff.example"), role_of("cert:san:dns:else.example"));
    let gateway = |scopes, ceiling| Some((scopes, ceiling));
    for (changed, roles, [of_key, of_role]) in [
        (gateway(ALL, "ceiling = [\"tokenize\", \"lookup\"]"), &own, [None, None]),
        (gateway(ALL, "ceiling = [\"lookup\"]"), &own, [Some("perm.denied"); 2]),
        (gateway("\"gateway:certificate\"", ""), &own, [Some("gateway.denied"); 2]),
        (gateway("\"gateway:address\"", ""), &own, [None, Some("gateway.denied")]),
        (gateway(ALL, ""), &foreign, [None, Some("role.none")]),
        // What an operator sets when a gateway was taken over.
        (gateway("", "ceiling = []"), &own, [Some("gateway.denied"); 2]),
        (gateway("\"gateway:address\"", "ceiling = []"), &own, [Some("perm.denied"), Some("gateway.denied")]),
        (None, &own, [Some("gateway.denied"); 2]),
    ] {
        let begun = [(begin(&key), of_key), (begin(&staff), of_role)];
        reload(&daemon, &mut site, changed, roles);
        for (mut client, code) in begun {
            client.send_raw(BODY).unwrap();
            let answer = client.receive();
            match code {
                Some(code) => drop(answer.problem(403, code)),
                None => drop(answer.ok()),
            }
        }
        reload(&daemon, &mut site, gateway(ALL, ""), &own);
    }
    daemon.stop();
}

/// Replaces the clients of a running daemon: a gateway with these scopes and this ceiling, if any, and root.
fn reload(daemon: &OpenDaemon, site: &mut Site, gateway: Option<(&str, &str)>, roles: &str) {
    site.forget_clients();
    if let Some((scopes, ceiling)) = gateway {
        add_gateway(site, GATEWAY, scopes, ceiling);
    }
    site.client(&format!("name = \"root\"\nuser = \"root\"\nscopes = [\"*\"]\n{roles}"));
    site.write();
    daemon.client_of(0).post("/api/v1/policies/reload", &json!({})).ok();
}
