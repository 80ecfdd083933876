//! One bounded step of a rotation: reads some records, seals them again, and writes them with the rotation's progress.

use super::{
    change::{RotationStep, RotationTransition, StepOutcome},
    equal_values::{listed_ids, moving_together},
    key_move::KeyMove,
    move_set::MoveSet,
    reseal::{VisitedRecord, reseal},
    service::RotationService,
    tracker::{Prefetched, VisitedRecords},
};
use crate::{VaultError, ids::RotationId, parallel_map, time};
use masker_core::{
    crypto::{Index, TokenId},
    keyring::Keyring,
};
use masker_store::{
    Row, RowKey, RowPage, StoreError,
    record::{Record, ResealFailure, RotationRow, RowName},
};
use masker_types::kind::Kid;

/// The most work of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepBudget {
    /// The most records that it reads; at least 1.
    pub records: usize,
}

/// The result of a step for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepProgress {
    /// There is nothing to do.
    Idle,
    /// The step read so many rows.
    Read(usize),
}

impl RotationService {
    /// Returns the rotation that runs, if any.
    pub(super) fn running(&self) -> Option<(RotationId, RotationRow)> {
        let ledger = self.ledger.load();
        ledger.rotations.iter().find(|(_, row)| row.is_running()).map(|(id, row)| (*id, row.clone()))
    }

    /// Steps the rotation that runs: moves some records, or reads some rows of the proving pass.
    pub(crate) async fn step_rotation(&self, budget: StepBudget) -> Result<StepProgress, VaultError> {
        self.writer.sync_ledger().await?;
        let Some((id, row)) = self.running() else { return Ok(StepProgress::Idle) };
        if row.proving {
            return self.prove_rotation(id, &row).await;
        }
        let keys = self.keys.load_full();
        let epoch = keys.ring.epoch();
        let prefetched = self.tracker.take_prefetched();
        let visited = match prefetched.filter(|next| (next.rotation, next.epoch, next.after) == (id, epoch, row.cursor))
        {
            Some(prefetched) => prefetched.visited,
            None => self.visit(&keys.ring, &row, budget).await?,
        };
        let Some(visited) = visited else {
            let replaced = self.transition(id, RotationTransition::TargetReplaced).await?;
            // Fails only if the rotation was cancelled meanwhile, which ends it as well.
            drop(replaced);
            return Ok(StepProgress::Read(0));
        };
        let read = visited.read;
        let VisitedRecords { resealed, failed, cursor, .. } = visited;
        let records = MoveSet { key_move: KeyMove::of(&row), epoch, resealed, failed };
        let step = RotationStep { rotation: id, records, cursor };
        let (moved, next) = (step.records.resealed.len(), cursor.map(|id| *id.as_bytes()));
        let next_row = RotationRow { cursor: next, ..row };
        let visit_next = async {
            match next {
                Some(_) => self.visit(&keys.ring, &next_row, budget).await.map(Some),
                None => Ok(None),
            }
        };
        let (written, next_visited) = tokio::join!(self.writer.commit(step), visit_next);
        if let (Ok(StepOutcome::Written), Ok(Some(visited))) = (&written, next_visited) {
            self.tracker.set_prefetched(Prefetched { rotation: id, epoch, after: next, visited });
        }
        match written? {
            StepOutcome::Written => {
                self.counters.metrics().rotation_rows.inc_by(moved as u64);
                Ok(StepProgress::Read(read))
            }
            StepOutcome::Stale => Ok(StepProgress::Read(0)),
        }
    }

    /// Reads the next records of a rotation and seals those that must be moved. Returns `None` if the target is not the active
    /// key of its kid.
    pub(super) async fn visit(
        &self,
        ring: &Keyring,
        row: &RotationRow,
        budget: StepBudget,
    ) -> Result<Option<VisitedRecords>, VaultError> {
        let key_move = KeyMove::of(row);
        let (kid, fingerprint): (Kid, _) = key_move.target;
        let active = ring.get(kid).map(|pair| pair.active());
        let Some(target) = active.filter(|active| active.fingerprint() == fingerprint) else { return Ok(None) };

        let after = row.cursor.map(|id| RowKey::record(&id));
        let RowPage { rows, is_last } =
            self.reader.store().scan_after(RowName::RECORDS, after, budget.records.max(1)).await?;
        let now_ms = time::unix_ms(&self.clock);
        let read = rows.len();
        let rows: Vec<(TokenId, Row)> =
            rows.into_iter().map(|(key, row)| Ok((record_id(&key)?, row))).collect::<Result<_, StoreError>>()?;
        let cursor = if is_last { None } else { rows.last().map(|(id, _)| *id) };
        let mut visited = VisitedRecords { resealed: Vec::new(), failed: Vec::new(), cursor, read };
        let generations = key_move.searched(ring);
        let visit = |(id, row): &(TokenId, Row)| match Record::decode(row) {
            Ok(record) if key_move.moves(&record) => {
                Some(Ok(VisitedRecord::new(ring, &generations, *id, row.clone(), &record)))
            }
            Ok(_) => None,
            Err(_) => Some(Err((*id, ResealFailure::Undecodable))),
        };
        let mut to_move = Vec::new();
        for record in parallel_map::map(&rows, visit).into_iter().flatten() {
            match record {
                Ok(record) => to_move.push(record),
                Err(failed) => visited.failed.push(failed),
            }
        }
        let to_move = self.with_equal_values(key_move, to_move).await?;
        let reseal = |record: &VisitedRecord| (record.id, reseal(ring, target, record, now_ms, &mut rand::rng()));
        for (id, resealed) in parallel_map::map(&to_move, reseal) {
            match resealed {
                Ok(resealed) => visited.resealed.push(resealed),
                Err(why) => visited.failed.push((id, why)),
            }
        }
        Ok(Some(visited))
    }

    /// Puts all records of one value, in the order in which a search finds them, in the place of the first, so that one batch
    /// moves them in that order. Those that are not the first are left to the visit of the first.
    async fn with_equal_values(
        &self,
        key_move: KeyMove,
        records: Vec<VisitedRecord>,
    ) -> Result<Vec<VisitedRecord>, StoreError> {
        let store = self.reader.store();
        let values: Vec<&[Index]> = records.iter().map(|record| record.sources.as_slice()).collect();
        let listed = listed_ids(store, &values).await?;
        let mut all = Vec::with_capacity(records.len());
        for (record, listed) in records.into_iter().zip(listed) {
            if listed.len() < 2 {
                all.push(record);
                continue;
            }
            let live = moving_together(store, key_move, &record.sources, listed).await?;
            let is_visited =
                |one: &&VisitedRecord| Record::decode(&one.row).is_ok_and(|record| key_move.moves(&record));
            match live.iter().find(is_visited) {
                Some(first) if first.id == record.id => all.extend(live),
                Some(_) if live.iter().any(|other| other.id == record.id) => {}
                // Its row does not list it: the check reports that, and the rotation must not leave it behind.
                _ => all.push(record),
            }
        }
        Ok(all)
    }
}

fn record_id(key: &RowKey) -> Result<TokenId, StoreError> {
    match RowName::parse(key) {
        Ok(RowName::Record(id)) => Ok(TokenId::from_bytes(id)),
        _ => Err(StoreError::Damaged("a record has a row key that is not a record's".to_owned())),
    }
}
