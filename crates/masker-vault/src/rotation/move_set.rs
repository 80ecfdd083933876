//! Records that move to another key together, in one batch.

use std::collections::{HashMap, HashSet};

use super::{key_move::KeyMove, reseal::ResealedRecord};
use crate::{
    index_list::{self, IndexEntry},
    records::RecordIndexes,
    writer::{Change, CommitDraft, Lane, ReadPlan},
};
use masker_core::crypto::{Index, TokenId};
use masker_store::{
    RowKey,
    record::{Record, ResealFailure},
};

/// Records sealed again for another key, with all others of each value that move with them.
pub(crate) struct MoveSet {
    pub(crate) key_move: KeyMove,
    /// The keyring that it was prepared under.
    pub(crate) epoch: u64,
    pub(crate) resealed: Vec<ResealedRecord>,
    pub(crate) failed: Vec<(TokenId, ResealFailure)>,
}

/// What was written of a set.
#[derive(Default)]
pub(crate) struct MovedRecords {
    pub(crate) resealed: u64,
    /// Records whose value has another token under the target key, which a search finds first.
    pub(crate) conflicts: u64,
    pub(crate) failed: Vec<(TokenId, ResealFailure)>,
}

/// Moves the records. The outcome is `None` if they were not as prepared, and then nothing is written.
impl Change for MoveSet {
    type Outcome = Option<MovedRecords>;

    /// Moving a record replaces it, and rewrites two index rows under each key.
    fn row_count(&self) -> usize {
        5 * self.resealed.len()
    }

    fn lane(&self) -> Lane {
        Lane::Background
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

    /// Returns `None` if since the set was prepared the keys have changed or a value of which it moves records has got another
    /// one: all of them must move together.
    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Option<MovedRecords> {
        if self.epoch != draft.keyring().epoch() || !self.is_complete(draft) {
            return None;
        }
        let mut moved = MovedRecords { failed: self.failed.clone(), ..MovedRecords::default() };
        // Entries that this set has added to each value's row from one list: other entries there are of other tokens.
        let mut added: HashMap<Index, usize> = HashMap::new();
        for one in &self.resealed {
            match self.move_record(draft, one, &mut added) {
                Ok(Some(conflict)) => {
                    moved.resealed += 1;
                    moved.conflicts += u64::from(conflict);
                }
                // A record that was erased or changed since is skipped: where it matters, another pass finds it.
                Ok(None) => {}
                Err(why) => moved.failed.push((one.id, why)),
            }
        }
        Some(moved)
    }
}

impl MoveSet {
    /// Returns whether the set has every record of each value of which it moves one.
    fn is_complete(&self, draft: &CommitDraft<'_>) -> bool {
        let moved = self.resealed.iter().map(|one| one.id);
        let visited: HashSet<TokenId> = moved.chain(self.failed.iter().map(|(id, _)| *id)).collect();
        self.resealed.iter().all(|one| {
            let live = |index: &Index| {
                let row = draft.row(&TokenId::row_key(*index)).and_then(|row| index_list::decode::<TokenId>(row));
                let listed = row.map(|row| index_list::entries(&row)).unwrap_or_default().into_iter();
                let moves_along = |id: &TokenId| {
                    let row = draft.row(&RowKey::record(id.as_bytes()));
                    row.is_some_and(|row| self.key_move.takes_along(row, *index))
                };
                listed.filter(moves_along).collect::<Vec<TokenId>>()
            };
            let listed: Vec<TokenId> = one.sources.iter().flat_map(live).collect();
            // If no row lists it, the check reports that, and it is moved alone.
            !listed.contains(&one.id) || listed.iter().all(|id| visited.contains(id))
        })
    }

    /// Moves a record. Returns whether its value has another token under the target key, which a search finds first; `None`
    /// if the store has another row by now.
    fn move_record(
        &self,
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
            conflict = live > added.get(&index).copied().unwrap_or(0);
        }
        match draft.move_record(keys, one.id, &before, &one.after, one.normalizer.name()) {
            Ok(Ok(())) => {
                if let Some(index) = RecordIndexes::of(&one.after).value.filter(|_| self.key_move.moves(&before)) {
                    *added.entry(index).or_default() += 1;
                }
                Ok(Some(conflict))
            }
            Ok(Err(_)) => Err(ResealFailure::IndexFull),
            Err(_) => Err(ResealFailure::IndexDamaged),
        }
    }
}
