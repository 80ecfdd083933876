//! Which daemon and which configuration are examined.
//!
//! The same host can have several daemons: the one of the package, one of `make run`, one under test. What doctor finds is about the
//! configuration that it names, and the findings say so if a daemon uses another one.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use super::{
    files::user_name,
    finding::{Finding, look_as},
    finding_id::FindingId,
    keys::{KeyPlace, has_keys},
    units::InstalledUnits,
};
use crate::key_files::quoted;
use masker_api::DaemonConfiguration;
use masker_config::{CommandLineOptions, Config, ConfigErrors, Environment, HostEnvironment};
use zeroize::Zeroizing;

const CHECK: &str = "daemon.configuration";
/// The settings that say which files a daemon uses.
const PATH_SETTINGS: [&str; 4] = ["MASKER_CONFIG", "MASKER_DATA_DIR", "MASKER_AUDIT_LOG_PATH", "MASKER_POLICY_PATH"];

/// What a daemon on the socket has answered.
pub(super) enum DaemonReply {
    /// No daemon listens on the socket.
    None,
    /// The last start of the unit whose socket it is has failed. `daemon.start` says why.
    FailedStart,
    /// It does not say which configuration it uses.
    Unreported {
        /// The reason.
        why: String,
        remedy: String,
    },
    /// It uses this configuration.
    Reported(Box<DaemonConfiguration>),
}

impl DaemonReply {
    /// Returns the configuration that the daemon uses, if it has reported it.
    pub(super) fn configuration(&self) -> Option<&DaemonConfiguration> {
        match self {
            DaemonReply::Reported(configuration) => Some(configuration),
            DaemonReply::None | DaemonReply::FailedStart | DaemonReply::Unreported { .. } => None,
        }
    }
}

/// Why there is no configuration to examine.
pub(super) enum ConfigFault {
    /// It is invalid.
    Invalid(ConfigErrors),
    /// The file of the running daemon cannot be read here, for this reason.
    Unreadable(PathBuf, String),
}

/// What is examined.
pub(super) struct Subject {
    pub(super) config: Result<Config, ConfigFault>,
    /// The configuration that the next start of the daemon on the socket would read: its file may have been changed since it started.
    /// `None` if that is not known.
    pub(super) next: Option<Result<Config, ConfigErrors>>,
    /// Whether the daemon on the socket uses this configuration.
    pub(super) is_served: bool,
    /// Whether the installed unit runs a daemon with this configuration.
    pub(super) is_of_unit: bool,
    /// The variables that say where a running daemon's keys are.
    reported_keys: Option<Environment>,
    /// The variables in which a running daemon had keys.
    pub(super) keys_in_variables: Vec<String>,
}

impl Subject {
    /// Chooses the configuration: the one that is named, else that of the daemon on the socket, else that of the installed unit, else
    /// the one that a daemon would find here.
    pub(super) fn choose(
        options: CommandLineOptions<'_>,
        host: HostEnvironment<'_>,
        installed: &InstalledUnits,
        daemon: &DaemonReply,
        root: &Path,
    ) -> Self {
        let own = host.environment;
        let [file_setting, path_settings @ ..] = PATH_SETTINGS;
        let names_paths = path_settings.iter().any(|name| own.setting(name).is_some());
        let named_file = options.config.or_else(|| own.setting(file_setting).map(Path::new));
        // The file of the daemon may have been changed since it started: what it uses is examined, and what the next start would use.
        let reported_file = daemon.configuration().and_then(|reported| reported.file.as_deref());
        let names_daemons_file =
            named_file.zip(reported_file).is_some_and(|(named, reported)| is_same(named, Path::new(reported)));
        let is_named = names_paths || named_file.is_some() && !names_daemons_file;
        let is_unit_user = host.uid == 0 || installed.user() == Some(host.uid);
        let reported = daemon.configuration();
        let invalid = |errors| ConfigFault::Invalid(errors);
        let config = match (is_named, reported) {
            (true, _) => Config::load(options, host).map_err(invalid),
            (false, Some(reported)) => load_of_daemon(options, host, reported),
            (false, None) if is_unit_user && installed.unit.is_some() => {
                let environment = merged(own, installed.environment());
                Config::load(options, HostEnvironment { environment: &environment, ..host }).map_err(invalid)
            }
            (false, None) => Config::load(options, host).map_err(invalid),
        };
        let is_served = reported.is_some_and(|reported| match &config {
            Ok(config) => differences(config, reported).is_empty(),
            Err(ConfigFault::Unreadable(..)) => true,
            Err(ConfigFault::Invalid(_)) => !is_named,
        });
        let by_unit = |reported: &DaemonConfiguration| {
            let directory = reported.key_files.get("CREDENTIALS_DIRECTORY");
            directory.is_some_and(|directory| Path::new(directory) == Path::new("/run/credentials/masker.service"))
        };
        let is_of_unit = match (is_served, reported) {
            (true, Some(reported)) => by_unit(reported),
            _ if is_named => {
                let file = config.as_ref().ok().and_then(|config| config.file.as_deref());
                file.is_some_and(|file| installed.config_file().is_some_and(|of_unit| is_same(file, &of_unit)))
            }
            _ => is_unit_user,
        } && installed.unit.is_some();
        let served = reported.filter(|_| is_served);
        let next = served.and_then(|reported| load_next(host, installed.environment(), is_of_unit, reported, root));
        let reported_keys = served.map(|reported| merged(&std::iter::empty().collect(), reported.key_files.clone()));
        let keys_in_variables = served.map(|reported| reported.key_variables.clone()).unwrap_or_default();
        Subject { config, next, is_served, is_of_unit, reported_keys, keys_in_variables }
    }

    /// Returns where the daemon's keys are. `own` is the environment of doctor.
    pub(super) fn keys<'a>(&'a self, own: &'a Environment) -> KeyPlace<'a> {
        match &self.reported_keys {
            _ if has_keys(own) => KeyPlace::Environment(own),
            // What the next start reads, in place of the copies that systemd has made.
            _ if self.is_of_unit => KeyPlace::Unit,
            Some(reported) => KeyPlace::Environment(reported),
            None => KeyPlace::Unknown,
        }
    }
}

/// Loads the configuration of a running daemon.
fn load_of_daemon(
    options: CommandLineOptions<'_>,
    host: HostEnvironment<'_>,
    reported: &DaemonConfiguration,
) -> Result<Config, ConfigFault> {
    let mut settings = BTreeMap::from([
        ("MASKER_DATA_DIR".to_owned(), reported.data_dir.clone()),
        ("MASKER_AUDIT_LOG_PATH".to_owned(), reported.audit_log.clone()),
        ("MASKER_POLICY_PATH".to_owned(), reported.policies.clone()),
    ]);
    let load = |environment: &Environment, host: HostEnvironment<'_>| {
        Config::load(options, HostEnvironment { environment, ..host }).map_err(ConfigFault::Invalid)
    };
    let Some(file) = &reported.file else {
        // It has found no file, so that none of the usual ones here is its own.
        let environment = merged(&std::iter::empty().collect(), settings);
        let nowhere = Path::new("/nonexistent");
        let config = load(&environment, HostEnvironment { current_dir: nowhere, system_dir: nowhere, ..host });
        return config;
    };
    if let Err(error) = masker_files::open_regular(Path::new(file)) {
        return Err(ConfigFault::Unreadable(file.into(), error.to_string()));
    }
    settings.insert("MASKER_CONFIG".to_owned(), file.clone());
    load(&merged(host.environment, settings), host)
}

/// Loads the configuration that the next start of a running daemon would read: its file as it is now, with the variables of the unit or
/// of its process. `None` if they are not known.
fn load_next(
    host: HostEnvironment<'_>,
    of_unit: BTreeMap<String, String>,
    is_of_unit: bool,
    reported: &DaemonConfiguration,
    root: &Path,
) -> Option<Result<Config, ConfigErrors>> {
    let environment = match is_of_unit {
        true => merged(&std::iter::empty().collect(), of_unit),
        false => process_environment(root, reported.process_id)?,
    };
    let file = reported.file.as_deref().map(Path::new);
    let options = CommandLineOptions { config: file, socket: Some(Path::new(&reported.socket)) };
    // Without a file, it has found none of the usual ones.
    let nowhere = Path::new("/nonexistent");
    let (current_dir, system_dir) =
        if file.is_some() { (host.current_dir, host.system_dir) } else { (nowhere, nowhere) };
    let host = HostEnvironment { environment: &environment, uid: reported.uid, current_dir, system_dir, ..host };
    Some(Config::load(options, host))
}

/// Returns the variables of a process that are settings, as far as this user can read them.
fn process_environment(root: &Path, process_id: u32) -> Option<Environment> {
    let text = fs::read(root.join(format!("proc/{process_id}/environ"))).map(Zeroizing::new).ok()?;
    let variables = text.split(|byte| *byte == 0).filter_map(|variable| {
        let equals = variable.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&variable[..equals], &variable[equals + 1..]);
        let is_setting = name.starts_with(b"MASKER_") && !masker_config::is_secret_name(name)
            || name.starts_with(b"XDG_")
            || name == b"HOME";
        is_setting.then(|| (OsString::from_vec(name.to_owned()), OsString::from_vec(value.to_owned())))
    });
    Some(variables.collect())
}

/// `config`: the next start of the daemon on the socket would read a valid configuration, and use the same files.
pub(super) fn judge_next(subject: &Subject, reported: &DaemonConfiguration) -> Vec<Finding> {
    match (&subject.config, &subject.next) {
        // The check `config` has reported what is wrong with the file.
        (Err(_), _) | (_, None) => Vec::new(),
        (Ok(_), Some(Err(errors))) => {
            let remedy =
                "correct it before the daemon is restarted: the page \"Settings\" of the book explains every setting";
            let error = |fault: &masker_config::ConfigError| {
                Finding::error(
                    "config",
                    FindingId::ConfigInvalid,
                    format!("the next start is refused: {fault}"),
                    remedy,
                )
            };
            errors.iter().map(error).collect()
        }
        (Ok(_), Some(Ok(next))) => {
            let differ = differences(next, reported);
            let found = || {
                format!(
                    "the configuration was changed since the daemon started, so that the next start uses other files: the daemon has other \
                         ones than are configured now: {}",
                    differ.join(", ")
                )
            };
            let remedy = "if that is intended, move the files before the daemon is restarted; otherwise correct the configuration";
            let warning = || Finding::warning("config", FindingId::OtherDaemon, found(), remedy);
            (!differ.is_empty()).then(warning).into_iter().collect()
        }
    }
}

/// Returns the variables of an environment that are no keys, with these settings in their places.
fn merged(own: &Environment, settings: BTreeMap<String, String>) -> Environment {
    let own = own.iter().filter(|(name, _)| !masker_config::is_secret_name(name.as_encoded_bytes()));
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.chain(settings.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value)))).collect()
}

/// Returns whether two paths lead to the same file, or are equal.
fn is_same(one: &Path, two: &Path) -> bool {
    one == two || matches!((fs::canonicalize(one), fs::canonicalize(two)), (Ok(one), Ok(two)) if one == two)
}

/// Returns what the daemon uses in place of what is configured.
fn differences(config: &Config, reported: &DaemonConfiguration) -> Vec<String> {
    let file = |path: Option<&Path>| {
        path.map_or_else(|| "no configuration file".to_owned(), |path| path.display().to_string())
    };
    let own = [
        ("data directory", &config.vault.data_dir, &reported.data_dir),
        ("audit log", &config.audit.path, &reported.audit_log),
        ("path of the policies", &config.policy.path, &reported.policies),
    ];
    let paths = own.into_iter().filter(|(_, own, reported)| !is_same(own, Path::new(reported)));
    let mut differ: Vec<String> =
        paths.map(|(what, own, reported)| format!("its {what} is {reported} and not {}", own.display())).collect();
    let reported_file = reported.file.as_deref().map(Path::new);
    let same_file = match (config.file.as_deref(), reported_file) {
        (Some(own), Some(reported)) => is_same(own, reported),
        (own, reported) => own == reported,
    };
    if !same_file {
        differ.insert(0, format!("it uses {} and not {}", file(reported_file), file(config.file.as_deref())));
    }
    differ
}

/// `daemon.configuration`: the daemon on the socket uses the configuration that was examined.
pub(super) fn judge(subject: &Subject, daemon: &DaemonReply, socket: &Path, root: &Path) -> Finding {
    let shown = socket.display();
    match daemon {
        DaemonReply::Reported(reported) => judge_reported(subject, reported, socket),
        DaemonReply::Unreported { why, remedy } => {
            let found = format!("a daemon serves on {shown}, and it is not known which configuration it uses: {why}");
            Finding::not_checked(CHECK, found, remedy)
        }
        DaemonReply::FailedStart => {
            let found = format!("only systemd listens on {shown}: no daemon serves, because its last start has failed");
            Finding::not_checked(CHECK, found, "see `daemon.start`, which says why")
        }
        DaemonReply::None => {
            let others = other_daemons(root);
            if others.is_empty() {
                let found = format!("no daemon serves on {shown}, so that nothing about a running daemon was checked");
                let remedy = "expected before the first start. Otherwise start it: `systemctl start masker.socket masker.service` for that of the \
                              package";
                return Finding::not_checked(CHECK, found, remedy);
            }
            let found = format!(
                "no daemon serves on {shown}, but others run, and nothing here is about them: {}",
                others.iter().map(OtherDaemon::to_string).collect::<Vec<_>>().join("; ")
            );
            let remedy = match others.iter().find_map(|other| other.option("--config")) {
                Some(config) => format!(
                    "`masker doctor --config {}` examines that daemon, as its user or as root",
                    quoted(Path::new(config))
                ),
                None => {
                    "name its socket or its configuration with --socket or --config, or with MASKER_SOCKET".to_owned()
                }
            };
            Finding::warning(CHECK, FindingId::OtherDaemon, found, remedy)
        }
    }
}

fn judge_reported(subject: &Subject, reported: &DaemonConfiguration, socket: &Path) -> Finding {
    let DaemonConfiguration { process_id, uid, file, data_dir, audit_log, .. } = reported;
    let who = format!("the daemon on {} is process {process_id} of {}", socket.display(), user_name(*uid));
    let with = file.clone().unwrap_or_else(|| "no configuration file".to_owned());
    let differ = match &subject.config {
        Ok(config) => differences(config, reported),
        Err(ConfigFault::Unreadable(path, why)) => {
            let found = format!("{who}, and its configuration {} cannot be read here: {why}", path.display());
            return Finding::not_checked(CHECK, found, look_as());
        }
        Err(ConfigFault::Invalid(_)) if subject.is_served => Vec::new(),
        Err(ConfigFault::Invalid(_)) => vec![format!("it uses {with}")],
    };
    if differ.is_empty() {
        let found =
            format!("{who}, with {with}, the vault in {data_dir} and the audit log in {audit_log}: this was examined");
        return Finding::ok(CHECK, found);
    }
    let found = format!("{who}, and the files that were examined are not that daemon's: {}", differ.join(", "));
    let remedy = match file {
        Some(file) => format!(
            "to examine that daemon, leave MASKER_CONFIG and the other variables of paths unset: `masker doctor --config {}`. If the daemon \
             is to use what was examined, restart it with that",
            quoted(Path::new(file))
        ),
        None => "to examine that daemon, leave --config, MASKER_CONFIG and the other variables of paths out".to_owned(),
    };
    Finding::warning(CHECK, FindingId::OtherDaemon, found, remedy)
}

/// A daemon that runs on this host.
struct OtherDaemon {
    process_id: u32,
    /// The words of its command line.
    words: Vec<String>,
}

impl OtherDaemon {
    /// Returns the value of an option. The last one counts.
    fn option(&self, name: &str) -> Option<&str> {
        let value = |(index, word): (usize, &'_ String)| match word.strip_prefix(name)? {
            "" => Some(index + 1),
            rest => rest.starts_with('=').then_some(index),
        };
        let index = self.words.iter().enumerate().rev().find_map(value)?;
        let word = self.words.get(index)?;
        Some(word.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).unwrap_or(word))
    }
}

impl std::fmt::Display for OtherDaemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} (`{}`)", self.process_id, self.words.join(" ").escape_debug())
    }
}

/// Returns whether a daemon runs on this host, as far as this user sees.
pub(super) fn any_daemon_runs(root: &Path) -> bool {
    !other_daemons(root).is_empty()
}

/// Returns the daemons that run on this host, as far as this user sees their command lines, which contain no secret.
fn other_daemons(root: &Path) -> Vec<OtherDaemon> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("proc")).into_iter().flatten().flatten() {
        let Some(process_id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(text) = fs::read(entry.path().join("cmdline")) else { continue };
        let words: Vec<String> = text
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let is_masker =
            words.first().is_some_and(|program| Path::new(program).file_name().is_some_and(|name| name == "masker"));
        if is_masker && words.iter().skip(1).any(|word| word == "serve") {
            found.push(OtherDaemon { process_id, words });
        }
    }
    found.sort_by_key(|other| other.process_id);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_daemons_and_their_options() {
        let root = tempfile::tempdir().unwrap();
        for (process, line) in [
            ("7", "/usr/bin/masker\0serve\0--config\0/a/masker.toml\0"),
            ("8", "masker\0--config\0/a\0serve\0--config=/b\0"),
            ("9", "masker\0health\0"),
            ("10", "vi\0serve\0"),
            ("self", "masker\0serve\0"),
        ] {
            let process = root.path().join("proc").join(process);
            fs::create_dir_all(&process).unwrap();
            fs::write(process.join("cmdline"), line).unwrap();
        }
        let found = other_daemons(root.path());
        let options: Vec<_> = found.iter().map(|other| (other.process_id, other.option("--config"))).collect();
        assert_eq!(options, [(7, Some("/a/masker.toml")), (8, Some("/b"))]);
        assert_eq!(found[0].option("--socket"), None);
        assert_eq!(found[0].to_string(), "process 7 (`/usr/bin/masker serve --config /a/masker.toml`)");
    }
}
