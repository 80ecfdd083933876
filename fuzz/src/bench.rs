//! A service on a vault in memory, behind a real socket.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use masker_access::{Access, ApiKeys, ClientRules, HostUsers};
use masker_config::AccessConfig;
use masker_core::{
    crypto::SecretKey,
    keyring::{GraceAction, GracePeriod, Keyring, LoadedKey, Role},
    policy::{Policy, PolicySet},
};
use masker_http::{
    ReloadFn, ReloadOutcome, Service, ServiceSettings, Timeouts, VaultLocation, Workers, metrics::Metrics, serve,
};
use masker_store::memory::MemoryStore;
use masker_vault::{KeyRules, Vault};
use tempfile::TempDir;
use tokio::{net::UnixListener, runtime, sync::watch};
use zeroize::Zeroizing;

const POLICY: &str = include_str!("../../tests/support/policies/care.toml");
/// How long a client of the service waits, and the service for a client.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder in memory where there is one: every input touches it.
pub fn folder() -> TempDir {
    let builder = || tempfile::Builder::new().prefix("mskrf").to_owned();
    builder().tempdir_in("/dev/shm").or_else(|_| builder().tempdir()).expect("a folder can be made")
}

/// The key of this number: the same in every run, so that tokens of one are tokens of the next.
pub fn key(number: u8) -> SecretKey {
    let mut bytes = Zeroizing::new([0; 32]);
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = number.wrapping_add((place as u8).wrapping_mul(37));
    }
    SecretKey::from_bytes(bytes).expect("a key")
}

/// The service, and what it runs on.
pub struct Bench {
    runtime: Option<runtime::Runtime>,
    stop: watch::Sender<bool>,
    socket: PathBuf,
    vault: Arc<Vault>,
    _folder: TempDir,
}

impl Bench {
    /// Puts one together on an empty vault.
    pub fn new() -> Self {
        let folder = folder();
        let socket = folder.path().join("socket");
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let (stop, stopping) = watch::channel(false);
        let data_dir = folder.path().to_owned();
        let vault = runtime.block_on(async {
            let (vault, service) = service(data_dir).await;
            let listener = UnixListener::bind(&socket).expect("a socket");
            let workers = Workers::start(|| ()).expect("threads");
            tokio::spawn(serve(listener, workers, service, stopping));
            vault
        });
        Bench { runtime: Some(runtime), stop, socket, vault, _folder: folder }
    }

    /// Sends these bytes, and nothing after them. Returns everything that came back.
    pub fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(&self.socket).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE))).expect("times");
        // It may have refused the beginning and gone.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("no end: {error}"),
            _ => answer,
        }
    }

    /// Records in the vault.
    pub fn records(&self) -> u64 {
        self.vault.records()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn service(data_dir: PathBuf) -> (Arc<Vault>, Arc<Service>) {
    let policy = Policy::parse(POLICY).expect("a policy");
    let keys = policy.kids().zip(1..).map(|(kid, number)| LoadedKey { kid, role: Role::Active, key: key(number) });
    let ring = Keyring::build(keys.collect(), 1).expect("keys");
    let name = policy.name.clone();
    let policies = PolicySet::build(vec![("text".to_owned(), policy)], Some(&name)).expect("policies");
    let rules = KeyRules {
        grace: GracePeriod { days: 30, action: GraceAction::Warn },
        second_tokens: BTreeSet::new(),
        accept_rollback: false,
    };
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    let store = Arc::new(MemoryStore::new());
    let vault = Vault::open(store, ring, rules, Arc::clone(&metrics.vault), Arc::new(Timestamp::now)).await;
    let vault = Arc::new(vault.expect("a vault"));
    vault.adopt_policies(&policies).await.expect("policies that can be in force");
    let clients = ClientRules::resolve(&AccessConfig::default(), &HostUsers, &BTreeSet::new()).expect("no clients");
    let access =
        Access::new(clients.with_unrestricted(nix::unistd::geteuid().as_raw(), None), Arc::new(ApiKeys::load([])));
    let reloader: ReloadFn = Box::new(|_| Box::pin(async { Ok(ReloadOutcome { policies: 1, warnings: Vec::new() }) }));
    let settings = ServiceSettings {
        audit: None,
        timeouts: Timeouts { head: PATIENCE, body: PATIENCE, write: PATIENCE },
        location: VaultLocation { vault_id: [7; 16], data_dir },
        api_keys_per_workspace: 16,
    };
    let policies = Arc::new(ArcSwap::from_pointee(policies));
    let service = Service::new(Arc::clone(&vault), policies, Arc::new(access), metrics, reloader, settings);
    (vault, Arc::new(service.expect("a service")))
}
