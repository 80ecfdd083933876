//! Rotation: records moved from replaced keys to the active one, while the daemon serves.
//!
//! A rotation visits the records in the order of their ids, in steps. Each step reads some records, seals them again, and
//! gives them to the writer together with the rotation's progress. They are one atomic batch, so after a crash the rotation
//! continues where it was. A step done twice finds nothing to do. Once every record was visited, a proving pass ([`proof`])
//! reads all rows again. The rotation is done only if it finds nothing under the old keys.
//!
//! Tokens never change. A token minted under a removed key is still found by its value, for its record has an alias from
//! the id of the value under the active key.

mod change;
mod driver;
mod proof;
mod dry_run;
mod reseal;
mod status;
mod step;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use change::TransitionChange;
use driver::RotationProgress;
pub use status::{RotationPhase, RotationStatus};
pub use step::StepBudget;
use step::{Prefetched, RotationTransition};

pub use super::ids::RotationId;
use super::{
    VaultError,
    audit_head::AuditAnchor,
    keys::CurrentKeys,
    ledger::{CurrentLedger, Ledger},
    outcomes::RequestCounters,
    reader::Reader,
    time::{self, Clock},
    vault::Handles,
    writer::WriterHandle,
};
use masker_core::crypto::Fingerprint;
use masker_store::record::{GenerationRow, Record, RotationRow, RotationState};
use masker_types::kind::Kid;

/// From which kid records are moved, and to which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyMove {
    pub(crate) source_kid: Kid,
    pub(crate) target: (Kid, Fingerprint),
}

impl KeyMove {
    pub(crate) fn of(row: &RotationRow) -> Self {
        KeyMove { source_kid: row.source_kid, target: (row.target_kid, Fingerprint::from_bytes(row.target)) }
    }

    /// Returns whether records under this generation are to be moved.
    fn has_source(&self, name: (Kid, Fingerprint)) -> bool {
        name.0 == self.source_kid && name != self.target
    }

    /// Returns whether this record is to be moved.
    fn moves(&self, record: &Record) -> bool {
        self.has_source((record.sealing_kid, Fingerprint::from_bytes(record.fingerprint)))
    }

    /// Returns the generations from which records are moved.
    pub(crate) fn sources<'l>(
        &self,
        ledger: &'l Ledger,
    ) -> impl Iterator<Item = ((Kid, Fingerprint), &'l GenerationRow)> {
        let key_move = *self;
        ledger
            .generations_of(self.source_kid)
            .map(|(name, row)| (*name, row))
            .filter(move |(name, _)| key_move.has_source(*name))
    }

    /// Counts the records that are still to be moved, and the aliases under the keys that they are moved from.
    pub(crate) fn remaining(&self, ledger: &Ledger) -> (u64, u64) {
        self.sources(ledger).fold((0, 0), |(records, aliases), (_, row)| (records + row.records, aliases + row.aliases))
    }
}

/// An operator's request for a rotation.
#[derive(Clone, Copy, Debug)]
pub struct RotationRequest {
    /// The kid whose active key records are moved to.
    pub new_kid: Kid,
    /// The kid whose records are moved. `None` moves those of `new_kid` that are under its old keys.
    pub old_kid: Option<Kid>,
    /// Whether nothing is written: every record is only opened and sealed.
    pub dry_run: bool,
    /// The most rows a second; 0 for no limit.
    pub rows_per_second_max: u64,
}

/// Why a rotation was not begun, returned or cancelled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RotationError {
    /// Another rotation is running.
    #[error("the rotation {0} is running: wait for its end, or cancel it")]
    Running(RotationId),
    /// No rotation has this id.
    #[error("no rotation has this id; see the list of rotations")]
    NotFound,
    /// The rotation has ended already.
    #[error("the rotation {0} has ended already")]
    Ended(RotationId),
    /// The kid that records are moved to has no key.
    #[error("the key {0} is not loaded: set MASKER_KEY_{0}, or name a kid that has a key")]
    TargetNotLoaded(Kid),
    /// The vault has never seen a key of the kid that records are moved from.
    #[error("this vault has never seen a key of {0}: there is nothing to move from it")]
    SourceUnknown(Kid),
    /// The store failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// What this process knows of rotations beside the ledger: their progress, and dry runs.
#[derive(Default)]
pub(crate) struct RotationTracker {
    state: Mutex<RotationsState>,
    /// Notified when there may be something to do.
    wake: Notify,
}

#[derive(Default)]
pub(crate) struct RotationsState {
    /// The rotation that the driver works on.
    progress: Option<(RotationId, RotationProgress)>,
    /// What was read ahead for the next step.
    prefetched: Option<Prefetched>,
    /// Dry runs. They are not stored, so they are lost when the process ends.
    dry_runs: BTreeMap<RotationId, RotationRow>,
}

/// Begins, drives and lists rotations.
pub(crate) struct RotationService {
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    reader: Arc<Reader>,
    writer: Arc<WriterHandle>,
    counters: Arc<RequestCounters>,
    clock: Clock,
    audit_anchor: Arc<AuditAnchor>,
    tracker: RotationTracker,
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
        }
    }

    /// Implements [`Vault::begin_rotation`](crate::Vault::begin_rotation).
    pub(crate) async fn begin_rotation(&self, request: RotationRequest) -> Result<RotationStatus, RotationError> {
        let source_kid = request.old_kid.unwrap_or(request.new_kid);
        let now_ms = time::unix_ms(&self.clock);
        let id = RotationId::new(now_ms, rand::random());
        let row = {
            let keys = self.keys.load();
            let pair = keys.ring.get(request.new_kid).ok_or(RotationError::TargetNotLoaded(request.new_kid))?;
            if self.ledger.load().generations_of(source_kid).next().is_none() {
                return Err(RotationError::SourceUnknown(source_kid));
            }
            RotationRow {
                target_kid: request.new_kid,
                target: *pair.active().fingerprint().as_bytes(),
                source_kid,
                state: RotationState::Running,
                fault: None,
                proving: false,
                started_at_ms: now_ms,
                finished_at_ms: None,
                rows_per_second_max: request.rows_per_second_max,
                rows_total: 0,
                rows_resealed: 0,
                resealed_before_pass: 0,
                rows_failed: 0,
                conflicts: 0,
                cursor: None,
                failures: Vec::new(),
            }
        };
        if request.dry_run {
            self.begin_dry_run(id, row)?;
        } else {
            if let Some(running) = self.running_dry_run() {
                return Err(RotationError::Running(running));
            }
            self.transition(id, RotationTransition::Begin(Box::new(row))).await??;
        }
        self.tracker.wake.notify_one();
        self.find_rotation(id).ok_or(RotationError::NotFound)
    }

    /// Implements [`Vault::cancel_rotation`](crate::Vault::cancel_rotation).
    pub(crate) async fn cancel_rotation(&self, id: RotationId) -> Result<RotationStatus, RotationError> {
        if !self.cancel_dry_run(id)? {
            self.transition(id, RotationTransition::Cancel).await??;
        }
        self.find_rotation(id).ok_or(RotationError::NotFound)
    }

    /// Has the writer change the state of a rotation.
    async fn transition(
        &self,
        id: RotationId,
        transition: RotationTransition,
    ) -> Result<Result<(), RotationError>, VaultError> {
        self.writer.commit(TransitionChange { id, transition }).await
    }

    /// Implements [`Vault::rotation`](crate::Vault::rotation).
    pub(crate) fn rotation(&self, id: RotationId) -> Result<RotationStatus, RotationError> {
        self.find_rotation(id).ok_or(RotationError::NotFound)
    }

    /// Implements [`Vault::rotation_running`](crate::Vault::rotation_running).
    pub(crate) fn rotation_running(&self) -> Option<RotationStatus> {
        let mut all = self.all_rotations().into_iter();
        all.find(|rotation| rotation.state == RotationState::Running && !rotation.dry_run)
    }

    /// Implements [`Vault::rotations`](crate::Vault::rotations).
    pub(crate) fn rotations(&self) -> Vec<RotationStatus> {
        self.all_rotations()
    }
}
