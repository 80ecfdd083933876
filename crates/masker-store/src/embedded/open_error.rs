//! Why a vault cannot be opened, told to the operator who can do something about it.

use std::{io, path::PathBuf};

use masker_types::engine::EngineKind;

use crate::StoreError;

const RESTORE: &str = "restore the vault from an export into a new directory, or start once with \
                       `masker serve --accept-loss` to go on with what is there";

/// Why a vault was not opened. But for [`StoreOpenError::Io`], nothing in its directory was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreOpenError {
    /// The directory cannot be used at all.
    #[error("cannot use the vault's directory {path}: {source}; masker must run as the user who owns it")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than its owner may write into the directory.
    #[error(
        "the vault's directory {path} can be changed by others (its mode is {mode:04o}); take that away with `chmod go-w {path}`"
    )]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The directory belongs to another user.
    #[error(
        "the vault's directory {path} belongs to user {owner}, and masker runs as user {runs_as}; run it as the owner, or `chown` the directory and what is in it"
    )]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// As whom masker runs.
        runs_as: u32,
    },
    /// The directory holds something, and it is not a vault.
    #[error("{path} holds no vault, but {entry:?} and perhaps more; a new vault needs an empty directory of its own")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the things in it.
        entry: String,
    },
    /// This build lacks the engine of the vault.
    #[error(
        "the vault in {path} needs the engine {engine}, which this build of masker lacks; build it with `--features {engine}`"
    )]
    EngineNotBuilt {
        /// The directory.
        path: PathBuf,
        /// The engine.
        engine: EngineKind,
    },
    /// Another process has the vault open.
    #[error("the vault in {path} is in use by {}; a vault is served by one process at a time", holder(*pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process, where it has told.
        pid: Option<u32>,
    },
    /// Another engine made the vault than the one that was asked for.
    #[error(
        "the vault in {path} is one of {there}, and `[vault] engine` says {asked}; set it to {there:?}, or move the vault with `masker vault migrate --to {asked}` while no daemon has it", there = .there.name()
    )]
    OtherEngine {
        /// The directory.
        path: PathBuf,
        /// The engine that made it.
        there: EngineKind,
        /// The engine that was asked for.
        asked: EngineKind,
    },
    /// A later release wrote the vault.
    #[error(
        "the vault in {path} has format {version}, and this release of masker knows formats up to {known}; use a later release"
    )]
    NewerVersion {
        /// The directory.
        path: PathBuf,
        /// The format of the vault.
        version: u8,
        /// The latest that this release knows.
        known: u8,
    },
    /// There is a database, but no witness that could tell whether it is complete.
    #[error(
        "the witness file of the vault in {path} is missing, so nothing can tell whether the database is complete; put the file back, or {RESTORE}"
    )]
    WitnessMissing {
        /// The directory.
        path: PathBuf,
    },
    /// The witness cannot be read.
    #[error(
        "the witness file of the vault in {path} is damaged, so nothing can tell whether the database is complete; put a sound copy back, or {RESTORE}"
    )]
    WitnessDamaged {
        /// The directory.
        path: PathBuf,
    },
    /// The witness and the database are not of one vault.
    #[error(
        "the witness file in {path} is that of another vault than the database beside it; put the files of one vault together, or {RESTORE}"
    )]
    WitnessOfAnotherVault {
        /// The directory.
        path: PathBuf,
    },
    /// Commits that were answered are not in the database.
    #[error(
        "the database of the vault in {path} has lost the last {lost} commits that were answered: it was damaged, or replaced by an older copy; {RESTORE}"
    )]
    BehindWitness {
        /// The directory.
        path: PathBuf,
        /// How many commits; each holds the rows of one or more requests.
        lost: u64,
    },
    /// The database is a copy from before an operator accepted a loss.
    #[error(
        "the database of the vault in {path} is a copy from before a loss was accepted; put the database back that was there, or {RESTORE}"
    )]
    Superseded {
        /// The directory.
        path: PathBuf,
    },
    /// The database is not what was written.
    #[error("the database of the vault in {path} is damaged: {what}; {RESTORE}")]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The system failed the work, as a full disk does. What was done until then is done again or undone the next time.
    #[error("cannot {doing} for the vault in {path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The work.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The program was built such that nothing it writes would be durable. A bug of the build.
    #[error(
        "this build of masker cannot make the vault in {path} durable: its write barrier is not in force; use another build"
    )]
    NoBarrier {
        /// The directory.
        path: PathBuf,
    },
}

impl From<StoreOpenError> for StoreError {
    /// How a store that is being opened again answers meanwhile.
    fn from(error: StoreOpenError) -> Self {
        let text = error.to_string();
        match error {
            StoreOpenError::Damaged { .. }
            | StoreOpenError::BehindWitness { .. }
            | StoreOpenError::WitnessDamaged { .. } => StoreError::Damaged(text),
            _ => StoreError::Unavailable(text),
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
}
