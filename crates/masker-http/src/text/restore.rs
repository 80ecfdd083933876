//! Restoring: texts with the values of their tokens.

use std::{borrow::Cow, ops::Range, time::Duration};

use super::{
    assemble::{Replacement, assemble},
    checked_context,
    json_spans::EscapeStyle,
    offsets::OffsetMap,
    placeholders_in_texts,
    search::{TextFailure, off_async_threads, read_format},
    text_error, texts_of,
};
use crate::{
    Service,
    context::RequestContext,
    input::Input,
    operation::{Outcome, Reply},
    problem::Problem,
};
use masker_access::{Permit, TextRestore};
use masker_api::{TextFormat, TextRestoreRequest, TextRestoreResponse, TextRestoreResult, TextUnrestored};
use masker_core::{
    placeholder::{FoundPlaceholder, Placeholder, WrongCheck},
    token::{damaged_tokens_in, tokens_in},
};
use masker_types::{
    error_code::Code,
    limits::{ITEMS_PER_REQUEST_MAX, TEXT_MISS_MS, TEXT_MISSES_MS_MAX},
};
use masker_vault::{EnteredSession, HoneytokenId, ItemFailure, ItemOutcomeKey, Rehydrated, TokenInput};

/// Replace the tokens and placeholders in texts by their values. What cannot be restored stays as it is.
#[utoipa::path(
    post,
    path = "/api/v1/text/restore",
    params(("X-Masker-Session" = Option<String>, Header, description = "The session that the request works in")),
    request_body(content = TextRestoreRequest<'_>, example = json!({
        "text": "I called MSKV1.PHONE.K_HEALTHCARE.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ.", "context": "clinic-7"
    })),
    responses((
        status = 200,
        description = "One result for each text, in order",
        body = TextRestoreResponse<'_>,
        example = json!({
            "results": [{"text": "I called (212) 555-0147.", "restored": 1, "unrestored": []}], "offsets": "bytes"
        })
    )),
)]
pub(super) async fn text_restore(
    service: &Service,
    ctx: &mut RequestContext,
    permit: Permit<TextRestore>,
    input: &Input,
) -> Outcome {
    let request: TextRestoreRequest<'_> = input.json()?;
    let texts = texts_of(request.text.as_ref(), request.texts.as_deref())?;
    service.note_tokens_in_texts(ctx, texts.iter().copied());
    let context = checked_context(&permit, request.context.as_deref())?;
    let placeholders = placeholders_in_texts(&texts, &ctx.policies);
    let found: Vec<Result<Vec<FoundMark>, TextFailure>> = off_async_threads(|| {
        let texts = texts.iter().zip(placeholders);
        texts.map(|(text, placeholders)| marks(text, request.format, placeholders)).collect()
    });
    let marked = texts.iter().zip(&found);
    let marked: Vec<(&str, &FoundMark)> =
        marked.flat_map(|(text, found)| found.iter().flatten().map(move |mark| (*text, mark))).collect();
    if marked.len() > ITEMS_PER_REQUEST_MAX {
        let detail =
            format!("the texts have more than {ITEMS_PER_REQUEST_MAX} tokens and placeholders; split the request");
        return Err(Problem::new(Code::RequestTooLarge, detail));
    }
    service.charge_request(ctx, marked.len())?;
    service.charge_tokens(ctx, marked.len())?;
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    service.metrics.http.text_bytes.with_label_values(&["restore"]).inc_by(bytes as u64);
    let opened = open_marks(service, ctx, &permit, context, &marked).await?;

    let mut opened = opened.as_slice();
    let mut results = Vec::with_capacity(texts.len());
    for (position, (text, found)) in texts.iter().zip(&found).enumerate() {
        results.push(match found {
            Ok(marks) => {
                let (own, rest) = opened.split_at(marks.len());
                opened = rest;
                let offsets = OffsetMap::new(text, request.offsets);
                let RestoredText { text, restored, unrestored } = restored(text, marks, own, &offsets, request.format);
                TextRestoreResult::Restored { text: text.into(), restored, unrestored }
            }
            Err(failure) => {
                let error = text_error(failure.code(), &failure.detail(), request.texts.is_some(), position);
                TextRestoreResult::Error { error }
            }
        });
    }
    Reply::json(&TextRestoreResponse { results, offsets: request.offsets })
}

/// Opens the tokens and placeholders of texts in one batch: returns the value of each, or the code of why it has none.
///
/// # Errors
/// A [`Problem`] if the vault failed.
pub(super) async fn open_marks(
    service: &Service,
    ctx: &mut RequestContext,
    permit: &Permit<TextRestore>,
    context: &str,
    marked: &[(&str, &FoundMark)],
) -> Result<Vec<Result<Rehydrated, Code>>, Problem> {
    let placeholder = |mark: &FoundMark| match mark.kind {
        MarkKind::Placeholder(placeholder) => Some(placeholder),
        MarkKind::Token | MarkKind::Damaged(_) => None,
    };
    let named: Vec<Placeholder> = marked.iter().filter_map(|(_, mark)| placeholder(mark)).collect();
    let session = ctx.session.as_ref().map(EnteredSession::id);
    let mut of_placeholders = service.vault.placeholder_tokens(permit, session, &named).await?.into_iter();
    // The token of each mark, or why it has none.
    let resolved: Vec<Result<Cow<'_, str>, Code>> = marked
        .iter()
        .map(|(text, mark)| match mark.kind {
            MarkKind::Token => Ok(Cow::Borrowed(&text[mark.range.clone()])),
            MarkKind::Placeholder(_) => {
                of_placeholders.next().flatten().map(Cow::Owned).ok_or(Code::PlaceholderNotFound)
            }
            MarkKind::Damaged(code) => Err(code),
        })
        .collect();
    let tokens: Vec<TokenInput<'_>> = resolved.iter().flatten().map(|token| TokenInput { token, context }).collect();
    // Those of tokens were noted with the text.
    let by_placeholder = marked.iter().zip(&resolved).filter(|((_, mark), _)| placeholder(mark).is_some());
    let honeytokens: Vec<HoneytokenId> =
        by_placeholder.filter_map(|(_, token)| service.vault.honeytoken(token.as_ref().ok()?)).collect();
    service.record_honeytokens(ctx, honeytokens.into_iter());
    let outcomes = ctx.record_outcomes(service.vault.rehydrate(permit, &tokens).await?);
    if let Some(session) = &ctx.session {
        let rehydrated = tokens.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        session.note_rehydrated(rehydrated.map(|(input, _)| input.token));
    }
    let misses = outcomes.iter().filter(|outcome| matches!(outcome, Err(ItemFailure::NotFound))).count();
    let mut outcomes = outcomes.into_iter();
    let mut opened = Vec::with_capacity(resolved.len());
    let mut unresolved = 0;
    for token in &resolved {
        opened.push(match token {
            // There is an outcome for each token.
            Ok(_) => outcomes.next().map_or(Err(Code::Internal), |outcome| outcome.map_err(|failure| failure.code())),
            Err(code) => {
                ctx.count(ItemOutcomeKey::keyless(None, code.as_str()));
                unresolved += 1;
                Err(*code)
            }
        });
    }
    slow_down(misses + unresolved).await;
    Ok(opened)
}

/// A token or a placeholder, or what was one.
pub(super) struct FoundMark {
    pub(super) range: Range<usize>,
    kind: MarkKind,
}

enum MarkKind {
    Token,
    Placeholder(Placeholder),
    /// It cannot be restored, for this reason.
    Damaged(Code),
}

/// Returns the tokens and placeholders of a text, in its order. Placeholders inside tokens are ignored.
pub(super) fn marks(
    text: &str,
    format: TextFormat,
    placeholders: Vec<FoundPlaceholder>,
) -> Result<Vec<FoundMark>, TextFailure> {
    let spans = read_format(text, format)?;
    let tokens = tokens_in(text);
    let mut marks: Vec<FoundMark> =
        tokens.iter().map(|range| FoundMark { range: range.clone(), kind: MarkKind::Token }).collect();
    let damaged = damaged_tokens_in(text, &tokens).into_iter();
    marks.extend(damaged.map(|range| FoundMark { range, kind: MarkKind::Damaged(Code::TokenMalformed) }));
    marks.sort_by_key(|mark| mark.range.start);
    let tokens = marks.len();
    for FoundPlaceholder { range, placeholder } in placeholders {
        let position = marks[..tokens].partition_point(|token| token.range.end <= range.start);
        if marks[..tokens].get(position).is_none_or(|token| token.range.start >= range.end) {
            let kind = match placeholder {
                Ok(placeholder) => MarkKind::Placeholder(placeholder),
                Err(WrongCheck) => MarkKind::Damaged(Code::PlaceholderCheck),
            };
            marks.push(FoundMark { range, kind });
        }
    }
    marks.sort_by_key(|mark| mark.range.start);
    if let Some(spans) = spans {
        marks.retain(|mark| spans.parts(mark.range.clone()).eq([mark.range.clone()]));
    }
    Ok(marks)
}

/// Delays an answer with misses, so that guessing takes time.
async fn slow_down(misses: usize) {
    if misses > 0 {
        let milliseconds = TEXT_MISS_MS.saturating_mul(misses as u64).min(TEXT_MISSES_MS_MAX);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

/// A text, restored as far as possible.
pub(super) struct RestoredText {
    pub(super) text: String,
    pub(super) restored: u64,
    pub(super) unrestored: Vec<TextUnrestored>,
}

pub(super) fn restored(
    text: &str,
    marks: &[FoundMark],
    opened: &[Result<Rehydrated, Code>],
    offsets: &OffsetMap<'_>,
    format: TextFormat,
) -> RestoredText {
    let style = EscapeStyle::of(if format == TextFormat::Json { text } else { "" });
    let mut unrestored = Vec::new();
    let mut values: Vec<(&Range<usize>, Cow<'_, str>)> = Vec::with_capacity(marks.len());
    for (FoundMark { range, .. }, opened) in marks.iter().zip(opened) {
        match opened {
            Ok(rehydrated) => {
                let value = rehydrated.value.as_str();
                let value = match format {
                    TextFormat::Plain => value.into(),
                    TextFormat::Json => style.write(value).into(),
                };
                values.push((range, value));
            }
            Err(code) => unrestored.push(TextUnrestored {
                start: offsets.at(range.start),
                end: offsets.at(range.end),
                reason: code.to_string(),
            }),
        }
    }
    let replacements: Vec<Replacement<'_>> =
        values.iter().map(|(range, value)| Replacement { start: range.start, end: range.end, text: value }).collect();
    RestoredText { text: assemble(text, &replacements).0, restored: values.len() as u64, unrestored }
}
