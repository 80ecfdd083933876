//! The service for rotations. Its parts are in the files beside this one.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{
    change::{RotationTransition, TransitionChange},
    error::RotationError,
    tracker::RotationTracker,
};
use crate::{
    VaultError, audit_anchor::AuditAnchor, handles::Handles, ids::RotationId, keys::CurrentKeys, ledger::CurrentLedger,
    outcomes::RequestCounters, reader::Reader, time::Clock, writer::WriterHandle,
};

/// Begins, drives and lists rotations.
pub(crate) struct RotationService {
    pub(super) keys: Arc<CurrentKeys>,
    pub(super) ledger: Arc<CurrentLedger>,
    pub(super) reader: Arc<Reader>,
    pub(super) writer: Arc<WriterHandle>,
    pub(super) counters: Arc<RequestCounters>,
    pub(super) clock: Clock,
    pub(super) audit_anchor: Arc<AuditAnchor>,
    pub(super) tracker: RotationTracker,
    /// Held while a rotation or a dry run begins, so that each sees the other.
    pub(super) begin_lock: Mutex<()>,
}

impl RotationService {
    pub(crate) fn new(handles: &Handles, audit_anchor: Arc<AuditAnchor>) -> Self {
        RotationService {
            keys: Arc::clone(&handles.keys),
            ledger: Arc::clone(&handles.ledger),
            reader: Arc::clone(&handles.reader),
            writer: Arc::clone(&handles.writer),
            counters: Arc::clone(&handles.counters),
            clock: Arc::clone(&handles.clock),
            audit_anchor,
            tracker: RotationTracker::default(),
            begin_lock: Mutex::default(),
        }
    }

    /// Has the writer change the state of a rotation.
    pub(super) async fn transition(
        &self,
        id: RotationId,
        transition: RotationTransition,
    ) -> Result<Result<(), RotationError>, VaultError> {
        self.writer.commit(TransitionChange { id, transition }).await
    }
}
