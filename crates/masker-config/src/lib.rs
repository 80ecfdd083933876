//! What an operator can set: `masker.toml`, the variables that override it, and the policies beside it.
//!
//! Files are read here, but nothing is taken from the process: the environment, the user and the working directory
//! are arguments ([`HostEnvironment`]). Secrets are no settings: they have no place in a file that is this easy to read, and
//! come by ways of their own ([`Credentials`]).

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

/// Bounds of the grace period of old keys, in days: ten years are no grace any more.
const GRACE_DAYS_MAX: u64 = 3_650;
/// Grace period of old keys where nothing is set, in days.
const GRACE_DAYS_DEFAULT: u32 = 30;
/// Longest time for which sessions are remembered, in days: ten years.
const SESSION_RETENTION_DAYS_MAX: u64 = 3_650;
/// Memory for the vault's cache where nothing is set, in MiB.
const CACHE_MB_DEFAULT: u64 = 128;
const ROW_CACHE_MB_DEFAULT: u64 = 128;
/// Longest path of a Unix socket, in bytes: the size of `sun_path` without its closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Where a host keeps masker's configuration for everybody.
pub const SYSTEM_DIR: &str = "/etc/masker";

/// Everything that can be set, with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from; `None` where there is none.
    pub file: Option<PathBuf>,
    /// `[server]`: where the daemon listens.
    pub server: ServerConfig,
    /// `[vault]`: where records are kept.
    pub vault: VaultConfig,
    /// `[policy]`: which policies are in force.
    pub policy: PolicyConfig,
    /// `[keys]`: how long old keys are good for, and what becomes of values while one is missing.
    pub keys: KeyConfig,
    /// `[sessions]`: how long sessions are remembered.
    pub sessions: SessionConfig,
    /// `[audit]`: how the audit log is kept.
    pub audit: AuditConfig,
    /// `[[clients]]` and `[access]`: who may do what.
    pub access: AccessConfig,
    /// `[sandbox]`: what the daemon gives up once it has started.
    pub sandbox: SandboxConfig,
    /// `[log]`: what is written to standard error.
    pub log: LogConfig,
}

/// Where the daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The socket: an absolute path of at most 107 bytes.
    pub socket: PathBuf,
    /// Its mode: `0o600` and any of the bits that do not let every user write.
    pub socket_mode: u32,
    /// The group that it belongs to, by name or number; the daemon's own where `None`.
    pub socket_group: Option<String>,
    /// Time a client has to send a request's head, and for which a kept-alive connection may idle, in seconds.
    pub head_timeout_seconds: u64,
    /// Time a client has to send a whole body, in seconds.
    pub body_timeout_seconds: u64,
    /// Time for which a client may refuse to take bytes of an answer, in seconds.
    pub write_timeout_seconds: u64,
}

/// Where records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultConfig {
    /// The directory of the vault: an absolute path.
    pub data_dir: PathBuf,
    /// Which engine keeps its rows. `None` is the engine of the vault in the data directory, and fjall for a new vault.
    pub engine: Option<EngineKind>,
    /// What the store's cache holds, in MiB. sled counts what lies on the disk, and takes about twice that in memory.
    pub cache_mb: u64,
    /// MiB for rows that were read lately; 0 for none.
    pub row_cache_mb: u64,
}

impl VaultConfig {
    /// Memory for the store's cache, in bytes.
    pub fn cache_bytes(&self) -> u64 {
        self.cache_mb.saturating_mul(1_024 * 1_024)
    }

    /// Memory for rows that were read lately, in bytes.
    pub fn row_cache_bytes(&self) -> u64 {
        self.row_cache_mb.saturating_mul(1_024 * 1_024)
    }
}

/// Which policies are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// A directory of policies, or one policy: an absolute path.
    pub path: PathBuf,
    /// The policy for requests that name none, where one is configured.
    pub default: Option<String>,
}

/// How long old keys are good for, and what becomes of values while one is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyConfig {
    /// Days from the moment at which a key became old: 0 to 3,650.
    pub grace_days: u32,
    /// What becomes of them after that.
    pub grace_action: GraceAction,
    /// Kids whose values may get second tokens while the vault holds records of them under a key that is not loaded.
    pub accept_second_tokens: BTreeSet<Kid>,
}

/// How long sessions are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Days from the moment at which a session was closed, or last used where it is open: 1 to 3,650.
    pub retention_days: u32,
}

/// What is written to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The least weighty events that are written.
    pub level: LogLevel,
    /// The form. Where nothing is set, it is pretty on a terminal and JSON elsewhere.
    pub format: LogFormat,
}

/// How weighty an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something will fail, or is not what it should be.
    Warn,
    /// What an operator wants to know of a healthy daemon.
    Info,
    /// What helps to find a fault.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    const ALL: [LogLevel; 5] = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];

    fn choices() -> [(&'static str, LogLevel); 5] {
        Self::ALL.map(|level| (level.as_str(), level))
    }

    /// The name that configuration uses.
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

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

impl LogFormat {
    const CHOICES: [(&str, LogFormat); 2] = [("json", LogFormat::Json), ("pretty", LogFormat::Pretty)];
}

/// What the command line says before anything else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags<'a> {
    /// `--config`: the configuration file.
    pub config: Option<&'a Path>,
    /// `--socket`: where the daemon listens.
    pub socket: Option<&'a Path>,
}

/// What the configuration depends on besides its file.
#[derive(Clone, Copy)]
pub struct HostEnvironment<'a> {
    /// The environment.
    pub environment: &'a Environment,
    /// The effective user id. Root has other default paths than everybody else.
    pub uid: u32,
    /// The working directory, absolute. Relative paths of variables start there.
    pub current_dir: &'a Path,
    /// Where the host keeps configuration for everybody: [`SYSTEM_DIR`].
    pub system_dir: &'a Path,
    /// Whether the log goes to a terminal.
    pub log_is_terminal: bool,
}

impl Config {
    /// Finds and reads the configuration: the file given (`--config`), else that of `MASKER_CONFIG`, else
    /// `./masker.toml`, `~/.config/masker/config.toml` or `/etc/masker/masker.toml`, the first that is there; then
    /// `--socket` and the variables `MASKER_SOCKET`, `MASKER_DATA_DIR`, `MASKER_POLICY_PATH`, `MASKER_AUDIT_LOG_PATH`,
    /// `MASKER_KEY_ROTATION_GRACE_DAYS`, `MASKER_SESSION_METADATA_RETENTION_DAYS`, `MASKER_LOG_LEVEL` and `MASKER_LOG_FORMAT`, which count before the file. An empty variable counts as absent.
    ///
    /// # Errors
    /// Everything that is wrong with the file and the variables.
    pub fn load(flags: Flags<'_>, host: HostEnvironment<'_>) -> Result<Config, ConfigErrors> {
        let mut faults = ErrorCollector::default();
        let (file, settings) = FileSettings::find(flags.config, host, &mut faults);
        let config = Overrides { flags, host, faults: &mut faults }.resolve(file, settings);
        faults.or(config)
    }

    /// What a file says of clients and their access now: the rest of a configuration holds until the next start.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn reload_access(file: &Path) -> Result<AccessConfig, ConfigErrors> {
        let mut faults = ErrorCollector::default();
        let settings = FileSettings::read_or_note(file, &mut faults);
        faults.or(Some(settings.access))
    }

    /// The socket alone, for a client: a vault or policies that it could not use do not concern it.
    ///
    /// # Errors
    /// Everything that is wrong with the file, or why there is no default.
    pub fn load_socket(flags: Flags<'_>, host: HostEnvironment<'_>) -> Result<PathBuf, ConfigErrors> {
        let mut faults = ErrorCollector::default();
        let settings = if flags.socket.is_some() || host.environment.setting("MASKER_SOCKET").is_some() {
            FileSettings::default()
        } else {
            FileSettings::find(flags.config, host, &mut faults).1
        };
        let socket = Overrides { flags, host, faults: &mut faults }.socket(settings.socket);
        faults.or(socket)
    }
}

/// Flags, variables and defaults, around what a file says.
struct Overrides<'a> {
    flags: Flags<'a>,
    host: HostEnvironment<'a>,
    faults: &'a mut ErrorCollector,
}

impl Overrides<'_> {
    fn resolve(mut self, file: Option<PathBuf>, settings: FileSettings) -> Option<Config> {
        let socket = self.socket(settings.socket);
        let data_dir = self.path("MASKER_DATA_DIR").or(settings.data_dir).or_else(|| {
            let default = self.state_dir();
            if default.is_none() {
                self.faults.add("[vault] data_dir", "has no default without HOME: set it, or MASKER_DATA_DIR");
            }
            default
        });
        let audit_path = self.path("MASKER_AUDIT_LOG_PATH").or(settings.audit.path.clone());
        let engine = self.variable("MASKER_VAULT_ENGINE", "fjall or sled", |text| chosen(&EngineKind::CHOICES, text));
        let policies = self.path("MASKER_POLICY_PATH").or(settings.policy_path).unwrap_or_else(|| {
            let beside = self.host.current_dir.join("policies");
            if beside.is_dir() { beside } else { self.host.system_dir.join("policies") }
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
            chosen(&LogLevel::choices(), text)
        });
        let format = self.variable("MASKER_LOG_FORMAT", "json or pretty", |text| chosen(&LogFormat::CHOICES, text));
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
            let message = "has no default without XDG_RUNTIME_DIR and HOME: set it, or MASKER_SOCKET";
            self.faults.add(place, message);
            return None;
        };
        let bytes = socket.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            let message = format!(
                "{} has {bytes} bytes, and the path of a socket can have {SOCKET_PATH_BYTES_MAX} at most",
                socket.display()
            );
            self.faults.add(place, message);
        }
        Some(socket)
    }

    fn default_socket(&self) -> Option<PathBuf> {
        if self.host.uid == 0 {
            return Some(PathBuf::from("/run/masker/masker.sock"));
        }
        let runtime_dir = self.host.absolute("XDG_RUNTIME_DIR").map(|dir| dir.join("masker"));
        // A session without a runtime directory, as under su or cron: a place that no other user can write to.
        Some(runtime_dir.or_else(|| self.state_dir())?.join("masker.sock"))
    }

    fn state_dir(&self) -> Option<PathBuf> {
        if self.host.uid == 0 {
            return Some(PathBuf::from("/var/lib/masker"));
        }
        let home = || self.host.absolute("HOME").map(|home| home.join(".local/state"));
        Some(self.host.absolute("XDG_STATE_HOME").or_else(home)?.join("masker"))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.host.environment.setting(name).map(|path| absolute(self.host.current_dir, path))
    }

    fn variable<T>(&mut self, name: &str, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = self.host.environment.setting(name)?;
        let read = value.to_str().and_then(read);
        if read.is_none() {
            self.faults.add(name, format!("must be {expected}"));
        }
        read
    }
}

impl HostEnvironment<'_> {
    /// A variable that names a directory. The XDG rules say that a relative one is to be ignored.
    fn absolute(&self, name: &str) -> Option<PathBuf> {
        self.environment.setting(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }
}

/// A path that may be relative to a directory, without the `.` that it may begin with.
fn absolute(directory: &Path, path: impl AsRef<OsStr>) -> PathBuf {
    let path = Path::new(&path);
    directory.join(path).components().filter(|part| !matches!(part, Component::CurDir)).collect()
}

fn chosen<T: Copy>(choices: &[(&str, T)], text: &str) -> Option<T> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice)
}
