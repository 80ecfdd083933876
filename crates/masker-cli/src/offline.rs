//! Operations on a vault that no daemon has open. The command line cannot open a vault: the program that runs it
//! supplies these functions.

use std::path::{Path, PathBuf};

use masker_audit::ChainHead;
use masker_config::{AcceptableState, Config, Credentials};
use masker_types::engine::EngineKind;
use serde::{Serialize, Serializer};

/// Functions that need the vault itself.
#[derive(Clone, Copy)]
pub struct OfflineTools {
    /// Reads the audit log's head that the vault has recorded.
    pub recorded_audit_head: ReadAuditHead,
    /// Returns the paths at which the vault in this data directory has its data. They need not exist.
    pub vault_entries: fn(&Path) -> Vec<PathBuf>,
    /// Moves the vault to another engine.
    pub migrate: Migrate,
    /// Finds what a start refuses or reports until an operator accepts it.
    pub find_refusals: FindRefusals,
    /// Reads the export of a backup to its end.
    pub read_export: ReadExport,
    /// Restores a backup into a new vault.
    pub restore: Restore,
}

/// Finds what a start with this configuration and these keys refuses or reports until an operator accepts it. As root it works as
/// the user of this uid, which the installed unit runs the daemon as, else as the owner of the data directory.
pub type FindRefusals = fn(&Config, Credentials, Option<u32>) -> Refusals;

/// What a start refuses or reports.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// What an operator can accept.
    pub refused: Vec<Refusal>,
    /// What nobody can accept: messages for the user.
    pub problems: Vec<String>,
    /// Missing keys that records need. A start continues without them. Messages for the user.
    pub missing_keys: Vec<String>,
    /// What a start puts right. Nothing needs to be accepted. Messages for the user.
    pub repairs: Vec<String>,
    /// Whether a daemon has the vault open. Then only what needs no lock was examined: the keys are not compared with the vault.
    pub is_serving: bool,
}

impl Refusals {
    /// Adds what an operator can accept.
    pub fn refuse(&mut self, state: AcceptableState, why: String) {
        self.refused.push(Refusal { state, why });
    }

    /// Adds what nobody can accept.
    pub fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }
}

/// A state that a start refuses or reports.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The state, as `recover.toml` describes it.
    pub state: AcceptableState,
    /// The reason: a message for the user.
    pub why: String,
}

/// Reads the audit log's head that the vault in this data directory has recorded. The error is a message for the user.
pub type ReadAuditHead = fn(&Path) -> Result<Option<ChainHead>, String>;

/// Moves the vault in this data directory to another engine, with so many bytes for its cache. Reports the copied and the
/// total number of rows as it goes. Returns `None` if that engine has the vault already. The error is a message for the
/// user.
pub type Migrate = fn(&Path, EngineKind, u64, &dyn Fn(u64, u64)) -> Result<Option<MigrationSizes>, String>;

/// The result of moving a vault to another engine.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MigrationSizes {
    /// The engine that had the vault before.
    #[serde(serialize_with = "by_name")]
    pub from: EngineKind,
    /// Number of rows.
    pub rows: u64,
    /// Bytes on disk before.
    pub bytes_before: u64,
    /// Bytes on disk now.
    pub bytes_after: u64,
}

fn by_name<S: Serializer>(kind: &EngineKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

/// Reads the export in this file to its end, with these keys.
pub type ReadExport = fn(&Path, Credentials) -> ExportReading;

/// What reading an export has found. The texts are messages for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportReading {
    /// Everything in it is authentic. What does not open is counted.
    Sound(ExportContents),
    /// None of these keys opens it.
    KeysMissing(String),
    /// It is damaged or was altered.
    Wrong(String),
}

/// What an export has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportContents {
    /// Records.
    pub records: u64,
    /// Records that do not open: they were damaged in the exported vault.
    pub damaged: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// API keys.
    pub api_keys: u64,
    /// Honeytokens.
    pub honeytokens: u64,
    /// Sessions.
    pub sessions: u64,
    /// Keys that records need and that are not provided.
    pub missing_keys: Vec<MissingKey>,
}

/// A key that records need and that is not loaded, or not provided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingKey {
    /// Its key id.
    pub kid: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// How many records need it.
    pub records: u64,
}

impl MissingKey {
    /// Returns how many records need each of these keys, for a message.
    pub(crate) fn counted(keys: &[MissingKey]) -> String {
        let key = |key: &MissingKey| {
            let need = if key.records == 1 { "needs" } else { "need" };
            format!("{} {need} {} with fingerprint {}", key.records, key.kid, key.fingerprint)
        };
        keys.iter().map(key).collect::<Vec<_>>().join(", ")
    }
}

/// Restores a backup into a new vault in the configured data directory, and accepts that vault as the audit log needs it. As root it
/// works as the daemon's user. The error is a message for the user.
pub type Restore = fn(&Config, Credentials, &RestoreSource<'_>) -> Result<RestoreReport, String>;

/// A backup to restore, whose files are as its manifest has them.
#[derive(Clone, Copy, Debug)]
pub struct RestoreSource<'s> {
    /// The export.
    pub export: &'s Path,
    /// The head of the audit log when the backup began, if there was a log.
    pub head: Option<ChainHead>,
    /// The copy of the audit log. Without it, all API keys are suspended.
    pub log: Option<&'s Path>,
    /// When the backup began, in milliseconds of Unix time.
    pub began_ms: u64,
    /// Whether records whose key is not provided are left out. Without it they keep the backup from being restored.
    pub skip_missing_keys: bool,
    /// The uid that the installed unit runs the daemon as, if this is its configuration.
    pub service_uid: Option<u32>,
}

/// What a restore did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RestoreReport {
    /// The id of the new vault.
    pub vault_id: String,
    /// Records in the new vault.
    pub records: u64,
    /// Records that were erased after the backup, and stay erased.
    pub erased_since: u64,
    /// Records that do not open: they were damaged in the vault that was backed up.
    pub damaged: u64,
    /// Records that were left out because their key is not provided.
    pub key_missing: u64,
    /// Records that were left out because their values have too many tokens.
    pub left_out: u64,
    /// Tombstones in the new vault.
    pub tombstones: u64,
    /// API keys, also revoked ones.
    pub api_keys: u64,
    /// API keys that were revoked after the backup, and stay revoked.
    pub revoked_since: u64,
    /// API keys that are suspended until somebody resumes them.
    pub suspended: Vec<SuspendedApiKey>,
    /// Honeytokens.
    pub honeytokens: u64,
    /// Sessions.
    pub sessions: u64,
    /// Sessions that were closed after the backup, and are closed again.
    pub closed_since: u64,
    /// Events of the audit log after the backup; `None` if that is not known.
    pub events_since: Option<u64>,
    /// Whether `recover.toml` accepts the new vault, because the audit log has another.
    pub is_accepted: bool,
    /// What else the operator should know.
    pub notes: Vec<String>,
}

/// An API key that is suspended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuspendedApiKey {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The first characters of its secret.
    pub prefix: String,
}
