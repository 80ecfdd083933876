//! Rotation: records moved from replaced keys to the active one, while the daemon serves.
//!
//! A rotation visits the records in the order of their ids, in steps. Each step reads some records, seals them again, and
//! gives them to the writer together with the rotation's progress. They are one atomic batch, so after a crash the rotation
//! continues where it was. A step done twice finds nothing to do. Once every record was visited, a proving pass ([`proof`])
//! reads all rows again. The rotation is done only if it finds nothing under the old keys.
//!
//! Tokens never change. All records of one value move together, in list order, with their entries in the index rows, so the
//! value keeps its token. A move to another kid is remembered, and a search under either kid reads the rows of both.

mod change;
mod driver;
mod dry_run;
mod equal_values;
mod error;
mod key_move;
mod move_set;
mod proof;
mod proof_scan;
mod reseal;
mod service;
mod status;
mod step;
mod tracker;
#[cfg(test)]
mod tests;

pub use error::RotationError;
pub use status::{RotationPhase, RotationStatus};
pub use step::StepBudget;
pub(crate) use {
    equal_values::{listed_ids, moving_together},
    key_move::KeyMove,
    move_set::MoveSet,
    reseal::{VisitedRecord, reseal},
    service::RotationService,
};

use change::RotationTransition;

pub use super::ids::RotationId;
use super::time;
use masker_store::record::{RotationRow, RotationState};
use masker_types::kind::Kid;

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

impl RotationService {
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
                left_before_pass: 0,
                rows_failed: 0,
                conflicts: 0,
                cursor: None,
                failures: Vec::new(),
            }
        };
        let guard = self.begin_lock.lock().await;
        if request.dry_run {
            self.begin_dry_run(id, row)?;
        } else {
            if let Some(running) = self.running_dry_run() {
                return Err(RotationError::Running(running));
            }
            self.transition(id, RotationTransition::Begin(Box::new(row))).await??;
        }
        drop(guard);
        self.tracker.wake.notify_one();
        self.find_rotation(id).ok_or(RotationError::NotFound)
    }

    /// Implements [`Vault::cancel_rotation`](crate::Vault::cancel_rotation).
    pub(crate) async fn cancel_rotation(&self, id: RotationId) -> Result<RotationStatus, RotationError> {
        if !self.cancel_dry_run(id)? {
            self.transition(id, RotationTransition::Cancel).await??;
        }
        self.record_end(id).await;
        self.find_rotation(id).ok_or(RotationError::NotFound)
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
