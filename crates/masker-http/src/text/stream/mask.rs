//! Masking a text while it arrives.

use std::sync::Arc;

use super::{
    BodyLines, RunningStream, StreamFailure, begin, begun, cut::cut, lines_of, no_options, panics_to_failures,
};
use crate::{
    Service,
    context::RequestContext,
    input::Input,
    operation::Outcome,
    policies::required_policy,
    problem::Problem,
    text::{
        checked_context, existing_placeholders, language,
        mask::{masked, tokenize_found, value_input},
        offsets::OffsetMap,
        policies_of,
        search::{SearchedText, existing, off_async_threads, outside},
    },
};
use masker_access::{Permit, TextMask};
use masker_api::{TextMaskStreamOptions, TextMaskStreamPart};
use masker_text::{Detector, FindError, Finding, Language, Request, Stream};
use masker_vault::ValueInput;

/// Replace the personal data in a text while it arrives. The body has a line of JSON for the options, and then one for each
/// part of the text. Each line of the answer has a part of the masked text; the last one says that it is whole, or why not.
#[utoipa::path(
    post,
    path = "/api/v1/text/mask/stream",
    params(("X-Masker-Session" = Option<String>, Header, description = "The session that the request works in")),
    request_body(
        content = TextMaskStreamOptions,
        content_type = "application/x-ndjson",
        description = "A line for the options, and then a line for each part of the text: `{\"text\": …}`, at most 64 KiB",
        example = json!({"context": "clinic-7", "replace_with": "placeholder"})
    ),
    responses((
        status = 200,
        description = "A line for each part of the masked text, and a last one: `{\"end\": true, \"bytes\": …}` or `{\"error\": …}`",
        content_type = "application/x-ndjson",
        body = TextMaskStreamPart<'_>,
        example = json!({"text": "Call [NAME_7F3KQ2XA] at ", "findings": [], "existing": 0})
    )),
)]
pub(in crate::text) async fn text_mask_stream(
    service: &Arc<Service>,
    ctx: &mut RequestContext,
    permit: Permit<TextMask>,
    input: &mut Input,
) -> Outcome {
    let mut lines = lines_of(service, input);
    let (options, language) = match options(ctx, &permit, &mut lines).await {
        Ok(options) => options,
        Err(problem) => return begun(Err((problem, lines)), input),
    };
    let context = options.context.clone();
    let streaming = begin(service, ctx, context.as_deref(), lines, move |mut running| async move {
        let worked = panics_to_failures(work(&mut running, language, &options)).await;
        (running, worked)
    });
    begun(streaming.await, input)
}

/// Reads the options, and checks them.
async fn options(
    ctx: &mut RequestContext,
    permit: &Permit<TextMask>,
    lines: &mut BodyLines,
) -> Result<(TextMaskStreamOptions, Option<Language>), Problem> {
    let options: TextMaskStreamOptions = lines.next().await?.ok_or_else(no_options)?;
    let policies = policies_of(ctx);
    let policy = required_policy(policies.get(options.policy.as_deref()))?;
    permit.check_policy(&policy.name)?;
    ctx.set_policy(policy);
    checked_context(permit, options.context.as_deref())?;
    let language = options.language.as_deref().map(|code| language(policy, code)).transpose()?;
    policy.text.detector(language).map_err(|failed| Problem::internal(failed.to_string()))?;
    Ok((options, language))
}

/// Masks the parts of a text. Returns how many bytes it had.
async fn work(
    running: &mut RunningStream,
    language: Option<Language>,
    options: &TextMaskStreamOptions,
) -> Result<u64, StreamFailure> {
    // The search rules are those at the start of the stream. The current policy decides what happens to a value.
    let policies = policies_of(&running.ctx);
    let policy = required_policy(policies.get(running.ctx.details.policy.as_deref()))?;
    let detector = policy.text.detector(language).map_err(|failed| Problem::internal(failed.to_string()))?;
    let mut masking = StreamedMask::new(detector, options);
    while let Some(piece) = running.next_piece().await? {
        let end = masking.push(&piece, &running.pending)?;
        masking.send(running, end).await?;
    }
    masking.finish()?;
    masking.send(running, running.pending.len()).await?;
    Ok(running.bytes())
}

/// How far a text was masked.
struct StreamedMask<'d> {
    /// `None` once the text has ended.
    stream: Option<Stream<'d>>,
    options: &'d TextMaskStreamOptions,
    /// The offset of what is pending in the text, in bytes and in the unit of the options.
    base: usize,
    base_units: u64,
    /// What was found in it, with offsets in the text.
    findings: Vec<Finding>,
}

impl<'d> StreamedMask<'d> {
    fn new(detector: &'d Detector, options: &'d TextMaskStreamOptions) -> Self {
        StreamedMask { stream: Some(Stream::new(detector)), options, base: 0, base_units: 0, findings: Vec::new() }
    }

    /// Searches a piece of the text, the last of what is pending. Returns how much of that can be answered.
    fn push(&mut self, piece: &str, pending: &str) -> Result<usize, Problem> {
        let Some(stream) = &mut self.stream else { return Ok(0) };
        let request = Request { explain: self.options.explain, stop: None };
        let found = off_async_threads(|| stream.push(piece, &request)).map_err(stopped)?;
        self.findings.extend(found);
        let settled = stream.settled().saturating_sub(self.base);
        Ok(cut(pending, settled, self.base, &self.findings))
    }

    /// Ends the text.
    fn finish(&mut self) -> Result<(), Problem> {
        let request = Request { explain: self.options.explain, stop: None };
        if let Some(stream) = self.stream.take() {
            self.findings.extend(off_async_threads(|| stream.finish(&request)).map_err(stopped)?);
        }
        Ok(())
    }

    /// Masks the first bytes of what is pending, and sends them.
    async fn send(&mut self, running: &mut RunningStream, end: usize) -> Result<(), StreamFailure> {
        if end == 0 {
            return Ok(());
        }
        let permit: Permit<TextMask> = running.renew()?;
        let text = running.take_pending(end);
        let later = self.findings.partition_point(|finding| finding.start < self.base + end);
        let found = self.findings.drain(..later).map(|finding| moved(finding, self.base, text.len())).collect();
        let placeholders = existing_placeholders(&running.service, &running.ctx, &permit, &[&text]).await?;
        let existing = existing(&text, placeholders.first().map_or(&[], Vec::as_slice), None);
        let findings = outside(&text, found, &existing, None);
        let searched = SearchedText { findings, existing, in_numbers: Vec::new() };
        let permit = running.charge_found(permit, searched.findings.len()).await?;
        let RunningStream { service, ctx, context, .. } = running;
        let policies = policies_of(ctx);
        let policy = required_policy(policies.get(ctx.details.policy.as_deref()))?;
        let items: Vec<ValueInput<'_>> = searched
            .findings
            .iter()
            .map(|finding| value_input(&text[finding.start..finding.end], finding, context))
            .collect();
        let outcomes = tokenize_found(service, ctx, &permit, policy, &items, self.options.replace_with).await?;
        service.metrics.http.text_bytes.with_label_values(&["mask"]).inc_by(text.len() as u64);
        let masked = off_async_threads(|| masked(&text, &searched, &outcomes))
            .map_err(|failure| Problem::new(failure.code(), failure.to_string()))?;
        let offsets = OffsetMap::new(&text, self.options.offsets).with_base(self.base_units);
        let findings = masked.findings(&searched, &offsets);
        (self.base, self.base_units) = (self.base + text.len(), offsets.at(text.len()));
        let existing = searched.existing.len() as u64;
        running.send::<TextMask>(&TextMaskStreamPart { text: masked.text.into(), findings, existing }).await
    }
}

/// Returns a finding with its offsets in a part of the text. A label before the part is left out.
fn moved(mut finding: Finding, base: usize, length: usize) -> Finding {
    finding.start -= base;
    finding.end -= base;
    if let Some(why) = &mut finding.why {
        let within =
            |(start, end): (usize, usize)| (start >= base && end <= base + length).then(|| (start - base, end - base));
        why.label = why.label.and_then(within);
    }
    finding
}

fn stopped(failed: FindError) -> Problem {
    Problem::internal(failed.to_string())
}
