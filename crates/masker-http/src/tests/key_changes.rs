//! Changes of API keys while their commit waits, and after it failed.

use std::{
    sync::atomic::AtomicI64,
    task::{Context, Waker},
};

use jiff::SignedDuration;
use masker_access::{ApiKey, ApiKeyId, AuthError, Caller};
use masker_store::memory::InjectedFault;
use masker_types::grant::Scope;

use super::*;
use crate::query::QueryParameters;

const KEYS: &str = "/api/v1/api-keys";
const KEY: &str = "/api/v1/api-keys/{id}";
const ROTATE: &str = "/api/v1/api-keys/{id}/rotate";

/// An API key with its secret.
struct Issued {
    id: String,
    secret: String,
}

impl Fixture {
    /// Creates a key without limits, as a caller with this secret or as the operator.
    async fn issue(&self, creator: Option<&Issued>, scopes: &[&str]) -> Issued {
        let body = json!({"name": "app", "scopes": scopes, "limits": "none"}).to_string();
        let (_, mut ctx) = self.context(KEYS, &Method::POST).await;
        if let Some(creator) = creator {
            ctx.caller = self.caller(creator).expect("a key that works");
        }
        let route = ctx.route.expect("a route");
        let answered = (route.run)(Arc::clone(&self.service), ctx, Input::for_tests("", &body)).await;
        let bytes = answered.response.into_body().collect().await.expect("a body").to_bytes();
        let issued: Value = serde_json::from_slice(&bytes).expect("JSON");
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{issued}")).to_owned();
        Issued { id: text(&issued["api_key"]["id"]), secret: text(&issued["key"]) }
    }

    /// Identifies the caller that presents a key.
    fn caller(&self, key: &Issued) -> Result<Caller, AuthError> {
        let (here, _there) = UnixStream::pair().expect("a connection");
        let peer = Arc::new(Peer::of(&here).expect("a peer"));
        let shown = format!("Bearer {}", key.secret);
        let local = self.service.access.local_caller(&peer);
        let found = self.service.access.authenticate(&local, shown.as_bytes(), self.service.now_ms());
        found.map_err(|(error, _)| error)
    }

    fn refusal(&self, key: &Issued) -> Option<AuthError> {
        self.caller(key).err()
    }

    /// Begins a request of a caller that was admitted.
    async fn begin_as(&self, caller: Caller, path: &str, body: &Value) -> (String, RunningOperation) {
        let (id, mut ctx) = self.context(path, &Method::POST).await;
        ctx.caller = caller;
        let route = ctx.route.expect("a route");
        (id, (route.run)(Arc::clone(&self.service), ctx, Input::for_tests("", &body.to_string())))
    }

    /// Returns a key as the vault stores it.
    async fn stored(&self, key: &Issued) -> ApiKey {
        let id = ApiKeyId::parse(&key.id).expect("an id");
        let keys = self.service.vault.api_keys().await.expect("keys");
        keys.into_iter().find(|stored| stored.id() == id).expect("the key")
    }
}

/// Polls an operation once: it runs up to its first wait.
fn poll(operation: &mut RunningOperation) -> Option<StatusCode> {
    match operation.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answered) => Some(answered.response.status()),
        Poll::Pending => None,
    }
}

fn phone() -> Value {
    json!({"items": [{"kind": "PHONE", "value": "4155552671"}]})
}

#[tokio::test]
async fn a_revocation_is_in_force_before_its_commit_and_admitted_requests_finish() {
    let fixture = Fixture::new().await;
    let key = fixture.issue(None, &["*"]).await;
    let child = fixture.issue(Some(&key), &["tokenize"]).await;
    let held = fixture.store.hold_applies().await;
    let admitted = fixture.caller(&child).expect("it works");
    let (_, mut minting) = fixture.begin_as(admitted, "/api/v1/tokenize", &phone()).await;
    assert_eq!(poll(&mut minting), None);
    let (id, mut revoking) = fixture.begin(&Method::DELETE, KEY, &key.id, "").await;
    assert_eq!(poll(&mut revoking), None, "the answer waits for the commit");
    assert_eq!((fixture.refusal(&key), fixture.refusal(&child)), (Some(AuthError::Revoked), Some(AuthError::Revoked)));
    assert!(fixture.events(&id).is_empty());
    drop(held);
    assert_eq!(minting.await.response.status(), StatusCode::OK, "it was admitted before");
    assert_eq!(revoking.await.response.status(), StatusCode::OK);
    assert!(
        fixture.stored(&key).await.revoked_at_ms().is_some() && fixture.stored(&child).await.revoked_at_ms().is_some()
    );
}

#[tokio::test]
async fn a_revocation_that_cannot_be_stored_holds_until_a_restart() {
    for fault in [InjectedFault::NotApplied, InjectedFault::AppliedUnanswered] {
        let fixture = Fixture::new().await;
        let key = fixture.issue(None, &["*"]).await;
        let child = fixture.issue(Some(&key), &["tokenize"]).await;
        fixture.store.fail_next_apply(fault);
        let (id, revoking) = fixture.begin(&Method::DELETE, KEY, &key.id, "").await;
        let response = revoking.await.response;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let problem: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(problem["code"], "vault.unavailable");
        assert!(
            problem["detail"].as_str().is_some_and(|text| text.contains("until the daemon starts again")),
            "{problem}"
        );
        let [event] = fixture.events(&id).try_into().expect("one event");
        assert_eq!(event["detail"]["withdrawn_until_restart"], true, "{event}");
        let both = || [fixture.refusal(&key), fixture.refusal(&child)];
        assert_eq!(both(), [Some(AuthError::Revoked), Some(AuthError::Revoked)]);

        // Only a request that records it stores it.
        fixture.service.note_api_key_use().await.expect("stored");
        let revoked = |key: &ApiKey| key.revoked_at_ms().is_some();
        let applied = fault == InjectedFault::AppliedUnanswered;
        assert_eq!(revoked(&fixture.stored(&key).await), applied);
        let restarted = ApiKeys::load(fixture.service.vault.api_keys().await.expect("keys"));
        assert!(restarted.list().iter().all(|key| revoked(key) == applied));

        assert_eq!(both(), [Some(AuthError::Revoked), Some(AuthError::Revoked)]);
        fixture.done(Method::DELETE, KEY, &key.id, Value::Null).await;
        assert!(revoked(&fixture.stored(&key).await) && revoked(&fixture.stored(&child).await));
        assert_eq!(both(), [Some(AuthError::Revoked), Some(AuthError::Revoked)]);
    }
}

#[tokio::test]
async fn a_change_takes_away_at_once_and_gives_once_it_is_stored() {
    let fixture = Fixture::new().await;
    let key = fixture.issue(None, &["tokenize", "rehydrate"]).await;
    let allowed = || {
        let caller = fixture.caller(&key).expect("it works");
        [Scope::Tokenize, Scope::Rehydrate, Scope::Lookup].map(|scope| caller.require(scope).is_ok())
    };
    let change = json!({"scopes": ["tokenize", "lookup"]}).to_string();
    let held = fixture.store.hold_applies().await;
    let (_, mut changing) = fixture.begin(&Method::PATCH, KEY, &key.id, &change).await;
    assert_eq!(poll(&mut changing), None);
    assert_eq!(allowed(), [true, false, false]);
    drop(held);
    assert_eq!(changing.await.response.status(), StatusCode::OK);
    assert_eq!(allowed(), [true, false, true]);

    fixture.store.fail_next_apply(InjectedFault::NotApplied);
    let (status, _) = fixture.ask(Method::PATCH, KEY, &key.id, json!({"scopes": ["lookup", "rehydrate"]})).await;
    assert_eq!((status, allowed()), (StatusCode::SERVICE_UNAVAILABLE, [false, false, true]));
    assert_eq!(fixture.stored(&key).await.grant().scopes.to_texts(), ["tokenize", "lookup"]);
    // A caller who changes it must still hold what it had.
    let id = ApiKeyId::parse(&key.id).expect("an id");
    let held = fixture.service.access.keys().get(id).expect("the key").held_rights();
    assert_eq!(held.grant.scopes.to_texts(), ["tokenize", "rehydrate", "lookup"]);

    // The same change, which fails once more, is still only in force.
    fixture.store.fail_next_apply(InjectedFault::NotApplied);
    let change = json!({"scopes": ["lookup", "rehydrate"]}).to_string();
    let (request, changing) = fixture.begin(&Method::PATCH, KEY, &key.id, &change).await;
    let bytes = changing.await.response.into_body().collect().await.expect("a body").to_bytes();
    let problem: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("until the daemon starts again")), "{problem}");
    let [event] = fixture.events(&request).try_into().expect("one event");
    assert_eq!(event["detail"]["withdrawn_until_restart"], true, "{event}");
    // A change of another kind would store half of it.
    let (status, problem) = fixture.ask(Method::POST, ROTATE, &key.id, Value::Null).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("the change of this key")), "{problem}");
    fixture.done(Method::PATCH, KEY, &key.id, json!({"scopes": ["lookup", "rehydrate"]})).await;
    assert_eq!(allowed(), [false, true, true]);

    // A change that only gives is not in force before it is stored.
    fixture.store.fail_next_apply(InjectedFault::NotApplied);
    let (status, problem) = fixture.ask(Method::PATCH, KEY, &key.id, json!({"scopes": ["*"]})).await;
    assert_eq!((status, allowed()), (StatusCode::SERVICE_UNAVAILABLE, [false, true, true]));
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("nothing was acknowledged")), "{problem}");
}

#[tokio::test]
async fn a_rotation_without_grace_ends_the_former_secret_at_once() {
    let fixture = Fixture::new().await;
    let key = fixture.issue(None, &["tokenize"]).await;
    fixture.store.fail_next_apply(InjectedFault::NotApplied);
    let held = fixture.store.hold_applies().await;
    let (_, mut rotating) = fixture.begin(&Method::POST, ROTATE, &key.id, r#"{"grace_seconds": 0}"#).await;
    assert_eq!((poll(&mut rotating), fixture.refusal(&key)), (None, Some(AuthError::Expired)));
    drop(held);
    assert_eq!(rotating.await.response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(fixture.refusal(&key), Some(AuthError::Expired));
    // Another change would store the secret that nobody has received.
    let before = fixture.stored(&key).await.prefix();
    let (status, problem) = fixture.ask(Method::PATCH, KEY, &key.id, json!({"name": "renamed"})).await;
    assert_eq!((status, fixture.stored(&key).await.prefix()), (StatusCode::SERVICE_UNAVAILABLE, before));
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("the rotation of this key")), "{problem}");
    let answer = fixture.done(Method::POST, ROTATE, &key.id, json!({"grace_seconds": 0})).await;
    let next = Issued { id: key.id.clone(), secret: answer["key"].as_str().expect("a secret").to_owned() };
    assert_eq!((fixture.refusal(&key), fixture.refusal(&next)), (Some(AuthError::Expired), None));
    // With a grace period nothing ends before the new secret is stored.
    fixture.store.fail_next_apply(InjectedFault::NotApplied);
    let (status, _) = fixture.ask(Method::POST, ROTATE, &key.id, json!({"grace_seconds": 60})).await;
    assert_eq!((status, fixture.refusal(&next)), (StatusCode::SERVICE_UNAVAILABLE, None));
}

#[tokio::test]
async fn a_key_whose_revocation_waits_manages_no_keys() {
    let fixture = Fixture::new().await;
    let key = fixture.issue(None, &["*"]).await;
    let admitted = fixture.caller(&key).expect("it works");
    let held = fixture.store.hold_applies().await;
    let (_, mut revoking) = fixture.begin(&Method::DELETE, KEY, &key.id, "").await;
    assert_eq!(poll(&mut revoking), None);
    let body = json!({"name": "late", "scopes": ["*"], "limits": "none"});
    let (_, creating) = fixture.begin_as(admitted, KEYS, &body).await;
    drop(held);
    let (revoked, created) = tokio::join!(revoking, creating);
    assert_eq!(revoked.response.status(), StatusCode::OK);
    assert_eq!(created.response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(fixture.service.access.keys().list().len(), 1);
}

#[tokio::test]
async fn a_repeated_revocation_can_keep_the_keys_that_the_first_would_have_revoked() {
    for fault in [InjectedFault::NotApplied, InjectedFault::AppliedUnanswered] {
        let fixture = Fixture::new().await;
        let key = fixture.issue(None, &["*"]).await;
        let (kept, own) = (fixture.issue(Some(&key), &["tokenize"]).await, fixture.issue(Some(&key), &["*"]).await);
        fixture.done(Method::DELETE, KEY, &own.id, Value::Null).await;
        fixture.store.fail_next_apply(fault);
        let (status, _) = fixture.ask(Method::DELETE, KEY, &key.id, Value::Null).await;
        assert_eq!((status, fixture.refusal(&kept)), (StatusCode::SERVICE_UNAVAILABLE, Some(AuthError::Revoked)));
        let (_, ctx) = fixture.context(KEY, &Method::DELETE).await;
        let route = ctx.route.expect("a route");
        let mut input = Input::for_tests(&key.id, "");
        input.query = QueryParameters::parse(Some("keep_descendants=true"), &route.query_names).ok().expect("a query");
        let answered = (route.run)(Arc::clone(&fixture.service), ctx, input).await;
        assert_eq!(answered.response.status(), StatusCode::OK);
        let refused = [&key, &kept, &own].map(|key| fixture.refusal(key));
        assert_eq!(refused, [Some(AuthError::Revoked), None, Some(AuthError::Revoked)]);
        // The same after a restart.
        assert_eq!(fixture.stored(&kept).await.revoked_at_ms(), None);
        assert!(fixture.stored(&key).await.revoked_at_ms().is_some());
    }
}

#[tokio::test]
async fn a_clock_that_is_not_trusted_ends_no_key_for_good() {
    const DAY_SECONDS: i64 = 24 * 60 * 60;
    let ahead = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&ahead);
    let now = move || Timestamp::now() + SignedDuration::from_secs(clock.load(Ordering::Relaxed));
    let fixture = Fixture::with_clock(Arc::new(now)).await;
    let key = fixture.issue(None, &["*"]).await;
    let next = fixture.done(Method::POST, ROTATE, &key.id, json!({"grace_seconds": 20 * DAY_SECONDS})).await;
    let next = Issued { id: key.id.clone(), secret: next["key"].as_str().expect("a secret").to_owned() };
    let expires_at = (Timestamp::now() + SignedDuration::from_secs(25 * DAY_SECONDS)).to_string();
    fixture.done(Method::PATCH, KEY, &key.id, json!({"expires_at": expires_at})).await;
    let both = || [fixture.refusal(&key), fixture.refusal(&next)];
    assert_eq!(both(), [None, None]);

    ahead.store(400 * DAY_SECONDS, Ordering::Relaxed);
    assert_eq!(both(), [Some(AuthError::Expired), Some(AuthError::Expired)]);
    fixture.service.note_ended_keys();
    fixture.service.end_api_keys().await.expect("stored");
    ahead.store(0, Ordering::Relaxed);
    assert_eq!(both(), [None, None]);

    // The log trusts a clock that is ahead by less than a month.
    ahead.store(21 * DAY_SECONDS, Ordering::Relaxed);
    fixture.service.end_api_keys().await.expect("stored");
    ahead.store(0, Ordering::Relaxed);
    assert_eq!(both(), [Some(AuthError::Expired), None]);
}
