//! Tests of the request path in process: an operation whose connection ends is still completed and recorded.

mod connections;
mod key_changes;

use std::{
    collections::BTreeSet,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use masker_access::{Access, ApiKeys, ClientRules, HostUsers, Peer, Resource};
use masker_api::DaemonConfiguration;
use masker_audit::{AuditLog, AuditOptions, EventQuery, OnFailure, SyncPolicy};
use masker_config::AccessConfig;
use masker_core::{
    crypto::SecretKey,
    keyring::{GraceAction, GracePeriod, Keyring, LoadedKey, Role},
    policy::{Policy, PolicySet},
};
use masker_store::memory::MemoryStore;
use masker_types::kind::Kid;
use masker_vault::{KeyRules, Vault};
use serde_json::{Value, json};
use tokio::{net::UnixStream, runtime::Handle, time::timeout};

use crate::{
    ReloadFn, ReloadOutcome, Service, ServiceSettings, Timeouts,
    audit::CallerCache,
    context::{ConnectionInfo, RequestContext},
    input::Input,
    metrics::Metrics,
    operation::{RunToEnd, RunningOperation},
    route::{AuditRule, routes},
    seat::Seat,
    shares::Shares,
};

const POLICY: &str = "name = \"p\"\nversion = 1\nkid = \"K_A\"\ntokenization = \"vault-deterministic\"\n\
                      [entities.PHONE]\nnormalize = \"digits\"\n[entities.NAME]\nkid = \"K_B\"\n\
                      [entities.CARD]\ntokenization = \"reversible-aead\"\n";

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A service on a vault in memory, with an audit log on disk.
struct Fixture {
    service: Arc<Service>,
    store: MemoryStore,
    audit: Arc<AuditLog>,
    /// Reloads of keys or policies.
    reloads: Arc<AtomicU64>,
    numbers: AtomicU64,
    folder: tempfile::TempDir,
}

fn key(byte: u8) -> SecretKey {
    let mut bytes = [byte; 32];
    bytes[1] = byte.wrapping_add(91);
    bytes[17] = byte.wrapping_mul(37);
    SecretKey::from_bytes(bytes.into()).expect("a key")
}

impl Fixture {
    async fn new() -> Self {
        Self::with_clock(Arc::new(Timestamp::now)).await
    }

    /// Returns a fixture whose vault and audit log use this clock.
    async fn with_clock(clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let policy = Policy::parse(POLICY).expect("a policy");
        let loaded = |kid, byte| LoadedKey { kid: Kid::parse(kid).expect("a kid"), role: Role::Active, key: key(byte) };
        let ring = Keyring::build(vec![loaded("K_A", 1), loaded("K_B", 2)], 1).expect("keys");
        let policies = PolicySet::build(vec![("text".to_owned(), policy)], Some("p")).expect("policies");
        let rules = KeyRules::new(GracePeriod { days: 30, action: GraceAction::Warn });
        let store = MemoryStore::new();
        let vault = Vault::open(Arc::new(store.clone()), ring, rules, Arc::clone(&metrics.vault), clock.clone()).await;
        let vault = Arc::new(vault.expect("a vault"));
        vault.adopt_policies(&policies).await.expect("policies");
        let options = AuditOptions {
            directory: folder.path().join("audit"),
            key: key(3),
            sync: SyncPolicy::Always,
            on_failure: OnFailure::Refuse,
            retention_days: 30,
            segment_bytes_max: 64 << 20,
            accept_break: false,
            accept_clock: false,
            metrics: Arc::clone(&metrics.audit),
        };
        let audit = Arc::new(AuditLog::open(options, None, None, clock).expect("an audit log").log);
        let clients = ClientRules::resolve(&AccessConfig::default(), &HostUsers, &BTreeSet::new()).expect("no clients");
        let clients = clients.with_unrestricted(nix::unistd::geteuid().as_raw());
        let access = Arc::new(Access::new(clients, Arc::new(ApiKeys::load([]))));
        let reloads = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&reloads);
        let reloader: ReloadFn = Box::new(move |_| {
            let reloads = Arc::clone(&counted);
            Box::pin(async move {
                tokio::task::yield_now().await;
                reloads.fetch_add(1, Ordering::Relaxed);
                Ok(ReloadOutcome { policies: 1, warnings: Vec::new() })
            })
        });
        let settings = ServiceSettings {
            audit: Some(Arc::clone(&audit)),
            timeouts: Timeouts { head: PATIENCE, body: PATIENCE, write: PATIENCE },
            vault_id: [7; 16],
            data_dir: folder.path().to_owned(),
            api_keys_per_workspace: 1_000,
            apply_keys: Arc::new(|_| "apply".to_owned()),
            configuration: DaemonConfiguration::default(),
        };
        let policies = Arc::new(ArcSwap::from_pointee(policies));
        let service = Service::new(vault, policies, access, metrics, reloader, settings).expect("a service");
        let service = Arc::new(service);
        Fixture { service, store, audit, reloads, numbers: AtomicU64::new(0), folder }
    }

    /// Returns a number that was not there before.
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the context of a request to a route, and the request's id.
    async fn context(&self, path: &str, method: &Method) -> (String, RequestContext) {
        let (here, _there) = UnixStream::pair().expect("a connection");
        let peer = Arc::new(Peer::of(&here).expect("a peer"));
        let caller = self.service.access.local_caller(&peer);
        let seat = Arc::new(Seat::new(self.service.shares.account(self.service.access.share(&peer))));
        let charge = Shares::charge(Resource::Connections, &seat, 1).await.ok().expect("a place");
        let connection = Arc::new(ConnectionInfo { peer, caller_cache: CallerCache::default(), seat, _charge: charge });
        let now = Instant::now();
        let times = (now, self.service.timestamps(now));
        let id = self.service.ids.next();
        let mut ctx = RequestContext::new(connection, id, caller, self.service.policies.load_full(), times);
        let route = routes().iter().find(|route| route.method() == method && route.path() == path).expect("a route");
        ctx.route = Some(route);
        (id.as_str().to_owned(), ctx)
    }

    /// Begins an operation as if its request had been admitted. Returns the request's id, too.
    async fn begin(&self, method: &Method, path: &str, parameter: &str, body: &str) -> (String, RunningOperation) {
        let (id, ctx) = self.context(path, method).await;
        let route = ctx.route.expect("a route");
        (id, (route.run)(Arc::clone(&self.service), ctx, Input::for_tests(parameter, body)))
    }

    /// Runs an operation to its end.
    async fn ask(&self, method: Method, path: &str, parameter: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (_, operation) = self.begin(&method, path, parameter, &body).await;
        let response = operation.await.response;
        let status = response.status();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Runs an operation that succeeds.
    async fn done(&self, method: Method, path: &str, parameter: &str, body: Value) -> Value {
        let (status, answer) = self.ask(method, path, parameter, body).await;
        assert!(status.is_success(), "{path}: {answer}");
        answer
    }

    /// Waits until no operation runs.
    async fn settled(&self) {
        timeout(PATIENCE, self.service.shares.all_given_back()).await.expect("operations end");
    }

    /// Returns the events of a request.
    fn events(&self, request_id: &str) -> Vec<Value> {
        let query = EventQuery { since: None, until: None, caller: None, op: None, after: 0, limit: 100_000 };
        let events = self.audit.read(&query).expect("events").events;
        let events = events.iter().map(|event| serde_json::from_str::<Value>(event).expect("JSON"));
        events.filter(|event| event["request_id"] == request_id).collect()
    }
}

/// Polls an operation up to `polls` times, each when it was woken, then drops it. Returns whether it ended before.
async fn poll_then_drop(operation: RunToEnd<'_>, polls: usize) -> bool {
    let mut operation = pin!(operation);
    let mut left = polls;
    poll_fn(|task| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        if left == 0 {
            // The last poll need not be followed by a wake-up.
            task.waker().wake_by_ref();
        }
        operation.as_mut().poll(task).map(|_| true)
    })
    .await
}

/// What to do on a route, and where its effect shows.
struct Case {
    method: Method,
    path: &'static str,
    parameter: String,
    body: Value,
    /// Whether [`state`] must differ afterwards. The others change nothing that a client sees.
    changes: bool,
}

/// Prepares a request to a route that succeeds.
async fn prepared(fixture: &Fixture, method: &Method, path: &'static str) -> Case {
    let number = fixture.number();
    let phone = json!({"items": [{"kind": "PHONE", "value": format!("415{number:07}")}]});
    let minted = async || {
        let answer = fixture.done(Method::POST, "/api/v1/tokenize", "", phone.clone()).await;
        answer["results"][0]["token"].as_str().expect("a token").to_owned()
    };
    let made = async |path, body, pointer: &str| {
        let answer = fixture.done(Method::POST, path, "", body).await;
        answer.pointer(pointer).and_then(Value::as_str).expect("an id").to_owned()
    };
    let api_key = json!({"name": format!("key {number}"), "scopes": ["tokenize"], "workspace": format!("w{number}")});
    let rotation = json!({"new_kid": "K_A", "old_kid": "K_B"});
    let (parameter, body, changes) = match (method.as_str(), path) {
        ("POST", "/api/v1/tokenize") => (String::new(), phone, true),
        ("POST", "/api/v1/rehydrate" | "/api/v1/rewrap") => (String::new(), json!({"tokens": [minted().await]}), false),
        ("POST", "/api/v1/lookup") => (String::new(), phone, false),
        ("POST", "/api/v1/forget") => (String::new(), json!({"tokens": [minted().await]}), true),
        ("POST", "/api/v1/vault/purge") => {
            minted().await;
            (String::new(), json!({"before": "2999-01-01", "dry_run": false}), true)
        }
        ("POST", "/api/v1/vault/rotations") => {
            cancel_rotations(fixture).await;
            (String::new(), rotation, true)
        }
        ("DELETE", "/api/v1/vault/rotations/{id}") => {
            cancel_rotations(fixture).await;
            (made("/api/v1/vault/rotations", rotation, "/id").await, Value::Null, true)
        }
        ("POST", "/api/v1/api-keys") => (String::new(), api_key, true),
        (_, "/api/v1/api-keys/{id}" | "/api/v1/api-keys/{id}/rotate") => {
            let id = made("/api/v1/api-keys", api_key, "/api_key/id").await;
            let body = match method.as_str() {
                "PATCH" => json!({"scopes": ["rehydrate"]}),
                _ => Value::Null,
            };
            (id, body, true)
        }
        ("POST", "/api/v1/sessions") => (String::new(), json!({"label": "night run"}), true),
        ("DELETE", "/api/v1/sessions/{id}") => (made("/api/v1/sessions", Value::Null, "/id").await, Value::Null, true),
        ("POST", "/api/v1/vault/honeytokens") => (String::new(), json!({"kind": "PHONE"}), true),
        ("DELETE", "/api/v1/vault/honeytokens/{id}") => {
            let id = made("/api/v1/vault/honeytokens", json!({"kind": "PHONE"}), "/honeytoken/id").await;
            (id, Value::Null, true)
        }
        ("POST", "/api/v1/vault/control-key") => (String::new(), Value::Null, true),
        ("POST", "/api/v1/keys/reload" | "/api/v1/policies/reload") => (String::new(), Value::Null, true),
        ("POST", "/api/v1/vault/check" | "/api/v1/vault/compact" | "/api/v1/vault/export" | "/api/v1/vault/import") => {
            (String::new(), Value::Null, false)
        }
        ("POST", "/api/v1/text/mask") => {
            let text = format!("call (212) 555-{:04} today", number % 10_000);
            (String::new(), json!({ "text": text }), true)
        }
        ("POST", "/api/v1/text/restore" | "/api/v1/text/detect") => (String::new(), json!({"text": "nothing"}), false),
        (method, path) => panic!("no case for {method} {path}"),
    };
    Case { method: method.clone(), path, parameter, body, changes }
}

async fn cancel_rotations(fixture: &Fixture) {
    let listed = fixture.done(Method::GET, "/api/v1/vault/rotations", "", Value::Null).await;
    for rotation in listed["rotations"].as_array().expect("a list") {
        if rotation["state"] == "running" {
            let id = rotation["id"].as_str().expect("an id");
            fixture.done(Method::DELETE, "/api/v1/vault/rotations/{id}", id, Value::Null).await;
        }
    }
}

/// Returns everything that a request may have changed.
async fn state(fixture: &Fixture) -> Value {
    let read = async |path| fixture.done(Method::GET, path, "", Value::Null).await;
    let rotations = read("/api/v1/vault/rotations").await;
    let rotations = rotations["rotations"].as_array().expect("a list").iter();
    let rotations: Vec<String> =
        rotations.map(|rotation| format!("{} {}", rotation["id"], rotation["state"])).collect();
    json!({
        "records": fixture.service.vault.records(),
        "control_epoch": fixture.service.vault.position()().control.epoch,
        "reloads": fixture.reloads.load(Ordering::Relaxed),
        "rotations": rotations,
        "api_keys": read("/api/v1/api-keys").await,
        "sessions": read("/api/v1/sessions").await["sessions"].as_array().map(|all| {
            all.iter().map(|session| format!("{} {}", session["id"], session["status"])).collect::<Vec<_>>()
        }),
        "honeytokens": read("/api/v1/vault/honeytokens").await,
    })
}

#[test]
fn an_operation_whose_connection_ends_is_completed_and_recorded_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let fixture = Fixture::new().await;
        let main = Handle::current();
        // Only a connection can supply the body of a stream of texts.
        let is_text_stream = |path: &str| path.starts_with("/api/v1/text/") && path.ends_with("/stream");
        let changing = routes().iter().filter(|route| *route.method() != Method::GET && !is_text_stream(route.path()));
        for route in changing {
            let AuditRule::Operation(expected) = route.audit else { panic!("{} is not audited", route.path()) };
            for polls in 0.. {
                let case = prepared(&fixture, route.method(), route.path()).await;
                assert_eq!(case.parameter.is_empty(), !case.path.contains("{id}"), "{}", case.path);
                let before = state(&fixture).await;
                let body = if case.body.is_null() { String::new() } else { case.body.to_string() };
                let (id, operation) = fixture.begin(&case.method, case.path, &case.parameter, &body).await;
                let ended = poll_then_drop(RunToEnd::new(operation, &main), polls).await;
                fixture.settled().await;
                let name = format!("{} {} after {polls} polls", case.method, case.path);
                // A stream that is cut short has an event of its own.
                let mut events = fixture.events(&id);
                events.retain(|event| event["op"] == expected.as_str());
                assert_eq!(events.len(), 1, "{name}: {events:?}");
                let after = state(&fixture).await;
                assert_eq!(before != after, case.changes, "{name}: {before} {after}");
                if case.changes {
                    assert_eq!(events[0]["outcome"], "ok", "{name}");
                }
                if ended {
                    break;
                }
                assert!(polls < 1_000, "{name}: it does not end");
            }
        }
    });
}

#[test]
fn an_export_that_is_cut_short_is_recorded_before_its_slot_is_free() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let fixture = Fixture::new().await;
        let (id, operation) = fixture.begin(&Method::POST, "/api/v1/vault/export", "", "").await;
        let response = operation.await.response;
        // The runtime of a connection may have ended by now.
        thread::spawn(move || drop(response)).join().expect("no panic");
        fixture.settled().await;
        let events = fixture.events(&id);
        let ends: Vec<&Value> = events.iter().filter(|event| event["op"] == "vault.exported").collect();
        assert!(matches!(ends[..], [end] if end["outcome"] == "incomplete"), "{events:?}");
        for count in ["bytes", "records", "tombstones"] {
            assert!(ends[0]["detail"][count].is_u64(), "{events:?}");
        }
    });
}
