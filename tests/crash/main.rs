//! What was answered is there: after `kill -9`, after power cuts, on disks that fail, and with two daemons at once.
//!
//! Whoever wants more of it sets `CRASH_SEED`, `CRASH_KILLS`, and for power cuts `CRASH_CUTS`, `CRASH_SESSIONS` and
//! `CRASH_ANSWERS` (requests that are answered in a session). `POWERCUT_KEEP` names a directory in which the files of a
//! cut that lost something stay. How long the soak lasts, on each engine, is `SOAK_SECONDS`, and `SOAK_SEED` what befalls
//! the daemon; `MASKER_BINARY` is the program that all of this is done to, where it is not the one built for the tests.

#[path = "../support/harness/mod.rs"]
pub mod harness; // public, because each test program uses only parts of it
#[path = "../support/powercut/mod.rs"]
pub mod powercut;

/// Tests that are given the name of an engine, run on each of them: as `sled::…` and as `fjall::…`.
macro_rules! on_each_engine {
    ($($test:ident),* $(,)?) => {
        mod sled {
            $(#[test] fn $test() { super::$test("sled"); })*
        }
        mod fjall {
            $(#[test] fn $test() { super::$test("fjall"); })*
        }
    };
}

mod broken_vaults;
mod disk;
mod kill;
mod load;
mod power;
mod promises;
mod race;
mod rotation;
mod soak;

/// A folder in memory where there is one: the disks of these tests are on paper.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder can be made")
}

/// A number that whoever runs the tests may set.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
