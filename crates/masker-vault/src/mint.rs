//! Values that get tokens: the search repeated under the keys in force, and a new record where it finds nothing.

use zeroize::Zeroizing;

use crate::{
    GenerationRef, ItemFailure,
    ledger::Ledger,
    records::{self, MintedToken, RecordIndexes},
    search::{MatchedRecord, SearchBasis, SearchKeys},
    writer::{Change, CommitDraft, Lane, ReadPlan},
};
use masker_core::{
    crypto::{Index, MatchPart, TokenId},
    keyring::Keyring,
    normalize::Normalizer,
};
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
    pub(crate) normalizer: Normalizer,
    /// The form, where it differs from the value.
    pub(crate) form: Option<Zeroizing<String>>,
    pub(crate) prepared: PreparedMint,
}

/// What the request computed in advance; valid while the keys and the moves of kids are the same.
pub(crate) struct PreparedMint {
    pub(crate) basis: SearchBasis,
    pub(crate) indexes: MintIndexes,
    pub(crate) id: TokenId,
    pub(crate) record: Record,
}

/// The indexes of a value and of its form, under every key of the search. There are no indexes of a form for `exact`.
#[derive(Clone)]
pub(crate) struct MintIndexes {
    pub(crate) values: Vec<Index>,
    pub(crate) forms: Vec<Index>,
}

/// The token of a value.
pub(crate) struct Minted {
    pub(crate) found: MatchedRecord,
    pub(crate) created: bool,
}

/// Mints tokens. The outcome has a result for each value, in their order.
pub(crate) struct MintChange {
    lane: Lane,
    mints: Vec<MintRequest>,
    /// For each value, its indexes under the keys in force.
    indexes: Vec<Option<MintIndexes>>,
}

impl MintChange {
    pub(crate) fn new(lane: Lane, mints: Vec<MintRequest>) -> Self {
        MintChange { lane, mints, indexes: Vec::new() }
    }
}

impl Change for MintChange {
    type Outcome = Vec<Result<Minted, ItemFailure>>;

    /// A mint writes a record and two index rows.
    fn row_count(&self) -> usize {
        3 * self.mints.len()
    }

    fn lane(&self) -> Lane {
        self.lane.clone()
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        let (keyring, ledger) = (plan.keyring(), plan.ledger());
        self.indexes = self.mints.iter().map(|mint| mint.indexes(keyring, ledger)).collect();
        for indexes in self.indexes.iter().flatten() {
            indexes.values.iter().for_each(|index| plan.value_index(*index));
            indexes.forms.iter().for_each(|index| plan.form_index(*index));
        }
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Self::Outcome {
        self.mints.iter().zip(&self.indexes).map(|(mint, indexes)| mint.decide(draft, indexes.as_ref())).collect()
    }
}

impl MintRequest {
    /// Returns the indexes under these keys; `None` if the kid has no key any more.
    fn indexes(&self, keyring: &Keyring, ledger: &Ledger) -> Option<MintIndexes> {
        if self.prepared.basis == SearchBasis::new(keyring, ledger) {
            return Some(self.prepared.indexes.clone());
        }
        let keys = SearchKeys::new(keyring, ledger, self.kid, self.mode)?;
        let (context, value) = (Context::new(&self.context)?, Value::new(&self.value)?);
        Some(indexes_of(&keys, self.kind, context, value, self.normalizer, self.form()))
    }

    fn form(&self) -> &str {
        self.form.as_ref().unwrap_or(&self.value)
    }

    fn decide(&self, draft: &mut CommitDraft<'_>, indexes: Option<&MintIndexes>) -> Result<Minted, ItemFailure> {
        let keyring = draft.keyring();
        let keys = SearchKeys::new(keyring, draft.ledger(), self.kid, self.mode);
        let (Some(keys), Some(indexes)) = (keys, indexes) else {
            return Err(ItemFailure::KeyUnavailable(GenerationRef {
                kid: self.kid,
                fingerprint: "unknown".to_owned(),
            }));
        };
        // Earlier changes of this group count: they may have erased what the store has, or minted what it has not.
        for (keys, index) in keys.iter().zip(&indexes.values) {
            for id in draft.entries::<TokenId>(keys, *index)? {
                if draft.is_live_id(*index, id)
                    && let Some(record) = draft.record(id)?
                {
                    return Ok(Minted { found: MatchedRecord::of(id, &record), created: false });
                }
            }
        }
        if !draft.second_tokens.contains(&self.kid) {
            draft.ledger().check_not_found(self.kid, keyring)?;
        }

        let match_part = self.listed_match_part(draft, &keys, indexes)?;
        let prepared = &self.prepared;
        let is_prepared = prepared.basis == SearchBasis::new(keyring, draft.ledger())
            && match_part.is_none_or(|part| part == prepared.id.match_part());
        let (id, record) = if is_prepared {
            (prepared.id, prepared.record.clone())
        } else {
            // The keys have changed since the request sealed it, or another spelling has got its token meanwhile.
            let context = Context::new(&self.context).ok_or(ItemFailure::ContextLength)?;
            let value = Value::new(&self.value).ok_or(ItemFailure::ValueLength)?;
            let payload = records::payload(context, value, self.normalizer, self.form());
            let rng = &mut rand::rng();
            let id = TokenId::random(match_part.unwrap_or(prepared.id.match_part()), rng);
            let token = MintedToken { kind: self.kind, kid: self.kid, id, minted_at_ms: draft.now_ms };
            let indexes =
                RecordIndexes { value: indexes.values.first().copied(), form: indexes.forms.first().copied() };
            (id, records::seal(keys.active(), &token, indexes, &payload, draft.now_ms, rng))
        };
        // The rows are not full: entries without a record are dropped.
        draft.add_record(keys.active(), id, &record, self.normalizer.name())?.map_err(|_| ItemFailure::Damaged)?;
        Ok(Minted { found: MatchedRecord::of(id, &record), created: true })
    }

    /// Returns the match part of the first record with this form, if there is one.
    fn listed_match_part(
        &self,
        draft: &CommitDraft<'_>,
        keys: &SearchKeys<'_>,
        indexes: &MintIndexes,
    ) -> Result<Option<MatchPart>, ItemFailure> {
        for (keys, index) in keys.iter().zip(&indexes.forms) {
            let listed = draft.entries::<MatchPart>(keys, *index)?;
            if let Some(part) = listed.iter().find(|part| draft.is_live_match_part(*index, **part)) {
                return Ok(Some(*part));
            }
        }
        Ok(None)
    }
}

/// Computes the indexes of a value and of its form under the keys of a search.
pub(crate) fn indexes_of(
    keys: &SearchKeys<'_>,
    kind: EntityKind,
    context: Context<'_>,
    value: Value<'_>,
    normalizer: Normalizer,
    form: &str,
) -> MintIndexes {
    MintIndexes {
        values: keys.value_indexes(kind, context, value),
        forms: match normalizer {
            Normalizer::Exact => Vec::new(),
            _ => keys.form_indexes(normalizer, kind, context, form),
        },
    }
}
