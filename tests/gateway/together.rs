//! The gateway before the real daemon.

use serde_json::{Value, json};

use crate::{
    client::{Answer, Connector},
    harness::{OpenDaemon, Site, TestKey, is_root},
    recorder::run,
    site::{GatewaySite, HOST},
};

/// The user of the gateway. No user of this host has it.
const GATEWAY: u32 = 62_000;

async fn post(client: &Connector<'_>, path: &str, key: Option<&str>, body: &Value) -> Answer {
    let (body, bearer) = (body.to_string(), key.map(|key| format!("Bearer {key}")));
    let length = body.len().to_string();
    let mut headers = vec![("host", HOST), ("content-type", "application/json"), ("content-length", &length)];
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    client.request(&format!("POST {path}"), &headers, &body).await
}

#[test]
fn credentials_work_through_both_programs_up_to_the_ceiling() {
    if !is_root("a user of the gateway") {
        return;
    }
    let mut site = Site::new();
    let assertions = "\"gateway:certificate\", \"gateway:address\"";
    site.client(&format!("name = \"gateway\"\nuid = {GATEWAY}\ngateway = true\nscopes = [{assertions}]\n"));
    site.client(
        "name = \"root\"\nuser = \"root\"\nscopes = [\"*\"]\n[roles.ci]\nscopes = [\"tokenize\"]\nmembers = \
         [\"cert:san:dns:ci.example\"]\n",
    );
    let audit = TestKey::named("audit").base64();
    let daemon = OpenDaemon::start_with(&site, |launch| launch.env("MASKER_AUDIT_HMAC_KEY", audit));
    let mut root = daemon.client_of(0);
    let created = json!({"name": "remote", "scopes": ["tokenize", "rehydrate"], "limits": "none"});
    let key = root.post("/api/v1/api-keys", &created).json()["key"].as_str().unwrap().to_owned();
    let token = root.token("PHONE", "415-555-2671");
    let tokenize = json!({"items": [{"kind": "PHONE", "value": "415-555-2671"}]});
    run(async {
        let files = GatewaySite::new().before(daemon.socket(), GATEWAY);
        let gateway = files.start();
        let (ci, other) = (files.clients.client(&["ci.example"]), files.clients.client(&["other.example"]));
        let bearer = Connector::tls(&files, &gateway);
        let role = Connector::mtls(&files, &gateway, &ci);
        for answer in [
            post(&bearer, "/api/v1/tokenize", Some(&key), &tokenize).await,
            post(&role, "/api/v1/tokenize", None, &tokenize).await,
        ] {
            assert!(answer.status == 200 && answer.body.contains(&token), "{} {}", answer.status, answer.body);
        }
        // The key may rehydrate, and the default ceiling does not.
        let tokens = json!({"tokens": [token]});
        let denied = post(&bearer, "/api/v1/rehydrate", Some(&key), &tokens).await;
        assert_eq!((denied.status, denied.problem().as_str()), (403, "perm.denied"));
        assert!(denied.body.contains("`ceiling`") && !denied.body.contains("2671"), "{}", denied.body);
        assert_eq!(post(&role, "/api/v1/rehydrate", None, &tokens).await.problem(), "perm.denied");
        let unknown = Connector::mtls(&files, &gateway, &other);
        assert_eq!(post(&unknown, "/api/v1/tokenize", None, &tokenize).await.problem(), "role.none");
        let revoked = format!("{}x", &key[..key.len() - 1]);
        let wrong = post(&bearer, "/api/v1/tokenize", Some(&revoked), &tokenize).await;
        assert_eq!((wrong.status, wrong.problem().as_str()), (401, "auth.invalid"));
        let log = gateway.process.log().text();
        assert!(!log.contains(&key) && !log.contains("2671"), "{log}");
        gateway.process.stop();
    });
    daemon.stop();
    let events = site.audit_events();
    let minted: Vec<&Value> = events.iter().filter(|event| event["op"] == "tokenize").collect();
    let through = minted.iter().filter(|event| event["caller"]["gateway"] == "gateway");
    assert!(through.clone().all(|event| event["caller"]["address"] == "127.0.0.1"), "{minted:?}");
    assert_eq!(through.count(), 2, "{minted:?}");
}
