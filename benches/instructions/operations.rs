//! The counted operations. They run on one thread, with all state in memory except the audit log.

use std::{
    collections::BTreeSet,
    fs,
    hint::black_box,
    os::unix::net::UnixStream,
    path::Path,
    pin::pin,
    sync::Arc,
    task::{self, Poll, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use jiff::Timestamp;
use masker_access as access;
use masker_access::{Access, ApiKeys, ClientRules, HostUsers, Peer, Timestamps};
use masker_api::{BatchResponse, RehydrateRequest, StrictObject, TokenizeRequest, TokenizeResult};
use masker_audit as audit;
use masker_audit::{AuditEvent, AuditLog, OutcomeCount};
use masker_config::{Config, load_policies};
use masker_core::{
    crypto::{Fingerprint, GenerationKeys, IndexName, SecretKey, TokenId},
    keyring::{GraceAction, GracePeriod, Keyring, LoadedKey, Role},
    normalize::Normalizer,
    policy::{Policy, PolicySet},
    token::Token,
};
use masker_http::metrics::Metrics;
use masker_store::memory::MemoryStore;
use masker_types::{
    audit::OnFailure,
    kind::{Context, EntityKind, Kid, Value},
    mode::Mode,
};
use masker_vault::{KeyRules, TokenInput, Tokenized, ValueInput, Vault};
use rand::{SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::Outcome;

/// Values in a large request: few enough to be processed on one thread.
const BATCH: usize = 100;
/// A fixed seed, so that every run uses the same keys.
const SEED: u64 = 5;
const CLIENTS: &str = "[[clients]]\nname = \"other\"\nuid = 65533\nscopes = [\"*\"]\n\
                       [[clients]]\nname = \"bench\"\nuid = UID\nscopes = [\"tokenize\", \"rehydrate\"]\n\
                       [clients.limits]\nrequests_per_second = 1000000\nvalues_per_hour = 1000000000000\n";

/// An operation, and the number of calls to count.
pub struct Operation {
    pub calls: u64,
    pub work: Box<dyn FnMut()>,
}

/// Returns all operations with their names, in the order of measurement.
pub fn all() -> Outcome<Vec<(&'static str, Operation)>> {
    let fixture = Arc::new(Fixture::new()?);
    let mut all = Vec::new();
    for (single, many, of) in [
        ("stateless tokenize", "stateless tokenize, 100 values", tokenize as fn(&Arc<Fixture>, usize) -> Operation),
        ("stateless rehydrate", "stateless rehydrate, 100 values", rehydrate),
        ("tokenize request, read", "tokenize request of 100, read", read_tokenize),
        ("rehydrate request, read", "rehydrate request of 100, read", read_rehydrate),
        ("tokenize answer, written", "tokenize answer of 100, written", write_tokenize),
    ] {
        all.push((single, of(&fixture, 1)));
        all.push((many, of(&fixture, BATCH)));
    }
    all.push(("vault indexes", vault_indexes()?));
    all.push(("policy and kind, looked up", lookup(&fixture)));
    all.push(("access and limits", access_and_limits(&fixture)));
    all.push(("audit event, written", audit_event(&fixture)));
    for (name, token) in
        [("vault token, parsed", vault_token()?), ("reversible token, parsed", fixture.tokens(1).remove(0))]
    {
        all.push((name, counted(move || assert!(Token::parse(black_box(&token)).is_ok()))));
    }
    Ok(all)
}

fn counted(work: impl FnMut() + 'static) -> Operation {
    Operation { calls: 50, work: Box::new(work) }
}

fn counted_batch(values: usize, work: impl FnMut() + 'static) -> Operation {
    Operation { calls: if values == 1 { 50 } else { 5 }, work: Box::new(work) }
}

/// The components that the operations use.
struct Fixture {
    vault: Vault,
    policies: Arc<PolicySet>,
    access: Access,
    peer: Arc<Peer>,
    audit: AuditLog,
    // Dropped last, because the fields above use them until they are dropped.
    runtime: Runtime,
    _folder: TempDir,
}

impl Fixture {
    fn new() -> Outcome<Self> {
        // Keeps all work on this thread, even if large requests are split one day.
        rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global()?;
        let folder = tempfile::tempdir()?;
        let policies = load_policies(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"), Some("stateless"))?;
        let policies = Arc::new(policies);
        let keys: BTreeSet<Kid> = policies.kids().map(|(_, kid)| kid).collect();
        let keys = keys.into_iter().map(|kid| Ok(LoadedKey { kid, role: Role::Active, key: key()? }));
        let keyring = Keyring::build(keys.collect::<Outcome<_>>()?, 1).map_err(|_| "failed to build the keyring")?;
        let rules = KeyRules::new(GracePeriod { days: 30, action: GraceAction::Warn });
        let metrics = Metrics::new()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let store = Arc::new(MemoryStore::new());
        let vault = Vault::open(store, keyring, rules, Arc::clone(&metrics.vault), Arc::new(Timestamp::now));
        let vault = runtime.block_on(vault)?;
        let file = folder.path().join("masker.toml");
        fs::write(&file, CLIENTS.replace("UID", &nix::unistd::geteuid().to_string()))?;
        let names = policies.iter().map(|policy| policy.name.as_str()).collect();
        let clients = ClientRules::resolve(&Config::reload_access(&file)?, &HostUsers, &names);
        let access = Access::new(clients.map_err(|problems| problems.join("; "))?, Arc::new(ApiKeys::load([])));
        let (socket, _other) = UnixStream::pair()?;
        let options = audit::AuditOptions {
            directory: folder.path().join("audit"),
            key: key()?,
            // Syncing happens on another thread and is not counted.
            sync: audit::SyncPolicy::Every(Duration::from_secs(3_600)),
            on_failure: OnFailure::Refuse,
            retention_days: 1,
            segment_bytes_max: 1 << 30,
            accept_break: false,
            accept_clock: false,
            metrics: Arc::clone(&metrics.audit),
        };
        let audit = AuditLog::open(options, None, None, Arc::new(Timestamp::now))?.log;
        Ok(Fixture { vault, policies, access, peer: Arc::new(Peer::of(&socket)?), audit, runtime, _folder: folder })
    }

    fn policy(&self) -> &Policy {
        self.policies.get(None).expect("the default policy is loaded")
    }

    fn permit<O: access::ScopedOperation>(&self) -> access::Permit<O> {
        self.access.local_caller(&self.peer).permit(&self.policies).expect("permission denied")
    }

    fn tokenize(&self, values: &[String]) -> Vec<Tokenized> {
        let _within = self.runtime.enter();
        let input = |value| ValueInput { kind: "PHONE", value, context: "" };
        let inputs: Vec<ValueInput<'_>> = values.iter().map(|value| input(value.as_str())).collect();
        let done = self.vault.tokenize(&self.permit(), self.policy(), &inputs).now_or_never();
        done.and_then(Result::ok).expect("a stateless operation does not wait").results
    }

    fn tokens(&self, count: usize) -> Vec<String> {
        let tokens = self.tokenize(&values(count));
        tokens.iter().map(|token| token.token().expect("a token").to_owned()).collect()
    }
}

fn values(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("+1415555{number:04}")).collect()
}

fn key() -> Outcome<SecretKey> {
    Ok(SecretKey::generate(&mut StdRng::seed_from_u64(SEED))?)
}

fn tokenize(fixture: &Arc<Fixture>, count: usize) -> Operation {
    let (fixture, values) = (Arc::clone(fixture), values(count));
    counted_batch(count, move || drop(black_box(fixture.tokenize(black_box(&values)))))
}

fn rehydrate(fixture: &Arc<Fixture>, count: usize) -> Operation {
    let (fixture, tokens) = (Arc::clone(fixture), fixture.tokens(count));
    counted_batch(count, move || {
        let _within = fixture.runtime.enter();
        let inputs: Vec<TokenInput<'_>> =
            tokens.iter().map(|token| TokenInput { token: token.as_str(), context: "" }).collect();
        let done = fixture.vault.rehydrate(&fixture.permit(), black_box(&inputs)).now_or_never();
        let done = done.and_then(Result::ok).expect("a stateless operation does not wait").results;
        assert!(black_box(done).iter().all(Result::is_ok));
    })
}

fn read_tokenize(_: &Arc<Fixture>, count: usize) -> Operation {
    let items: Vec<_> =
        values(count).iter().map(|value| serde_json::json!({ "kind": "PHONE", "value": value })).collect();
    let body = serde_json::json!({ "items": items }).to_string();
    counted_batch(count, move || {
        let read: StrictObject<TokenizeRequest<'_>> = serde_json::from_str(black_box(&body)).expect("a request");
        assert_eq!(black_box(read).0.items.len(), count);
    })
}

fn read_rehydrate(fixture: &Arc<Fixture>, count: usize) -> Operation {
    let body = serde_json::json!({ "tokens": fixture.tokens(count) }).to_string();
    counted_batch(count, move || {
        let read: StrictObject<RehydrateRequest<'_>> = serde_json::from_str(black_box(&body)).expect("a request");
        assert_eq!(black_box(read).0.tokens.len(), count);
    })
}

fn write_tokenize(fixture: &Arc<Fixture>, count: usize) -> Operation {
    let tokens = fixture.tokens(count);
    counted_batch(count, move || {
        let results = tokens.iter().map(|token| TokenizeResult::Token { token: token.as_str().into(), created: None });
        let answer = BatchResponse { results: results.collect() };
        black_box(serde_json::to_vec(black_box(&answer)).expect("an answer"));
    })
}

/// Finds where the vault lists a value and its form, and verifies the tag of a list, as a search for the value does.
fn vault_indexes() -> Outcome<Operation> {
    let keys = GenerationKeys::derive(Kid::parse("K_HEALTHCARE").ok_or("a key id")?, &key()?, Mode::Live)?;
    let kind = EntityKind::parse("PHONE").ok_or("a kind")?;
    let list = [7; TokenId::BYTES];
    Ok(counted(move || {
        let context = Context::new("").expect("a context");
        let value = Value::new(black_box("(415) 555-2671")).expect("a value");
        let normalizer = Normalizer::PhoneNanp;
        black_box(keys.form_index(normalizer, kind, context, &normalizer.form(value)));
        let index = black_box(keys.value_index(kind, context, value));
        black_box(keys.index_tag(IndexName::Value, index, black_box(&list)));
    }))
}

fn lookup(fixture: &Arc<Fixture>) -> Operation {
    let fixture = Arc::clone(fixture);
    counted(move || {
        let policy = fixture.policies.get(Some(black_box("healthcare-default"))).expect("a policy");
        black_box(policy.rule(black_box("PHONE")).expect("a kind"));
    })
}

/// Runs the checks before a request is processed: identifies the caller, checks its permission, and applies its limits.
fn access_and_limits(fixture: &Arc<Fixture>) -> Operation {
    let (fixture, mut seconds) = (Arc::clone(fixture), 0);
    counted(move || {
        seconds += 1;
        let caller = fixture.access.local_caller(black_box(&fixture.peer));
        black_box(caller.permit::<access::Tokenize>(&fixture.policies).is_ok());
        let now = Timestamps { monotonic: Duration::from_secs(seconds), unix: seconds };
        black_box(caller.principal().limiter.admit(now, 1).is_ok());
    })
}

fn audit_event(fixture: &Arc<Fixture>) -> Operation {
    let fixture = Arc::clone(fixture);
    let counts = [OutcomeCount {
        kind: EntityKind::parse("PHONE"),
        outcome: "ok",
        kid: Kid::parse("K_STATELESS"),
        fingerprint: Some(Fingerprint::from_bytes([0xab; 8])),
        generation: Some(Role::Active),
        items: 1,
    }];
    let caller = audit::EncodedCaller::new(&audit::CallerIdentity {
        address: None,
        certificate: None,
        gateway: None,
        name: "billing",
        uid: 1_000,
        gid: 1_000,
        pid: Some(12_345),
        unit: Some("billing.service"),
        key_id: None,
        key_prefix: None,
        mode: "live",
    });
    counted(move || {
        let event = AuditEvent {
            caller: Some(&caller),
            request_id: Some("00112233445566778899aabbccddeeff"),
            status: Some(200),
            policy: Some("stateless"),
            counts: &counts,
            duration_us: Some(17),
            ..AuditEvent::new(audit::AuditOperation::Tokenize, "ok")
        };
        // The first caller yields once, so that others can join its group, and then writes.
        let mut recording = pin!(fixture.audit.record(black_box(&event)));
        let mut task = task::Context::from_waker(Waker::noop());
        assert!(recording.as_mut().poll(&mut task).is_pending());
        assert!(matches!(recording.poll(&mut task), Poll::Ready(Ok(()))));
    })
}

fn vault_token() -> Outcome<String> {
    let (kind, kid) = (EntityKind::parse("PHONE").ok_or("a kind")?, Kid::parse("K_HEALTHCARE").ok_or("a key id")?);
    Ok(Token::Vault { kind, kid, id: TokenId::from_bytes(*b"a random code of 20b") }.to_text())
}
