//! A honeytoken made and marked.

use super::{HoneytokenStatus, value::generate_value};
use crate::{
    ItemFailure, Tokenized, ValueInput, Vault, VaultError,
    ids::HoneytokenId,
    mint::{MintChange, Minted},
    tag::TokenTag,
    tokenize::{TokenizeStage, begin, mint},
};
use masker_access::{Permit, VaultAdmin};
use masker_core::{
    policy::{Action, Policy},
    token::Token,
};
use masker_store::{
    StoreError,
    record::{HoneytokenRow, is_caller, is_label},
};
use masker_types::{
    kind::EntityKind,
    limits::{HONEYTOKENS_MAX, LABEL_BYTES_MAX},
};

/// How many values are tried where the operator gives none: those that have a token already will not do.
const ATTEMPTS_MAX: u32 = 16;

/// What an operator asks for.
#[derive(Clone, Copy)]
pub struct HoneytokenRequest<'a> {
    /// The kind, as the request wrote it.
    pub kind: &'a str,
    /// The value behind the token: one that nobody has. Without one, masker makes one up.
    pub value: Option<&'a str>,
    /// The context.
    pub context: &'a str,
    /// What it is for.
    pub label: &'a str,
    /// Who plants it.
    pub planted_by: &'a str,
}

/// A honeytoken, for whoever plants it.
#[derive(Clone)]
pub struct PlantedHoneytoken {
    /// The token's text.
    pub token: String,
    /// What is known of it from now on.
    pub status: HoneytokenStatus,
}

/// Why a honeytoken was not planted or removed. The text is for the caller.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HoneytokenError {
    /// The value, the kind or the context will not do.
    #[error(transparent)]
    Item(#[from] ItemFailure),
    /// The policy does not tokenize the kind.
    #[error("the policy does not tokenize {0}: there is no token to plant")]
    NotTokenized(EntityKind),
    /// Somebody may hold this token.
    #[error("this value has a token already, and somebody may hold it; plant a value that nobody has")]
    InUse,
    /// There are as many as may be.
    #[error("{HONEYTOKENS_MAX} honeytokens are planted, which is as many as may be; remove some")]
    TooMany,
    /// The label, or the name of who plants it, cannot be kept.
    #[error(
        "a label is at most {LABEL_BYTES_MAX} bytes of UTF-8 without control characters, as is a name, which is not empty"
    )]
    Label,
    /// There is none with this id.
    #[error("there is no such honeytoken")]
    NotFound,
    /// The vault could not write it down.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<StoreError> for HoneytokenError {
    fn from(failed: StoreError) -> Self {
        HoneytokenError::Vault(failed.into())
    }
}

impl Vault {
    /// Plants a honeytoken: mints a token as the policy says, and marks it before it is handed out. Mark and record are
    /// durable when it returns.
    ///
    /// # Errors
    /// [`HoneytokenError`]; nothing was handed out then. A mark that was written before the vault failed stays, and is
    /// listed.
    pub async fn plant_honeytoken(
        &self,
        permit: &Permit<VaultAdmin>,
        policy: &Policy,
        request: &HoneytokenRequest<'_>,
    ) -> Result<PlantedHoneytoken, HoneytokenError> {
        if !is_label(request.label) || !is_caller(request.planted_by) {
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
        let keys = self.shared.keys.load_full();
        let now_ms = self.now_ms();
        let subject = ValueInput { kind: request.kind, value, context: request.context };
        let pending = match begin(&keys, permit, policy, &subject)? {
            TokenizeStage::Search(pending) => pending,
            // It carries its value: nobody has it, but who has a token of the same value.
            TokenizeStage::Done(Tokenized::Token { text, .. }) => {
                let token = Token::parse(&text).map_err(|_| ItemFailure::Malformed)?;
                let status = self.mark_token(&token, request, now_ms).await?;
                return Ok(PlantedHoneytoken { token: text, status });
            }
            TokenizeStage::Done(Tokenized::Failed(failure)) => return Err(failure.into()),
            TokenizeStage::Done(Tokenized::Redacted(_) | Tokenized::Passthrough) => return Err(HoneytokenError::InUse),
        };
        for found in self.find(std::iter::once(&pending.query)).await? {
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
                // The keys changed in between: another token, which is to be marked in the place of the first.
                let token = Token::parse(&text).map_err(|_| ItemFailure::Malformed)?;
                let marked = self.mark_token(&token, request, now_ms).await;
                self.unmark(status.id).await?;
                return Ok(PlantedHoneytoken { token: text, status: marked? });
            }
            // Minted for somebody else in between.
            Ok(Some(Ok(_)) | None) => HoneytokenError::InUse,
            Ok(Some(Err(failure))) => failure.into(),
            Err(failed) => failed.into(),
        };
        // What failed first is what the operator must know.
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
