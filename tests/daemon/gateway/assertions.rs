//! Who may assert what, and how it is refused and recorded.

use serde_json::{Value, json};

use super::{ADDRESS, ALL, CERTIFICATE, GATEWAY, STRANGER, add_gateway, certificate, holder_of, key_of, role, start};
use crate::{
    api_keys::create,
    harness::{Client, Site, events_of, is_root},
};

const WHOAMI: &str = "/api/v1/auth/whoami";
/// An ordinary client.
const APPLICATION: u32 = 62_800;
/// A key that is well formed and that no daemon has issued.
const UNKNOWN_KEY: &str = "masker_live_0000000000000000000000000000000000000";

/// Adds an ordinary client, and after it the role `ci`.
fn add_application(site: &mut Site) {
    let ci = role("ci", &["tokenize"], &["cert:san:dns:ci.example", "cert:san:uri:spiffe://a/ci?x"], "");
    let staff = role("staff", &["tokenize"], &["cert:san:dns:staff.example", &format!("cert:{}", key_of(7))], "");
    site.client(&format!("name = \"app\"\nuid = {APPLICATION}\nscopes = [\"*\"]\n{ci}{staff}"));
}

#[test]
fn only_a_gateway_with_the_scope_asserts() {
    if !is_root("being several users") {
        return;
    }
    let mut site = Site::new();
    add_gateway(&mut site, GATEWAY, "\"gateway:address\"", "");
    add_gateway(&mut site, GATEWAY + 1, "\"gateway:certificate\"", "");
    add_gateway(&mut site, GATEWAY + 2, ALL, "");
    add_application(&mut site);
    let daemon = start(&site);
    let key = create(&mut daemon.client(), "any", &["*"], json!({}));
    let (address, ci) = ("192.0.2.1", certificate(1, "ci.example"));
    // Neither root nor a client nor a stranger, with a key or without.
    for uid in [0, APPLICATION, STRANGER] {
        for (name, value) in
            [(ADDRESS, address), (CERTIFICATE, &ci), ("Masker-Gateway-Login", "ada"), ("masker-gateway-x", "")]
        {
            let connect = || daemon.client_of(uid).header(name, value);
            for mut client in [connect(), connect().show(&key.key)] {
                for path in [WHOAMI, "/health", "/nowhere"] {
                    client.get(path).problem(403, "gateway.denied");
                }
            }
        }
    }
    let denied = |uid: u32, name: &str, value: &str, scope: &str| {
        let detail =
            daemon.client_of(uid).show(&key.key).header(name, value).get(WHOAMI).problem(403, "gateway.denied");
        assert!(detail.contains(&format!("`{scope}`")), "{detail}");
    };
    denied(GATEWAY, CERTIFICATE, &ci, "gateway:certificate");
    denied(GATEWAY + 1, ADDRESS, address, "gateway:address");
    daemon.client_of(GATEWAY).show(&key.key).header(ADDRESS, address).get(WHOAMI).ok();
    daemon.client_of(GATEWAY + 1).header(CERTIFICATE, &ci).get(WHOAMI).ok();

    let both = || daemon.client_of(GATEWAY + 2);
    for mut client in [
        both().header(ADDRESS, address).header(ADDRESS, address),
        both().header(CERTIFICATE, &ci).header(CERTIFICATE, &ci),
        both().header(ADDRESS, "192.0.2.1:80"),
        both().header(ADDRESS, ""),
        both().header(CERTIFICATE, "san:dns:ci.example"),
        both().header(CERTIFICATE, &format!("{}, san:dns:a b", key_of(1))),
        both().header("masker-gateway-login", "ada"),
        both().header(ADDRESS, address).header("masker-gateway-user", "0"),
    ] {
        client.get(WHOAMI).problem(400, "gateway.invalid");
        client.get("/health").problem(400, "gateway.invalid");
    }
    both().show(&key.key).header(CERTIFICATE, &ci).get(WHOAMI).problem(400, "auth.several");
    daemon.stop();
    // Repeated refusals share an event, so each kind has one at least.
    let refused = events_of(&site.audit_events(), "refused");
    let has = |uid: u32, outcome: &str| {
        refused.iter().any(|event| event["caller"]["uid"] == uid && event["outcome"] == outcome)
    };
    for uid in [0, APPLICATION, STRANGER, GATEWAY, GATEWAY + 1] {
        assert!(has(uid, "gateway.denied"), "{uid}: {refused:?}");
    }
    assert!(has(GATEWAY + 2, "gateway.invalid") && has(GATEWAY + 2, "auth.several"), "{refused:?}");
}

#[test]
fn a_certificate_has_one_role() {
    if !is_root("being several users") {
        return;
    }
    let mut site = Site::new();
    add_gateway(&mut site, GATEWAY, ALL, "");
    add_application(&mut site);
    let daemon = start(&site);
    let ask = |identities: &str| daemon.client_of(GATEWAY).header(CERTIFICATE, identities).get(WHOAMI);
    for (identities, name) in [
        (certificate(1, "ci.example"), "role:ci"),
        (format!("san:uri:spiffe://a/ci%3Fx,{}", key_of(1)), "role:ci"),
        (format!("{},san:dns:CI.example , san:uri:spiffe://a/ci%3fx", key_of(1)), "role:ci"),
        (key_of(7), "role:staff"),
        (certificate(7, "staff.example"), "role:staff"),
    ] {
        assert_eq!(ask(&identities).ok()["name"], name, "{identities}");
    }
    for (identities, code) in [
        (key_of(1), "role.none"),
        (certificate(1, "*.example"), "role.none"),
        (certificate(1, "a.ci.example"), "role.none"),
        (format!("{}, san:uri:ci.example, san:email:ci.example", key_of(1)), "role.none"),
        (certificate(7, "ci.example"), "role.ambiguous"),
        (format!("{}, san:dns:staff.example", certificate(1, "ci.example")), "role.ambiguous"),
    ] {
        ask(&identities).problem(403, code);
    }
    // In one second, from one address: each is in the log.
    for number in 11..=14 {
        ask(&key_of(number)).problem(403, "role.none");
    }
    daemon.stop();
    let denied = events_of(&site.audit_events(), "denied");
    let last = denied.last().unwrap();
    assert!(denied.iter().any(|event| event["outcome"] == "role.none"), "{denied:?}");
    assert_eq!(last["caller"]["gateway"], format!("gateway-{GATEWAY}"));
    for number in ["07", "0b", "0c", "0d", "0e"] {
        let is_named = |event: &Value| event["detail"]["certificate"] == number.repeat(32);
        assert!(denied.iter().any(is_named), "{number}: {denied:?}");
    }
}

#[test]
fn events_name_the_gateway_the_address_and_the_certificate() {
    if !is_root("being several users") {
        return;
    }
    let mut site = Site::new();
    add_gateway(&mut site, GATEWAY, ALL, "");
    add_application(&mut site);
    let daemon = start(&site);
    let key = create(&mut daemon.client(), "remote", &["tokenize"], json!({}));
    // One connection, as gateways keep them, for several callers.
    let mut client = holder_of(&daemon, GATEWAY, 5, "ci.example").header(ADDRESS, "192.0.2.1");
    client.token("PHONE", "415-555-2671");
    client.post("/api/v1/rehydrate", &json!({"tokens": []})).problem(403, "perm.denied");
    let body = json!({"items": []}).to_string();
    for (headers, address) in [
        (format!("authorization: Bearer {}\r\n", key.key), Some("2001:db8::1")),
        (format!("{CERTIFICATE}: {}\r\n", certificate(6, "ci.example")), Some("::ffff:192.0.2.9")),
        (format!("authorization: Bearer {}\r\n", key.key), None),
    ] {
        let address = address.map(|address| format!("{ADDRESS}: {address}\r\n")).unwrap_or_default();
        let head = format!(
            "POST /api/v1/tokenize HTTP/1.1\r\nhost: masker\r\n{headers}{address}content-length: {}\r\n\r\n",
            body.len()
        );
        client.send_raw(format!("{head}{body}").as_bytes()).unwrap();
        client.receive().ok();
    }
    daemon.stop();
    let events = site.audit_events();
    let of = |event: &Value| {
        ["name", "key_id", "certificate", "gateway", "address"].map(|name| event["caller"][name].clone())
    };
    let tokenized: Vec<[Value; 5]> = events_of(&events, "tokenize").iter().map(of).collect();
    let gateway = || json!(format!("gateway-{GATEWAY}"));
    let role =
        |number: &str, address| [json!("role:ci"), Value::Null, json!(number.repeat(32)), gateway(), json!(address)];
    let api_key = |address| [json!("remote"), json!(key.id), Value::Null, gateway(), address];
    assert_eq!(
        tokenized,
        [role("05", "192.0.2.1"), api_key(json!("2001:db8::1")), role("06", "192.0.2.9"), api_key(Value::Null)]
    );
    let denied = events_of(&events, "rehydrate");
    assert_eq!(denied.iter().map(of).collect::<Vec<_>>(), [role("05", "192.0.2.1")]);
    let created = events_of(&events, "api_key.create");
    assert!(["gateway", "address", "certificate"].iter().all(|name| created[0]["caller"][name].is_null()));
}

#[test]
fn strangers_behind_a_gateway_do_not_block_each_other() {
    if !is_root("being several users") {
        return;
    }
    let mut site = Site::new();
    add_gateway(&mut site, GATEWAY, ALL, "");
    let daemon = start(&site);
    let key = create(&mut daemon.client(), "honest", &["tokenize"], json!({}));
    let unknown = format!("{}{}", &key.key[..16], &UNKNOWN_KEY[16..]);
    let from = |address: &str| daemon.client_of(GATEWAY).show(&unknown).header(ADDRESS, address);
    let mut guesser = from("192.0.2.1");
    let statuses: Vec<u16> = (0..12).map(|_| guesser.get(WHOAMI).status).collect();
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 2]].concat());
    assert_eq!(from("192.0.2.1").get(WHOAMI).status, 429, "another connection of the same address");
    for other in ["192.0.2.2", "2001:db8::1"] {
        assert_eq!(from(other).get(WHOAMI).status, 401, "{other}");
    }
    // Nor does the gateway's user, nor another, nor the honest caller from the same address.
    assert_eq!(daemon.client_of(GATEWAY).show(&unknown).get(WHOAMI).status, 401);
    assert_eq!(daemon.client_of(STRANGER).show(&unknown).get(WHOAMI).status, 401);
    daemon.client_of(GATEWAY).show(&key.key).header(ADDRESS, "192.0.2.1").get(WHOAMI).ok();
    daemon.stop();
    let events = site.audit_events();
    let failed = events_of(&events, "auth.failed");
    assert!(failed.iter().all(|event| event["caller"]["name"] != "honest"), "{failed:?}");
    assert_eq!(events_of(&events, "auth.blocked")[0]["caller"]["address"], "192.0.2.1");
    for address in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
        assert!(failed.iter().any(|event| event["caller"]["address"] == address), "{address}: {failed:?}");
    }
}

#[test]
fn one_address_leaves_room_for_others() {
    const PLACES: usize = masker_types::limits::ADDRESS_REQUESTS_MAX;
    if !is_root("being several users") {
        return;
    }
    let mut site = Site::new();
    add_gateway(&mut site, GATEWAY, ALL, "");
    let daemon = start(&site);
    let key = create(&mut daemon.client(), "remote", &["tokenize"], json!({}));
    let from = |address: &str| {
        let mut client = daemon.client_of(GATEWAY);
        let head = format!(
            "POST /api/v1/tokenize HTTP/1.1\r\nhost: masker\r\nauthorization: Bearer {}\r\n{ADDRESS}: {address}\r\n\
             expect: 100-continue\r\ncontent-length: 12\r\n\r\n",
            key.key
        );
        client.send_raw(head.as_bytes()).unwrap();
        client
    };
    let mut held: Vec<Client> = (0..PLACES).map(|_| from("2001:db8::1")).collect();
    held.iter_mut().for_each(Client::receive_continue);
    from("2001:db8::ffff").receive().problem(503, "overloaded");
    from("2001:db8:0:1::1").receive_continue();
    from("192.0.2.1").receive_continue();
    for mut client in held {
        client.send_raw(b"{\"items\":[]}").unwrap();
        client.receive().ok();
    }
    from("2001:db8::1").receive_continue();
    daemon.stop();
}
