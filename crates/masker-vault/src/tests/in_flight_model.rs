//! A model of [`crate::in_flight`] under loom: every interleaving, up to a number of preemptions, of a writer with a reader.
//!
//! The store of the model shows a batch to readers at once. A commit that fails takes its row back before the writer ends
//! it, as a failing engine may.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use loom::{
    model::Builder,
    sync::{Arc, Mutex},
    thread,
};

use self::in_flight::InFlightRecords;
use masker_core::crypto::TokenId;

// The same source as the crate's, over the primitives below.
#[allow(clippy::duplicate_mod)]
#[path = "../in_flight.rs"]
mod in_flight;

/// Loom's primitives in the place of those of [`crate::in_flight`].
mod sync {
    pub(super) use std::sync::PoisonError;

    pub(super) use loom::sync::{
        RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    };

    /// The part of tokio's channel that is used. Waiting blocks the thread, which loom can follow.
    pub(super) mod watch {
        use loom::sync::{Arc, Condvar, Mutex};

        struct Channel<T> {
            /// The value, and how often it has changed.
            state: Mutex<(T, u64)>,
            changed: Condvar,
        }

        pub(in super::super) struct Sender<T>(Arc<Channel<T>>);

        pub(in super::super) struct Receiver<T> {
            channel: Arc<Channel<T>>,
            seen: u64,
        }

        pub(in super::super) struct RecvError;

        impl<T> Sender<T> {
            pub(in super::super) fn new(value: T) -> Self {
                Sender(Arc::new(Channel { state: Mutex::new((value, 0)), changed: Condvar::new() }))
            }

            pub(in super::super) fn subscribe(&self) -> Receiver<T> {
                let seen = self.0.state.lock().unwrap().1;
                Receiver { channel: Arc::clone(&self.0), seen }
            }

            pub(in super::super) fn send_modify(&self, modify: impl FnOnce(&mut T)) {
                let mut state = self.0.state.lock().unwrap();
                modify(&mut state.0);
                state.1 += 1;
                self.0.changed.notify_all();
            }
        }

        impl<T> Receiver<T> {
            pub(in super::super) async fn changed(&mut self) -> Result<(), RecvError> {
                let mut state = self.channel.state.lock().unwrap();
                while state.1 == self.seen {
                    state = self.channel.changed.wait(state).unwrap();
                }
                self.seen = state.1;
                Ok(())
            }
        }
    }
}

/// The most preemptions of an interleaving. A failure that is noted too late takes four to be seen.
const PREEMPTIONS_MAX: usize = 5;

/// The record that the model is about.
const RECORD: [u8; 20] = [1; 20];

/// A row: the commit that wrote it.
type Row = Option<usize>;

#[derive(Default)]
struct Engine {
    row: Row,
    /// Commits that are durable.
    durable: Vec<usize>,
}

struct Vault {
    in_flight: InFlightRecords,
    engine: Mutex<Engine>,
}

impl Vault {
    /// Commits a row as the writer does. One that fails is taken back.
    fn commit(&self, number: usize, fails: bool) {
        self.in_flight.begin([TokenId::from_bytes(RECORD)]);
        let before = self.engine.lock().unwrap().row.replace(number);
        let mut engine = self.engine.lock().unwrap();
        match fails {
            true => engine.row = before,
            false => engine.durable.push(number),
        }
        drop(engine);
        self.in_flight.end(fails);
    }

    fn read(&self) -> Row {
        self.engine.lock().unwrap().row
    }

    /// Reads the record as a request does.
    fn answer(&self) -> Row {
        loop {
            let marker = self.in_flight.read_marker();
            let row = self.read();
            if !ready(self.in_flight.must_reread(&marker, [TokenId::from_bytes(RECORD)].into_iter())) {
                return row;
            }
        }
    }

    /// Reads the record as an export does; `None` if a commit failed meanwhile.
    fn scan(&self) -> Option<Row> {
        let marker = self.in_flight.read_marker();
        let row = self.read();
        ready(self.in_flight.wait_until_idle());
        (!self.in_flight.failed_since(&marker)).then_some(row)
    }

    fn is_durable(&self, row: Row) -> bool {
        row.is_none_or(|commit| self.engine.lock().unwrap().durable.contains(&commit))
    }
}

/// Returns the result of a future that blocks instead of waiting.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the model's futures block"),
    }
}

/// Runs commits, which fail or not, against a reader in every interleaving.
fn check(fails: &'static [bool], reader: fn(&Vault)) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(move || {
        let vault = Arc::new(Vault { in_flight: InFlightRecords::default(), engine: Mutex::default() });
        let writer = thread::spawn({
            let vault = Arc::clone(&vault);
            move || fails.iter().enumerate().for_each(|(number, fails)| vault.commit(number, *fails))
        });
        reader(&vault);
        writer.join().unwrap();
    });
}

#[test]
fn a_request_answers_from_durable_rows_only() {
    for fails in [&[false, false] as &[bool], &[true, false], &[false, true]] {
        check(fails, |vault| {
            let row = vault.answer();
            assert!(vault.is_durable(row), "answered from {row:?}");
        });
    }
}

#[test]
fn a_scan_succeeds_with_durable_rows_only() {
    for fails in [&[false, false] as &[bool], &[true, false], &[false, true]] {
        check(fails, |vault| {
            if let Some(row) = vault.scan() {
                assert!(vault.is_durable(row), "scanned {row:?}");
            }
        });
    }
}
