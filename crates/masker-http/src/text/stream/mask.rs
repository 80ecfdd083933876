//! Masking a text while it arrives.

use std::sync::Arc;

use super::{LineSender, PartReader, StreamFailure, begin, catching, cut::cut, lines_of, no_options};
use crate::policies::required_policy;
use crate::{
    Service,
    context::RequestContext,
    input::Input,
    operation::Outcome,
    problem::Problem,
    text::{
        checked_context, existing_placeholders, language,
        mask::{masked, tokenize_found, value_input},
        offsets::OffsetMap,
        search::{SearchedText, existing, off_async_threads, outside},
    },
};
use masker_access::{Permit, TextMask};
use masker_api::{TextMaskStreamOptions, TextMaskStreamPart};
use masker_core::policy::{Policy, PolicySet};
use masker_text::{Detector, FindError, Finding, Request, Stream};
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
    let options: TextMaskStreamOptions = lines.next().await?.ok_or_else(no_options)?;
    let policies = Arc::clone(&ctx.policies);
    let policy = required_policy(policies.get(options.policy.as_deref()))?;
    permit.check_policy(&policy.name)?;
    ctx.set_policy(policy);
    checked_context(&permit, options.context.as_deref())?;
    let language = options.language.as_deref().map(|code| language(policy, code)).transpose()?;
    policy.text.detector(language).map_err(|failed| Problem::internal(failed.to_string()))?;
    let name = policy.name.clone();
    begin(service, ctx, move |service, mut ctx, sender| async move {
        let parts = PartReader::new(lines);
        let working = work(&service, &mut ctx, &sender, parts, &policies, &name, language, &options);
        let worked = catching(working).await;
        (ctx, sender, worked)
    })
}

/// Masks the parts of a text. Returns how many bytes it had.
#[expect(clippy::too_many_arguments, reason = "the options of one stream")]
async fn work(
    service: &Service,
    ctx: &mut RequestContext,
    sender: &LineSender,
    mut parts: PartReader,
    policies: &PolicySet,
    policy: &str,
    language: Option<masker_text::Language>,
    options: &TextMaskStreamOptions,
) -> Result<u64, StreamFailure> {
    let policy = required_policy(policies.get(Some(policy)))?;
    let detector = policy.text.detector(language).map_err(|failed| Problem::internal(failed.to_string()))?;
    let mut masking = StreamedMask::new(detector, options);
    while let Some(piece) = parts.next().await? {
        let end = masking.push(&piece)?;
        masking.send(service, ctx, policy, sender, end).await?;
    }
    let end = masking.finish()?;
    masking.send(service, ctx, policy, sender, end).await?;
    Ok(parts.bytes)
}

/// The part of a text that was not answered yet.
struct StreamedMask<'d> {
    /// `None` once the text has ended.
    stream: Option<Stream<'d>>,
    options: &'d TextMaskStreamOptions,
    pending: String,
    /// The offset of `pending` in the text, in bytes and in the unit of the options.
    base: usize,
    base_units: u64,
    /// What was found in `pending`, with offsets in the text.
    findings: Vec<Finding>,
}

impl<'d> StreamedMask<'d> {
    fn new(detector: &'d Detector, options: &'d TextMaskStreamOptions) -> Self {
        StreamedMask {
            stream: Some(Stream::new(detector)),
            options,
            pending: String::new(),
            base: 0,
            base_units: 0,
            findings: Vec::new(),
        }
    }

    /// Takes a piece of the text. Returns how much of what is pending can be answered.
    fn push(&mut self, piece: &str) -> Result<usize, Problem> {
        self.pending.push_str(piece);
        let Some(stream) = &mut self.stream else { return Ok(0) };
        let request = Request { explain: self.options.explain, stop: None };
        let found = off_async_threads(|| stream.push(piece, &request)).map_err(stopped)?;
        self.findings.extend(found);
        let settled = stream.settled().saturating_sub(self.base);
        Ok(cut(&self.pending, settled, self.base, &self.findings))
    }

    /// Ends the text.
    fn finish(&mut self) -> Result<usize, Problem> {
        let request = Request { explain: self.options.explain, stop: None };
        if let Some(stream) = self.stream.take() {
            self.findings.extend(off_async_threads(|| stream.finish(&request)).map_err(stopped)?);
        }
        Ok(self.pending.len())
    }

    /// Masks the first bytes of what is pending, and sends them.
    async fn send(
        &mut self,
        service: &Service,
        ctx: &mut RequestContext,
        policy: &Policy,
        sender: &LineSender,
        end: usize,
    ) -> Result<(), StreamFailure> {
        if end == 0 {
            return Ok(());
        }
        // The key of the caller may have ended meanwhile.
        let permit: Permit<TextMask> = service.renew_permit(ctx)?;
        let rest = self.pending.split_off(end);
        let text = std::mem::replace(&mut self.pending, rest);
        let later = self.findings.partition_point(|finding| finding.start < self.base + end);
        let found = self.findings.drain(..later).map(|finding| moved(finding, self.base, text.len())).collect();
        let placeholders = existing_placeholders(service, ctx, &permit, &[&text]).await?;
        let existing = existing(&text, placeholders.first().map_or(&[], Vec::as_slice), None);
        let findings = outside(&text, found, &existing, None);
        let searched = SearchedText { findings, existing, in_numbers: Vec::new() };
        service.note_tokens_in_texts(ctx, [(text.as_str(), &searched)]);
        let context = self.options.context.as_deref().unwrap_or_default();
        let items: Vec<ValueInput<'_>> = searched
            .findings
            .iter()
            .map(|finding| value_input(&text[finding.start..finding.end], finding, context))
            .collect();
        let outcomes = tokenize_found(service, ctx, &permit, policy, &items, self.options.replace_with).await?;
        service.metrics.http.text_bytes.with_label_values(&["mask"]).inc_by(text.len() as u64);
        let masked =
            masked(&text, &searched, &outcomes).map_err(|failure| Problem::new(failure.code(), failure.to_string()))?;
        let offsets = OffsetMap::new(&text, self.options.offsets).with_base(self.base_units);
        let findings = masked.findings(&searched, &offsets);
        (self.base, self.base_units) = (self.base + text.len(), offsets.at(text.len()));
        let existing = searched.existing.len() as u64;
        sender.send(&TextMaskStreamPart { text: masked.text.into(), findings, existing }).await
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
