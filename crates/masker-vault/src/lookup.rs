//! Lookup: every token by which a value may be stored. Mints nothing.

use std::sync::Arc;

use super::{
    ItemFailure, ValueInput, VaultError,
    handles::Handles,
    keys::{CurrentKeys, KeysInForce},
    ledger::CurrentLedger,
    outcomes::{BatchResult, ItemOutcomeKey, OutcomeCounter, RequestCounters},
    parallel_map,
    reader::Reader,
    search::{self, ValueQuery},
    tokenize::{ValueAction, check, keys_of},
};
use masker_access::{Lookup, Permit};
use masker_core::{
    policy::{Policy, Scheme},
    token::Token,
};

/// The stage of an item after the work that needs no store.
enum LookupStage<'k> {
    Done(Vec<String>),
    Search(ValueQuery<'k>),
}

/// Looks up the tokens of values.
pub(crate) struct LookupService {
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    reader: Arc<Reader>,
    counters: Arc<RequestCounters>,
}

impl LookupService {
    pub(crate) fn new(handles: &Handles) -> Self {
        LookupService {
            keys: Arc::clone(&handles.keys),
            ledger: Arc::clone(&handles.ledger),
            reader: Arc::clone(&handles.reader),
            counters: Arc::clone(&handles.counters),
        }
    }

    /// Implements [`Vault::lookup`](crate::Vault::lookup).
    pub(crate) async fn lookup(
        &self,
        permit: &Permit<Lookup>,
        policy: &Policy,
        items: &[ValueInput<'_>],
    ) -> Result<BatchResult<Result<Vec<String>, ItemFailure>>, VaultError> {
        let keys = self.keys.load_full();
        let stages = parallel_map::map(items, |item| stage(&keys, permit, policy, item));
        let queries: Vec<&ValueQuery<'_>> = stages
            .iter()
            .filter_map(|stage| match stage {
                Ok(LookupStage::Search(query)) => Some(query),
                _ => None,
            })
            .collect();
        let found = if queries.is_empty() { Vec::new() } else { self.reader.find_all(&queries).await? };

        let ledger = self.ledger.load();
        let mut found = found.into_iter();
        let mut counter = OutcomeCounter::new("lookup");
        let mut results = Vec::with_capacity(items.len());
        for (stage, item) in stages.into_iter().zip(items) {
            let tokens = match stage {
                Ok(LookupStage::Done(tokens)) => Ok(tokens),
                Ok(LookupStage::Search(query)) => match found.next() {
                    Some(Ok(found)) if found.is_empty() => {
                        ledger.check_not_found(query.kid(), &keys.ring).map(|()| Vec::new())
                    }
                    Some(found) => found.map(|found| found.iter().map(search::MatchedRecord::token).collect()),
                    None => Err(ItemFailure::NotFound),
                },
                Err(failure) => Err(failure),
            };
            let outcome = match &tokens {
                Ok(tokens) if tokens.is_empty() => "none",
                Ok(_) => "ok",
                Err(failure) => failure.code().as_str(),
            };
            counter.count(ItemOutcomeKey::keyless(policy.rule(item.kind).map(|(kind, _)| kind), outcome));
            results.push(tokens);
        }
        Ok(counter.record(&self.counters, results))
    }
}

fn stage<'k>(
    keys: &'k KeysInForce,
    permit: &Permit<Lookup>,
    policy: &Policy,
    item: &ValueInput<'_>,
) -> Result<LookupStage<'k>, ItemFailure> {
    let mode = permit.mode();
    let checked = match check(permit, policy, item)? {
        // Nothing was ever minted for these.
        ValueAction::Redact(_) | ValueAction::Passthrough => return Ok(LookupStage::Done(Vec::new())),
        ValueAction::Tokenize(checked) => checked,
    };
    let (kind, kid) = (checked.kind, checked.rule.kid);
    let pair = keys_of(keys, kid)?;
    match checked.rule.scheme {
        Scheme::ReversibleAead(suite) if !suite.is_deterministic() => Err(ItemFailure::NotSearchable(kind)),
        Scheme::ReversibleAead(suite) => {
            let mint = |generation: &masker_core::keyring::Generation| {
                let keys = generation.keys(mode);
                let body = keys.mint(suite, kind, checked.context, checked.value, &mut rand::rng());
                Token::Aead { kind, kid, body }.to_text()
            };
            Ok(LookupStage::Done(pair.generations().map(mint).collect()))
        }
        Scheme::VaultDeterministic => {
            let normal = checked.rule.normalizer.apply(checked.value).map_err(|_| ItemFailure::ValueNormalForm)?;
            Ok(LookupStage::Search(ValueQuery::new(pair, mode, kind, checked.context, &normal)))
        }
    }
}
