//! The life of the daemon: start in an order in which every failure leaves nothing behind, serve, drain, stop.

use std::{collections::BTreeSet, fmt::Display, path::Path, process::ExitCode, sync::Arc, thread, time::Duration};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use listenfd::ListenFd;
use nix::unistd::{Group, geteuid};
use sd_notify::NotifyState;
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::{Mutex, watch},
    task::JoinHandle,
    time::timeout,
};
use tracing::{error, info, warn};

use super::{
    audit::{close_audit, log_reload, open_audit},
    clients::{ClientSource, resolve},
    engines::driver,
    logging,
    periodic::PeriodicTasks,
    policies::{PolicySource, policies_without_key, unnamed},
    reload::Reloader,
    sandbox::{self, Sandbox, SandboxPaths},
    stack,
    watchdog::WatchdogTargets,
};
use masker_access::{Access, ApiKeys, ClientRules};
use masker_audit::AuditLog;
use masker_config::{Config, Credentials, KeySources};
use masker_core::{
    crypto::SecretKey,
    keyring::{GracePeriod, Keyring, Role},
    policy::PolicySet,
};
use masker_http as http;
use masker_http::{
    DrainReport, ReloadTarget, Service, ServiceSettings, Socket, SocketOptions, Timeouts, VaultLocation, Workers, metrics::Metrics,
};
use masker_store::{
    embedded::{EmbeddedStore, StoreOptions},
    row_cache::RowCache,
    shared_reads::SharedReads,
};
use masker_types::limits::{DRAIN_SECONDS_MAX, STOP_SECONDS_MAX};
use masker_vault::{KeyRules, Vault, VaultError};

/// Something the operator must mend before the daemon can start.
const EXIT_FAILED: u8 = 1;
/// A policy or the configuration does not validate.
const EXIT_INVALID: u8 = 3;

/// Threads at most for calls that block on the disk.
const BLOCKING_THREADS_MAX: usize = 64;

/// Time that calls which block on the disk have to end once everything else has, in milliseconds.
const SHUTDOWN_TIMEOUT_MS: u64 = 500;

/// What an operator decides for one start.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServeOptions {
    /// Go on with a vault that has lost acknowledged commits.
    pub accept_loss: bool,
    /// Let keys be active again that had been replaced.
    pub accept_key_rollback: bool,
    /// Take note of a broken chain of the audit log, and call the log healthy again.
    pub accept_audit_break: bool,
}

/// Why the daemon did not start, and with what it exits.
pub(super) struct StartError {
    exit: u8,
    problems: Vec<String>,
}

impl StartError {
    pub(super) fn failed(problem: impl ToString) -> Self {
        StartError { exit: EXIT_FAILED, problems: vec![problem.to_string()] }
    }
}

/// Runs the daemon until `SIGTERM` or `SIGINT`. Must be called while the process has one thread.
///
/// Returns 0 after an orderly stop, 1 if the daemon could not start or failed, 3 if policies do not validate.
pub fn serve(config: &Config, credentials: Credentials, options: ServeOptions) -> ExitCode {
    logging::start(config.log.level, config.log.format);
    match start(config, credentials, options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            for problem in &refusal.problems {
                error!("{problem}");
            }
            error!(problems = refusal.problems.len(), "masker did not start");
            ExitCode::from(refusal.exit)
        }
    }
}

fn start(config: &Config, credentials: Credentials, options: ServeOptions) -> Result<(), StartError> {
    let mut sandbox = Sandbox::begin(config.sandbox);
    for warning in &credentials.warnings {
        warn!("{warning}");
    }
    if credentials.audit_key.is_none() {
        warn!("MASKER_AUDIT_HMAC_KEY is not set: there is no audit log (`masker keys generate` makes such a key, too)");
    }

    // Every problem of keys and policies together: an operator mends them in one go.
    let kids: BTreeSet<_> = credentials.keys.iter().filter(|key| key.role == Role::Active).map(|key| key.kid).collect();
    let source = PolicySource { path: config.policy.path.clone(), default: config.policy.default.clone() };
    let policies = source.load().and_then(|policies| match policies_without_key(&policies, &kids) {
        missing if missing.is_empty() => Ok(policies),
        missing => Err(missing),
    });
    let policies = policies.and_then(|policies| Ok((resolve(&config.access, &policies)?, policies)));
    let (keyring, (clients, policies)) = match (Keyring::build(credentials.keys, 1), policies) {
        (Ok(keyring), Ok(sound)) => (keyring, sound),
        (keyring, policies) => {
            let mut problems: Vec<String> = Vec::new();
            let exit = if keyring.is_ok() { EXIT_INVALID } else { EXIT_FAILED };
            problems.extend(keyring.err().into_iter().flatten().map(|error| error.to_string()));
            problems.extend(policies.err().into_iter().flatten());
            return Err(StartError { exit, problems });
        }
    };
    for kid in unnamed(&policies, &kids) {
        warn!(%kid, "this key is loaded and no policy names it; it opens what was minted under it");
    }

    // Before the first thread: making the socket narrows the umask of the whole process for a moment.
    let socket = socket(config)?;
    sandbox.confine(&places(config, &credentials.sources, credentials.audit_key.is_some(), &socket));
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(thread::available_parallelism().map_or(2, usize::from).max(2))
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .on_thread_start(thread_started)
        .enable_all()
        .build()
        .map_err(|error| thread_error(&error))?;
    rayon::ThreadPoolBuilder::new()
        .start_handler(|_| thread_started())
        .build_global()
        .map_err(|error| thread_error(&error))?;
    let loaded = StartupState {
        keyring,
        policies,
        clients,
        keys_from: credentials.sources,
        policies_from: source,
        audit_key: credentials.audit_key,
        sandbox,
    };
    let outcome = runtime.block_on(run(config, loaded, &socket, options));
    // Calls that wait for a disk which does not answer are not waited for: what was acknowledged is durable.
    runtime.shutdown_timeout(Duration::from_millis(SHUTDOWN_TIMEOUT_MS));
    outcome
}

/// What the daemon needs of the file system from now on.
fn places(config: &Config, keys: &KeySources, audited: bool, socket: &Socket) -> SandboxPaths {
    let mut own = vec![config.vault.data_dir.clone()];
    own.extend(audited.then(|| config.audit.path.clone()));
    let mut read = vec![config.policy.path.clone()];
    read.extend(config.file.clone());
    read.extend(keys.files().map(Path::to_owned));
    if let Some(directory) = keys.directory() {
        read.push(directory.to_owned());
        // A service manager may lay credentials again as a whole directory.
        read.extend(directory.parent().filter(|above| above.parent().is_some()).map(Path::to_owned));
    }
    SandboxPaths { own, read, socket: socket.created_path().map(Path::to_owned) }
}

fn thread_error(error: &dyn Display) -> StartError {
    StartError::failed(format!("threads could not be started: {error}"))
}

/// What every thread begins with that may compute with keys.
fn thread_started() {
    if let Err(error) = stack::exclude_from_core_dumps() {
        warn!(%error, "a thread's stack could not be left out of core dumps");
    }
}

/// The socket that systemd handed over, or one of our own.
fn socket(config: &Config) -> Result<Socket, StartError> {
    let from_inherited = ListenFd::from_env().take_unix_listener(0);
    match from_inherited {
        Ok(Some(listener)) => Socket::from_inherited(listener).map_err(StartError::failed),
        Err(error) => Err(StartError::failed(format!(
            "the socket that was handed over is not a listening Unix stream socket: {error}; see `ListenStream=` in masker.socket"
        ))),
        Ok(None) => {
            let server = &config.server;
            let group = server.socket_group.as_deref().map(group_id).transpose()?;
            let options = SocketOptions { path: server.socket.clone(), mode: server.socket_mode, group };
            Socket::bind(&options).map_err(StartError::failed)
        }
    }
}

/// A group by name or number.
fn group_id(name: &str) -> Result<u32, StartError> {
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(StartError::failed(format!(
            "there is no group `{name}` on this host; `groupadd --system {name}` makes it, or change `[server] socket_group`"
        ))),
        Err(error) => Err(StartError::failed(format!("the group `{name}` could not be looked up: {error}"))),
    }
}

/// What was read and found sound before anything was opened, and where it came from.
struct StartupState {
    keyring: Keyring,
    policies: PolicySet,
    clients: ClientRules,
    keys_from: KeySources,
    policies_from: PolicySource,
    audit_key: Option<SecretKey>,
    sandbox: Sandbox,
}

async fn run(config: &Config, loaded: StartupState, socket: &Socket, options: ServeOptions) -> Result<(), StartError> {
    let StartupState { keyring, policies, .. } = loaded;
    let mut signals =
        Signals::new().map_err(|error| StartError::failed(format!("signals cannot be handled: {error}")))?;
    let engine = driver(config.vault.engine, &config.vault.data_dir).map_err(StartError::failed)?;
    let store_options =
        StoreOptions { engine, cache_bytes: config.vault.cache_bytes(), accept_loss: options.accept_loss };
    let data_dir = config.vault.data_dir.clone();
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(&data_dir, store_options))
        .await
        .map_err(StartError::failed)?
        .map_err(StartError::failed)?;

    let location = VaultLocation { vault_id: store.vault_id(), data_dir: config.vault.data_dir.clone() };
    let metrics = Arc::new(Metrics::new().map_err(StartError::failed)?);
    metrics.http.vault_info.with_label_values(&[engine.kind().name()]).set(1);
    let grace = GracePeriod { days: config.keys.grace_days, action: config.keys.grace_action };
    let second_tokens = config.keys.accept_second_tokens.clone();
    for kid in second_tokens.iter().filter(|kid| keyring.get(**kid).is_none()) {
        warn!(%kid, "`[keys] accept_second_tokens` names a key that is not loaded");
    }
    let rules = KeyRules { grace, second_tokens, accept_rollback: options.accept_key_rollback };
    let store = Arc::new(RowCache::new(SharedReads::new(store), config.vault.row_cache_bytes()));
    let vault = Vault::open(store, keyring, rules, Arc::clone(&metrics.vault), Arc::new(Timestamp::now)).await;
    let vault = Arc::new(vault.map_err(StartError::failed)?);
    for warning in vault.adopt_policies(&policies).await.map_err(StartError::failed)? {
        warn!("{warning}");
    }

    let audit =
        open_audit(&config.audit, loaded.audit_key, &vault, Arc::clone(&metrics.audit), options.accept_audit_break)
            .await?;
    let count = policies.len();
    let current = Arc::new(ArcSwap::from_pointee(policies));
    let socket_group = socket.group().map_err(StartError::failed)?;
    let clients_from = ClientSource { file: config.file.clone(), own_uid: geteuid().as_raw(), socket_group };
    let api_keys = Arc::new(ApiKeys::load(vault.api_keys().await.map_err(StartError::failed)?));
    let access = Arc::new(Access::new(clients_from.trust(loaded.clients), api_keys));
    let reloader = Arc::new(Reloader {
        keys: loaded.keys_from,
        policies: loaded.policies_from,
        clients: clients_from,
        current: Arc::clone(&current),
        access: Arc::clone(&access),
        vault: Arc::clone(&vault),
        reload_lock: Mutex::new(()),
    });
    let reloader: http::ReloadFn = Box::new(move |what| Box::pin(Arc::clone(&reloader).reload(what)));
    let timeouts = Timeouts {
        head: Duration::from_secs(config.server.head_timeout_seconds),
        body: Duration::from_secs(config.server.body_timeout_seconds),
        write: Duration::from_secs(config.server.write_timeout_seconds),
    };
    let settings = ServiceSettings {
        audit: audit.clone(),
        timeouts,
        location,
        api_keys_per_workspace: config.access.api_keys_per_workspace as usize,
    };
    let service = Service::new(Arc::clone(&vault), current, access, Arc::clone(&metrics), reloader, settings);
    let service = Arc::new(service.map_err(StartError::failed)?);
    let listener = socket.listener().and_then(tokio::net::UnixListener::from_std).map_err(StartError::failed)?;

    let workers = Workers::start(thread_started).map_err(|error| thread_error(&error))?;
    // Nothing is asked for yet, and everything is open.
    sandbox::tell(&loaded.sandbox.close(), &metrics);
    let (stop, stopping) = watch::channel(false);
    let rotating = tokio::spawn({
        let (vault, stopping) = (Arc::clone(&vault), stopping.clone());
        async move { vault.drive_rotations(stopping).await }
    });
    let serving = tokio::spawn(http::serve(listener, workers, Arc::clone(&service), stopping));
    info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = %socket.path().display(),
        data_dir = %config.vault.data_dir.display(),
        keys = vault.keys_loaded(),
        policies = count,
        records = vault.records(),
        "masker serves"
    );
    notify(&[NotifyState::Ready]);

    let chores =
        PeriodicTasks { vault: &vault, service: &service, session_retention_days: config.sessions.retention_days };
    let watched = WatchdogTargets { vault: Arc::clone(&vault), audit: audit.clone() };
    signals.serve_until_stop(&service, chores, &watched).await;
    // The receiver is gone only if serving ended by a bug, which is reported below. Whoever is told of the end finds that it
    // has begun.
    let _ = stop.send(true);
    notify(&[NotifyState::Stopping]);
    info!("stopping: requests in flight may end");
    match serving.await {
        Ok(DrainReport { cut_off, unfinished }) if cut_off + unfinished > 0 => {
            warn!(connections = cut_off, operations = unfinished, "cut off after {DRAIN_SECONDS_MAX} s");
        }
        Ok(_) => {}
        Err(panicked) => error!(error = %panicked, "serving ended by a bug"),
    }
    if let Err(failed) = service.note_api_key_use().await {
        warn!(error = %failed, "the last use of API keys was not written down");
    }
    // What was acknowledged is durable already: a store that does not close in time loses nothing.
    let ending = end(rotating, &vault, audit.as_deref());
    match timeout(Duration::from_secs(STOP_SECONDS_MAX - DRAIN_SECONDS_MAX - 1), ending).await {
        Ok(Ok(())) => info!("stopped"),
        Ok(Err(failed)) => warn!(error = %failed, "stopped; the vault was not closed in order"),
        Err(_) => warn!("stopped; the vault did not close in time"),
    }
    Ok(())
}

/// Ends the vault once nothing drives its rotations any more.
async fn end(rotating: JoinHandle<()>, vault: &Vault, audit: Option<&AuditLog>) -> Result<(), VaultError> {
    if let Err(panicked) = rotating.await {
        error!(error = %panicked, "driving rotations ended by a bug");
    }
    if let Some(log) = audit {
        close_audit(log, vault).await;
    }
    vault.close().await
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Reloads on `SIGHUP`, does the chores when it is their time, feeds the watchdog, and returns when told to stop: at once, whatever is being
    /// done then.
    async fn serve_until_stop(&mut self, service: &Service, chores: PeriodicTasks<'_>, watched: &WatchdogTargets) {
        let Signals { terminate, interrupt, hangup } = self;
        let (vault, audit) = (chores.vault, watched.audit.as_deref());
        let reloads = async {
            loop {
                let _ = hangup.recv().await;
                reload(service, vault, audit).await;
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = reloads => {}
            () = chores.run() => {}
            () = watched.feed_watchdog() => {}
        }
    }
}

async fn reload(service: &Service, vault: &Vault, audit: Option<&AuditLog>) {
    notify(&[NotifyState::Reloading, monotonic_now()]);
    // What is wrong was logged, and health says so until a reload goes well.
    let reloaded = service.reload(ReloadTarget::Both).await;
    if let Some(log) = audit {
        log_reload(log, vault, reloaded.as_ref()).await;
    }
    notify(&[NotifyState::Ready]);
}

/// systemd wants the time of a reload's start; without it the reload is reported all the same.
fn monotonic_now() -> NotifyState<'static> {
    NotifyState::monotonic_usec_now().unwrap_or(NotifyState::MonotonicUsec(0))
}

/// Tells systemd, if it listens. It is no reason to fail if it does not.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd could not be notified");
    }
}
