//! Every row read, every record opened, every alias verified.

use std::collections::{BTreeMap, HashSet};

use super::{Vault, VaultError, parallel, records};
use crate::{
    access::{Permit, VaultAdmin},
    crypto::{Fingerprint, TokenId, World},
    keyring::Keyring,
    kind::Kid,
    store::{
        Row, RowKey, StoreError,
        record::{self, Alias, Record, parse_alias_key, parse_record_key, record_key},
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
    /// Records whose key is not loaded.
    pub key_not_loaded: u64,
    /// Records that do not decode, or do not open under their own key.
    pub damaged_records: u64,
    /// Aliases read.
    pub aliases: u64,
    /// Aliases that do not decode, do not verify, or lead nowhere.
    pub damaged_aliases: u64,
    /// Whether the counts that are kept agree with what was counted. True if the vault changed during the check and
    /// nothing can be said.
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

/// What one record's row turned out to be.
enum Verdict {
    Opened(Kid, Fingerprint),
    KeyNotLoaded(Kid, Fingerprint),
    Damaged(&'static str),
}

impl Vault {
    /// Reads the whole vault while it serves, and changes nothing.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed; what is damaged is no error but in the outcome.
    pub async fn check(&self, _permit: &Permit<VaultAdmin>) -> Result<CheckOutcome, VaultError> {
        let mut outcome = CheckOutcome { counts_agree: true, ..CheckOutcome::default() };
        let mut counted: BTreeMap<(Kid, Fingerprint), (u64, u64)> = BTreeMap::new();
        let before = self.shared.ledger.load_full();
        let keys = self.shared.keys.load_full();

        self.pages(record::SPACE_RECORDS, async |rows| {
            let verdicts = parallel::map(rows, |(key, row)| verdict(&keys.ring, key, row));
            for ((key, _), verdict) in rows.iter().zip(verdicts) {
                outcome.records += 1;
                match verdict {
                    Verdict::Opened(kid, fingerprint) => {
                        outcome.opened += 1;
                        counted.entry((kid, fingerprint)).or_default().0 += 1;
                    }
                    Verdict::KeyNotLoaded(kid, fingerprint) => {
                        outcome.key_not_loaded += 1;
                        counted.entry((kid, fingerprint)).or_default().0 += 1;
                    }
                    Verdict::Damaged(why) => {
                        outcome.damaged_records += 1;
                        outcome.problem(|| format!("record {}: {why}", hex(key)));
                    }
                }
            }
            Ok(())
        })
        .await?;

        self.pages(record::SPACE_ALIASES, async |rows| {
            let targets =
                rows.iter().filter_map(|(_, row)| Some(record_key(&Alias::decode(row).ok()?.target))).collect();
            let targets: HashSet<[u8; 16]> = (self.shared.store.get_many(targets).await?.iter())
                .zip(rows.iter().filter_map(|(_, row)| Some(Alias::decode(row).ok()?.target)))
                .filter_map(|(row, target)| row.is_some().then_some(target))
                .collect();
            for (key, row) in rows {
                outcome.aliases += 1;
                let verified = alias_generation(&keys.ring, key, row);
                match verified {
                    Ok((name, target)) if targets.contains(&target) => counted.entry(name).or_default().1 += 1,
                    Ok(_) => {
                        outcome.damaged_aliases += 1;
                        outcome.problem(|| format!("alias {}: its record is not there", hex(key)));
                    }
                    Err(why) => {
                        outcome.damaged_aliases += 1;
                        outcome.problem(|| format!("alias {}: {why}", hex(key)));
                    }
                }
            }
            Ok(())
        })
        .await?;

        let after = self.shared.ledger.load_full();
        if std::sync::Arc::ptr_eq(&before, &after) {
            let names: HashSet<_> = counted.keys().chain(after.generations.keys()).copied().collect();
            for name in names {
                let (records, aliases) = counted.get(&name).copied().unwrap_or_default();
                let kept = after.generations.get(&name).map_or((0, 0), |row| (row.records, row.aliases));
                if kept != (records, aliases) {
                    outcome.counts_agree = false;
                    outcome.problem(|| {
                        format!(
                            "{} {}: {} records and {} aliases are on the books, {records} and {aliases} are there",
                            name.0, name.1, kept.0, kept.1
                        )
                    });
                }
            }
        }
        Ok(outcome)
    }

    async fn pages(
        &self,
        space: u8,
        mut work: impl AsyncFnMut(&[(RowKey, Row)]) -> Result<(), StoreError>,
    ) -> Result<(), VaultError> {
        let mut after = None;
        loop {
            let page = self.shared.store.scan_after(space, after, PAGE_ROWS).await?;
            work(&page.rows).await?;
            if page.end {
                return Ok(());
            }
            after = page.rows.last().map(|(key, _)| key.clone());
        }
    }
}

fn verdict(ring: &Keyring, key: &RowKey, row: &Row) -> Verdict {
    let (Ok(id), Ok(record)) = (parse_record_key(key), Record::decode(row)) else {
        return Verdict::Damaged("it does not decode");
    };
    let fingerprint = Fingerprint::from_bytes(record.fingerprint);
    let Some(generation) = ring.by_fingerprint(record.sealing_kid, fingerprint) else {
        return Verdict::KeyNotLoaded(record.sealing_kid, fingerprint);
    };
    // The row does not say in which world it was sealed.
    let opens = [World::Live, World::Test].into_iter().any(|world| {
        let id = TokenId::from_bytes(id);
        records::open(generation.keys(world), record.kind, record.minted_kid, id, &record).is_ok()
    });
    if opens {
        Verdict::Opened(record.sealing_kid, fingerprint)
    } else {
        Verdict::Damaged("it does not open under its own key")
    }
}

/// The generation that vouches for an alias, and where it leads.
fn alias_generation(ring: &Keyring, key: &RowKey, row: &Row) -> Result<((Kid, Fingerprint), [u8; 16]), &'static str> {
    let (Ok(index), Ok(alias)) = (parse_alias_key(key), Alias::decode(row)) else {
        return Err("it does not decode");
    };
    let (index, target) = (TokenId::from_bytes(index), TokenId::from_bytes(alias.target));
    ring.iter()
        .flat_map(|pair| pair.generations())
        .find(|generation| {
            [World::Live, World::Test]
                .into_iter()
                .any(|world| generation.keys(world).alias_verifies(index, target, &alias.tag))
        })
        .map(|generation| ((generation.kid(), generation.fingerprint()), alias.target))
        .ok_or("no loaded key vouches for it")
}

/// A row's id as an operator can quote it. An id alone opens nothing.
fn hex(key: &RowKey) -> String {
    data_encoding::HEXLOWER.encode(&key.as_bytes()[1..])
}
