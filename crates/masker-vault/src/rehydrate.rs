//! Tokens back to values.

use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    GenerationRef, ItemFailure, Vault, VaultError,
    ids::HoneytokenId,
    keys::KeysInForce,
    outcomes::{BatchResult, ItemOutcomeKey, OutcomeCounter},
    parallel_map, records,
    tag::TokenTag,
};
use masker_access::{Operation, Permit, Rehydrate};
use masker_core::{
    crypto::{Fingerprint, OpenedRecord, TokenId},
    keyring::{Generation, GraceAction, Keyring, Role},
    token::{AeadBody, Token},
};
use masker_store::{Row, RowKey, record::Record};
use masker_types::{
    kind::{Context, EntityKind, Kid},
    mode::Mode,
};

/// One token of a request, with the context that counts for it. It has no `Debug`.
#[derive(Clone, Copy)]
pub struct TokenInput<'a> {
    /// The token, as the request wrote it.
    pub token: &'a str,
    /// The token's context, or the request's.
    pub context: &'a str,
}

/// A value that came out of a seal; wiped when dropped.
pub enum OpenedValue {
    /// Out of a vault record.
    Record(OpenedRecord),
    /// Out of the token itself.
    Token(Zeroizing<String>),
}

impl OpenedValue {
    /// The value, as it was given when it was first tokenized.
    pub fn as_str(&self) -> &str {
        match self {
            OpenedValue::Record(record) => record.value(),
            OpenedValue::Token(value) => value,
        }
    }
}

/// What a token stands for.
pub struct Rehydrated {
    /// The value.
    pub value: OpenedValue,
    /// Its kind.
    pub kind: EntityKind,
    /// Which key opened it.
    pub role: Role,
    /// The honeytoken that this token is: then nobody should have had it.
    pub honeytoken: Option<HoneytokenId>,
}

/// A token that parsed, with a context of a legal length.
pub(super) enum ParsedToken<'a> {
    Vault { kind: EntityKind, kid: Kid, id: TokenId, context: Context<'a> },
    Aead { kind: EntityKind, kid: Kid, body: AeadBody, context: Context<'a> },
}

impl<'a> ParsedToken<'a> {
    /// Parses a token and holds it against the caller's permit. Whether the caller's policies make such tokens is seen
    /// here for tokens that carry their value; for others it depends on their record: see [`within_reach`].
    pub(super) fn admit<O: Operation>(permit: &Permit<O>, input: &TokenInput<'a>) -> Result<Self, ItemFailure> {
        let context = Context::new(input.context).ok_or(ItemFailure::ContextLength)?;
        let parsed = match Token::parse(input.token).map_err(|_| ItemFailure::Malformed)? {
            Token::Vault { kind, kid, id } => ParsedToken::Vault { kind, kid, id, context },
            Token::Aead { kind, kid, body } => {
                permit.for_token(kind, kid)?;
                ParsedToken::Aead { kind, kid, body, context }
            }
        };
        permit.for_kind(parsed.kind())?;
        permit.for_context(input.context)?;
        Ok(parsed)
    }

    /// The kind that the token says.
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

/// Whether a caller whose grant lists policies may work with a record: one of them makes tokens of its kind under the kid
/// of its token, or under the one that seals it now. After a rotation to another kid the tokens have the former, and the
/// policies the latter.
pub(super) fn within_reach<O: Operation>(
    permit: &Permit<O>,
    kind: EntityKind,
    record: &Record,
) -> Result<(), ItemFailure> {
    let minted = permit.for_token(kind, record.minted_kid);
    minted.or_else(|_| permit.for_token(kind, record.sealing_kid)).map_err(ItemFailure::from)
}

/// Opens a token that carries its value. Returns the generation that opened it.
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

/// Opens the record of a token, if it is that token's and of that context.
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
    // Sealed in another mode, moved from another token, or damaged: the seal does not say which.
    let opened = records::open(generation.keys(mode), kind, kid, id, record).map_err(|_| ItemFailure::NotFound)?;
    if bool::from(opened.context().as_bytes().ct_eq(context.as_str().as_bytes())) {
        Ok((opened, generation))
    } else {
        Err(ItemFailure::NotFound)
    }
}

impl Vault {
    /// Swaps tokens back for values. Results keep the order of the tokens, and each can fail alone.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed.
    pub async fn rehydrate(
        &self,
        permit: &Permit<Rehydrate>,
        tokens: &[TokenInput<'_>],
    ) -> Result<BatchResult<Result<Rehydrated, ItemFailure>>, VaultError> {
        let keys = self.shared.keys.load_full();
        let parsed = parallel_map::map(tokens, |input| ParsedToken::admit(permit, input));
        let rows = self.rows_of(&parsed).await?;
        let work: Vec<_> = parsed.iter().zip(&rows).collect();
        let results = parallel_map::map(&work, |(parsed, row)| self.open_one(&keys, permit, parsed, row.as_ref()));

        let mut tally = OutcomeCounter::new("rehydrate");
        let now_ms = self.now_ms();
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
                    let kind = parsed.as_ref().ok().map(ParsedToken::kind).filter(|kind| permit.knows(*kind));
                    ItemOutcomeKey::keyless(kind, failure.code().as_str())
                }
            };
            tally.count(outcome);
        }
        let results = results.into_iter().map(|result| result.map(|(rehydrated, _)| rehydrated)).collect();
        Ok(tally.record(&self.shared, results))
    }

    fn open_one(
        &self,
        keys: &KeysInForce,
        permit: &Permit<Rehydrate>,
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
                let record = self.shared.decode(row.ok_or(ItemFailure::NotFound)?)?;
                within_reach(permit, *kind, &record)?;
                let (opened, generation) = open_record(&keys.ring, mode, (*kind, *kid, *id), *context, &record)?;
                (OpenedValue::Record(opened), *kind, generation)
            }
        };
        let name = (generation.kid(), generation.fingerprint());
        self.check_grace(generation.role(), name)?;
        let honeytoken = self.shared.honeytokens.find(|| parsed.as_ref().ok().map(ParsedToken::tag));
        Ok((Rehydrated { value, kind, role: generation.role(), honeytoken }, name))
    }

    /// The rows of the tokens that the vault may hold, in the order of the tokens. What they say is durable.
    pub(super) async fn rows_of(
        &self,
        parsed: &[Result<ParsedToken<'_>, ItemFailure>],
    ) -> Result<Vec<Option<Row>>, VaultError> {
        let mut rows = vec![None; parsed.len()];
        let (places, ids): (Vec<usize>, Vec<TokenId>) =
            parsed.iter().enumerate().filter_map(|(place, parsed)| Some((place, parsed.as_ref().ok()?.id()?))).unzip();
        if ids.is_empty() {
            return Ok(rows);
        }
        loop {
            let reading = self.shared.in_flight.reading();
            let keys = ids.iter().map(|id| RowKey::record(id.as_bytes())).collect();
            let read = self.shared.store.get_many(keys).await?;
            if !self.shared.in_flight.must_reread(&reading, ids.iter().copied()).await {
                for (place, row) in places.into_iter().zip(read) {
                    rows[place] = row;
                }
                return Ok(rows);
            }
        }
    }

    /// Refuses an old key whose grace period is over, where the operator chose so.
    fn check_grace(&self, role: Role, name: (Kid, Fingerprint)) -> Result<(), ItemFailure> {
        if role == Role::Active || self.grace.action == GraceAction::Warn {
            return Ok(());
        }
        let over = self.old_since(name).is_some_and(|since| self.grace.is_over(since, (self.shared.clock)()));
        if over {
            return Err(ItemFailure::GraceExpired(GenerationRef { kid: name.0, fingerprint: name.1.to_string() }));
        }
        Ok(())
    }
}
