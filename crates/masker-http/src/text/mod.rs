//! The operations on texts: mask, restore, detect.
//!
//! Masking finds personal data and tokenizes all that it found in one batch, by the path of `tokenize`. Restoring finds the
//! tokens and placeholders of a text and opens them in one batch, by the path of `rehydrate`.

mod assemble;
mod detect;
mod json_pointers;
mod json_spans;
mod mask;
mod offsets;
mod restore;
mod search;
mod stream;

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use super::{
    Service,
    context::RequestContext,
    policies::required_policy,
    problem::Problem,
    route::{Route, route},
};
use detect::{__path_text_detect, text_detect};
use json_pointers::pointers;
use mask::{__path_text_mask, text_mask};
use masker_access::{Permit, ScopedOperation};
use masker_api::{ItemError, Text, TextMaskRequest};
use masker_core::{
    placeholder::{FoundPlaceholder, Placeholder, placeholders_in},
    policy::{Action, Policy, PolicySet},
};
use masker_text::{Finding, Kind, Language};
use masker_types::{
    error_code::Code,
    kind::{Context, EntityKind},
    limits::{CONTEXT_BYTES_MAX, ITEMS_PER_REQUEST_MAX, REHYDRATION_BYTES_MAX, TEXT_BYTES_MAX},
    quote::listed,
};
use masker_vault::EnteredSession;
use restore::{__path_text_restore, text_restore};
use search::{NUMBERS_NAMED_MAX, SearchedText, TextFailure, TextSearch, off_async_threads};

pub(super) fn routes() -> Vec<Route> {
    let mut routes = vec![
        route! {
            handler: text_mask / __path_text_mask,
            access: Scope(TextMask),
            audit: Operation(TextMask),
            cost: Request,
            body: Buffered,
        },
        route! {
            handler: text_restore / __path_text_restore,
            access: Scope(TextRestore),
            audit: Operation(TextRestore),
            cost: Tokens,
            body: Buffered,
        }
        .with_answer_bytes_max(REHYDRATION_BYTES_MAX),
        route! {
            handler: text_detect / __path_text_detect,
            access: Scope(TextDetect),
            audit: Operation(TextDetect),
            cost: Request,
            body: Buffered,
        },
    ];
    routes.extend(stream::routes());
    routes.into_iter().map(Route::taking_tokens).collect()
}

/// The texts of a request to mask or to detect, with what they are searched by.
struct SearchJob<'r> {
    texts: Vec<&'r str>,
    /// Whether the request has a list of texts, so that messages name a text by its position.
    is_list: bool,
    context: &'r str,
    policy: &'r Policy,
    search: TextSearch<'r>,
}

impl<'r> SearchJob<'r> {
    /// Checks what a request may search, and by which policy.
    ///
    /// # Errors
    /// A [`Problem`] if the caller may not use the policy or the context, or if the request is invalid.
    fn admit<O: ScopedOperation>(
        ctx: &mut RequestContext,
        permit: &Permit<O>,
        request: &'r TextMaskRequest<'_>,
        policies: &'r PolicySet,
    ) -> Result<Self, Problem> {
        let texts = texts_of(request.text.as_ref(), request.texts.as_deref())?;
        let policy = required_policy(policies.get(request.policy.as_deref()))?;
        permit.check_policy(&policy.name)?;
        ctx.set_policy(policy);
        let context = checked_context(permit, request.context.as_deref())?;
        let language = request.language.as_deref().map(|code| language(policy, code)).transpose()?;
        let detector = policy.text.detector(language).map_err(|failed| Problem::internal(failed.to_string()))?;
        let search = TextSearch { detector, format: request.format, explain: request.explain };
        Ok(SearchJob { texts, is_list: request.texts.is_some(), context, policy, search })
    }

    /// Searches the texts, and checks that not too much was found.
    ///
    /// # Errors
    /// `text.timeout`, `request.too_large`, or that the vault failed.
    async fn run<O: ScopedOperation>(
        &self,
        service: &Service,
        ctx: &RequestContext,
        permit: &Permit<O>,
        operation: &str,
    ) -> Result<Vec<Result<SearchedText, TextFailure>>, Problem> {
        let placeholders = existing_placeholders(service, ctx, permit, &self.texts).await?;
        let searched = self.search.run(&self.texts, &placeholders)?.into_iter();
        let searched: Vec<_> =
            searched.zip(&self.texts).map(|(searched, text)| self.check_numbers(text, searched?)).collect();
        let bytes: usize = self.texts.iter().map(|text| text.len()).sum();
        service.metrics.http.text_bytes.with_label_values(&[operation]).inc_by(bytes as u64);
        let found: usize = searched.iter().flatten().map(|text| text.findings.len()).sum();
        if found > ITEMS_PER_REQUEST_MAX {
            let detail =
                format!("the texts have more than {ITEMS_PER_REQUEST_MAX} values to replace; split the request");
            return Err(Problem::new(Code::RequestTooLarge, detail));
        }
        Ok(searched)
    }
}

impl SearchJob<'_> {
    /// Fails a document with personal data in numbers, unless the policy passes its kind through.
    fn check_numbers(&self, text: &str, searched: SearchedText) -> Result<SearchedText, TextFailure> {
        let is_passed = |found: &&Finding| {
            let rule = self.policy.rule(found.kind.as_str());
            rule.is_some_and(|(_, rule)| rule.action == Action::Passthrough)
        };
        let numbers: Vec<&Finding> = searched.in_numbers.iter().filter(|found| !is_passed(found)).collect();
        if numbers.is_empty() {
            return Ok(searched);
        }
        let places: Vec<usize> = numbers.iter().map(|found| found.start).take(NUMBERS_NAMED_MAX).collect();
        let kinds = numbers.iter().map(|found| found.kind.to_string()).collect();
        Err(TextFailure::Numbers { pointers: pointers(text, &places), count: numbers.len(), kinds })
    }
}

/// Returns where texts have placeholders of the session or the caller. What only looks like one is searched.
async fn existing_placeholders<O: ScopedOperation>(
    service: &Service,
    ctx: &RequestContext,
    permit: &Permit<O>,
    texts: &[&str],
) -> Result<Vec<Vec<Range<usize>>>, Problem> {
    let found = placeholders_in_texts(texts, &ctx.policies);
    let named: Vec<Placeholder> = found.iter().flatten().filter_map(|one| one.placeholder.ok()).collect();
    let session = ctx.session.as_ref().map(EnteredSession::id);
    let mut tokens = service.vault.placeholder_tokens(permit, session, &named).await?.into_iter();
    let of_text = |found: Vec<FoundPlaceholder>| {
        let named = found.into_iter().filter(|one| one.placeholder.is_ok());
        named.filter(|_| tokens.next().flatten().is_some()).map(|one| one.range).collect()
    };
    Ok(found.into_iter().map(of_text).collect())
}

/// Returns what looks like placeholders in texts. Texts that are too long have none.
fn placeholders_in_texts(texts: &[&str], policies: &PolicySet) -> Vec<Vec<FoundPlaceholder>> {
    let mut kinds: BTreeSet<EntityKind> = policies.iter().flat_map(|policy| policy.entities.keys().copied()).collect();
    kinds.extend(Kind::built_in().filter_map(|kind| EntityKind::parse(kind.as_str())));
    let of_text = |text: &&str| match text.len() <= TEXT_BYTES_MAX {
        true => placeholders_in(text, |kind| kinds.contains(&kind)),
        false => Vec::new(),
    };
    off_async_threads(|| texts.iter().map(of_text).collect())
}

/// Returns the texts of a request.
fn texts_of<'r>(text: Option<&'r Text<'_>>, texts: Option<&'r [Text<'_>]>) -> Result<Vec<&'r str>, Problem> {
    let texts: Vec<&str> = match (text, texts) {
        (Some(text), None) => vec![text],
        (None, Some(texts)) => texts.iter().map(|text| &**text).collect(),
        _ => return Err(Problem::new(Code::RequestInvalid, "give either `text` or `texts`")),
    };
    if texts.len() <= ITEMS_PER_REQUEST_MAX {
        return Ok(texts);
    }
    let detail = format!("a request has at most {ITEMS_PER_REQUEST_MAX} texts; split it");
    Err(Problem::new(Code::RequestTooLarge, detail))
}

/// Returns the context of a request, which the caller may use.
fn checked_context<'r, O: ScopedOperation>(permit: &Permit<O>, context: Option<&'r str>) -> Result<&'r str, Problem> {
    let context = context.unwrap_or_default();
    if Context::new(context).is_none() {
        let detail = format!("`context` is longer than {CONTEXT_BYTES_MAX} bytes of UTF-8");
        return Err(Problem::new(Code::RequestInvalid, detail));
    }
    permit.check_context(context)?;
    Ok(context)
}

fn language(policy: &Policy, code: &str) -> Result<Language, Problem> {
    let languages = &policy.text.options().languages;
    Language::parse(code).filter(|language| languages.contains(language)).ok_or_else(|| {
        let codes: Vec<&str> = languages.iter().map(|language| language.code()).collect();
        let detail = format!(
            "`language` is not one of the policy `{}`, which has {}; its section [text] can have others",
            policy.name,
            listed(&codes)
        );
        Problem::new(Code::RequestInvalid, detail)
    })
}

/// Returns the error of a text.
fn text_error(code: Code, detail: &str, is_list: bool, position: usize) -> ItemError {
    let detail = if is_list { format!("texts[{position}]: {detail}") } else { detail.to_owned() };
    ItemError { code: code.to_string(), detail }
}

/// Returns the texts that could be searched, with what was found in each.
fn searched_texts<'t>(
    texts: &'t [&'t str],
    searched: &'t [Result<SearchedText, TextFailure>],
) -> impl Iterator<Item = (&'t str, &'t SearchedText)> {
    texts.iter().zip(searched).filter_map(|(text, searched)| Some((*text, searched.as_ref().ok()?)))
}

impl Service {
    /// Counts what was found in texts, by kind. Kinds are those of the detector and of policies.
    fn count_found<'k>(&self, kinds: impl IntoIterator<Item = &'k str>) {
        for kind in kinds {
            self.metrics.http.text_findings.with_label_values(&[kind]).inc();
        }
    }
}

/// Keeps the policies of a request while it uses one of them.
fn policies_of(ctx: &RequestContext) -> Arc<PolicySet> {
    Arc::clone(&ctx.policies)
}
