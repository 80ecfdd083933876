//! Every token by which a value may be stored now. Mints nothing.

use super::{
    Failure, Keys, Subject, Vault, VaultError, parallel,
    search::{self, Query},
    tally::{Outcome, Tally, Worked},
    tokenize::{Verdict, check, keys_of},
};
use masker_access::{Lookup, Permit};
use masker_core::{
    policy::{Policy, Scheme},
    token::Token,
};

/// Where an item stands after the part of the work that needs no store.
enum Stage<'k> {
    Done(Vec<String>),
    Search(Query<'k>),
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
        items: &[Subject<'_>],
    ) -> Result<Worked<Result<Vec<String>, Failure>>, VaultError> {
        let keys = self.shared.keys.load_full();
        let stages = parallel::map(items, |item| stage(&keys, permit, policy, item));
        let queries: Vec<&Query<'_>> = stages
            .iter()
            .filter_map(|stage| match stage {
                Ok(Stage::Search(query)) => Some(query),
                _ => None,
            })
            .collect();
        let mut found = Vec::new();
        if !queries.is_empty() {
            let shared = &self.shared;
            loop {
                let reading = shared.in_flight.reading();
                found = search::find_all(shared.store.as_ref(), &queries, &|| shared.damage_seen()).await?;
                let ids = found.iter().flatten().flatten().map(|found| found.id);
                if !shared.in_flight.must_read_again(&reading, ids).await {
                    break;
                }
            }
        }

        let ledger = self.shared.ledger.load();
        let mut found = found.into_iter();
        let mut tally = Tally::new("lookup");
        let mut results = Vec::with_capacity(items.len());
        for (stage, item) in stages.into_iter().zip(items) {
            let tokens = match stage {
                Ok(Stage::Done(tokens)) => Ok(tokens),
                Ok(Stage::Search(query)) => match found.next() {
                    Some(Ok(found)) if found.is_empty() => ledger.unfound(query.kid(), &keys.ring).map(|()| Vec::new()),
                    Some(found) => found.map(|found| found.iter().map(search::Found::token).collect()),
                    None => Err(Failure::NotFound),
                },
                Err(failure) => Err(failure),
            };
            let outcome = match &tokens {
                Ok(tokens) if tokens.is_empty() => "none",
                Ok(_) => "ok",
                Err(failure) => failure.code().as_str(),
            };
            tally.count(Outcome::keyless(policy.rule(item.kind).map(|(kind, _)| kind), outcome));
            results.push(tokens);
        }
        Ok(tally.record(&self.shared, results))
    }
}

fn stage<'k>(
    keys: &'k Keys,
    permit: &Permit<Lookup>,
    policy: &Policy,
    item: &Subject<'_>,
) -> Result<Stage<'k>, Failure> {
    let world = permit.world();
    let checked = match check(permit, policy, item)? {
        // Nothing was ever minted for these.
        Verdict::Redact(_) | Verdict::Passthrough => return Ok(Stage::Done(Vec::new())),
        Verdict::Tokenize(checked) => checked,
    };
    let (kind, kid) = (checked.kind, checked.rule.kid);
    let pair = keys_of(keys, kid)?;
    match checked.rule.scheme {
        Scheme::ReversibleAead(suite) if !suite.is_deterministic() => Err(Failure::NotSearchable(kind)),
        Scheme::ReversibleAead(suite) => {
            let mint = |generation: &masker_core::keyring::Generation| {
                let keys = generation.keys(world);
                let body = keys.mint(suite, kind, checked.context, checked.value, &mut rand::rng());
                Token::Aead { kind, kid, body }.to_text()
            };
            Ok(Stage::Done(pair.generations().map(mint).collect()))
        }
        Scheme::VaultDeterministic => {
            let normal = checked.rule.normalizer.apply(checked.value).map_err(|_| Failure::ValueNormalForm)?;
            Ok(Stage::Search(Query::new(pair, world, kind, checked.context, &normal)))
        }
    }
}
