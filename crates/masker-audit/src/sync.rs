//! The locks, atomics and notifications of the flushing protocol.
//!
//! `flush`, `thread_batch` and `write_group` take theirs from here, so that the model in `tests/model` can compile the same
//! files against loom.

use std::{sync::PoisonError, time::Duration};

pub(super) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};
pub(super) use tokio::sync::Notify;

/// Locks `mutex`, also after a panic: the writer changes its state only after a write has ended, so no lock guards data
/// that a panic leaves half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar` until `condition` is false or the time is over.
pub(super) fn wait_timeout_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    condvar.wait_timeout_while(guard, timeout, condition).unwrap_or_else(PoisonError::into_inner).0
}
