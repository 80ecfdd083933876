//! What was answered is kept: after `kill -9`, after power cuts, on disks that fail, and with two daemons on one
//! vault.
//!
//! These variables change the extent: `CRASH_SEED`, `CRASH_KILLS`; for power cuts `CRASH_CUTS`, `CRASH_SESSIONS` and
//! `CRASH_ANSWERS` (requests answered in a session). `POWERCUT_KEEP` names a directory that receives the files of a
//! cut that lost data. `SOAK_SECONDS` is the duration of the soak on each engine, and `SOAK_SEED` determines its
//! faults. `MASKER_BINARY` names the program to test, instead of the one built for the tests.

#[path = "../support/harness/mod.rs"]
pub mod harness; // public, because each test program uses only parts of it
#[path = "../support/powercut/mod.rs"]
pub mod powercut;

/// Runs tests that take the name of an engine on each of them, as `sled::…` and `fjall::…`.
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
mod sessions;
mod soak;

/// Returns a directory in memory if possible: the disks of these tests are simulated.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder can be made")
}

/// Returns a number from the environment, or the default.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
