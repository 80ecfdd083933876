//! `masker.toml`.

use std::{
    collections::BTreeSet,
    fs::Metadata,
    io,
    path::{Path, PathBuf},
};

use super::{
    audit::AuditSettings,
    clients::{self, AccessConfig},
    error::ErrorCollector,
    fields::{name, path},
    host::{HostEnvironment, absolute},
    sandbox::SandboxConfig,
    settings::{GRACE_DAYS_MAX, SESSION_RETENTION_DAYS_MAX},
    text_file::{self, TextFileError},
    trust::{is_trusted, is_trusted_directory},
};
use masker_core::{
    document::{Document, DocumentError, Located, Section},
    keyring::GraceAction,
};
use masker_types::{
    engine::EngineKind,
    kind::Kid,
    limits::CLIENT_SECONDS_MAX,
    log::{LogFormat, LogLevel},
    quote::quoted,
};

/// The mode bits that a socket must have: the user of the daemon can connect to it.
const OWNER_MODE: u32 = 0o600;
/// The mode bit that lets every user of the host connect to a socket.
const OTHERS_WRITE: u32 = 0o002;

/// The settings of a file, without defaults.
#[derive(Default)]
pub(super) struct FileSettings {
    pub(super) socket: Option<PathBuf>,
    pub(super) socket_mode: Option<u32>,
    pub(super) socket_group: Option<String>,
    pub(super) head_timeout_seconds: Option<u64>,
    pub(super) body_timeout_seconds: Option<u64>,
    pub(super) write_timeout_seconds: Option<u64>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) engine: Option<EngineKind>,
    pub(super) cache_mb: Option<u64>,
    pub(super) row_cache_mb: Option<u64>,
    pub(super) policy_path: Option<PathBuf>,
    pub(super) policy_default: Option<String>,
    pub(super) grace_days: Option<u32>,
    pub(super) grace_action: Option<GraceAction>,
    pub(super) accept_second_tokens: BTreeSet<Kid>,
    pub(super) session_retention_days: Option<u32>,
    pub(super) audit: AuditSettings,
    pub(super) access: AccessConfig,
    pub(super) sandbox: SandboxConfig,
    pub(super) log_level: Option<LogLevel>,
    pub(super) log_format: Option<LogFormat>,
}

/// Returns whether only the user and root can change a file of the working directory that has this metadata. The directory
/// counts because a link in it can lead to a file of root.
fn is_own(host: HostEnvironment<'_>, found: &Metadata) -> bool {
    is_trusted(found, host.uid) && is_trusted_directory(host.current_dir, host.uid)
}

/// Returns whether this user may not enter the directory of a file.
fn is_out_of_reach(file: &Path) -> bool {
    file.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

impl FileSettings {
    /// Returns the first file of the search order, and its settings. A file that a flag or variable names must exist. The
    /// other files are optional, but an existing file that cannot be read is an error, because its settings should apply.
    pub(super) fn find(
        flag: Option<&Path>,
        host: HostEnvironment<'_>,
        errors: &mut ErrorCollector,
    ) -> (Option<PathBuf>, Self) {
        let variable = host.environment.setting("MASKER_CONFIG").map(Path::new);
        if let Some(named) = flag.or(variable) {
            let file = absolute(host.current_dir, named);
            let settings = Self::read_or_report(&file, errors);
            return (Some(file), settings);
        }
        let home = host.absolute_path("HOME").map(|home| home.join(".config/masker/config.toml"));
        let usual = [Some(host.current_dir.join("masker.toml")), home, Some(host.system_dir.join("masker.toml"))];
        for file in usual.into_iter().flatten() {
            let is_local = file.parent() == Some(host.current_dir);
            match Self::read_with_metadata(&file) {
                Ok((_, found)) if is_local && !is_own(host, &found) => {
                    let message = "another user owns or can change this file or its directory, and could name a socket of theirs: \
                                   name it with --config if you trust it, or run the command in another directory";
                    errors.add(file.display(), message);
                    return (Some(file), FileSettings::default());
                }
                Ok((settings, _)) => return (Some(file), settings),
                Err(FileError::Text(TextFileError::NotFound)) => {}
                // As another user in root's directory, for example: nobody knows whether there is a file.
                Err(_) if file.parent() != Some(host.system_dir) && is_out_of_reach(&file) => {}
                Err(error) => {
                    let settings = error.report(&file, errors);
                    return (Some(file), settings);
                }
            }
        }
        (None, FileSettings::default())
    }

    /// Returns the settings of a file that must exist, or reports why they cannot be read.
    pub(super) fn read_or_report(file: &Path, errors: &mut ErrorCollector) -> Self {
        Self::read(file).unwrap_or_else(|error| error.report(file, errors))
    }

    fn read(file: &Path) -> Result<Self, FileError> {
        Self::read_with_metadata(file).map(|(settings, _)| settings)
    }

    fn read_with_metadata(file: &Path) -> Result<(Self, Metadata), FileError> {
        let (text, found) = text_file::read_with_metadata(file).map_err(FileError::Text)?;
        Self::parse(&text, file).map(|settings| (settings, found)).map_err(FileError::Problems)
    }

    /// Parses the text of a file. Paths are relative to its directory.
    pub(super) fn parse(text: &str, file: &Path) -> Result<Self, Vec<DocumentError>> {
        let document = Document::parse(text);
        let mut settings = FileSettings::default();
        settings.read_sections(&document.root(), file);
        let problems = document.into_problems();
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    fn read_sections(&mut self, root: &Section<'_>, file: &Path) {
        let base = file.parent().unwrap_or(Path::new("/"));
        if let Some(server) = root.section("server") {
            self.socket = path(&server, "socket", base);
            self.socket_mode = server.string("socket_mode").and_then(|mode| socket_mode(&server, mode));
            self.socket_group = name(&server, "socket_group");
            let seconds = |name| server.integer(name, 1..=CLIENT_SECONDS_MAX).map(|seconds| seconds.value);
            self.head_timeout_seconds = seconds("head_timeout_seconds");
            self.body_timeout_seconds = seconds("body_timeout_seconds");
            self.write_timeout_seconds = seconds("write_timeout_seconds");
            server.finish();
        }
        if let Some(vault) = root.section("vault") {
            self.data_dir = path(&vault, "data_dir", base);
            self.engine = vault.choice("engine", &EngineKind::CHOICES).map(|engine| engine.value);
            self.cache_mb = vault.integer("cache_mb", 8..=1_048_576).map(|size| size.value);
            self.row_cache_mb = vault.integer("row_cache_mb", 0..=1_048_576).map(|size| size.value);
            vault.finish();
        }
        if let Some(policy) = root.section("policy") {
            self.policy_path = path(&policy, "path", base);
            self.policy_default = name(&policy, "default");
            policy.finish();
        }
        if let Some(keys) = root.section("keys") {
            let days = keys.integer("grace_days", 0..=GRACE_DAYS_MAX);
            self.grace_days = days.and_then(|days| u32::try_from(days.value).ok());
            let choices = [("warn", GraceAction::Warn), ("refuse", GraceAction::Refuse)];
            self.grace_action = keys.choice("grace_action", &choices).map(|action| action.value);
            self.accept_second_tokens = kids(&keys, "accept_second_tokens");
            keys.finish();
        }
        if let Some(sessions) = root.section("sessions") {
            let days = sessions.integer("retention_days", 1..=SESSION_RETENTION_DAYS_MAX);
            self.session_retention_days = days.and_then(|days| u32::try_from(days.value).ok());
            sessions.finish();
        }
        self.audit = AuditSettings::read(root, base);
        self.access = clients::read(root, file);
        self.sandbox = SandboxConfig::read(root);
        if let Some(log) = root.section("log") {
            self.log_level = log.choice("level", &LogLevel::choices()).map(|level| level.value);
            self.log_format = log.choice("format", &LogFormat::CHOICES).map(|format| format.value);
            log.finish();
        }
        root.finish();
    }
}

enum FileError {
    Text(TextFileError),
    Problems(Vec<DocumentError>),
}

impl FileError {
    fn report(self, file: &Path, errors: &mut ErrorCollector) -> FileSettings {
        match self {
            FileError::Text(error) => errors.add_text_file_error(file, error),
            FileError::Problems(problems) => errors.add_problems(file, problems),
        }
        FileSettings::default()
    }
}

/// Reads key ids. They may be in lower case, as in policies.
fn kids(section: &Section<'_>, name: &'static str) -> BTreeSet<Kid> {
    let mut kids = BTreeSet::new();
    for Located { value, line } in section.strings(name).unwrap_or_default() {
        match Kid::parse(&value.to_ascii_uppercase()) {
            Some(kid) => drop(kids.insert(kid)),
            None => section.report(
                line,
                format!("`{name}` contains {}, which is not a key id: write it as in MASKER_KEY_<KID>", quoted(value)),
            ),
        }
    }
    kids
}

/// Parses the mode of the socket. Write permission on the socket is permission to connect, and callers that can connect
/// can ask for every value.
fn socket_mode(section: &Section<'_>, mode: Located<&str>) -> Option<u32> {
    let digits = mode.value.strip_prefix("0o").unwrap_or(mode.value);
    let octal = digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| octal && *bits <= 0o777);
    let problem = match bits {
        None => "must be octal digits in quotes, such as \"0660\"",
        Some(bits) if bits & OTHERS_WRITE != 0 => {
            "would let every user of this host connect and ask for every value: \
             use \"0660\", and `socket_group` for those who may connect"
        }
        Some(bits) if bits & OWNER_MODE != OWNER_MODE => {
            "would keep the daemon's own user from connecting: begin with 06, as in \"0660\" or \"0600\""
        }
        Some(bits) => return Some(bits),
    };
    section.report(mode.line, format!("`socket_mode` {problem}"));
    None
}
