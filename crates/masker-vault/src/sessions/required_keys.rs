//! The key generations that the tokens of sessions need.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use tokio::task::yield_now;

use super::{
    SessionService,
    long_reads::{LongReadTurn, LongReads},
    session::TrackedIds,
};
use crate::{Ledger, VaultError, paged_scan::PAGE_ROWS};
use masker_core::{
    crypto::{Fingerprint, TokenId},
    keyring::Role,
};
use masker_store::{
    RowKey,
    record::{Record, SESSION_GENERATIONS_MAX, SessionNeed},
};
use masker_types::kind::Kid;

/// What the tokens of a session need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionNeeds {
    /// Key generations, those that most tokens need first.
    pub generations: Vec<SessionNeed>,
    /// Tokens whose records are erased or damaged: no key opens them.
    pub gone: u64,
}

impl SessionService {
    /// Returns what these tokens need now: the generations that seal their records, and those named by tokens that contain
    /// their value. Others run between two pages.
    pub(super) async fn needs_of(
        &self,
        _turn: &LongReadTurn<'_>,
        tracked: &TrackedIds,
    ) -> Result<SessionNeeds, VaultError> {
        let mut needed: BTreeMap<(Kid, String), u64> = BTreeMap::new();
        {
            let ledger = self.ledger.load();
            for ((kid, prefix), tokens) in &tracked.with_value {
                *needed.entry((*kid, digits(&ledger, *kid, *prefix))).or_default() += tokens;
            }
        }
        let mut gone = 0;
        for ids in tracked.ids.chunks(PAGE_ROWS) {
            for sealed in self.sealed_under(ids).await? {
                match sealed {
                    Some((kid, fingerprint)) => *needed.entry((kid, fingerprint.to_string())).or_default() += 1,
                    None => gone += 1,
                }
            }
        }
        let mut generations: Vec<SessionNeed> =
            needed.into_iter().map(|((kid, fingerprint), tokens)| SessionNeed { kid, fingerprint, tokens }).collect();
        generations.sort_by_key(|need| std::cmp::Reverse(need.tokens));
        generations.truncate(SESSION_GENERATIONS_MAX);
        Ok(SessionNeeds { generations, gone })
    }

    /// Counts, for each loaded old key, the open sessions with tokens that need it. Records are read only where such a key
    /// still seals some, and of a session only until all of those keys are found.
    pub(crate) async fn sessions_on_old_keys(
        &self,
        reads: &LongReads,
    ) -> Result<BTreeMap<(Kid, Fingerprint), u64>, VaultError> {
        let turn = reads.turn().await;
        self.on_old_keys.get(&turn, self.count_on_old_keys()).await
    }

    async fn count_on_old_keys(&self) -> Result<BTreeMap<(Kid, Fingerprint), u64>, VaultError> {
        self.writer.sync_ledger().await?;
        let mut sessions: BTreeMap<(Kid, Fingerprint), u64> = BTreeMap::new();
        let mut sealing = BTreeSet::new();
        {
            let (keys, ledger) = (self.keys.load(), self.ledger.load());
            for generation in keys.ring.iter().flat_map(|(_, pair)| pair.generations()) {
                let name = (generation.kid(), generation.fingerprint());
                if generation.role() == Role::Old {
                    sessions.insert(name, 0);
                    if ledger.generations.get(&name).is_some_and(|row| row.records > 0) {
                        sealing.insert(name);
                    }
                }
            }
        }
        if sessions.is_empty() {
            return Ok(sessions);
        }
        for session in self.registry.all() {
            let tracked = session.tracked_ids();
            let has_value = |name: &(Kid, Fingerprint)| tracked.with_value.contains_key(&(name.0, name.1.prefix()));
            let mut needed: BTreeSet<_> = sessions.keys().copied().filter(has_value).collect();
            let mut missing: BTreeSet<_> = sealing.difference(&needed).copied().collect();
            for ids in tracked.ids.chunks(PAGE_ROWS) {
                if missing.is_empty() {
                    break;
                }
                needed.extend(self.sealed_under(ids).await?.into_iter().flatten().filter(|name| missing.remove(name)));
            }
            for name in needed {
                *sessions.entry(name).or_default() += 1;
            }
        }
        Ok(sessions)
    }

    /// Returns the generations that seal these records, in their order; `None` for a record that is missing or damaged. Lets
    /// others run first: cached rows are read without waiting.
    async fn sealed_under(&self, ids: &[TokenId]) -> Result<Vec<Option<(Kid, Fingerprint)>>, VaultError> {
        yield_now().await;
        let keys = ids.iter().map(|id| RowKey::record(id.as_bytes())).collect();
        let rows = self.reader.store().get_many(keys).await?.into_iter();
        let name = |record: Record| (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
        Ok(rows.map(|row| self.reader.decode(&row?).ok().map(name)).collect())
    }
}

/// Returns the digits of the generation with this prefix: all of them if the vault knows exactly one.
fn digits(ledger: &Ledger, kid: Kid, prefix: [u8; 4]) -> String {
    let mut known = ledger.generations_of(kid).filter(|(name, _)| name.1.prefix() == prefix);
    match (known.next(), known.next()) {
        (Some((name, _)), None) => name.1.to_string(),
        _ => HEXLOWER.encode(&prefix),
    }
}
