//! The writer's part of a rotation: a step is held against what the vault holds now, and written with how far the
//! rotation has come.

use std::collections::HashMap;

use super::commit_group::CommitGroup;
use crate::{
    VaultError, VaultShared,
    rotation::{KeyMove, ResealedRecord, RotationError, RotationId, RotationStep, RotationTransition, StepOutcome},
};
use masker_core::crypto::TokenId;
use masker_store::{
    Precondition, Row, RowChange, RowKey,
    record::{Alias, Record, RotationFault, RotationRow, RotationState, StepDone},
};

/// Rotations that are remembered after their end.
const ENDED_KEPT_MAX: usize = 20;

/// What the vault holds under the keys that a step is about.
pub(super) struct StoredRows(HashMap<RowKey, Row>);

impl StoredRows {
    pub(super) async fn read(
        shared: &VaultShared,
        steps: impl Iterator<Item = &RotationStep>,
    ) -> Result<Self, VaultError> {
        let keys: Vec<RowKey> = steps.flat_map(|step| &step.resealed).flat_map(row_keys).collect();
        if keys.is_empty() {
            return Ok(StoredRows(HashMap::new()));
        }
        let rows = shared.store.get_many(keys.clone()).await?;
        Ok(StoredRows(keys.into_iter().zip(rows).filter_map(|(key, row)| Some((key, row?))).collect()))
    }
}

fn row_keys(resealed: &ResealedRecord) -> impl Iterator<Item = RowKey> {
    let indexed = resealed.alias.as_ref().map(|(index, _)| *index.as_bytes());
    let index = indexed.into_iter().flat_map(|index| [RowKey::record(&index), RowKey::alias(&index)]);
    std::iter::once(RowKey::record(resealed.id.as_bytes())).chain(index)
}

impl CommitGroup<'_> {
    /// Adds a step, unless the keys have changed since it was prepared or its rotation has ended.
    pub(super) fn step(&mut self, step: &RotationStep, stored: &StoredRows) -> StepOutcome {
        let rotation = self.draft.ledger.rotations.get(&step.rotation).filter(|row| row.is_running()).cloned();
        let Some(mut row) = rotation.filter(|_| step.epoch == self.keyring.epoch()) else { return StepOutcome::Stale };
        let (mut resealed, mut conflicts) = (0, 0);
        for one in &step.resealed {
            // A record that was erased since, or changed, is left: where it matters, another pass finds it.
            if !self.is_unchanged(one, stored) {
                continue;
            }
            let Ok(before) = Record::decode(&one.before) else { continue };
            let mut after = one.after.clone();
            if let Some((index, alias)) = &one.alias {
                if self.is_taken(one.id, *index, stored) {
                    after.alias = None;
                    conflicts += 1;
                } else {
                    let key = RowKey::alias(index.as_bytes());
                    self.changes.insert(key.clone(), RowChange::Put(key, alias.encode()));
                }
            }
            if let Some(replaced) = before.alias.filter(|replaced| Some(*replaced) != after.alias) {
                let key = RowKey::alias(&replaced);
                self.changes.insert(key.clone(), RowChange::Remove(key));
            }
            let key = RowKey::record(one.id.as_bytes());
            self.preconditions.push(Precondition::Equals(key.clone(), one.before.clone()));
            self.changes.insert(key.clone(), RowChange::Put(key, after.encode()));
            self.draft.resealed(&before, &after);
            // Readers need not wait: the record says the same under either key.
            self.records.insert(one.id, Some(after));
            resealed += 1;
        }
        let (left, _) = KeyMove::of(&row).remaining(&self.draft.ledger);
        let done = StepDone {
            resealed,
            conflicts,
            failed: step.failed.iter().map(|(id, why)| (*id.as_bytes(), *why)).collect(),
            cursor: step.cursor.map(|id| *id.as_bytes()),
        };
        row.step_done(done, left, self.now_ms);
        self.draft.set_rotation(step.rotation, Some(row));
        StepOutcome::Written
    }

    fn is_unchanged(&self, one: &ResealedRecord, stored: &StoredRows) -> bool {
        let key = RowKey::record(one.id.as_bytes());
        !self.records.contains_key(&one.id) && stored.0.get(&key) == Some(&one.before)
    }

    /// Whether the index of a new alias belongs to another record: the one there wins.
    fn is_taken(&self, id: TokenId, index: TokenId, stored: &StoredRows) -> bool {
        let key = RowKey::record(index.as_bytes());
        let record_row = self.records.get(&index).map_or(stored.0.contains_key(&key), Option::is_some);
        let key = RowKey::alias(index.as_bytes());
        let alias = match self.changes.get(&key) {
            Some(RowChange::Put(_, row)) => Some(row),
            Some(RowChange::Remove(_)) => None,
            None => stored.0.get(&key),
        };
        // One that does not decode is damage: it is left for the check to find.
        let leads_elsewhere = |row: &Row| Alias::decode(row).map_or(true, |alias| alias.target != *id.as_bytes());
        record_row || alias.is_some_and(leads_elsewhere)
    }

    /// Changes how a rotation stands.
    pub(super) fn transition(&mut self, id: RotationId, transition: &RotationTransition) -> Result<(), RotationError> {
        if let RotationTransition::Begin(row) = transition {
            return self.begin_rotation(id, row);
        }
        let row = self.draft.ledger.rotations.get(&id).ok_or(RotationError::NotFound)?;
        let mut row = Some(row.clone()).filter(RotationRow::is_running).ok_or(RotationError::Ended(id))?;
        match transition {
            RotationTransition::Begin(_) => {}
            RotationTransition::Cancel => row.end(RotationState::Cancelled, self.now_ms),
            RotationTransition::TargetReplaced => row.fail(RotationFault::TargetReplaced, self.now_ms),
            RotationTransition::Proven(found_nothing) => self.prove(&mut row, *found_nothing),
        }
        self.draft.set_rotation(id, Some(row));
        Ok(())
    }

    fn begin_rotation(&mut self, id: RotationId, row: &RotationRow) -> Result<(), RotationError> {
        let rotations = &self.draft.ledger.rotations;
        if let Some((running, _)) = rotations.iter().find(|(_, row)| row.is_running()) {
            return Err(RotationError::Running(*running));
        }
        let forgotten: Vec<RotationId> =
            rotations.keys().copied().take((rotations.len() + 1).saturating_sub(ENDED_KEPT_MAX)).collect();
        for ended in forgotten {
            self.draft.set_rotation(ended, None);
        }
        let (left, _) = KeyMove::of(row).remaining(&self.draft.ledger);
        self.draft.set_rotation(id, Some(RotationRow { rows_total: left, ..row.clone() }));
        Ok(())
    }

    /// Ends a rotation after its proving pass. The books have the last word: they know what came behind the pass.
    fn prove(&mut self, row: &mut RotationRow, found_nothing: bool) {
        let route = KeyMove::of(row);
        let (records, aliases) = route.remaining(&self.draft.ledger);
        if found_nothing && records == 0 && aliases == 0 {
            let sources: Vec<_> = route.sources(&self.draft.ledger).map(|(name, _)| name).collect();
            for name in sources {
                self.draft.proven(name, self.now_ms);
            }
            row.end(RotationState::Done, self.now_ms);
        } else if records > 0 {
            // What came meanwhile, by an import say, is moved as well.
            row.proving = false;
            row.cursor = None;
            row.resealed_before_pass = row.rows_resealed;
        } else {
            row.fail(RotationFault::Unproven, self.now_ms);
        }
    }
}
