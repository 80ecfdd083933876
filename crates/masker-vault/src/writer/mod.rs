//! The one writer: group commit.
//!
//! Operations queue a [`Change`] and wait. The writer takes all changes that have gathered, reads the rows that they
//! name, lets each decide what to write, commits everything as one atomic batch, makes it durable once, and answers all.
//! A change is decided under the keys in force at that moment and over the draft of the changes before it. So two
//! requests for one value get one token, and nothing prepared before the keys changed is written under a retired key.
//!
//! The writer does not know what its changes are for: each operation implements [`Change`] in its own module.

mod caller_estimate;
mod commit;
mod draft;
mod reads;
mod tombstones;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tracing::error;

pub(crate) use commit::WriterContext;
pub(crate) use draft::CommitDraft;
pub(crate) use reads::{ReadPlan, Reads, SearchResult};

use self::reads::GroupReads;
use crate::{VaultError, keys::CurrentKeys, ledger::CurrentLedger};
use masker_types::limits::{QUEUE_WAIT_SECONDS_MAX, WRITER_QUEUE_MAX};

/// A change of the vault, committed with others in one atomic batch.
///
/// The writer may plan and decide a change several times, when the store refuses a batch. Only the last decision counts.
pub(crate) trait Change: Send + 'static {
    /// What the operation learns once the change is durable.
    type Outcome: Send;

    /// Returns about how many rows the change writes. A group is full when its changes write enough.
    fn row_count(&self) -> usize {
        1
    }

    /// Returns whether the change needs a group for itself: the changes before it are durable when it is decided.
    fn runs_alone(&self) -> bool {
        false
    }

    /// Names the rows that [`Change::decide`] needs.
    fn plan_reads(&mut self, _plan: &mut ReadPlan<'_>) {}

    /// Adds what is to be written to the draft. `reads` has the rows that the change named, in their order.
    fn decide(&mut self, draft: &mut CommitDraft<'_>, reads: &mut Reads<'_, '_>) -> Self::Outcome;

    /// Runs once the change is durable, before its outcome is sent and before the next group is decided.
    fn committed(&self, _outcome: &Self::Outcome, _keys: &CurrentKeys) {}
}

/// A change without its type, with the channel that its outcome goes to.
trait QueuedChange: Send {
    fn row_count(&self) -> usize;
    fn runs_alone(&self) -> bool;
    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>);
    fn decide(&mut self, draft: &mut CommitDraft<'_>, reads: &mut GroupReads<'_>);
    fn committed(&self, keys: &CurrentKeys);
    fn answer(self: Box<Self>, committed: &Result<(), VaultError>);
}

struct PendingChange<C: Change> {
    change: C,
    /// How many rows and searches the change has planned.
    planned: (usize, usize),
    /// Sent once the group is durable.
    outcome: Option<C::Outcome>,
    reply: oneshot::Sender<Result<C::Outcome, VaultError>>,
}

impl<C: Change> PendingChange<C> {
    fn new(change: C) -> (Box<Self>, oneshot::Receiver<Result<C::Outcome, VaultError>>) {
        let (reply, outcome) = oneshot::channel();
        (Box::new(PendingChange { change, planned: (0, 0), outcome: None, reply }), outcome)
    }
}

impl<C: Change> QueuedChange for PendingChange<C> {
    fn row_count(&self) -> usize {
        self.change.row_count()
    }

    fn runs_alone(&self) -> bool {
        self.change.runs_alone()
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        let before = plan.planned();
        self.change.plan_reads(plan);
        let after = plan.planned();
        self.planned = (after.0 - before.0, after.1 - before.1);
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>, reads: &mut GroupReads<'_>) {
        let mut reads = reads.take(self.planned);
        self.outcome = Some(self.change.decide(draft, &mut reads));
        reads.skip_rest();
    }

    fn committed(&self, keys: &CurrentKeys) {
        if let Some(outcome) = &self.outcome {
            self.change.committed(outcome, keys);
        }
    }

    fn answer(self: Box<Self>, committed: &Result<(), VaultError>) {
        let answer = match committed {
            Ok(()) => self.outcome.ok_or(VaultError::Stopped),
            Err(failed) => Err(failed.clone()),
        };
        // The requester may be gone: what it wanted is durable, or was never acknowledged.
        drop(self.reply.send(answer));
    }
}

/// What the writer's queue holds.
enum Message {
    Change(Box<dyn QueuedChange>),
    /// The last one: commits a change, closes the store and ends the writer.
    Stop {
        last: Box<dyn QueuedChange>,
        reply: oneshot::Sender<Result<(), VaultError>>,
    },
}

/// Writes nothing. Committing it reads the ledger again where a failed commit has left that uncertain.
struct ReloadLedger;

impl Change for ReloadLedger {
    type Outcome = ();

    fn decide(&mut self, _draft: &mut CommitDraft<'_>, _reads: &mut Reads<'_, '_>) {}
}

/// The requests' end of the writer's queue.
pub(crate) struct WriterHandle {
    queue: mpsc::Sender<Message>,
    ledger: Arc<CurrentLedger>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl WriterHandle {
    /// Starts the writer. Must be called within a tokio runtime.
    pub(crate) fn start(context: WriterContext) -> Self {
        let (queue, messages) = mpsc::channel(WRITER_QUEUE_MAX);
        let ledger = Arc::clone(&context.ledger);
        WriterHandle { queue, ledger, task: Mutex::new(Some(tokio::spawn(commit::run(context, messages)))) }
    }

    /// Commits a change: it is durable when this returns.
    pub(crate) async fn commit<C: Change>(&self, change: C) -> Result<C::Outcome, VaultError> {
        let (change, outcome) = PendingChange::new(change);
        self.send(Message::Change(change)).await?;
        outcome.await.unwrap_or(Err(VaultError::Stopped))
    }

    /// Reads the ledger again if a failed commit has left it uncertain. It is that of the store when this returns.
    pub(crate) async fn sync_ledger(&self) -> Result<(), VaultError> {
        if self.ledger.is_stale() { self.commit(ReloadLedger).await } else { Ok(()) }
    }

    /// Commits what is in the queue and then `last`, closes the store, and waits for the writer's end.
    pub(crate) async fn stop(&self, last: impl Change) -> Result<(), VaultError> {
        let (reply, stopped) = oneshot::channel();
        let (last, _) = PendingChange::new(last);
        let stopped = match self.send(Message::Stop { last, reply }).await {
            Ok(()) => stopped.await.unwrap_or(Err(VaultError::Stopped)),
            Err(failed) => Err(failed),
        };
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(panicked) = task.await
        {
            error!(error = %panicked, "the vault's writer task panicked");
        }
        stopped
    }

    async fn send(&self, message: Message) -> Result<(), VaultError> {
        let wait = Duration::from_secs(QUEUE_WAIT_SECONDS_MAX);
        self.queue.send_timeout(message, wait).await.map_err(|refused| match refused {
            mpsc::error::SendTimeoutError::Timeout(_) => VaultError::Overloaded,
            mpsc::error::SendTimeoutError::Closed(_) => VaultError::Stopped,
        })
    }
}
