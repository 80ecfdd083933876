//! The audit log's part in the daemon's life: open, record a reload, close.

use std::{
    fs::{self, DirEntry},
    io,
    path::Path,
    sync::Arc,
};

use jiff::Timestamp;
use tracing::{error, warn};

use super::{acceptance, start_error::StartError};
use masker_audit::{
    AuditEvent, AuditLog, AuditMetrics, AuditOperation, AuditOptions, ChainHead, DetailValue, OutcomeCount,
    RecordedVault,
};
use masker_config::{AcceptableState, AcceptedKind, AcceptedStates, AuditConfig};
use masker_core::crypto::SecretKey;
use masker_files::LOST_AND_FOUND;
use masker_http::{ReloadError, ReloadOutcome};
use masker_types::{audit::AUDIT_DIRECTORY, error_code::Code, vault_position::VaultPosition};
use masker_vault::{GenerationStatus, Vault, VaultError};

/// Returns the latest position of the vault in the audit log; `None` without a key and a log. Blocks.
///
/// # Errors
/// The log cannot be read, its key is missing, or it is still in the default directory of earlier releases.
pub(super) fn recorded_position(
    config: &AuditConfig,
    key: Option<&SecretKey>,
    data_dir: &Path,
) -> Result<Option<VaultPosition>, StartError> {
    let Some(key) = key else {
        // Without its log, an older copy of the vault would be served, in which revoked API keys work.
        return match has_entries(&config.path) {
            false => Ok(None),
            true => Err(format!(
                "the audit log in {} has events, and its key is missing: put MASKER_AUDIT_HMAC_KEY back. To end the log for \
                 good, move its directory away, and keep it",
                config.path.display()
            )
            .into()),
        };
    };
    let earlier = data_dir.join(AUDIT_DIRECTORY);
    if config.path != earlier && !has_entries(&config.path) && has_entries(&earlier) {
        let (path, earlier) = (config.path.display(), earlier.display());
        return Err(format!(
            "the audit log is in {earlier}, and its directory is {path} now: move all files there, or set `[audit] path` \
             to {earlier}"
        )
        .into());
    }
    Ok(masker_audit::recorded_position(&config.path, key)?)
}

/// Returns the latest position that the audit log has of a vault, also if another one has taken its place since. Blocks.
///
/// # Errors
/// The log cannot be read.
pub(super) fn earlier_position(
    config: &AuditConfig,
    key: Option<&SecretKey>,
    vault_id: [u8; 16],
) -> Result<Option<VaultPosition>, StartError> {
    let Some(key) = key else { return Ok(None) };
    Ok(masker_audit::recorded_position_of(&config.path, key, vault_id)?)
}

fn has_entries(directory: &Path) -> bool {
    let is_ours = |entry: io::Result<DirEntry>| entry.is_ok_and(|entry| entry.file_name() != LOST_AND_FOUND);
    fs::read_dir(directory).is_ok_and(|mut entries| entries.any(is_ours))
}

/// Opens the audit log and records the start. Returns `None` without a key.
///
/// # Errors
/// The log cannot be opened or written. The daemon then does not start, because its work would go unrecorded.
pub(super) async fn open_audit(
    config: &AuditConfig,
    key: Option<SecretKey>,
    vault: &Vault,
    recorded: RecordedVault,
    metrics: Arc<AuditMetrics>,
    accepted: &AcceptedStates,
) -> Result<Option<Arc<AuditLog>>, StartError> {
    let Some(key) = key else { return Ok(None) };
    let head = vault.audit_head().await?.map(|row| ChainHead { sequence: row.sequence, hash: row.hash });
    let (accept_break, accept_clock) = accepted_of_log(config, &key, accepted).await?;
    let options = AuditOptions { accept_break, accept_clock, ..options(config, key, metrics) };
    let open = move || AuditLog::open(options, head, Some(recorded), Arc::new(Timestamp::now));
    let opened = tokio::task::spawn_blocking(open).await??;
    for note in &opened.notes {
        warn!("{note}");
    }
    let log = Arc::new(opened.log);
    vault.anchor(Arc::clone(&log));
    let counts = loaded_keys(vault);
    // The details are in the order of their names.
    let void = vault.control_problem().map(|_| ("control_rows", DetailValue::Text("void")));
    let version = ("version", DetailValue::Text(env!("CARGO_PKG_VERSION")));
    let detail: Vec<_> = void.into_iter().chain([version]).collect();
    log.record(&AuditEvent { counts: &counts, detail: &detail, ..AuditEvent::new(AuditOperation::Start, "ok") })
        .await?;
    Ok(Some(log))
}

fn options(config: &AuditConfig, key: SecretKey, metrics: Arc<AuditMetrics>) -> AuditOptions {
    AuditOptions {
        directory: config.path.clone(),
        key,
        sync: config.sync,
        on_failure: config.on_failure,
        retention_days: config.retention_days,
        segment_bytes_max: config.segment_bytes_max(),
        accept_break: false,
        accept_clock: false,
        metrics,
    }
}

/// Records a loss that was accepted by a start which is refused for another reason. The vault is in a new epoch already, and
/// without the record the next start would find it behind the log again.
///
/// # Errors
/// The log cannot be opened or written.
pub(super) async fn record_loss(
    config: &AuditConfig,
    key: Option<SecretKey>,
    recorded: RecordedVault,
    metrics: Arc<AuditMetrics>,
) -> Result<(), StartError> {
    let Some(key) = key else { return Ok(()) };
    let options = options(config, key, metrics);
    let open = move || AuditLog::open(options, None, Some(recorded), Arc::new(Timestamp::now)).map(drop);
    Ok(tokio::task::spawn_blocking(open).await??)
}

/// Returns whether the break of the log's chain, and the clock, are exactly what an operator has accepted.
async fn accepted_of_log(
    config: &AuditConfig,
    key: &SecretKey,
    accepted: &AcceptedStates,
) -> Result<(bool, bool), StartError> {
    let is_of_log = |state: &AcceptableState| matches!(state.kind, AcceptedKind::AuditBreak | AcceptedKind::Clock);
    if !accepted.iter().any(is_of_log) {
        return Ok((false, false));
    }
    let log = tokio::task::block_in_place(|| masker_audit::condition(&config.path, key))?;
    let accepts_break = acceptance::audit_break(&log).is_some_and(|state| acceptance::accepts(accepted, &state));
    Ok((accepts_break, acceptance::accepts_clock(accepted, &log, Timestamp::now())))
}

/// Returns the loaded keys, each with the number of records that it seals.
fn loaded_keys(vault: &Vault) -> Vec<OutcomeCount> {
    let loaded = vault.generations().into_iter().filter(|generation| generation.loaded.is_some());
    let count = |generation: GenerationStatus| OutcomeCount {
        fingerprint: Some(generation.fingerprint),
        generation: generation.loaded,
        items: generation.records,
        kid: Some(generation.kid),
        kind: None,
        outcome: "loaded",
    };
    loaded.map(count).collect()
}

/// Records a reload that a signal requested.
pub(super) async fn log_reload(log: &AuditLog, vault: &Vault, reloaded: Result<&ReloadOutcome, &ReloadError>) {
    let (outcome, policies) = match reloaded {
        Ok(reloaded) => ("ok", Some(reloaded.policies as u64)),
        Err(ReloadError::Vault(_)) => (Code::VaultUnavailable.as_str(), None),
        Err(ReloadError::Invalid { keys, .. }) if !keys.is_empty() => (Code::KeysInvalid.as_str(), None),
        Err(ReloadError::Invalid { .. }) => (Code::PolicyInvalid.as_str(), None),
    };
    let counts = loaded_keys(vault);
    let detail: Vec<_> = policies.map(|policies| ("policies", DetailValue::Number(policies))).into_iter().collect();
    let event = AuditEvent { counts: &counts, detail: &detail, ..AuditEvent::new(AuditOperation::Reload, outcome) };
    if let Err(failed) = log.record(&event).await {
        error!(error = %failed, "failed to record a reload in the audit log");
    }
}

/// Records that so many sessions were removed because their retention is over. `result` is whether that is durable.
pub(super) async fn log_session_purge(log: &AuditLog, sessions: u64, result: &Result<(), VaultError>) {
    let outcome = if result.is_ok() { "ok" } else { Code::VaultUnavailable.as_str() };
    let detail = [("sessions", DetailValue::Number(sessions))];
    let event = AuditEvent { detail: &detail, ..AuditEvent::new(AuditOperation::SessionPurge, outcome) };
    if let Err(failed) = log.record(&event).await {
        error!(error = %failed, "failed to record the removal of expired sessions in the audit log");
    }
}

/// Stores what the vault has counted, records the stop, and makes the log durable. Closing the vault then makes one commit,
/// which stores the log's head.
pub(super) async fn close_audit(log: &AuditLog, vault: &Vault) {
    for stored in [vault.flush_sessions().await, vault.note_key_use().await] {
        if let Err(failed) = stored {
            warn!(error = %failed, "failed to store the last use of keys and the counts of sessions");
        }
    }
    if let Err(failed) = log.record(&AuditEvent::new(AuditOperation::Stop, "ok")).await {
        error!(error = %failed, "failed to record the stop in the audit log");
    }
    log.close().await;
}
