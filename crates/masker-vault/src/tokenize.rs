//! Values to tokens.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::{
    Failure, Keys, Vault, VaultError, parallel, records,
    search::{self, Found, Query},
    tally::{Outcome, Tally, Worked},
    writer::{Mint, Minted, Prepared},
};
use masker_access::{Operation, Permit, Tokenize};
use masker_core::{
    keyring::{KeyPair, Role},
    policy::{Action, Policy, Scheme, TokenizeRule},
    token::Token,
};
use masker_types::{
    kind::{Context, EntityKind, Kid, Value},
    mode::World,
};

/// One value of a request, with the context that counts for it. It has no `Debug`.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The kind, as the request wrote it.
    pub kind: &'a str,
    /// The value, as the request wrote it.
    pub value: &'a str,
    /// The item's context, or the request's.
    pub context: &'a str,
}

/// What became of one value.
pub enum Tokenized {
    /// It has this token. `created` says whether the vault minted it now, and is absent for tokens that no vault holds.
    Token {
        /// The token's text.
        text: String,
        /// Whether the vault minted it now.
        created: Option<bool>,
    },
    /// The policy redacts its kind.
    Redacted(EntityKind),
    /// The policy lets its kind through.
    Passthrough,
    /// It failed.
    Failed(Failure),
}

impl Tokenized {
    /// The token's text, where there is one.
    pub fn token(&self) -> Option<&str> {
        match self {
            Tokenized::Token { text, .. } => Some(text),
            Tokenized::Redacted(_) | Tokenized::Passthrough | Tokenized::Failed(_) => None,
        }
    }
}

/// A value that the policy wants tokenized, checked.
pub(super) struct Checked<'a> {
    pub(super) kind: EntityKind,
    pub(super) context: Context<'a>,
    pub(super) value: Value<'a>,
    pub(super) rule: TokenizeRule,
}

/// What the policy makes of a value.
pub(super) enum Verdict<'a> {
    Tokenize(Checked<'a>),
    Redact(EntityKind),
    Passthrough,
}

/// Holds a value against the caller's permit and the policy.
pub(super) fn check<'a, O: Operation>(
    permit: &Permit<O>,
    policy: &Policy,
    subject: &Subject<'a>,
) -> Result<Verdict<'a>, Failure> {
    let (kind, rule) = policy.rule(subject.kind).ok_or(Failure::KindUnknown)?;
    permit.for_kind(kind)?;
    let context = Context::new(subject.context).ok_or(Failure::ContextLength)?;
    permit.for_context(subject.context)?;
    if rule.context_required && context.is_empty() {
        return Err(Failure::ContextRequired(kind));
    }
    match &rule.action {
        Action::Redact => Ok(Verdict::Redact(kind)),
        Action::Passthrough => Ok(Verdict::Passthrough),
        Action::Tokenize(rule) => {
            let value = Value::new(subject.value).ok_or(Failure::ValueLength)?;
            Ok(Verdict::Tokenize(Checked { kind, context, value, rule: *rule }))
        }
    }
}

/// The keys of a policy's kid. The daemon does not start with a policy whose kid has no key.
pub(super) fn keys_of(keys: &Keys, kid: Kid) -> Result<&KeyPair, Failure> {
    keys.ring.get(kid).ok_or_else(|| Failure::KeyUnavailable(super::KeyName { kid, fingerprint: "unknown".to_owned() }))
}

/// Where an item stands after the part of the work that needs no store.
pub(super) enum Stage<'a, 'k> {
    Done(Tokenized),
    Search(Box<Sought<'a, 'k>>),
}

pub(super) struct Sought<'a, 'k> {
    pub(super) checked: Checked<'a>,
    normal: Cow<'a, str>,
    pair: &'k KeyPair,
    pub(super) query: Query<'k>,
}

impl Vault {
    /// Swaps values for tokens. Results keep the order of the items, and each can fail alone. A token that is returned
    /// is durable.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed or the writer is overloaded: then no token was acknowledged.
    pub async fn tokenize(
        &self,
        permit: &Permit<Tokenize>,
        policy: &Policy,
        items: &[Subject<'_>],
    ) -> Result<Worked<Tokenized>, VaultError> {
        let keys = self.shared.keys.load_full();
        let world = permit.world();
        let stages = parallel::map(items, |item| stage(&keys, permit, policy, item));

        let mut tally = Tally::new("tokenize");
        let mut results: Vec<Option<Tokenized>> = Vec::with_capacity(stages.len());
        let mut sought = Vec::new();
        for (place, stage) in stages.into_iter().enumerate() {
            match stage {
                Stage::Done(result) => results.push(Some(result)),
                Stage::Search(search) => {
                    results.push(None);
                    sought.push((place, search));
                }
            }
        }
        if !sought.is_empty() {
            let found = self.find(sought.iter().map(|(_, s)| &s.query)).await?;
            let mut missing = Vec::new();
            for ((place, sought), found) in sought.into_iter().zip(found) {
                match found {
                    Ok(Some(found)) => {
                        results[place] = Some(Tokenized::Token { text: found.token(), created: Some(false) });
                    }
                    Ok(None) => missing.push((place, sought)),
                    Err(failure) => results[place] = Some(Tokenized::Failed(failure)),
                }
            }
            if !missing.is_empty() {
                let now_ms = self.now_ms();
                let mints = parallel::map(&missing, |(_, sought)| mint(&keys, world, sought, now_ms));
                let minted = self.writer.mint(mints).await?;
                for ((place, _), minted) in missing.iter().zip(minted) {
                    results[*place] = Some(match minted {
                        Ok(Minted { found, created }) => {
                            Tokenized::Token { text: found.token(), created: Some(created) }
                        }
                        Err(failure) => Tokenized::Failed(failure),
                    });
                }
            }
        }

        // Every place was filled above: `Done` at once, `Search` by what was found or minted.
        let results: Vec<Tokenized> = results.into_iter().flatten().collect();
        debug_assert_eq!(results.len(), items.len());
        for (item, result) in items.iter().zip(&results) {
            tally.count(outcome(&keys, policy, item, result));
        }
        Ok(tally.record(&self.shared, results))
    }

    /// The first record that stands for each value, if any. What it returns is durable.
    pub(super) async fn find<'q, 'k: 'q>(
        &self,
        queries: impl Iterator<Item = &'q Query<'k>>,
    ) -> Result<Vec<Result<Option<Found>, Failure>>, VaultError> {
        let queries: Vec<&Query<'_>> = queries.collect();
        let shared = &self.shared;
        let aliases = shared.ledger.load().aliases() > 0;
        loop {
            let reading = shared.in_flight.reading();
            let found = search::find_first(shared.store.as_ref(), &queries, aliases, &|| shared.damage_seen()).await?;
            let ids = found.iter().filter_map(|found| found.as_ref().ok().copied().flatten()).map(|found| found.id);
            if !shared.in_flight.must_read_again(&reading, ids).await {
                return Ok(found);
            }
        }
    }
}

fn stage<'a, 'k>(keys: &'k Keys, permit: &Permit<Tokenize>, policy: &Policy, item: &Subject<'a>) -> Stage<'a, 'k> {
    match begin(keys, permit, policy, item) {
        Ok(stage) => stage,
        Err(failure) => Stage::Done(Tokenized::Failed(failure)),
    }
}

/// Begins with an item: all that needs no store.
pub(super) fn begin<'a, 'k, O: Operation>(
    keys: &'k Keys,
    permit: &Permit<O>,
    policy: &Policy,
    item: &Subject<'a>,
) -> Result<Stage<'a, 'k>, Failure> {
    let world = permit.world();
    let checked = match check(permit, policy, item)? {
        Verdict::Redact(kind) => return Ok(Stage::Done(Tokenized::Redacted(kind))),
        Verdict::Passthrough => return Ok(Stage::Done(Tokenized::Passthrough)),
        Verdict::Tokenize(checked) => checked,
    };
    let pair = keys_of(keys, checked.rule.kid)?;
    match checked.rule.scheme {
        Scheme::ReversibleAead(suite) => {
            let keys = pair.active().keys(world);
            let body = keys.mint(suite, checked.kind, checked.context, checked.value, &mut rand::rng());
            let text = Token::Aead { kind: checked.kind, kid: checked.rule.kid, body }.to_text();
            Ok(Stage::Done(Tokenized::Token { text, created: None }))
        }
        Scheme::VaultDeterministic => {
            let normal = checked.rule.normalizer.apply(checked.value).map_err(|_| Failure::ValueNormalForm)?;
            let query = Query::new(pair, world, checked.kind, checked.context, &normal);
            Ok(Stage::Search(Box::new(Sought { checked, normal, pair, query })))
        }
    }
}

/// What the writer needs to mint: the value in its own memory, and the record already sealed under the keys that were
/// in force when the request began.
pub(super) fn mint(keys: &Keys, world: World, sought: &Sought<'_, '_>, now_ms: u64) -> Mint {
    let Sought { checked, normal, pair, query } = sought;
    let value = checked.value.as_str();
    let payload = records::payload(checked.context, checked.value, normal);
    let id = query.active_id();
    let record = records::seal(pair.active().keys(world), checked.kind, id, &payload, now_ms, &mut rand::rng());
    Mint {
        world,
        kid: checked.rule.kid,
        kind: checked.kind,
        context: Zeroizing::new(checked.context.as_str().to_owned()),
        value: Zeroizing::new(value.to_owned()),
        normal: (normal != value).then(|| Zeroizing::new(normal.to_string())),
        prepared: Prepared { epoch: keys.ring.epoch(), ids: query.ids(), record },
    }
}

fn outcome(keys: &Keys, policy: &Policy, item: &Subject<'_>, result: &Tokenized) -> Outcome {
    let (kind, rule) = policy.rule(item.kind).unzip();
    let (scheme, outcome) = match result {
        Tokenized::Failed(failure) => return Outcome::keyless(kind, failure.code().as_str()),
        Tokenized::Redacted(_) => return Outcome::keyless(kind, "redacted"),
        Tokenized::Passthrough => return Outcome::keyless(kind, "passthrough"),
        Tokenized::Token { created: Some(true), .. } => ("MSKV1", "created"),
        Tokenized::Token { created: Some(false), .. } => ("MSKV1", "existing"),
        Tokenized::Token { created: None, .. } => ("MSK1", "created"),
    };
    let kid = rule.and_then(|rule| match &rule.action {
        Action::Tokenize(rule) => Some(rule.kid),
        _ => None,
    });
    let fingerprint = kid.and_then(|kid| keys.ring.get(kid)).map(|pair| pair.active().fingerprint());
    Outcome { scheme, kind, kid, fingerprint, role: Some(Role::Active), outcome }
}
