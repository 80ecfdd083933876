//! The proving pass: reads every row again, opens every record and verifies every index row, to show that nothing is left under
//! the keys that records were moved from.
//!
//! The ledger counts what is written behind the pass. A key is proven unneeded if the pass found nothing under it and the
//! ledger, at its end, counts nothing under it either.

use super::{
    change::RotationTransition, key_move::KeyMove, proof_scan::ProofScan, service::RotationService, step::StepProgress,
};
use crate::{VaultError, ids::RotationId, record_count::Census};
use masker_core::crypto::{MatchPart, TokenId};
use masker_store::record::RotationRow;

impl RotationService {
    /// Reads some rows of the proving pass. At its end, ends the rotation.
    pub(super) async fn prove_rotation(&self, id: RotationId, row: &RotationRow) -> Result<StepProgress, VaultError> {
        let mut pass = self.tracker.take_proof_scan(id);
        // After a failure the pass begins anew: rows of the page may not be counted.
        let read = self.read_rows(&mut pass).await?;
        let finding = pass.finding(&KeyMove::of(row));
        // If the commit fails, it is repeated without the pass.
        self.tracker.set_proof_scan(id, pass);
        if let Some(read) = read {
            return Ok(StepProgress::Read(read));
        }
        // Fails only if the rotation was cancelled meanwhile, which ends it as well.
        drop(self.transition(id, RotationTransition::Proven(finding)).await?);
        // Another pass, if one follows, begins anew.
        drop(self.tracker.take_proof_scan(id));
        Ok(StepProgress::Read(0))
    }

    /// Reads and counts the next rows of a pass. Returns their number; `None` at the end of the pass.
    async fn read_rows(&self, pass: &mut ProofScan) -> Result<Option<usize>, VaultError> {
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
        Ok(read)
    }
}
