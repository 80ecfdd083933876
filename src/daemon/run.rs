//! The life of the daemon: start, serve, drain, stop.
//!
//! The start has an order in which every failure leaves nothing behind: configuration, sandbox, store, vault, audit log,
//! access, HTTP. [`start`] takes the steps that need a process with one thread, and [`run`] all others.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use nix::unistd::geteuid;
use sd_notify::NotifyState;
use tokio::{
    sync::{Mutex, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tracing::{error, info, warn};

use super::{
    acceptance,
    audit::{close_audit, earlier_position, open_audit, record_loss, recorded_position},
    clients::ClientSource,
    engines::driver,
    inputs::Inputs,
    notify::{connect_to_manager, notify},
    periodic::PeriodicTasks,
    reload::{Reloader, removed_creators},
    sandbox::{self, Sandbox, SandboxPaths},
    second_database::explain,
    signals::Signals,
    socket,
    start_error::StartError,
    threads::{on_thread_start, start_runtime, thread_error},
    watchdog::WatchdogTargets,
};
use masker_access::{Access, ApiKeys};
use masker_api::DaemonConfiguration;
use masker_audit::{AuditLog, CurrentPosition, RecordedVault};
use masker_config::{AcceptableState, AcceptedKind, AcceptedStates, Config, Credentials, KeySources};
use masker_core::keyring::{GracePeriod, Keyring};
use masker_http as http;
use masker_http::{DrainReport, Service, ServiceSettings, Socket, Timeouts, Workers, metrics::Metrics};
use masker_log::LOG;
use masker_store::{
    Store,
    embedded::{EmbeddedStore, StoreOptions},
    row_cache::RowCache,
    shared_reads::SharedReads,
};
use masker_types::limits::{BLOCKING_CALLS_STOP_MS_MAX, DRAIN_SECONDS_MAX, LOG_END_MS_MAX, STOP_SECONDS_MAX};
use masker_types::vault_position::{ControlPosition, VaultPosition};
use masker_vault::{KeyRefusals, KeyRules, Vault, VaultError, VaultMetrics};

/// Runs the daemon until `SIGTERM` or `SIGINT`. Must be called while the process has one thread.
///
/// Returns 0 after an orderly stop, 1 if the daemon failed to start or to run, and 3 if policies or clients are invalid.
pub fn serve(config: &Config, credentials: Credentials) -> ExitCode {
    masker_log::start(config.log.level, config.log.format);
    let exit = match start(config, credentials) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for problem in &failure.problems {
                error!("{problem}");
            }
            error!(problems = failure.problems.len(), "masker failed to start");
            ExitCode::from(failure.exit)
        }
    };
    LOG.finish(Duration::from_millis(LOG_END_MS_MAX));
    exit
}

/// Validates the configuration and closes the sandbox as far as it can while the process has one thread, then runs.
fn start(config: &Config, credentials: Credentials) -> Result<(), StartError> {
    connect_to_manager();
    let mut sandbox = Sandbox::begin(config.sandbox);
    let inputs = Inputs::load(config, credentials)?;
    // Before the first thread, because binding the socket narrows the umask of the whole process for a moment.
    let socket = socket::open(config)?;
    // Before the sandbox, which creates the data directory.
    let accepted = acceptance::read(config);
    let opening = store_opening(config, &inputs, &accepted)?;
    opening.options.check_recorded_vault_exists(&config.vault.data_dir)?;
    sandbox.confine(&sandbox_paths(config, &inputs.key_sources, inputs.audit_key.is_some(), &socket));
    LOG.start_thread(on_thread_start).map_err(thread_error)?;
    let runtime = start_runtime()?;
    let outcome = runtime.block_on(run(config, inputs, sandbox, &socket, opening, accepted));
    // Does not wait for a disk that does not respond: what was acknowledged is durable.
    runtime.shutdown_timeout(Duration::from_millis(BLOCKING_CALLS_STOP_MS_MAX));
    outcome
}

/// Opens the store, the vault, the audit log and the HTTP interface, serves until a signal, and stops.
async fn run(
    config: &Config,
    inputs: Inputs,
    sandbox: Sandbox,
    socket: &Socket,
    opening: StoreOpening,
    accepted: AcceptedStates,
) -> Result<(), StartError> {
    let mut signals = Signals::new()?;
    let metrics = Arc::new(Metrics::new()?);
    let lost = metrics.http.log_lines_lost.clone();
    LOG.count_lost_lines(Box::new(move |lines| lost.inc_by(lines)));
    let store = open_store(config, &metrics, opening.options, &accepted).await?;
    let (vault_id, found, accepted_loss) = (store.vault_id(), store.position(), store.accepted_loss());
    let recorded_control = recorded_control(&opening.options, &found, accepted_loss);
    let rules = key_rules(config, &inputs, recorded_control);
    let audit_metrics = Arc::clone(&metrics.audit);
    let vault = match open_vault(config, store, inputs.keyring, &metrics, rules, &accepted).await {
        Ok(vault) => vault,
        Err(refused) => {
            if accepted_loss.is_some() {
                let current: CurrentPosition = Arc::new(move || found);
                let recorded = RecordedVault { recorded: opening.latest, found, accepted_loss, current };
                record_loss(&config.audit, inputs.audit_key, recorded, audit_metrics).await?;
            }
            return Err(refused);
        }
    };
    // First, because it records an accepted loss, also if the start fails after it.
    let recorded = RecordedVault { recorded: opening.latest, found, accepted_loss, current: vault.position() };
    let audit = open_audit(&config.audit, inputs.audit_key, &vault, recorded, audit_metrics, &accepted).await?;
    for warning in vault.adopt_policies(&inputs.policies).await? {
        warn!("{warning}");
    }

    let policy_count = inputs.policies.len();
    let policies = Arc::new(ArcSwap::from_pointee(inputs.policies));
    let clients = ClientSource { file: config.file.clone(), users: inputs.users, own_uid: geteuid().as_raw() };
    let api_keys = Arc::new(ApiKeys::load(vault.api_keys().await?));
    let access = Arc::new(Access::new(clients.with_unrestricted(inputs.clients), api_keys));
    if let Some(warning) = removed_creators(&access, &vault) {
        warn!("{warning}");
    }

    let key_sources = inputs.key_sources.clone();
    let reloader = Arc::new(Reloader {
        keys: inputs.key_sources,
        policies: inputs.policy_source,
        clients,
        current: Arc::clone(&policies),
        access: Arc::clone(&access),
        vault: Arc::clone(&vault),
        reload_lock: Mutex::new(()),
    });
    let reload: http::ReloadFn = Box::new(move |target| Box::pin(Arc::clone(&reloader).reload(target)));
    let settings = service_settings(config, socket, audit.clone(), vault_id, key_sources);
    let service = Arc::new(Service::new(Arc::clone(&vault), policies, access, Arc::clone(&metrics), reload, settings)?);
    let listener = tokio::net::UnixListener::from_std(socket.listener()?)?;
    let workers = Workers::start(on_thread_start).map_err(thread_error)?;
    // Everything is open, and no request has been read.
    sandbox::log_report(&sandbox.close(), &metrics);

    let (stop, stopping) = watch::channel(false);
    let rotations = tokio::spawn({
        let (vault, stopping) = (Arc::clone(&vault), stopping.clone());
        async move { vault.drive_rotations(stopping).await }
    });
    let serving = tokio::spawn(http::serve(listener, workers, Arc::clone(&service), stopping.clone()));
    info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = %socket.path().display(),
        data_dir = %config.vault.data_dir.display(),
        keys = vault.keys_loaded(),
        policies = policy_count,
        records = vault.records(),
        "masker is listening"
    );
    notify(&[NotifyState::Ready]);

    let tasks = PeriodicTasks {
        vault: Arc::clone(&vault),
        service: Arc::clone(&service),
        audit: audit.clone(),
        session_retention_days: config.sessions.retention_days,
    };
    let mut tasks = tasks.start(&stopping);
    let watched = WatchdogTargets { vault: Arc::clone(&vault), audit: audit.clone() };
    signals.serve_until_stop(&service, &mut tasks, &watched).await;

    // Before the notification, so that a manager which receives it finds the stop under way. Sending fails only if the
    // server has panicked, which is logged below.
    let _ = stop.send(true);
    notify(&[NotifyState::Stopping]);
    info!("stopping: draining requests in flight");
    match serving.await {
        Ok(DrainReport { cut_off, unfinished }) if cut_off + unfinished > 0 => {
            warn!(connections = cut_off, operations = unfinished, "cut off after {DRAIN_SECONDS_MAX} s");
        }
        Ok(_) => {}
        Err(panicked) => error!(error = %panicked, "server task panicked"),
    }
    // What was acknowledged is durable already: a store that does not close in time loses nothing.
    let closing = close(&service, tasks, rotations, &vault, audit.as_deref());
    match timeout(Duration::from_secs(STOP_SECONDS_MAX - DRAIN_SECONDS_MAX - 1), closing).await {
        Ok(Ok(())) => info!("stopped"),
        Ok(Err(failed)) => warn!(error = %failed, "stopped; failed to close the vault"),
        Err(_) => warn!("stopped; the vault did not close in time"),
    }
    Ok(())
}

/// Returns the paths that the daemon needs after its start.
fn sandbox_paths(config: &Config, keys: &KeySources, audited: bool, socket: &Socket) -> SandboxPaths {
    let mut own = vec![config.vault.data_dir.clone()];
    own.extend(audited.then(|| config.audit.path.clone()));
    let mut read = vec![config.policy.path.clone()];
    read.extend(config.file.clone());
    read.extend(keys.files().map(Path::to_owned));
    if let Some(directory) = keys.directory() {
        read.push(directory.to_owned());
        // A service manager may replace credentials together with their directory.
        read.extend(directory.parent().filter(|parent| parent.parent().is_some()).map(Path::to_owned));
    }
    SandboxPaths { own, read, socket: socket.created_path().map(Path::to_owned) }
}

/// How to open the data directory.
pub(super) struct StoreOpening {
    pub(super) options: StoreOptions,
    /// The latest position in the audit log, of whichever vault.
    pub(super) latest: Option<VaultPosition>,
}

/// Returns how to open the data directory: with the configured engine, as the audit log knows it. Blocks.
pub(super) fn store_opening(
    config: &Config,
    inputs: &Inputs,
    accepted: &AcceptedStates,
) -> Result<StoreOpening, StartError> {
    let (data_dir, key) = (&config.vault.data_dir, inputs.audit_key.as_ref());
    let latest = recorded_position(&config.audit, key, data_dir)?;
    let mut options = StoreOptions {
        engine: driver(config.vault.engine, data_dir).map_err(|refused| explain(&refused, data_dir))?,
        cache_bytes: config.vault.cache_bytes(),
        accept_loss: false,
        new_vault: latest.and_then(|latest| acceptance::accepted_new_vault(accepted, latest)),
        recorded: latest,
    };
    // An earlier vault that comes back must be as late as the log has it.
    if let Some(new_vault) = options.new_vault.filter(|new_vault| !new_vault.create)
        && let Some(earlier) = earlier_position(&config.audit, key, new_vault.id)?
    {
        (options.new_vault, options.recorded) = (None, Some(earlier));
    }
    Ok(StoreOpening { options, latest })
}

/// Opens the data directory. A loss is accepted if it is exactly one that an operator has accepted.
async fn open_store(
    config: &Config,
    metrics: &Metrics,
    options: StoreOptions,
    accepted: &AcceptedStates,
) -> Result<EmbeddedStore, StartError> {
    let (data_dir, accepted) = (config.vault.data_dir.clone(), accepted.clone());
    let open = move || {
        let opened = EmbeddedStore::open(&data_dir, options).or_else(|refused| {
            let loss = acceptance::loss(&refused, &data_dir, options.recorded);
            match loss.filter(|loss| acceptance::accepts(&accepted, loss)) {
                Some(_) => EmbeddedStore::open(&data_dir, StoreOptions { accept_loss: true, ..options }),
                None => Err(refused),
            }
        });
        opened.map_err(|refused| explain(&refused, &data_dir))
    };
    let store = tokio::task::spawn_blocking(open).await??;
    metrics.http.vault_info.with_label_values(&[options.engine.kind().name()]).set(1);
    Ok(store)
}

/// Returns how far the control rows in the vault's files must have come: as far as the audit log has them. The epoch of the
/// vault does not count, because anyone can write a higher one. If an operator has just accepted a loss, an earlier control
/// key is accepted, but rows without the latest changes are not: API keys that were revoked would be valid again.
pub(super) fn recorded_control(
    options: &StoreOptions,
    found: &VaultPosition,
    accepted_loss: Option<u64>,
) -> Option<ControlPosition> {
    let recorded = options.recorded.filter(|recorded| recorded.vault_id == found.vault_id)?.control;
    let epoch = if accepted_loss.is_some() { 0 } else { recorded.epoch };
    Some(ControlPosition { epoch, ..recorded })
}

/// Returns the rules that keys are loaded by.
pub(super) fn key_rules(config: &Config, inputs: &Inputs, recorded_control: Option<ControlPosition>) -> KeyRules {
    let second_tokens = config.keys.accept_second_tokens.clone();
    for kid in second_tokens.iter().filter(|kid| inputs.keyring.get(**kid).is_none()) {
        warn!(%kid, "`[keys] accept_second_tokens` names a key that is not loaded");
    }
    KeyRules {
        grace: GracePeriod { days: config.keys.grace_days, action: config.keys.grace_action },
        second_tokens,
        accept_rollback: false,
        policy_kids: inputs.policies.kids().map(|(_, kid)| kid).collect(),
        accept_new_control_key: false,
        recorded_control,
    }
}

/// Opens the vault of a store with these keys.
async fn open_vault(
    config: &Config,
    store: EmbeddedStore,
    keyring: Keyring,
    metrics: &Metrics,
    mut rules: KeyRules,
    accepted: &AcceptedStates,
) -> Result<Arc<Vault>, StartError> {
    let position = store.position();
    let store: Arc<dyn Store> = Arc::new(RowCache::new(SharedReads::new(store), config.vault.row_cache_bytes()));
    let is_of_keys =
        |state: &AcceptableState| matches!(state.kind, AcceptedKind::NewControlKey | AcceptedKind::KeyRollback);
    if accepted.iter().any(is_of_keys) {
        // Counts nothing: opening the vault reads the same rows.
        let metrics = Arc::new(VaultMetrics::new()?);
        let refused = KeyRefusals::find(Arc::clone(&store), &keyring, &rules, metrics).await?;
        let accepts = |state: AcceptableState| acceptance::accepts(accepted, &state);
        rules.accept_new_control_key =
            refused.control_key.is_some_and(|lost| accepts(acceptance::new_control_key(position, &lost)));
        rules.accept_rollback = !refused.rollbacks.is_empty()
            && refused.rollbacks.iter().all(|rollback| accepts(acceptance::key_rollback(position, rollback)));
    }
    let vault = Vault::open(store, keyring, rules, Arc::clone(&metrics.vault), Arc::new(Timestamp::now)).await?;
    Ok(Arc::new(vault))
}

fn service_settings(
    config: &Config,
    socket: &Socket,
    audit: Option<Arc<AuditLog>>,
    vault_id: [u8; 16],
    key_sources: KeySources,
) -> ServiceSettings {
    let timeouts = Timeouts {
        head: Duration::from_secs(config.server.head_timeout_seconds),
        body: Duration::from_secs(config.server.body_timeout_seconds),
        write: Duration::from_secs(config.server.write_timeout_seconds),
    };
    ServiceSettings {
        audit,
        timeouts,
        vault_id,
        data_dir: config.vault.data_dir.clone(),
        api_keys_per_workspace: config.access.api_keys_per_workspace as usize,
        configuration: describe(config, socket, &key_sources),
        apply_keys: Arc::new(move |kid| key_sources.changes_of(kid).to_string()),
    }
}

/// Describes this daemon and where its files are, for `masker doctor`.
fn describe(config: &Config, socket: &Socket, keys: &KeySources) -> DaemonConfiguration {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    DaemonConfiguration {
        process_id: std::process::id(),
        uid: geteuid().as_raw(),
        socket: text(&socket.path()),
        file: config.file.as_deref().map(text),
        data_dir: text(&config.vault.data_dir),
        audit_log: text(&config.audit.path),
        policies: text(&config.policy.path),
        key_files: keys.named_paths().map(|(name, path)| (name, text(path))).collect(),
        key_variables: keys.variables().collect(),
    }
}

/// Stores the last use of API keys, then closes the audit log and the vault once the periodic tasks and rotations have stopped.
async fn close(
    service: &Service,
    tasks: JoinSet<()>,
    rotations: JoinHandle<()>,
    vault: &Vault,
    audit: Option<&AuditLog>,
) -> Result<(), VaultError> {
    if let Err(failed) = service.note_api_key_use().await {
        warn!(error = %failed, "failed to store the last use of API keys");
    }
    if let Err(panicked) = rotations.await {
        error!(error = %panicked, "rotation task panicked");
    }
    // They record what they have begun.
    tasks.join_all().await;
    service.record_all_counted_refusals().await;
    if let Some(log) = audit {
        close_audit(log, vault).await;
    }
    vault.close().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_epoch_of_the_vault_does_not_hide_what_the_audit_log_has() {
        let control = ControlPosition { epoch: 2, changes: 9 };
        let recorded = VaultPosition { vault_id: [1; 16], epoch: 1, sequence: 50, control };
        let options = StoreOptions { recorded: Some(recorded), ..StoreOptions::default() };
        let found = VaultPosition { epoch: 7, sequence: 3, control: ControlPosition::default(), ..recorded };
        assert_eq!(recorded_control(&options, &found, None), Some(control));
        let lost = Some(ControlPosition { epoch: 0, ..control });
        assert_eq!(
            recorded_control(&options, &found, Some(47)),
            lost,
            "an earlier control key is accepted with the loss"
        );
        let other = VaultPosition { vault_id: [2; 16], ..found };
        assert_eq!(recorded_control(&options, &other, None), None, "an operator has accepted another vault");
    }
}
