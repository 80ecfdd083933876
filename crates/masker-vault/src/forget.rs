//! Forgetting: the records of tokens erased.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use zeroize::Zeroizing;

use super::{
    ItemFailure, TokenInput, ValueInput, VaultError,
    handles::Handles,
    keys::{CurrentKeys, KeysInForce},
    ledger::{CurrentLedger, Ledger},
    lookup::{SEARCHES_AT_ONCE, TokenFinder, TokenSearch},
    outcomes::{BatchResult, ItemOutcomeKey, OutcomeCounter, RequestCounters},
    reader::Reader,
    rehydrate::{ParsedToken, check_reach, open_record, rows_of},
    search::{MatchedRecord, SearchBasis},
    tokenize::{CheckedValue, ValueAction, check},
    writer::{Change, CommitDraft, Lane, ROWS_PER_ERASURE, ReadPlan, WriterHandle},
};
use masker_access::{Denied, Forget, Lookup, Permit};
use masker_core::{
    crypto::{Fingerprint, TokenId},
    keyring::Keyring,
    normalize::Normalizer,
    policy::{Policy, Scheme, TokenizeRule},
};
use masker_store::record::Record;
use masker_types::{
    grant::Scope,
    kind::{Context, EntityKind, Kid, Value},
    limits::LOOKUP_TOKENS_MAX,
    mode::Mode,
};

/// Records that one commit erases, so that other requests do not wait for the erasure of thousands of spellings.
const ERASURES_PER_COMMIT: usize = 1_000;

/// The key generation that sealed the erased record; `None` for a token without a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten(pub Option<(Kid, Fingerprint)>);

/// A record to erase, by what its token says.
struct EraseRequest {
    mode: Mode,
    kind: EntityKind,
    kid: Kid,
    id: TokenId,
    /// The request's context; `None` where the search has found the record in it.
    context: Option<Zeroizing<String>>,
    /// Whether the caller may erase a record that cannot be opened.
    covers_unopened: bool,
}

/// What became of a record to erase.
struct ErasureOutcome {
    /// The generation that sealed it.
    result: Result<(Kid, Fingerprint), ItemFailure>,
    /// Whether it is erased now, by this change or before. A repeated request finds a record gone whose erasure was not
    /// recorded.
    is_erased: bool,
}

/// Erases the records of tokens. The outcome has one for each token.
struct ForgetChange {
    lane: Lane,
    erasures: Vec<EraseRequest>,
}

impl Change for ForgetChange {
    type Outcome = Vec<ErasureOutcome>;

    fn row_count(&self) -> usize {
        ROWS_PER_ERASURE * self.erasures.len()
    }

    fn lane(&self) -> Lane {
        self.lane.clone()
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        for erasure in &self.erasures {
            plan.record_with_indexes(erasure.id);
            plan.tombstone(erasure.id);
        }
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Self::Outcome {
        let decide = |erasure: &EraseRequest| {
            let result = erasure.decide(draft);
            ErasureOutcome { is_erased: result.is_ok() || draft.has_tombstone(erasure.id), result }
        };
        self.erasures.iter().map(decide).collect()
    }
}

impl EraseRequest {
    fn decide(&self, draft: &mut CommitDraft<'_>) -> Result<(Kid, Fingerprint), ItemFailure> {
        let record = draft.record(self.id)?.filter(|record| self.names(record)).ok_or(ItemFailure::NotFound)?;
        self.check_context(draft.keyring(), &record)?;
        Ok(draft.erase_record(self.id, &record))
    }

    /// Returns whether the record belongs to the token: a token relabelled with another kind or kid is unknown.
    fn names(&self, record: &Record) -> bool {
        record.kind == self.kind && record.minted_kid == self.kid
    }

    /// Checks that the record is of the caller's mode and of the request's context. Both are sealed, so they cannot be
    /// checked without the key: then forgetting continues for a caller who may erase the records of every context.
    fn check_context(&self, ring: &Keyring, record: &Record) -> Result<(), ItemFailure> {
        let Some(context) = &self.context else { return Ok(()) };
        let context = Context::new(context).ok_or(ItemFailure::ContextLength)?;
        match open_record(ring, self.mode, (self.kind, self.kid, self.id), context, record) {
            Err(ItemFailure::KeyUnavailable(_)) if self.covers_unopened => Ok(()),
            opened => opened.map(drop),
        }
    }
}

/// The tokens of a value that were erased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForgottenValue {
    /// How many tokens.
    pub count: u64,
    /// The key generations that sealed their records, with the number of each.
    pub sealed_under: BTreeMap<(Kid, Fingerprint), u64>,
    /// Why the vault may have more tokens of the value. Those that are counted are erased all the same.
    pub failure: Option<ItemFailure>,
}

impl ForgottenValue {
    fn add(&mut self, sealed_under: (Kid, Fingerprint)) {
        self.count += 1;
        *self.sealed_under.entry(sealed_under).or_default() += 1;
    }

    fn fail(&mut self, failure: ItemFailure) {
        self.failure.get_or_insert(failure);
    }
}

/// Erases the records of tokens.
pub(crate) struct Eraser {
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    reader: Arc<Reader>,
    writer: Arc<WriterHandle>,
    counters: Arc<RequestCounters>,
    finder: Arc<TokenFinder>,
}

impl Eraser {
    pub(crate) fn new(handles: &Handles, finder: Arc<TokenFinder>) -> Self {
        Eraser {
            keys: Arc::clone(&handles.keys),
            ledger: Arc::clone(&handles.ledger),
            reader: Arc::clone(&handles.reader),
            writer: Arc::clone(&handles.writer),
            counters: Arc::clone(&handles.counters),
            finder,
        }
    }

    /// Implements [`Vault::forget_values`](crate::Vault::forget_values).
    pub(crate) async fn forget_values(
        &self,
        permits: (&Permit<Forget>, &Permit<Lookup>),
        policy: &Policy,
        items: &[ValueInput<'_>],
    ) -> Result<BatchResult<ForgottenValue>, VaultError> {
        let mut results: Vec<ForgottenValue> = Vec::with_capacity(items.len());
        let mut erased = Vec::new();
        for chunk in items.chunks(SEARCHES_AT_ONCE) {
            let begun = results.len();
            results.resize(begun + chunk.len(), ForgottenValue::default());
            let Err(failed) = self.forget_spellings(permits, policy, chunk, &mut results[begun..], &mut erased).await
            else {
                continue;
            };
            if results.iter().all(|forgotten| forgotten.count == 0) {
                return Err(failed);
            }
            // Some records are erased, so the request is answered and recorded with their number.
            results.resize(items.len(), ForgottenValue::default());
            results[begun..].iter_mut().for_each(|forgotten| forgotten.fail(ItemFailure::Interrupted));
            break;
        }
        let mut counter = OutcomeCounter::new("forget");
        for (item, forgotten) in items.iter().zip(&results) {
            let kind = policy.rule(item.kind).map(|(kind, _)| kind);
            for ((kid, fingerprint), count) in &forgotten.sealed_under {
                counter.add(forgotten_under(*kid, *fingerprint), *count);
            }
            match &forgotten.failure {
                Some(failure) => counter.count(ItemOutcomeKey::keyless(kind, failure.code().as_str())),
                None if forgotten.count == 0 => counter.count(ItemOutcomeKey::keyless(kind, "none")),
                None => {}
            }
        }
        Ok(BatchResult { erased, ..counter.record(&self.counters, results) })
    }

    /// Erases all tokens of some values, and adds their records to `erased_ids`.
    async fn forget_spellings(
        &self,
        permits: (&Permit<Forget>, &Permit<Lookup>),
        policy: &Policy,
        items: &[ValueInput<'_>],
        results: &mut [ForgottenValue],
        erased_ids: &mut Vec<TokenId>,
    ) -> Result<(), VaultError> {
        // A value can have more tokens than one search returns.
        let mut pending: Vec<usize> = (0..items.len()).collect();
        while !pending.is_empty() {
            let basis = SearchBasis::current(&self.keys, &self.ledger);
            pending = self.forget_found(permits, policy, items, pending, results, erased_ids).await?;
            // Keys that were replaced meanwhile, or records that were moved to another kid, may have been missed.
            if SearchBasis::current(&self.keys, &self.ledger) != basis {
                let can_go_on =
                    |position: &usize| matches!(results[*position].failure, None | Some(ItemFailure::Damaged));
                pending = (0..items.len()).filter(can_go_on).collect();
            }
        }
        Ok(())
    }

    /// Erases the tokens that one search finds for each of some items. Returns the items that have more.
    async fn forget_found(
        &self,
        permits: (&Permit<Forget>, &Permit<Lookup>),
        policy: &Policy,
        items: &[ValueInput<'_>],
        pending: Vec<usize>,
        results: &mut [ForgottenValue],
        erased_ids: &mut Vec<TokenId>,
    ) -> Result<Vec<usize>, VaultError> {
        let keys = self.keys.load_full();
        let ledger = self.ledger.load_full();
        let mode = permits.0.mode();
        let lane = Lane::Caller(permits.0.caller_id());
        let (mut positions, mut searches) = (Vec::new(), Vec::new());
        for position in pending {
            match searches_to_forget(&keys, &ledger, permits, policy, &items[position]) {
                Ok(found) => {
                    positions.resize(positions.len() + found.searches.len(), position);
                    searches.extend(found.searches);
                    found.failure.into_iter().for_each(|failure| results[position].fail(failure));
                }
                Err(failure) => results[position].fail(failure),
            }
        }
        let searches: Vec<&TokenSearch<'_, '_>> = searches.iter().collect();
        let found = self.finder.find(&keys.ring, &ledger, mode, LOOKUP_TOKENS_MAX, &searches).await?;
        let (mut erasures, mut more) = (Vec::new(), Vec::new());
        for (position, found) in positions.into_iter().zip(found) {
            match found {
                Ok(found) => {
                    // What can be read is erased, though not all can.
                    if found.damaged {
                        results[position].fail(ItemFailure::Damaged);
                    }
                    more.extend(found.more.then_some(position));
                    for record in found.records {
                        match record.is_reached_by(permits.0) {
                            true => erasures.push((position, record)),
                            false => results[position].fail(Denied::Token { scope: Scope::Forget }.into()),
                        }
                    }
                }
                Err(failure) => results[position].fail(failure),
            }
        }
        let mut gone = BTreeSet::new();
        for erasures in erasures.chunks(ERASURES_PER_COMMIT) {
            let request = |(_, record): &(usize, MatchedRecord)| EraseRequest {
                mode,
                kind: record.kind,
                kid: record.minted_kid,
                id: record.id,
                context: None,
                covers_unopened: false,
            };
            let change = ForgetChange { lane: lane.clone(), erasures: erasures.iter().map(request).collect() };
            for ((position, record), erased) in erasures.iter().zip(self.writer.commit(change).await?) {
                erased_ids.extend(erased.is_erased.then_some(record.id));
                match erased.result {
                    Ok(sealed_under) => results[*position].add(sealed_under),
                    // Another item or another request has erased it meanwhile.
                    Err(ItemFailure::NotFound) => {}
                    Err(failure) => {
                        results[*position].fail(failure);
                        continue;
                    }
                }
                gone.insert(*position);
            }
        }
        // Another search finds others only if some of what this one found is gone.
        more.retain(|position| gone.contains(position));
        more.sort_unstable();
        more.dedup();
        Ok(more)
    }

    /// Implements [`Vault::forget`](crate::Vault::forget).
    pub(crate) async fn forget(
        &self,
        permit: &Permit<Forget>,
        tokens: &[TokenInput<'_>],
    ) -> Result<BatchResult<Result<Forgotten, ItemFailure>>, VaultError> {
        let mut results: Vec<Result<Forgotten, ItemFailure>> = Vec::with_capacity(tokens.len());
        let mut positions = Vec::new();
        let mut erasures = Vec::new();
        let parsed: Vec<_> = tokens.iter().map(|input| ParsedToken::admit(permit, input)).collect();
        let denied = self.denied_items(permit, &parsed).await?;
        for (parsed, denied) in parsed.into_iter().zip(denied) {
            results.push(match (parsed, denied) {
                (Err(failure), _) | (_, Some(failure)) => Err(failure),
                (Ok(ParsedToken::Aead { .. }), None) => Ok(Forgotten(None)),
                (Ok(ParsedToken::Vault { kind, kid, id, context }), None) => {
                    positions.push(results.len());
                    let context = Some(context.as_str().to_owned().into());
                    let covers_unopened = permit.covers_unopened();
                    erasures.push(EraseRequest { mode: permit.mode(), kind, kid, id, context, covers_unopened });
                    Ok(Forgotten(None))
                }
            });
        }
        let mut counter = OutcomeCounter::new("forget");
        let lane = Lane::Caller(permit.caller_id());
        let mut positions = positions.into_iter();
        let mut erasures = erasures.into_iter();
        let mut erased_ids = Vec::new();
        let mut is_begun = false;
        loop {
            let chunk: Vec<EraseRequest> = erasures.by_ref().take(ERASURES_PER_COMMIT).collect();
            if chunk.is_empty() {
                break;
            }
            let ids: Vec<TokenId> = chunk.iter().map(|erasure| erasure.id).collect();
            let erased = match self.writer.commit(ForgetChange { lane: lane.clone(), erasures: chunk }).await {
                Ok(erased) => erased,
                Err(failed) if !is_begun => return Err(failed),
                // Some records are erased, so the request is answered and recorded. Further commits would only wait as long.
                Err(_) => {
                    positions.for_each(|position| results[position] = Err(ItemFailure::Interrupted));
                    break;
                }
            };
            is_begun = true;
            for ((position, id), erased) in positions.by_ref().zip(ids).zip(erased) {
                erased_ids.extend(erased.is_erased.then_some(id));
                results[position] = erased.result.map(|sealed_under| Forgotten(Some(sealed_under)));
            }
        }
        for result in &results {
            counter.count(match result {
                Ok(Forgotten(Some((kid, fingerprint)))) => forgotten_under(*kid, *fingerprint),
                Ok(Forgotten(None)) => ItemOutcomeKey::keyless(None, "unchanged"),
                Err(failure) => ItemOutcomeKey::keyless(None, failure.code().as_str()),
            });
        }
        Ok(BatchResult { erased: erased_ids, ..counter.record(&self.counters, results) })
    }

    /// Returns, for each token, why the caller's policies do not permit its record. A record is read only if the kid of its
    /// token does not decide.
    async fn denied_items(
        &self,
        permit: &Permit<Forget>,
        parsed: &[Result<ParsedToken<'_>, ItemFailure>],
    ) -> Result<Vec<Option<ItemFailure>>, VaultError> {
        let decided = |parsed: &Result<ParsedToken<'_>, ItemFailure>| match parsed {
            Ok(ParsedToken::Vault { kind, kid, .. }) => permit.check_token(*kind, *kid).is_ok(),
            _ => true,
        };
        if parsed.iter().all(decided) {
            return Ok(vec![None; parsed.len()]);
        }
        let keys = self.keys.load_full();
        let rows = rows_of(&self.reader, parsed, usize::MAX).await?;
        let denied = parsed.iter().zip(rows).map(|(one, row)| match (one, row) {
            (Ok(ParsedToken::Vault { kind, kid, id, context }), Some(row)) => {
                let denied = self.reader.decode(&row).and_then(|record| {
                    // A token of another context or mode is unknown, and the writer says so.
                    match open_record(&keys.ring, permit.mode(), (*kind, *kid, *id), *context, &record) {
                        Err(ItemFailure::NotFound) => Ok(()),
                        _ => check_reach(permit, *kind, (record.minted_kid, record.sealing_kid)),
                    }
                });
                denied.err()
            }
            _ => None,
        });
        Ok(denied.collect())
    }
}

/// The searches for the tokens of a value to forget.
struct ForgetSearches<'a, 'k> {
    searches: Vec<TokenSearch<'a, 'k>>,
    /// Why the value can have other tokens, which no search finds.
    failure: Option<ItemFailure>,
}

/// Returns the searches for the tokens of a value to forget. They are under all loaded key ids: what a policy says of the kind
/// now may not be what it said when the tokens were minted.
///
/// # Errors
/// [`ItemFailure::KeyUnavailable`] while some tokens could not be found, and that the caller may not forget the value.
fn searches_to_forget<'a, 'k>(
    keys: &'k KeysInForce,
    ledger: &Ledger,
    (permit, lookup): (&Permit<Forget>, &Permit<Lookup>),
    policy: &Policy,
    item: &ValueInput<'a>,
) -> Result<ForgetSearches<'a, 'k>, ItemFailure> {
    check(lookup, policy, item)?;
    let mut found = ForgetSearches { searches: Vec::new(), failure: None };
    let own = match check(permit, policy, item)? {
        ValueAction::Redact(_) | ValueAction::Passthrough => None,
        ValueAction::Tokenize(checked) if checked.rule.scheme != Scheme::VaultDeterministic => {
            found.failure = Some(ItemFailure::NotErasable(checked.kind));
            None
        }
        ValueAction::Tokenize(checked) => {
            permit.check_token(checked.kind, checked.rule.kid)?;
            ledger.check_not_found(checked.rule.kid, &keys.ring)?;
            Some(checked.rule.kid)
        }
    };
    let (Some(kind), Some(context), Some(value)) =
        (EntityKind::parse(item.kind), Context::new(item.context), Value::new(item.value))
    else {
        // No token was ever minted for a value that is empty or too long.
        return Ok(found);
    };
    let others = keys.ring.iter().map(|(kid, _)| kid).filter(|kid| Some(*kid) != own);
    for kid in own.into_iter().chain(others) {
        let rule =
            TokenizeRule { kid, scheme: Scheme::VaultDeterministic, normalizer: Normalizer::Exact, validation: None };
        let checked = CheckedValue { kind, context, value, rule };
        found.searches.push(TokenSearch::new(keys, ledger, permit.mode(), checked)?);
    }
    Ok(found)
}

fn forgotten_under(kid: Kid, fingerprint: Fingerprint) -> ItemOutcomeKey {
    ItemOutcomeKey {
        scheme: "MSKV1",
        kind: None,
        kid: Some(kid),
        fingerprint: Some(fingerprint),
        role: None,
        outcome: "forgotten",
    }
}
