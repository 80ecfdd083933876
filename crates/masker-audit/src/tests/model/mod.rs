//! A model of the flushing protocol: `flush`, `thread_batch` and `write_group` are compiled here against loom, with a disk
//! that is a list of events. Under `SyncPolicy::Always` every request that returns `Ok` was written and synced before, and
//! every request returns.

mod sync;

#[allow(dead_code, clippy::duplicate_mod, reason = "the model compiles the same file against other primitives")]
#[path = "../../flush.rs"]
mod flush;
#[allow(dead_code, clippy::duplicate_mod, reason = "the model compiles the same file against other primitives")]
#[path = "../../thread_batch.rs"]
mod thread_batch;
#[allow(dead_code, clippy::duplicate_mod, reason = "the model compiles the same file against other primitives")]
#[path = "../../write_group.rs"]
mod write_group;

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use loom::{future::block_on, thread};
use masker_types::audit::{OnFailure, SyncPolicy};
use prometheus::IntCounter;

use self::{
    flush::{Batch, Flusher, Output},
    thread_batch::ThreadBatch,
};
use super::super::{chain::ChainHead, error::AuditError};

/// How many times the scheduler interrupts a thread that could continue, in one run. The mistake of completing a request
/// whose event was written during a sync takes two; the other scenarios find their mistakes with one, in a tenth of the
/// time. `LOOM_MAX_PREEMPTIONS` overrides both.
const FEW: usize = 1;
const MORE: usize = 2;

/// What happens in a run.
#[derive(Clone, Copy)]
struct Scenario {
    sync: SyncPolicy,
    /// Whether both requests add their events to one batch.
    share_batch: bool,
    /// Whether the first request is dropped after it was polled once.
    cancel_first: bool,
    /// Whether the disk has fallen behind.
    behind: bool,
    failing_writes: usize,
    failing_syncs: usize,
    /// Whether a segment is full after the first event.
    rotate: bool,
}

const PLAIN: Scenario = Scenario {
    sync: SyncPolicy::Always,
    share_batch: false,
    cancel_first: false,
    behind: false,
    failing_writes: 0,
    failing_syncs: 0,
    rotate: false,
};

type Event = u8;

/// The disk. Its lock is not loom's, so that checks of the model do not add interleavings.
struct Disk {
    scenario: Scenario,
    written: Vec<Event>,
    synced: usize,
}

type SharedDisk = Arc<Mutex<Disk>>;

fn take_fault(faults: &mut usize) -> io::Result<()> {
    if *faults == 0 {
        return Ok(());
    }
    *faults -= 1;
    Err(io::ErrorKind::StorageFull.into())
}

#[derive(Default)]
struct ModelBatch(Vec<Event>);

impl Batch for ModelBatch {
    fn events(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

struct ModelWriter {
    disk: SharedDisk,
    /// The events that a sync in progress, or the last good one, covers.
    covered: usize,
    suspect: bool,
}

/// What a sync covers: what was written when it began.
struct ModelFile {
    disk: SharedDisk,
    covered: usize,
}

impl ModelWriter {
    fn head(&self) -> ChainHead {
        ChainHead { sequence: self.disk.lock().unwrap().written.len() as u64, hash: [0; 32] }
    }

    fn sync_all(&mut self) {
        let mut disk = self.disk.lock().unwrap();
        disk.synced = disk.written.len();
        self.covered = disk.synced;
    }
}

impl Output for ModelWriter {
    type Batch = ModelBatch;
    type File = ModelFile;

    fn append(&mut self, batch: &ModelBatch) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        take_fault(&mut disk.scenario.failing_writes)?;
        disk.written.extend(&batch.0);
        Ok(())
    }

    fn bytes_unsynced(&self) -> usize {
        if self.disk.lock().unwrap().scenario.behind { usize::MAX } else { 0 }
    }

    fn begin_sync(&mut self) -> Option<(Arc<ModelFile>, ChainHead)> {
        let written = self.disk.lock().unwrap().written.len();
        if self.suspect || written == self.covered {
            return None;
        }
        self.covered = written;
        Some((Arc::new(ModelFile { disk: self.disk.clone(), covered: written }), self.head()))
    }

    fn sync(file: &ModelFile) -> io::Result<()> {
        let mut disk = file.disk.lock().unwrap();
        take_fault(&mut disk.scenario.failing_syncs)?;
        disk.synced = disk.synced.max(file.covered);
        Ok(())
    }

    fn end_sync(&mut self) {}

    fn fail_sync(&mut self) {
        self.suspect = true;
    }

    fn resume(&mut self, _lost: u64, _reason: &str) -> io::Result<ChainHead> {
        self.suspect = false;
        self.sync_all();
        Ok(self.head())
    }

    fn rotate(&mut self) -> io::Result<Option<ChainHead>> {
        let full = {
            let mut disk = self.disk.lock().unwrap();
            let full = !disk.written.is_empty() && disk.scenario.rotate;
            disk.scenario.rotate &= !full;
            full
        };
        if !full {
            return Ok(None);
        }
        self.sync_all();
        Ok(Some(self.head()))
    }
}

/// One request. `Ok` means that its event was written, and synced if the policy or the disk demands it.
fn request(
    flusher: &Arc<Flusher<ModelWriter>>,
    batch: &ThreadBatch<ModelBatch>,
    disk: &SharedDisk,
    event: Event,
    cancel: bool,
) {
    let push = |batch: &mut ModelBatch| {
        batch.0.push(event);
        Ok(())
    };
    let recorded = block_on(async {
        let mut recording = pin!(flusher.record(batch, push));
        let mut polled = false;
        poll_fn(|context| {
            if cancel && polled {
                return Poll::Ready(None);
            }
            polled = true;
            let poll = recording.as_mut().poll(context).map(Some);
            if cancel { Poll::Ready(None) } else { poll }
        })
        .await
    });
    match recorded {
        Some(Ok(())) => {
            let disk = disk.lock().unwrap();
            let written = disk.written.iter().position(|written| *written == event).expect("Ok before the write");
            let must_be_synced = disk.scenario.sync == SyncPolicy::Always || disk.scenario.behind;
            assert!(!must_be_synced || written < disk.synced, "Ok before the sync");
        }
        Some(Err(AuditError::Unavailable)) | None => {}
        Some(Err(error)) => panic!("{error}"),
    }
}

fn run(scenario: Scenario) {
    let disk: SharedDisk = Arc::new(Mutex::new(Disk { scenario, written: Vec::new(), synced: 0 }));
    let writer = ModelWriter { disk: disk.clone(), covered: 0, suspect: false };
    let failures = IntCounter::new("failures", "failures").unwrap();
    let flusher =
        Arc::new(Flusher::new(writer, ChainHead::GENESIS, scenario.sync, OnFailure::Refuse, failures.clone()));
    let batches: Arc<[ThreadBatch<ModelBatch>; 2]> = Arc::default();
    let flush_thread = {
        let flusher = flusher.clone();
        thread::spawn(move || flusher.run(|| ()))
    };
    let first = {
        let (flusher, batches, disk) = (flusher.clone(), batches.clone(), disk.clone());
        thread::spawn(move || request(&flusher, &batches[0], &disk, 1, scenario.cancel_first))
    };
    request(&flusher, &batches[usize::from(!scenario.share_batch)], &disk, 2, false);
    first.join().unwrap();
    flusher.stop();
    flush_thread.join().unwrap();

    let disk = disk.lock().unwrap();
    let others = failures.get() as usize + flusher.events_kept();
    assert_eq!(disk.written.len() + others, 2, "each event is written once, or kept, or counted as lost");
    assert_eq!(disk.synced, disk.written.len(), "the flush thread syncs before it ends");
    assert_eq!(flusher.durable_head().sequence, disk.written.len() as u64);
}

/// Runs a scenario in every interleaving up to the bound. No interleaving is random, so a failure repeats.
fn explore(preemptions: usize, scenario: Scenario) {
    let runs = Arc::new(AtomicUsize::new(0));
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(preemptions));
    let counter = runs.clone();
    model.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        run(scenario);
    });
    let runs = runs.load(Ordering::Relaxed);
    println!("{runs} interleavings");
    assert!(runs > 100, "the model ran only {runs} interleavings");
}

#[test]
fn two_threads_write_their_batches() {
    explore(MORE, PLAIN);
}

#[test]
fn two_threads_share_a_batch() {
    explore(MORE, Scenario { share_batch: true, ..PLAIN });
}

#[test]
fn a_cancelled_request_writes_for_the_other() {
    explore(FEW, Scenario { share_batch: true, cancel_first: true, ..PLAIN });
}

#[test]
fn a_write_fails() {
    explore(FEW, Scenario { failing_writes: 1, ..PLAIN });
}

#[test]
fn a_sync_fails() {
    explore(FEW, Scenario { failing_syncs: 1, ..PLAIN });
}

#[test]
fn a_segment_is_full() {
    explore(FEW, Scenario { rotate: true, ..PLAIN });
}

#[test]
fn a_disk_falls_behind_between_syncs_that_are_an_hour_apart() {
    explore(FEW, Scenario { sync: SyncPolicy::Every(Duration::from_secs(3_600)), behind: true, ..PLAIN });
}
