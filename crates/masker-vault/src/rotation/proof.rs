//! The proving pass: reads every row again, opens every record and verifies every index row, to show that nothing is left under
//! the keys that records were moved from.
//!
//! The ledger counts what is written behind the pass. A key is proven unneeded if the pass found nothing under it and the
//! ledger, at its end, counts nothing under it either.

use super::{change::RotationTransition, key_move::KeyMove, service::RotationService, step::StepProgress};
use crate::{VaultError, ids::RotationId, record_count::Census};
use masker_core::crypto::{MatchPart, TokenId};
use masker_store::record::RotationRow;

impl RotationService {
    /// Reads some rows of the proving pass. At its end, ends the rotation.
    pub(super) async fn prove_rotation(&self, id: RotationId, row: &RotationRow) -> Result<StepProgress, VaultError> {
        let mut pass = self.tracker.take_proof_scan(id);
        let store = self.reader.store();
        let keys = self.keys.load_full();
        let mut census = Census::resume(store, &keys.ring, std::mem::take(&mut pass.count));
        let mut read = None;
        if let Some(rows) = pass.records.next(store).await? {
            census.records(&rows).await?;
            read = Some(rows.len());
        } else if let Some(rows) = pass.value_indexes.next(store).await? {
            census.index_rows::<TokenId>(&rows).await?;
            read = Some(rows.len());
        } else if let Some(rows) = pass.form_indexes.next(store).await? {
            census.index_rows::<MatchPart>(&rows).await?;
            read = Some(rows.len());
        }
        pass.count = census.count;
        match read {
            Some(read) => {
                self.tracker.set_proof_scan(id, pass);
                Ok(StepProgress::Read(read))
            }
            None => {
                let proven = RotationTransition::Proven(pass.finding(&KeyMove::of(row)));
                // Fails only if the rotation was cancelled meanwhile, which ends it as well.
                drop(self.transition(id, proven).await?);
                Ok(StepProgress::Read(0))
            }
        }
    }
}
