//! Plants honeytokens.

use super::{HoneytokenService, HoneytokenStatus, value::generate_value};
use crate::{
    ItemFailure, Tokenized, ValueInput, VaultError,
    ids::HoneytokenId,
    mint::{MintChange, Minted},
    tag::TokenTag,
    time,
    tokenize::{TokenizeStage, begin, mint},
};
use masker_access::{Permit, VaultAdmin};
use masker_core::{
    policy::{Action, Policy},
    token::Token,
};
use masker_store::{
    StoreError,
    record::{HoneytokenRow, is_valid_caller, is_valid_label},
};
use masker_types::{
    kind::EntityKind,
    limits::{HONEYTOKENS_MAX, LABEL_BYTES_MAX},
};

/// How many values are generated if the operator gives none: a value that has a token already cannot be used.
const ATTEMPTS_MAX: u32 = 16;

/// An operator's request for a honeytoken.
#[derive(Clone, Copy)]
pub struct HoneytokenRequest<'a> {
    /// The kind, as the request wrote it.
    pub kind: &'a str,
    /// The value of the token, which must be unused. `None` generates one.
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
    /// The value has a token already.
    #[error("this value has a token already, which an application may use; plant an unused value")]
    InUse,
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
        for _ in 0..ATTEMPTS_MAX {
            let value = generate_value(kind, rule.normalizer, &mut rand::rng());
            match self.plant(permit, policy, request, &value).await {
                Err(HoneytokenError::InUse) => {}
                planted => return planted,
            }
        }
        Err(HoneytokenError::InUse)
    }

    async fn plant(
        &self,
        permit: &Permit<VaultAdmin>,
        policy: &Policy,
        request: &HoneytokenRequest<'_>,
        value: &str,
    ) -> Result<PlantedHoneytoken, HoneytokenError> {
        let keys = self.keys.load_full();
        let now_ms = time::unix_ms(&self.clock);
        let item = ValueInput { kind: request.kind, value, context: request.context };
        let pending = match begin(&keys, permit, policy, &item)? {
            TokenizeStage::Search(pending) => pending,
            // The token contains its value, so it is new, or deterministic and the same as for an equal value.
            TokenizeStage::Done(Tokenized::Token { text, .. }) => {
                let token = Token::parse(&text).map_err(|_| ItemFailure::Malformed)?;
                let status = self.mark_token(&token, request, now_ms).await?;
                return Ok(PlantedHoneytoken { token: text, status });
            }
            TokenizeStage::Done(Tokenized::Failed(failure)) => return Err(failure.into()),
            TokenizeStage::Done(Tokenized::Redacted(_) | Tokenized::Passthrough) => return Err(HoneytokenError::InUse),
        };
        for found in self.tokenizer.find(std::iter::once(&pending.query)).await? {
            if found?.is_some() {
                return Err(HoneytokenError::InUse);
            }
        }
        let checked = &pending.checked;
        let token = Token::Vault { kind: checked.kind, kid: checked.rule.kid, id: pending.query.active_id() };
        let status = self.mark_token(&token, request, now_ms).await?;
        let minted = self.writer.commit(MintChange(vec![mint(&keys, permit.mode(), &pending, now_ms)])).await;
        let refused = match minted.map(|mut minted| minted.pop()) {
            Ok(Some(Ok(Minted { found, created: true }))) => {
                let text = found.token();
                if text == token.to_text() {
                    return Ok(PlantedHoneytoken { token: text, status });
                }
                // The keys changed in between, so the token is another one: mark that instead.
                let token = Token::parse(&text).map_err(|_| ItemFailure::Malformed)?;
                let marked = self.mark_token(&token, request, now_ms).await;
                self.unmark(status.id).await?;
                return Ok(PlantedHoneytoken { token: text, status: marked? });
            }
            // Another request minted it in between.
            Ok(Some(Ok(_)) | None) => HoneytokenError::InUse,
            Ok(Some(Err(failure))) => failure.into(),
            Err(failed) => failed.into(),
        };
        // The first failure is the one to report.
        drop(self.unmark(status.id).await);
        Err(refused)
    }

    async fn mark_token(
        &self,
        token: &Token,
        request: &HoneytokenRequest<'_>,
        now_ms: u64,
    ) -> Result<HoneytokenStatus, HoneytokenError> {
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
        self.mark(id, row).await?;
        Ok(status)
    }
}
