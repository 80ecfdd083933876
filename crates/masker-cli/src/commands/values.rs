//! `masker tokenize`, `rehydrate`, `lookup` and `vault forget`: one output line for each input line.

use std::{
    borrow::Cow,
    ffi::OsString,
    io::{self, IsTerminal},
};

use serde::{Deserialize, Serialize};

use super::bulk::{PAUSE_MAX, PAUSES_MAX};
use crate::{
    args::{ForgetArgs, TokenArgs, ValueArgs},
    context::{CommandContext, CommandError},
    exit::Exit,
    file_kind::refuse_same_file,
    lines::{InputLine, InputLines, InvalidInputLine, LineEnd, LineReader},
    read_ahead::ReadAhead,
    signals::Signals,
};
use masker_api::{
    BatchResponse, ForgetResult, ItemError, LookupResult, RehydrateRequest, RehydrateResult, TokenItem, TokenizeItem,
    TokenizeRequest, TokenizeResult,
};
use masker_client::ClientError;
use masker_types::{
    error_code::Code,
    limits::{ITEMS_PER_REQUEST_MAX, LOOKUP_TOKENS_MAX},
};

/// The operation on every line.
pub(super) enum ValueOperation<'a> {
    Tokenize(&'a ValueArgs),
    Lookup(&'a ValueArgs),
    Rehydrate(&'a TokenArgs),
    Forget(&'a ForgetArgs),
}

impl ValueOperation<'_> {
    /// Returns the values or tokens among the arguments.
    fn arguments(&self) -> &[OsString] {
        match self {
            ValueOperation::Tokenize(args) | ValueOperation::Lookup(args) => &args.values,
            ValueOperation::Rehydrate(args) => &args.tokens,
            ValueOperation::Forget(args) => &args.items,
        }
    }

    /// Returns whether the items are values, and not tokens.
    fn takes_values(&self) -> bool {
        match self {
            ValueOperation::Tokenize(_) | ValueOperation::Lookup(_) => true,
            ValueOperation::Rehydrate(_) => false,
            ValueOperation::Forget(args) => args.kind.is_some(),
        }
    }

    /// Returns what the items are called in messages.
    fn items_name(&self) -> &'static str {
        if self.takes_values() { "values" } else { "tokens" }
    }

    /// Returns the code of an item that cannot be sent.
    fn invalid_code(&self) -> Code {
        if self.takes_values() { Code::ValueInvalid } else { Code::TokenMalformed }
    }
}

/// The result of a line.
trait LineOutcome: Serialize {
    /// Returns the line to print, or the error.
    fn line(&self) -> Result<Cow<'_, str>, &ItemError>;

    /// Returns the error to change.
    fn error_mut(&mut self) -> Option<&mut ItemError>;

    /// Returns why the line is not the whole result.
    fn incomplete(&self) -> Option<String> {
        None
    }

    /// Returns what the line does not say.
    fn note(&self) -> Option<&'static str> {
        None
    }
}

impl LineOutcome for TokenizeResult<'_> {
    fn line(&self) -> Result<Cow<'_, str>, &ItemError> {
        match self {
            TokenizeResult::Token { token: text, .. } | TokenizeResult::Value { value: text } => Ok((**text).into()),
            TokenizeResult::Redacted { redacted } => Ok(redacted.into()),
            TokenizeResult::Error { error } => Err(error),
        }
    }

    fn error_mut(&mut self) -> Option<&mut ItemError> {
        match self {
            TokenizeResult::Error { error } => Some(error),
            _ => None,
        }
    }
}

impl LineOutcome for RehydrateResult<'_> {
    fn line(&self) -> Result<Cow<'_, str>, &ItemError> {
        match self {
            RehydrateResult::Value { value, .. } => Ok((**value).into()),
            RehydrateResult::Error { error } => Err(error),
        }
    }

    fn error_mut(&mut self) -> Option<&mut ItemError> {
        match self {
            RehydrateResult::Error { error } => Some(error),
            _ => None,
        }
    }
}

impl LineOutcome for LookupResult {
    fn line(&self) -> Result<Cow<'_, str>, &ItemError> {
        match self {
            LookupResult::Tokens { tokens, .. } => Ok(tokens.join("\t").into()),
            LookupResult::Error { error } => Err(error),
        }
    }

    fn error_mut(&mut self) -> Option<&mut ItemError> {
        match self {
            LookupResult::Error { error } => Some(error),
            _ => None,
        }
    }

    fn incomplete(&self) -> Option<String> {
        match self {
            LookupResult::Tokens { tokens, more: Some(true), .. } => {
                // An answer to many values has only the first token of some.
                let advice = if tokens.len() < LOOKUP_TOKENS_MAX { "; look it up alone" } else { "" };
                Some(format!("the value has more tokens than these {}{advice}", tokens.len()))
            }
            _ => None,
        }
    }

    fn note(&self) -> Option<&'static str> {
        match self {
            LookupResult::Tokens { tokens, exact: false, .. } if !tokens.is_empty() => {
                Some("only other spellings of the value have tokens")
            }
            _ => None,
        }
    }
}

impl LineOutcome for ForgetResult {
    fn line(&self) -> Result<Cow<'_, str>, &ItemError> {
        match self {
            ForgetResult::Forgotten { forgotten: false, .. } => Ok("not held".into()),
            ForgetResult::Forgotten { count: Some(count), .. } => Ok(format!("forgotten {count}").into()),
            ForgetResult::Forgotten { .. } => Ok("forgotten".into()),
            ForgetResult::Error { error } => Err(error),
        }
    }

    fn error_mut(&mut self) -> Option<&mut ItemError> {
        match self {
            ForgetResult::Error { error } => Some(error),
            _ => None,
        }
    }
}

/// Processes the arguments, or standard input if there are none.
///
/// `values_end` is what values end in, on standard input or on standard output. Tokens are on lines.
pub(super) async fn run(
    operation: ValueOperation<'_>,
    values_end: LineEnd,
    ctx: &mut CommandContext<'_>,
) -> Result<Exit, CommandError> {
    let mut run = ValueRun { operation, values_end, ctx, done: 0, written: 0, failed: 0, lines_max: usize::MAX };
    let mut signals = Signals::listen()?;
    let outcome = tokio::select! {
        biased;
        name = signals.next() => Err(CommandError::Interrupted(name)),
        outcome = run.items() => outcome,
    };
    outcome.map_err(|cause| run.stopped(cause))?;
    if run.failed == 0 {
        return Ok(Exit::Done);
    }
    if run.done > 1 {
        let (failed, done, items) = (run.failed, run.done, run.operation.items_name());
        run.ctx.output.note(&format!("{failed} of {done} {items} failed"));
    }
    Ok(Exit::Failure)
}

/// A run of an operation, with its counts.
struct ValueRun<'a, 's> {
    operation: ValueOperation<'a>,
    values_end: LineEnd,
    ctx: &'a mut CommandContext<'s>,
    done: u64,
    /// Number of items whose result is written.
    written: u64,
    failed: u64,
    /// Most lines of a request, as far as the daemon has shown the caller's limits.
    lines_max: usize,
}

impl ValueRun<'_, '_> {
    async fn items(&mut self) -> Result<(), CommandError> {
        if self.operation.arguments().is_empty() {
            return self.standard_input().await;
        }
        let arguments = self.operation.arguments().to_vec();
        for arguments in arguments.chunks(ITEMS_PER_REQUEST_MAX) {
            let text = |argument: &OsString| {
                argument.to_str().map(|text| text.to_owned().into()).ok_or(InvalidInputLine::NotUtf8)
            };
            self.batch(&arguments.iter().map(text).collect::<InputLines>()).await?;
        }
        Ok(())
    }

    /// Returns the error of a run that ended early.
    fn stopped(&self, cause: CommandError) -> CommandError {
        // Of results that could not all be written, some may be in the output.
        let is_begun = self.written > 0 || matches!(cause, CommandError::Interrupted(_) | CommandError::Output(_));
        if cause.is_broken_pipe() || !is_begun {
            return cause;
        }
        CommandError::LinesStopped { cause: Box::new(cause), items: self.operation.items_name(), done: self.written }
    }

    async fn standard_input(&mut self) -> Result<(), CommandError> {
        let stdin = io::stdin();
        refuse_same_file()?;
        if stdin.is_terminal() {
            let items = self.operation.items_name();
            self.ctx.output.note(&terminal_hint(items, self.input_end()));
        }
        let end = self.input_end();
        let mut reader = LineReader::new(stdin, end);
        let mut batches = ReadAhead::start(move || reader.next_batch().map_err(CommandError::Input));
        while let Some(lines) = batches.next().await? {
            // The daemon may have closed the connection meanwhile. Its task must notice that first, so that the batch goes
            // over a new one.
            tokio::task::yield_now().await;
            self.batch(&lines).await?;
        }
        Ok(())
    }

    /// Returns what items on standard input end in.
    fn input_end(&self) -> LineEnd {
        if self.operation.takes_values() { self.values_end } else { LineEnd::Break }
    }

    /// Sends lines in as many requests as the caller's limits need, and waits when they are used up.
    async fn batch(&mut self, lines: &[InputLine]) -> Result<(), CommandError> {
        let (mut rest, mut pauses, mut left_max) = (lines, 0, usize::MAX);
        while !rest.is_empty() {
            let (part, others) = rest.split_at(rest.len().min(self.lines_max).min(left_max));
            match self.send(part).await {
                Err(CommandError::Client(ClientError::Busy { problem, after }))
                    if problem.status == 429 && after <= PAUSE_MAX && pauses < PAUSES_MAX =>
                {
                    pauses += 1;
                    tokio::time::sleep(after).await;
                }
                // What is left of the limit may be enough for fewer.
                Err(refused) if refused.is_used_up() && part.len() > 1 => left_max = part.len() / 2,
                Err(refused) if refused.is_too_large_for_limit() && part.len() > 1 => self.lines_max = part.len() / 2,
                sent => {
                    sent?;
                    (rest, pauses) = (others, 0);
                }
            }
        }
        Ok(())
    }

    /// Sends lines in one request, and prints the results.
    async fn send(&mut self, lines: &[InputLine]) -> Result<(), CommandError> {
        let texts: Vec<&str> = lines.iter().flatten().map(|text| text.as_str()).collect();
        let (path, reply) = match &self.operation {
            ValueOperation::Tokenize(args) => {
                let path = "/api/v1/tokenize";
                let request = value_request(&args.kind, args.policy.as_deref(), args.context.as_deref(), &texts);
                (path, self.ctx.post_in_session(path, &request).await?)
            }
            ValueOperation::Lookup(args) => {
                let path = "/api/v1/lookup";
                let request = value_request(&args.kind, args.policy.as_deref(), args.context.as_deref(), &texts);
                (path, self.ctx.post(path, &request).await?)
            }
            ValueOperation::Rehydrate(args) => {
                let path = "/api/v1/rehydrate";
                (path, self.ctx.post_in_session(path, &token_request(args.context.as_deref(), &texts)).await?)
            }
            ValueOperation::Forget(args) => {
                let path = "/api/v1/forget";
                let context = args.context.as_deref();
                let reply = match &args.kind {
                    Some(kind) => {
                        let request = value_request(kind, args.policy.as_deref(), context, &texts);
                        self.ctx.post(path, &request).await?
                    }
                    None => self.ctx.post(path, &token_request(context, &texts)).await?,
                };
                (path, reply)
            }
        };
        match self.operation {
            ValueOperation::Tokenize(_) => self.show::<TokenizeResult<'_>>(path, lines, reply.json()?),
            ValueOperation::Lookup(_) => self.show::<LookupResult>(path, lines, reply.json()?),
            ValueOperation::Rehydrate(_) => self.show::<RehydrateResult<'_>>(path, lines, reply.json()?),
            ValueOperation::Forget(_) => self.show::<ForgetResult>(path, lines, reply.json()?),
        }
    }

    /// Prints one line for each of `lines`: its result, or why it was not sent.
    fn show<'r, T: LineOutcome + Deserialize<'r>>(
        &mut self,
        path: &str,
        lines: &[InputLine],
        mut answer: BatchResponse<T>,
    ) -> Result<(), CommandError> {
        for error in answer.results.iter_mut().filter_map(T::error_mut) {
            error.detail = without_place(&error.detail).to_owned();
        }
        let (sent, received) = (lines.iter().flatten().count(), answer.results.len());
        if sent != received {
            let message = format!("{path}: {sent} items were sent, and the response has {received} results");
            return Err(CommandError::Other(message));
        }
        let code = self.operation.invalid_code();
        let mut results = answer.results.iter();
        for line in lines {
            self.done += 1;
            match line {
                Ok(_) => results.next().map_or(Ok(()), |outcome| self.show_one(outcome))?,
                Err(error) => {
                    let error = ItemError { code: code.to_string(), detail: error.to_string() };
                    self.show_one(&ForgetResult::Error { error })?;
                }
            }
        }
        self.ctx.output.flush()?;
        self.written = self.done;
        Ok(())
    }

    fn show_one(&mut self, outcome: &impl LineOutcome) -> Result<(), CommandError> {
        let ends_in_nul = self.values_end == LineEnd::Nul && !self.operation.takes_values();
        let place = place(self.input_end());
        let output = &mut self.ctx.output;
        // On a terminal, control characters are escaped.
        let is_plain = !output.is_json() && !output.is_terminal();
        let (line, error) = match outcome.line() {
            Ok(line) if is_plain && ends_in_nul && line.contains('\0') => {
                ("".into(), Some("the value contains a NUL byte; use --json".to_owned()))
            }
            Ok(line) if is_plain && !ends_in_nul && line.contains(['\n', '\r']) => {
                ("".into(), Some("the value has line breaks; use --json or --null-separated".to_owned()))
            }
            Ok(line) => (line, outcome.incomplete()),
            Err(error) => ("".into(), Some(format!("{}: {}", error.code, error.detail))),
        };
        if let Some(error) = error {
            self.failed += 1;
            output.error(&format!("{place} {}: {error}", self.done));
        }
        if output.is_json() {
            return output.json(outcome);
        }
        if let Some(note) = outcome.note() {
            output.note(&format!("{place} {}: {note}", self.done));
        }
        if ends_in_nul && !output.is_terminal() {
            output.bytes(line.as_bytes())?;
            return output.bytes(b"\0");
        }
        output.line(&line)
    }
}

/// Returns what to type on a terminal.
fn terminal_hint(items: &str, end: LineEnd) -> String {
    let separation = match end {
        LineEnd::Break => "one per line",
        LineEnd::Nul => "each followed by a NUL byte",
    };
    format!("type or paste {items}, {separation}; end with Ctrl-D")
}

/// Returns what an item is called with its number. A value that ends in NUL can have several lines.
fn place(end: LineEnd) -> &'static str {
    match end {
        LineEnd::Break => "line",
        LineEnd::Nul => "value",
    }
}

/// Returns the detail of an item's error without the item's place in the request. It means nothing to someone who knows
/// lines or cells.
pub(super) fn without_place(detail: &str) -> &str {
    let place = detail.strip_prefix("items[").and_then(|rest| rest.split_once("]: "));
    place.map_or(detail, |(_, detail)| detail)
}

fn value_request<'a>(
    kind: &'a str,
    policy: Option<&'a str>,
    context: Option<&'a str>,
    texts: &[&'a str],
) -> TokenizeRequest<'a> {
    let item = |text: &&'a str| TokenizeItem { kind: kind.into(), value: (*text).into(), context: None };
    TokenizeRequest {
        policy: policy.map(Into::into),
        context: context.map(Into::into),
        items: texts.iter().map(item).collect(),
    }
}

fn token_request<'a>(context: Option<&'a str>, texts: &[&'a str]) -> RehydrateRequest<'a> {
    RehydrateRequest {
        context: context.map(Into::into),
        tokens: texts.iter().map(|text| TokenItem::Plain((*text).into())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_end_in_nul_are_not_called_lines() {
        assert_eq!((place(LineEnd::Break), place(LineEnd::Nul)), ("line", "value"));
        assert!(terminal_hint("tokens", LineEnd::Break).contains("one per line"));
        assert!(!terminal_hint("values", LineEnd::Nul).contains("line"));
    }
}
