//! Rehydration: tokens back to values.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    GenerationRef, ItemFailure, VaultError,
    handles::Handles,
    honeytokens::Honeytokens,
    ids::HoneytokenId,
    keys::CurrentKeys,
    keys::KeysInForce,
    ledger::CurrentLedger,
    outcomes::{BatchResult, ItemOutcomeKey, OutcomeCounter, RequestCounters},
    parallel_map,
    reader::Reader,
    records,
    tag::TokenTag,
    time::{self, Clock},
};
use masker_access::{Permit, RehydratesTokens, ScopedOperation};
use masker_core::{
    crypto::{Fingerprint, OpenedRecord, TokenId},
    keyring::{Generation, GraceAction, GracePeriod, Keyring, Role},
    token::{AeadBody, Token},
};
use masker_store::{Row, record::Record};
use masker_types::{
    kind::{Context, EntityKind, Kid},
    limits::ANSWER_BYTES_MAX,
    mode::Mode,
};

/// One token of a request, with its context. It has no `Debug`.
#[derive(Clone, Copy)]
pub struct TokenInput<'a> {
    /// The token, as the request wrote it.
    pub token: &'a str,
    /// The token's own context, or else the request's.
    pub context: &'a str,
}

/// An opened value; wiped when dropped.
pub enum OpenedValue {
    /// From a vault record.
    Record(OpenedRecord),
    /// From the token itself.
    Token(Zeroizing<String>),
}

impl OpenedValue {
    /// Returns the value, byte for byte as it was tokenized.
    pub fn as_str(&self) -> &str {
        match self {
            OpenedValue::Record(record) => record.value(),
            OpenedValue::Token(value) => value,
        }
    }
}

/// A token's value.
pub struct Rehydrated {
    /// The value.
    pub value: OpenedValue,
    /// Its kind.
    pub kind: EntityKind,
    /// The role of the key that opened it.
    pub role: Role,
    /// The honeytoken that this token is, if any.
    pub honeytoken: Option<HoneytokenId>,
}

/// A parsed token, with a context of a valid length.
pub(super) enum ParsedToken<'a> {
    Vault { kind: EntityKind, kid: Kid, id: TokenId, context: Context<'a> },
    Aead { kind: EntityKind, kid: Kid, body: AeadBody, context: Context<'a> },
}

impl<'a> ParsedToken<'a> {
    /// Parses a token and checks the caller's permit. Whether the caller's policies mint such tokens is checked here for
    /// tokens that contain their value. For others it depends on their record: see [`check_reach`].
    pub(super) fn admit<O: ScopedOperation>(permit: &Permit<O>, input: &TokenInput<'a>) -> Result<Self, ItemFailure> {
        let context = Context::new(input.context).ok_or(ItemFailure::ContextLength)?;
        let parsed = match Token::parse(input.token).map_err(|_| ItemFailure::Malformed)? {
            Token::Vault { kind, kid, id } => ParsedToken::Vault { kind, kid, id, context },
            Token::Aead { kind, kid, body } => {
                permit.check_token(kind, kid)?;
                ParsedToken::Aead { kind, kid, body, context }
            }
        };
        permit.check_kind(parsed.kind())?;
        permit.check_context(input.context)?;
        Ok(parsed)
    }

    /// Returns the kind in the token.
    pub(super) fn kind(&self) -> EntityKind {
        match self {
            ParsedToken::Vault { kind, .. } | ParsedToken::Aead { kind, .. } => *kind,
        }
    }

    pub(super) fn id(&self) -> Option<TokenId> {
        match self {
            ParsedToken::Vault { id, .. } => Some(*id),
            ParsedToken::Aead { .. } => None,
        }
    }

    fn tag(&self) -> TokenTag {
        match self {
            ParsedToken::Vault { id, .. } => TokenTag::of_id(*id),
            ParsedToken::Aead { body, .. } => TokenTag::of_body(body),
        }
    }
}

/// Checks that a caller whose grant lists policies may use a record: one of the policies must mint tokens of its kind under
/// the kid of its token, or under the kid that seals it now. After a rotation to another kid, the tokens have the former
/// and the policies the latter.
pub(super) fn check_reach<O: ScopedOperation>(
    permit: &Permit<O>,
    kind: EntityKind,
    (minted_kid, sealing_kid): (Kid, Kid),
) -> Result<(), ItemFailure> {
    let minted = permit.check_token(kind, minted_kid);
    minted.or_else(|_| permit.check_token(kind, sealing_kid)).map_err(ItemFailure::from)
}

/// Opens a token that contains its value. Returns the generation that opened it as well.
pub(super) fn open_token<'k>(
    ring: &'k Keyring,
    mode: Mode,
    kind: EntityKind,
    kid: Kid,
    body: &AeadBody,
    context: Context<'_>,
) -> Result<(Zeroizing<String>, &'k Generation), ItemFailure> {
    let mut failure =
        ItemFailure::KeyUnavailable(GenerationRef { kid, fingerprint: HEXLOWER.encode(&body.fingerprint_prefix()) });
    for generation in ring.matching(kid, body.fingerprint_prefix()) {
        match generation.keys(mode).open(kind, context, body) {
            Ok(value) => return Ok((value, generation)),
            Err(_) => failure = ItemFailure::NotFound,
        }
    }
    Err(failure)
}

/// Opens the record of a token, if it belongs to the token and is of this context.
pub(super) fn open_record<'k>(
    ring: &'k Keyring,
    mode: Mode,
    (kind, kid, id): (EntityKind, Kid, TokenId),
    context: Context<'_>,
    record: &Record,
) -> Result<(OpenedRecord, &'k Generation), ItemFailure> {
    if record.kind != kind || record.minted_kid != kid {
        return Err(ItemFailure::NotFound);
    }
    let fingerprint = Fingerprint::from_bytes(record.fingerprint);
    let generation = ring.by_fingerprint(record.sealing_kid, fingerprint).ok_or_else(|| {
        ItemFailure::KeyUnavailable(GenerationRef { kid: record.sealing_kid, fingerprint: fingerprint.to_string() })
    })?;
    // Sealed in another mode, moved from another token, or damaged: the failure does not show which.
    let opened = records::open(generation.keys(mode), id, record).map_err(|_| ItemFailure::NotFound)?;
    if bool::from(opened.context().as_bytes().ct_eq(context.as_str().as_bytes())) {
        Ok((opened, generation))
    } else {
        Err(ItemFailure::NotFound)
    }
}

/// Opens tokens.
pub(crate) struct Rehydrator {
    keys: Arc<CurrentKeys>,
    ledger: Arc<CurrentLedger>,
    reader: Arc<Reader>,
    counters: Arc<RequestCounters>,
    clock: Clock,
    index: Arc<Honeytokens>,
    grace: GracePeriod,
}

impl Rehydrator {
    pub(crate) fn new(handles: &Handles, index: Arc<Honeytokens>, grace: GracePeriod) -> Self {
        Rehydrator {
            keys: Arc::clone(&handles.keys),
            ledger: Arc::clone(&handles.ledger),
            reader: Arc::clone(&handles.reader),
            counters: Arc::clone(&handles.counters),
            clock: Arc::clone(&handles.clock),
            index,
            grace,
        }
    }

    /// Implements [`Vault::rehydrate`](crate::Vault::rehydrate).
    pub(crate) async fn rehydrate<O: RehydratesTokens>(
        &self,
        permit: &Permit<O>,
        tokens: &[TokenInput<'_>],
    ) -> Result<BatchResult<Result<Rehydrated, ItemFailure>>, VaultError> {
        let keys = self.keys.load_full();
        let parsed = parallel_map::map(tokens, |input| ParsedToken::admit(permit, input));
        let rows = rows_of(&self.reader, &parsed, ANSWER_BYTES_MAX).await?;
        let work: Vec<_> = parsed.iter().zip(&rows).collect();
        let results = parallel_map::map(&work, |(parsed, row)| self.open_one(&keys, permit, parsed, row.as_ref()));

        let mut counter = OutcomeCounter::new(O::NAME);
        let now_ms = time::unix_ms(&self.clock);
        for (parsed, result) in parsed.iter().zip(&results) {
            let outcome = match (result, parsed) {
                (Ok((rehydrated, name)), parsed) => {
                    let scheme = if matches!(parsed, Ok(ParsedToken::Vault { .. })) {
                        keys.uses.note_record_opened(*name, now_ms);
                        "MSKV1"
                    } else {
                        keys.uses.note_token_opened(*name, now_ms);
                        "MSK1"
                    };
                    ItemOutcomeKey {
                        scheme,
                        kind: Some(rehydrated.kind),
                        kid: Some(name.0),
                        fingerprint: Some(name.1),
                        role: Some(rehydrated.role),
                        outcome: "ok",
                    }
                }
                (Err(failure), parsed) => {
                    let kind = parsed.as_ref().ok().map(ParsedToken::kind).filter(|kind| permit.is_known_kind(*kind));
                    ItemOutcomeKey::keyless(kind, failure.code().as_str())
                }
            };
            counter.count(outcome);
        }
        let results = results.into_iter().map(|result| result.map(|(rehydrated, _)| rehydrated)).collect();
        Ok(counter.record(&self.counters, results))
    }

    fn open_one<O: RehydratesTokens>(
        &self,
        keys: &KeysInForce,
        permit: &Permit<O>,
        parsed: &Result<ParsedToken<'_>, ItemFailure>,
        row: Option<&Row>,
    ) -> Result<(Rehydrated, (Kid, Fingerprint)), ItemFailure> {
        let mode = permit.mode();
        let (value, kind, generation) = match parsed.as_ref().map_err(ItemFailure::clone)? {
            ParsedToken::Aead { kind, kid, body, context } => {
                let (value, generation) = open_token(&keys.ring, mode, *kind, *kid, body, *context)?;
                (OpenedValue::Token(value), *kind, generation)
            }
            ParsedToken::Vault { kind, kid, id, context } => {
                let record = self.reader.decode(row.ok_or(ItemFailure::NotFound)?)?;
                // Only of a token that is the caller's to know is it said why it may not be used.
                let (opened, generation) = open_record(&keys.ring, mode, (*kind, *kid, *id), *context, &record)?;
                check_reach(permit, *kind, (record.minted_kid, record.sealing_kid))?;
                (OpenedValue::Record(opened), *kind, generation)
            }
        };
        let name = (generation.kid(), generation.fingerprint());
        self.check_grace(generation.role(), name)?;
        let honeytoken = self.index.find(|| parsed.as_ref().ok().map(ParsedToken::tag));
        Ok((Rehydrated { value, kind, role: generation.role(), honeytoken }, name))
    }

    /// Refuses an old key whose grace period is over, if the operator chose that.
    fn check_grace(&self, role: Role, name: (Kid, Fingerprint)) -> Result<(), ItemFailure> {
        if role == Role::Active || self.grace.action == GraceAction::Warn {
            return Ok(());
        }
        let over = self.ledger.load().old_since(name).is_some_and(|since| self.grace.is_over(since, (self.clock)()));
        if over {
            return Err(ItemFailure::GraceExpired(GenerationRef { kid: name.0, fingerprint: name.1.to_string() }));
        }
        Ok(())
    }
}

/// Records that are read at once. Few, so that a request for too much reads little more than an answer may have.
const RECORDS_AT_ONCE: usize = 1_024;

/// Returns the durable rows of the tokens that may have a record, in the order of the tokens.
///
/// # Errors
/// [`VaultError::AnswerTooLarge`] if the sealed values have more than `bytes_max`. The values in tokens are not counted: the
/// request that has them is shorter.
pub(super) async fn rows_of(
    reader: &Reader,
    parsed: &[Result<ParsedToken<'_>, ItemFailure>],
    bytes_max: usize,
) -> Result<Vec<Option<Row>>, VaultError> {
    let mut rows = vec![None; parsed.len()];
    let mut bytes = 0;
    let (positions, ids): (Vec<usize>, Vec<TokenId>) = parsed
        .iter()
        .enumerate()
        .filter_map(|(position, parsed)| Some((position, parsed.as_ref().ok()?.id()?)))
        .unzip();
    for (positions, ids) in positions.chunks(RECORDS_AT_ONCE).zip(ids.chunks(RECORDS_AT_ONCE)) {
        for (position, row) in positions.iter().zip(reader.record_rows(ids).await?) {
            bytes += row.as_ref().map_or(0, |row| row.len());
            rows[*position] = row;
        }
        if bytes > bytes_max {
            return Err(VaultError::AnswerTooLarge);
        }
    }
    Ok(rows)
}
