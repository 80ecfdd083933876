//! Values that get tokens: the search repeated under the keys in force, and a new record where it finds nothing.

use zeroize::Zeroizing;

use crate::{
    GenerationRef, ItemFailure, records,
    search::{CandidateIds, MatchedRecord, ValueQuery},
    writer::{Change, CommitDraft, ReadPlan, Reads, SearchResult},
};
use masker_core::keyring::Keyring;
use masker_store::record::Record;
use masker_types::{
    kind::{Context, EntityKind, Kid, Value},
    mode::Mode,
};

/// A value to mint a token for unless the search finds one.
pub(crate) struct MintRequest {
    pub(crate) mode: Mode,
    pub(crate) kid: Kid,
    pub(crate) kind: EntityKind,
    pub(crate) context: Zeroizing<String>,
    pub(crate) value: Zeroizing<String>,
    /// The normal form, where it differs from the value.
    pub(crate) normal: Option<Zeroizing<String>>,
    pub(crate) prepared: PreparedMint,
}

/// What the request computed in advance; valid until the keys change.
pub(crate) struct PreparedMint {
    pub(crate) epoch: u64,
    pub(crate) ids: CandidateIds,
    pub(crate) record: Record,
}

/// The token of a value.
pub(crate) struct Minted {
    pub(crate) found: MatchedRecord,
    pub(crate) created: bool,
}

/// Mints tokens. The outcome has a result for each value, in their order.
pub(crate) struct MintChange(pub(crate) Vec<MintRequest>);

impl Change for MintChange {
    type Outcome = Vec<Result<Minted, ItemFailure>>;

    fn row_count(&self) -> usize {
        self.0.len()
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        for mint in &self.0 {
            let query = mint.query(plan.keyring());
            if let Some(query) = &query {
                plan.tombstone(query.active_id());
            }
            plan.search(query);
        }
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>, reads: &mut Reads<'_, '_>) -> Self::Outcome {
        self.0.iter().map(|mint| mint.decide(draft, reads.next_search())).collect()
    }
}

impl MintRequest {
    /// Returns whether `prepared` is valid under these keys.
    fn is_prepared(&self, keyring: &Keyring) -> bool {
        self.prepared.epoch == keyring.epoch()
    }

    fn normal(&self) -> &str {
        self.normal.as_ref().unwrap_or(&self.value)
    }

    /// Returns the search for the value under these keys; `None` if its kid has no key any more.
    fn query<'k>(&self, keyring: &'k Keyring) -> Option<ValueQuery<'k>> {
        let pair = keyring.get(self.kid)?;
        if self.is_prepared(keyring) {
            return Some(ValueQuery::of(pair, self.mode, self.prepared.ids));
        }
        let context = Context::new(&self.context)?;
        Some(ValueQuery::new(pair, self.mode, self.kind, context, self.normal()))
    }

    fn decide(&self, draft: &mut CommitDraft<'_>, searched: Option<SearchResult>) -> Result<Minted, ItemFailure> {
        let keyring = draft.keyring();
        let (Some(SearchResult { active_id: id, found }), Some(pair)) = (searched, keyring.get(self.kid)) else {
            return Err(ItemFailure::KeyUnavailable(GenerationRef {
                kid: self.kid,
                fingerprint: "unknown".to_owned(),
            }));
        };
        // Earlier changes of this group may have erased what the search found, or minted what it did not.
        if let Some(found) = found?.into_iter().find(|found| draft.drafted_record(found.id).is_none_or(Option::is_some))
        {
            return Ok(Minted { found, created: false });
        }
        let drafted = draft.drafted_record(id);
        if let Some(Some(record)) = drafted {
            let found = MatchedRecord { kind: record.kind, minted_kid: record.minted_kid, id };
            return Ok(Minted { found, created: false });
        }
        // A record that this group erased is still in the store when the batch is applied.
        let may_be_stored = drafted.is_some();
        if !draft.second_tokens.contains(&self.kid) {
            draft.ledger().check_not_found(self.kid, keyring)?;
        }

        let record = if self.is_prepared(keyring) {
            self.prepared.record.clone()
        } else {
            // The keys have changed since the request sealed it.
            let context = Context::new(&self.context).ok_or(ItemFailure::ContextLength)?;
            let value = Value::new(&self.value).ok_or(ItemFailure::ValueLength)?;
            let payload = records::payload(context, value, self.normal());
            records::seal(pair.active().keys(self.mode), self.kind, id, &payload, draft.now_ms, &mut rand::rng())
        };
        if !may_be_stored {
            draft.require_absent_record(id);
        }
        draft.ledger_changes.minted(&record);
        draft.put_record(id, record);
        Ok(Minted { found: MatchedRecord { kind: self.kind, minted_kid: self.kid, id }, created: true })
    }
}
