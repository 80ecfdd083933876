//! The audit log's part in the daemon's life: open, record a reload, close.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::{error, warn};

use super::start_error::StartError;
use masker_audit::{
    AuditEvent, AuditLog, AuditMetrics, AuditOperation, AuditOptions, ChainHead, DetailValue, OutcomeCount,
};
use masker_config::AuditConfig;
use masker_core::crypto::SecretKey;
use masker_http::{ReloadError, ReloadOutcome};
use masker_types::error_code::Code;
use masker_vault::{GenerationStatus, Vault};

/// Opens the audit log and records the start. Returns `None` without a key.
///
/// # Errors
/// The log cannot be opened or written. The daemon then does not start, because its work would go unrecorded.
pub(super) async fn open_audit(
    config: &AuditConfig,
    key: Option<SecretKey>,
    vault: &Vault,
    metrics: Arc<AuditMetrics>,
    accept_break: bool,
) -> Result<Option<Arc<AuditLog>>, StartError> {
    let Some(key) = key else { return Ok(None) };
    let head = vault.audit_head().await?.map(|row| ChainHead { sequence: row.sequence, hash: row.hash });
    let options = AuditOptions {
        directory: config.path.clone(),
        key,
        sync: config.sync,
        on_failure: config.on_failure,
        retention_days: config.retention_days,
        segment_bytes_max: config.segment_bytes_max(),
        accept_break,
        metrics,
    };
    let open = move || AuditLog::open(options, head, Arc::new(Timestamp::now));
    let opened = tokio::task::spawn_blocking(open).await??;
    for note in &opened.notes {
        warn!("{note}");
    }
    let log = Arc::new(opened.log);
    vault.anchor(Arc::clone(&log));
    let counts = loaded_keys(vault);
    let detail = [("version", DetailValue::Text(env!("CARGO_PKG_VERSION")))];
    log.record(&AuditEvent { counts: &counts, detail: &detail, ..AuditEvent::new(AuditOperation::Start, "ok") })
        .await?;
    Ok(Some(log))
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

/// Records the stop, makes the log durable, and stores its head in the vault.
pub(super) async fn close_audit(log: &AuditLog, vault: &Vault) {
    if let Err(failed) = log.record(&AuditEvent::new(AuditOperation::Stop, "ok")).await {
        error!(error = %failed, "failed to record the stop in the audit log");
    }
    log.close().await;
    if let Err(failed) = vault.write_audit_head().await {
        warn!(error = %failed, "failed to store the audit log's head in the vault");
    }
}
