//! The place of a connection: what it does now, and whether another one has displaced it.
//!
//! A request changes it with a few atomic operations and takes no lock. [`masker_access::ShareLedger`] reads it where
//! connections or memory have run out.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use futures_util::task::AtomicWaker;
use nix::time::{ClockId, clock_gettime};

use super::{problem::Problem, shares::ShareAccount};
use masker_access::{Activity, Displaceable};
use masker_types::{error_code::Code, limits::STALLED_MS_MIN};

/// What a connection does.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Between two requests.
    Idle,
    /// A request arrives, or waits to be admitted.
    Receiving,
    /// An operation is at work.
    Working,
    /// An answer is sent.
    Sending,
    /// Another connection needs its place.
    Displaced,
}

impl Phase {
    fn of(number: u8) -> Self {
        [Phase::Idle, Phase::Receiving, Phase::Working, Phase::Sending][..]
            .iter()
            .find(|phase| **phase as u8 == number)
            .map_or(Phase::Displaced, |phase| *phase)
    }
}

/// The place of a connection.
pub(super) struct Seat {
    phase: AtomicU8,
    /// When bytes were exchanged the last time, in milliseconds.
    active_ms: AtomicU64,
    /// The last answer is in the connection's buffer as a whole.
    answer_ended: AtomicBool,
    /// The client may read the answer as slowly as it likes.
    may_be_slow: AtomicBool,
    /// Bytes of an answer wait for the client to read.
    unsent: AtomicBool,
    /// Wakes the connection's task.
    waker: AtomicWaker,
    pub(super) account: Arc<ShareAccount>,
}

impl Seat {
    pub(super) fn new(account: Arc<ShareAccount>) -> Self {
        Seat {
            phase: AtomicU8::new(Phase::Idle as u8),
            active_ms: AtomicU64::new(now_ms()),
            answer_ended: AtomicBool::new(true),
            may_be_slow: AtomicBool::new(false),
            unsent: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            account,
        }
    }

    /// Returns the waker that [`Displaceable::displace`] wakes.
    pub(super) fn waker(&self) -> &AtomicWaker {
        &self.waker
    }

    /// Notes that bytes were exchanged.
    pub(super) fn note_bytes(&self) {
        self.active_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Notes that bytes of a request arrived.
    pub(super) fn note_bytes_read(&self) {
        self.note_bytes();
        self.change(Phase::Idle, Phase::Receiving);
    }

    /// Notes that a request has begun, also where its bytes arrived together with those of the one before.
    pub(super) fn note_request(&self) {
        self.change(Phase::Idle, Phase::Receiving);
    }

    /// Notes that bytes of an answer wait for the client, or that none do.
    pub(super) fn note_unsent(&self, unsent: bool) {
        self.unsent.store(unsent, Ordering::Relaxed);
    }

    /// Returns whether a part of an answer was sent, and the rest was not.
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent.load(Ordering::Relaxed) || self.has_more()
    }

    /// Returns whether more of the answer follows what is in the connection's buffer.
    pub(super) fn has_more(&self) -> bool {
        !self.answer_ended.load(Ordering::Relaxed)
    }

    /// Returns whether the client may read the answer as slowly as it likes.
    pub(super) fn may_be_slow(&self) -> bool {
        self.may_be_slow.load(Ordering::Relaxed)
    }

    /// Begins an operation. From then on, the connection cannot be displaced until [`OperationSlot`] is dropped.
    ///
    /// # Errors
    /// `overloaded` if it was displaced, or if the operations of its account take their part of the connections for long.
    pub(super) async fn begin_operation(self: &Arc<Self>) -> Result<OperationSlot, Problem> {
        self.account.begin_operation(self).await?;
        // Counts from here on: dropped, it gives back what was counted.
        let slot = OperationSlot(Arc::clone(self));
        let began = self.phase.fetch_update(Ordering::AcqRel, Ordering::Acquire, |phase| {
            (Phase::of(phase) != Phase::Displaced).then_some(Phase::Working as u8)
        });
        if began.is_err() { Err(displaced()) } else { Ok(slot) }
    }

    /// Notes that an answer is about to be sent: whether it is made while it is sent, and whether its client may be slow.
    pub(super) fn begin_answer(&self, is_streamed: bool, may_be_slow: bool) {
        self.may_be_slow.store(may_be_slow, Ordering::Relaxed);
        self.answer_ended.store(false, Ordering::Relaxed);
        self.change(Phase::Receiving, Phase::Sending);
        // A streamed answer is a part of its operation.
        if !is_streamed {
            self.change(Phase::Working, Phase::Sending);
        }
    }

    /// Notes that the whole answer is in the connection's buffer.
    pub(super) fn note_answer_ended(&self) {
        self.answer_ended.store(true, Ordering::Relaxed);
        // The operation of a streamed answer ends with it.
        self.change(Phase::Working, Phase::Sending);
    }

    /// Notes that the connection's buffer was sent. `reads_on` says whether a part of the next request has arrived.
    pub(super) fn note_flushed(&self, reads_on: bool) {
        self.note_unsent(false);
        if self.answer_ended.load(Ordering::Relaxed) {
            let next = if reads_on { Phase::Receiving } else { Phase::Idle };
            self.change(Phase::Sending, next);
        }
    }

    fn change(&self, from: Phase, to: Phase) {
        // Most of the time it is another phase, and a load is cheaper than an exchange.
        if self.phase.load(Ordering::Relaxed) == from as u8 {
            let _ = self.phase.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

impl Displaceable for Seat {
    fn activity(&self, now_ms: u64) -> Activity {
        let since = self.active_ms.load(Ordering::Relaxed);
        let is_stalled = now_ms.saturating_sub(since) >= STALLED_MS_MIN;
        match Phase::of(self.phase.load(Ordering::Acquire)) {
            Phase::Working => Activity::Working,
            Phase::Receiving | Phase::Sending if !is_stalled => Activity::Moving(since),
            Phase::Idle | Phase::Receiving | Phase::Sending | Phase::Displaced => Activity::Idle(since),
        }
    }

    fn displace(&self) -> bool {
        let displaced = self.phase.fetch_update(Ordering::AcqRel, Ordering::Acquire, |phase| {
            (Phase::of(phase) != Phase::Working).then_some(Phase::Displaced as u8)
        });
        self.waker.wake();
        displaced.is_ok()
    }

    fn is_displaced(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == Phase::Displaced as u8
    }
}

/// An operation at work. Dropped with the operation, which can be after the connection has ended.
pub(super) struct OperationSlot(Arc<Seat>);

impl Drop for OperationSlot {
    fn drop(&mut self) {
        self.0.account.end_operation();
    }
}

/// Returns the problem of a request whose connection was displaced. It had no effect.
pub(super) fn displaced() -> Problem {
    Problem::unread(Code::Overloaded, "this request waited for its client, and another one needed its place; try again")
}

/// Returns a monotonic time in milliseconds, exact to a few of them, which takes no system call.
pub(super) fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)
        .map_or(0, |now| now.tv_sec() * 1_000 + now.tv_nsec() / 1_000_000);
    u64::try_from(now).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::Shares;
    use masker_access::ShareHolder;
    use masker_types::share::Share;

    fn seat() -> Arc<Seat> {
        let shares = Arc::new(Shares::default());
        Arc::new(Seat::new(shares.account((ShareHolder::User(7), Share::default()))))
    }

    fn begin(seat: &Arc<Seat>) -> Result<OperationSlot, Problem> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(seat.begin_operation())
    }

    #[test]
    fn an_operation_at_work_is_not_displaced_and_a_displaced_connection_begins_none() {
        let seat = seat();
        seat.note_bytes_read();
        let operation = begin(&seat).ok().expect("it is not displaced");
        assert_eq!(seat.activity(u64::MAX), Activity::Working);
        assert!(!seat.displace() && !seat.is_displaced());
        seat.begin_answer(false, false);
        drop(operation);
        assert!(seat.has_unsent() && seat.displace() && seat.is_displaced());
        assert_eq!(begin(&seat).err().map(|problem| problem.code), Some(Code::Overloaded));
        assert!(seat.displace(), "once more changes nothing");
    }

    #[test]
    fn a_connection_is_idle_once_its_answer_is_sent() {
        let seat = seat();
        let now = now_ms();
        assert!(matches!(seat.activity(now), Activity::Idle(_)));
        seat.note_bytes_read();
        assert!(matches!(seat.activity(now), Activity::Moving(_)), "a request arrives");
        assert!(matches!(seat.activity(now + STALLED_MS_MIN + 1_000), Activity::Idle(_)), "it has stalled");
        drop(begin(&seat));
        seat.begin_answer(false, false);
        seat.note_unsent(true);
        seat.note_flushed(false);
        assert!(seat.has_unsent(), "a part of the body may be missing");
        seat.note_answer_ended();
        seat.note_flushed(false);
        assert!(!seat.has_unsent() && matches!(seat.activity(now), Activity::Idle(_)));
    }

    #[test]
    fn a_streamed_answer_is_at_work_until_it_ends() {
        let seat = seat();
        seat.note_bytes_read();
        drop(begin(&seat));
        seat.begin_answer(true, true);
        seat.note_flushed(false);
        assert!(seat.may_be_slow() && !seat.displace());
        seat.note_answer_ended();
        seat.note_flushed(false);
        assert!(matches!(seat.activity(now_ms()), Activity::Idle(_)));
    }
}
