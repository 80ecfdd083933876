//! The gateway before the real daemon.

use serde_json::{Value, json};

use crate::{
    client::{Answer, Connector},
    harness::is_root,
    installation::{GATEWAY, Installation, VALUE, install},
    recorder::run,
    site::{GatewaySite, HOST},
};

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
    let Installation { site, daemon, key, token } = install();
    let tokenize = json!({"items": [{"kind": "PHONE", "value": VALUE}]});
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
        let malformed = format!("{}x", &key[..key.len() - 1]);
        let wrong = post(&bearer, "/api/v1/tokenize", Some(&malformed), &tokenize).await;
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
