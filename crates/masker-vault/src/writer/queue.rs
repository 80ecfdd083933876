//! The writer's queue: changes wait in lanes, and a caller with little waits for little.
//!
//! Control changes come first. The others share the writer by rows: each caller has a lane, and of the first changes of all
//! lanes the one is next that would end first if the writer served all lanes at once, at the same speed (fair queueing:
//! Demers, Keshav and Shenker, "Analysis and Simulation of a Fair Queueing Algorithm", 1989; as virtual time counts the start
//! of the change that was taken last). So a small change of a caller who has nothing else waiting is among the next to be
//! taken, however much others have waiting.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::change::{Message, QueuedChange};
use crate::VaultError;
use masker_types::limits::{QUEUE_WAIT_SECONDS_MAX, WRITER_LANE_MAX, WRITER_QUEUE_MAX};

/// Whose changes wait one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Changes of what callers may do, and of what the vault remembers: small, and ahead of all others.
    Control,
    /// Work that an operator has begun: rotations, imports, purges.
    Background,
    /// The values of one caller, by [`Permit::caller_number`](masker_access::Permit::caller_number).
    Caller(u64),
}

/// The queue. Requests push, and the writer takes.
#[derive(Default)]
pub(super) struct ChangeQueue {
    state: Mutex<QueueState>,
    /// Notified when something was pushed, or the queue was closed.
    pushed: Notify,
    /// Notified when something was taken, or the queue was closed.
    taken: Notify,
}

#[derive(Default)]
struct QueueState {
    control: VecDeque<Message>,
    lanes: BTreeMap<Lane, LaneState>,
    waiting: usize,
    /// The virtual time, in rows: when the change that was taken last began.
    now: u64,
    closed: bool,
}

#[derive(Default)]
struct LaneState {
    changes: VecDeque<WaitingChange>,
    /// When the last change of the lane ends, in virtual time.
    ends: u64,
}

struct WaitingChange {
    begins: u64,
    ends: u64,
    change: Box<dyn QueuedChange>,
}

impl ChangeQueue {
    /// Adds a message, when there is room for it.
    ///
    /// # Errors
    /// [`VaultError::Overloaded`] if there is no room for [`QUEUE_WAIT_SECONDS_MAX`], and [`VaultError::Stopped`] once the queue
    /// is closed.
    pub(super) async fn push(&self, message: Message) -> Result<(), VaultError> {
        let mut message = Some(message);
        let pushed = timeout(Duration::from_secs(QUEUE_WAIT_SECONDS_MAX), async {
            loop {
                // Registered before the check, so that room that comes in between is not missed.
                let mut taken = std::pin::pin!(self.taken.notified());
                taken.as_mut().enable();
                if self.state().push(&mut message)? {
                    self.pushed.notify_one();
                    return Ok(());
                }
                taken.await;
            }
        });
        pushed.await.unwrap_or(Err(VaultError::Overloaded))
    }

    /// Waits for a message. Returns `None` once the queue is closed and empty.
    pub(super) async fn next(&self) -> Option<Message> {
        loop {
            let pushed = self.pushed.notified();
            {
                let mut state = self.state();
                if let Some(message) = state.next() {
                    drop(state);
                    self.taken.notify_waiters();
                    return Some(message);
                }
                if state.closed {
                    return None;
                }
            }
            pushed.await;
        }
    }

    /// Returns the next message, if there is one.
    pub(super) fn try_next(&self) -> Option<Message> {
        let message = self.state().next()?;
        self.taken.notify_waiters();
        Some(message)
    }

    /// Returns how many messages wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting
    }

    /// Makes every later push fail.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.pushed.notify_one();
        self.taken.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    /// Takes the message if there is room for it. Returns whether there was.
    fn push(&mut self, message: &mut Option<Message>) -> Result<bool, VaultError> {
        if self.closed {
            return Err(VaultError::Stopped);
        }
        let lane = match message {
            Some(Message::Change(change)) => change.lane(),
            Some(Message::Stop { .. }) => Lane::Control,
            None => return Ok(true),
        };
        // Control changes always have room: each is of one request, and requests are bounded.
        let in_lane = self.lanes.get(&lane).map_or(0, |lane| lane.changes.len());
        if lane != Lane::Control && (in_lane >= WRITER_LANE_MAX || self.waiting >= WRITER_QUEUE_MAX) {
            return Ok(false);
        }
        self.waiting += 1;
        // Nothing comes after it.
        self.closed |= matches!(message, Some(Message::Stop { .. }));
        match message.take() {
            Some(Message::Change(change)) if lane != Lane::Control => {
                let rows = u64::try_from(change.row_count()).unwrap_or(u64::MAX);
                let state = self.lanes.entry(lane).or_default();
                let begins = state.ends.max(self.now);
                state.ends = begins.saturating_add(rows.max(1));
                state.changes.push_back(WaitingChange { begins, ends: state.ends, change });
            }
            message => self.control.extend(message),
        }
        Ok(true)
    }

    /// Takes the next message. The one that stops the writer is the last.
    fn next(&mut self) -> Option<Message> {
        if let Some(Message::Change(_)) = self.control.front() {
            self.waiting -= 1;
            return self.control.pop_front();
        }
        let firsts = self.lanes.iter().filter_map(|(lane, state)| Some((state.changes.front()?.ends, *lane)));
        let Some((_, lane)) = firsts.min() else {
            let last = self.control.pop_front()?;
            self.waiting -= 1;
            return Some(last);
        };
        let taken = self.lanes.get_mut(&lane)?.changes.pop_front()?;
        self.waiting -= 1;
        self.now = self.now.max(taken.begins);
        // A lane that is not ahead of the others needs no memory of what it had.
        let now = self.now;
        self.lanes.retain(|_, state| !state.changes.is_empty() || state.ends > now);
        if self.waiting == 0 {
            self.lanes.clear();
            self.now = 0;
        }
        Some(Message::Change(taken.change))
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;
    use crate::writer::{
        change::{Change, PendingChange},
        draft::CommitDraft,
    };

    struct Rows(Lane, usize);

    impl Change for Rows {
        type Outcome = ();

        fn row_count(&self) -> usize {
            self.1
        }

        fn lane(&self) -> Lane {
            self.0
        }

        fn decide(&mut self, _draft: &mut CommitDraft<'_>) {}
    }

    async fn push(queue: &ChangeQueue, lane: Lane, rows: usize) {
        queue.push(Message::Change(PendingChange::new(Rows(lane, rows)).0)).await.unwrap();
    }

    /// Takes messages, and returns the lanes and rows of their changes.
    fn taken(queue: &ChangeQueue, count: usize) -> Vec<(Lane, usize)> {
        let next = |_| match queue.try_next().unwrap() {
            Message::Change(change) => (change.lane(), change.row_count()),
            Message::Stop { .. } => panic!("it is not stopped"),
        };
        (0..count).map(next).collect()
    }

    const FEW: Lane = Lane::Caller(u64::MAX);

    #[tokio::test]
    async fn a_single_mint_is_next_however_much_waits() {
        let queue = ChangeQueue::default();
        for caller in 0..30 {
            for _ in 0..8 {
                push(&queue, Lane::Caller(caller), 30_000).await;
            }
        }
        push(&queue, Lane::Background, 2_560).await;
        push(&queue, FEW, 3).await;
        assert_eq!(taken(&queue, 2), [(FEW, 3), (Lane::Background, 2_560)]);
        for served in 0..60 {
            taken(&queue, 1);
            push(&queue, FEW, 3).await;
            assert_eq!(taken(&queue, 1), [(FEW, 3)], "after {served}");
        }
    }

    #[tokio::test]
    async fn control_changes_come_first_and_in_order() {
        let queue = ChangeQueue::default();
        push(&queue, FEW, 1).await;
        push(&queue, Lane::Control, 70).await;
        push(&queue, Lane::Control, 1).await;
        assert_eq!(taken(&queue, 3), [(Lane::Control, 70), (Lane::Control, 1), (FEW, 1)]);
    }

    #[tokio::test]
    async fn callers_share_the_writer_by_rows() {
        let queue = ChangeQueue::default();
        for _ in 0..200 {
            push(&queue, Lane::Caller(1), 3).await;
        }
        for _ in 0..20 {
            push(&queue, Lane::Caller(2), 30).await;
        }
        let first: Vec<(Lane, usize)> = taken(&queue, 110);
        let rows = |lane| first.iter().filter(|(one, _)| *one == lane).map(|(_, rows)| rows).sum::<usize>();
        assert_eq!((rows(Lane::Caller(1)), rows(Lane::Caller(2))), (300, 300));
        // Those of one caller keep their order, and a caller who comes back after a pause gets no arrears.
        taken(&queue, 110);
        push(&queue, Lane::Caller(2), 30).await;
        push(&queue, Lane::Caller(3), 30).await;
        assert_eq!(taken(&queue, 2), [(Lane::Caller(2), 30), (Lane::Caller(3), 30)]);
    }

    #[tokio::test]
    async fn a_full_lane_waits_and_leaves_room_for_others() {
        let queue = ChangeQueue::default();
        for _ in 0..WRITER_LANE_MAX {
            push(&queue, Lane::Caller(1), 3).await;
        }
        let mut waiting = std::pin::pin!(push(&queue, Lane::Caller(1), 3));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        push(&queue, Lane::Caller(2), 3).await;
        push(&queue, Lane::Control, 3).await;
        taken(&queue, 3);
        waiting.await;
        assert_eq!(queue.waiting(), WRITER_LANE_MAX);
    }

    #[tokio::test]
    async fn a_closed_queue_gives_what_it_has_and_takes_nothing() {
        let queue = ChangeQueue::default();
        push(&queue, FEW, 3).await;
        queue.close();
        let change = Message::Change(PendingChange::new(Rows(FEW, 3)).0);
        assert!(matches!(queue.push(change).await, Err(VaultError::Stopped)));
        assert!(queue.next().await.is_some() && queue.next().await.is_none());
    }
}
