//! Tokenizing: values to tokens.

use std::{borrow::Cow, sync::Arc};

use zeroize::Zeroizing;

use super::{
    ItemFailure, VaultError,
    handles::Handles,
    keys::{CurrentKeys, KeysInForce},
    ledger::CurrentLedger,
    mint::{MintChange, MintRequest, Minted, PreparedMint},
    outcomes::{BatchResult, ItemOutcomeKey, OutcomeCounter, RequestCounters},
    parallel_map,
    reader::Reader,
    records,
    search::{MatchedRecord, ValueQuery},
    time::{self, Clock},
    writer::WriterHandle,
};
use masker_access::{Permit, ScopedOperation, Tokenize};
use masker_core::{
    keyring::{KeyPair, Role},
    policy::{Action, Policy, Scheme, TokenizeRule},
    token::Token,
};
use masker_types::{
    kind::{Context, EntityKind, Kid, Value},
    mode::Mode,
};

/// One value of a request, with its context. It has no `Debug`.
#[derive(Clone, Copy)]
pub struct ValueInput<'a> {
    /// The kind, as the request wrote it.
    pub kind: &'a str,
    /// The value, as the request wrote it.
    pub value: &'a str,
    /// The item's own context, or else the request's.
    pub context: &'a str,
}

/// The result for one value.
pub enum Tokenized {
    /// The value has this token.
    Token {
        /// The token's text.
        text: String,
        /// Whether the vault minted it now; absent for a token without a record.
        created: Option<bool>,
    },
    /// The policy redacts its kind.
    Redacted(EntityKind),
    /// The policy passes its kind through.
    Passthrough,
    /// The item failed.
    Failed(ItemFailure),
}

impl Tokenized {
    /// Returns the token's text, if there is a token.
    pub fn token(&self) -> Option<&str> {
        match self {
            Tokenized::Token { text, .. } => Some(text),
            Tokenized::Redacted(_) | Tokenized::Passthrough | Tokenized::Failed(_) => None,
        }
    }
}

/// A value that the policy wants tokenized, checked.
pub(super) struct CheckedValue<'a> {
    pub(super) kind: EntityKind,
    pub(super) context: Context<'a>,
    pub(super) value: Value<'a>,
    pub(super) rule: TokenizeRule,
}

/// What the policy does with a value.
pub(super) enum ValueAction<'a> {
    Tokenize(CheckedValue<'a>),
    Redact(EntityKind),
    Passthrough,
}

/// Checks a value by the caller's permit and the policy.
pub(super) fn check<'a, O: ScopedOperation>(
    permit: &Permit<O>,
    policy: &Policy,
    item: &ValueInput<'a>,
) -> Result<ValueAction<'a>, ItemFailure> {
    let (kind, rule) = policy.rule(item.kind).ok_or(ItemFailure::KindUnknown)?;
    permit.check_kind(kind)?;
    let context = Context::new(item.context).ok_or(ItemFailure::ContextLength)?;
    permit.check_context(item.context)?;
    if rule.context_required && context.is_empty() {
        return Err(ItemFailure::ContextRequired(kind));
    }
    match &rule.action {
        Action::Redact => Ok(ValueAction::Redact(kind)),
        Action::Passthrough => Ok(ValueAction::Passthrough),
        Action::Tokenize(rule) => {
            let value = Value::new(item.value).ok_or(ItemFailure::ValueLength)?;
            Ok(ValueAction::Tokenize(CheckedValue { kind, context, value, rule: *rule }))
        }
    }
}

/// Returns the keys of a policy's kid. The daemon does not start with a policy whose kid has no key.
pub(super) fn keys_of(keys: &KeysInForce, kid: Kid) -> Result<&KeyPair, ItemFailure> {
    keys.ring
        .get(kid)
        .ok_or_else(|| ItemFailure::KeyUnavailable(super::GenerationRef { kid, fingerprint: "unknown".to_owned() }))
}

/// The stage of an item after the work that needs no store.
pub(super) enum TokenizeStage<'a, 'k> {
    Done(Tokenized),
    Search(Box<PendingLookup<'a, 'k>>),
}

pub(super) struct PendingLookup<'a, 'k> {
    pub(super) checked: CheckedValue<'a>,
    normal: Cow<'a, str>,
    pair: &'k KeyPair,
    pub(super) query: ValueQuery<'k>,
}

/// Finds and mints the tokens of values.
pub(crate) struct Tokenizer {
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    reader: Arc<Reader>,
    writer: Arc<WriterHandle>,
    counters: Arc<RequestCounters>,
    clock: Clock,
}

impl Tokenizer {
    pub(crate) fn new(handles: &Handles) -> Self {
        Tokenizer {
            keys: Arc::clone(&handles.keys),
            ledger: Arc::clone(&handles.ledger),
            reader: Arc::clone(&handles.reader),
            writer: Arc::clone(&handles.writer),
            counters: Arc::clone(&handles.counters),
            clock: Arc::clone(&handles.clock),
        }
    }

    /// Implements [`Vault::tokenize`](crate::Vault::tokenize).
    pub(crate) async fn tokenize(
        &self,
        permit: &Permit<Tokenize>,
        policy: &Policy,
        items: &[ValueInput<'_>],
    ) -> Result<BatchResult<Tokenized>, VaultError> {
        let keys = self.keys.load_full();
        let mode = permit.mode();
        let stages = parallel_map::map(items, |item| stage(&keys, permit, policy, item));

        let mut counter = OutcomeCounter::new("tokenize");
        let mut results: Vec<Option<Tokenized>> = Vec::with_capacity(stages.len());
        let mut pending = Vec::new();
        for (position, stage) in stages.into_iter().enumerate() {
            match stage {
                TokenizeStage::Done(result) => results.push(Some(result)),
                TokenizeStage::Search(search) => {
                    results.push(None);
                    pending.push((position, search));
                }
            }
        }
        if !pending.is_empty() {
            let found = self.find(pending.iter().map(|(_, s)| &s.query)).await?;
            let mut missing = Vec::new();
            for ((position, pending), found) in pending.into_iter().zip(found) {
                match found {
                    Ok(Some(found)) => {
                        results[position] = Some(Tokenized::Token { text: found.token(), created: Some(false) });
                    }
                    Ok(None) => missing.push((position, pending)),
                    Err(failure) => results[position] = Some(Tokenized::Failed(failure)),
                }
            }
            if !missing.is_empty() {
                let now_ms = time::unix_ms(&self.clock);
                let mints = parallel_map::map(&missing, |(_, pending)| mint(&keys, mode, pending, now_ms));
                let minted = self.writer.commit(MintChange(mints)).await?;
                for ((position, _), minted) in missing.iter().zip(minted) {
                    results[*position] = Some(match minted {
                        Ok(Minted { found, created }) => {
                            Tokenized::Token { text: found.token(), created: Some(created) }
                        }
                        Err(failure) => Tokenized::Failed(failure),
                    });
                }
            }
        }

        // Every result was set above: `Done` at once, `Search` by what was found or minted.
        let results: Vec<Tokenized> = results.into_iter().flatten().collect();
        debug_assert_eq!(results.len(), items.len());
        for (item, result) in items.iter().zip(&results) {
            counter.count(outcome(&keys, policy, item, result));
        }
        Ok(counter.record(&self.counters, results))
    }

    /// Returns the first record of each value, if any. What it returns is durable.
    pub(super) async fn find<'q, 'k: 'q>(
        &self,
        queries: impl Iterator<Item = &'q ValueQuery<'k>>,
    ) -> Result<Vec<Result<Option<MatchedRecord>, ItemFailure>>, VaultError> {
        let queries: Vec<&ValueQuery<'_>> = queries.collect();
        let aliases = self.ledger.load().aliases() > 0;
        self.reader.find_first(&queries, aliases).await
    }
}

fn stage<'a, 'k>(
    keys: &'k KeysInForce,
    permit: &Permit<Tokenize>,
    policy: &Policy,
    item: &ValueInput<'a>,
) -> TokenizeStage<'a, 'k> {
    match begin(keys, permit, policy, item) {
        Ok(stage) => stage,
        Err(failure) => TokenizeStage::Done(Tokenized::Failed(failure)),
    }
}

/// Does the work for an item that needs no store.
pub(super) fn begin<'a, 'k, O: ScopedOperation>(
    keys: &'k KeysInForce,
    permit: &Permit<O>,
    policy: &Policy,
    item: &ValueInput<'a>,
) -> Result<TokenizeStage<'a, 'k>, ItemFailure> {
    let mode = permit.mode();
    let checked = match check(permit, policy, item)? {
        ValueAction::Redact(kind) => return Ok(TokenizeStage::Done(Tokenized::Redacted(kind))),
        ValueAction::Passthrough => return Ok(TokenizeStage::Done(Tokenized::Passthrough)),
        ValueAction::Tokenize(checked) => checked,
    };
    let pair = keys_of(keys, checked.rule.kid)?;
    match checked.rule.scheme {
        Scheme::ReversibleAead(suite) => {
            let keys = pair.active().keys(mode);
            let body = keys.mint(suite, checked.kind, checked.context, checked.value, &mut rand::rng());
            let text = Token::Aead { kind: checked.kind, kid: checked.rule.kid, body }.to_text();
            Ok(TokenizeStage::Done(Tokenized::Token { text, created: None }))
        }
        Scheme::VaultDeterministic => {
            let normal = checked.rule.normalizer.apply(checked.value).map_err(|_| ItemFailure::ValueNormalForm)?;
            let query = ValueQuery::new(pair, mode, checked.kind, checked.context, &normal);
            Ok(TokenizeStage::Search(Box::new(PendingLookup { checked, normal, pair, query })))
        }
    }
}

/// Prepares a mint for the writer: copies the value, and seals the record under the keys that the request began with.
pub(super) fn mint(keys: &KeysInForce, mode: Mode, pending: &PendingLookup<'_, '_>, now_ms: u64) -> MintRequest {
    let PendingLookup { checked, normal, pair, query } = pending;
    let value = checked.value.as_str();
    let payload = records::payload(checked.context, checked.value, normal);
    let id = query.active_id();
    let record = records::seal(pair.active().keys(mode), checked.kind, id, &payload, now_ms, &mut rand::rng());
    MintRequest {
        mode,
        kid: checked.rule.kid,
        kind: checked.kind,
        context: Zeroizing::new(checked.context.as_str().to_owned()),
        value: Zeroizing::new(value.to_owned()),
        normal: (normal != value).then(|| Zeroizing::new(normal.to_string())),
        prepared: PreparedMint { epoch: keys.ring.epoch(), ids: query.ids(), record },
    }
}

fn outcome(keys: &KeysInForce, policy: &Policy, item: &ValueInput<'_>, result: &Tokenized) -> ItemOutcomeKey {
    let (kind, rule) = policy.rule(item.kind).unzip();
    let (scheme, outcome) = match result {
        Tokenized::Failed(failure) => return ItemOutcomeKey::keyless(kind, failure.code().as_str()),
        Tokenized::Redacted(_) => return ItemOutcomeKey::keyless(kind, "redacted"),
        Tokenized::Passthrough => return ItemOutcomeKey::keyless(kind, "passthrough"),
        Tokenized::Token { created: Some(true), .. } => ("MSKV1", "created"),
        Tokenized::Token { created: Some(false), .. } => ("MSKV1", "existing"),
        Tokenized::Token { created: None, .. } => ("MSK1", "created"),
    };
    let kid = rule.and_then(|rule| match &rule.action {
        Action::Tokenize(rule) => Some(rule.kid),
        _ => None,
    });
    let fingerprint = kid.and_then(|kid| keys.ring.get(kid)).map(|pair| pair.active().fingerprint());
    ItemOutcomeKey { scheme, kind, kid, fingerprint, role: Some(Role::Active), outcome }
}
