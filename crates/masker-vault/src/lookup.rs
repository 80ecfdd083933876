//! Every token by which a value may be stored now. Mints nothing.

use super::{
    ItemFailure, ValueInput, Vault, VaultError,
    keys::KeysInForce,
    outcomes::{BatchResult, ItemOutcomeKey, OutcomeCounter},
    parallel_map,
    search::{self, ValueQuery},
    tokenize::{ValueAction, check, keys_of},
};
use masker_access::{Lookup, Permit};
use masker_core::{
    policy::{Policy, Scheme},
    token::Token,
};

/// Where an item stands after the part of the work that needs no store.
enum LookupStage<'k> {
    Done(Vec<String>),
    Search(ValueQuery<'k>),
}

impl Vault {
    /// The tokens of values: for vault tokens those that the vault holds, the one that tokenizing would give first; for
    /// deterministic AEAD tokens one for each loaded key generation, active first. Results keep the order of the items.
    ///
    /// While the vault holds records under a key that is not loaded, a value that is not found may be there all the
    /// same, so that is no answer but a failure: also where second tokens are accepted, for that says nothing of the first.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed.
    pub async fn lookup(
        &self,
        permit: &Permit<Lookup>,
        policy: &Policy,
        items: &[ValueInput<'_>],
    ) -> Result<BatchResult<Result<Vec<String>, ItemFailure>>, VaultError> {
        let keys = self.shared.keys.load_full();
        let stages = parallel_map::map(items, |item| stage(&keys, permit, policy, item));
        let queries: Vec<&ValueQuery<'_>> = stages
            .iter()
            .filter_map(|stage| match stage {
                Ok(LookupStage::Search(query)) => Some(query),
                _ => None,
            })
            .collect();
        let mut found = Vec::new();
        if !queries.is_empty() {
            let shared = &self.shared;
            loop {
                let reading = shared.in_flight.reading();
                found = search::find_all(shared.store.as_ref(), &queries, &|| shared.count_damage()).await?;
                let ids = found.iter().flatten().flatten().map(|found| found.id);
                if !shared.in_flight.must_reread(&reading, ids).await {
                    break;
                }
            }
        }

        let ledger = self.shared.ledger.load();
        let mut found = found.into_iter();
        let mut tally = OutcomeCounter::new("lookup");
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
            tally.count(ItemOutcomeKey::keyless(policy.rule(item.kind).map(|(kind, _)| kind), outcome));
            results.push(tokens);
        }
        Ok(tally.record(&self.shared, results))
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
