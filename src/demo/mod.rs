//! `masker demo`: the life of a vault in a minute, with the real daemon, throwaway keys and a throwaway vault.
//!
//! This process is an ordinary client. The daemon is the same program in another process, with its keys in its
//! environment, its files in a temporary directory, and requests over its socket. Every statement that the demo prints
//! is checked first, and the exit code says whether all checks passed.

mod daemon;
mod dataset;
mod note;
pub mod patients;
mod walkthrough;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use tokio::runtime;

use masker_cli::Exit;
use masker_client::ClientError;
use masker_core::crypto::LockedMemoryError;

/// Runs the demo and prints each step to standard output. Leaves nothing behind, however it ends.
///
/// Returns 0 if every check passed, 2 if one failed, and 1 if the demo could not run to its end. Must not be called from
/// within a tokio runtime.
pub fn run() -> ExitCode {
    let exit = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run_or_interrupted()),
        Err(error) => failed(&DemoError::System { what: "start a runtime", source: error }),
    };
    exit.into()
}

async fn run_or_interrupted() -> Exit {
    let mut out = io::stdout();
    // An interrupt drops the walkthrough, and with it the daemon and the files. The handler is registered first, before
    // there is anything to clean up.
    let outcome = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(DemoError::Interrupted),
        outcome = walkthrough::run(&mut out) => outcome,
    };
    match outcome {
        Ok(()) => Exit::Done,
        Err(error) => failed(&error),
    }
}

fn failed(error: &DemoError) -> Exit {
    // If standard error is closed, the exit code still reports the failure.
    let _ = writeln!(io::stderr(), "\nFAIL: {error}");
    match error {
        DemoError::Check(_) => Exit::Failure,
        _ => Exit::Error,
    }
}

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// A check failed.
    #[error("{0}: this is a bug in masker")]
    Check(String),
    /// A system call failed.
    #[error("failed to {what}: {source}")]
    System { what: &'static str, source: io::Error },
    /// A file of the demo could not be read or written.
    #[error("{path}: {source}")]
    File { path: PathBuf, source: csv::Error },
    /// The daemon did not start.
    #[error("the daemon failed to start: {reason}. Its log ends with:\n{log}")]
    Daemon { reason: String, log: String },
    /// A request failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A key could not be generated.
    #[error("failed to generate a key: {0}")]
    Key(#[from] LockedMemoryError),
    /// The user pressed Ctrl-C.
    #[error("interrupted; nothing was left behind")]
    Interrupted,
}

impl DemoError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| DemoError::System { what, source }
    }
}
