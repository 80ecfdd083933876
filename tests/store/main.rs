//! The store: one contract for every engine, and what happens to it when machines, disks and people fail.

use std::path::Path;

use masker_store::embedded::{EngineDriver, StoreOptions};
use masker_types::engine::EngineKind;

/// Tests that are given an engine, run on each of them: as `sled::…` and as `fjall::…`.
macro_rules! on_each_engine {
    ($($test:ident),* $(,)?) => {
        mod sled {
            $(#[test] fn $test() { super::$test(masker_types::engine::EngineKind::Sled); })*
        }
        mod fjall {
            $(#[test] fn $test() { super::$test(masker_types::engine::EngineKind::Fjall); })*
        }
    };
}

#[path = "../support/powercut/mod.rs"]
pub mod powercut; // public, because each test program uses only parts of it

mod child;
mod compaction;
mod contract;
mod crash;
mod damage;
mod full_disk;
mod migration;
mod opening;
mod power;
mod workload;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}

/// The driver of an engine: this build has both.
fn driver(engine: EngineKind) -> &'static dyn EngineDriver {
    masker::daemon::engines::driver(Some(engine), Path::new("")).unwrap()
}

fn options(engine: EngineKind) -> StoreOptions {
    StoreOptions { engine: driver(engine), ..StoreOptions::default() }
}

/// Options with so little memory that rows are soon read from the files, and written to others.
fn small(engine: EngineKind) -> StoreOptions {
    StoreOptions { engine: driver(engine), cache_bytes: 1024 * 1024, accept_loss: false }
}

fn accepting(engine: EngineKind) -> StoreOptions {
    StoreOptions { engine: driver(engine), accept_loss: true, ..StoreOptions::default() }
}

/// A folder in memory where there is one: what these tests have to do with disks is on paper.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder can be made")
}
