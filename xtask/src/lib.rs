//! Tasks of the repository, run with `cargo xtask`. None of them is in the shipped program.
//!
//! - [`mod@bench`] puts load on a running daemon and measures it. The benchmarks of the root package use its
//!   [`LoadTest`](bench::load::LoadTest).
//! - [`papers`] writes what a package has beside the binary: man pages, a bill of materials, licences.
//! - [`docs`] writes the pages of the book that come from the source, or checks that they are current.
//!
//! Papers and pages are reproducible: the same source gives the same bytes. The crate may use every other crate of the
//! workspace except the root package, which uses this one in its tests and benchmarks.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub mod bench;
pub mod docs;
pub mod papers;

/// An error of a task: a message for the person who ran it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Returns the directory of the workspace.
pub fn root() -> &'static Path {
    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    Path::new(ROOT)
}

/// Reads a file of the workspace, by its path from the root.
pub fn read_source(name: &str) -> Result<String, Error> {
    let path: PathBuf = root().join(name);
    fs::read_to_string(&path).map_err(|error| format!("failed to read {}: {error}", path.display()).into())
}
