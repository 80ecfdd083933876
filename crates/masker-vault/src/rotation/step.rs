//! One bounded step of a rotation: some records read, sealed again, and written with how far it has come.

use super::{
    KeyMove, RotationId,
    reseal::{ResealPlan, ResealedRecord, plan},
};
use crate::{Vault, VaultError, parallel_map};
use masker_core::{crypto::TokenId, keyring::Keyring};
use masker_store::{
    Row, RowKey, RowPage, StoreError,
    record::{Alias, ResealFailure, RotationRow, RowName},
};
use masker_types::kind::Kid;

/// How much one step may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepBudget {
    /// Records that it reads at most; at least 1.
    pub records: usize,
}

/// A change of how a rotation stands that moves no records.
pub(crate) enum RotationTransition {
    /// It begins. Refused while another one runs.
    Begin(Box<RotationRow>),
    /// An operator ends it.
    Cancel,
    /// The key that it moves records to is not the active one of its kid any more.
    TargetReplaced,
    /// The proving pass found nothing left, or something.
    Proven(bool),
}

/// What a step has prepared for the writer.
pub(crate) struct RotationStep {
    pub(crate) rotation: RotationId,
    /// The keyring that it was prepared under.
    pub(crate) epoch: u64,
    pub(crate) resealed: Vec<ResealedRecord>,
    pub(crate) failed: Vec<(TokenId, ResealFailure)>,
    /// The last record that was visited; `None` where there is none after it: the pass is over.
    pub(crate) cursor: Option<TokenId>,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepOutcome {
    /// It is durable.
    Written,
    /// The keys changed since it was prepared, or the rotation has ended: nothing was written.
    Stale,
}

/// What a pass over some records found.
pub(super) struct VisitedRecords {
    pub(super) resealed: Vec<ResealedRecord>,
    pub(super) failed: Vec<(TokenId, ResealFailure)>,
    pub(super) cursor: Option<TokenId>,
    /// Records read.
    pub(super) read: usize,
    /// Records whose index seems to belong to another: the writer has the last word.
    pub(super) conflicts: u64,
}

/// Records visited ahead, while those before them were being written.
pub(super) struct Prefetched {
    rotation: RotationId,
    epoch: u64,
    /// The record that they come after.
    after: Option<[u8; 16]>,
    /// As of [`Vault::visit`].
    visited: Option<VisitedRecords>,
}

/// What a step of the driver came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepProgress {
    /// There is nothing to do.
    Idle,
    /// So many rows were read.
    Read(usize),
}

impl Vault {
    /// The rotation that runs, if any.
    pub(super) fn running(&self) -> Option<(RotationId, RotationRow)> {
        let ledger = self.shared.ledger.load();
        ledger.rotations.iter().find(|(_, row)| row.is_running()).map(|(id, row)| (*id, row.clone()))
    }

    /// Does one step of the rotation that runs: moves some records, or reads some rows of the proving pass.
    pub(super) async fn step_rotation(&self, budget: StepBudget) -> Result<StepProgress, VaultError> {
        self.finish_pending_commits().await?;
        let Some((id, row)) = self.running() else { return Ok(StepProgress::Idle) };
        if row.proving {
            return self.prove_rotation(id, &row).await;
        }
        let keys = self.shared.keys.load_full();
        let epoch = keys.ring.epoch();
        let ahead = self.shared.rotations.take_prefetched();
        let visited = match ahead.filter(|ahead| (ahead.rotation, ahead.epoch, ahead.after) == (id, epoch, row.cursor))
        {
            Some(ahead) => ahead.visited,
            None => self.visit(&keys.ring, &row, budget).await?,
        };
        let Some(visited) = visited else {
            let replaced = self.transition(id, RotationTransition::TargetReplaced).await?;
            // It may have been cancelled meanwhile, which ends it as well.
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
        let ahead = async {
            match next {
                Some(_) => self.visit(&keys.ring, &next_row, budget).await.map(Some),
                None => Ok(None),
            }
        };
        let (written, ahead) = tokio::join!(self.writer.commit(step), ahead);
        if let (Ok(StepOutcome::Written), Ok(Some(visited))) = (&written, ahead) {
            self.shared.rotations.set_prefetched(Prefetched { rotation: id, epoch, after: next, visited });
        }
        match written? {
            StepOutcome::Written => {
                self.shared.metrics.rotation_rows.inc_by(moved as u64);
                Ok(StepProgress::Read(read))
            }
            StepOutcome::Stale => Ok(StepProgress::Read(0)),
        }
    }

    /// Reads the next records of a rotation and seals again those that are to be moved. `None` where the target is not
    /// the active key of its kid.
    pub(super) async fn visit(
        &self,
        ring: &Keyring,
        row: &RotationRow,
        budget: StepBudget,
    ) -> Result<Option<VisitedRecords>, VaultError> {
        let route = KeyMove::of(row);
        let (kid, fingerprint): (Kid, _) = route.target;
        let active = ring.get(kid).map(|pair| pair.active());
        let Some(target) = active.filter(|active| active.fingerprint() == fingerprint) else { return Ok(None) };

        let after = row.cursor.map(|id| RowKey::record(&id));
        let RowPage { rows, end } =
            self.shared.store.scan_after(RowName::RECORDS, after, budget.records.max(1)).await?;
        let now_ms = self.now_ms();
        let read = rows.len();
        let rows: Vec<(TokenId, Row)> =
            rows.into_iter().map(|(key, row)| Ok((record_id(&key)?, row))).collect::<Result<_, StoreError>>()?;
        let plans =
            parallel_map::map(&rows, |(id, row)| plan(ring, &route, target, *id, row, now_ms, &mut rand::rng()));
        let cursor = if end { None } else { rows.last().map(|(id, _)| *id) };
        let mut visited = VisitedRecords { resealed: Vec::new(), failed: Vec::new(), cursor, read, conflicts: 0 };
        for plan in plans {
            match plan {
                ResealPlan::Leave => {}
                ResealPlan::Reseal(resealed) => visited.resealed.push(*resealed),
                ResealPlan::Fail(id, why) => visited.failed.push((id, why)),
            }
        }
        // The writer asks again, and then it is in the store's memory: nothing else reads these rows.
        visited.conflicts = self.conflicts(&visited).await?;
        Ok(Some(visited))
    }

    /// How many of these records would get no alias, because their index belongs to another.
    async fn conflicts(&self, visited: &VisitedRecords) -> Result<u64, VaultError> {
        let indexed: Vec<_> = visited.resealed.iter().filter_map(|one| Some((one.id, one.alias.as_ref()?.0))).collect();
        let keys =
            indexed.iter().flat_map(|(_, index)| [RowKey::record(index.as_bytes()), RowKey::alias(index.as_bytes())]);
        let mut rows = self.shared.store.get_many(keys.collect()).await?.into_iter();
        let mut conflicts = 0;
        for (id, _) in indexed {
            let (record, alias) = (rows.next().flatten(), rows.next().flatten());
            let others =
                alias.is_some_and(|row| Alias::decode(&row).map_or(true, |alias| alias.target != *id.as_bytes()));
            conflicts += u64::from(record.is_some() || others);
        }
        Ok(conflicts)
    }
}

fn record_id(key: &RowKey) -> Result<TokenId, StoreError> {
    match RowName::parse(key) {
        Ok(RowName::Record(id)) => Ok(TokenId::from_bytes(id)),
        _ => Err(StoreError::Damaged("a record stands under a key that is none".to_owned())),
    }
}
