//! Plants honeytokens.

use super::{HoneytokenService, HoneytokenStatus, value::generate_value};
use crate::{
    ItemFailure, ValueInput, VaultError,
    ids::HoneytokenId,
    records::{self, MintedToken, RecordIndexes},
    tag::TokenTag,
    time,
    tokenize::{CheckedValue, ValueAction, check, keys_of},
    writer::{Change, CommitDraft, Lane},
};
use masker_access::{Permit, VaultAdmin};
use masker_core::{
    crypto::{MatchPart, TokenId},
    policy::{Action, Policy, Scheme},
    token::Token,
};
use masker_store::{
    RowChange, RowKey, StoreError,
    record::{HoneytokenRow, Record, is_valid_caller, is_valid_label},
};
use masker_types::{
    kind::{EntityKind, Kid},
    limits::{HONEYTOKENS_MAX, LABEL_BYTES_MAX},
    mode::Mode,
};

/// An operator's request for a honeytoken.
#[derive(Clone, Copy)]
pub struct HoneytokenRequest<'a> {
    /// The kind, as the request wrote it.
    pub kind: &'a str,
    /// The value of the token. `None` generates one.
    pub value: Option<&'a str>,
    /// The context.
    pub context: &'a str,
    /// Its purpose.
    pub label: &'a str,
    /// Who plants it.
    pub planted_by: &'a str,
}

/// A planted honeytoken.
#[derive(Clone)]
pub struct PlantedHoneytoken {
    /// The token's text.
    pub token: String,
    /// Its description.
    pub status: HoneytokenStatus,
}

/// Why a honeytoken was not planted or removed. The text is for the caller.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HoneytokenError {
    /// The value, the kind or the context is invalid.
    #[error(transparent)]
    Item(#[from] ItemFailure),
    /// The policy does not tokenize the kind.
    #[error("the policy does not tokenize {0}: there is no token to plant")]
    NotTokenized(EntityKind),
    /// The limit of honeytokens is reached.
    #[error("{HONEYTOKENS_MAX} honeytokens are planted, which is the limit; remove some")]
    TooMany,
    /// The label or the caller's name is too long or not printable.
    #[error(
        "a label is at most {LABEL_BYTES_MAX} bytes of UTF-8 without control characters, as is a name, which is not empty"
    )]
    Label,
    /// No honeytoken has this id.
    #[error("there is no such honeytoken")]
    NotFound,
    /// The vault failed to write it.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<StoreError> for HoneytokenError {
    fn from(failed: StoreError) -> Self {
        HoneytokenError::Vault(failed.into())
    }
}

impl HoneytokenService {
    /// Implements [`Vault::plant_honeytoken`](crate::Vault::plant_honeytoken).
    pub(crate) async fn plant_honeytoken(
        &self,
        permit: &Permit<VaultAdmin>,
        policy: &Policy,
        request: &HoneytokenRequest<'_>,
    ) -> Result<PlantedHoneytoken, HoneytokenError> {
        if !is_valid_label(request.label) || !is_valid_caller(request.planted_by) {
            return Err(HoneytokenError::Label);
        }
        let (kind, rule) = policy.rule(request.kind).ok_or(ItemFailure::KindUnknown)?;
        let Action::Tokenize(rule) = &rule.action else { return Err(HoneytokenError::NotTokenized(kind)) };
        if let Some(value) = request.value {
            return self.plant(permit, policy, request, value).await;
        }
        let value = generate_value(kind, rule.normalizer, &mut rand::rng());
        self.plant(permit, policy, request, &value).await
    }

    async fn plant(
        &self,
        permit: &Permit<VaultAdmin>,
        policy: &Policy,
        request: &HoneytokenRequest<'_>,
        value: &str,
    ) -> Result<PlantedHoneytoken, HoneytokenError> {
        loop {
            let now_ms = time::unix_ms(&self.clock);
            let (token, record) = self.create(permit, policy, request, value, now_ms)?;
            // Unless the keys were replaced meanwhile.
            if let Some(status) = self.mark_token(&token, request, now_ms, record).await? {
                return Ok(PlantedHoneytoken { token: token.to_text(), status });
            }
        }
    }

    /// Creates the token, and its record if it has one.
    fn create(
        &self,
        permit: &Permit<VaultAdmin>,
        policy: &Policy,
        request: &HoneytokenRequest<'_>,
        value: &str,
        now_ms: u64,
    ) -> Result<(Token, Option<PlantedRecord>), ItemFailure> {
        let keys = self.keys.load_full();
        let item = ValueInput { kind: request.kind, value, context: request.context };
        let (mode, rng) = (permit.mode(), &mut rand::rng());
        let ValueAction::Tokenize(CheckedValue { kind, context, value, rule }) = check(permit, policy, &item)? else {
            // The caller has checked that the policy tokenizes the kind.
            return Err(ItemFailure::KindUnknown);
        };
        let active = keys_of(&keys, rule.kid)?.active().keys(mode);
        Ok(match rule.scheme {
            // A deterministic token would be that of an equal value, which an application may use.
            Scheme::ReversibleAead(suite) => {
                let body = active.mint(suite.with_random_nonce(), kind, context, value, rng);
                (Token::Aead { kind, kid: rule.kid, body }, None)
            }
            Scheme::VaultDeterministic => {
                let id = TokenId::random(MatchPart::random(rng), rng);
                let token = MintedToken { kind, kid: rule.kid, id, minted_at_ms: now_ms };
                let form = rule.normalizer.form(value);
                let payload = records::payload(context, value, rule.normalizer, &form);
                // Without indexes, so that no search by value finds it.
                let record = records::seal(active, &token, RecordIndexes::default(), &payload, now_ms, rng);
                let planted = PlantedRecord { mode, kid: rule.kid, epoch: keys.ring.epoch(), id, record };
                (Token::Vault { kind, kid: rule.kid, id }, Some(planted))
            }
        })
    }

    /// Writes the mark of a token, in one batch with its record if it has one. Returns `None`, and writes nothing, if the keys
    /// are not those that sealed the record any more.
    async fn mark_token(
        &self,
        token: &Token,
        request: &HoneytokenRequest<'_>,
        now_ms: u64,
        record: Option<PlantedRecord>,
    ) -> Result<Option<HoneytokenStatus>, HoneytokenError> {
        let id = HoneytokenId::new(now_ms, rand::random());
        let row = HoneytokenRow {
            carries_value: matches!(token, Token::Aead { .. }),
            tag: *TokenTag::of(token).as_bytes(),
            kind: token.kind(),
            kid: token.kid(),
            planted_at_ms: now_ms,
            planted_by: request.planted_by.to_owned(),
            label: request.label.to_owned(),
        };
        let status = HoneytokenStatus::new(id, &row);
        let encoded = row.encode().map_err(|_| HoneytokenError::Label)?;
        let mark = self.index.begin(id, row)?;
        let mark_row = RowChange::Put(RowKey::honeytoken(id.as_bytes()), encoded);
        if !self.writer.commit(PlantChange { mark: mark_row, record }).await?? {
            return Ok(None);
        }
        mark.written();
        Ok(Some(status))
    }
}

/// The record of a honeytoken, to be written.
struct PlantedRecord {
    mode: Mode,
    kid: Kid,
    /// The keyring that it was sealed under.
    epoch: u64,
    id: TokenId,
    record: Record,
}

/// Writes a honeytoken's mark with its record. The outcome is `false`, and nothing is written, if the keys have changed since
/// the record was sealed.
struct PlantChange {
    mark: RowChange,
    record: Option<PlantedRecord>,
}

impl Change for PlantChange {
    type Outcome = Result<bool, ItemFailure>;

    fn lane(&self) -> Lane {
        Lane::Control
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Self::Outcome {
        if let Some(PlantedRecord { mode, kid, epoch, id, record }) = &self.record {
            let active = draft.keyring().get(*kid).map(|pair| pair.active().keys(*mode));
            let Some(active) = active.filter(|_| draft.keyring().epoch() == *epoch) else { return Ok(false) };
            // It has no indexes, so no row can be full.
            drop(draft.add_record(active, *id, record, "")?);
        }
        draft.write(self.mark.clone());
        Ok(true)
    }
}
