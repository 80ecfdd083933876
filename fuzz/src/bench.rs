//! A service with an in-memory vault, listening on a Unix socket.

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
use masker_http::{ReloadFn, ReloadOutcome, Service, ServiceSettings, Timeouts, Workers, metrics::Metrics, serve};
use masker_store::memory::MemoryStore;
use masker_vault::{KeyRules, Vault};
use tempfile::TempDir;
use tokio::{net::UnixListener, runtime, sync::watch};
use zeroize::Zeroizing;

const POLICY: &str = include_str!("../../tests/support/policies/care.toml");
/// The timeout of the client and of the service.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Creates a temporary directory, in memory if possible, because every input uses it.
pub fn folder() -> TempDir {
    let builder = || tempfile::Builder::new().prefix("mskrf").to_owned();
    builder().tempdir_in("/dev/shm").or_else(|_| builder().tempdir()).expect("failed to create a temporary directory")
}

/// Returns the key with this number. It is the same in every run, so that tokens stay valid.
pub fn key(number: u8) -> SecretKey {
    let mut bytes = Zeroizing::new([0; 32]);
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = number.wrapping_add((index as u8).wrapping_mul(37));
    }
    SecretKey::from_bytes(bytes).expect("a key")
}

/// The service, with its runtime, socket and vault.
pub struct Bench {
    runtime: Option<runtime::Runtime>,
    stop: watch::Sender<bool>,
    socket: PathBuf,
    vault: Arc<Vault>,
    _folder: TempDir,
}

impl Bench {
    /// Starts a service with an empty vault.
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

    /// Sends `bytes` and closes the sending side. Returns the complete output of the service.
    pub fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(&self.socket).expect("failed to connect");
        stream.set_read_timeout(Some(TIMEOUT)).and_then(|()| stream.set_write_timeout(Some(TIMEOUT))).expect("times");
        // The service may already have responded and closed the connection.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => {
                panic!("failed to read the response: {error}")
            }
            _ => answer,
        }
    }

    /// Returns the number of records in the vault.
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
    let rules = KeyRules::new(GracePeriod { days: 30, action: GraceAction::Warn });
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    let store = Arc::new(MemoryStore::new());
    let vault = Vault::open(store, ring, rules, Arc::clone(&metrics.vault), Arc::new(Timestamp::now)).await;
    let vault = Arc::new(vault.expect("a vault"));
    vault.adopt_policies(&policies).await.expect("compatible policies");
    let clients = ClientRules::resolve(&AccessConfig::default(), &HostUsers, &BTreeSet::new()).expect("no clients");
    let access = Access::new(clients.with_unrestricted(nix::unistd::geteuid().as_raw()), Arc::new(ApiKeys::load([])));
    let reloader: ReloadFn = Box::new(|_| Box::pin(async { Ok(ReloadOutcome { policies: 1, warnings: Vec::new() }) }));
    let settings = ServiceSettings {
        audit: None,
        timeouts: Timeouts { head: TIMEOUT, body: TIMEOUT, write: TIMEOUT },
        vault_id: [7; 16],
        data_dir,
        api_keys_per_workspace: 16,
        apply_keys: Arc::new(|_| "apply".to_owned()),
        configuration: Default::default(),
    };
    let policies = Arc::new(ArcSwap::from_pointee(policies));
    let service = Service::new(Arc::clone(&vault), policies, Arc::new(access), metrics, reloader, settings);
    (vault, Arc::new(service.expect("a service")))
}
