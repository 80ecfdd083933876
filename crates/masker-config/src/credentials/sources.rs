//! The sources of secrets: names and paths that stay known after the environment is wiped.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt, fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    name::{GRACE_DAYS, SecretName, SecretPurpose},
    problems::{CredentialCaution, CredentialFault, ProblemCollector, ProblemSubject, printable},
};
use crate::environment::Environment;
use masker_core::{crypto::SecretKey, keyring::Role};
use masker_types::kind::Kid;

/// The variable that names the directory of systemd's `LoadCredential=`.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The sources of the secrets of a daemon: names and paths, never a secret.
#[derive(Clone, Debug)]
pub struct KeySources {
    /// The sources that variables give. They take precedence over the directory.
    variables: BTreeMap<SecretPurpose, VariableSource>,
    /// The credentials directory, whose files have the names of variables.
    directory: Option<PathBuf>,
}

/// The source that a variable gives.
#[derive(Clone, Debug)]
enum VariableSource {
    /// The variable contained the secret.
    Secret,
    /// The variable names the file of the secret.
    File(PathBuf),
    /// The variable is invalid, which was reported.
    Unusable,
}

/// The location of a secret.
pub(super) enum SecretLocation {
    /// The variable of its name, until the environment is wiped.
    Variable,
    /// A file that a variable names.
    Named(PathBuf),
    /// A file of the credentials directory.
    Credential(PathBuf),
}

/// The origin of a secret, for `masker doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretOrigin {
    /// The name of its variable, even if it comes from another source, such as `MASKER_KEY_K_HEALTHCARE_OLD`.
    pub name: String,
    /// The key id; `None` for the key of the audit chain.
    pub kid: Option<Kid>,
    /// The kind of source.
    pub by: OriginKind,
}

/// The kind of source of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginKind {
    /// A variable.
    Variable,
    /// A file that a variable names.
    File(PathBuf),
    /// A file of the credentials directory.
    Credential(PathBuf),
}

/// What makes changes of keys take effect. It is displayed as an instruction, for the middle of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChanges {
    /// A reload reads the files again.
    Reload,
    /// The keys are in variables, which only a start reads.
    Restart,
    /// systemd copies the keys when it starts the unit.
    RestartUnit {
        /// The name of the unit.
        unit: String,
        /// Whether it is a unit of a user's service manager.
        is_user: bool,
    },
}

impl fmt::Display for KeyChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyChanges::Reload => write!(f, "run `masker keys reload`"),
            KeyChanges::Restart => write!(f, "restart the daemon with the changed variables"),
            KeyChanges::RestartUnit { unit, is_user: false } => write!(f, "run `systemctl restart {unit}`"),
            KeyChanges::RestartUnit { unit, is_user: true } => write!(f, "run `systemctl --user restart {unit}`"),
        }
    }
}

impl SecretOrigin {
    /// Returns the origin of a secret.
    pub(super) fn new(purpose: SecretPurpose, location: &SecretLocation) -> Self {
        let by = match location {
            SecretLocation::Variable => OriginKind::Variable,
            SecretLocation::Named(path) => OriginKind::File(path.clone()),
            SecretLocation::Credential(path) => OriginKind::Credential(path.clone()),
        };
        let kid = match purpose {
            SecretPurpose::Key(kid, _) => Some(kid),
            SecretPurpose::Audit => None,
        };
        SecretOrigin { name: purpose.variable(), kid, by }
    }
}

impl KeySources {
    /// Finds the sources in an environment.
    pub(super) fn of(environment: &Environment, problems: &mut ProblemCollector) -> Self {
        let mut variables: BTreeMap<SecretPurpose, VariableSource> = BTreeMap::new();
        for (name, value) in environment.iter() {
            let (purpose, variable) = match SecretName::parse(name) {
                SecretName::Secret(purpose) => (purpose, VariableSource::Secret),
                SecretName::Path(purpose) => (purpose, file(purpose, value, problems)),
                SecretName::Malformed(why) => {
                    let is_path = name.as_bytes().ends_with(b"_FILE");
                    let path = is_path.then(|| Path::new(value));
                    let (subject, fault) = (ProblemSubject::MisnamedKey, CredentialFault::Misnamed);
                    problems.report_at(path, subject, fault, printable(name), why);
                    continue;
                }
                SecretName::Foreign => continue,
            };
            if variables.insert(purpose, variable).is_some() {
                let name = purpose.variable();
                let why = format!("and {name}_FILE are both set: keep one of them");
                problems.report(purpose, CredentialFault::GivenTwice, name, why);
                variables.insert(purpose, VariableSource::Unusable);
            }
        }
        KeySources { variables, directory: environment.setting(CREDENTIALS_DIRECTORY).map(PathBuf::from) }
    }

    /// Returns the files that variables name.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.variables.values().filter_map(|variable| match variable {
            VariableSource::File(path) => Some(path.as_path()),
            VariableSource::Secret | VariableSource::Unusable => None,
        })
    }

    /// Returns the variables that say where keys are, with the paths that they name.
    pub fn named_paths(&self) -> impl Iterator<Item = (String, &Path)> {
        let files = self.variables.iter().filter_map(|(purpose, variable)| match variable {
            VariableSource::File(path) => Some((format!("{}_FILE", purpose.variable()), path.as_path())),
            VariableSource::Secret | VariableSource::Unusable => None,
        });
        let directory = self.directory.iter().map(|path| (CREDENTIALS_DIRECTORY.to_owned(), path.as_path()));
        files.chain(directory)
    }

    /// Returns the variables that contain a key.
    pub fn variables(&self) -> impl Iterator<Item = String> {
        let contain = |source: &&VariableSource| matches!(source, VariableSource::Secret);
        self.variables.iter().filter(move |(_, source)| contain(source)).map(|(purpose, _)| purpose.variable())
    }

    /// Returns the credentials directory, if there is one.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Returns what makes changes of the keys of a key id take effect.
    pub fn changes_of(&self, kid: Kid) -> KeyChanges {
        let sources = [Role::Active, Role::Old].map(|role| self.variables.get(&SecretPurpose::Key(kid, role)));
        let is_file = |source: &Option<&VariableSource>| matches!(source, Some(VariableSource::File(_)));
        let is_variable = sources.iter().flatten().any(|source| !matches!(source, VariableSource::File(_)));
        match self.unit_of_systemd() {
            // Nothing else of a unit can be replaced while its daemon runs.
            Some(restart) if is_variable || !sources.iter().any(is_file) => restart,
            _ if is_variable => KeyChanges::Restart,
            _ => KeyChanges::Reload,
        }
    }

    /// Returns how to restart the unit if systemd provides the keys (`LoadCredential=`). systemd copies them when it starts the
    /// unit: from /etc/masker/keys, for example, to /run/credentials/masker.service.
    pub fn unit_of_systemd(&self) -> Option<KeyChanges> {
        let directory = self.directory.as_deref()?;
        let unit = directory.file_name()?.to_str().filter(|name| name.ends_with(".service"))?;
        let parent = directory.parent()?;
        let is_user = parent.ends_with("credentials") && parent.starts_with("/run/user");
        let is_system = parent == Path::new("/run/credentials");
        (is_system || is_user).then(|| KeyChanges::RestartUnit { unit: unit.to_owned(), is_user })
    }

    /// Returns the location of each secret, in the order of the names. Lists the credentials directory.
    pub(super) fn locations(&self, problems: &mut ProblemCollector) -> BTreeMap<SecretPurpose, SecretLocation> {
        let mut locations = BTreeMap::new();
        if let Some(directory) = &self.directory {
            credentials(directory, &mut locations, problems);
        }
        for (purpose, variable) in &self.variables {
            match variable {
                VariableSource::Secret => drop(locations.insert(*purpose, SecretLocation::Variable)),
                VariableSource::File(path) => drop(locations.insert(*purpose, SecretLocation::Named(path.clone()))),
                VariableSource::Unusable => drop(locations.remove(purpose)),
            }
        }
        locations
    }
}

/// Returns the file that a variable names.
fn file(purpose: SecretPurpose, path: &OsStr, problems: &mut ProblemCollector) -> VariableSource {
    let variable = || format!("{}_FILE", purpose.variable());
    if path.is_empty() {
        problems.report(
            purpose,
            CredentialFault::NotAPath,
            variable(),
            "is empty: set it to the path of a key file, or remove it",
        );
        return VariableSource::Unusable;
    }
    // As a path, the key would appear in messages and stay in memory.
    if SecretKey::parse_base64(path.as_bytes()).is_ok() {
        let why = "contains a key instead of a path: leave `_FILE` out of its name";
        problems.report(purpose, CredentialFault::NotAPath, variable(), why);
        return VariableSource::Unusable;
    }
    VariableSource::File(PathBuf::from(path))
}

/// Adds the secrets of the credentials directory to `locations`.
fn credentials(
    directory: &Path,
    locations: &mut BTreeMap<SecretPurpose, SecretLocation>,
    problems: &mut ProblemCollector,
) {
    let names = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
    let mut names = match names {
        Ok(names) => names,
        Err(error) => {
            let source = format!("{CREDENTIALS_DIRECTORY} ({})", directory.display());
            let why = format!("cannot be listed: {error}");
            let fault = CredentialFault::from(&error);
            return problems.report_at(directory, ProblemSubject::Directory, fault, source, why);
        }
    };
    names.sort();
    for name in names {
        let path = directory.join(&name);
        match SecretName::parse(&name) {
            SecretName::Secret(purpose) => drop(locations.insert(purpose, SecretLocation::Credential(path))),
            SecretName::Path(purpose) => problems.report_at(
                &*path,
                purpose,
                CredentialFault::NotAPath,
                CredentialFile(&path).to_string(),
                format!("is a file already: put the key into a file with the name {}", purpose.variable()),
            ),
            SecretName::Malformed(why) => {
                let source = CredentialFile(&path).to_string();
                let (subject, fault) = (ProblemSubject::MisnamedKey, CredentialFault::Misnamed);
                problems.report_at(&*path, subject, fault, source, why);
            }
            SecretName::Foreign if name == GRACE_DAYS => problems.warn(
                CredentialCaution::NotRead,
                format!(
                    "{} is not read: set the variable {GRACE_DAYS}, or `grace_days` in the configuration",
                    CredentialFile(&path)
                ),
            ),
            SecretName::Foreign => {}
        }
    }
}

/// Displays a file of the credentials directory in a message.
pub(super) struct CredentialFile<'p>(pub(super) &'p Path);

impl fmt::Display for CredentialFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the credential {}", printable(self.0.as_os_str()))
    }
}
