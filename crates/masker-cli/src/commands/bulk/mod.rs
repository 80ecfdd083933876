//! `masker tokenize` and `masker rehydrate` on files of records: columns of CSV, fields of JSON lines.
//!
//! One thread reads rows into chunks. Each chunk is sent on its own connection while others are read, and chunks are
//! written in input order. As many chunks are in flight as there are connections, so memory does not depend on the length
//! of the file.
//!
//! The values to be swapped are in a chunk's requests, and their bytes in its originals. The text to be written has gaps in
//! their places, which are filled with results, or left empty. Only a result that is the value itself is filled in from the
//! originals. So no failure can copy a value to the output. Nothing is written before the rows show that the input has the
//! columns or fields of the plan. The first row of a table with a header is copied: nothing can tell it from a row of values.
//!
//! - `plan` is the parsed command line.
//! - `input` recognizes the file and buffers its rows, in an `encoding`. `table` (with `columns`) and `jsonl` (with
//!   `json_fields`) are its readers, each a `row_source`, and `reader` fills chunks from one.
//! - `token_text` recognizes tokens, damaged ones, and values that the daemon refuses.
//! - `chunk` sends the values of its rows, a `request` after the other, over one of the `connections`. `fill` makes the output of the results, in a `layout`, and ends it before a row
//!   that failed if the plan says so. `held` keeps it until the input has shown that it was read right.
//! - `failures` reports what failed, and `dry_run` what would be swapped.

mod chunk;
mod columns;
mod connections;
#[cfg(test)]
mod damage_tests;
mod dry_run;
mod encoding;
mod failures;
mod fill;
mod held;
mod input;
mod json_fields;
mod jsonl;
mod layout;
mod plan;
mod reader;
mod request;
mod row_source;
mod table;
mod token_text;
mod wiped_bytes;

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, task::JoinHandle};

use self::{
    chunk::PassedValues,
    connections::ConnectionPool,
    encoding::FileEncoding,
    failures::{FailureLog, RowFailure},
    fill::ProcessedChunk,
    held::{HELD_BYTES_MAX, HeldOutput, WaitFor},
    plan::{BulkPlan, InputFormat},
    reader::ChunkReader,
};
pub(super) use self::{
    connections::{PAUSE_MAX, PAUSES_MAX},
    input::FileReader,
};
use crate::{
    args::{RehydrateArgs, TokenizeArgs},
    context::{CommandContext, CommandError},
    exit::Exit,
    file_kind::refuse_same_file,
    output::Output,
    progress::Progress,
    read_ahead::ReadAhead,
    signals::Signals,
};

/// Time without input after which output is written that waits for input, in milliseconds.
const PAUSE_MILLISECONDS: u64 = 500;

/// Tokenizes columns or fields of standard input.
pub(super) async fn tokenize(args: &TokenizeArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    run(BulkPlan::tokenize(args)?, ctx).await
}

/// Rehydrates columns or fields of standard input.
pub(super) async fn rehydrate(args: &RehydrateArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    run(BulkPlan::rehydrate(args)?, ctx).await
}

async fn run(plan: BulkPlan, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    if ctx.output.is_json() {
        let message = "--json cannot be used with --csv or --jsonl: the output has the format of the input";
        return Err(CommandError::Usage(message.to_owned()));
    }
    refuse_same_file()?;
    let plan = Arc::new(plan);
    if plan.dry_run {
        return dry_run::run(&plan, &mut ctx.output);
    }
    let connections = ConnectionPool::open(ctx).await?;
    let left_today = connections.left_today(plan.operation).await?;
    let mut signals = Signals::listen()?;
    // Of UTF-16, the bytes are counted after their conversion.
    let file = FileReader::of(&io::stdin()).filter(|_| !matches!(plan.encoding(), FileEncoding::Utf16(_)));
    let total = file.map(|file| file.bytes_left());
    let mut failures = FailureLog::open(&plan)?;
    let (source, wait_for) = match open(&plan, &mut signals).await {
        Ok(Opened::Rows(source, wait_for)) => (source, wait_for),
        Ok(Opened::Failed(failure)) => {
            let listed = failures.record(std::slice::from_ref(&failure), &plan);
            listed.map_err(|cause| stopped(&plan, cause))?;
            failures.report(&plan, &ctx.output);
            return Err(stopped(&plan, CommandError::Row(failure.stopped())));
        }
        Err(cause) => {
            failures.list_end(&cause, &plan).map_err(|cause| stopped(&plan, cause))?;
            let is_of_input = matches!(
                cause,
                CommandError::Row(_)
                    | CommandError::BrokenRow { .. }
                    | CommandError::Input(_)
                    | CommandError::Interrupted(_)
            );
            return Err(if is_of_input { stopped(&plan, cause) } else { cause });
        }
    };
    let skipped = source.bytes_read();
    let work = BulkRun {
        failures,
        progress: Progress::input(total.map(|total| total.saturating_sub(skipped)), &ctx.output),
        output: &mut ctx.output,
        connections: Arc::new(connections),
        held: HeldOutput::new(wait_for, source.header()),
        skipped,
        rows: plan.skip_rows,
        values: 0,
        sent: 0,
        left_today,
        passed: PassedValues::default(),
        started: Instant::now(),
        plan,
    };
    work.run(source, signals).await
}

/// Standard input, after its structure was checked.
enum Opened {
    Rows(ChunkReader, WaitFor),
    /// A row fails as a whole, and ends the run.
    Failed(RowFailure),
}

/// Returns the error of a run that ends before its first row.
fn stopped(plan: &BulkPlan, cause: CommandError) -> CommandError {
    CommandError::Stopped { cause: Box::new(cause), rows: plan.skip_rows }
}

/// Opens standard input, checks its structure if it is a file, and skips rows.
async fn open(plan: &Arc<BulkPlan>, signals: &mut Signals) -> Result<Opened, CommandError> {
    let (sender, opened) = oneshot::channel();
    let plan = Arc::clone(plan);
    // If a signal ends the command, the thread is abandoned.
    std::thread::spawn(move || sender.send(open_blocking(&plan)));
    tokio::select! {
        biased;
        name = signals.next() => Err(CommandError::Interrupted(name)),
        opened = opened => opened.map_err(|_| CommandError::Other("the reader of the input panicked".to_owned()))?,
    }
}

fn open_blocking(plan: &Arc<BulkPlan>) -> Result<Opened, CommandError> {
    let wait_for = match (FileReader::of(&io::stdin()), &plan.form) {
        (None, InputFormat::JsonLines) => WaitFor::Fields,
        (Some(file), InputFormat::JsonLines) => {
            let has_fields = ChunkReader::open(Arc::clone(plan), file)?.check_fields()?;
            if has_fields { WaitFor::Nothing } else { WaitFor::Fields }
        }
        (None, InputFormat::Table(_)) => WaitFor::Input,
        (Some(file), InputFormat::Table(_)) => {
            if let Some(failure) = ChunkReader::open(Arc::clone(plan), file)?.check()? {
                return Ok(Opened::Failed(failure));
            }
            WaitFor::Columns
        }
    };
    let mut source = ChunkReader::open(Arc::clone(plan), io::stdin())?;
    source.skip()?;
    if wait_for == WaitFor::Fields {
        source.show_within(HELD_BYTES_MAX as u64);
    }
    Ok(Opened::Rows(source, wait_for))
}

/// A file of records in progress.
struct BulkRun<'o> {
    plan: Arc<BulkPlan>,
    connections: Arc<ConnectionPool>,
    output: &'o mut Output,
    progress: Progress,
    failures: FailureLog,
    held: HeldOutput,
    /// Bytes of the input that were skipped.
    skipped: u64,
    /// Number of rows that are done, including skipped ones.
    rows: u64,
    values: u64,
    /// Number of values in the chunks that were sent.
    sent: u64,
    /// What the caller had left for the day at the start, in values; `None` without such a limit.
    left_today: Option<u64>,
    /// The values that never were tokens, and were copied.
    passed: PassedValues,
    started: Instant,
}

impl BulkRun<'_> {
    async fn run(mut self, source: ChunkReader, signals: Signals) -> Result<Exit, CommandError> {
        let notes = source.notes();
        let mut pumped = self.pump(source, signals).await;
        self.progress.finish();
        if let Err(cause) = &pumped {
            let listed = self.failures.list_end(cause, &self.plan);
            pumped = listed.and(pumped);
        }
        self.failures.report(&self.plan, self.output);
        match pumped {
            // The command line is wrong, or the daemon refuses it: there is nothing to continue.
            Err(cause @ (CommandError::Refused { .. } | CommandError::Client(_) | CommandError::Other(_)))
                if self.rows == self.plan.skip_rows && !cause.is_used_up() =>
            {
                Err(cause)
            }
            Err(cause) => Err(CommandError::Stopped { cause: Box::new(cause), rows: self.rows }),
            Ok(()) => {
                self.log_rate();
                notes.get().into_iter().flatten().for_each(|note| self.output.note(note));
                let reported = self.report_passed();
                Ok(if self.failures.is_empty() && !reported { Exit::Done } else { Exit::Failure })
            }
        }
    }

    /// Copies everything from the source to standard output.
    async fn pump(&mut self, mut source: ChunkReader, mut signals: Signals) -> Result<(), CommandError> {
        let mut chunks = ReadAhead::start(move || source.next_chunk());
        let mut in_flight: VecDeque<JoinHandle<Result<ProcessedChunk, CommandError>>> = VecDeque::new();
        let mut reading = true;
        let mut read_error = None;
        while reading || !in_flight.is_empty() {
            let room = in_flight.len() < self.in_flight_max();
            let pause = tokio::time::sleep(Duration::from_millis(PAUSE_MILLISECONDS));
            tokio::select! {
                biased;
                name = signals.next() => return Err(CommandError::Interrupted(name)),
                swapped = first(&mut in_flight), if !in_flight.is_empty() => {
                    in_flight.pop_front();
                    match swapped {
                        Ok(swapped) => self.write(swapped)?,
                        Err(cause) => return Err(self.end_with(cause)?),
                    }
                }
                chunk = chunks.next(), if reading && room => match chunk {
                    Ok(Some(chunk)) => {
                        self.sent += chunk.values();
                        let (plan, connections) = (Arc::clone(&self.plan), Arc::clone(&self.connections));
                        in_flight.push_back(tokio::spawn(async move { chunk.swap(&plan, &connections).await }));
                    }
                    // Chunks that were read before are still written.
                    Err(error) => (reading, read_error) = (false, Some(error)),
                    Ok(None) => reading = false,
                },
                () = pause, if in_flight.is_empty() && self.held.may_end() => self.write_held()?,
            }
        }
        match read_error {
            Some(error) => Err(error),
            None => self.write_held(),
        }
    }

    /// Returns how many chunks may be in flight. If the caller's day may not be enough for all of them, they go one by one: what
    /// a later one has taken could not be written after one that is refused.
    fn in_flight_max(&self) -> usize {
        let values = (self.plan.batch * (self.plan.connections + 1)) as u64;
        if self.left_today.is_some_and(|left| left < self.sent.saturating_add(values)) {
            1
        } else {
            self.plan.connections
        }
    }

    /// Writes what may be written once there is this chunk, and records its failures.
    fn write(&mut self, mut swapped: ProcessedChunk) -> Result<(), CommandError> {
        self.values += swapped.values;
        self.passed.add(swapped.passed);
        // First: a list that lacks failures of rows that are done could not be completed.
        self.failures.record(&swapped.failures, &self.plan)?;
        self.held.add(&mut swapped);
        while let Some((text, rows)) = self.held.next_due() {
            self.write_rows(&text, rows)?;
        }
        if !self.progress.is_hidden() {
            self.progress.reach(swapped.bytes_read.saturating_sub(self.skipped), self.summary());
        }
        match (swapped.failures.first().filter(|_| swapped.is_last), swapped.ended) {
            (Some(failure), _) if failure.column.is_some() => Err(self.end_with(CommandError::Row(failure.stopped()))?),
            (Some(failure), _) => Err(CommandError::Row(failure.stopped())),
            (None, Some(cause)) => Err(self.end_with(cause)?),
            (None, None) => Ok(()),
        }
    }

    /// Writes the output that is held when a run ends by an error that says nothing against the rows before it: one of the
    /// daemon, or of the value of a cell. Returns that error.
    fn end_with(&mut self, cause: CommandError) -> Result<CommandError, CommandError> {
        if self.held.may_end() {
            self.write_held()?;
        }
        Ok(cause)
    }

    /// Writes all output that was held.
    fn write_held(&mut self) -> Result<(), CommandError> {
        while let Some((text, rows)) = self.held.next() {
            self.write_rows(&text, rows)?;
        }
        Ok(())
    }

    fn write_rows(&mut self, text: &[u8], rows: u64) -> Result<(), CommandError> {
        self.output.bytes(text)?;
        self.output.flush()?;
        self.rows += rows;
        Ok(())
    }

    /// Reports values that never were tokens, unless they are expected. Returns whether there are any.
    fn report_passed(&self) -> bool {
        let Some((row, column)) = self.passed.first.filter(|_| !self.plan.passthrough) else { return false };
        self.output.error(&format!(
            "values that never were tokens were copied: {}, the first in row {row}, {}. If that is right, as after kinds that \
             the policy passes through or redacts, use --passthrough",
            self.passed.count,
            self.plan.name(column)
        ));
        true
    }

    fn summary(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = if seconds > 0.0 { self.values as f64 / seconds } else { 0.0 };
        format!("{} {}, {rate:.0} values/s", self.rows, if self.rows == 1 { "row" } else { "rows" })
    }

    /// Reports the rate, if a progress bar was shown or `--verbose` is given.
    fn log_rate(&self) {
        let text = format!("{} in {:.1} s", self.summary(), self.started.elapsed().as_secs_f64());
        if self.progress.is_hidden() { self.output.detail(&text) } else { self.output.note(&text) }
    }
}

/// Waits for the chunk that is written next.
async fn first(
    in_flight: &mut VecDeque<JoinHandle<Result<ProcessedChunk, CommandError>>>,
) -> Result<ProcessedChunk, CommandError> {
    match in_flight.front_mut() {
        Some(task) => task.await.map_err(|error| CommandError::Other(format!("chunk task panicked: {error}")))?,
        None => std::future::pending().await,
    }
}
