//! The proving pass: every row read again, every record opened and every alias verified, to show that nothing is left
//! under the keys that records were moved from.
//!
//! What is written while it goes on is known from the books, which change with every commit: a key is proven unneeded
//! where the pass found nothing under it and the books, at its end, have nothing under it either. So nothing escapes that
//! comes behind the pass.

use super::{
    KeyMove, RotationId,
    step::{RotationTransition, StepProgress},
};
use crate::{
    Vault, VaultError,
    paged_scan::PagedScan,
    record_count::{Census, CensusCount},
};
use masker_store::record::{RotationRow, RowName};

/// How far a proving pass is. It begins anew after a restart.
pub(super) struct ProofScan {
    records: PagedScan,
    aliases: PagedScan,
    count: CensusCount,
}

impl Default for ProofScan {
    fn default() -> Self {
        ProofScan {
            records: PagedScan::new(RowName::RECORDS),
            aliases: PagedScan::new(RowName::ALIASES),
            count: CensusCount::default(),
        }
    }
}

impl ProofScan {
    /// Whether it found nothing that is left under the keys of this route, and nothing that could hide it.
    fn proves(&self, route: &KeyMove) -> bool {
        let outcome = &self.count.outcome;
        let left = self.count.by_key.iter().any(|(name, counts)| route.leaves(*name) && *counts != (0, 0));
        !left && outcome.damaged_records == 0 && outcome.damaged_aliases == 0
    }
}

impl Vault {
    /// Reads some rows of the proving pass; at its end, ends the rotation.
    pub(super) async fn prove_rotation(&self, id: RotationId, row: &RotationRow) -> Result<StepProgress, VaultError> {
        let mut pass = self.shared.rotations.take_proof_scan(id);
        let store = self.shared.store.as_ref();
        let keys = self.shared.keys.load_full();
        let mut census = Census::resume(store, &keys.ring, std::mem::take(&mut pass.count));
        let mut read = None;
        if let Some(rows) = pass.records.next(store).await? {
            census.records(&rows).await?;
            read = Some(rows.len());
        } else if let Some(rows) = pass.aliases.next(store).await? {
            census.aliases(&rows).await?;
            read = Some(rows.len());
        }
        pass.count = census.count;
        match read {
            Some(read) => {
                self.shared.rotations.set_proof_scan(id, pass);
                Ok(StepProgress::Read(read))
            }
            None => {
                let proven = RotationTransition::Proven(pass.proves(&KeyMove::of(row)));
                // It may have been cancelled meanwhile, which ends it as well.
                drop(self.transition(id, proven).await?);
                Ok(StepProgress::Read(0))
            }
        }
    }
}
