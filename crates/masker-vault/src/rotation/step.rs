//! One bounded step of a rotation: reads some records, seals them again, and writes them with the rotation's progress.

use super::{
    change::{RotationStep, RotationTransition, StepOutcome},
    key_move::KeyMove,
    reseal::{ResealPlan, plan},
    service::RotationService,
    tracker::{Prefetched, VisitedRecords},
};
use crate::{VaultError, ids::RotationId, parallel_map, time};
use masker_core::{crypto::TokenId, keyring::Keyring};
use masker_store::{
    Row, RowKey, RowPage, StoreError,
    record::{Alias, RotationRow, RowName},
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
pub(super) enum StepProgress {
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
    pub(super) async fn step_rotation(&self, budget: StepBudget) -> Result<StepProgress, VaultError> {
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
        let step = RotationStep {
            rotation: id,
            epoch,
            resealed: visited.resealed,
            failed: visited.failed,
            cursor: visited.cursor,
        };
        let (moved, next) = (step.resealed.len(), step.cursor.map(|id| *id.as_bytes()));
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

    /// Reads the next records of a rotation and seals those that must be moved. Returns `None` if the target is not the
    /// active key of its kid.
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
        let plans =
            parallel_map::map(&rows, |(id, row)| plan(ring, &key_move, target, *id, row, now_ms, &mut rand::rng()));
        let cursor = if is_last { None } else { rows.last().map(|(id, _)| *id) };
        let mut visited = VisitedRecords { resealed: Vec::new(), failed: Vec::new(), cursor, read, conflicts: 0 };
        for plan in plans {
            match plan {
                ResealPlan::Leave => {}
                ResealPlan::Reseal(resealed) => visited.resealed.push(*resealed),
                ResealPlan::Fail(id, why) => visited.failed.push((id, why)),
            }
        }
        // The writer reads these rows again, from the store's cache by then.
        visited.conflicts = self.conflicts(&visited).await?;
        Ok(Some(visited))
    }

    /// Counts the records that would get no alias because their index belongs to another record.
    async fn conflicts(&self, visited: &VisitedRecords) -> Result<u64, VaultError> {
        let indexed: Vec<_> = visited.resealed.iter().filter_map(|one| Some((one.id, one.alias.as_ref()?.0))).collect();
        let keys =
            indexed.iter().flat_map(|(_, index)| [RowKey::record(index.as_bytes()), RowKey::alias(index.as_bytes())]);
        let mut rows = self.reader.store().get_many(keys.collect()).await?.into_iter();
        let mut conflicts = 0;
        for (id, _) in indexed {
            let (record, alias) = (rows.next().flatten(), rows.next().flatten());
            let leads_elsewhere =
                alias.is_some_and(|row| Alias::decode(&row).map_or(true, |alias| alias.target != *id.as_bytes()));
            conflicts += u64::from(record.is_some() || leads_elsewhere);
        }
        Ok(conflicts)
    }
}

fn record_id(key: &RowKey) -> Result<TokenId, StoreError> {
    match RowName::parse(key) {
        Ok(RowName::Record(id)) => Ok(TokenId::from_bytes(id)),
        _ => Err(StoreError::Damaged("a record has a row key that is not a record's".to_owned())),
    }
}
