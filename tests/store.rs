//! The store: one contract for every engine, and what happens to it when machines, disks and people fail.

mod powercut;

#[path = "store/power.rs"]
mod power;
#[path = "store/workload.rs"]
mod workload;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}
