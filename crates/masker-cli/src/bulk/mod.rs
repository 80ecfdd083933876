//! `masker tokenize` and `masker rehydrate` of whole files: columns of CSV, fields of JSON lines.
//!
//! One thread reads rows and gathers their values into chunks. Each chunk is asked about on a connection of its own while
//! others are read, and chunks are written in the order in which they were read. So many chunks are under way at once
//! as there are connections: memory does not depend on the length of the file.
//!
//! A chunk never holds the values that are to be swapped but in the requests about them: the text that is written has
//! gaps in their places, which are filled with what the daemon answers, or with nothing. No failure lets one through.

mod chunk;
mod connections;
mod failures;
mod json;
mod lines;
mod options;
mod reader;
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
    options::BulkPlan,
    reader::ChunkReader,
};
use super::{
    args::{RehydrateArgs, TokenizeArgs},
    context::{CommandContext, CommandError},
    exit::Exit,
    output::Output,
    progress::Progress,
};

/// Tokenizes columns or fields of standard input.
pub(super) async fn tokenize(args: &TokenizeArgs, session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    run(BulkPlan::tokenize(args)?, session).await
}

/// Rehydrates columns or fields of standard input.
pub(super) async fn rehydrate(args: &RehydrateArgs, session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    run(BulkPlan::rehydrate(args)?, session).await
}

async fn run(plan: BulkPlan, session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    if session.output.is_json() {
        let message = "--json: what comes out has the form of what goes in, which --csv or --jsonl says";
        return Err(CommandError::Usage(message.to_owned()));
    }
    let connections = ConnectionPool::open(session).await?;
    let total = length(&io::stdin());
    let plan = Arc::new(plan);
    let mut source = ChunkReader::open(Arc::clone(&plan), io::stdin())?;
    source.skip()?;
    let skipped = source.bytes_read();
    let work = BulkRun {
        failures: FailureLog::open(&plan)?,
        progress: Progress::input(total.map(|total| total.saturating_sub(skipped)), &session.output),
        output: &mut session.output,
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

/// How much is still to be read, where that can be known.
fn length(input: &impl AsFd) -> Option<u64> {
    let mut file = File::from(input.as_fd().try_clone_to_owned().ok()?);
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file())?;
    Some(metadata.len().saturating_sub(file.stream_position().ok()?))
}

struct BulkRun<'o> {
    plan: Arc<BulkPlan>,
    connections: Arc<ConnectionPool>,
    output: &'o mut Output,
    progress: Progress,
    failures: FailureLog,
    /// What stands before the first row; written with it, so that nothing is written before the first answer.
    header: Vec<u8>,
    /// How much of the input was skipped, in bytes.
    skipped: u64,
    /// Rows that are done, with those that were skipped.
    rows: u64,
    values: u64,
    started: Instant,
}

impl BulkRun<'_> {
    async fn run(mut self, source: ChunkReader) -> Result<Exit, CommandError> {
        let pumped = self.pump(source).await;
        self.progress.finish();
        self.failures.tell(&self.plan, self.output);
        match pumped {
            Err(cause) if cause.is_enough() => Err(cause),
            // Where writing failed, a part may be written that is not done.
            Err(cause @ CommandError::Output(_)) => Err(self.stopped(cause)),
            Err(cause) if self.rows == self.plan.skip_rows => Err(cause),
            Err(cause) => Err(self.stopped(cause)),
            Ok(()) => {
                self.log_rate();
                Ok(if self.failures.is_empty() { Exit::Done } else { Exit::Failure })
            }
        }
    }

    /// Says how far the work is done with this.
    fn stopped(&self, cause: CommandError) -> CommandError {
        CommandError::Stopped { cause: Box::new(cause), rows: self.rows }
    }

    /// Brings everything from the source to standard output.
    async fn pump(&mut self, source: ChunkReader) -> Result<(), CommandError> {
        let mut chunks = read_ahead(source);
        let mut under_way: VecDeque<JoinHandle<Result<ProcessedChunk, CommandError>>> = VecDeque::new();
        let mut reading = true;
        let mut unreadable = None;
        let mut interrupted = std::pin::pin!(signal::ctrl_c());
        while reading || !under_way.is_empty() {
            let room = under_way.len() < self.plan.connections;
            tokio::select! {
                biased;
                _ = &mut interrupted => return Err(CommandError::Other("it was interrupted".to_owned())),
                swapped = first(&mut under_way), if !under_way.is_empty() => {
                    under_way.pop_front();
                    self.write(&swapped?)?;
                }
                chunk = chunks.recv(), if reading && room => match chunk {
                    Some(Ok(chunk)) => {
                        let (plan, connections) = (Arc::clone(&self.plan), Arc::clone(&self.connections));
                        under_way.push_back(tokio::spawn(async move { chunk.swap(&plan, &connections).await }));
                    }
                    // What was read before is still to be written.
                    Some(Err(error)) => (reading, unreadable) = (false, Some(error)),
                    None => reading = false,
                },
            }
        }
        match unreadable {
            Some(error) => Err(CommandError::Input(error)),
            None => Ok(self.write_header()?),
        }
    }

    /// Writes a chunk, all of it, and takes note of what became of it.
    fn write(&mut self, swapped: &ProcessedChunk) -> Result<(), CommandError> {
        self.write_header()?;
        self.output.bytes(&swapped.text)?;
        self.output.flush()?;
        self.rows += swapped.rows;
        self.values += swapped.values;
        self.failures.note(&swapped.failures, &self.plan)?;
        if !self.progress.is_hidden() {
            self.progress.reach(swapped.bytes_read - self.skipped, self.summary());
        }
        Ok(())
    }

    fn write_header(&mut self) -> io::Result<()> {
        self.output.bytes(&std::mem::take(&mut self.header))
    }

    fn summary(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = if seconds > 0.0 { self.values as f64 / seconds } else { 0.0 };
        format!("{} rows, {rate:.0} values/s", self.rows)
    }

    /// What is for people who watch, and for those who asked for more.
    fn log_rate(&self) {
        let text = format!("{} in {:.1} s", self.summary(), self.started.elapsed().as_secs_f64());
        if self.progress.is_hidden() { self.output.detail(&text) } else { self.output.note(&text) }
    }
}

/// What became of the chunk that is to be written next.
async fn first(
    under_way: &mut VecDeque<JoinHandle<Result<ProcessedChunk, CommandError>>>,
) -> Result<ProcessedChunk, CommandError> {
    match under_way.front_mut() {
        Some(task) => task.await.map_err(|stopped| CommandError::Other(format!("this is a bug: {stopped}")))?,
        None => std::future::pending().await,
    }
}

/// Reads on a thread of its own, which may block. It is left behind where the command ends early: nothing can wake it
/// from a read of standard input.
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
