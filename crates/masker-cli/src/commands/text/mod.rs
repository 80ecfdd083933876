//! `masker text mask`, `restore` and `detect`.
//!
//! Each file is a text of its own. A plain text that is masked or restored goes through the daemon's streams: a thread reads it
//! in `parts`, and what is settled is written while the rest is read, so that memory does not depend on its length. What is
//! searched only, and JSON documents, go to the daemon as a `whole`. `results` shows the answers, in a `target`.
//!
//! Nothing is written of a text but what the daemon has answered, so no failure can write a value.

mod answer;
mod parts;
mod places;
mod results;
mod source;
mod target;
mod whole;

use std::{path::Path, sync::Arc};

use serde::Serialize;

use self::{
    answer::{AnswerLines, TextAnswer},
    parts::ReadState,
    results::{Locate, TextOperation, TextResults},
    source::TextSource,
    target::TextTarget,
};
use super::bulk::{PAUSE_MAX, PAUSES_MAX};
use crate::{
    args::{TextCommand, TextInputArgs, TextSearchArgs},
    context::{CommandContext, CommandError},
    exit::Exit,
    format::grouped,
    progress::Progress,
    signals::Signals,
};
use masker_api::{
    ItemError, TextFormat, TextMaskStreamOptions, TextOffsets, TextReplacement, TextRestoreStreamOptions,
};
use masker_client::ClientError;
use masker_types::error_code::Code;

/// Runs a command of the group.
pub(super) async fn run(command: TextCommand, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    match command {
        TextCommand::Mask(args) => {
            let job = TextJob::new(TextOperation::Mask, args.input, Some(args.search));
            job.run(args.replace_with.into(), args.output.as_deref(), ctx).await?;
            Ok(Exit::Done)
        }
        TextCommand::Restore(args) => {
            let job = TextJob::new(TextOperation::Restore, args.input, None);
            let totals = job.run(TextReplacement::default(), args.output.as_deref(), ctx).await?;
            Ok(if totals.unrestored > 0 { Exit::Failure } else { Exit::Done })
        }
        TextCommand::Detect(args) => {
            let job = TextJob::new(TextOperation::Detect, args.input, Some(args.search));
            let totals = job.run(TextReplacement::default(), None, ctx).await?;
            Ok(if args.check && totals.found > 0 { Exit::Failure } else { Exit::Done })
        }
    }
}

/// What is done with which texts.
struct TextJob {
    operation: TextOperation,
    input: TextInputArgs,
    format: TextFormat,
    policy: Option<String>,
    language: Option<String>,
    explain: bool,
}

/// What a run found.
struct Totals {
    found: u64,
    unrestored: u64,
}

impl TextJob {
    fn new(operation: TextOperation, input: TextInputArgs, search: Option<TextSearchArgs>) -> Self {
        let format = input.format.into();
        let (policy, language, explain) =
            search.map_or((None, None, false), |search| (search.policy, search.language, search.explain));
        TextJob { operation, input, format, policy, language, explain }
    }

    /// Processes all texts.
    async fn run(
        self,
        replace_with: TextReplacement,
        output: Option<&Path>,
        ctx: &mut CommandContext<'_>,
    ) -> Result<Totals, CommandError> {
        let sources = TextSource::of_arguments(&self.input.files, &ctx.output)?;
        let mut signals = Signals::listen()?;
        if let Some(path) = output {
            crate::destination::check(path, ctx)?;
        }
        let target = TextTarget::open(output)?;
        let is_output = target.is_output();
        if is_output {
            sources.iter().try_for_each(TextSource::refuse_output)?;
        }
        let results = TextResults::new(self.operation, target, self.explain, ctx);
        let total = sources.iter().map(|source| source.bytes).sum();
        // Explanations and a bar would be mixed.
        let progress = match (self.explain, is_output) {
            (true, _) => None,
            (false, true) => Some(Progress::input(total, &ctx.output)),
            (false, false) => Some(Progress::bytes(total, "read", &ctx.output)),
        };
        let mut run = TextRun { job: self, replace_with, ctx, results, progress, done: 0 };
        let ended = tokio::select! {
            biased;
            name = signals.next() => Err(CommandError::Interrupted(name)),
            ended = run.texts(&sources) => ended,
        };
        run.progress.iter().for_each(Progress::finish);
        let shown = run.results.show(&mut run.ctx.output);
        let TextResults { target, found, unrestored, is_begun, .. } = run.results;
        match ended.and(shown) {
            Ok(()) => target.finish().map(|()| Totals { found, unrestored }),
            Err(cause) if cause.is_broken_pipe() => Err(cause),
            Err(cause) => Err(match target.advice(is_begun) {
                Some(advice) => CommandError::TextStopped { cause: Box::new(cause), advice },
                None => cause,
            }),
        }
    }
}

/// A run over texts.
struct TextRun<'r, 'c> {
    job: TextJob,
    replace_with: TextReplacement,
    ctx: &'r mut CommandContext<'c>,
    results: TextResults,
    /// `None` if standard error has something else.
    progress: Option<Progress>,
    /// Bytes of the texts that are done.
    done: u64,
}

impl TextRun<'_, '_> {
    async fn texts(&mut self, sources: &[TextSource]) -> Result<(), CommandError> {
        for source in sources {
            let mut pauses = 0;
            loop {
                match self.text(source).await {
                    // Nothing of the text was processed.
                    Err(CommandError::Client(ClientError::Busy { after, .. }))
                        if source.is_repeatable() && after <= PAUSE_MAX && pauses < PAUSES_MAX =>
                    {
                        pauses += 1;
                        tokio::time::sleep(after).await;
                    }
                    Err(CommandError::Client(error)) if sources.len() > 1 => return Err(of_text(source, error)),
                    processed => break processed?,
                }
            }
        }
        Ok(())
    }

    async fn text(&mut self, source: &TextSource) -> Result<(), CommandError> {
        let read = if self.job.operation == TextOperation::Detect || self.job.format == TextFormat::Json {
            self.whole(source).await?
        } else {
            self.streamed(source).await?
        };
        self.done += read;
        self.reach(0);
        Ok(())
    }

    /// Processes a text while it is read. Returns its length in bytes.
    async fn streamed(&mut self, source: &TextSource) -> Result<u64, CommandError> {
        let offsets = if self.results.has_places() { TextOffsets::Chars } else { TextOffsets::Bytes };
        let context = self.job.input.context.clone();
        match self.job.operation {
            TextOperation::Restore => {
                let options = TextRestoreStreamOptions { context, offsets };
                self.stream(source, "/api/v1/text/restore/stream", &options, offsets).await
            }
            _ => {
                let options = TextMaskStreamOptions {
                    policy: self.job.policy.clone(),
                    context,
                    language: self.job.language.clone(),
                    offsets,
                    explain: self.job.explain,
                    replace_with: self.replace_with,
                };
                self.stream(source, "/api/v1/text/mask/stream", &options, offsets).await
            }
        }
    }

    async fn stream(
        &mut self,
        source: &TextSource,
        path: &str,
        options: &impl Serialize,
        offsets: TextOffsets,
    ) -> Result<u64, CommandError> {
        let state = Arc::new(ReadState::default());
        let reader = source.reader()?;
        let body = parts::body(reader, options, Arc::clone(&state));
        // A text that cannot be read ends the request, and is its cause.
        let cause = |error: CommandError| match state.take_problem() {
            Some(problem) => source.problem(problem, state.end()),
            None => error,
        };
        let download = self.ctx.exchange_lines(path, body).await.map_err(cause)?;
        self.results.begin(source, &mut self.ctx.output)?;
        let mut lines = AnswerLines::new(download);
        let mut reached = 0;
        loop {
            let line = lines.next().await.map_err(|error| cause(error.into()))?;
            let answer = TextAnswer::parse(line.ok_or_else(|| cut_off(source))?)?;
            if let Some(error) = &answer.error {
                let is_located = self.job.operation == TextOperation::Mask && self.results.has_places();
                let place = if is_located && reached > 0 { state.place(reached) } else { None };
                return Err(refused(&source.at(place), place.is_some(), error));
            }
            if answer.end {
                if answer.bytes != state.bytes() {
                    return Err(cut_off(source));
                }
                break;
            }
            self.results.add(source, &answer, &*state, &mut self.ctx.output)?;
            self.results.target.flush(&mut self.ctx.output)?;
            reached += answer.original_length(offsets);
            self.reach(state.bytes());
        }
        // The connection can be used again once the end of the answer has arrived.
        lines.next().await?;
        self.results.end(&mut self.ctx.output)?;
        Ok(state.bytes())
    }

    /// Shows how much of all texts was read.
    fn reach(&self, bytes: u64) {
        let Some(progress) = self.progress.as_ref().filter(|progress| !progress.is_hidden()) else { return };
        let found = match self.job.operation {
            TextOperation::Restore => "read".to_owned(),
            _ => format!("{} found", grouped(self.results.found)),
        };
        progress.reach(self.done + bytes, found);
    }
}

impl Locate for ReadState {
    fn place(&self, offset: u64) -> String {
        ReadState::place(self, offset).map_or_else(|| format!("character {}", offset + 1), |place| place.to_string())
    }

    fn bytes(&self, _: u64, _: u64) -> String {
        "-".to_owned()
    }
}

/// Returns the error of a text that the daemon refused. `at` has its name and the place that it had reached.
fn refused(at: &str, is_place: bool, error: &ItemError) -> CommandError {
    let denied = error.code == Code::PermDenied.as_str();
    let after = if is_place { "at or after this place: " } else { "" };
    CommandError::Refused { denied, text: format!("{at}: {after}{} ({})", error.detail, error.code) }
}

fn cut_off(source: &TextSource) -> CommandError {
    let text = format!("{}: the answer was cut off", source.name);
    ClientError::UnexpectedResponse(text).into()
}

/// Returns the error of a request about one of several texts.
fn of_text(source: &TextSource, error: ClientError) -> CommandError {
    CommandError::TextStopped {
        cause: Box::new(error.into()),
        advice: format!("This was the answer to {}", source.name),
    }
}
