//! Thread batches: the events of one thread, collected so that one write takes them all.
//!
//! A thread that serves connections polls every request that is ready before it waits for more. The first request with an
//! event lets the others go ahead and then writes for all: one lock and one write in place of many, and no thread wakes
//! another.

use std::{mem, sync::atomic::AtomicUsize};

use super::{
    sync::{Mutex, Ordering, lock},
    write_group::WriteGroup,
};

/// The number of batches of a log. More threads than this share batches, which is slower but correct.
const THREAD_BATCHES: usize = 32;

/// The batches of a log.
#[derive(Default)]
pub(super) struct ThreadBatches<B>([ThreadBatch<B>; THREAD_BATCHES]);

impl<B> ThreadBatches<B> {
    /// Returns the batch of the calling thread.
    pub(super) fn current_thread(&self) -> &ThreadBatch<B> {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static INDEX: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        &self.0[INDEX.with(|index| *index) % THREAD_BATCHES]
    }
}

/// The events of one thread that wait to be written. Aligned, so that no two batches share a cache line.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct ThreadBatch<B>(Mutex<PendingEvents<B>>);

#[derive(Default)]
struct PendingEvents<B> {
    batch: B,
    /// The requests of the events in the batch.
    group: Option<WriteGroup>,
}

/// The position of an event in its batch.
pub(super) enum Enqueued {
    /// It is the first: its request writes the batch once the other tasks of the thread had their turn.
    First(WriteGroup),
    /// Another request writes it.
    Later(WriteGroup),
}

impl<B: Default> ThreadBatch<B> {
    /// Adds an event with `push`.
    ///
    /// # Errors
    /// The error of `push`, which then must leave the batch as it was.
    pub(super) fn enqueue<E>(&self, push: impl FnOnce(&mut B) -> Result<(), E>) -> Result<Enqueued, E> {
        let mut pending = lock(&self.0);
        push(&mut pending.batch)?;
        Ok(match &pending.group {
            Some(group) => Enqueued::Later(group.clone()),
            None => Enqueued::First(pending.group.insert(WriteGroup::default()).clone()),
        })
    }

    /// Takes the events and their group, if there are any. The next event is a first one again.
    pub(super) fn take(&self) -> Option<(B, WriteGroup)> {
        let mut pending = lock(&self.0);
        let group = pending.group.take()?;
        Some((mem::take(&mut pending.batch), group))
    }

    /// Returns the buffers of an empty batch while they are in the cache.
    pub(super) fn reuse(&self, empty: B) {
        let mut pending = lock(&self.0);
        if pending.group.is_none() {
            pending.batch = empty;
        }
    }
}
