//! The audit log's part in the daemon's life.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::{error, warn};

use super::run::StartError;
use masker_audit::{
    AuditEvent, AuditLog, AuditMetrics, AuditOperation, AuditOptions, ChainHead, DetailValue, OutcomeCount,
};
use masker_config::AuditConfig;
use masker_core::crypto::SecretKey;
use masker_http::{ReloadError, ReloadOutcome};
use masker_types::error_code::Code;
use masker_vault::{Vault, VaultError};

/// Opens the log and tells it of this start; `None` where there is no key for it.
///
/// # Errors
/// Why the log cannot be kept, which keeps the daemon from starting: what it does would go unrecorded.
pub(super) async fn open_audit(
    config: &AuditConfig,
    key: Option<SecretKey>,
    vault: &Vault,
    metrics: Arc<AuditMetrics>,
    accept_break: bool,
) -> Result<Option<Arc<AuditLog>>, StartError> {
    let Some(key) = key else { return Ok(None) };
    let anchor = vault.audit_head().await.map_err(StartError::failed)?;
    let anchor = anchor.map(|row| ChainHead { sequence: row.sequence, hash: row.hash });
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
    let opening = move || AuditLog::open(options, anchor, Arc::new(Timestamp::now));
    let opened = tokio::task::spawn_blocking(opening).await.map_err(StartError::failed)?.map_err(StartError::failed)?;
    for note in &opened.notes {
        warn!("{note}");
    }
    let log = Arc::new(opened.log);
    vault.anchor(Arc::clone(&log));
    let counts = keys(vault);
    let detail = [("version", DetailValue::Text(env!("CARGO_PKG_VERSION")))];
    log.record(&AuditEvent { counts: &counts, detail: &detail, ..AuditEvent::new(AuditOperation::Start, "ok") })
        .await
        .map_err(StartError::failed)?;
    Ok(Some(log))
}

/// The keys that are loaded, with how many records each seals.
fn keys(vault: &Vault) -> Vec<OutcomeCount> {
    let loaded = vault.generations().into_iter().filter(|generation| generation.loaded.is_some());
    let count = |generation: masker_vault::GenerationStatus| OutcomeCount {
        fingerprint: Some(generation.fingerprint),
        generation: generation.loaded,
        items: generation.records,
        kid: Some(generation.kid),
        kind: None,
        outcome: "loaded",
    };
    loaded.map(count).collect()
}

/// Tells the log of a reload that no request asked for.
pub(super) async fn log_reload(log: &AuditLog, vault: &Vault, reloaded: Result<&ReloadOutcome, &ReloadError>) {
    let (outcome, policies) = match reloaded {
        Ok(reloaded) => ("ok", Some(reloaded.policies as u64)),
        Err(ReloadError::Vault(_)) => (Code::VaultUnavailable.as_str(), None),
        Err(ReloadError::Invalid { keys, .. }) if !keys.is_empty() => (Code::KeysInvalid.as_str(), None),
        Err(ReloadError::Invalid { .. }) => (Code::PolicyInvalid.as_str(), None),
    };
    let counts = keys(vault);
    let detail: Vec<_> = policies.map(|policies| ("policies", DetailValue::Number(policies))).into_iter().collect();
    let event = AuditEvent { counts: &counts, detail: &detail, ..AuditEvent::new(AuditOperation::Reload, outcome) };
    if let Err(failed) = log.record(&event).await {
        error!(error = %failed, "the audit log was not told of a reload");
    }
}

/// Tells the log of the stop, makes it durable, and notes its end in the vault.
pub(super) async fn close_audit(log: &AuditLog, vault: &Vault) {
    if let Err(failed) = log.record(&AuditEvent::new(AuditOperation::Stop, "ok")).await {
        error!(error = %failed, "the audit log was not told of the stop");
    }
    log.close().await;
    let anchored: Result<(), VaultError> = vault.write_audit_head().await;
    if let Err(failed) = anchored {
        warn!(error = %failed, "the vault was not told of the audit log's end");
    }
}
