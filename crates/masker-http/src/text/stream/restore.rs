//! Restoring a text while it arrives.

use std::sync::Arc;

use super::{
    BodyLines, RunningStream, StreamFailure, begin, begun, cut::cut, lines_of, no_options, panics_to_failures,
};
use crate::{
    Service,
    context::RequestContext,
    input::Input,
    operation::Outcome,
    problem::Problem,
    text::{
        checked_context,
        offsets::OffsetMap,
        placeholders_in_texts,
        restore::{FoundMark, RestoredText, marks, open_marks, restored},
    },
};
use masker_access::{Permit, TextRestore};
use masker_api::{TextFormat, TextRestoreStreamOptions, TextRestoreStreamPart};

/// Replace the tokens and placeholders in a text by their values while it arrives. The lines of body and answer are like
/// those of masking.
#[utoipa::path(
    post,
    path = "/api/v1/text/restore/stream",
    params(("X-Masker-Session" = Option<String>, Header, description = "The session that the request works in")),
    request_body(
        content = TextRestoreStreamOptions,
        content_type = "application/x-ndjson",
        description = "A line for the options, and then a line for each part of the text: `{\"text\": …}`, at most 64 KiB",
        example = json!({"context": "clinic-7"})
    ),
    responses((
        status = 200,
        description = "A line for each part of the text, and a last one: `{\"end\": true, \"bytes\": …}` or `{\"error\": …}`",
        content_type = "application/x-ndjson",
        body = TextRestoreStreamPart<'_>,
        example = json!({"text": "I called (212) 555-0147", "restored": 1, "unrestored": []})
    )),
)]
pub(in crate::text) async fn text_restore_stream(
    service: &Arc<Service>,
    ctx: &mut RequestContext,
    permit: Permit<TextRestore>,
    input: &mut Input,
) -> Outcome {
    let mut lines = lines_of(service, input);
    let options = match options(&permit, &mut lines).await {
        Ok(options) => options,
        Err(problem) => return begun(Err((problem, lines)), input),
    };
    let context = options.context.clone();
    let streaming = begin(service, ctx, context.as_deref(), lines, move |mut running| async move {
        let worked = panics_to_failures(work(&mut running, &options)).await;
        (running, worked)
    });
    begun(streaming.await, input)
}

/// Reads the options, and checks them.
async fn options(permit: &Permit<TextRestore>, lines: &mut BodyLines) -> Result<TextRestoreStreamOptions, Problem> {
    let options: TextRestoreStreamOptions = lines.next().await?.ok_or_else(no_options)?;
    checked_context(permit, options.context.as_deref())?;
    Ok(options)
}

/// Restores the parts of a text. Returns how many bytes it had.
async fn work(running: &mut RunningStream, options: &TextRestoreStreamOptions) -> Result<u64, StreamFailure> {
    let mut restoring = StreamedRestore { options, base_units: 0 };
    while running.next_piece().await?.is_some() {
        let end = cut(&running.pending, running.pending.len(), 0, &[]);
        restoring.send(running, end).await?;
    }
    restoring.send(running, running.pending.len()).await?;
    Ok(running.bytes())
}

/// How far a text was restored.
struct StreamedRestore<'o> {
    options: &'o TextRestoreStreamOptions,
    /// The offset of what is pending in the text, in the unit of the options.
    base_units: u64,
}

impl StreamedRestore<'_> {
    /// Restores the first bytes of what is pending, and sends them.
    async fn send(&mut self, running: &mut RunningStream, end: usize) -> Result<(), StreamFailure> {
        if end == 0 {
            return Ok(());
        }
        let permit: Permit<TextRestore> = running.renew()?;
        let text = running.take_pending(end);
        let placeholders = placeholders_in_texts(&[&text], &running.ctx.policies).pop().unwrap_or_default();
        let marks = marks(&text, TextFormat::Plain, placeholders)
            .map_err(|failure| Problem::new(failure.code(), failure.detail()))?;
        let marked: Vec<(&str, &FoundMark)> = marks.iter().map(|mark| (text.as_str(), mark)).collect();
        let permit = running.charge_found(permit, marked.len()).await?;
        let RunningStream { service, ctx, context, .. } = running;
        service.charge_tokens(ctx, marked.len())?;
        let opened = open_marks(service, ctx, &permit, context, &marked).await?;
        service.metrics.http.text_bytes.with_label_values(&["restore"]).inc_by(text.len() as u64);
        let offsets = OffsetMap::new(&text, self.options.offsets).with_base(self.base_units);
        let RestoredText { text: restored, restored: count, unrestored } =
            restored(&text, &marks, &opened, &offsets, TextFormat::Plain);
        self.base_units = offsets.at(text.len());
        let part = TextRestoreStreamPart { text: restored.into(), restored: count, unrestored };
        running.send::<TextRestore>(&part).await
    }
}
