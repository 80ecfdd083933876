//! Masking: texts with tokens in the place of personal data.

use std::{borrow::Cow, collections::BTreeSet, ops::Range};

use super::{
    SearchJob,
    assemble::{Replacement, assemble},
    json_spans::value_in_json,
    offsets::OffsetMap,
    policies_of,
    search::{Existing, SearchedText, off_async_threads},
    searched_texts, text_error,
};
use crate::{
    Service,
    context::RequestContext,
    input::Input,
    operation::{Outcome, Reply},
    problem::Problem,
};
use masker_access::{Permit, TextMask};
use masker_api::{
    ItemError, TextAction, TextFinding, TextFormat, TextMaskRequest, TextMaskResponse, TextMaskResult, TextReplacement,
    TextSpan, TextWhy,
};
use masker_core::{
    placeholder::{Placeholder, placeholders_in},
    policy::Policy,
    token::tokens_in,
};
use masker_text::Finding;
use masker_vault::{EnteredSession, ItemFailure, Masked, Tokenized, ValueInput};

/// Replace the personal data in texts by tokens, in one batch. A text that cannot be masked is an error, and never comes back.
#[utoipa::path(
    post,
    path = "/api/v1/text/mask",
    params(("X-Masker-Session" = Option<String>, Header, description = "The session that the request works in")),
    request_body(content = TextMaskRequest<'_>, example = json!({
        "text": "Call Maria Lopez at (212) 555-0147.", "context": "clinic-7", "offsets": "utf16", "explain": true
    })),
    responses((
        status = 200,
        description = "One result for each text, in order",
        body = TextMaskResponse<'_>,
        example = json!({
            "results": [{
                "text": "Call MSKV1.NAME.K_HEALTHCARE.KTWSWP6BLJHYBWTPDL64TMWEKQKC5ART at MSKV1.PHONE.K_HEALTHCARE.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ.",
                "findings": [
                    {
                        "start": 5, "end": 16, "kind": "NAME", "action": "tokenize",
                        "token": "MSKV1.NAME.K_HEALTHCARE.KTWSWP6BLJHYBWTPDL64TMWEKQKC5ART",
                        "confidence": 0.85, "rule": "name", "why": {"evidence": "model", "rewritten": false}
                    },
                    {
                        "start": 20, "end": 34, "kind": "PHONE", "action": "tokenize",
                        "token": "MSKV1.PHONE.K_HEALTHCARE.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ",
                        "confidence": 0.95, "rule": "phone", "why": {"evidence": "validated", "rewritten": false}
                    }
                ],
                "existing": 0
            }],
            "offsets": "utf16"
        })
    )),
)]
pub(super) async fn text_mask(
    service: &Service,
    ctx: &mut RequestContext,
    permit: Permit<TextMask>,
    input: &Input,
) -> Outcome {
    let policies = policies_of(ctx);
    let request: TextMaskRequest<'_> = input.json()?;
    let job = SearchJob::admit(ctx, &permit, &request, &policies)?;
    service.note_tokens_in_texts(ctx, job.texts.iter().copied());
    let searched = job.run(service, ctx, &permit, "mask").await?;
    let found = || {
        searched_texts(&job.texts, &searched)
            .flat_map(|(text, searched)| searched.findings.iter().map(move |finding| (text, finding)))
    };
    let values: Vec<Cow<'_, str>> = found().map(|(text, finding)| value_of(text, finding, request.format)).collect();
    let items: Vec<ValueInput<'_>> =
        found().zip(&values).map(|((_, finding), value)| value_input(value, finding, job.context)).collect();
    service.charge_found(ctx, items.len())?;
    let outcomes = tokenize_found(service, ctx, &permit, job.policy, &items, request.replace_with).await?;
    let results = off_async_threads(|| {
        let mut outcomes = outcomes.as_slice();
        let texts = job.texts.iter().zip(&searched).enumerate();
        let results = texts.map(|(position, (text, searched))| match searched {
            Ok(searched) => {
                let (own, rest) = outcomes.split_at(searched.findings.len());
                outcomes = rest;
                match masked(text, searched, own) {
                    Ok(masked) => masked.result(text, searched, &request),
                    Err(failure) => TextMaskResult::Error { error: value_error(failure, job.is_list, position) },
                }
            }
            Err(failure) => {
                let error = text_error(failure.code(), &failure.detail(), job.is_list, position);
                TextMaskResult::Error { error }
            }
        });
        results.collect()
    });
    Reply::json(&TextMaskResponse { results, offsets: request.offsets })
}

/// Tokenizes what was found in texts, in one batch, and takes it from the caller's budget.
///
/// # Errors
/// A [`Problem`] if the budget is used up, or if the vault failed.
pub(super) async fn tokenize_found(
    service: &Service,
    ctx: &mut RequestContext,
    permit: &Permit<TextMask>,
    policy: &Policy,
    items: &[ValueInput<'_>],
    replace_with: TextReplacement,
) -> Result<Vec<Masked>, Problem> {
    service.charge_values(ctx, items)?;
    let outcomes = match replace_with {
        TextReplacement::Token => {
            let outcomes = ctx.record_outcomes(service.vault.tokenize(permit, policy, items).await?);
            outcomes.into_iter().map(|result| Masked { result, placeholder: None }).collect()
        }
        TextReplacement::Placeholder => {
            let session = ctx.session.as_ref().map(EnteredSession::id);
            ctx.record_outcomes(service.vault.mask(permit, policy, items, session).await?)
        }
    };
    service.count_found(items.iter().map(|item| item.kind));
    if let Some(session) = &ctx.session {
        session.note_minted(outcomes.iter().filter_map(|outcome: &Masked| outcome.result.token()));
    }
    Ok(outcomes)
}

/// Returns the value of a finding.
pub(super) fn value_of<'t>(text: &'t str, finding: &Finding, format: TextFormat) -> Cow<'t, str> {
    let written = &text[finding.start..finding.end];
    match format {
        TextFormat::Plain => written.into(),
        TextFormat::Json => value_in_json(written).into(),
    }
}

/// Returns a finding as a value to tokenize.
pub(super) fn value_input<'a>(value: &'a str, finding: &'a Finding, context: &'a str) -> ValueInput<'a> {
    ValueInput { kind: finding.kind.as_str(), value, context }
}

/// Returns the error of a text with a value that failed.
pub(super) fn value_error(failure: &ItemFailure, is_list: bool, position: usize) -> ItemError {
    text_error(failure.code(), &failure.to_string(), is_list, position)
}

/// What a finding was replaced by.
struct Replaced<'o> {
    action: TextAction,
    token: Option<&'o str>,
    placeholder: Option<Placeholder>,
    text: String,
}

/// A masked text.
pub(super) struct MaskedText<'o> {
    pub(super) text: String,
    replaced: Vec<Replaced<'o>>,
}

/// Puts a masked text together.
///
/// # Errors
/// The failure of a finding: the text is not masked then.
pub(super) fn masked<'o>(
    text: &str,
    searched: &SearchedText,
    outcomes: &'o [Masked],
) -> Result<MaskedText<'o>, &'o ItemFailure> {
    let mut replaced = Vec::with_capacity(outcomes.len());
    for (finding, Masked { result, placeholder }) in searched.findings.iter().zip(outcomes) {
        replaced.push(match result {
            Tokenized::Token { text: token, .. } => {
                let text = placeholder.map_or_else(|| token.clone(), |placeholder| placeholder.to_text());
                let (token, placeholder) = (Some(token.as_str()), *placeholder);
                Replaced { action: TextAction::Tokenize, token, placeholder, text }
            }
            Tokenized::Redacted(_) => Replaced::redacted(finding),
            Tokenized::Passthrough => {
                let text = text[finding.start..finding.end].to_owned();
                Replaced { action: TextAction::Passthrough, token: None, placeholder: None, text }
            }
            Tokenized::Failed(failure) => return Err(failure),
        });
    }
    // What is around a token or a placeholder can hide it. It cannot be restored then, so it is redacted. Each round is linear, and
    // the last one redacts all that is left.
    for round in 0..=REDACTION_ROUNDS_MAX {
        let (masked, placed) = put_together(text, searched, &replaced);
        let lost = lost(&masked, &placed, round == REDACTION_ROUNDS_MAX);
        if lost.is_empty() {
            return Ok(MaskedText { text: masked, replaced });
        }
        for finding in lost {
            replaced[finding] = Replaced::redacted(&searched.findings[finding]);
        }
    }
    let (text, _) = put_together(text, searched, &replaced);
    Ok(MaskedText { text, replaced })
}

/// How often a text is put together to redact what is lost, before all tokens that are still lost go at once.
const REDACTION_ROUNDS_MAX: usize = 8;

/// What stands in the place of a finding, or stays as it was, in the masked text.
struct Placed {
    range: Range<usize>,
    /// Whether it is to be found again, as a token or as a placeholder.
    mark: Option<Mark>,
    finding: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Token,
    Placeholder,
}

/// Puts a text together, and says where the tokens and placeholders in it are.
fn put_together(text: &str, searched: &SearchedText, replaced: &[Replaced<'_>]) -> (String, Vec<Placed>) {
    let existing = searched.existing.iter().map(|Existing { range, is_token }| {
        let mark = if *is_token { Mark::Token } else { Mark::Placeholder };
        (Replacement { start: range.start, end: range.end, text: &text[range.clone()] }, Some(mark), None)
    });
    let findings = searched.findings.iter().zip(replaced).enumerate().map(|(at, (finding, replaced))| {
        let replacement = Replacement { start: finding.start, end: finding.end, text: &replaced.text };
        let mark = match (replaced.token, replaced.placeholder) {
            (Some(_), Some(_)) => Some(Mark::Placeholder),
            (Some(_), None) => Some(Mark::Token),
            (None, _) => None,
        };
        (replacement, mark, Some(at))
    });
    let mut all: Vec<_> = existing.chain(findings).collect();
    all.sort_by_key(|(replacement, ..)| replacement.start);
    let replacements: Vec<Replacement<'_>> = all.iter().map(|(replacement, ..)| *replacement).collect();
    let (masked, ranges) = assemble(text, &replacements);
    let placed = ranges.into_iter().zip(all).map(|(range, (_, mark, finding))| Placed { range, mark, finding });
    (masked, placed.collect())
}

/// Returns the findings whose new token or placeholder cannot be found in the masked text. Of two that touch each other, only the
/// first, because the second may be found once the first is redacted; all of them if this is the last round.
fn lost(masked: &str, placed: &[Placed], all: bool) -> Vec<usize> {
    if !placed.iter().any(|one| one.finding.is_some() && one.mark.is_some()) {
        return Vec::new();
    }
    let tokens: BTreeSet<(usize, usize)> =
        tokens_in(masked).into_iter().map(|range| (range.start, range.end)).collect();
    // In the form of masker, every kind is found.
    let placeholders = placeholders_in(masked, |_| false).into_iter().filter(|one| one.placeholder.is_ok());
    let placeholders: BTreeSet<(usize, usize)> = placeholders.map(|one| (one.range.start, one.range.end)).collect();
    let mut lost = Vec::new();
    // Where the last finding that is lost ends.
    let mut end = None;
    for one in placed {
        let range = (one.range.start, one.range.end);
        let is_lost = match one.mark {
            Some(Mark::Token) => !tokens.contains(&range),
            Some(Mark::Placeholder) => !placeholders.contains(&range),
            None => false,
        };
        if let Some(finding) = one.finding.filter(|_| is_lost && (all || end != Some(one.range.start))) {
            lost.push(finding);
            end = Some(one.range.end);
        }
    }
    lost
}

impl Replaced<'_> {
    fn redacted(finding: &Finding) -> Self {
        let text = format!("[REDACTED:{}]", finding.kind);
        Replaced { action: TextAction::Redact, token: None, placeholder: None, text }
    }
}

impl MaskedText<'_> {
    fn result(self, text: &str, searched: &SearchedText, request: &TextMaskRequest<'_>) -> TextMaskResult<'static> {
        let findings = self.findings(searched, &OffsetMap::new(text, request.offsets));
        TextMaskResult::Masked { text: self.text.into(), findings, existing: searched.existing.len() as u64 }
    }

    /// Returns the findings as clients see them.
    pub(super) fn findings(&self, searched: &SearchedText, offsets: &OffsetMap<'_>) -> Vec<TextFinding<'static>> {
        let findings = searched.findings.iter().zip(&self.replaced);
        let findings = findings.map(|(finding, replaced)| TextFinding {
            token: replaced.token.map(|token| token.to_owned().into()),
            placeholder: replaced.placeholder.map(|placeholder| placeholder.to_text().into()),
            ..wire_finding(finding, replaced.action, offsets)
        });
        findings.collect()
    }
}

/// Returns a finding as clients see it, without a token.
pub(super) fn wire_finding(finding: &Finding, action: TextAction, offsets: &OffsetMap<'_>) -> TextFinding<'static> {
    TextFinding {
        start: offsets.at(finding.start),
        end: offsets.at(finding.end),
        kind: finding.kind.as_str().to_owned().into(),
        action,
        token: None,
        placeholder: None,
        confidence: f64::from(finding.confidence) / 100.0,
        rule: finding.rule.to_string().into(),
        why: finding.why.as_ref().map(|why| TextWhy {
            evidence: why.evidence.into(),
            label: why.label.map(|(start, end)| TextSpan { start: offsets.at(start), end: offsets.at(end) }),
            check: why.check.map(Into::into),
            rewritten: why.rewritten,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "MSKV1.PHONE.K_A.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ";

    /// Tokens with marks between, and where they are.
    fn row(between: &str, mark: Mark) -> (String, Vec<Placed>) {
        let text = [TOKEN; 5].join(between);
        let begin = |at: usize| at * (TOKEN.len() + between.len());
        let placed = |at| {
            let range = begin(at)..begin(at) + TOKEN.len();
            Placed { range, mark: Some(mark), finding: Some(at) }
        };
        (text, (0..5).map(placed).collect())
    }

    #[test]
    fn what_can_be_found_stays() {
        let (text, placed) = row(" ", Mark::Token);
        assert_eq!(lost(&text, &placed, false), Vec::<usize>::new());
    }

    #[test]
    fn all_that_is_lost_is_redacted_at_once() {
        // No placeholder is there, so that all of them are lost.
        let (text, placed) = row(" ", Mark::Placeholder);
        assert_eq!(lost(&text, &placed, false), [0, 1, 2, 3, 4]);
        let (text, placed) = row("", Mark::Placeholder);
        assert_eq!(lost(&text, &placed, false), [0, 2, 4], "of two that touch, the first");
        assert_eq!(lost(&text, &placed, true), [0, 1, 2, 3, 4]);
    }
}
