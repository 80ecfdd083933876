//! The store: one contract for every engine, and what happens to it when machines, disks and people fail.

// Shared with other tests: public, so that what only those use is not dead here.
pub mod powercut;

#[path = "store/child.rs"]
mod child;
#[path = "store/compaction.rs"]
mod compaction;
#[path = "store/contract.rs"]
mod contract;
#[path = "store/crash.rs"]
mod crash;
#[path = "store/damage.rs"]
mod damage;
#[path = "store/full_disk.rs"]
mod full_disk;
#[path = "store/opening.rs"]
mod opening;
#[path = "store/power.rs"]
mod power;
#[path = "store/workload.rs"]
mod workload;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}

/// A folder in memory where there is one: what these tests have to do with disks is on paper.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder can be made")
}
