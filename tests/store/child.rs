//! A child process that opens a vault, writes to it and reports what was acknowledged, so that it can be killed.

use std::{
    cell::Cell,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use masker_store::{
    Store, StoreError,
    embedded::{EmbeddedStore, StoreOpenError},
};
use masker_types::engine::EngineKind;

use crate::{
    powercut::{Recorder, mark},
    runtime, small,
    workload::Workload,
};

/// The work of the child: with this engine, apply the batches `from` up to `to` of a workload, then end as if killed.
pub struct Child {
    pub engine: EngineKind,
    pub seed: u64,
    pub keys: u64,
    pub from: u64,
    pub to: u64,
    /// Whether to close the store before the end.
    pub closes: bool,
    /// Whether to compact the store all the time.
    pub compacts: bool,
}

impl Child {
    /// Returns the command that starts the child. The child prints `answered` and a number after each batch.
    pub fn command(&self, root: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["child::process", "--exact", "--nocapture", "--test-threads=1"])
            .env("STORE_CHILD_ROOT", root)
            .env("STORE_CHILD_ENGINE", self.engine.name())
            .env("STORE_CHILD_SEED", self.seed.to_string())
            .env("STORE_CHILD_KEYS", self.keys.to_string())
            .env("STORE_CHILD_FROM", self.from.to_string())
            .env("STORE_CHILD_TO", self.to.to_string())
            .env("STORE_CHILD_CLOSES", u8::from(self.closes).to_string())
            .env("STORE_CHILD_COMPACTS", u8::from(self.compacts).to_string());
        command
    }

    /// Runs the child to its end, and records it.
    pub fn run(&self, root: &Path, recorder: &Recorder, fail_syncs: Option<u32>) {
        let mut command = self.command(root);
        match fail_syncs {
            Some(every) => recorder.record_with_failing_syncs(&mut command, every),
            None => recorder.record(&mut command),
        };
        let status = command.stdout(Stdio::null()).status().unwrap();
        assert_eq!(status.signal(), Some(9), "the child kills itself: {status}");
    }
}

/// The child. Does nothing when run as a test.
#[test]
fn process() {
    let Some(root) = std::env::var_os("STORE_CHILD_ROOT") else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (from, to) = (number("STORE_CHILD_FROM"), number("STORE_CHILD_TO"));
    let engine = std::env::var("STORE_CHILD_ENGINE").unwrap();
    let options = small(EngineKind::CHOICES.into_iter().find(|(name, _)| *name == engine).unwrap().1);
    let store = match EmbeddedStore::open(&root, options) {
        // The first syncs of a vault may fail.
        Err(StoreOpenError::Io { .. }) => EmbeddedStore::open(&root, options).unwrap(),
        opened => opened.unwrap(),
    };
    mark("open\n");
    let fails = std::env::var_os("POWERCUT_FAIL_SYNCS").is_some();
    // The test harness has printed part of a line.
    println!();
    runtime().block_on(async {
        let mut workload = Workload::new(number("STORE_CHILD_SEED"), number("STORE_CHILD_KEYS"), true);
        let done = Cell::new(false);
        let writing = async {
            for number in 0..to {
                let batch = workload.batch();
                if number >= from {
                    // A batch that failed may have been applied or not. After another attempt it is.
                    let begun = Instant::now();
                    while let Err(error) = store.apply(batch.clone()).await {
                        assert!(fails && matches!(error, StoreError::Unavailable(_)), "{error}");
                        assert!(begun.elapsed() < Duration::from_secs(50), "the store does not recover: {error}");
                        mark("failed\n");
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    mark(&format!("{number}\n"));
                    println!("answered {number}");
                }
            }
            done.set(true);
        };
        let compacting = async {
            while number("STORE_CHILD_COMPACTS") == 1 && !done.get() {
                match store.compact().await {
                    Ok(_) => {
                        mark("compacted\n");
                        println!("compacted");
                    }
                    Err(error) => {
                        assert!(fails, "{error}");
                        tokio::task::yield_now().await;
                    }
                }
            }
        };
        tokio::join!(writing, compacting);
        if number("STORE_CHILD_CLOSES") == 1 {
            assert!(store.close().await.is_ok() || fails);
        }
    });
    // As with `kill -9`, nothing is dropped or flushed.
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
}
