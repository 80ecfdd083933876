//! Finds the configuration, and applies command-line options, variables and defaults.

use std::path::{Path, PathBuf};

use super::{
    clients::AccessConfig,
    error::{ConfigErrors, ErrorCollector},
    file::FileSettings,
    host::{CommandLineOptions, HostEnvironment, absolute},
    settings::{
        Config, GRACE_DAYS_MAX, KeyConfig, LogConfig, PolicyConfig, SESSION_RETENTION_DAYS_MAX, ServerConfig,
        SessionConfig, VaultConfig,
    },
    trust::is_trusted_directory,
};
use masker_core::keyring::GraceAction;
use masker_types::{
    engine::EngineKind,
    limits::{BODY_SECONDS_DEFAULT, HEAD_SECONDS_DEFAULT, SESSION_RETENTION_DAYS_DEFAULT, WRITE_STALL_SECONDS_DEFAULT},
    log::{LogFormat, LogLevel},
};

/// The default grace period of an old key, in days.
const GRACE_DAYS_DEFAULT: u32 = 30;
/// The default size of the engine's cache, in MiB.
const CACHE_MB_DEFAULT: u64 = 128;
/// The default size of the row cache, in MiB.
const ROW_CACHE_MB_DEFAULT: u64 = 128;
/// The default data directory of root.
const SYSTEM_DATA_DIR: &str = "/var/lib/masker";
/// The longest path of a Unix socket, in bytes: the size of `sun_path` without its terminating zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

impl Config {
    /// Finds and reads the configuration. The file is the first one of: `--config`, `MASKER_CONFIG`, `./masker.toml`,
    /// `~/.config/masker/config.toml`, `/etc/masker/masker.toml`. `--socket` and the variables `MASKER_SOCKET`,
    /// `MASKER_DATA_DIR`, `MASKER_VAULT_ENGINE`, `MASKER_POLICY_PATH`, `MASKER_AUDIT_LOG_PATH`,
    /// `MASKER_KEY_ROTATION_GRACE_DAYS`, `MASKER_SESSION_METADATA_RETENTION_DAYS`, `MASKER_LOG_LEVEL` and
    /// `MASKER_LOG_FORMAT` override the file. An empty variable counts as unset.
    ///
    /// # Errors
    /// All errors of the file and the variables.
    pub fn load(options: CommandLineOptions<'_>, host: HostEnvironment<'_>) -> Result<Config, ConfigErrors> {
        let mut errors = ErrorCollector::default();
        let (file, settings) = FileSettings::find(options.config, host, &mut errors);
        let config = Overrides { options, host, errors: &mut errors }.resolve(file, settings);
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
    pub fn find_socket_path(
        options: CommandLineOptions<'_>,
        host: HostEnvironment<'_>,
    ) -> Result<PathBuf, ConfigErrors> {
        let mut errors = ErrorCollector::default();
        let settings = if options.socket.is_some() || host.environment.setting("MASKER_SOCKET").is_some() {
            FileSettings::default()
        } else {
            FileSettings::find(options.config, host, &mut errors).1
        };
        let socket = Overrides { options, host, errors: &mut errors }.socket(settings.socket);
        errors.into_result(socket)
    }
}

/// Applies command-line options, variables and defaults to the settings of a file.
struct Overrides<'a> {
    options: CommandLineOptions<'a>,
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
            let is_own = local.is_dir() && is_trusted_directory(&local, self.host.uid);
            if is_own { local } else { self.host.system_dir.join("policies") }
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
            audit: settings.audit.resolve(audit_path.or_else(|| Self::audit_dir(data_dir.as_deref()?))?),
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
        let flag = self.options.socket.map(|path| absolute(self.host.current_dir, path));
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
        // Without a runtime directory, as under su or cron: no other user can write to the state directory.
        Some(runtime_dir.or_else(|| self.state_dir())?.join("masker.sock"))
    }

    fn state_dir(&self) -> Option<PathBuf> {
        if self.host.uid == 0 {
            return Some(PathBuf::from(SYSTEM_DATA_DIR));
        }
        let home = || self.host.absolute_path("HOME").map(|home| home.join(".local/state"));
        Some(self.host.absolute_path("XDG_STATE_HOME").or_else(home)?.join("masker"))
    }

    /// Returns the default directory of the audit log. It is outside of the data directory, so that what removes or
    /// restores the one does not do so with the other, and each data directory has its own.
    fn audit_dir(data_dir: &Path) -> Option<PathBuf> {
        if data_dir == Path::new(SYSTEM_DATA_DIR) {
            return Some(PathBuf::from("/var/log/masker"));
        }
        let mut name = data_dir.file_name()?.to_owned();
        name.push("-audit");
        Some(data_dir.with_file_name(name))
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

fn choice<T: Copy>(choices: &[(&str, T)], text: &str) -> Option<T> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice)
}
