//! The settings.

use std::{collections::BTreeSet, path::PathBuf};

use super::{audit::AuditConfig, clients::AccessConfig, sandbox::SandboxConfig};
use masker_core::keyring::GraceAction;
use masker_types::{
    engine::EngineKind,
    kind::Kid,
    log::{LogFormat, LogLevel},
};

/// The longest grace period of an old key, in days: ten years.
pub(super) const GRACE_DAYS_MAX: u64 = 3_650;
/// The longest time for which sessions are kept, in days: ten years.
pub(super) const SESSION_RETENTION_DAYS_MAX: u64 = 3_650;

/// All settings, with defaults applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// `[server]`: where the daemon listens.
    pub server: ServerConfig,
    /// `[vault]`: where records are stored.
    pub vault: VaultConfig,
    /// `[policy]`: the policies in force.
    pub policy: PolicyConfig,
    /// `[keys]`: the grace period of old keys, and how missing keys affect values.
    pub keys: KeyConfig,
    /// `[sessions]`: how long sessions are kept.
    pub sessions: SessionConfig,
    /// `[audit]`: how the audit log is written and kept.
    pub audit: AuditConfig,
    /// `[[clients]]` and `[access]`: what callers may do.
    pub access: AccessConfig,
    /// `[sandbox]`: what the daemon may no longer do after its start.
    pub sandbox: SandboxConfig,
    /// `[log]`: what the daemon writes to standard error.
    pub log: LogConfig,
}

/// Where the daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The path of the socket: absolute, at most 107 bytes.
    pub socket: PathBuf,
    /// The mode of the socket: `0o600` and any bits but write permission for others.
    pub socket_mode: u32,
    /// The group of the socket, by name or number; `None` for the group of the daemon.
    pub socket_group: Option<String>,
    /// Seconds that a client has to send the head of a request, and that a connection may be idle.
    pub head_timeout_seconds: u64,
    /// Seconds that a client has to send a body.
    pub body_timeout_seconds: u64,
    /// Seconds for which a client may accept no bytes of a response.
    pub write_timeout_seconds: u64,
}

/// Where records are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultConfig {
    /// The data directory: an absolute path.
    pub data_dir: PathBuf,
    /// The engine. `None` is the engine of the vault in the data directory, or fjall for a new vault.
    pub engine: Option<EngineKind>,
    /// The size of the engine's cache, in MiB. sled counts bytes on disk, and takes about twice as much memory.
    pub cache_mb: u64,
    /// The size of the cache for recently read rows, in MiB; 0 turns it off.
    pub row_cache_mb: u64,
}

impl VaultConfig {
    /// Returns the size of the engine's cache in bytes.
    pub fn cache_bytes(&self) -> u64 {
        self.cache_mb.saturating_mul(1_024 * 1_024)
    }

    /// Returns the size of the row cache in bytes.
    pub fn row_cache_bytes(&self) -> u64 {
        self.row_cache_mb.saturating_mul(1_024 * 1_024)
    }
}

/// The policies in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// A directory of policies, or one file: an absolute path.
    pub path: PathBuf,
    /// The configured policy of requests that name none.
    pub default: Option<String>,
}

/// The grace period of old keys, and how missing keys affect values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyConfig {
    /// Days of grace after a key was replaced: 0 to 3,650.
    pub grace_days: u32,
    /// What happens after the grace period.
    pub grace_action: GraceAction,
    /// Key ids whose values may get second tokens while the vault has records under a key that is not loaded.
    pub accept_second_tokens: BTreeSet<Kid>,
}

/// How long sessions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Days after a session was closed or last used: 1 to 3,650.
    pub retention_days: u32,
}

/// What the daemon writes to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The lowest level that is written.
    pub level: LogLevel,
    /// The format. The default is pretty on a terminal and JSON elsewhere.
    pub format: LogFormat,
}
