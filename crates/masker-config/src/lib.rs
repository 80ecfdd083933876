//! Configuration: `masker.toml`, the environment variables that override it, the policies, and the credentials.
//!
//! - [`Config::load`] finds and reads the configuration file and the variables, and reports every error at once.
//! - [`load_policies`] reads the policies that it names.
//! - [`Credentials::collect`] reads the keys. Keys have no place in the configuration file, which is easy to read for
//!   others; they come from variables, key files or systemd credentials.
//!
//! This crate reads files, but nothing of the process: the environment, the user and the working directory are arguments
//! ([`HostEnvironment`]).
//!
//! This crate uses `masker-core` and `masker-types`. `masker-access`, `masker-http`, `masker-cli` and the daemon use it.

mod audit;
mod clients;
mod credentials;
mod environment;
mod error;
mod file;
mod key_file;
mod policies;
mod sandbox;
#[cfg(test)]
mod tests;
mod text_file;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

pub use audit::AuditConfig;
pub use clients::{AccessConfig, ClientConfig};
pub use credentials::{
    CredentialProblem, CredentialProblems, CredentialSurvey, Credentials, KeySources, OriginKind, ReloadedKeys,
    SecretOrigin, is_secret_name,
};
pub use environment::Environment;
use error::ErrorCollector;
pub use error::{ConfigError, ConfigErrors};
use file::FileSettings;
pub use policies::{load_policies, load_policy};
pub use sandbox::{SandboxConfig, SeccompMode};

use masker_core::keyring::GraceAction;
use masker_types::{
    kind::Kid,
    limits::{BODY_SECONDS_DEFAULT, HEAD_SECONDS_DEFAULT, SESSION_RETENTION_DAYS_DEFAULT, WRITE_STALL_SECONDS_DEFAULT},
};

pub use masker_types::engine::EngineKind;

/// The longest grace period of an old key, in days: ten years.
const GRACE_DAYS_MAX: u64 = 3_650;
/// The default grace period of an old key, in days.
const GRACE_DAYS_DEFAULT: u32 = 30;
/// The longest time for which sessions are kept, in days: ten years.
const SESSION_RETENTION_DAYS_MAX: u64 = 3_650;
/// The default size of the engine's cache, in MiB.
const CACHE_MB_DEFAULT: u64 = 128;
/// The default size of the row cache, in MiB.
const ROW_CACHE_MB_DEFAULT: u64 = 128;
/// The longest path of a Unix socket, in bytes: the size of `sun_path` without its terminating zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The directory of the host's configuration.
pub const SYSTEM_DIR: &str = "/etc/masker";

/// All settings, with deerrors applied.
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

/// The level of a log event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something will fail, or is not as it should be.
    Warn,
    /// Information about a healthy daemon for its operator.
    Info,
    /// Information that helps to find an error.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    const ALL: [LogLevel; 5] = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];

    fn choices() -> [(&'static str, LogLevel); 5] {
        Self::ALL.map(|level| (level.as_str(), level))
    }

    /// Returns the name of the level in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Pretty,
}

impl LogFormat {
    const CHOICES: [(&str, LogFormat); 2] = [("json", LogFormat::Json), ("pretty", LogFormat::Pretty)];
}

/// The flags that override the file and the variables.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags<'a> {
    /// `--config`: the configuration file.
    pub config: Option<&'a Path>,
    /// `--socket`: the path of the socket.
    pub socket: Option<&'a Path>,
}

/// What the configuration depends on besides its file.
#[derive(Clone, Copy)]
pub struct HostEnvironment<'a> {
    /// The environment.
    pub environment: &'a Environment,
    /// The effective user id. Root has other default paths than other users.
    pub uid: u32,
    /// The working directory, absolute. Paths in variables are relative to it.
    pub current_dir: &'a Path,
    /// The directory of the host's configuration: [`SYSTEM_DIR`].
    pub system_dir: &'a Path,
    /// Whether the log goes to a terminal.
    pub log_is_terminal: bool,
}

impl Config {
    /// Finds and reads the configuration. The file is the first one of: `--config`, `MASKER_CONFIG`, `./masker.toml`,
    /// `~/.config/masker/config.toml`, `/etc/masker/masker.toml`. `--socket` and the variables `MASKER_SOCKET`,
    /// `MASKER_DATA_DIR`, `MASKER_VAULT_ENGINE`, `MASKER_POLICY_PATH`, `MASKER_AUDIT_LOG_PATH`,
    /// `MASKER_KEY_ROTATION_GRACE_DAYS`, `MASKER_SESSION_METADATA_RETENTION_DAYS`, `MASKER_LOG_LEVEL` and
    /// `MASKER_LOG_FORMAT` override the file. An empty variable counts as unset.
    ///
    /// # Errors
    /// All errors of the file and the variables.
    pub fn load(flags: Flags<'_>, host: HostEnvironment<'_>) -> Result<Config, ConfigErrors> {
        let mut errors = ErrorCollector::default();
        let (file, settings) = FileSettings::find(flags.config, host, &mut errors);
        let config = Overrides { flags, host, errors: &mut errors }.resolve(file, settings);
        errors.into_result(config)
    }

    /// Reads `[[clients]]` and `[access]` of a file again. The other settings are in force until the next start.
    ///
    /// # Errors
    /// All errors of the file.
    pub fn reload_access(file: &Path) -> Result<AccessConfig, ConfigErrors> {
        let mut errors = ErrorCollector::default();
        let settings = FileSettings::read_or_report(file, &mut errors);
        errors.into_result(Some(settings.access))
    }

    /// Finds the path of the socket only, for a client, which needs no other setting.
    ///
    /// # Errors
    /// All errors of the file, or that there is no default.
    pub fn load_socket(flags: Flags<'_>, host: HostEnvironment<'_>) -> Result<PathBuf, ConfigErrors> {
        let mut errors = ErrorCollector::default();
        let settings = if flags.socket.is_some() || host.environment.setting("MASKER_SOCKET").is_some() {
            FileSettings::default()
        } else {
            FileSettings::find(flags.config, host, &mut errors).1
        };
        let socket = Overrides { flags, host, errors: &mut errors }.socket(settings.socket);
        errors.into_result(socket)
    }
}

/// Applies flags, variables and deerrors to the settings of a file.
struct Overrides<'a> {
    flags: Flags<'a>,
    host: HostEnvironment<'a>,
    errors: &'a mut ErrorCollector,
}

impl Overrides<'_> {
    fn resolve(mut self, file: Option<PathBuf>, settings: FileSettings) -> Option<Config> {
        let socket = self.socket(settings.socket);
        let data_dir = self.path("MASKER_DATA_DIR").or(settings.data_dir).or_else(|| {
            let default = self.state_dir();
            if default.is_none() {
                self.errors.add("[vault] data_dir", "has no default if HOME is not set: set it, or MASKER_DATA_DIR");
            }
            default
        });
        let audit_path = self.path("MASKER_AUDIT_LOG_PATH").or(settings.audit.path.clone());
        let engine = self.variable("MASKER_VAULT_ENGINE", "fjall or sled", |text| choice(&EngineKind::CHOICES, text));
        let policies = self.path("MASKER_POLICY_PATH").or(settings.policy_path).unwrap_or_else(|| {
            let local = self.host.current_dir.join("policies");
            if local.is_dir() { local } else { self.host.system_dir.join("policies") }
        });
        let grace_days =
            self.variable("MASKER_KEY_ROTATION_GRACE_DAYS", "a whole number of days, at most 3650", |text| {
                text.parse().ok().filter(|days| u64::from(*days) <= GRACE_DAYS_MAX)
            });
        let session_days =
            self.variable("MASKER_SESSION_METADATA_RETENTION_DAYS", "a whole number of days, 1 to 3650", |text| {
                text.parse().ok().filter(|days| (1..=SESSION_RETENTION_DAYS_MAX).contains(&u64::from(*days)))
            });
        let level = self.variable("MASKER_LOG_LEVEL", "error, warn, info, debug or trace", |text| {
            choice(&LogLevel::choices(), text)
        });
        let format = self.variable("MASKER_LOG_FORMAT", "json or pretty", |text| choice(&LogFormat::CHOICES, text));
        Some(Config {
            file,
            server: ServerConfig {
                socket: socket?,
                socket_mode: settings.socket_mode.unwrap_or(0o660),
                head_timeout_seconds: settings.head_timeout_seconds.unwrap_or(HEAD_SECONDS_DEFAULT),
                body_timeout_seconds: settings.body_timeout_seconds.unwrap_or(BODY_SECONDS_DEFAULT),
                write_timeout_seconds: settings.write_timeout_seconds.unwrap_or(WRITE_STALL_SECONDS_DEFAULT),
                socket_group: settings.socket_group,
            },
            audit: settings.audit.resolve(audit_path.or_else(|| Some(data_dir.as_ref()?.join("audit")))?),
            vault: VaultConfig {
                data_dir: data_dir?,
                engine: engine.or(settings.engine),
                cache_mb: settings.cache_mb.unwrap_or(CACHE_MB_DEFAULT),
                row_cache_mb: settings.row_cache_mb.unwrap_or(ROW_CACHE_MB_DEFAULT),
            },
            policy: PolicyConfig { path: policies, default: settings.policy_default },
            keys: KeyConfig {
                grace_days: grace_days.or(settings.grace_days).unwrap_or(GRACE_DAYS_DEFAULT),
                grace_action: settings.grace_action.unwrap_or(GraceAction::Warn),
                accept_second_tokens: settings.accept_second_tokens,
            },
            sessions: SessionConfig {
                retention_days: session_days
                    .or(settings.session_retention_days)
                    .unwrap_or(SESSION_RETENTION_DAYS_DEFAULT),
            },
            access: settings.access,
            sandbox: settings.sandbox,
            log: LogConfig {
                level: level.or(settings.log_level).unwrap_or(LogLevel::Info),
                format: format.or(settings.log_format).unwrap_or(if self.host.log_is_terminal {
                    LogFormat::Pretty
                } else {
                    LogFormat::Json
                }),
            },
        })
    }

    fn socket(&mut self, configured: Option<PathBuf>) -> Option<PathBuf> {
        let flag = self.flags.socket.map(|path| absolute(self.host.current_dir, path));
        let variable = self.path("MASKER_SOCKET");
        let place = match (&flag, &variable) {
            (Some(_), _) => "--socket",
            (None, Some(_)) => "MASKER_SOCKET",
            (None, None) => "[server] socket",
        };
        let socket = flag.or(variable).or(configured).or_else(|| self.default_socket());
        let Some(socket) = socket else {
            let message = "has no default if neither XDG_RUNTIME_DIR nor HOME is set: set it, or MASKER_SOCKET";
            self.errors.add(place, message);
            return None;
        };
        let bytes = socket.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            let message = format!(
                "{} is {bytes} bytes long, and the path of a socket has at most {SOCKET_PATH_BYTES_MAX}",
                socket.display()
            );
            self.errors.add(place, message);
        }
        Some(socket)
    }

    fn default_socket(&self) -> Option<PathBuf> {
        if self.host.uid == 0 {
            return Some(PathBuf::from("/run/masker/masker.sock"));
        }
        let runtime_dir = self.host.absolute_path("XDG_RUNTIME_DIR").map(|dir| dir.join("masker"));
        // Without a runtime directory, as under su or cron, the state directory is one that no other user can write to.
        Some(runtime_dir.or_else(|| self.state_dir())?.join("masker.sock"))
    }

    fn state_dir(&self) -> Option<PathBuf> {
        if self.host.uid == 0 {
            return Some(PathBuf::from("/var/lib/masker"));
        }
        let home = || self.host.absolute_path("HOME").map(|home| home.join(".local/state"));
        Some(self.host.absolute_path("XDG_STATE_HOME").or_else(home)?.join("masker"))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.host.environment.setting(name).map(|path| absolute(self.host.current_dir, path))
    }

    fn variable<T>(&mut self, name: &str, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = self.host.environment.setting(name)?;
        let parsed = value.to_str().and_then(parse);
        if parsed.is_none() {
            self.errors.add(name, format!("must be {expected}"));
        }
        parsed
    }
}

impl HostEnvironment<'_> {
    /// Returns the absolute path in a variable. The XDG specification says that relative ones are ignored.
    fn absolute_path(&self, name: &str) -> Option<PathBuf> {
        self.environment.setting(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }
}

/// Returns a path relative to `directory` as an absolute one, without `.` components.
fn absolute(directory: &Path, path: impl AsRef<OsStr>) -> PathBuf {
    let path = Path::new(&path);
    directory.join(path).components().filter(|part| !matches!(part, Component::CurDir)).collect()
}

fn choice<T: Copy>(choices: &[(&str, T)], text: &str) -> Option<T> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice)
}
