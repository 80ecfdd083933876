//! The primitives of `crate::sync`, from loom: it runs a test with every interleaving of its threads, up to a number of
//! preemptions, and finds deadlocks.

use std::{
    future::Future,
    pin::Pin,
    sync::PoisonError,
    task::{Context, Poll, Waker},
    time::Duration,
};

use masker_types::limits::AUDIT_RETRY_PAUSE_MS;

pub(super) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the pause after a failure at once, and no other one: a thread that is not notified then waits forever, which loom
/// reports as a deadlock.
pub(super) fn wait_timeout_while<'a, T>(
    condvar: &Condvar,
    mut guard: MutexGuard<'a, T>,
    timeout: Duration,
    mut condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    if timeout == Duration::from_millis(AUDIT_RETRY_PAUSE_MS) {
        return guard;
    }
    while condition(&mut guard) {
        guard = condvar.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
    guard
}

/// What [`tokio::sync::Notify`] promises about `notified` and `notify_waiters`, in terms of a lock.
#[derive(Default)]
pub(super) struct Notify(Mutex<NotifyState>);

#[derive(Default)]
struct NotifyState {
    notifications: u64,
    wakers: Vec<Waker>,
}

impl Notify {
    pub(super) fn notified(&self) -> Notified<'_> {
        Notified { notify: self, created_at: lock(&self.0).notifications }
    }

    pub(super) fn notify_waiters(&self) {
        let wakers = {
            let mut state = lock(&self.0);
            state.notifications += 1;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

pub(super) struct Notified<'a> {
    notify: &'a Notify,
    created_at: u64,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.notify.0);
        if state.notifications > self.created_at {
            return Poll::Ready(());
        }
        state.wakers.push(context.waker().clone());
        Poll::Pending
    }
}
