//! Detecting: what masking would replace, without minting anything.

use super::{
    SearchJob,
    mask::{value_error, value_input, value_of, wire_finding},
    offsets::OffsetMap,
    policies_of,
    search::SearchedText,
    text_error,
};
use crate::{
    Service,
    context::RequestContext,
    input::Input,
    operation::{Outcome, Reply},
};
use masker_access::{Permit, TextDetect};
use masker_api::{TextAction, TextDetectResponse, TextDetectResult, TextFormat, TextMaskRequest};
use masker_types::kind::EntityKind;
use masker_vault::{ItemFailure, ItemOutcomeKey, PlannedAction, planned_action};

/// Find the personal data in texts. Takes what `mask` takes, and mints nothing.
#[utoipa::path(
    post,
    path = "/api/v1/text/detect",
    params(("X-Masker-Session" = Option<String>, Header, description = "The session that the request works in")),
    request_body(content = TextMaskRequest<'_>, example = json!({"texts": ["Call Maria Lopez at (212) 555-0147.", "No data."]})),
    responses((
        status = 200,
        description = "One result for each text, in order",
        body = TextDetectResponse<'_>,
        example = json!({
            "results": [
                {
                    "findings": [
                        {"start": 5, "end": 16, "kind": "NAME", "action": "tokenize", "confidence": 0.85, "rule": "name"},
                        {"start": 20, "end": 34, "kind": "PHONE", "action": "tokenize", "confidence": 0.95, "rule": "phone"}
                    ],
                    "existing": 0
                },
                {"findings": [], "existing": 0}
            ],
            "offsets": "bytes"
        })
    )),
)]
pub(super) async fn text_detect(
    service: &Service,
    ctx: &mut RequestContext,
    permit: Permit<TextDetect>,
    input: &Input,
) -> Outcome {
    let policies = policies_of(ctx);
    let request: TextMaskRequest<'_> = input.json()?;
    let job = SearchJob::admit(ctx, &permit, &request, &policies)?;
    service.note_tokens_in_texts(ctx, job.texts.iter().copied());
    let searched = job.run(service, ctx, &permit, "detect").await?;
    service.charge_found(ctx, searched.iter().flatten().map(|text| text.findings.len()).sum())?;
    let mut results = Vec::with_capacity(job.texts.len());
    for (position, (text, searched)) in job.texts.iter().zip(&searched).enumerate() {
        let searched = match searched {
            Ok(searched) => searched,
            Err(failure) => {
                let error = text_error(failure.code(), &failure.detail(), job.is_list, position);
                results.push(TextDetectResult::Error { error });
                continue;
            }
        };
        results.push(match detected(ctx, &permit, &job, request.format, (*text, searched)) {
            Ok(actions) => {
                let offsets = OffsetMap::new(text, request.offsets);
                let findings = searched.findings.iter().zip(actions);
                TextDetectResult::Detected {
                    findings: findings.map(|(finding, action)| wire_finding(finding, action, &offsets)).collect(),
                    existing: searched.existing.len() as u64,
                }
            }
            Err(failure) => TextDetectResult::Error { error: value_error(&failure, job.is_list, position) },
        });
        service.count_found(searched.findings.iter().map(|finding| finding.kind.as_str()));
    }
    Reply::json(&TextDetectResponse { results, offsets: request.offsets })
}

/// Returns what the policy does with each finding of a text, and counts them.
fn detected(
    ctx: &mut RequestContext,
    permit: &Permit<TextDetect>,
    job: &SearchJob<'_>,
    format: TextFormat,
    (text, searched): (&str, &SearchedText),
) -> Result<Vec<TextAction>, ItemFailure> {
    let actions = searched.findings.iter().map(|finding| {
        ctx.count(ItemOutcomeKey::keyless(EntityKind::parse(finding.kind.as_str()), "found"));
        let value = value_of(text, finding, format);
        Ok(match planned_action(permit, job.policy, &value_input(&value, finding, job.context))? {
            PlannedAction::Tokenize => TextAction::Tokenize,
            PlannedAction::Redact => TextAction::Redact,
            PlannedAction::Passthrough => TextAction::Passthrough,
        })
    });
    actions.collect()
}
