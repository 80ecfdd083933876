//! The proving pass: every row read again, every record opened and every alias verified, to show that nothing is left
//! under the keys that records were moved from.
//!
//! What is written while it goes on is known from the books, which change with every commit: a key is proven unneeded
//! where the pass found nothing under it and the books, at its end, have nothing under it either. So nothing escapes that
//! comes behind the pass.

use super::{
    RotationId, Route,
    step::{Stepped, Transition},
};
use crate::{
    Vault, VaultError,
    census::{Census, Count},
    pages::Pages,
};
use masker_store::record::{Named, RotationRow};

/// How far a proving pass is. It begins anew after a restart.
pub(super) struct Pass {
    records: Pages,
    aliases: Pages,
    count: Count,
}

impl Default for Pass {
    fn default() -> Self {
        Pass { records: Pages::new(Named::RECORDS), aliases: Pages::new(Named::ALIASES), count: Count::default() }
    }
}

impl Pass {
    /// Whether it found nothing that is left under the keys of this route, and nothing that could hide it.
    fn proves(&self, route: &Route) -> bool {
        let outcome = &self.count.outcome;
        let left = self.count.by_key.iter().any(|(name, counts)| route.leaves(*name) && *counts != (0, 0));
        !left && outcome.damaged_records == 0 && outcome.damaged_aliases == 0
    }
}

impl Vault {
    /// Reads some rows of the proving pass; at its end, ends the rotation.
    pub(super) async fn prove_rotation(&self, id: RotationId, row: &RotationRow) -> Result<Stepped, VaultError> {
        let mut pass = self.shared.rotations.take_pass(id);
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
                self.shared.rotations.keep_pass(id, pass);
                Ok(Stepped::Read(read))
            }
            None => {
                let proven = Transition::Proven(pass.proves(&Route::of(row)));
                // It may have been cancelled meanwhile, which ends it as well.
                drop(self.writer.change_rotation(id, proven).await?);
                Ok(Stepped::Read(0))
            }
        }
    }
}
