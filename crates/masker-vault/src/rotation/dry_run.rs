//! Dry runs: every record is opened and sealed as in a rotation, and every move decided, but nothing is written.

use super::{
    error::RotationError,
    key_move::KeyMove,
    move_set::MoveSet,
    service::RotationService,
    step::{StepBudget, StepProgress},
    tracker::VisitedRecords,
};
use crate::{VaultError, ids::RotationId, time};
use masker_store::record::{RotationFault, RotationRow, RotationState};

/// Dry runs that are remembered after their end.
const DRY_RUNS_KEPT_MAX: usize = 20;

impl RotationService {
    pub(super) fn begin_dry_run(&self, id: RotationId, mut row: RotationRow) -> Result<(), RotationError> {
        if let Some((running, _)) = self.running() {
            return Err(RotationError::Running(running));
        }
        row.rows_total = KeyMove::of(&row).remaining(&self.ledger.load()).0;
        let dry_runs = &mut self.tracker.state().dry_runs;
        if let Some((running, _)) = dry_runs.iter().find(|(_, row)| row.is_running()) {
            return Err(RotationError::Running(*running));
        }
        dry_runs.insert(id, row);
        while dry_runs.len() > DRY_RUNS_KEPT_MAX {
            dry_runs.pop_first();
        }
        Ok(())
    }

    /// Returns the dry run that is running, if any.
    pub(super) fn running_dry_run(&self) -> Option<RotationId> {
        self.next_dry_run().map(|(id, _)| id)
    }

    pub(super) fn next_dry_run(&self) -> Option<(RotationId, RotationRow)> {
        let state = self.tracker.state();
        state.dry_runs.iter().find(|(_, row)| row.is_running()).map(|(id, row)| (*id, row.clone()))
    }

    /// Cancels the dry run of this id. Returns whether there is one.
    pub(super) fn cancel_dry_run(&self, id: RotationId) -> Result<bool, RotationError> {
        let now_ms = time::unix_ms(&self.clock);
        match self.tracker.state().dry_runs.get_mut(&id) {
            None => Ok(false),
            Some(row) if row.is_running() => {
                row.finish(RotationState::Cancelled, now_ms);
                Ok(true)
            }
            Some(_) => Err(RotationError::Ended(id)),
        }
    }

    /// Steps a dry run.
    pub(crate) async fn step_dry_run(&self, id: RotationId, budget: StepBudget) -> Result<StepProgress, VaultError> {
        let Some(row) = self.tracker.state().dry_runs.get(&id).filter(|row| row.is_running()).cloned() else {
            return Ok(StepProgress::Idle);
        };
        let keys = self.keys.load_full();
        let visited = self.visit(&keys.ring, &row, budget).await?;
        let moved = match visited {
            None => None,
            Some(VisitedRecords { resealed, failed, cursor, read }) => {
                let records = MoveSet { key_move: KeyMove::of(&row), epoch: keys.ring.epoch(), resealed, failed };
                // The keys or the records changed since: the step is repeated.
                let Some(moved) = self.writer.preview(records).await? else { return Ok(StepProgress::Read(0)) };
                Some((moved, cursor, read))
            }
        };
        let now_ms = time::unix_ms(&self.clock);
        let mut state = self.tracker.state();
        let Some(row) = state.dry_runs.get_mut(&id).filter(|row| row.is_running()) else {
            return Ok(StepProgress::Idle);
        };
        let Some((moved, cursor, read)) = moved else {
            row.fail(RotationFault::TargetReplaced, now_ms);
            return Ok(StepProgress::Read(0));
        };
        row.rows_resealed += moved.resealed;
        row.note_failures(moved.failed.iter().map(|(id, why)| (*id.as_bytes(), *why)).collect());
        row.rows_total = row.rows_total.max(row.rows_resealed + row.rows_failed);
        row.conflicts += moved.conflicts;
        row.cursor = cursor.map(|id| *id.as_bytes());
        if cursor.is_none() {
            // Records that were written or erased meanwhile were not counted at the beginning.
            row.rows_total = row.rows_resealed + row.rows_failed;
            match row.rows_failed {
                0 => row.finish(RotationState::Done, now_ms),
                _ => row.fail(RotationFault::Records, now_ms),
            }
        }
        Ok(StepProgress::Read(read))
    }
}
