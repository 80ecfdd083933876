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
}

/// Finds what a start with this configuration and these keys refuses or reports until an operator accepts it. As root it works as
/// the owner of the data directory.
pub type FindRefusals = fn(&Config, Credentials) -> Refusals;

/// What a start refuses or reports.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// What an operator can accept.
    pub refused: Vec<Refusal>,
    /// What nobody can accept: messages for the user.
    pub problems: Vec<String>,
    /// Whether a daemon has the vault open. Then only the audit log was examined.
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
