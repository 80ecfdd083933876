//! Every row read, every record opened, every alias verified.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Vault, VaultError,
    generations::ProvenChange,
    paged_scan::PagedScan,
    record_count::{Census, CensusCount},
};
use masker_access::{Permit, VaultAdmin};
use masker_store::record::RowName;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOutcome {
    /// Records read.
    pub records: u64,
    /// Records that opened.
    pub opened: u64,
    /// Records and aliases whose key is not loaded: that they belong together is all that can be said of them.
    pub key_not_loaded: u64,
    /// Records that do not decode, or do not open under their own key.
    pub damaged_records: u64,
    /// Aliases read.
    pub aliases: u64,
    /// Aliases that do not decode, do not verify, are not their record's, or are missing.
    pub damaged_aliases: u64,
    /// Tombstones read.
    pub tombstones: u64,
    /// Whether what was found agrees with the books: those that the store keeps of its rows, and those of the records
    /// and aliases of each key and of the tombstones. The latter are passed over if the vault was written to meanwhile.
    pub counts_agree: bool,
    /// The first problems, by row id.
    pub problems: Vec<String>,
}

impl CheckOutcome {
    /// Whether nothing was found wrong.
    pub fn ok(&self) -> bool {
        self.damaged_records == 0 && self.damaged_aliases == 0 && self.counts_agree
    }
}

impl Vault {
    /// Reads the whole vault while it serves. It changes nothing but what is known of old keys: where it has found all
    /// in order and nothing under one, that this is proven.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed; what is damaged is no error but in the outcome.
    pub async fn check(&self, _permit: &Permit<VaultAdmin>) -> Result<CheckOutcome, VaultError> {
        self.finish_pending_commits().await?;
        let store = self.shared.store.as_ref();
        let keys = self.shared.keys.load_full();
        let before = self.shared.ledger.load_full();
        let mut census = Census::resume(store, &keys.ring, CensusCount::default());

        let mut pages = PagedScan::new(RowName::RECORDS);
        while let Some(rows) = pages.next(store).await? {
            census.records(&rows).await?;
        }
        let mut pages = PagedScan::new(RowName::ALIASES);
        while let Some(rows) = pages.next(store).await? {
            census.aliases(&rows).await?;
        }
        census.count.outcome.tombstones = store.count(RowName::TOMBSTONES).await?;

        let books = store.check().await?;
        census.count.outcome.counts_agree = books.sound;
        if !books.sound {
            census.problem(|| {
                format!(
                    "the store has {} rows where its books say {}, or rows that are not those that were written",
                    books.rows, books.rows_expected
                )
            });
        }
        if Arc::ptr_eq(&before, &self.shared.ledger.load_full()) {
            let names: BTreeSet<_> = census.count.by_key.keys().chain(before.generations.keys()).copied().collect();
            for name in names {
                let there = census.count.by_key.get(&name).copied().unwrap_or_default();
                let kept = before.generations.get(&name).map_or((0, 0), |row| (row.records, row.aliases));
                if there != kept {
                    census.count.outcome.counts_agree = false;
                    census.problem(|| {
                        format!(
                            "{} {}: the books say {} records and {} aliases, there are {} and {}",
                            name.0, name.1, kept.0, kept.1, there.0, there.1
                        )
                    });
                }
            }
            let (kept, there) = (before.tombstones(), census.count.outcome.tombstones);
            if kept != there {
                census.count.outcome.counts_agree = false;
                census.problem(|| format!("the books say {kept} tombstones, there are {there}"));
            }
        }
        let CensusCount { by_key, outcome } = census.count;
        if outcome.ok() {
            // The writer passes over those that the books say are needed, or are no old ones.
            let unneeded = before.generations.keys().filter(|name| !by_key.contains_key(name));
            self.writer.commit(ProvenChange(unneeded.copied().collect())).await?;
        }
        Ok(outcome)
    }
}
