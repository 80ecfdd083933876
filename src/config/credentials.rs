//! Keys, from the environment, from files that it names, and from the directory that systemd lays credentials in.
//!
//! Every problem is found before any is reported. Messages name the variable or the file, and never hold what is in
//! it: an operator who mixes up `MASKER_KEY_K` and `MASKER_KEY_K_FILE` must not find the key in the log.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt, fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::Environment;
use crate::{
    config::key_file,
    crypto::{KeyError, SecretKey},
    keyring::{LoadedKey, Role},
    kind::Kid,
};

const KEY_PREFIX: &str = "MASKER_KEY_";
const AUDIT_KEY: &str = "MASKER_AUDIT_HMAC_KEY";
/// Begins like a key's name and is a setting.
const GRACE_DAYS: &str = "MASKER_KEY_ROTATION_GRACE_DAYS";
/// Where systemd's `LoadCredential=` lays files.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The secrets that a daemon was given.
pub struct Credentials {
    /// The keys, in the order of their names: at most one for each key id and role.
    pub keys: Vec<LoadedKey>,
    /// The key of the audit chain, if one was given.
    pub audit_key: Option<SecretKey>,
    /// What is no reason not to start, and should be mended.
    pub warnings: Vec<String>,
}

/// Why a secret cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialProblem {
    /// The variable or the file.
    pub source: String,
    /// What is wrong with it and what to do; it goes on from the name of the source.
    pub message: String,
}

impl fmt::Display for CredentialProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.source, self.message)
    }
}

/// Everything that is wrong with the secrets: at least one problem, each on a line of its own.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(CredentialProblem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct CredentialProblems(Vec<CredentialProblem>);

impl CredentialProblems {
    /// The problems.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &CredentialProblem> {
        self.0.iter()
    }
}

/// Whether a variable of this name holds a secret itself, so that its value must not stay in the environment.
/// Names that only look like that are among them: whoever misspells the name of a key still puts a key there.
pub fn names_secret(name: &[u8]) -> bool {
    let key = name.starts_with(KEY_PREFIX.as_bytes()) && name != GRACE_DAYS.as_bytes();
    key || [AUDIT_KEY, "MASKER_API_KEY", "MASKER_SESSION"].iter().any(|secret| name == secret.as_bytes())
}

/// What a secret is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Key(Kid, Role),
    Audit,
}

impl Slot {
    /// The variable that holds the secret itself.
    fn variable(self) -> String {
        match self {
            Slot::Key(kid, Role::Active) => format!("{KEY_PREFIX}{kid}"),
            Slot::Key(kid, Role::Old) => format!("{KEY_PREFIX}{kid}_OLD"),
            Slot::Audit => AUDIT_KEY.to_owned(),
        }
    }
}

/// What the name of a variable or of a file of the credentials directory says.
enum Name {
    /// The secret itself.
    Secret(Slot),
    /// Where the secret is.
    Path(Slot),
    /// It begins like a key, and is none. The text says why, going on from the name.
    Malformed(&'static str),
    /// Something else's.
    Foreign,
}

impl Name {
    fn parse(name: &OsStr) -> Self {
        let Some(rest) = name.as_bytes().strip_prefix(KEY_PREFIX.as_bytes()) else {
            return match name.as_bytes().strip_prefix(AUDIT_KEY.as_bytes()) {
                Some(b"") => Name::Secret(Slot::Audit),
                Some(b"_FILE") => Name::Path(Slot::Audit),
                _ => Name::Foreign,
            };
        };
        if name == GRACE_DAYS {
            return Name::Foreign;
        }
        let Ok(rest) = std::str::from_utf8(rest) else {
            return Name::Malformed("is not named in UTF-8: a key id is made of A-Z, 0-9 and `_`");
        };
        let (rest, is_path) = rest.strip_suffix("_FILE").map_or((rest, false), |rest| (rest, true));
        let (kid, role) = rest.strip_suffix("_OLD").map_or((rest, Role::Active), |kid| (kid, Role::Old));
        match Kid::parse(kid) {
            Some(kid) if is_path => Name::Path(Slot::Key(kid, role)),
            Some(kid) => Name::Secret(Slot::Key(kid, role)),
            None => Name::Malformed(
                "names no key: after `MASKER_KEY_` stands a key id, which is a letter from A to Z and then at most 47 \
                 of A to Z, 0 to 9 and `_`; after it may stand `_OLD`, then `_FILE`",
            ),
        }
    }
}

/// The places where one secret was found.
#[derive(Default)]
struct Found<'e> {
    variable: Option<&'e OsStr>,
    path: Option<&'e OsStr>,
    credential: Option<PathBuf>,
}

impl Credentials {
    /// Collects the secrets that an environment gives or names. Variables count before files of the credentials
    /// directory.
    ///
    /// # Errors
    /// Every problem of every secret.
    pub fn collect(environment: &Environment) -> Result<Credentials, CredentialProblems> {
        let mut collector = Collector::default();
        let mut places = collector.variables(environment);
        if let Some(directory) = environment.setting(CREDENTIALS_DIRECTORY) {
            collector.credentials(Path::new(directory), &mut places);
        }
        let mut keys: Vec<LoadedKey> = Vec::new();
        let mut audit_key = None;
        for (slot, found) in places {
            let Some(key) = collector.read(slot, &found) else { continue };
            match slot {
                Slot::Key(kid, role) => keys.push(LoadedKey { kid, role, key }),
                Slot::Audit => audit_key = Some(key),
            }
        }
        collector.compare(&keys);
        if collector.problems.is_empty() {
            Ok(Credentials { keys, audit_key, warnings: collector.warnings })
        } else {
            Err(CredentialProblems(collector.problems))
        }
    }
}

#[derive(Default)]
struct Collector {
    problems: Vec<CredentialProblem>,
    warnings: Vec<String>,
}

impl Collector {
    fn report(&mut self, source: impl Into<String>, message: impl Into<String>) {
        self.problems.push(CredentialProblem { source: source.into(), message: message.into() });
    }

    fn variables<'e>(&mut self, environment: &'e Environment) -> BTreeMap<Slot, Found<'e>> {
        let mut places: BTreeMap<Slot, Found<'e>> = BTreeMap::new();
        for (name, value) in environment.iter() {
            match Name::parse(name) {
                Name::Secret(slot) => places.entry(slot).or_default().variable = Some(value),
                Name::Path(slot) => places.entry(slot).or_default().path = Some(value),
                Name::Malformed(why) => self.report(printable(name), why),
                Name::Foreign => {}
            }
        }
        places
    }

    fn credentials(&mut self, directory: &Path, places: &mut BTreeMap<Slot, Found<'_>>) {
        let names = fs::read_dir(directory)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>());
        let mut names = match names {
            Ok(names) => names,
            Err(error) => {
                let source = format!("{CREDENTIALS_DIRECTORY} ({})", directory.display());
                return self.report(source, format!("cannot be listed: {error}"));
            }
        };
        names.sort();
        for name in names {
            let path = directory.join(&name);
            match Name::parse(&name) {
                Name::Secret(slot) => places.entry(slot).or_default().credential = Some(path),
                Name::Path(slot) => self.report(
                    credential(&path),
                    format!("is a file already: lay the key itself there, under the name {}", slot.variable()),
                ),
                Name::Malformed(why) => self.report(credential(&path), why),
                Name::Foreign if name == GRACE_DAYS => self.warnings.push(format!(
                    "{} is not read: set the variable {GRACE_DAYS}, or `grace_days` in the configuration",
                    credential(&path)
                )),
                Name::Foreign => {}
            }
        }
    }

    fn read(&mut self, slot: Slot, found: &Found<'_>) -> Option<SecretKey> {
        let variable = slot.variable();
        match (found.variable, found.path, &found.credential) {
            (Some(_), Some(_), _) => {
                self.report(variable.clone(), format!("and {variable}_FILE are both set: keep one of them"));
                None
            }
            (Some(value), None, _) => self.parse(variable, value.as_bytes()),
            (None, Some(path), _) => self.read_named_file(&format!("{variable}_FILE"), Path::new(path)),
            (None, None, Some(path)) => {
                let source = credential(path);
                let file = key_file::read(path).map_err(|why| self.report(source.clone(), why)).ok()?;
                self.parse(source, &file.bytes)
            }
            (None, None, None) => None,
        }
    }

    fn read_named_file(&mut self, variable: &str, path: &Path) -> Option<SecretKey> {
        if path.as_os_str().is_empty() {
            self.report(variable, "is empty: it must be the path of a file that holds the key, or not be set");
            return None;
        }
        // Here a message would show what it takes for a path.
        if SecretKey::parse_base64(path.as_os_str().as_bytes()).is_ok() {
            self.report(variable, "holds a key where the path of a file belongs: leave `_FILE` out of its name");
            return None;
        }
        let source = format!("{variable} ({})", printable(path.as_os_str()));
        let file = key_file::read(path).map_err(|why| self.report(source.clone(), why)).ok()?;
        if file.open_to_others {
            self.warnings.push(format!("{source} can be read by other users than its owner: `chmod 0400` it"));
        }
        self.parse(source, &file.bytes)
    }

    fn parse(&mut self, source: String, text: &[u8]) -> Option<SecretKey> {
        if text.trim_ascii().is_empty() {
            self.report(source, "is empty: give it 32 bytes in base64, or leave it out");
            return None;
        }
        SecretKey::parse_base64(text).map_err(|error: KeyError| self.report(source, error.to_string())).ok()
    }

    /// An active key and its old one must differ, and an old one replaces nothing where there is no active one.
    fn compare(&mut self, keys: &[LoadedKey]) {
        for old in keys.iter().filter(|key| key.role == Role::Old) {
            let (active_name, old_name) =
                (Slot::Key(old.kid, Role::Active).variable(), Slot::Key(old.kid, Role::Old).variable());
            let active = keys.iter().find(|key| key.kid == old.kid && key.role == Role::Active);
            let said = self.problems.iter().any(|problem| problem.source.starts_with(&active_name));
            match active {
                Some(active) if active.key.ct_eq(&old.key) => {
                    self.report(old_name, format!("is the same key as {active_name}: a rotation needs a new one"));
                }
                None if !said => self.report(
                    old_name,
                    format!("is set and {active_name} is not: an old key is kept beside the one that replaced it"),
                ),
                _ => {}
            }
        }
    }
}

fn credential(path: &Path) -> String {
    format!("the credential {}", printable(path.as_os_str()))
}

/// A name for a message: what is not text, or would move the cursor, is escaped.
fn printable(name: &OsStr) -> String {
    name.to_string_lossy().escape_debug().to_string()
}

#[cfg(test)]
mod tests;
