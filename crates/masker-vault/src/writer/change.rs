//! Changes, and what the writer's queue holds.

use tokio::sync::oneshot;

use super::{draft::CommitDraft, queue::Lane, reads::ReadPlan};
use crate::{VaultError, keys::CurrentKeys};

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

    /// Returns the lane of the queue that the change waits in.
    fn lane(&self) -> Lane;

    /// Returns whether the change needs a group for itself: the changes before it are durable when it is decided.
    fn runs_alone(&self) -> bool {
        false
    }

    /// Names the rows that [`Change::decide`] needs.
    fn plan_reads(&mut self, _plan: &mut ReadPlan<'_>) {}

    /// Adds the rows to write to the draft, which has the rows that the change named.
    fn decide(&mut self, draft: &mut CommitDraft<'_>) -> Self::Outcome;

    /// Runs once the change is durable, before its outcome is sent and before the next group is decided.
    fn committed(&self, _outcome: &Self::Outcome, _keys: &CurrentKeys) {}
}

/// A change without its type, with the channel that its outcome goes to.
pub(super) trait QueuedChange: Send {
    fn row_count(&self) -> usize;
    fn lane(&self) -> Lane;
    fn runs_alone(&self) -> bool;
    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>);
    fn decide(&mut self, draft: &mut CommitDraft<'_>);
    fn committed(&self, keys: &CurrentKeys);
    fn answer(self: Box<Self>, committed: &Result<(), VaultError>);
}

pub(super) struct PendingChange<C: Change> {
    change: C,
    /// Sent once the group is durable.
    outcome: Option<C::Outcome>,
    reply: oneshot::Sender<Result<C::Outcome, VaultError>>,
}

impl<C: Change> PendingChange<C> {
    pub(super) fn new(change: C) -> (Box<Self>, oneshot::Receiver<Result<C::Outcome, VaultError>>) {
        let (reply, outcome) = oneshot::channel();
        (Box::new(PendingChange { change, outcome: None, reply }), outcome)
    }
}

impl<C: Change> QueuedChange for PendingChange<C> {
    fn row_count(&self) -> usize {
        self.change.row_count()
    }

    fn lane(&self) -> Lane {
        self.change.lane()
    }

    fn runs_alone(&self) -> bool {
        self.change.runs_alone()
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        self.change.plan_reads(plan);
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) {
        self.outcome = Some(self.change.decide(draft));
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
pub(super) enum Message {
    Change(Box<dyn QueuedChange>),
    /// The last one: commits a change, closes the store and ends the writer.
    Stop {
        last: Box<dyn QueuedChange>,
        reply: oneshot::Sender<Result<(), VaultError>>,
    },
}
