//! Lanes: where the events of one thread come together, so that one write takes them all.
//!
//! A thread that serves connections works on every request that is ready before it asks for more. The first of them with
//! an event lets the others go ahead and then writes for all: one lock and one write in place of many, and nobody is woken
//! from another thread.

use std::{
    mem,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{error::AuditError, event::AuditEvent, state::lock, write_group::WriteGroup, writer::EventBatch};

/// How many lanes a log has. Threads beyond them share: that is slower, and no less right.
const LANES: usize = 32;

/// The lanes of a log.
#[derive(Default)]
pub(super) struct ThreadBatches([ThreadBatch; LANES]);

impl ThreadBatches {
    /// The lane of the thread that asks.
    pub(super) fn current_thread(&self) -> &ThreadBatch {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static PLACE: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        &self.0[PLACE.with(|place| *place) % LANES]
    }
}

/// Events that have come to one thread. Aligned, so that no two share a line of the processors' caches.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct ThreadBatch(Mutex<PendingEvents>);

#[derive(Default)]
struct PendingEvents {
    batch: EventBatch,
    /// Those who wait for what is in the batch.
    group: Option<WriteGroup>,
}

/// What came of an event that was handed in.
pub(super) enum Enqueued {
    /// It is the first: the caller is to write what has come, once others had their chance.
    First(WriteGroup),
    /// Somebody else writes it.
    Later(WriteGroup),
}

impl ThreadBatch {
    /// Takes an event in.
    pub(super) fn enter(&self, event: &AuditEvent<'_>) -> Result<Enqueued, AuditError> {
        let mut waiting = lock(&self.0);
        waiting.batch.push(event)?;
        Ok(match &waiting.group {
            Some(group) => Enqueued::Later(group.clone()),
            None => Enqueued::First(waiting.group.insert(WriteGroup::default()).clone()),
        })
    }

    /// What has come, if anything has. The next event is the first again.
    pub(super) fn take(&self) -> Option<(EventBatch, WriteGroup)> {
        let mut waiting = lock(&self.0);
        let group = waiting.group.take()?;
        Some((mem::take(&mut waiting.batch), group))
    }

    /// Gives buffers back while they are warm.
    pub(super) fn give_back(&self, mut batch: EventBatch) {
        let mut waiting = lock(&self.0);
        if waiting.group.is_none() {
            batch.clear();
            waiting.batch = batch;
        }
    }
}
