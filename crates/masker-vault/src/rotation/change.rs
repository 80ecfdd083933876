//! A rotation's changes: a step is compared with what the vault holds now, and written with the rotation's progress.

use super::{error::RotationError, key_move::KeyMove, reseal::ResealedRecord};
use crate::{
    ids::RotationId,
    writer::{Change, CommitDraft, ReadPlan, Reads},
};
use masker_core::crypto::TokenId;
use masker_store::{
    Precondition, Row, RowChange, RowKey,
    record::{Alias, Record, ResealFailure, RotationFault, RotationRow, RotationState, StepResult},
};

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
    /// Ends the proving pass; `true` if it found nothing left.
    Proven(bool),
}

/// A prepared step, for the writer.
pub(super) struct RotationStep {
    pub(super) rotation: RotationId,
    /// The keyring that it was prepared under.
    pub(super) epoch: u64,
    pub(super) resealed: Vec<ResealedRecord>,
    pub(super) failed: Vec<(TokenId, ResealFailure)>,
    /// The last visited record; `None` if no record comes after it.
    pub(super) cursor: Option<TokenId>,
}

/// The outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepOutcome {
    /// The step is durable.
    Written,
    /// Nothing was written: the keys changed since the step was prepared, or the rotation has ended.
    Stale,
}

/// What the store holds under the keys that a resealed record is about.
struct StoredRows {
    record: Option<Row>,
    /// The record and the alias under the index of the new alias.
    record_of_index: Option<Row>,
    alias_of_index: Option<Row>,
}

impl StoredRows {
    fn plan(resealed: &ResealedRecord, plan: &mut ReadPlan<'_>) {
        plan.row(RowKey::record(resealed.id.as_bytes()));
        if let Some((index, _)) = &resealed.alias {
            plan.row(RowKey::record(index.as_bytes()));
            plan.row(RowKey::alias(index.as_bytes()));
        }
    }

    /// Takes the rows in the order of the plan.
    fn take(resealed: &ResealedRecord, reads: &mut Reads<'_, '_>) -> Self {
        let record = reads.next_row();
        let mut next = || resealed.alias.as_ref().and_then(|_| reads.next_row());
        StoredRows { record, record_of_index: next(), alias_of_index: next() }
    }
}

impl Change for RotationStep {
    type Outcome = StepOutcome;

    fn row_count(&self) -> usize {
        self.resealed.len()
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        self.resealed.iter().for_each(|resealed| StoredRows::plan(resealed, plan));
    }

    /// Adds the step, unless the keys have changed since it was prepared or its rotation has ended.
    fn decide(&mut self, draft: &mut CommitDraft<'_>, reads: &mut Reads<'_, '_>) -> StepOutcome {
        let rotation = draft.ledger().rotations.get(&self.rotation).filter(|row| row.is_running()).cloned();
        let Some(mut row) = rotation.filter(|_| self.epoch == draft.keyring().epoch()) else {
            return StepOutcome::Stale;
        };
        let (mut resealed, mut conflicts) = (0, 0);
        for one in &self.resealed {
            let stored = StoredRows::take(one, reads);
            // A record that was erased or changed since is skipped: where it matters, another pass finds it.
            if draft.drafted_record(one.id).is_some() || stored.record.as_ref() != Some(&one.before) {
                continue;
            }
            let Ok(before) = Record::decode(&one.before) else { continue };
            let mut after = one.after.clone();
            if let Some((index, alias)) = &one.alias {
                if is_taken(draft, one.id, *index, &stored) {
                    after.alias = None;
                    conflicts += 1;
                } else {
                    draft.write(RowChange::Put(RowKey::alias(index.as_bytes()), alias.encode()));
                }
            }
            if let Some(replaced) = before.alias.filter(|replaced| Some(*replaced) != after.alias) {
                draft.write(RowChange::Remove(RowKey::alias(&replaced)));
            }
            draft.require(Precondition::Equals(RowKey::record(one.id.as_bytes()), one.before.clone()));
            draft.ledger_changes.resealed(&before, &after);
            draft.replace_record(one.id, after);
            resealed += 1;
        }
        let (left, _) = KeyMove::of(&row).remaining(draft.ledger());
        let step = StepResult {
            resealed,
            conflicts,
            failed: self.failed.iter().map(|(id, why)| (*id.as_bytes(), *why)).collect(),
            cursor: self.cursor.map(|id| *id.as_bytes()),
        };
        row.record_step(step, left, draft.now_ms);
        draft.ledger_changes.set_rotation(self.rotation, Some(row));
        StepOutcome::Written
    }
}

/// Returns whether the index of a new alias belongs to another record, which keeps it.
fn is_taken(draft: &CommitDraft<'_>, id: TokenId, index: TokenId, stored: &StoredRows) -> bool {
    let has_record = draft.drafted_record(index).map_or(stored.record_of_index.is_some(), Option::is_some);
    let alias = match draft.drafted_row(&RowKey::alias(index.as_bytes())) {
        Some(RowChange::Put(_, row)) => Some(row),
        Some(RowChange::Remove(_)) => None,
        None => stored.alias_of_index.as_ref(),
    };
    // One that does not decode is damage: it is left for the check to find.
    let leads_elsewhere = |row: &Row| Alias::decode(row).map_or(true, |alias| alias.target != *id.as_bytes());
    has_record || alias.is_some_and(leads_elsewhere)
}

/// A transition of one rotation.
pub(super) struct TransitionChange {
    pub(super) id: RotationId,
    pub(super) transition: RotationTransition,
}

impl Change for TransitionChange {
    type Outcome = Result<(), RotationError>;

    fn decide(&mut self, draft: &mut CommitDraft<'_>, _reads: &mut Reads<'_, '_>) -> Self::Outcome {
        if let RotationTransition::Begin(row) = &self.transition {
            return begin(draft, self.id, row);
        }
        let row = draft.ledger().rotations.get(&self.id).ok_or(RotationError::NotFound)?;
        let mut row = Some(row.clone()).filter(RotationRow::is_running).ok_or(RotationError::Ended(self.id))?;
        match &self.transition {
            RotationTransition::Begin(_) => {}
            RotationTransition::Cancel => row.finish(RotationState::Cancelled, draft.now_ms),
            RotationTransition::TargetReplaced => row.fail(RotationFault::TargetReplaced, draft.now_ms),
            RotationTransition::Proven(found_nothing) => prove(draft, &mut row, *found_nothing),
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
    draft.ledger_changes.set_rotation(id, Some(RotationRow { rows_total: left, ..row.clone() }));
    Ok(())
}

/// Ends a rotation after its proving pass. The ledger decides: it counts what was written behind the pass.
fn prove(draft: &mut CommitDraft<'_>, row: &mut RotationRow, found_nothing: bool) {
    let key_move = KeyMove::of(row);
    let (records, aliases) = key_move.remaining(draft.ledger());
    if found_nothing && records == 0 && aliases == 0 {
        let sources: Vec<_> = key_move.sources(draft.ledger()).map(|(name, _)| name).collect();
        for name in sources {
            draft.ledger_changes.proven(name, draft.now_ms);
        }
        row.finish(RotationState::Done, draft.now_ms);
    } else if records > 0 {
        // Records that came meanwhile, by an import say, are moved as well.
        row.proving = false;
        row.cursor = None;
        row.resealed_before_pass = row.rows_resealed;
    } else {
        row.fail(RotationFault::Unproven, draft.now_ms);
    }
}
