//! `masker demo`: the whole story in a minute, told by the real daemon on throwaway keys and a throwaway vault.
//!
//! Everything goes the way an application's requests go: this process is a client, and the daemon is the same program,
//! started as a process of its own, with its keys in its environment, its files in a temporary directory, and requests
//! over its socket. What is claimed is checked, and the exit code says whether all of it held.

mod daemon;
pub mod patients;
mod dataset;
mod walkthrough;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use tokio::runtime;

use masker_cli::Exit;
use masker_client::ClientError;

/// Tells the story on standard output. Takes half a minute at the most on a small machine, and leaves nothing behind,
/// however it ends.
///
/// Returns 0 if everything that it claims held, 2 if something did not, and 1 if it could not be told to the end. It must
/// not be called from within a tokio runtime.
pub fn run() -> ExitCode {
    let exit = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run_or_interrupted()),
        Err(error) => ended(&DemoError::System { what: "start", source: error }),
    };
    exit.into()
}

async fn run_or_interrupted() -> Exit {
    let mut out = io::stdout();
    // Whichever loses is dropped, and the daemon and the files with it. The signal is listened for before the story
    // has made anything that could be left behind.
    let told = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(DemoError::Interrupted),
        told = walkthrough::tell(&mut out) => told,
    };
    match told {
        Ok(()) => Exit::Done,
        Err(error) => ended(&error),
    }
}

fn ended(error: &DemoError) -> Exit {
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "\nFAIL: {error}");
    match error {
        DemoError::Claim(_) => Exit::Failure,
        _ => Exit::Error,
    }
}

/// Why the story did not end well.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// Something that it claims is not so.
    #[error("{0}: this is a bug in masker")]
    Claim(String),
    /// The system refused something.
    #[error("the demonstration could not {what}: {source}")]
    System { what: &'static str, source: io::Error },
    /// A file of the demonstration could not be used.
    #[error("{path}: {source}")]
    File { path: PathBuf, source: csv::Error },
    /// The daemon did not come up.
    #[error("the daemon did not start: {reason}. It said:\n{log}")]
    Daemon { reason: String, log: String },
    /// A request failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No key could be made.
    #[error("a key could not be made: {0}")]
    Key(#[from] masker_core::crypto::LockedMemoryError),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted; nothing was left behind")]
    Interrupted,
}

impl DemoError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| DemoError::System { what, source }
    }
}
