//! `masker init`: a configuration, a policy, and keys, for a first start.
//!
//! It makes what is missing and replaces nothing, so it can be repeated. Where there is a vault or an audit log already, it makes
//! no key: what is sealed under a key that is missing can be opened with that key only.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::{fs::PermissionsExt, net::SocketAddr},
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    args::InitArgs,
    context::{CommandContext, CommandError},
    exit::Exit,
    key_files::{self, KeyPaths, quoted},
};
use masker_config::{CommandLineOptions, Config, is_policy_file, load_policies};
use masker_core::crypto::SecretKey;
use masker_files::{DirectoryProblem, LOST_AND_FOUND, PendingFile, open_private_directory};
use masker_types::kind::Kid;

/// The configuration of /etc/masker: every setting with its default under systemd.
const SYSTEM_CONFIG: &str = include_str!("../../../../systemd/masker.toml");
/// The policy of a new directory.
const POLICY: &str = include_str!("../../../../policies/healthcare-default.toml");
const POLICY_FILE: &str = "healthcare-default.toml";
/// Directories of encrypted and plain credentials, from which the unit can take keys as well (systemd.exec(5)).
const CREDENTIAL_STORES: [&str; 2] = ["/etc/credstore", "/etc/credstore.encrypted"];
const AUDIT_CREDENTIAL: &str = "MASKER_AUDIT_HMAC_KEY";

/// The daemon that a directory is made for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// The host's daemon, under systemd: /etc/masker.
    System,
    /// A user's daemon that finds its configuration: ~/.config/masker. The vault is in the state directory.
    User,
    /// A daemon whose files are all in one directory.
    SelfContained,
}

/// The files of a directory, and how a daemon finds them.
struct Place {
    layout: Layout,
    directory: PathBuf,
}

/// A file that was made, or was there.
#[derive(Serialize)]
struct InitFile {
    path: PathBuf,
    made: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
}

#[derive(Serialize)]
struct InitReport {
    files: Vec<InitFile>,
    next: Vec<String>,
}

/// Runs the command.
pub(super) fn run(args: &InitArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let place = Place::new(args.directory.as_deref(), ctx)?;
    let mut files = Vec::new();
    make_directory(&place.directory, place.open_mode())?;
    let config_file = place.config_file();
    files.push(make_text(&config_file, place.open_mode() & 0o666, || place.config_text(args.policies.as_deref()))?);
    let config = Config::load(CommandLineOptions { config: Some(&config_file), socket: None }, ctx.host())?;
    check_policies(args.policies.as_deref(), &config, &config_file)?;

    let policies = &config.policy.path;
    if *policies == place.directory.join("policies") && !has_policy(policies) {
        make_directory(policies, place.open_mode())?;
        files.push(make_text(&policies.join(POLICY_FILE), place.open_mode() & 0o666, || Ok(POLICY.to_owned()))?);
    }
    let kids: BTreeSet<Kid> =
        load_policies(policies, config.policy.default.as_deref())?.kids().map(|(_, kid)| kid).collect();
    let keys = place.keys();
    make_directory(&keys, 0o700)?;
    let vault = (ctx.offline.vault_entries)(&config.vault.data_dir).into_iter().any(|entry| entry.exists());
    let mut made_keys = Vec::new();
    let mut missing = Vec::new();
    for kid in kids {
        match place.key(kid, vault.then_some(config.vault.data_dir.as_path()))? {
            KeyState::Present(path) => files.push(InitFile { path, made: false, fingerprint: None }),
            KeyState::Missing(text) => missing.push(text),
            KeyState::ToMake(path) => made_keys.push((path, kid)),
        }
    }
    let audit = place.audit_key(&config.audit.path);
    if let KeyState::Missing(text) = &audit {
        missing.push(text.clone());
    }
    if !missing.is_empty() {
        return Err(CommandError::Other(missing.join("\n")));
    }
    for (path, kid) in &made_keys {
        let key = key_files::generate()?;
        files.push(make_key(path, &key, Some(key_files::fingerprint_of(*kid, &key)))?);
    }
    let mut copies: Vec<&Path> = made_keys.iter().map(|(path, _)| path.as_path()).collect();
    match &audit {
        KeyState::Present(path) => files.push(InitFile { path: path.clone(), made: false, fingerprint: None }),
        KeyState::ToMake(path) => {
            files.push(make_key(path, &key_files::generate()?, None)?);
            copies.push(path);
        }
        KeyState::Missing(_) => {}
    }
    report(InitReport { next: place.next(&config, &copies), files }, ctx)
}

fn report(report: InitReport, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&report)?;
        return Ok(Exit::Done);
    }
    let row = |file: &InitFile| {
        let what = if file.made { "made" } else { "kept" };
        vec![what.to_owned(), file.path.display().to_string(), file.fingerprint.clone().unwrap_or_default()]
    };
    output.table(&["STATE", "FILE", "FINGERPRINT"], report.files.iter().map(row).collect())?;
    output.flush()?;
    output.note("\nNext:");
    for (number, step) in report.next.iter().enumerate() {
        output.note(&format!("  {}. {step}", number + 1));
    }
    Ok(Exit::Done)
}

/// Whether a key is there.
enum KeyState {
    Present(PathBuf),
    /// It is missing, and a new one would not help: a message for the user.
    Missing(String),
    ToMake(PathBuf),
}

impl Place {
    /// Returns the directory of the command line, or that of this user.
    fn new(named: Option<&Path>, ctx: &CommandContext<'_>) -> Result<Self, CommandError> {
        let host = ctx.host();
        let home = || {
            let home = host.environment.setting("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
            home.map(|home| home.join(".config/masker"))
        };
        let directory = match named {
            Some(directory) => host.current_dir.join(directory).components().collect(),
            None if host.uid == 0 => host.system_dir.to_owned(),
            None => home().ok_or_else(|| {
                CommandError::Usage("HOME is not set: name the directory, as in `masker init DIRECTORY`".to_owned())
            })?,
        };
        let layout = if directory == host.system_dir {
            Layout::System
        } else if Some(&directory) == home().as_ref() {
            Layout::User
        } else {
            Layout::SelfContained
        };
        if layout == Layout::System && host.uid != 0 {
            return Err(CommandError::Other(format!(
                "{} belongs to root: run this as root, or without a directory for a daemon of your own",
                directory.display()
            )));
        }
        let place = Place { layout, directory };
        if layout == Layout::SelfContained && SocketAddr::from_pathname(place.socket()).is_err() {
            return Err(CommandError::Other(format!(
                "{} would be too long for a socket, whose path has at most 107 bytes: choose a shorter directory",
                place.socket().display()
            )));
        }
        Ok(place)
    }

    /// Returns the permission bits of directories that hold no key.
    fn open_mode(&self) -> u32 {
        if self.layout == Layout::System { 0o755 } else { 0o700 }
    }

    fn config_file(&self) -> PathBuf {
        self.directory.join(if self.layout == Layout::User { "config.toml" } else { "masker.toml" })
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("masker.sock")
    }

    fn keys(&self) -> PathBuf {
        self.directory.join("keys")
    }

    /// Returns the text of the configuration.
    fn config_text(&self, policies: Option<&Path>) -> Result<String, CommandError> {
        let policies = match policies {
            None if self.layout == Layout::System => return Ok(SYSTEM_CONFIG.to_owned()),
            None => "policies".to_owned(),
            Some(path) => {
                let path = fs::canonicalize(path)
                    .map_err(|error| CommandError::Other(format!("{} cannot be used: {error}", path.display())))?;
                let not_text = || CommandError::Usage("--policies: the path is not UTF-8".to_owned());
                path.to_str().ok_or_else(not_text)?.to_owned()
            }
        };
        // A JSON string is a TOML string.
        let policies = serde_json::Value::from(policies).to_string();
        if self.layout == Layout::System {
            return Ok(SYSTEM_CONFIG.replace("path = \"/etc/masker/policies\"", &format!("path = {policies}")));
        }
        let mut text =
            "# Made by `masker init`. The page \"Settings\" of the book lists every setting, with its default.\n\n\
                        [server]\n"
                .to_owned();
        if self.layout == Layout::SelfContained {
            text.push_str("socket = \"masker.sock\"\n");
        }
        text.push_str("socket_mode = \"0600\"\n\n");
        if self.layout == Layout::SelfContained {
            text.push_str("[vault]\ndata_dir = \"vault\"\n\n[audit]\npath = \"audit\"\n\n");
        }
        text.push_str(&format!("[policy]\npath = {policies}\n"));
        Ok(text)
    }

    /// Returns whether the key of a key id is there. `vault` is the data directory, if it has a vault.
    fn key(&self, kid: Kid, vault: Option<&Path>) -> Result<KeyState, CommandError> {
        let keys = self.keys();
        let name = format!("MASKER_KEY_{kid}");
        if let Some(stored) = self.stored_credential(&name) {
            return Ok(KeyState::Present(stored));
        }
        let paths = KeyPaths::find(&keys, kid)?;
        Ok(match (paths.active.exists(), paths.old.exists(), vault) {
            (true, ..) => KeyState::Present(paths.active),
            (false, true, _) => KeyState::Missing(paths.only_old_text()),
            (false, false, Some(vault)) => KeyState::Missing(format!(
                "there is a vault in {}, and no key {kid} in {}. What is sealed under a key can be opened with that key only, so \
                 put it back from its copy. If {kid} is a new key id, which has never had a key: \
                 `masker keys generate --kid {kid} --output {}`",
                vault.display(),
                keys.display(),
                quoted(&self.new_key(kid))
            )),
            (false, false, None) => KeyState::ToMake(self.new_key(kid)),
        })
    }

    fn new_key(&self, kid: Kid) -> PathBuf {
        // systemd adds `MASKER_KEY_` to the names of /etc/masker/keys. Other daemons read a credentials directory.
        let prefix = if self.layout == Layout::System { "" } else { "MASKER_KEY_" };
        self.keys().join(format!("{prefix}{kid}"))
    }

    /// Returns whether the key of the audit log is there. `log` is the directory of the log.
    fn audit_key(&self, log: &Path) -> KeyState {
        let path = match self.layout {
            Layout::System => self.directory.join("audit.key"),
            Layout::User | Layout::SelfContained => self.keys().join(AUDIT_CREDENTIAL),
        };
        if path.exists() {
            return KeyState::Present(path);
        }
        if let Some(stored) = self.stored_credential(AUDIT_CREDENTIAL) {
            return KeyState::Present(stored);
        }
        // What cannot be read may be there.
        let has_log = match fs::read_dir(log) {
            Ok(mut entries) => entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != LOST_AND_FOUND)),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        if has_log {
            return KeyState::Missing(format!(
                "there is an audit log in {}, and its key {} is missing: put it back from its copy. The log cannot be \
                 continued or verified with another key",
                log.display(),
                path.display()
            ));
        }
        KeyState::ToMake(path)
    }

    /// Returns the credential of this name that the unit can take from a store of systemd.
    fn stored_credential(&self, name: &str) -> Option<PathBuf> {
        let stores = CREDENTIAL_STORES.iter().filter(|_| self.layout == Layout::System);
        stores.map(|store| Path::new(store).join(name)).find(|path| path.exists())
    }

    /// Returns what to do next. `copies` are the new keys.
    fn next(&self, config: &Config, copies: &[&Path]) -> Vec<String> {
        let mut steps = Vec::new();
        if !copies.is_empty() {
            let names: Vec<String> = copies.iter().map(|path| path.display().to_string()).collect();
            steps.push(format!(
                "store copies of the new keys away from this host, before anything else, because nothing replaces a lost \
                 key: {}",
                names.join(", ")
            ));
        }
        if self.layout == Layout::System {
            // Starts that failed without keys may have used up the limit of starts.
            steps.push(super::START_AFTER_FAILURES.to_owned());
            steps.push("masker doctor".to_owned());
            return steps;
        }
        let keys = quoted(&self.keys());
        let file = quoted(&self.config_file());
        let named = if self.layout == Layout::User { String::new() } else { format!(" --config {file}") };
        steps.push(format!("CREDENTIALS_DIRECTORY={keys} masker serve{named}"));
        let socket = quoted(&config.server.socket);
        steps.push(format!("in another terminal: export MASKER_CONFIG={file} MASKER_SOCKET={socket}; masker health"));
        steps
    }
}

/// Checks that the policies of `--policies` are those of the configuration, which may have been there before.
fn check_policies(wanted: Option<&Path>, config: &Config, file: &Path) -> Result<(), CommandError> {
    let Some(wanted) = wanted else { return Ok(()) };
    match (fs::canonicalize(wanted), fs::canonicalize(&config.policy.path)) {
        (Ok(wanted), Ok(configured)) if wanted == configured => Ok(()),
        _ => Err(CommandError::Other(format!(
            "{} names the policies in {}, and not {}: change `[policy] path` there, or leave --policies out",
            file.display(),
            config.policy.path.display(),
            wanted.display()
        ))),
    }
}

fn has_policy(directory: &Path) -> bool {
    fs::read_dir(directory)
        .is_ok_and(|entries| entries.filter_map(Result::ok).any(|entry| is_policy_file(&entry.path())))
}

/// Makes a directory of this user with these permission bits. One that is there keeps them, unless it is empty, as an earlier run
/// that was interrupted leaves it. It is refused if others may write to it.
fn make_directory(path: &Path, mode: u32) -> Result<(), CommandError> {
    let is_new = fs::read_dir(path)
        .map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |mut entries| entries.next().is_none());
    let made = open_private_directory(path).map_err(|problem| {
        let path = path.display();
        CommandError::Other(match problem {
            DirectoryProblem::Unusable(error) => format!("failed to use the directory {path}: {error}"),
            DirectoryProblem::Owner { owner, runs_as } => format!(
                "the directory {path} belongs to user {owner}, and this runs as user {runs_as}: run it as the owner, or choose \
                 another directory"
            ),
            DirectoryProblem::Exposed { mode } => format!(
                "other users can write to the directory {path} (its mode is {mode:04o}): run `chmod go-w {path}`, and repeat this"
            ),
        })
    });
    made?;
    let set = || fs::set_permissions(path, Permissions::from_mode(mode));
    let set = if is_new { set() } else { Ok(()) };
    set.map_err(|error| CommandError::Other(format!("failed to set the mode of {}: {error}", path.display())))
}

/// Writes a text file, unless there is one.
fn make_text(
    path: &Path,
    mode: u32,
    text: impl FnOnce() -> Result<String, CommandError>,
) -> Result<InitFile, CommandError> {
    let file = |made| InitFile { path: path.to_owned(), made, fingerprint: None };
    if path.symlink_metadata().is_ok() {
        return Ok(file(false));
    }
    let text = text()?;
    let write = || {
        let mut pending = PendingFile::create(path)?;
        pending.write_all(text.as_bytes())?;
        pending.set_mode(mode)?;
        pending.persist(false)
    };
    match write() {
        Ok(()) => Ok(file(true)),
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(file(false)),
        Err(error) => Err(key_files::failed_to_write(path, &error)),
    }
}

fn make_key(path: &Path, key: &SecretKey, fingerprint: Option<String>) -> Result<InitFile, CommandError> {
    key_files::create(path, key, None)?;
    Ok(InitFile { path: path.to_owned(), made: true, fingerprint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_that_an_interrupted_run_has_left_gets_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("masker");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        // As a run leaves it that ends between making the directory and setting its mode.
        drop(open_private_directory(&path).unwrap());
        assert_eq!(mode(), 0o700);
        make_directory(&path, 0o755).unwrap();
        assert_eq!(mode(), 0o755);
        // A directory that is not empty keeps its mode.
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        fs::write(path.join("masker.toml"), "").unwrap();
        make_directory(&path, 0o755).unwrap();
        assert_eq!(mode(), 0o700);
    }
}
