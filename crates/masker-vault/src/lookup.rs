//! Lookup: every token by which a value may be stored, in any spelling. Mints nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use super::{
    ItemFailure, ValueInput, VaultError,
    handles::Handles,
    index_list,
    keys::{CurrentKeys, KeysInForce},
    ledger::{CurrentLedger, Ledger},
    outcomes::{BatchResult, ItemOutcomeKey, OutcomeCounter, RequestCounters},
    parallel_map,
    reader::Reader,
    records,
    search::{MatchedRecord, SearchBasis, ValueQuery, read_index_rows},
    spelling_scan::SPELLINGS_AT_ONCE,
    tokenize::{CheckedValue, ValueAction, check, keys_of, query},
};
use masker_access::{Lookup, Permit};
use masker_core::{
    crypto::{Fingerprint, MatchPart, TokenId},
    keyring::{Generation, Keyring},
    normalize::Normalizer,
    policy::{Policy, Scheme},
    token::Token,
};
use masker_store::{Row, RowKey, record::Record};
use masker_types::{
    kind::Kid,
    limits::{LOOKUP_REQUEST_TOKENS_MAX, LOOKUP_TOKENS_MAX},
    mode::Mode,
};

/// Values that are searched together. With the rows of few spellings of each, they bound the memory that a request takes.
pub(crate) const SEARCHES_AT_ONCE: usize = 128;

/// The tokens of a value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FoundTokens {
    /// The texts of the tokens: those of the value itself first, then those of other spellings.
    pub tokens: Vec<String>,
    /// Whether the first token is one of the value itself, byte for byte.
    pub exact: bool,
    /// Whether there are more tokens: an item has at most [`LOOKUP_TOKENS_MAX`], and an answer has only the first token of
    /// each further item once it has [`LOOKUP_REQUEST_TOKENS_MAX`].
    pub more: bool,
}

impl FoundTokens {
    /// Leaves out the tokens for which an answer has no room, but for the first, and takes the others from the room.
    fn limited_to(mut self, room: &mut usize) -> Self {
        let kept = self.tokens.len().min((*room).max(1));
        self.more |= kept < self.tokens.len();
        self.tokens.truncate(kept);
        *room = room.saturating_sub(kept);
        self
    }
}

impl fmt::Debug for FoundTokens {
    /// Hides the tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FoundTokens({}, exact: {}, more: {})", self.tokens.len(), self.exact, self.more)
    }
}

/// A search for the tokens of a value.
pub(crate) struct TokenSearch<'a, 'k> {
    pub(crate) checked: CheckedValue<'a>,
    query: ValueQuery<'k>,
    /// The normalizers that tokens of the kind may have been minted with, each with the value's form.
    forms: Vec<(Normalizer, String)>,
}

/// The records that a search found: those of the value itself, then those of other spellings.
pub(crate) struct FoundRecords {
    pub(crate) records: Vec<MatchedRecord>,
    /// How many are of the value itself.
    pub(crate) exact: usize,
    /// Whether there are more than [`LOOKUP_TOKENS_MAX`].
    pub(crate) more: bool,
    /// Whether a record does not open that could be one of them.
    pub(crate) damaged: bool,
}

impl FoundRecords {
    fn retain(&mut self, is_kept: impl Fn(&MatchedRecord) -> bool) {
        self.exact = self.records[..self.exact].iter().filter(|record| is_kept(record)).count();
        self.records.retain(is_kept);
    }
}

/// What a record is to a search.
enum Comparison {
    /// Its value is the one searched for.
    Exact,
    /// Its value is another spelling: it has the same form by the record's own normalizer.
    Spelling,
    Other,
}

/// The stage of an item after the work that needs no store.
enum LookupStage<'a, 'k> {
    Done(FoundTokens),
    Search(Box<TokenSearch<'a, 'k>>),
}

/// Looks up the tokens of values.
pub(crate) struct LookupService {
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    counters: Arc<RequestCounters>,
    finder: Arc<TokenFinder>,
}

/// Finds the records of values in any spelling.
pub(crate) struct TokenFinder {
    reader: Arc<Reader>,
}

impl LookupService {
    pub(crate) fn new(handles: &Handles, finder: Arc<TokenFinder>) -> Self {
        LookupService {
            keys: Arc::clone(&handles.keys),
            ledger: Arc::clone(&handles.ledger),
            counters: Arc::clone(&handles.counters),
            finder,
        }
    }

    /// Implements [`Vault::lookup`](crate::Vault::lookup).
    pub(crate) async fn lookup(
        &self,
        permit: &Permit<Lookup>,
        policy: &Policy,
        items: &[ValueInput<'_>],
    ) -> Result<BatchResult<Result<FoundTokens, ItemFailure>>, VaultError> {
        let mut counter = OutcomeCounter::new("lookup");
        let mut results = Vec::with_capacity(items.len());
        let mut room = LOOKUP_REQUEST_TOKENS_MAX;
        for items in items.chunks(SEARCHES_AT_ONCE) {
            let found = loop {
                let basis = SearchBasis::current(&self.keys, &self.ledger);
                let found = self.find(permit, policy, items, room.clamp(1, LOOKUP_TOKENS_MAX)).await?;
                // Keys that were replaced meanwhile, or records that were moved to another kid, may have been missed.
                if SearchBasis::current(&self.keys, &self.ledger) == basis {
                    break found;
                }
            };
            results.extend(found.into_iter().map(|found| found.map(|found| found.limited_to(&mut room))));
        }
        for (item, tokens) in items.iter().zip(&results) {
            let outcome = match tokens {
                Ok(found) if found.tokens.is_empty() => "none",
                Ok(_) => "ok",
                Err(failure) => failure.code().as_str(),
            };
            counter.count(ItemOutcomeKey::keyless(policy.rule(item.kind).map(|(kind, _)| kind), outcome));
        }
        Ok(counter.record(&self.counters, results))
    }

    /// Finds the tokens of each value under the keys in force.
    async fn find(
        &self,
        permit: &Permit<Lookup>,
        policy: &Policy,
        items: &[ValueInput<'_>],
        limit: usize,
    ) -> Result<Vec<Result<FoundTokens, ItemFailure>>, VaultError> {
        let keys = self.keys.load_full();
        let ledger = self.ledger.load_full();
        let stages = parallel_map::map(items, |item| stage(&keys, &ledger, permit, policy, item));
        let searches: Vec<&TokenSearch<'_, '_>> = stages
            .iter()
            .filter_map(|stage| match stage {
                Ok(LookupStage::Search(search)) => Some(search.as_ref()),
                _ => None,
            })
            .collect();
        let found = self.finder.find(&keys.ring, &ledger, permit.mode(), limit, &searches).await?;

        let ledger = self.ledger.load();
        let mut found = found.into_iter();
        let tokens = stages.into_iter().map(|stage| match stage? {
            LookupStage::Done(tokens) => Ok(tokens),
            LookupStage::Search(search) => {
                let mut found = found.next().unwrap_or(Err(ItemFailure::NotFound))?;
                found.retain(|record| record.is_reached_by(permit));
                check_found(&ledger, &keys.ring, &search, &found).map(|()| texts(&found))
            }
        });
        Ok(tokens.collect())
    }
}

/// Checks that no token was missed: none is behind damage, and the value itself was found or cannot be in the vault.
fn check_found(
    ledger: &Ledger,
    ring: &Keyring,
    search: &TokenSearch<'_, '_>,
    found: &FoundRecords,
) -> Result<(), ItemFailure> {
    match found {
        FoundRecords { damaged: true, .. } => Err(ItemFailure::Damaged),
        FoundRecords { exact: 0, .. } => ledger.check_not_found(search.query.keys.kid(), ring),
        _ => Ok(()),
    }
}

fn texts(found: &FoundRecords) -> FoundTokens {
    let tokens = found.records.iter().map(MatchedRecord::token).collect();
    FoundTokens { tokens, exact: found.exact > 0, more: found.more }
}

fn stage<'a, 'k>(
    keys: &'k KeysInForce,
    ledger: &Ledger,
    permit: &Permit<Lookup>,
    policy: &Policy,
    item: &ValueInput<'a>,
) -> Result<LookupStage<'a, 'k>, ItemFailure> {
    let mode = permit.mode();
    let checked = match check(permit, policy, item)? {
        // Nothing was ever minted for these.
        ValueAction::Redact(_) | ValueAction::Passthrough => return Ok(LookupStage::Done(FoundTokens::default())),
        ValueAction::Tokenize(checked) => checked,
    };
    let (kind, kid) = (checked.kind, checked.rule.kid);
    match checked.rule.scheme {
        Scheme::ReversibleAead(suite) if !suite.is_deterministic() => Err(ItemFailure::NotSearchable(kind)),
        Scheme::ReversibleAead(suite) => {
            let mint = |generation: &Generation| {
                let keys = generation.keys(mode);
                let body = keys.mint(suite, kind, checked.context, checked.value, &mut rand::rng());
                Token::Aead { kind, kid, body }.to_text()
            };
            let tokens = keys_of(keys, kid)?.generations().map(mint).collect();
            Ok(LookupStage::Done(FoundTokens { tokens, exact: true, more: false }))
        }
        Scheme::VaultDeterministic => Ok(LookupStage::Search(Box::new(TokenSearch::new(keys, ledger, mode, checked)?))),
    }
}

impl<'a, 'k> TokenSearch<'a, 'k> {
    pub(crate) fn new(
        keys: &'k KeysInForce,
        ledger: &Ledger,
        mode: Mode,
        checked: CheckedValue<'a>,
    ) -> Result<Self, ItemFailure> {
        let query = query(keys, ledger, mode, &checked)?;
        let normalizers = ledger.normalizers(checked.kind, checked.rule.kid);
        let forms = normalizers.into_iter().map(|one| (one, one.form(checked.value).into_owned())).collect();
        Ok(TokenSearch { checked, query, forms })
    }

    /// Compares a record with the value. One under a key that is not loaded, or of the other mode, is not compared.
    ///
    /// # Errors
    /// [`ItemFailure::Damaged`] for a record that has an index of the value, and does not open.
    fn compare(&self, ring: &Keyring, mode: Mode, id: TokenId, record: &Record) -> Result<Comparison, ItemFailure> {
        let fingerprint = Fingerprint::from_bytes(record.fingerprint);
        let generation = ring.by_fingerprint(record.sealing_kid, fingerprint);
        let Some(keys) = generation.filter(|_| record.kind == self.checked.kind).map(|one| one.keys(mode)) else {
            return Ok(Comparison::Other);
        };
        let Ok(opened) = records::open(keys, id, record) else {
            let CheckedValue { kind, context, .. } = &self.checked;
            let index = |(normalizer, form): &(Normalizer, String)| {
                Some(*keys.form_index(*normalizer, *kind, *context, form).as_bytes())
            };
            let is_own = self.forms.iter().any(|form| index(form) == record.form_index);
            return if is_own { Err(ItemFailure::Damaged) } else { Ok(Comparison::Other) };
        };
        let form = self.forms.iter().find(|(normalizer, _)| *normalizer == opened.normalizer());
        Ok(match form {
            _ if opened.context() != self.checked.context.as_str() => Comparison::Other,
            _ if opened.value() == self.checked.value.as_str() => Comparison::Exact,
            Some((_, form)) if form == opened.form() => Comparison::Spelling,
            _ => Comparison::Other,
        })
    }
}

impl TokenFinder {
    pub(crate) fn new(handles: &Handles) -> Self {
        TokenFinder { reader: Arc::clone(&handles.reader) }
    }

    /// Finds the records of each value, in any spelling: about `limit` for each.
    pub(crate) async fn find(
        &self,
        ring: &Keyring,
        ledger: &Ledger,
        mode: Mode,
        limit: usize,
        searches: &[&TokenSearch<'_, '_>],
    ) -> Result<Vec<Result<FoundRecords, ItemFailure>>, VaultError> {
        if searches.is_empty() {
            return Ok(Vec::new());
        }
        let queries: Vec<&ValueQuery<'_>> = searches.iter().map(|search| &search.query).collect();
        let exact = self.reader.find_all(&queries, ledger.moving_to()).await?;
        let listed = self.listed_match_parts(searches, ledger.moving_to()).await?;

        // Few forms have many spellings. Those are read again alone, so that few of their rows are in memory.
        let few = limit.min(SPELLINGS_AT_ONCE) + 1;
        let distinct: BTreeSet<MatchPart> = listed.iter().flatten().flatten().copied().collect();
        let distinct: Vec<MatchPart> = distinct.into_iter().collect();
        let scanned = self.reader.records_with(&distinct, few).await?;
        let scanned: BTreeMap<MatchPart, Vec<(TokenId, Row)>> = distinct.into_iter().zip(scanned).collect();
        let mut results = Vec::with_capacity(searches.len());
        for ((search, exact), listed) in searches.iter().zip(exact).zip(listed) {
            results.push(match (exact, listed) {
                (Ok(exact), Ok(listed)) => {
                    let mut found = FoundRecords { exact: exact.len(), records: exact, more: false, damaged: false };
                    for part in listed {
                        let Some(rows) = scanned.get(&part) else { continue };
                        if rows.len() < few || limit < few {
                            self.add_other_spellings(ring, mode, search, limit, rows, &mut found);
                            found.more |= rows.len() > limit;
                        } else {
                            let rows = self.reader.records_with(&[part], limit + 1).await?.pop().unwrap_or_default();
                            self.add_other_spellings(ring, mode, search, limit, &rows, &mut found);
                            found.more |= rows.len() > limit;
                        }
                    }
                    Ok(found)
                }
                (Err(failure), _) | (_, Err(failure)) => Err(failure),
            });
        }
        Ok(results)
    }

    /// Returns the match parts that the value's forms list, under every key and normalizer, without repeats.
    async fn listed_match_parts(
        &self,
        searches: &[&TokenSearch<'_, '_>],
        moving_to: Option<(Kid, Fingerprint)>,
    ) -> Result<Vec<Result<Vec<MatchPart>, ItemFailure>>, VaultError> {
        let mut indexes = Vec::new();
        let mut row_keys = Vec::new();
        for search in searches {
            for (normalizer, form) in &search.forms {
                let CheckedValue { kind, context, .. } = &search.checked;
                let form_indexes = search.query.keys.form_indexes(*normalizer, *kind, *context, form);
                let turns = search.query.keys.read_turns(moving_to);
                for ((keys, index), turn) in search.query.keys.iter().zip(form_indexes).zip(turns) {
                    indexes.push((keys, index));
                    row_keys.push((RowKey::form_index(index.as_bytes()), turn));
                }
            }
        }
        if indexes.is_empty() {
            return Ok(searches.iter().map(|_| Ok(Vec::new())).collect());
        }
        let rows = read_index_rows(self.reader.store(), row_keys).await?;
        let mut rows = indexes.into_iter().zip(rows);
        let mut all = Vec::with_capacity(searches.len());
        for search in searches {
            let count = search.forms.len() * search.query.indexes.len();
            let mut listed = Ok(Vec::new());
            for ((keys, index), row) in rows.by_ref().take(count) {
                let Some(row) = row else { continue };
                match (index_list::verified::<MatchPart>(keys, index, &row), &mut listed) {
                    (Some(entries), Ok(listed)) => {
                        let new: Vec<_> = entries.into_iter().filter(|entry| !listed.contains(entry)).collect();
                        listed.extend(new);
                    }
                    (None, _) => {
                        self.reader.count_damage();
                        listed = Err(ItemFailure::Damaged);
                    }
                    (Some(_), Err(_)) => {}
                }
            }
            all.push(listed);
        }
        Ok(all)
    }

    /// Adds the records of other spellings among these rows to those that were found.
    fn add_other_spellings(
        &self,
        ring: &Keyring,
        mode: Mode,
        search: &TokenSearch<'_, '_>,
        limit: usize,
        rows: &[(TokenId, Row)],
        found: &mut FoundRecords,
    ) {
        for (id, row) in rows {
            if found.records[..found.exact].iter().any(|exact| exact.id == *id) {
                continue;
            }
            let compared = self.reader.decode(row).and_then(|record| {
                let compared = search.compare(ring, mode, *id, &record).inspect_err(|_| self.reader.count_damage())?;
                Ok((compared, MatchedRecord::of(*id, &record)))
            });
            match compared {
                Ok((Comparison::Other, _)) => {}
                Ok(_) if found.records.len() >= limit => {
                    found.more = true;
                    return;
                }
                // Minted after the value's index was read.
                Ok((Comparison::Exact, record)) => {
                    found.records.insert(found.exact, record);
                    found.exact += 1;
                }
                Ok((Comparison::Spelling, record)) => found.records.push(record),
                Err(_) => found.damaged = true,
            }
        }
    }
}
