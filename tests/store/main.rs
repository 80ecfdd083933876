//! The store: one contract for every engine, and its behaviour when machines, disks and people fail.

use std::path::Path;

use masker_store::embedded::{EngineDriver, StoreOptions};
use masker_types::engine::EngineKind;

/// Runs tests that take an engine on each engine of the build, as `sled::…` and as `fjall::…`.
macro_rules! on_each_engine {
    ($($test:ident),* $(,)?) => {
        #[cfg(feature = "sled")]
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
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("failed to build a runtime")
}

/// Returns the driver of an engine of this build.
fn driver(engine: EngineKind) -> &'static dyn EngineDriver {
    masker::daemon::engines::driver(Some(engine), Path::new("")).unwrap()
}

fn options(engine: EngineKind) -> StoreOptions {
    StoreOptions { engine: driver(engine), ..StoreOptions::default() }
}

/// Returns options with little memory, so that rows are soon read from the files and written to others.
fn small(engine: EngineKind) -> StoreOptions {
    StoreOptions { engine: driver(engine), cache_bytes: 1024 * 1024, ..StoreOptions::default() }
}

fn accepting(engine: EngineKind) -> StoreOptions {
    StoreOptions { engine: driver(engine), accept_loss: true, ..StoreOptions::default() }
}

/// Creates a folder, in memory if possible: these tests simulate disks.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("failed to create a folder")
}
