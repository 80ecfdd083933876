//! A rotation's changes: a step is compared with what the vault holds now, and written with the rotation's progress.

use std::collections::{HashMap, HashSet};

use super::{error::RotationError, key_move::KeyMove, reseal::ResealedRecord};
use crate::{
    ids::RotationId,
    index_list::{self, IndexEntry},
    records::RecordIndexes,
    writer::{Change, CommitDraft, ReadPlan},
};
use masker_core::crypto::{Index, TokenId};
use masker_store::{
    RowKey,
    record::{Record, ResealFailure, RotationFault, RotationRow, RotationState, StepResult},
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

impl Change for RotationStep {
    type Outcome = StepOutcome;

    /// Moving a record replaces it, and rewrites two index rows under each key.
    fn row_count(&self) -> usize {
        5 * self.resealed.len()
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        for resealed in &self.resealed {
            plan.record_with_indexes(resealed.id);
            resealed.sources.iter().for_each(|index| plan.value_index(*index));
            let indexes = RecordIndexes::of(&resealed.after);
            indexes.value.into_iter().for_each(|index| plan.value_index(index));
            indexes.form.into_iter().for_each(|index| plan.form_index(index));
        }
    }

    /// Adds the step, unless since it was prepared the keys have changed, its rotation has ended, or a value of which it moves
    /// records has got another one: all of them must move together.
    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> StepOutcome {
        let rotation = draft.ledger().rotations.get(&self.rotation).filter(|row| row.is_running()).cloned();
        let Some(mut row) = rotation.filter(|_| self.epoch == draft.keyring().epoch() && self.is_complete(draft))
        else {
            return StepOutcome::Stale;
        };
        let mut failed = self.failed.clone();
        let mut resealed = 0;
        // Entries that this step has added to each value's row: other entries there are of other tokens.
        let mut added: HashMap<Index, usize> = HashMap::new();
        let mut conflicts = 0;
        for one in &self.resealed {
            match move_record(draft, one, &mut added) {
                Ok(Some(conflict)) => {
                    resealed += 1;
                    conflicts += u64::from(conflict);
                }
                // A record that was erased or changed since is skipped: where it matters, another pass finds it.
                Ok(None) => {}
                Err(why) => failed.push((one.id, why)),
            }
        }
        let (left, _) = KeyMove::of(&row).remaining(draft.ledger());
        let step = StepResult {
            resealed,
            conflicts,
            failed: failed.iter().map(|(id, why)| (*id.as_bytes(), *why)).collect(),
            cursor: self.cursor.map(|id| *id.as_bytes()),
        };
        row.record_step(step, left, draft.now_ms);
        draft.ledger_changes.set_rotation(self.rotation, Some(row));
        StepOutcome::Written
    }
}

impl RotationStep {
    /// Returns whether the step has visited every record of each value of which it moves one.
    fn is_complete(&self, draft: &CommitDraft<'_>) -> bool {
        let moved = self.resealed.iter().map(|one| one.id);
        let visited: HashSet<TokenId> = moved.chain(self.failed.iter().map(|(id, _)| *id)).collect();
        self.resealed.iter().all(|one| {
            let live = |index: &Index| {
                let row = draft.row(&TokenId::row_key(*index)).and_then(|row| index_list::decode::<TokenId>(row));
                let listed = row.map(|row| index_list::entries(&row)).unwrap_or_default().into_iter();
                listed.filter(|id| draft.is_live_id(*index, *id)).collect::<Vec<TokenId>>()
            };
            let listed: Vec<TokenId> = one.sources.iter().flat_map(live).collect();
            // If no row lists it, the check reports that, and it is moved alone.
            !listed.contains(&one.id) || listed.iter().all(|id| visited.contains(id))
        })
    }
}

/// Moves a record. Returns whether its value has another token under the target key, which a search finds first; `None` if
/// the store has another row by now.
fn move_record(
    draft: &mut CommitDraft<'_>,
    one: &ResealedRecord,
    added: &mut HashMap<Index, usize>,
) -> Result<Option<bool>, ResealFailure> {
    if draft.row(&RowKey::record(one.id.as_bytes())) != Some(&one.before) {
        return Ok(None);
    }
    let (Ok(before), Some(keys)) = (Record::decode(&one.before), one.target_keys(draft.keyring())) else {
        return Ok(None);
    };
    let mut conflict = false;
    if let Some(index) = RecordIndexes::of(&one.after).value {
        // A row that does not verify is damage, which the record must not be lost to.
        let listed = draft.entries::<TokenId>(keys, index).map_err(|_| ResealFailure::IndexDamaged)?;
        let live = listed.into_iter().filter(|id| draft.is_live_id(index, *id)).count();
        let own = added.entry(index).or_default();
        conflict = live > *own;
        *own += 1;
    }
    match draft.move_record(keys, one.id, &before, &one.after, one.normalizer.name()) {
        Ok(Ok(())) => Ok(Some(conflict)),
        Ok(Err(_)) => Err(ResealFailure::IndexFull),
        Err(_) => Err(ResealFailure::IndexDamaged),
    }
}

/// A transition of one rotation.
pub(super) struct TransitionChange {
    pub(super) id: RotationId,
    pub(super) transition: RotationTransition,
}

impl Change for TransitionChange {
    type Outcome = Result<(), RotationError>;

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
    draft.ledger_changes.note_kid_move(row.source_kid, row.target_kid);
    draft.ledger_changes.set_rotation(id, Some(RotationRow { rows_total: left, ..row.clone() }));
    Ok(())
}

/// Ends a rotation after its proving pass. The ledger decides: it counts what was written behind the pass.
fn prove(draft: &mut CommitDraft<'_>, row: &mut RotationRow, found_nothing: bool) {
    let key_move = KeyMove::of(row);
    let (records, index_rows) = key_move.remaining(draft.ledger());
    if found_nothing && records == 0 && index_rows == 0 {
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
