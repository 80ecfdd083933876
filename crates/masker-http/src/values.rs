//! The operations on values: tokenize, rehydrate, lookup, rewrap, forget.

use std::sync::Arc;

use super::{
    Service,
    context::RequestContext,
    erasure_receipt::ErasureReceipt,
    input::Input,
    operation::{Outcome, Reply},
    policies::required_policy,
    problem::Problem,
    route::{Route, route},
};
use masker_access::{Forget, Lookup, Permit, Rehydrate, Rewrap, ScopedOperation, Tokenize};
use masker_api::{
    BatchResponse, ForgetRequest, ForgetResult, ItemError, LookupResult, RehydrateRequest, RehydrateResult,
    RewrapResult, TokenItem, TokenizeItem, TokenizeRequest, TokenizeResult,
};
use masker_core::policy::{Policy, PolicySet};
use masker_types::{
    error_code::Code,
    limits::{ITEMS_PER_REQUEST_MAX, LOOKUP_ANSWER_BYTES_MAX, REHYDRATION_BYTES_MAX},
    quote::suggestion,
};
use masker_vault::{ForgottenValue, ItemFailure, TokenInput, Tokenized, ValueInput};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route! {
            handler: tokenize / __path_tokenize,
            access: Scope(Tokenize),
            audit: Operation(Tokenize),
            cost: Values,
            body: Buffered,
        },
        route! {
            handler: rehydrate / __path_rehydrate,
            access: Scope(Rehydrate),
            audit: Operation(Rehydrate),
            cost: Tokens,
            body: Buffered,
        }
        .taking_tokens()
        .with_answer_bytes_max(REHYDRATION_BYTES_MAX),
        route! {
            handler: lookup / __path_lookup,
            access: Scope(Lookup),
            audit: Operation(Lookup),
            cost: Values,
            body: Buffered,
        }
        .with_answer_bytes_max(LOOKUP_ANSWER_BYTES_MAX),
        route! {
            handler: rewrap / __path_rewrap,
            access: Scope(Rewrap),
            audit: Operation(Rewrap),
            cost: Tokens,
            body: Buffered,
        }
        .taking_tokens(),
        route! {
            handler: forget / __path_forget,
            access: Scope(Forget),
            audit: Operation(Forget),
            cost: Tokens,
            body: Buffered,
        }
        .taking_tokens(),
    ]
}

/// Swap values for tokens.
#[utoipa::path(
    post,
    path = "/api/v1/tokenize",
    params(("X-Masker-Session" = Option<String>, Header, description = "The session that the request works in")),
    request_body(content = TokenizeRequest<'_>, example = json!({
        "policy": "healthcare-default",
        "context": "clinic-7",
        "items": [{"kind": "PHONE", "value": "415-555-2671"}, {"kind": "SSN", "value": "078-05-1120", "context": "ward-3"}]
    })),
    responses((
        status = 200,
        description = "One result for each item, in order",
        body = BatchResponse<TokenizeResult<'_>>,
        example = json!({"results": [
            {"token": "MSKV1.PHONE.K_HEALTHCARE.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ", "created": true},
            {"error": {"code": "perm.denied", "detail": "this caller lacks the scope `tokenize:SSN`"}}
        ]})
    )),
)]
async fn tokenize(service: &Service, ctx: &mut RequestContext, permit: Permit<Tokenize>, input: &Input) -> Outcome {
    let policies = Arc::clone(&ctx.policies);
    let (request, policy) = admit_values(service, ctx, &permit, input, &policies)?;
    let items = value_inputs(request.context.as_deref().unwrap_or_default(), &request.items);
    let outcomes = ctx.record_outcomes(service.vault.tokenize(&permit, policy, &items).await?);
    let shown = outcomes.iter().zip(&items).filter_map(|(outcome, item)| match outcome {
        Tokenized::Failed(ItemFailure::ValueIsToken) => Some(item.value),
        _ => None,
    });
    service.note_shown_as_values(ctx, shown);
    if let Some(session) = &ctx.session {
        session.note_minted(outcomes.iter().filter_map(Tokenized::token));
    }
    let results = outcomes.into_iter().zip(&request.items).enumerate().map(|(index, (outcome, item))| match outcome {
        Tokenized::Token { text, created } => TokenizeResult::Token { token: text.into(), created },
        Tokenized::Redacted(kind) => TokenizeResult::Redacted { redacted: format!("[REDACTED:{kind}]") },
        Tokenized::Passthrough => TokenizeResult::Value { value: (*item.value).into() },
        Tokenized::Failed(failure) => TokenizeResult::Error { error: value_error(&failure, policy, index, &item.kind) },
    });
    Reply::json(&BatchResponse { results: results.collect() })
}

/// Swap tokens back for values.
#[utoipa::path(
    post,
    path = "/api/v1/rehydrate",
    params(("X-Masker-Session" = Option<String>, Header, description = "The session that the request works in")),
    request_body(content = RehydrateRequest<'_>, example = json!({
        "context": "clinic-7",
        "tokens": [
            "MSKV1.PHONE.K_HEALTHCARE.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ",
            {"token": "MSKV1.SSN.K_HEALTHCARE.KTWSWP6BLJHYBWTPDL64TMWEKQKC5ART", "context": "ward-3"}
        ]
    })),
    responses((
        status = 200,
        description = "One result for each token, in order",
        body = BatchResponse<RehydrateResult<'_>>,
        example = json!({"results": [
            {"value": "415-555-2671", "kind": "PHONE", "generation": "active"},
            {"error": {"code": "token.not_found", "detail": "no such token in this vault and context"}}
        ]})
    )),
)]
async fn rehydrate(service: &Service, ctx: &mut RequestContext, permit: Permit<Rehydrate>, input: &Input) -> Outcome {
    let request = admit_tokens(service, ctx, input)?;
    service.charge_tokens(ctx, request.tokens.len())?;
    let tokens = token_inputs(request.context.as_deref().unwrap_or_default(), &request.tokens);
    let outcomes = ctx.record_outcomes(service.vault.rehydrate(&permit, &tokens).await?);
    let honeytokens = tokens.iter().zip(&outcomes).filter_map(|(input, outcome)| match outcome {
        Ok(rehydrated) => rehydrated.honeytoken,
        Err(_) => service.vault.honeytoken(input.token),
    });
    service.record_honeytokens(ctx, honeytokens);
    if let Some(session) = &ctx.session {
        let rehydrated = tokens.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        session.note_rehydrated(rehydrated.map(|(input, _)| input.token));
    }
    let results = outcomes.iter().map(|outcome| match outcome {
        Ok(rehydrated) => RehydrateResult::Value {
            value: rehydrated.value.as_str().into(),
            kind: rehydrated.kind.as_str().into(),
            generation: rehydrated.role.as_str().into(),
        },
        Err(failure) => RehydrateResult::Error { error: item_error(failure) },
    });
    Reply::json(&BatchResponse { results: results.collect() })
}

/// Find every token of a value, in any spelling. Mints nothing.
#[utoipa::path(
    post,
    path = "/api/v1/lookup",
    request_body(content = TokenizeRequest<'_>, example = json!({"items": [{"kind": "PHONE", "value": "415-555-2671"}]})),
    responses((
        status = 200,
        description = "One result for each item, in order",
        body = BatchResponse<LookupResult>,
        example = json!({"results": [{"tokens": ["MSKV1.PHONE.K_HEALTHCARE.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ"], "exact": true}]})
    )),
)]
async fn lookup(service: &Service, ctx: &mut RequestContext, permit: Permit<Lookup>, input: &Input) -> Outcome {
    let policies = Arc::clone(&ctx.policies);
    let (request, policy) = admit_values(service, ctx, &permit, input, &policies)?;
    let items = value_inputs(request.context.as_deref().unwrap_or_default(), &request.items);
    let outcomes = ctx.record_outcomes(service.vault.lookup(&permit, policy, &items).await?);
    let shown = outcomes.iter().zip(&items).filter_map(|(outcome, item)| match outcome {
        Err(ItemFailure::ValueIsToken) => Some(item.value),
        _ => None,
    });
    service.note_shown_as_values(ctx, shown);
    let results = outcomes.into_iter().zip(&request.items).enumerate().map(|(index, (outcome, item))| match outcome {
        Ok(found) => {
            LookupResult::Tokens { tokens: found.tokens, exact: found.exact, more: found.more.then_some(true) }
        }
        Err(failure) => LookupResult::Error { error: value_error(&failure, policy, index, &item.kind) },
    });
    Reply::json(&BatchResponse { results: results.collect() })
}

/// Mint stateless tokens again under the active key.
#[utoipa::path(
    post,
    path = "/api/v1/rewrap",
    request_body(content = RehydrateRequest<'_>, example = json!({
        "tokens": ["MSK1.PHONE.K_HEALTHCARE.AFBSUDDWECOB6UOCCK5E6XOI7SXTCCVAG25A26FL2FFYPN2OJIM5QSUO76EJKG7ADY4AYPGX43MB2WMVF44QSMTSUEYUYQHJ24"]
    })),
    responses((
        status = 200,
        description = "One result for each token, in order",
        body = BatchResponse<RewrapResult>,
        example = json!({"results": [{
            "token": "MSK1.PHONE.K_HEALTHCARE.AJBSUDDWWOVMWYVVBVSSHDBPIYZPBYGTGOJO44FYUN3TWXKWEVPWPR3H7HJ7DNQPD442C5AYWHOVURPW4BXRVIAY3PBXZYWIWE",
            "changed": true
        }]})
    )),
)]
async fn rewrap(service: &Service, ctx: &mut RequestContext, permit: Permit<Rewrap>, input: &Input) -> Outcome {
    let request = admit_tokens(service, ctx, input)?;
    let tokens = token_inputs(request.context.as_deref().unwrap_or_default(), &request.tokens);
    let outcomes = ctx.record_outcomes(service.vault.rewrap(&permit, &tokens));
    // The new token carries the value and no mark, so this is the honeytoken's last appearance.
    service.record_honeytokens(ctx, tokens.iter().filter_map(|input| service.vault.honeytoken(input.token)));
    let results = outcomes.into_iter().map(|outcome| match outcome {
        Ok(rewrapped) => RewrapResult::Token { token: rewrapped.token, changed: rewrapped.changed },
        Err(failure) => RewrapResult::Error { error: item_error(&failure) },
    });
    Reply::json(&BatchResponse { results: results.collect() })
}

/// Erase vault records with their index rows: those of tokens, or of every spelling of values. Values also need the scope
/// `lookup`, because the result says whether a value is in the vault.
#[utoipa::path(
    post,
    path = "/api/v1/forget",
    request_body(content = ForgetRequest<'_>, example = json!({
        "tokens": ["MSKV1.PHONE.K_HEALTHCARE.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ"]
    })),
    responses((
        status = 200,
        description = "One result for each token or value, in order",
        body = BatchResponse<ForgetResult>,
        example = json!({"results": [{"forgotten": true}, {"forgotten": true, "count": 3}]})
    )),
)]
async fn forget(service: &Service, ctx: &mut RequestContext, permit: Permit<Forget>, input: &Input) -> Outcome {
    let request: ForgetRequest<'_> = input.json()?;
    let context = request.context.as_deref().unwrap_or_default();
    match (&request.tokens, &request.items) {
        (Some(tokens), None) if request.policy.is_none() => {
            check_item_count(tokens.len())?;
            service.charge_request(ctx, tokens.len())?;
            forget_tokens(service, ctx, &permit, &token_inputs(context, tokens)).await
        }
        (None, Some(items)) => {
            check_item_count(items.len())?;
            service.charge_request(ctx, items.len())?;
            let lookup: Permit<Lookup> = ctx.permit()?;
            let policies = Arc::clone(&ctx.policies);
            let policy = required_policy(policies.get(request.policy.as_deref()))?;
            permit.check_policy(&policy.name)?;
            lookup.check_policy(&policy.name)?;
            ctx.set_policy(policy);
            let items = value_inputs(context, items);
            service.charge_values(ctx, &items)?;
            forget_values(service, ctx, &permit, &lookup, policy, &items).await
        }
        _ => {
            let detail = "give either `tokens`, or `items` with an optional `policy`";
            Err(Problem::new(Code::RequestInvalid, detail))
        }
    }
}

async fn forget_tokens(
    service: &Service,
    ctx: &mut RequestContext,
    permit: &Permit<Forget>,
    tokens: &[TokenInput<'_>],
) -> Outcome {
    let outcomes = ctx.record_outcomes(service.vault.forget(permit, tokens).await?);
    service.record_honeytokens(ctx, tokens.iter().filter_map(|input| service.vault.honeytoken(input.token)));
    let mut receipt = ErasureReceipt::default();
    for (kid, fingerprint) in outcomes.iter().flatten().filter_map(|forgotten| forgotten.0) {
        receipt.add(kid, fingerprint, 1);
    }
    receipt.log(ctx, "records were forgotten");
    let results = outcomes.into_iter().map(|outcome| match outcome {
        Ok(forgotten) => ForgetResult::Forgotten { forgotten: forgotten.0.is_some(), count: None },
        Err(failure) => ForgetResult::Error { error: item_error(&failure) },
    });
    Reply::json(&BatchResponse { results: results.collect() })
}

async fn forget_values(
    service: &Service,
    ctx: &mut RequestContext,
    permit: &Permit<Forget>,
    lookup: &Permit<Lookup>,
    policy: &Policy,
    items: &[ValueInput<'_>],
) -> Outcome {
    let outcomes = ctx.record_outcomes(service.vault.forget_values(permit, lookup, policy, items).await?);
    let shown = outcomes.iter().zip(items).filter_map(|(outcome, item)| match outcome.failure {
        Some(ItemFailure::ValueIsToken) => Some(item.value),
        _ => None,
    });
    service.note_shown_as_values(ctx, shown);
    let mut receipt = ErasureReceipt::default();
    for ((kid, fingerprint), count) in outcomes.iter().flat_map(|forgotten| &forgotten.sealed_under) {
        receipt.add(*kid, *fingerprint, *count);
    }
    receipt.log(ctx, "records were forgotten");
    let results = outcomes.into_iter().zip(items).enumerate().map(|(index, (forgotten, item))| match forgotten {
        ForgottenValue { failure: None, count, .. } => {
            ForgetResult::Forgotten { forgotten: count > 0, count: Some(count) }
        }
        ForgottenValue { failure: Some(failure), count, .. } => {
            let mut error = value_error(&failure, policy, index, item.kind);
            if count > 0 {
                error.detail.push_str(&format!("; {count} of its tokens were forgotten"));
            }
            ForgetResult::Error { error }
        }
    });
    Reply::json(&BatchResponse { results: results.collect() })
}

impl Service {
    /// Notes the honeytokens among tokens that were sent in the place of values.
    fn note_shown_as_values<'v>(&self, ctx: &mut RequestContext, tokens: impl Iterator<Item = &'v str>) {
        self.record_honeytokens(ctx, tokens.filter_map(|token| self.vault.honeytoken(token)));
    }
}

/// Reads a batch of values with its policy, and takes it from the caller's limits and budget.
///
/// # Errors
/// A [`Problem`] if the caller may not use the policy or exceeds a limit, or if the request is invalid.
fn admit_values<'a, 'p, O: ScopedOperation>(
    service: &Service,
    ctx: &mut RequestContext,
    permit: &Permit<O>,
    input: &'a Input,
    policies: &'p PolicySet,
) -> Result<(TokenizeRequest<'a>, &'p Policy), Problem> {
    let request: TokenizeRequest<'_> = input.json()?;
    check_item_count(request.items.len())?;
    service.charge_request(ctx, request.items.len())?;
    let policy = required_policy(policies.get(request.policy.as_deref()))?;
    permit.check_policy(&policy.name)?;
    ctx.set_policy(policy);
    service.charge_values(ctx, &value_inputs(request.context.as_deref().unwrap_or_default(), &request.items))?;
    Ok((request, policy))
}

/// Reads a batch of tokens, and takes it from the caller's limits.
///
/// # Errors
/// A [`Problem`] if the caller exceeds a limit, or if the request is invalid.
fn admit_tokens<'a>(
    service: &Service,
    ctx: &mut RequestContext,
    input: &'a Input,
) -> Result<RehydrateRequest<'a>, Problem> {
    let request: RehydrateRequest<'_> = input.json()?;
    check_item_count(request.tokens.len())?;
    service.charge_request(ctx, request.tokens.len())?;
    Ok(request)
}

fn check_item_count(items: usize) -> Result<(), Problem> {
    if items <= ITEMS_PER_REQUEST_MAX {
        return Ok(());
    }
    let detail = format!("a request has at most {ITEMS_PER_REQUEST_MAX} items; split it");
    Err(Problem::new(Code::RequestTooLarge, detail))
}

fn value_inputs<'a>(context: &'a str, items: &'a [TokenizeItem<'_>]) -> Vec<ValueInput<'a>> {
    let input = |item: &'a TokenizeItem<'_>| ValueInput {
        kind: &item.kind,
        value: &item.value,
        context: item.context.as_deref().unwrap_or(context),
    };
    items.iter().map(input).collect()
}

fn token_inputs<'a>(context: &'a str, tokens: &'a [TokenItem<'_>]) -> Vec<TokenInput<'a>> {
    let input =
        |item: &'a TokenItem<'_>| TokenInput { token: item.token(), context: item.context().unwrap_or(context) };
    tokens.iter().map(input).collect()
}

fn item_error(failure: &ItemFailure) -> ItemError {
    ItemError { code: failure.code().to_string(), detail: failure.to_string() }
}

/// Returns the error of a value of this kind. Of an unknown kind, it names the item, the policy and the kinds of the policy,
/// and not the kind, which is text of the request.
fn value_error(failure: &ItemFailure, policy: &Policy, index: usize, kind: &str) -> ItemError {
    let mut item = item_error(failure);
    if *failure == ItemFailure::KindUnknown {
        let kinds: Vec<&str> = policy.entities.keys().map(|kind| kind.as_str()).collect();
        let suggestion = suggestion(kind, &kinds);
        item.detail = format!("items[{index}]: the policy `{}` has no such kind; {suggestion}", policy.name);
    }
    item
}
