//! Why a vault cannot be opened, for the operator who can fix it.

use std::{io, path::PathBuf};

use masker_files::owner_advice;
use masker_types::{engine::EngineKind, vault_position::VaultId};

use crate::StoreError;

const RESTORE: &str = "restore a backup into a new directory, or continue with the rows that are left, which \
                       `masker recover` accepts";
const RESTORE_ONLY: &str = "masker has no rows to continue with: restore a backup into a new directory";

/// Why a vault was not opened. Nothing in its directory was changed, except perhaps with [`StoreOpenError::Io`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreOpenError {
    /// The directory cannot be read or created.
    #[error("failed to use the data directory {path}: {source}; masker must run as the user who owns it")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Other users may write to the directory.
    #[error("other users can write to the data directory {path} (its mode is {mode:04o}); run `chmod go-w {path}`")]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The directory belongs to another user.
    #[error(
        "the data directory {path} belongs to user {owner}, but masker runs as user {runs_as}; run it as the owner, or `chown` the directory and its contents"
    )]
    Owner {
        /// The directory.
        path: PathBuf,
        /// The uid of its owner.
        owner: u32,
        /// The uid that masker runs as.
        runs_as: u32,
    },
    /// The directory is not empty, and contains no vault.
    #[error("{path} holds no vault, but {entry:?} and perhaps more; a new vault needs an empty directory")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The name of an entry.
        entry: String,
    },
    /// A restore of a backup into the directory has not ended.
    #[error(
        "a restore into {path} has begun and not ended: run the same `masker backup restore` again, which begins anew"
    )]
    Restoring {
        /// The directory.
        path: PathBuf,
    },
    /// This build does not include the engine of the vault.
    #[error(
        "the vault in {path} needs the engine {engine}, which this build of masker does not include; use a build with the cargo feature `{engine}`"
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
        /// The process, if the lock file names it.
        pid: Option<u32>,
    },
    /// The vault was created by another engine than the configured one.
    #[error(
        "the vault in {path} was created by {found}, but `[vault] engine` is {configured}; set it to {found:?}, or stop the daemon and run `masker vault migrate --to {configured}`", found = .found.name()
    )]
    OtherEngine {
        /// The directory.
        path: PathBuf,
        /// The engine that created it.
        found: EngineKind,
        /// The engine that it was opened with.
        configured: EngineKind,
    },
    /// There are databases of several engines, and it is not certain which one has the vault's rows.
    #[error(
        "{path} has two databases, {first:?} and {second:?}, but a vault has one; set `[vault] engine` to the one that was served last, which is checked, and remove neither before the daemon serves", first = .first.name(), second = .second.name()
    )]
    SecondDatabase {
        /// The directory.
        path: PathBuf,
        /// The engine of one of them.
        first: EngineKind,
        /// The engine of the other one.
        second: EngineKind,
    },
    /// Another release wrote the vault.
    #[error(
        "the vault in {path} has format {version}, but this release of masker reads format {known}; {}",
        if version > known { "use a later release" } else { "use the build that wrote it, or another data directory" }
    )]
    OtherVersion {
        /// The directory.
        path: PathBuf,
        /// The format of the vault.
        version: u8,
        /// The format that this release reads.
        known: u8,
    },
    /// There is a database, but no witness.
    #[error(
        "the witness file of the vault in {path} is missing, so the database may be incomplete; put the file back, or {RESTORE}"
    )]
    WitnessMissing {
        /// The directory.
        path: PathBuf,
    },
    /// The witness cannot be read.
    #[error(
        "the witness file of the vault in {path} is damaged, so the database may be incomplete; put a sound copy back, or {RESTORE}"
    )]
    WitnessDamaged {
        /// The directory.
        path: PathBuf,
    },
    /// The witness and the database belong to different vaults.
    #[error(
        "the witness file in {path} and the database beside it belong to different vaults; put the files of one vault together, or {RESTORE}"
    )]
    WitnessOfAnotherVault {
        /// The directory.
        path: PathBuf,
    },
    /// The database lacks acknowledged commits.
    #[error(
        "the database of the vault in {path} has lost the last {lost} commits that were acknowledged: it was damaged, or replaced by an older copy; {RESTORE}"
    )]
    BehindWitness {
        /// The directory.
        path: PathBuf,
        /// How many commits. A commit has the rows of one or more requests.
        lost: u64,
    },
    /// The database is a copy from before an operator accepted a loss.
    #[error(
        "the database of the vault in {path} is a copy from before a loss was accepted; put the replaced database back, or {RESTORE}"
    )]
    Superseded {
        /// The directory.
        path: PathBuf,
    },
    /// The database is older than the state that the audit log has recorded.
    #[error(
        "the vault in {path} is an older copy: {}; put the newer vault back, or {RESTORE}",
        recorded_later(*.lost)
    )]
    BehindAuditLog {
        /// The directory.
        path: PathBuf,
        /// How many commits. A commit has the rows of one or more requests.
        lost: u64,
    },
    /// The audit log has recorded a vault, and there is none.
    #[error(
        "the audit log belongs to the vault {vault_id}, and there is no vault in {path}; mount or restore the data directory; `masker recover` accepts a new vault instead"
    )]
    VaultMissing {
        /// The directory.
        path: PathBuf,
        /// The id of the vault.
        vault_id: VaultId,
    },
    /// The audit log has recorded another vault.
    #[error(
        "the audit log belongs to the vault {recorded}, and {path} holds the vault {found}; restore the first one; `masker recover` accepts this one instead"
    )]
    OtherVault {
        /// The directory.
        path: PathBuf,
        /// The id of the vault that was recorded.
        recorded: VaultId,
        /// The id of the vault in the directory.
        found: VaultId,
    },
    /// The database does not contain what was written.
    #[error("the vault in {path} is damaged: {what}; {}", if *can_continue { RESTORE } else { RESTORE_ONLY })]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// Whether accepting the loss may help: there is a database, and the loss was not accepted yet.
        can_continue: bool,
    },
    /// The operating system failed, because the disk is full, for example. The next opening repeats or undoes the work.
    #[error("failed to {doing} for the vault in {path}: {source}{}", owner_advice(path, source))]
    Io {
        /// The directory.
        path: PathBuf,
        /// The work, as it follows "failed to".
        doing: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
    /// There is no room for the copy on which recovery is tried. Nothing was changed.
    #[error(
        "the vault in {path} cannot be opened: its recovery is tried on a copy first, which needs {room}\
         free space ({source}); make room: a daemon that runs then continues by itself, another one must be started again"
    )]
    NoRoomToRecover {
        /// The directory.
        path: PathBuf,
        /// The size of the copy, such as `about 12 MiB of `; empty if it is not known.
        room: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// An engine's write barrier is not linked into the program, so nothing would be durable. A bug of the build.
    #[error(
        "this build of masker cannot write durably to the vault in {path}: its write barrier is not in force; use another build"
    )]
    NoBarrier {
        /// The directory.
        path: PathBuf,
    },
}

/// Says what the audit log has recorded and a vault lacks.
fn recorded_later(lost: u64) -> String {
    match lost {
        0 => "the audit log has recorded that a loss was accepted since, which began another history".to_owned(),
        1 => "the audit log has recorded 1 later commit".to_owned(),
        _ => format!("the audit log has recorded {lost} later commits"),
    }
}

impl StoreOpenError {
    /// Returns a word for the loss that an operator can accept, and the number of lost commits if it is known. `None` if
    /// nothing can be accepted.
    pub fn loss(&self) -> Option<(&'static str, Option<u64>)> {
        match self {
            StoreOpenError::WitnessMissing { .. } => Some(("witness-missing", None)),
            StoreOpenError::WitnessDamaged { .. } => Some(("witness-damaged", None)),
            StoreOpenError::WitnessOfAnotherVault { .. } => Some(("witness-of-another-vault", None)),
            StoreOpenError::BehindWitness { lost, .. } => Some(("behind-witness", Some(*lost))),
            StoreOpenError::BehindAuditLog { lost, .. } => Some(("behind-audit-log", Some(*lost))),
            StoreOpenError::Superseded { .. } => Some(("superseded", None)),
            StoreOpenError::Damaged { can_continue: true, .. } => Some(("damaged", None)),
            _ => None,
        }
    }

    /// Returns whether the message offers to accept a loss.
    pub(super) fn offers_loss(&self) -> bool {
        match self {
            StoreOpenError::WitnessMissing { .. }
            | StoreOpenError::WitnessDamaged { .. }
            | StoreOpenError::WitnessOfAnotherVault { .. }
            | StoreOpenError::BehindWitness { .. }
            | StoreOpenError::BehindAuditLog { .. }
            | StoreOpenError::Superseded { .. } => true,
            StoreOpenError::Damaged { can_continue, .. } => *can_continue,
            StoreOpenError::Directory { .. }
            | StoreOpenError::Exposed { .. }
            | StoreOpenError::Owner { .. }
            | StoreOpenError::Foreign { .. }
            | StoreOpenError::Restoring { .. }
            | StoreOpenError::EngineNotBuilt { .. }
            | StoreOpenError::Locked { .. }
            | StoreOpenError::OtherEngine { .. }
            | StoreOpenError::SecondDatabase { .. }
            | StoreOpenError::OtherVersion { .. }
            | StoreOpenError::VaultMissing { .. }
            | StoreOpenError::OtherVault { .. }
            | StoreOpenError::Io { .. }
            | StoreOpenError::NoRoomToRecover { .. }
            | StoreOpenError::NoBarrier { .. } => false,
        }
    }
}

impl From<StoreOpenError> for StoreError {
    /// Returns the error of calls to a store that failed to reopen.
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
