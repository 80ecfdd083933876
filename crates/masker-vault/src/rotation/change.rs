//! A rotation's changes: a step is compared with what the vault holds now, and written with the rotation's progress.

use super::{error::RotationError, key_move::KeyMove, move_set::MoveSet, proof_scan::ProofFinding};
use crate::{
    ids::RotationId,
    writer::{Change, CommitDraft, Lane, ReadPlan},
};
use masker_core::crypto::TokenId;
use masker_store::record::{RotationFault, RotationRow, RotationState, StepResult};

/// Rotations that are remembered after their end.
const ENDED_KEPT_MAX: usize = 20;

/// A change of a rotation's state that moves no records.
pub(super) enum RotationTransition {
    /// Begins it. Refused while another one runs.
    Begin(Box<RotationRow>),
    /// Ends it, for an operator.
    Cancel,
    /// Fails it: the key that it moves records to is no longer the active one of its kid.
    TargetReplaced,
    /// Ends the proving pass.
    Proven(ProofFinding),
}

/// A prepared step, for the writer.
pub(super) struct RotationStep {
    pub(super) rotation: RotationId,
    pub(super) records: MoveSet,
    /// The last visited record; `None` if no record comes after it.
    pub(super) cursor: Option<TokenId>,
}

/// The outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepOutcome {
    /// The step is durable.
    Written,
    /// Nothing was written: the keys or the records changed since the step was prepared, or the rotation has ended.
    Stale,
}

impl Change for RotationStep {
    type Outcome = StepOutcome;

    fn row_count(&self) -> usize {
        self.records.row_count()
    }

    fn lane(&self) -> Lane {
        self.records.lane()
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        self.records.plan_reads(plan);
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> StepOutcome {
        let rotation = draft.ledger().rotations.get(&self.rotation).filter(|row| row.is_running()).cloned();
        let Some(mut row) = rotation else { return StepOutcome::Stale };
        let Some(moved) = self.records.decide(draft) else { return StepOutcome::Stale };
        let (left, _) = self.records.key_move.remaining(draft.ledger());
        let step = StepResult {
            resealed: moved.resealed,
            conflicts: moved.conflicts,
            failed: moved.failed.iter().map(|(id, why)| (*id.as_bytes(), *why)).collect(),
            cursor: self.cursor.map(|id| *id.as_bytes()),
        };
        row.record_step(step, left, draft.now_ms);
        draft.ledger_changes.set_rotation(self.rotation, Some(row));
        StepOutcome::Written
    }
}

/// A transition of one rotation.
pub(super) struct TransitionChange {
    pub(super) id: RotationId,
    pub(super) transition: RotationTransition,
}

impl Change for TransitionChange {
    type Outcome = Result<(), RotationError>;

    fn lane(&self) -> Lane {
        Lane::Control
    }

    /// A rotation to another kid changes which rows a search reads, so no other change may be decided by what was read
    /// before.
    fn runs_alone(&self) -> bool {
        matches!(self.transition, RotationTransition::Begin(_))
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Self::Outcome {
        if let RotationTransition::Begin(row) = &self.transition {
            return begin(draft, self.id, row);
        }
        let row = draft.ledger().rotations.get(&self.id).ok_or(RotationError::NotFound)?;
        let mut row = Some(row.clone()).filter(RotationRow::is_running).ok_or(RotationError::Ended(self.id))?;
        match &self.transition {
            RotationTransition::Begin(_) => {}
            RotationTransition::Cancel => row.finish(RotationState::Cancelled, draft.now_ms),
            RotationTransition::TargetReplaced => row.fail(RotationFault::TargetReplaced, draft.now_ms),
            RotationTransition::Proven(finding) => prove(draft, &mut row, *finding),
        }
        draft.ledger_changes.set_rotation(self.id, Some(row));
        Ok(())
    }
}

fn begin(draft: &mut CommitDraft<'_>, id: RotationId, row: &RotationRow) -> Result<(), RotationError> {
    let rotations = &draft.ledger().rotations;
    if let Some((running, _)) = rotations.iter().find(|(_, row)| row.is_running()) {
        return Err(RotationError::Running(*running));
    }
    let oldest: Vec<RotationId> =
        rotations.keys().copied().take((rotations.len() + 1).saturating_sub(ENDED_KEPT_MAX)).collect();
    for ended in oldest {
        draft.ledger_changes.set_rotation(ended, None);
    }
    let (left, _) = KeyMove::of(row).remaining(draft.ledger());
    draft.ledger_changes.note_kid_move(row.source_kid, row.target_kid);
    draft
        .ledger_changes
        .set_rotation(id, Some(RotationRow { rows_total: left, left_before_pass: left, ..row.clone() }));
    Ok(())
}

/// Ends a rotation after its proving pass. The ledger decides: it counts what was written behind the pass.
fn prove(draft: &mut CommitDraft<'_>, row: &mut RotationRow, finding: ProofFinding) {
    let key_move = KeyMove::of(row);
    let (records, index_rows) = key_move.remaining(draft.ledger());
    if finding == ProofFinding::Nothing && records == 0 && index_rows == 0 {
        let sources: Vec<_> = key_move.sources(draft.ledger()).map(|(name, _)| name).collect();
        for name in sources {
            draft.ledger_changes.proven(name, draft.now_ms);
        }
        row.finish(RotationState::Done, draft.now_ms);
    } else if records > 0 || finding == ProofFinding::Rows {
        // Records that came meanwhile, by an import say, are moved as well. Another pass shows whether those that are gone
        // again were all.
        row.begin_pass(records);
    } else {
        row.fail(RotationFault::Unproven, draft.now_ms);
    }
}
