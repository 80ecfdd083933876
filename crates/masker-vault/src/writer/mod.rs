//! The one writer: group commit.
//!
//! Operations queue a [`Change`] and wait, in the [`Lane`] of their caller. The writer takes changes that have gathered, reads the rows that they
//! name, lets each decide what to write, commits everything as one atomic batch, makes it durable once, and answers all.
//! A change is decided under the keys in force at that moment and over the draft of the changes before it. So two
//! requests for one value get one token, and nothing prepared before the keys changed is written under a retired key.
//!
//! The writer does not know what its changes are for: each operation implements [`Change`] in its own module.

mod caller_estimate;
mod change;
mod commit;
mod draft;
mod queue;
mod reads;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{sync::oneshot, task::JoinHandle};
use tracing::error;

pub(crate) use change::Change;
pub(crate) use commit::WriterContext;
pub(crate) use draft::{CommitDraft, ROWS_PER_ERASURE};
pub(crate) use queue::Lane;
pub(crate) use reads::ReadPlan;

use self::{
    change::{Message, PendingChange, QueuedChange},
    queue::ChangeQueue,
};
use crate::VaultError;

/// Writes nothing. Committing it reads the ledger again where a failed commit has left that uncertain.
struct ReloadLedger;

impl Change for ReloadLedger {
    type Outcome = ();

    fn lane(&self) -> Lane {
        Lane::Control
    }

    fn decide(&mut self, _draft: &mut CommitDraft<'_>) {}
}

/// The requests' end of the writer's queue.
pub(crate) struct WriterHandle {
    queue: Arc<ChangeQueue>,
    context: Arc<WriterContext>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl WriterHandle {
    /// Starts the writer. Must be called within a tokio runtime.
    pub(crate) fn start(context: WriterContext) -> Self {
        let queue = Arc::new(ChangeQueue::default());
        let context = Arc::new(context);
        let task = tokio::spawn(commit::run(Arc::clone(&context), Arc::clone(&queue)));
        WriterHandle { queue, context, task: Mutex::new(Some(task)) }
    }

    /// Commits a change: it is durable when this returns.
    pub(crate) async fn commit<C: Change>(&self, change: C) -> Result<C::Outcome, VaultError> {
        let (change, outcome) = PendingChange::new(change);
        self.queue.push(Message::Change(change)).await?;
        outcome.await.unwrap_or(Err(VaultError::Stopped))
    }

    /// Decides a change as the writer would now, and writes nothing. Returns what a commit would return.
    pub(crate) async fn preview<C: Change>(&self, change: C) -> Result<C::Outcome, VaultError> {
        let (change, outcome) = PendingChange::new(change);
        let mut group: [Box<dyn QueuedChange>; 1] = [change];
        self.context.preview(&mut group).await?;
        let [change] = group;
        change.answer(&Ok(()));
        outcome.await.unwrap_or(Err(VaultError::Stopped))
    }

    /// Reads the ledger again if a failed commit has left it uncertain. It is that of the store when this returns.
    pub(crate) async fn sync_ledger(&self) -> Result<(), VaultError> {
        if self.context.ledger.is_stale() { self.commit(ReloadLedger).await } else { Ok(()) }
    }

    /// Commits what is in the queue and then `last`, closes the store, and waits for the writer's end.
    pub(crate) async fn stop(&self, last: impl Change) -> Result<(), VaultError> {
        let (reply, stopped) = oneshot::channel();
        let (last, _) = PendingChange::new(last);
        let stopped = match self.queue.push(Message::Stop { last, reply }).await {
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
}

impl Drop for WriterHandle {
    /// Lets the writer end once it has committed what waits.
    fn drop(&mut self) {
        self.queue.close();
    }
}
