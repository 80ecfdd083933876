//! The writer's queue: changes wait in lanes, and a caller with little waits for little.
//!
//! Control changes come first. The others share the writer by rows: each caller has a lane, and of the first changes of all
//! lanes the one is next that would end first if the writer served all lanes at once, at the same speed (fair queueing:
//! Demers, Keshav and Shenker, "Analysis and Simulation of a Fair Queueing Algorithm", 1989; as virtual time counts the start
//! of the change that was taken last). So a small change of a caller who has nothing else waiting is among the next to be
//! taken, however much others have waiting.
//!
//! A lane is bounded, and so are all together. Changes for which there is no room wait outside, and enter in order as
//! soon as there is room in their lane.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use super::change::{Message, QueuedChange};
use crate::VaultError;
use masker_access::CallerId;
use masker_types::limits::{QUEUE_WAIT_SECONDS_MAX, WRITER_LANE_MAX, WRITER_QUEUE_MAX};

/// Whose changes wait one after another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Changes of what callers may do, and of what the vault remembers: small, and ahead of all others.
    Control,
    /// Work that an operator has begun: rotations, imports, purges.
    Background,
    /// The values of one caller.
    Caller(CallerId),
}

/// The queue. Requests push, and the writer takes.
#[derive(Default)]
pub(super) struct ChangeQueue {
    state: Mutex<ChangeQueueState>,
    /// Notified when something was pushed, or the queue was closed.
    pushed: Notify,
}

#[derive(Default)]
struct ChangeQueueState {
    control: VecDeque<Message>,
    lanes: BTreeMap<Lane, LaneState>,
    /// How many messages the queue holds.
    waiting: usize,
    /// Changes for which there was no room, in their order.
    outside: VecDeque<OutsideChange>,
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

/// A change that waits for room. Its requester is notified when it has entered, and is gone if the channel is closed.
struct OutsideChange {
    lane: Lane,
    change: Box<dyn QueuedChange>,
    admitted: oneshot::Sender<()>,
}

impl ChangeQueue {
    /// Adds a message, when there is room for it.
    ///
    /// # Errors
    /// [`VaultError::Overloaded`] if there is no room for [`QUEUE_WAIT_SECONDS_MAX`], and [`VaultError::Stopped`] once the queue
    /// is closed.
    pub(super) async fn push(&self, message: Message) -> Result<(), VaultError> {
        let Some(mut admitted) = self.state().push(message)? else {
            self.pushed.notify_one();
            return Ok(());
        };
        match timeout(Duration::from_secs(QUEUE_WAIT_SECONDS_MAX), &mut admitted).await {
            Ok(admitted) => admitted.map_err(|_| VaultError::Stopped),
            Err(_) => {
                // Closed under the lock, so that it does not come in any more unless it is in already.
                let _state = self.state();
                admitted.close();
                admitted.try_recv().map_err(|_| VaultError::Overloaded)
            }
        }
    }

    /// Waits for a message. Returns `None` once the queue is closed and empty.
    pub(super) async fn next(&self) -> Option<Message> {
        loop {
            let pushed = self.pushed.notified();
            {
                let mut state = self.state();
                if let Some(message) = state.next() {
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
        self.state().next()
    }

    /// Returns how many messages wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting
    }

    /// Makes every later push fail.
    pub(super) fn close(&self) {
        self.state().close();
        self.pushed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, ChangeQueueState> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChangeQueueState {
    /// Adds a message, or has it wait outside if there is no room for it. Then it returns what tells when the message is in.
    fn push(&mut self, message: Message) -> Result<Option<oneshot::Receiver<()>>, VaultError> {
        if self.closed {
            return Err(VaultError::Stopped);
        }
        match message {
            Message::Stop { .. } => {
                self.waiting += 1;
                self.control.push_back(message);
                // Nothing comes after it.
                self.close();
                Ok(None)
            }
            Message::Change(change) => {
                let lane = change.lane();
                self.outside.retain(|change| !change.admitted.is_closed());
                if self.has_room(&lane) && !self.outside.iter().any(|earlier| earlier.lane == lane) {
                    self.add(lane, change);
                    return Ok(None);
                }
                let (admitted, notice) = oneshot::channel();
                self.outside.push_back(OutsideChange { lane, change, admitted });
                Ok(Some(notice))
            }
        }
    }

    fn close(&mut self) {
        self.closed = true;
        // Those who wait hear it.
        self.outside.clear();
    }

    /// Returns whether a change may be added. Control changes always have room: each is of one request, and requests are
    /// bounded.
    fn has_room(&self, lane: &Lane) -> bool {
        let in_lane = self.lanes.get(lane).map_or(0, |lane| lane.changes.len());
        *lane == Lane::Control || (in_lane < WRITER_LANE_MAX && self.waiting < WRITER_QUEUE_MAX)
    }

    fn add(&mut self, lane: Lane, change: Box<dyn QueuedChange>) {
        self.waiting += 1;
        if lane == Lane::Control {
            self.control.push_back(Message::Change(change));
            return;
        }
        let rows = u64::try_from(change.row_count()).unwrap_or(u64::MAX);
        let state = self.lanes.entry(lane).or_default();
        let begins = state.ends.max(self.now);
        state.ends = begins.saturating_add(rows.max(1));
        state.changes.push_back(WaitingChange { begins, ends: state.ends, change });
    }

    /// Takes the next message, and lets in what waits outside and now has room.
    fn next(&mut self) -> Option<Message> {
        let next = self.take()?;
        for outside in std::mem::take(&mut self.outside) {
            if !self.has_room(&outside.lane) {
                self.outside.push_back(outside);
            } else if outside.admitted.send(()).is_ok() {
                self.add(outside.lane, outside.change);
            }
        }
        Some(next)
    }

    /// Takes the next message. The one that stops the writer is the last.
    fn take(&mut self) -> Option<Message> {
        if let Some(Message::Change(_)) = self.control.front() {
            self.waiting -= 1;
            return self.control.pop_front();
        }
        let firsts = self.lanes.iter().filter_map(|(lane, state)| Some((state.changes.front()?.ends, lane)));
        let Some(lane) = firsts.min().map(|(_, lane)| lane.clone()) else {
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
            self.0.clone()
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

    fn caller(name: u32) -> Lane {
        Lane::Caller(CallerId::Client(name.to_string().into(), 1))
    }

    fn few() -> Lane {
        Lane::Caller(CallerId::Client("few".into(), 1))
    }

    #[tokio::test]
    async fn a_single_mint_is_next_however_much_waits() {
        let queue = ChangeQueue::default();
        for number in 0..30 {
            for _ in 0..8 {
                push(&queue, caller(number), 30_000).await;
            }
        }
        push(&queue, Lane::Background, 2_560).await;
        push(&queue, few(), 3).await;
        assert_eq!(taken(&queue, 2), [(few(), 3), (Lane::Background, 2_560)]);
        for served in 0..60 {
            taken(&queue, 1);
            push(&queue, few(), 3).await;
            assert_eq!(taken(&queue, 1), [(few(), 3)], "after {served}");
        }
    }

    #[tokio::test]
    async fn control_changes_come_first_and_in_order() {
        let queue = ChangeQueue::default();
        push(&queue, few(), 1).await;
        push(&queue, Lane::Control, 70).await;
        push(&queue, Lane::Control, 1).await;
        assert_eq!(taken(&queue, 3), [(Lane::Control, 70), (Lane::Control, 1), (few(), 1)]);
    }

    #[tokio::test]
    async fn callers_share_the_writer_by_rows() {
        let queue = ChangeQueue::default();
        for _ in 0..200 {
            push(&queue, caller(1), 3).await;
        }
        for _ in 0..20 {
            push(&queue, caller(2), 30).await;
        }
        let first: Vec<(Lane, usize)> = taken(&queue, 110);
        let rows = |lane| first.iter().filter(|(one, _)| *one == lane).map(|(_, rows)| rows).sum::<usize>();
        assert_eq!((rows(caller(1)), rows(caller(2))), (300, 300));
        // Those of one caller keep their order, and a caller who comes back after a pause gets no arrears.
        taken(&queue, 110);
        push(&queue, caller(2), 30).await;
        push(&queue, caller(3), 30).await;
        assert_eq!(taken(&queue, 2), [(caller(2), 30), (caller(3), 30)]);
    }

    #[tokio::test]
    async fn a_full_lane_waits_and_leaves_room_for_others() {
        let queue = ChangeQueue::default();
        for _ in 0..WRITER_LANE_MAX {
            push(&queue, caller(1), 3).await;
        }
        let mut waiting = std::pin::pin!(push(&queue, caller(1), 3));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        push(&queue, caller(2), 3).await;
        push(&queue, Lane::Control, 3).await;
        taken(&queue, 3);
        waiting.await;
        assert_eq!(queue.waiting(), WRITER_LANE_MAX);
    }

    /// Changes of a full lane enter in order, and before those that come when there is room again.
    #[tokio::test]
    async fn changes_that_wait_for_room_keep_their_order() {
        let queue = ChangeQueue::default();
        for _ in 0..WRITER_LANE_MAX {
            push(&queue, caller(1), 100).await;
        }
        let context = &mut Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> = (1..=4).map(|rows| Box::pin(push(&queue, caller(1), rows))).collect();
        for one in &mut waiting {
            assert!(one.as_mut().poll(context).is_pending());
        }
        // The second one does not wait any longer.
        drop(waiting.remove(1));
        taken(&queue, 1);
        let mut late = Box::pin(push(&queue, caller(1), 5));
        assert!(late.as_mut().poll(context).is_pending(), "it has overtaken those that wait");
        // Asked in another order than they came.
        let answers: Vec<bool> = waiting.iter_mut().rev().map(|one| one.as_mut().poll(context).is_ready()).collect();
        assert_eq!(answers, [false, false, true]);
        taken(&queue, WRITER_LANE_MAX - 1);
        assert_eq!(taken(&queue, 4), [1, 3, 4, 5].map(|rows| (caller(1), rows)));
        assert!(queue.try_next().is_none());
    }

    #[tokio::test]
    async fn those_who_wait_for_room_hear_that_the_queue_is_closed() {
        let queue = ChangeQueue::default();
        for _ in 0..WRITER_LANE_MAX {
            push(&queue, few(), 3).await;
        }
        let change = Message::Change(PendingChange::new(Rows(few(), 3)).0);
        let mut waiting = std::pin::pin!(queue.push(change));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        queue.close();
        assert!(matches!(waiting.await, Err(VaultError::Stopped)));
    }

    #[tokio::test]
    async fn a_closed_queue_gives_what_it_has_and_takes_nothing() {
        let queue = ChangeQueue::default();
        push(&queue, few(), 3).await;
        queue.close();
        let change = Message::Change(PendingChange::new(Rows(few(), 3)).0);
        assert!(matches!(queue.push(change).await, Err(VaultError::Stopped)));
        assert!(queue.next().await.is_some() && queue.next().await.is_none());
    }
}
