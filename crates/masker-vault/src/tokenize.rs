//! Tokenizing: values to tokens.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use zeroize::Zeroizing;

use super::{
    ItemFailure, VaultError,
    handles::Handles,
    index_list,
    keys::{CurrentKeys, KeysInForce},
    ledger::{CurrentLedger, Ledger},
    mint::{MintChange, MintIndexes, MintRequest, Minted, PreparedMint, indexes_of},
    outcomes::{BatchResult, ItemOutcomeKey, OutcomeCounter, RequestCounters},
    parallel_map,
    placeholders::Placeholders,
    placing::Placer,
    reader::Reader,
    records::{self, MintedToken, RecordIndexes},
    search::{MatchedRecord, SearchBasis, SearchKeys, ValueQuery},
    spelling_scan::read_spellings,
    time::{self, Clock},
    writer::{Lane, WriterHandle},
};
use masker_access::{Permit, ScopedOperation, TokenizesValues};
use masker_core::{
    crypto::{Index, MatchPart, TokenId},
    keyring::{KeyPair, Role},
    placeholder::Placeholder,
    policy::{Action, EntityRule, Policy, Scheme, TokenizeRule},
    token::Token,
    validate::is_token,
};
use masker_store::{RowKey, record::PlaceholderOwner};
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

/// The result for one value that was found in a text.
pub struct Masked {
    /// The result of tokenizing it.
    pub result: Tokenized,
    /// Its placeholder, if placeholders were asked for and it has a token.
    pub placeholder: Option<Placeholder>,
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
    if is_token(item.value) {
        return Err(ItemFailure::ValueIsToken);
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

/// What masking does with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannedAction {
    /// It gets a token.
    Tokenize,
    /// It is redacted.
    Redact,
    /// It stays.
    Passthrough,
}

/// Returns what masking would do with a value, without the keys and the store.
///
/// # Errors
/// [`ItemFailure`], with which masking would fail.
pub fn planned_action<O: ScopedOperation>(
    permit: &Permit<O>,
    policy: &Policy,
    item: &ValueInput<'_>,
) -> Result<PlannedAction, ItemFailure> {
    match check(permit, policy, item).and_then(|action| validate(policy, item).map(|()| action)) {
        Ok(ValueAction::Tokenize(_)) => Ok(PlannedAction::Tokenize),
        Ok(ValueAction::Redact(_)) => Ok(PlannedAction::Redact),
        Ok(ValueAction::Passthrough) => Ok(PlannedAction::Passthrough),
        Err(refused) if is_refused_by_policy(&refused) => Ok(PlannedAction::Redact),
        Err(failure) => Err(failure),
    }
}

/// Returns the keys of a policy's kid. The daemon does not start with a policy whose kid has no key.
pub(super) fn keys_of(keys: &KeysInForce, kid: Kid) -> Result<&KeyPair, ItemFailure> {
    keys.ring.get(kid).ok_or_else(|| key_unavailable(kid))
}

/// The failure of an item whose kid has no key any more.
fn key_unavailable(kid: Kid) -> ItemFailure {
    ItemFailure::KeyUnavailable(super::GenerationRef { kid, fingerprint: "unknown".to_owned() })
}

/// The stage of an item after the work that needs no store.
pub(super) enum TokenizeStage<'a, 'k> {
    Done(Tokenized),
    Search(Box<ValueSearch<'a, 'k>>),
}

/// A search for the token of a value.
pub(super) struct ValueSearch<'a, 'k> {
    pub(super) checked: CheckedValue<'a>,
    basis: SearchBasis,
    pub(super) query: ValueQuery<'k>,
}

/// A value that the vault does not have, with what its token depends on.
struct MissingValue<'a, 'k> {
    search: Box<ValueSearch<'a, 'k>>,
    form: Cow<'a, str>,
    indexes: MintIndexes,
    match_part: MatchPart,
}

/// Finds and mints the tokens of values.
pub(crate) struct Tokenizer {
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    reader: Arc<Reader>,
    pub(crate) writer: Arc<WriterHandle>,
    counters: Arc<RequestCounters>,
    clock: Clock,
    pub(crate) placeholders: Placeholders,
}

impl Tokenizer {
    pub(crate) fn new(handles: &Handles) -> Self {
        Tokenizer {
            placeholders: Placeholders::new(handles),
            keys: Arc::clone(&handles.keys),
            ledger: Arc::clone(&handles.ledger),
            reader: Arc::clone(&handles.reader),
            writer: Arc::clone(&handles.writer),
            counters: Arc::clone(&handles.counters),
            clock: Arc::clone(&handles.clock),
        }
    }

    /// Implements [`Vault::tokenize`](crate::Vault::tokenize), and with an owner of placeholders
    /// [`Vault::mask`](crate::Vault::mask).
    pub(crate) async fn tokenize<O: TokenizesValues>(
        &self,
        permit: &Permit<O>,
        policy: &Policy,
        items: &[ValueInput<'_>],
        owner: Option<PlaceholderOwner>,
    ) -> Result<BatchResult<Masked>, VaultError> {
        let keys = self.keys.load_full();
        let ledger = self.ledger.load_full();
        let mode = permit.mode();
        let stages = parallel_map::map(items, |item| stage(&keys, &ledger, permit, policy, item));

        let mut counter = OutcomeCounter::new(O::NAME);
        let mut results: Vec<Option<Tokenized>> = Vec::with_capacity(stages.len());
        let mut searches = Vec::new();
        for (position, stage) in stages.into_iter().enumerate() {
            match stage {
                TokenizeStage::Done(result) => results.push(Some(result)),
                TokenizeStage::Search(search) => {
                    results.push(None);
                    searches.push((position, search));
                }
            }
        }
        let mut mints = Vec::new();
        let mut minting = Vec::new();
        if !searches.is_empty() {
            let found = self.find(searches.iter().map(|(_, search)| &search.query)).await?;
            let (mut positions, mut missing) = (Vec::new(), Vec::new());
            for ((position, search), found) in searches.into_iter().zip(found) {
                match found {
                    Ok(Some(found)) => {
                        results[position] = Some(Tokenized::Token { text: found.token(), created: Some(false) });
                    }
                    Ok(None) => {
                        positions.push(position);
                        missing.push(search);
                    }
                    Err(failure) => results[position] = Some(Tokenized::Failed(failure)),
                }
            }
            if !missing.is_empty() {
                let now_ms = time::unix_ms(&self.clock);
                let missing = self.choose_match_parts(missing).await?;
                mints = parallel_map::map(&missing, |missing| mint(mode, missing, now_ms));
                minting = positions;
            }
        }
        let mint = MintChange::new(Lane::Caller(permit.caller_id()), mints);
        let mut placeholders = vec![None; items.len()];
        match owner {
            Some(owner) => {
                let placer = Placer { tokenizer: self, keys: &keys, mode, owner, caller: permit.caller_id(), items };
                placer.place(mint, &minting, &mut results, &mut placeholders).await?;
            }
            None if minting.is_empty() => {}
            None => note_minted(&mut results, &minting, self.writer.commit(mint).await?),
        }

        // Every result was set above: `Done` at once, `Search` by what was found or minted.
        let results: Vec<Tokenized> = results.into_iter().flatten().collect();
        debug_assert_eq!(results.len(), items.len());
        for (item, result) in items.iter().zip(&results) {
            counter.count(outcome(&keys, policy, item, result));
        }
        let masked = results.into_iter().zip(placeholders);
        let masked = masked.map(|(result, placeholder)| Masked { result, placeholder }).collect();
        Ok(counter.record(&self.counters, masked))
    }

    /// Returns the first record of each value, if any. What it returns is durable.
    async fn find<'q, 'k: 'q>(
        &self,
        queries: impl Iterator<Item = &'q ValueQuery<'k>>,
    ) -> Result<Vec<Result<Option<MatchedRecord>, ItemFailure>>, VaultError> {
        let queries: Vec<&ValueQuery<'_>> = queries.collect();
        let moving_to = self.ledger.load().moving_to();
        self.reader.find_first(&queries, moving_to).await
    }

    /// Chooses match parts: that of another spelling which the vault has, or a new one that no record begins with. Spellings
    /// of one form share one. The writer decides again; this lets requests seal their records before.
    async fn choose_match_parts<'a, 'k>(
        &self,
        missing: Vec<Box<ValueSearch<'a, 'k>>>,
    ) -> Result<Vec<MissingValue<'a, 'k>>, VaultError> {
        let computed = parallel_map::map(&missing, |search| {
            let CheckedValue { kind, context, value, rule } = &search.checked;
            let form = rule.normalizer.form(*value);
            let indexes = indexes_of(&search.query.keys, *kind, *context, *value, rule.normalizer, &form);
            (form, indexes)
        });
        let mut chosen: Vec<MissingValue<'a, 'k>> = Vec::with_capacity(missing.len());
        let mut drawn = self.draw_match_parts(missing.len()).await?;
        for (search, (form, indexes)) in missing.into_iter().zip(computed) {
            let match_part = drawn.pop().unwrap_or_else(|| MatchPart::random(&mut rand::rng()));
            chosen.push(MissingValue { search, form, indexes, match_part });
        }
        let row_keys: Vec<RowKey> = chosen
            .iter()
            .flat_map(|one| &one.indexes.forms)
            .map(|index| RowKey::form_index(index.as_bytes()))
            .collect();
        let mut rows =
            if row_keys.is_empty() { Vec::new() } else { self.reader.store().get_many(row_keys).await? }.into_iter();
        let mut by_form: HashMap<Index, MatchPart> = HashMap::new();
        for one in &mut chosen {
            let mut listed = None;
            for (keys, index) in one.search.query.keys.iter().zip(&one.indexes.forms) {
                let row = rows.next().flatten();
                listed = listed.or_else(|| index_list::verified::<MatchPart>(keys, *index, &row?)?.first().copied());
            }
            if let Some(index) = one.indexes.forms.first() {
                one.match_part = *by_form.entry(*index).or_insert_with(|| listed.unwrap_or(one.match_part));
            }
        }
        Ok(chosen)
    }

    /// Draws match parts that no record begins with.
    async fn draw_match_parts(&self, count: usize) -> Result<Vec<MatchPart>, VaultError> {
        let mut drawn: Vec<MatchPart> = Vec::with_capacity(count);
        while drawn.len() < count {
            let parts: Vec<MatchPart> = (drawn.len()..count).map(|_| MatchPart::random(&mut rand::rng())).collect();
            let taken = read_spellings(self.reader.store(), &parts, 1).await?;
            drawn.extend(
                parts.into_iter().zip(taken).filter(|(_, taken)| taken.records.is_empty()).map(|(part, _)| part),
            );
        }
        Ok(drawn)
    }
}

/// Sets the results of items whose tokens were minted.
pub(super) fn note_minted(
    results: &mut [Option<Tokenized>],
    positions: &[usize],
    minted: Vec<Result<Minted, ItemFailure>>,
) {
    for (position, minted) in positions.iter().zip(minted) {
        results[*position] = Some(match minted {
            Ok(Minted { found, created }) => Tokenized::Token { text: found.token(), created: Some(created) },
            Err(failure) => Tokenized::Failed(failure),
        });
    }
}

fn stage<'a, 'k, O: TokenizesValues>(
    keys: &'k KeysInForce,
    ledger: &Ledger,
    permit: &Permit<O>,
    policy: &Policy,
    item: &ValueInput<'a>,
) -> TokenizeStage<'a, 'k> {
    match begin(keys, ledger, permit, policy, item).and_then(|stage| validate(policy, item).map(|()| stage)) {
        Ok(stage) => stage,
        Err(failure) => TokenizeStage::Done(match EntityKind::parse(item.kind) {
            Some(kind) if O::REDACTS_REFUSED && is_refused_by_policy(&failure) => Tokenized::Redacted(kind),
            _ => Tokenized::Failed(failure),
        }),
    }
}

/// Returns whether the policy has no token for the value, for any caller.
fn is_refused_by_policy(failure: &ItemFailure) -> bool {
    matches!(failure, ItemFailure::KindUnknown | ItemFailure::ValueLength | ItemFailure::ValueCheck(_))
}

/// Checks a value as the policy wants for its kind. Only tokenizing does: a value from before the policy wanted the check
/// can still be looked up, and honeytokens are not real.
fn validate(policy: &Policy, item: &ValueInput<'_>) -> Result<(), ItemFailure> {
    let Some((_, EntityRule { action: Action::Tokenize(rule), .. })) = policy.rule(item.kind) else { return Ok(()) };
    match (rule.validation, Value::new(item.value)) {
        (Some(validation), Some(value)) if !validation.accepts(value) => Err(ItemFailure::ValueCheck(validation)),
        _ => Ok(()),
    }
}

/// Does the work for an item that needs no store.
fn begin<'a, 'k, O: ScopedOperation>(
    keys: &'k KeysInForce,
    ledger: &Ledger,
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
            let query = query(keys, ledger, mode, &checked)?;
            let basis = SearchBasis::new(&keys.ring, ledger);
            Ok(TokenizeStage::Search(Box::new(ValueSearch { checked, basis, query })))
        }
    }
}

/// Returns the search for a value.
pub(super) fn query<'k>(
    keys: &'k KeysInForce,
    ledger: &Ledger,
    mode: Mode,
    checked: &CheckedValue<'_>,
) -> Result<ValueQuery<'k>, ItemFailure> {
    let kid = checked.rule.kid;
    let search_keys = SearchKeys::new(&keys.ring, ledger, kid, mode).ok_or_else(|| key_unavailable(kid))?;
    Ok(ValueQuery::new(search_keys, checked.kind, checked.context, checked.value))
}

/// Prepares a mint for the writer: copies the value, and seals the record under the keys that the request began with.
fn mint(mode: Mode, missing: &MissingValue<'_, '_>, now_ms: u64) -> MintRequest {
    let MissingValue { search, form, indexes, match_part } = missing;
    let ValueSearch { checked, basis, query } = &**search;
    let CheckedValue { kind, context, value, rule } = checked;
    let rng = &mut rand::rng();
    let id = TokenId::random(*match_part, rng);
    let token = MintedToken { kind: *kind, kid: rule.kid, id, minted_at_ms: now_ms };
    let own = RecordIndexes { value: indexes.values.first().copied(), form: indexes.forms.first().copied() };
    let payload = records::payload(*context, *value, rule.normalizer, form);
    let record = records::seal(query.keys.active(), &token, own, &payload, now_ms, rng);
    MintRequest {
        mode,
        kid: rule.kid,
        kind: *kind,
        context: Zeroizing::new(context.as_str().to_owned()),
        value: Zeroizing::new(value.as_str().to_owned()),
        normalizer: rule.normalizer,
        form: (form != value.as_str()).then(|| Zeroizing::new(form.to_string())),
        prepared: PreparedMint { basis: *basis, indexes: indexes.clone(), id, record },
    }
}

fn outcome(keys: &KeysInForce, policy: &Policy, item: &ValueInput<'_>, result: &Tokenized) -> ItemOutcomeKey {
    let (kind, rule) = policy.rule(item.kind).unzip();
    let (scheme, outcome) = match result {
        Tokenized::Failed(failure) => return ItemOutcomeKey::keyless(kind, failure.code().as_str()),
        Tokenized::Redacted(kind) => return ItemOutcomeKey::keyless(Some(*kind), "redacted"),
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
