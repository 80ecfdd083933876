//! What this process knows of rotations beside the ledger: their progress, rows read ahead, and dry runs.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::{proof_scan::ProofScan, reseal::ResealedRecord};
use crate::ids::RotationId;
use masker_core::crypto::TokenId;
use masker_store::record::{ResealFailure, RotationRow};

/// What this process knows of rotations beside the ledger: their progress, and dry runs.
#[derive(Default)]
pub(super) struct RotationTracker {
    state: Mutex<RotationsState>,
    /// Notified when there may be something to do.
    pub(super) wake: Notify,
}

#[derive(Default)]
pub(super) struct RotationsState {
    /// The rotation that the driver works on.
    progress: Option<(RotationId, RotationProgress)>,
    /// What was read ahead for the next step.
    prefetched: Option<Prefetched>,
    /// Dry runs. They are not stored, so they are lost when the process ends.
    pub(super) dry_runs: BTreeMap<RotationId, RotationRow>,
}

/// Records that a step has visited.
pub(super) struct VisitedRecords {
    pub(super) resealed: Vec<ResealedRecord>,
    pub(super) failed: Vec<(TokenId, ResealFailure)>,
    pub(super) cursor: Option<TokenId>,
    /// Records read.
    pub(super) read: usize,
}

/// Records visited ahead, while the step before was being written.
pub(super) struct Prefetched {
    pub(super) rotation: RotationId,
    pub(super) epoch: u64,
    /// The record that they come after.
    pub(super) after: Option<[u8; 20]>,
    /// The result of `RotationService::visit`.
    pub(super) visited: Option<VisitedRecords>,
}

/// What this process knows of a rotation beside its row.
#[derive(Default)]
pub(super) struct RotationProgress {
    /// When this process began to drive it, in milliseconds of Unix time, and how many records were done by then.
    pub(super) began: Option<(u64, u64)>,
    /// Whether its end is in the log.
    pub(super) is_end_recorded: bool,
    /// The proving pass, between its steps.
    pass: Option<ProofScan>,
}

impl RotationTracker {
    pub(super) fn state(&self) -> MutexGuard<'_, RotationsState> {
        // Every change is one assignment or one call on a map.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_prefetched(&self) -> Option<Prefetched> {
        self.state().prefetched.take()
    }

    pub(super) fn set_prefetched(&self, prefetched: Prefetched) {
        self.state().prefetched = Some(prefetched);
    }

    pub(super) fn take_proof_scan(&self, id: RotationId) -> ProofScan {
        self.state().progress_of(id).pass.take().unwrap_or_default()
    }

    pub(super) fn set_proof_scan(&self, id: RotationId, pass: ProofScan) {
        self.state().progress_of(id).pass = Some(pass);
    }
}

impl RotationsState {
    /// Returns the progress of this rotation, and drops that of any other.
    pub(super) fn progress_of(&mut self, id: RotationId) -> &mut RotationProgress {
        if self.progress.as_ref().is_none_or(|(of, _)| *of != id) {
            self.progress = None;
        }
        &mut self.progress.get_or_insert_with(|| (id, RotationProgress::default())).1
    }

    pub(super) fn find_progress(&self, id: RotationId) -> Option<&RotationProgress> {
        self.progress.as_ref().filter(|(of, _)| *of == id).map(|(_, progress)| progress)
    }
}
