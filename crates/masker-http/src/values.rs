//! Handlers of the operations on values.

use std::sync::Arc;

use hyper::body::Bytes;

use super::{Service, body::parse, exchange::RequestContext, problem::Problem, receipt::ErasureReceipt};
use masker_api::{
    Answer, ForgetResult, ItemError, LookupResult, RehydrateRequest, RehydrateResult, RewrapResult, TokenizeRequest,
    TokenizeResult,
};
use masker_core::policy::Policy;
use masker_types::{error_code::Code, limits::ITEMS_PER_REQUEST_MAX};
use masker_vault::{ItemFailure, TokenInput, Tokenized, ValueInput};

impl Service {
    pub(super) async fn tokenize(&self, on: &mut RequestContext, body: &[u8]) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::Tokenize>()?;
        let request: TokenizeRequest<'_> = parse(body)?;
        bounded(request.items.len())?;
        self.admit(on, request.items.len())?;
        let policies = Arc::clone(&on.policies);
        let policy = named(policies.get(request.policy.as_deref()))?;
        permit.check_policy(&policy.name)?;
        on.set_policy(policy);
        self.charge_values(on, &request)?;
        let items = subjects(&request);
        let outcomes = on.note(self.vault.tokenize(&permit, policy, &items).await?);
        if let Some(session) = &on.session {
            session.note_minted(outcomes.iter().filter_map(Tokenized::token));
        }
        let results = outcomes.into_iter().zip(&request.items).map(|(outcome, item)| match outcome {
            Tokenized::Token { text, created } => TokenizeResult::Token { token: text.into(), created },
            Tokenized::Redacted(kind) => TokenizeResult::Redacted { redacted: format!("[REDACTED:{kind}]") },
            Tokenized::Passthrough => TokenizeResult::Value { value: (*item.value).into() },
            Tokenized::Failed(failure) => TokenizeResult::Error { error: error(&failure) },
        });
        json(&Answer { results: results.collect() })
    }

    pub(super) async fn rehydrate(&self, on: &mut RequestContext, body: &[u8]) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::Rehydrate>()?;
        let request: RehydrateRequest<'_> = parse(body)?;
        bounded(request.tokens.len())?;
        self.admit(on, request.tokens.len())?;
        self.charge_tokens(on, request.tokens.len())?;
        let tokens = tokens(&request);
        let outcomes = on.note(self.vault.rehydrate(&permit, &tokens).await?);
        let honeytokens = tokens.iter().zip(&outcomes).filter_map(|(input, outcome)| match outcome {
            Ok(rehydrated) => rehydrated.honeytoken,
            Err(_) => self.vault.honeytoken(input.token),
        });
        self.record_honeytokens(on, honeytokens);
        if let Some(session) = &on.session {
            let rehydrated = tokens.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
            session.note_rehydrated(rehydrated.map(|(input, _)| input.token));
        }
        let results = outcomes.iter().map(|outcome| match outcome {
            Ok(rehydrated) => RehydrateResult::Value {
                value: rehydrated.value.as_str().into(),
                kind: rehydrated.kind.as_str().into(),
                generation: rehydrated.role.as_str().into(),
            },
            Err(failure) => RehydrateResult::Error { error: error(failure) },
        });
        json(&Answer { results: results.collect() })
    }

    pub(super) async fn lookup(&self, on: &mut RequestContext, body: &[u8]) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::Lookup>()?;
        let request: TokenizeRequest<'_> = parse(body)?;
        bounded(request.items.len())?;
        self.admit(on, request.items.len())?;
        let policies = Arc::clone(&on.policies);
        let policy = named(policies.get(request.policy.as_deref()))?;
        permit.check_policy(&policy.name)?;
        on.set_policy(policy);
        self.charge_values(on, &request)?;
        let outcomes = on.note(self.vault.lookup(&permit, policy, &subjects(&request)).await?);
        let results = outcomes.into_iter().map(|outcome| match outcome {
            Ok(tokens) => LookupResult::Tokens { tokens },
            Err(failure) => LookupResult::Error { error: error(&failure) },
        });
        json(&Answer { results: results.collect() })
    }

    pub(super) fn rewrap(&self, on: &mut RequestContext, body: &[u8]) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::Rewrap>()?;
        let request: RehydrateRequest<'_> = parse(body)?;
        bounded(request.tokens.len())?;
        self.admit(on, request.tokens.len())?;
        let tokens = tokens(&request);
        let outcomes = on.note(self.vault.rewrap(&permit, &tokens));
        // The token that comes of it carries the value, and no mark: this is the last that is seen of the honeytoken.
        self.record_honeytokens(on, tokens.iter().filter_map(|input| self.vault.honeytoken(input.token)));
        let results = outcomes.into_iter().map(|outcome| match outcome {
            Ok(rewrapped) => RewrapResult::Token { token: rewrapped.token, changed: rewrapped.changed },
            Err(failure) => RewrapResult::Error { error: error(&failure) },
        });
        json(&Answer { results: results.collect() })
    }

    pub(super) async fn forget(&self, on: &mut RequestContext, body: &[u8]) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::Forget>()?;
        let request: RehydrateRequest<'_> = parse(body)?;
        bounded(request.tokens.len())?;
        self.admit(on, request.tokens.len())?;
        let outcomes = on.note(self.vault.forget(&permit, &tokens(&request)).await?);
        let mut receipt = ErasureReceipt::default();
        for (kid, fingerprint) in outcomes.iter().flatten().filter_map(|forgotten| forgotten.0) {
            receipt.add(kid, fingerprint, 1);
        }
        receipt.log(on, "records were forgotten");
        let results = outcomes.into_iter().map(|outcome| match outcome {
            Ok(forgotten) => ForgetResult::Forgotten { forgotten: forgotten.0.is_some() },
            Err(failure) => ForgetResult::Error { error: error(&failure) },
        });
        json(&Answer { results: results.collect() })
    }
}

fn bounded(items: usize) -> Result<(), Problem> {
    if items <= ITEMS_PER_REQUEST_MAX {
        return Ok(());
    }
    let detail = format!("a request has at most {ITEMS_PER_REQUEST_MAX} items; split it");
    Err(Problem::new(Code::RequestTooLarge, detail))
}

pub(super) fn named(policy: Option<&Policy>) -> Result<&Policy, Problem> {
    policy.ok_or_else(|| {
        let detail =
            "no policy of this name is loaded, or none was named and there is no default; see GET /api/v1/policies";
        Problem::new(Code::PolicyUnknown, detail)
    })
}

fn subjects<'a>(request: &'a TokenizeRequest<'_>) -> Vec<ValueInput<'a>> {
    let context = request.context.as_deref().unwrap_or_default();
    let items = request.items.iter();
    items
        .map(|item| ValueInput {
            kind: &item.kind,
            value: &item.value,
            context: item.context.as_deref().unwrap_or(context),
        })
        .collect()
}

fn tokens<'a>(request: &'a RehydrateRequest<'_>) -> Vec<TokenInput<'a>> {
    let context = request.context.as_deref().unwrap_or_default();
    let tokens = request.tokens.iter();
    tokens.map(|item| TokenInput { token: item.token(), context: item.context().unwrap_or(context) }).collect()
}

fn error(failure: &ItemFailure) -> ItemError {
    ItemError { code: failure.code().to_string(), detail: failure.to_string() }
}

/// An answer's body.
pub(super) fn json(answer: &impl serde::Serialize) -> Result<Bytes, Problem> {
    serde_json::to_vec(answer).map(Bytes::from).map_err(|failed| Problem::internal(failed.to_string()))
}
