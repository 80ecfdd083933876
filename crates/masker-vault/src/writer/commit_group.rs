//! One group: what its jobs want changed, decided under the keys in force over what the store holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Job, KeyringUpdate, MintRequest, Minted, merge, rotate::StoredRows, tombstones::Tombstones};
use crate::{
    GenerationRef, ItemFailure, KeysInForce, VaultError, VaultShared,
    forget::{EraseRequest, ErasedRecord},
    generation_use::GenerationUseSnapshot,
    ledger::LedgerDraft,
    purge::PurgeCandidate,
    records,
    search::{self, MatchedRecord, ValueQuery},
};
use masker_core::{crypto::TokenId, keyring::Keyring};
use masker_store::{Precondition, Row, RowChange, RowKey, record::Record};
use masker_types::kind::{Context, Kid, Value};

/// A group being put together: the changes so far, over what the store holds.
pub(super) struct CommitGroup<'k> {
    pub(super) keyring: &'k Keyring,
    second_tokens: &'k BTreeSet<Kid>,
    pub(super) now_ms: u64,
    /// `None` for a record that this group erases.
    pub(super) records: HashMap<TokenId, Option<Record>>,
    pub(super) tombstones: Tombstones,
    pub(super) draft: LedgerDraft,
    pub(super) changes: BTreeMap<RowKey, RowChange>,
    pub(super) preconditions: Vec<Precondition>,
    /// Records whose readers must wait until the group is durable.
    pub(super) in_flight: Vec<TokenId>,
}

impl<'k> CommitGroup<'k> {
    /// Searches for everything that the jobs need, decides what becomes of each, and gives it its outcome.
    pub(super) async fn build(
        shared: &'k VaultShared,
        keys: &'k KeysInForce,
        jobs: &mut [Job],
    ) -> Result<Self, VaultError> {
        let keyring = &keys.ring;
        let mut group = CommitGroup {
            keyring,
            second_tokens: &shared.second_tokens,
            now_ms: shared.now_ms(),
            records: HashMap::new(),
            tombstones: Tombstones::default(),
            draft: LedgerDraft::of(&shared.ledger.load()),
            changes: BTreeMap::new(),
            preconditions: Vec::new(),
            in_flight: Vec::new(),
        };

        let queries: Vec<_> = jobs.iter().flat_map(Job::mints).map(|mint| query(keyring, mint)).collect();
        let known: Vec<&ValueQuery<'k>> = queries.iter().flatten().collect();
        let store = shared.store.as_ref();
        let mut hits = search::find_all(store, &known, &|| shared.count_damage()).await?.into_iter();
        let mut found = queries.iter().map(|query| query.as_ref().and_then(|query| Some((query, hits.next()?))));

        let has_tombstones = group.draft.ledger.tombstones() > 0;
        let merged = jobs.iter().flat_map(Job::merges).map(merge::MergeItem::id);
        let ids = known.iter().map(|query| query.active_id()).chain(merged).collect();
        group.tombstones.load(store, has_tombstones, ids).await?;
        let mut merges = merge::prepare(store, keyring, jobs).await?.into_iter();

        let erased = jobs.iter().flat_map(Job::erased_ids);
        let record_keys = erased.map(|id| RowKey::record(id.as_bytes())).collect();
        let mut stored = store.get_many(record_keys).await?.into_iter();

        let to_step = StoredRows::read(shared, jobs.iter().filter_map(Job::step)).await?;

        for job in jobs {
            match job {
                Job::Mint(asked) => {
                    let searched = asked.work.iter().zip(found.by_ref());
                    asked.outcome = Some(searched.map(|(mint, searched)| group.mint(mint, searched)).collect());
                }
                Job::Forget(asked) => {
                    let erasures = asked.work.iter().zip(stored.by_ref());
                    let mut erase = |(erasure, row): (&EraseRequest, Option<Row>)| {
                        group.erase(erasure, row.map(|row| shared.decode(&row)).transpose()?)
                    };
                    asked.outcome = Some(erasures.map(&mut erase).collect());
                }
                Job::Purge(asked) => {
                    let candidate = asked.work.iter().zip(stored.by_ref());
                    let purge = |(candidate, row): (&PurgeCandidate, Option<Row>)| {
                        group.purge(candidate, row.and_then(|row| shared.decode(&row).ok()))
                    };
                    asked.outcome = Some(candidate.map(purge).collect());
                }
                Job::Merge(asked) => {
                    let prepared = merges.by_ref().take(asked.work.incoming.len()).collect();
                    asked.outcome = Some(group.merge(&asked.work, prepared));
                }
                Job::PutKeys(asked) => {
                    let KeyringUpdate { keys, accept_rollback, policies } = &asked.work;
                    let noted = group.draft.keys_loaded(&keys.ring, group.now_ms, *accept_rollback);
                    asked.outcome = Some(noted.map(|mut notes| {
                        notes.extend(group.draft.ledger.missed(&keys.ring, group.second_tokens));
                        notes.extend(policies.iter().flat_map(|policies| group.draft.policies_loaded(policies)));
                        notes
                    }));
                }
                Job::Step(asked) => asked.outcome = Some(group.step(&asked.work, &to_step)),
                Job::Transition(asked) => {
                    asked.outcome = Some(group.transition(asked.work.0, &asked.work.1));
                }
                Job::NoteProven(asked) => {
                    asked.work.iter().for_each(|name| group.draft.proven(*name, group.now_ms));
                    asked.outcome = Some(());
                }
                Job::NoteKeyUse(asked) => {
                    let noted: Vec<GenerationUseSnapshot> = keys.uses.noted().collect();
                    noted.iter().for_each(|used| group.draft.key_used(used, group.now_ms));
                    asked.outcome = Some(noted);
                }
                Job::AdoptPolicies(asked) => asked.outcome = Some(group.draft.policies_loaded(&asked.work)),
                Job::Keep(asked) => {
                    let changes = asked.work.iter().map(|change| (change.key().clone(), change.clone()));
                    group.changes.extend(changes);
                    asked.outcome = Some(());
                }
                Job::Settle(_) | Job::Stop(_) => {}
            }
        }
        Ok(group)
    }

    fn mint(
        &mut self,
        mint: &MintRequest,
        searched: Option<(&ValueQuery<'_>, Result<Vec<MatchedRecord>, ItemFailure>)>,
    ) -> Result<Minted, ItemFailure> {
        let unavailable = |fingerprint| ItemFailure::KeyUnavailable(GenerationRef { kid: mint.kid, fingerprint });
        let (Some((query, found)), Some(pair)) = (searched, self.keyring.get(mint.kid)) else {
            return Err(unavailable("unknown".to_owned()));
        };
        let found = found?;
        // What this group has erased is gone, what it has minted is there.
        let stands = |found: &&MatchedRecord| self.records.get(&found.id).is_none_or(Option::is_some);
        if let Some(found) = found.iter().find(stands) {
            return Ok(Minted { found: *found, created: false });
        }
        let id = query.active_id();
        if let Some(Some(record)) = self.records.get(&id) {
            let found = MatchedRecord { kind: record.kind, minted_kid: record.minted_kid, id };
            return Ok(Minted { found, created: false });
        }
        if !self.second_tokens.contains(&mint.kid) {
            self.draft.ledger.unfound(mint.kid, self.keyring)?;
        }

        let record = if mint.is_prepared(self.keyring) {
            mint.prepared.record.clone()
        } else {
            // Prepared before the keys changed: sealed again under those in force.
            let context = Context::new(&mint.context).ok_or(ItemFailure::ContextLength)?;
            let value = Value::new(&mint.value).ok_or(ItemFailure::ValueLength)?;
            let payload = records::payload(context, value, mint.normal());
            records::seal(pair.active().keys(mint.mode), mint.kind, id, &payload, self.now_ms, &mut rand::rng())
        };
        let key = RowKey::record(id.as_bytes());
        // A record that this group erased before is still in the store when the batch is applied.
        if !self.records.contains_key(&id) {
            self.preconditions.push(Precondition::Absent(key.clone()));
        }
        self.changes.insert(key.clone(), RowChange::Put(key, record.encode()));
        self.remove_tombstone(id);
        self.draft.minted(&record);
        self.records.insert(id, Some(record));
        self.in_flight.push(id);
        Ok(Minted { found: MatchedRecord { kind: mint.kind, minted_kid: mint.kid, id }, created: true })
    }

    fn erase(&mut self, erasure: &EraseRequest, stored: Option<Record>) -> Result<ErasedRecord, ItemFailure> {
        let record = match self.records.get(&erasure.id) {
            Some(changed) => changed.clone(),
            None => stored,
        };
        let record = record.filter(|record| erasure.names(record)).ok_or(ItemFailure::NotFound)?;
        erasure.check_context(self.keyring, &record)?;
        Ok(self.erase_record(erasure.id, &record))
    }

    fn purge(&mut self, candidate: &PurgeCandidate, stored: Option<Record>) -> Option<ErasedRecord> {
        let record = match self.records.get(&candidate.id) {
            Some(changed) => changed.clone(),
            None => stored,
        };
        record.filter(|record| candidate.purge.concerns(record)).map(|record| self.erase_record(candidate.id, &record))
    }
}

/// The search for a value under the keys in force; `None` if its kid has no key any more.
fn query<'k>(keyring: &'k Keyring, mint: &MintRequest) -> Option<ValueQuery<'k>> {
    let pair = keyring.get(mint.kid)?;
    if mint.is_prepared(keyring) {
        return Some(ValueQuery::of(pair, mint.mode, mint.prepared.ids));
    }
    let context = Context::new(&mint.context)?;
    Some(ValueQuery::new(pair, mint.mode, mint.kind, context, mint.normal()))
}

impl MintRequest {
    /// Whether what the request prepared is good under these keys.
    fn is_prepared(&self, keyring: &Keyring) -> bool {
        self.prepared.epoch == keyring.epoch()
    }

    fn normal(&self) -> &str {
        self.normal.as_ref().unwrap_or(&self.value)
    }
}
