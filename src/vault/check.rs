//! Every row read, every record opened, every alias verified.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Ledger, Vault, VaultError, parallel, records};
use crate::{
    access::{Permit, VaultAdmin},
    crypto::{Fingerprint, TokenId, World},
    keyring::Keyring,
    kind::Kid,
    store::{
        Row, RowKey, Store, StoreError,
        record::{Alias, Named, Record},
    },
};

/// Rows read at a time: requests are served between.
const PAGE_ROWS: usize = 1_000;
/// Problems described one by one; further ones are counted.
const PROBLEMS_MAX: usize = 100;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOutcome {
    /// Records read.
    pub records: u64,
    /// Records that opened.
    pub opened: u64,
    /// Records and aliases whose key is not loaded: nothing can be said of them.
    pub key_not_loaded: u64,
    /// Records that do not decode, or do not open under their own key.
    pub damaged_records: u64,
    /// Aliases read.
    pub aliases: u64,
    /// Aliases that do not decode, do not verify, or lead nowhere.
    pub damaged_aliases: u64,
    /// Whether what was found agrees with the books: those that the store keeps of its rows, and those of the records
    /// and aliases of each key. The latter are passed over if the vault was written to meanwhile.
    pub counts_agree: bool,
    /// The first problems, by row id.
    pub problems: Vec<String>,
}

impl CheckOutcome {
    /// Whether nothing was found wrong.
    pub fn ok(&self) -> bool {
        self.damaged_records == 0 && self.damaged_aliases == 0 && self.counts_agree
    }

    fn problem(&mut self, text: impl FnOnce() -> String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text());
        }
    }
}

impl Vault {
    /// Reads the whole vault while it serves, and changes nothing.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed; what is damaged is no error but in the outcome.
    pub async fn check(&self, _permit: &Permit<VaultAdmin>) -> Result<CheckOutcome, VaultError> {
        self.settle().await?;
        let store = self.shared.store.as_ref();
        let keys = self.shared.keys.load_full();
        let before = self.shared.ledger.load_full();
        let mut census = Census::new(&keys.ring, &before);

        let mut pages = Pages::new(Named::RECORDS);
        while let Some(rows) = pages.next(store).await? {
            let verdicts = parallel::map(&rows, |(key, row)| record_verdict(&keys.ring, key, row));
            for ((key, _), verdict) in rows.iter().zip(verdicts) {
                census.record(key, verdict);
            }
        }
        let mut pages = Pages::new(Named::ALIASES);
        while let Some(rows) = pages.next(store).await? {
            let targets = rows.iter().filter_map(|(_, row)| Some(Alias::decode(row).ok()?.target));
            let targets: Vec<[u8; 16]> = targets.collect();
            let found = store.get_many(targets.iter().map(RowKey::record).collect()).await?;
            let there = targets.iter().zip(found).filter_map(|(target, row)| row.map(|_| *target)).collect();
            for (key, row) in &rows {
                census.alias(key, row, &there);
            }
        }

        let books = store.check().await?;
        let mut outcome = census.outcome;
        outcome.counts_agree = books.sound;
        if !books.sound {
            outcome.problem(|| {
                format!(
                    "the store has {} rows where its books say {}, or rows that are not those that were written",
                    books.rows, books.rows_expected
                )
            });
        }
        if Arc::ptr_eq(&before, &self.shared.ledger.load_full()) {
            let names: BTreeSet<_> = census.counted.keys().chain(before.generations.keys()).copied().collect();
            for name in names {
                let there = census.counted.get(&name).copied().unwrap_or_default();
                let kept = before.generations.get(&name).map_or((0, 0), |row| (row.records, row.aliases));
                // Aliases of a key that is not loaded cannot be told apart.
                let counts = if keys.ring.by_fingerprint(name.0, name.1).is_some() {
                    (there, kept)
                } else {
                    ((there.0, 0), (kept.0, 0))
                };
                if counts.0 != counts.1 {
                    outcome.counts_agree = false;
                    outcome.problem(|| {
                        format!(
                            "{} {}: the books say {} records and {} aliases, there are {} and {}",
                            name.0, name.1, kept.0, kept.1, there.0, there.1
                        )
                    });
                }
            }
        }
        Ok(outcome)
    }
}

/// A scan, page by page.
struct Pages {
    space: u8,
    after: Option<RowKey>,
    end: bool,
}

impl Pages {
    fn new(space: u8) -> Self {
        Pages { space, after: None, end: false }
    }

    async fn next(&mut self, store: &dyn Store) -> Result<Option<Vec<(RowKey, Row)>>, StoreError> {
        if self.end {
            return Ok(None);
        }
        let page = store.scan_after(self.space, self.after.take(), PAGE_ROWS).await?;
        self.end = page.end;
        self.after = page.rows.last().map(|(key, _)| key.clone());
        Ok(Some(page.rows))
    }
}

/// What one row turned out to be.
enum Verdict {
    Whole(Kid, Fingerprint),
    KeyNotLoaded(Kid, Fingerprint),
    Damaged(&'static str),
}

/// Counts by key generation, while the check goes on.
struct Census<'a> {
    ring: &'a Keyring,
    /// Whether a generation that is not loaded has aliases.
    aliases_unseen: bool,
    counted: BTreeMap<(Kid, Fingerprint), (u64, u64)>,
    outcome: CheckOutcome,
}

impl<'a> Census<'a> {
    fn new(ring: &'a Keyring, ledger: &Ledger) -> Self {
        let aliases_unseen = ledger
            .generations
            .iter()
            .any(|(name, row)| row.aliases > 0 && ring.by_fingerprint(name.0, name.1).is_none());
        Census { ring, aliases_unseen, counted: BTreeMap::new(), outcome: CheckOutcome::default() }
    }

    fn record(&mut self, key: &RowKey, verdict: Verdict) {
        self.outcome.records += 1;
        match verdict {
            Verdict::Whole(kid, fingerprint) => {
                self.outcome.opened += 1;
                self.counted.entry((kid, fingerprint)).or_default().0 += 1;
            }
            Verdict::KeyNotLoaded(kid, fingerprint) => {
                self.outcome.key_not_loaded += 1;
                self.counted.entry((kid, fingerprint)).or_default().0 += 1;
            }
            Verdict::Damaged(why) => {
                self.outcome.damaged_records += 1;
                self.outcome.problem(|| format!("record {}: {why}", hex(key)));
            }
        }
    }

    fn alias(&mut self, key: &RowKey, row: &Row, records: &BTreeSet<[u8; 16]>) {
        self.outcome.aliases += 1;
        let why = match (Named::parse(key), Alias::decode(row)) {
            (Ok(Named::Alias(index)), Ok(alias)) => match alias_generation(self.ring, index, &alias) {
                Some(name) if records.contains(&alias.target) => {
                    self.counted.entry(name).or_default().1 += 1;
                    return;
                }
                Some(_) => "its record is not there",
                None if self.aliases_unseen => {
                    self.outcome.key_not_loaded += 1;
                    return;
                }
                None => "no key vouches for it",
            },
            _ => "it does not decode",
        };
        self.outcome.damaged_aliases += 1;
        self.outcome.problem(|| format!("alias {}: {why}", hex(key)));
    }
}

fn record_verdict(ring: &Keyring, key: &RowKey, row: &Row) -> Verdict {
    let (Ok(Named::Record(id)), Ok(record)) = (Named::parse(key), Record::decode(row)) else {
        return Verdict::Damaged("it does not decode");
    };
    let fingerprint = Fingerprint::from_bytes(record.fingerprint);
    let Some(generation) = ring.by_fingerprint(record.sealing_kid, fingerprint) else {
        return Verdict::KeyNotLoaded(record.sealing_kid, fingerprint);
    };
    // The row does not say in which world it was sealed.
    let opens = World::ALL.into_iter().any(|world| {
        let id = TokenId::from_bytes(id);
        records::open(generation.keys(world), record.kind, record.minted_kid, id, &record).is_ok()
    });
    if opens {
        Verdict::Whole(record.sealing_kid, fingerprint)
    } else {
        Verdict::Damaged("it does not open under its own key")
    }
}

/// The loaded generation that vouches for an alias.
fn alias_generation(ring: &Keyring, index: [u8; 16], alias: &Alias) -> Option<(Kid, Fingerprint)> {
    let (index, target) = (TokenId::from_bytes(index), TokenId::from_bytes(alias.target));
    ring.iter()
        .flat_map(|(_, pair)| pair.generations())
        .find(|generation| generation.vouches_for(index, target, &alias.tag))
        .map(|generation| (generation.kid(), generation.fingerprint()))
}

/// A row's id as an operator can quote it. An id alone opens nothing.
fn hex(key: &RowKey) -> String {
    data_encoding::HEXLOWER.encode(&key.as_bytes()[1..])
}
