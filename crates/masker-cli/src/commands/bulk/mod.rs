//! `masker tokenize` and `masker rehydrate` on files of records: columns of CSV, fields of JSON lines.
//!
//! One thread reads rows into chunks. Each chunk is sent on its own connection while others are read, and chunks are
//! written in input order. As many chunks are in flight as there are connections, so memory does not depend on the length
//! of the file.
//!
//! The values to be swapped are only in a chunk's requests. The text to be written has gaps in their places, which are
//! filled with results, or left empty. So no failure can copy a value to the output.
//!
//! `plan` is the parsed command line. `reader` reads chunks with `table` (CSV) or `jsonl`, `chunk` sends their requests,
//! and `layout` writes their results.

mod chunk;
mod connections;
mod failures;
mod input;
mod json_fields;
mod jsonl;
mod layout;
mod plan;
mod reader;
mod row_source;
mod table;
mod wiped_bytes;

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Seek},
    os::fd::AsFd,
    sync::Arc,
    time::Instant,
};

use tokio::{signal, sync::mpsc, task::JoinHandle};

use self::{
    chunk::{Chunk, ProcessedChunk},
    connections::ConnectionPool,
    failures::FailureLog,
    plan::BulkPlan,
    reader::ChunkReader,
};
use crate::{
    args::{RehydrateArgs, TokenizeArgs},
    context::{CommandContext, CommandError},
    exit::Exit,
    output::Output,
    progress::Progress,
};

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
    let connections = ConnectionPool::open(ctx).await?;
    let total = length(&io::stdin());
    let plan = Arc::new(plan);
    let mut source = ChunkReader::open(Arc::clone(&plan), io::stdin())?;
    source.skip()?;
    let skipped = source.bytes_read();
    let work = BulkRun {
        failures: FailureLog::open(&plan)?,
        progress: Progress::input(total.map(|total| total.saturating_sub(skipped)), &ctx.output),
        output: &mut ctx.output,
        connections: Arc::new(connections),
        header: source.header(),
        skipped,
        rows: plan.skip_rows,
        values: 0,
        started: Instant::now(),
        plan,
    };
    work.run(source).await
}

/// Returns the number of bytes left to read, if the input is a file.
fn length(input: &impl AsFd) -> Option<u64> {
    let mut file = File::from(input.as_fd().try_clone_to_owned().ok()?);
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file())?;
    Some(metadata.len().saturating_sub(file.stream_position().ok()?))
}

/// A file of records in progress.
struct BulkRun<'o> {
    plan: Arc<BulkPlan>,
    connections: Arc<ConnectionPool>,
    output: &'o mut Output,
    progress: Progress,
    failures: FailureLog,
    /// The bytes before the first row. Written together with it, so that nothing is written before the first response.
    header: Vec<u8>,
    /// Bytes of the input that were skipped.
    skipped: u64,
    /// Number of rows that are done, including skipped ones.
    rows: u64,
    values: u64,
    started: Instant,
}

impl BulkRun<'_> {
    async fn run(mut self, source: ChunkReader) -> Result<Exit, CommandError> {
        let pumped = self.pump(source).await;
        self.progress.finish();
        self.failures.report(&self.plan, self.output);
        match pumped {
            Err(cause) if cause.is_broken_pipe() => Err(cause),
            // After a failed write, the output can contain a part of a row that is not done.
            Err(cause @ CommandError::Output(_)) => Err(self.stopped(cause)),
            Err(cause) if self.rows == self.plan.skip_rows => Err(cause),
            Err(cause) => Err(self.stopped(cause)),
            Ok(()) => {
                self.log_rate();
                Ok(if self.failures.is_empty() { Exit::Done } else { Exit::Failure })
            }
        }
    }

    /// Adds the number of rows that are done to an error.
    fn stopped(&self, cause: CommandError) -> CommandError {
        CommandError::Stopped { cause: Box::new(cause), rows: self.rows }
    }

    /// Copies everything from the source to standard output.
    async fn pump(&mut self, source: ChunkReader) -> Result<(), CommandError> {
        let mut chunks = read_ahead(source);
        let mut in_flight: VecDeque<JoinHandle<Result<ProcessedChunk, CommandError>>> = VecDeque::new();
        let mut reading = true;
        let mut read_error = None;
        let mut interrupted = std::pin::pin!(signal::ctrl_c());
        while reading || !in_flight.is_empty() {
            let room = in_flight.len() < self.plan.connections;
            tokio::select! {
                biased;
                _ = &mut interrupted => return Err(CommandError::Other("interrupted".to_owned())),
                swapped = first(&mut in_flight), if !in_flight.is_empty() => {
                    in_flight.pop_front();
                    self.write(&swapped?)?;
                }
                chunk = chunks.recv(), if reading && room => match chunk {
                    Some(Ok(chunk)) => {
                        let (plan, connections) = (Arc::clone(&self.plan), Arc::clone(&self.connections));
                        in_flight.push_back(tokio::spawn(async move { chunk.swap(&plan, &connections).await }));
                    }
                    // Chunks that were read before are still written.
                    Some(Err(error)) => (reading, read_error) = (false, Some(error)),
                    None => reading = false,
                },
            }
        }
        match read_error {
            Some(error) => Err(CommandError::Input(error)),
            None => self.write_header(),
        }
    }

    /// Writes a whole chunk and records its failures.
    fn write(&mut self, swapped: &ProcessedChunk) -> Result<(), CommandError> {
        self.write_header()?;
        self.output.bytes(&swapped.text)?;
        self.output.flush()?;
        self.rows += swapped.rows;
        self.values += swapped.values;
        self.failures.record(&swapped.failures, &self.plan)?;
        if !self.progress.is_hidden() {
            self.progress.reach(swapped.bytes_read - self.skipped, self.summary());
        }
        Ok(())
    }

    fn write_header(&mut self) -> Result<(), CommandError> {
        self.output.bytes(&std::mem::take(&mut self.header))
    }

    fn summary(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = if seconds > 0.0 { self.values as f64 / seconds } else { 0.0 };
        format!("{} rows, {rate:.0} values/s", self.rows)
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

/// Reads chunks on a separate thread. If the command ends early, the thread is abandoned, because a blocking read of
/// standard input cannot be interrupted.
fn read_ahead(mut source: ChunkReader) -> mpsc::Receiver<io::Result<Chunk>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        while let Some(chunk) = source.next_chunk().transpose() {
            let failed = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || failed {
                return;
            }
        }
    });
    receiver
}
