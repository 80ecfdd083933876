//! Restoring: texts with the values of their tokens.

use std::{ops::Range, time::Duration};

use super::{
    assemble::{Replacement, assemble},
    checked_context,
    json_spans::written_in_json,
    offsets::OffsetMap,
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
use masker_core::token::tokens_in;
use masker_types::{
    error_code::Code,
    limits::{ITEMS_PER_REQUEST_MAX, TEXT_MISS_MS, TEXT_MISSES_MS_MAX},
};
use masker_vault::{ItemFailure, Rehydrated, TokenInput};

/// Replace the tokens in texts by their values. What cannot be restored stays as it is.
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
    let context = checked_context(&permit, request.context.as_deref())?;
    let found = off_async_threads(|| {
        texts
            .iter()
            .map(|text| tokens_of(text, request.format))
            .collect::<Vec<Result<Vec<Range<usize>>, TextFailure>>>()
    });
    let tokens: Vec<TokenInput<'_>> = texts
        .iter()
        .zip(&found)
        .flat_map(|(text, found)| found.iter().flatten().map(|range| &text[range.clone()]))
        .map(|token| TokenInput { token, context })
        .collect();
    if tokens.len() > ITEMS_PER_REQUEST_MAX {
        let detail = format!("the texts have more than {ITEMS_PER_REQUEST_MAX} tokens; split the request");
        return Err(Problem::new(Code::RequestTooLarge, detail));
    }
    service.charge_request(ctx, tokens.len())?;
    service.charge_tokens(ctx, tokens.len())?;
    let outcomes = ctx.record_outcomes(service.vault.rehydrate(&permit, &tokens).await?);
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    service.metrics.http.text_bytes.with_label_values(&["restore"]).inc_by(bytes as u64);
    let honeytokens = tokens.iter().zip(&outcomes).filter_map(|(input, outcome)| match outcome {
        Ok(rehydrated) => rehydrated.honeytoken,
        Err(_) => service.vault.honeytoken(input.token),
    });
    service.record_honeytokens(ctx, honeytokens);
    if let Some(session) = &ctx.session {
        let rehydrated = tokens.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        session.note_rehydrated(rehydrated.map(|(input, _)| input.token));
    }
    let misses = outcomes.iter().filter(|outcome| matches!(outcome, Err(ItemFailure::NotFound))).count();
    slow_down(misses).await;

    let mut outcomes = outcomes.as_slice();
    let mut results = Vec::with_capacity(texts.len());
    for (position, (text, found)) in texts.iter().zip(&found).enumerate() {
        results.push(match found {
            Ok(ranges) => {
                let (own, rest) = outcomes.split_at(ranges.len());
                outcomes = rest;
                restored(text, ranges, own, &request)
            }
            Err(failure) => {
                let error = text_error(failure.code(), &failure.detail(), request.texts.is_some(), position);
                TextRestoreResult::Error { error }
            }
        });
    }
    Reply::json(&TextRestoreResponse { results, offsets: request.offsets })
}

/// Returns the tokens of a text.
fn tokens_of(text: &str, format: TextFormat) -> Result<Vec<Range<usize>>, TextFailure> {
    let spans = read_format(text, format)?;
    let mut tokens = tokens_in(text);
    if let Some(spans) = spans {
        tokens.retain(|range| spans.parts(range.clone()).eq([range.clone()]));
    }
    Ok(tokens)
}

/// Holds an answer with misses back, so that guessing takes time.
async fn slow_down(misses: usize) {
    if misses > 0 {
        let milliseconds = TEXT_MISS_MS.saturating_mul(misses as u64).min(TEXT_MISSES_MS_MAX);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

fn restored(
    text: &str,
    ranges: &[Range<usize>],
    outcomes: &[Result<Rehydrated, ItemFailure>],
    request: &TextRestoreRequest<'_>,
) -> TextRestoreResult<'static> {
    let offsets = OffsetMap::new(text, request.offsets);
    let mut unrestored = Vec::new();
    let mut values = Vec::with_capacity(ranges.len());
    for (range, outcome) in ranges.iter().zip(outcomes) {
        match outcome {
            Ok(rehydrated) => {
                let value = rehydrated.value.as_str();
                let value = match request.format {
                    TextFormat::Plain => value.into(),
                    TextFormat::Json => written_in_json(value),
                };
                values.push((range, value));
            }
            Err(failure) => unrestored.push(TextUnrestored {
                start: offsets.at(range.start),
                end: offsets.at(range.end),
                reason: failure.code().to_string(),
            }),
        }
    }
    let replacements: Vec<Replacement<'_>> =
        values.iter().map(|(range, value)| Replacement { start: range.start, end: range.end, text: value }).collect();
    let (text, _) = assemble(text, &replacements);
    TextRestoreResult::Restored { text: text.into(), restored: values.len() as u64, unrestored }
}
