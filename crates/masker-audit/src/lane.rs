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

use super::{error::AuditError, event::Event, group::Group, shared::lock, writer::Batch};

/// How many lanes a log has. Threads beyond them share: that is slower, and no less right.
const LANES: usize = 32;

/// The lanes of a log.
#[derive(Default)]
pub(super) struct Lanes([Lane; LANES]);

impl Lanes {
    /// The lane of the thread that asks.
    pub(super) fn of_this_thread(&self) -> &Lane {
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
pub(super) struct Lane(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    batch: Batch,
    /// Those who wait for what is in the batch.
    group: Option<Group>,
}

/// What came of an event that was handed in.
pub(super) enum Entered {
    /// It is the first: the caller is to write what has come, once others had their chance.
    First(Group),
    /// Somebody else writes it.
    Later(Group),
}

impl Lane {
    /// Takes an event in.
    pub(super) fn enter(&self, event: &Event<'_>) -> Result<Entered, AuditError> {
        let mut waiting = lock(&self.0);
        waiting.batch.push(event)?;
        Ok(match &waiting.group {
            Some(group) => Entered::Later(group.clone()),
            None => Entered::First(waiting.group.insert(Group::default()).clone()),
        })
    }

    /// What has come, if anything has. The next event is the first again.
    pub(super) fn take(&self) -> Option<(Batch, Group)> {
        let mut waiting = lock(&self.0);
        let group = waiting.group.take()?;
        Some((mem::take(&mut waiting.batch), group))
    }

    /// Gives buffers back while they are warm.
    pub(super) fn give_back(&self, mut batch: Batch) {
        let mut waiting = lock(&self.0);
        if waiting.group.is_none() {
            batch.clear();
            waiting.batch = batch;
        }
    }
}
