//! The settings of a log.

use std::{path::PathBuf, sync::Arc};

use super::metrics::AuditMetrics;
use masker_core::crypto::SecretKey;
use masker_types::audit::{OnFailure, SyncPolicy};

/// The settings of a log.
pub struct AuditOptions {
    /// The directory of the log, which contains nothing else.
    pub directory: PathBuf,
    /// The key of the chain.
    pub key: SecretKey,
    /// When events are made durable.
    pub sync: SyncPolicy,
    /// What happens while events cannot be written.
    pub on_failure: OnFailure,
    /// Days for which a segment is kept after its end.
    pub retention_days: u32,
    /// The size at which a segment is closed, in bytes.
    pub segment_bytes_max: u64,
    /// Whether the operator accepts a broken chain.
    pub accept_break: bool,
    /// Whether the operator accepts a clock that is far past the last event.
    pub accept_clock: bool,
    /// The counters of the log.
    pub metrics: Arc<AuditMetrics>,
}
