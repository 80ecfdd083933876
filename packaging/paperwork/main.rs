//! Writes what a package has beside the binary into a directory: man pages, a bill of materials, the licences of the
//! dependencies. `make deb` runs it; it is no part of the binary.

mod papers;

use std::{path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("paperwork: the directory to write into is missing");
        return ExitCode::from(64);
    };
    match papers::write(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("paperwork: {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}
