//! Where secrets come from: what is remembered of an environment once the secrets are out of it.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt, fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    Environment, ProblemCollector,
    name::{GRACE_DAYS, SecretName, SecretPurpose},
    printable,
};
use masker_core::crypto::SecretKey;
use masker_types::kind::Kid;

/// Where systemd's `LoadCredential=` lays files.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where the secrets of a daemon come from: names and paths, never a secret. What comes from files can be read again.
#[derive(Clone, Debug)]
pub struct KeySources {
    /// What variables say. They count before the directory.
    variables: BTreeMap<SecretPurpose, VariableSource>,
    /// Where there are files that are named as variables are.
    directory: Option<PathBuf>,
}

/// What a variable says of a secret.
#[derive(Clone, Debug)]
enum VariableSource {
    /// It had the secret itself.
    Secret,
    /// The secret is in this file.
    File(PathBuf),
    /// Nothing that could be used; that was reported.
    Unusable,
}

/// Where one secret is now.
pub(super) enum SecretLocation {
    /// In the variable of its name, while there is one.
    Variable,
    /// In a file that a variable names.
    Named(PathBuf),
    /// In the credentials directory.
    Credential(PathBuf),
}

/// Where a secret was given, for those who judge that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretOrigin {
    /// The variable that it has or would have, such as `MASKER_KEY_K_HEALTHCARE_OLD`.
    pub name: String,
    /// The key id, where it is no key of the audit chain.
    pub kid: Option<Kid>,
    /// How it was given.
    pub by: OriginKind,
}

/// How a secret was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginKind {
    /// A variable holds it.
    Variable,
    /// A variable names this file.
    File(PathBuf),
    /// It is this file of the credentials directory.
    Credential(PathBuf),
}

impl SecretOrigin {
    pub(super) fn at(slot: SecretPurpose, place: &SecretLocation) -> Self {
        let by = match place {
            SecretLocation::Variable => OriginKind::Variable,
            SecretLocation::Named(path) => OriginKind::File(path.clone()),
            SecretLocation::Credential(path) => OriginKind::Credential(path.clone()),
        };
        let kid = match slot {
            SecretPurpose::Key(kid, _) => Some(kid),
            SecretPurpose::Audit => None,
        };
        SecretOrigin { name: slot.variable(), kid, by }
    }
}

impl KeySources {
    pub(super) fn of(environment: &Environment, findings: &mut ProblemCollector) -> Self {
        let mut variables: BTreeMap<SecretPurpose, VariableSource> = BTreeMap::new();
        for (name, value) in environment.iter() {
            let (slot, variable) = match SecretName::parse(name) {
                SecretName::Secret(slot) => (slot, VariableSource::Secret),
                SecretName::Path(slot) => (slot, file(slot, value, findings)),
                SecretName::Malformed(why) => {
                    findings.report(printable(name), why);
                    continue;
                }
                SecretName::Foreign => continue,
            };
            if variables.insert(slot, variable).is_some() {
                let name = slot.variable();
                findings.report(name.clone(), format!("and {name}_FILE are both set: keep one of them"));
                variables.insert(slot, VariableSource::Unusable);
            }
        }
        KeySources { variables, directory: environment.setting(CREDENTIALS_DIRECTORY).map(PathBuf::from) }
    }

    /// The files that variables name.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.variables.values().filter_map(|variable| match variable {
            VariableSource::File(path) => Some(path.as_path()),
            VariableSource::Secret | VariableSource::Unusable => None,
        })
    }

    /// The directory of files that are named as variables are, where there is one.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Where each secret is now, in the order of their names: the files of the directory are those that are there now.
    pub(super) fn places(&self, findings: &mut ProblemCollector) -> BTreeMap<SecretPurpose, SecretLocation> {
        let mut places = BTreeMap::new();
        if let Some(directory) = &self.directory {
            credentials(directory, &mut places, findings);
        }
        for (slot, variable) in &self.variables {
            match variable {
                VariableSource::Secret => drop(places.insert(*slot, SecretLocation::Variable)),
                VariableSource::File(path) => drop(places.insert(*slot, SecretLocation::Named(path.clone()))),
                VariableSource::Unusable => drop(places.remove(slot)),
            }
        }
        places
    }
}

/// The file that a variable names.
fn file(slot: SecretPurpose, path: &OsStr, findings: &mut ProblemCollector) -> VariableSource {
    let variable = || format!("{}_FILE", slot.variable());
    if path.is_empty() {
        findings.report(variable(), "is empty: it must be the path of a file that holds the key, or not be set");
        return VariableSource::Unusable;
    }
    // Taken for a path it would be shown in messages, and kept.
    if SecretKey::parse_base64(path.as_bytes()).is_ok() {
        findings.report(variable(), "holds a key where the path of a file belongs: leave `_FILE` out of its name");
        return VariableSource::Unusable;
    }
    VariableSource::File(PathBuf::from(path))
}

fn credentials(
    directory: &Path,
    places: &mut BTreeMap<SecretPurpose, SecretLocation>,
    findings: &mut ProblemCollector,
) {
    let names = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
    let mut names = match names {
        Ok(names) => names,
        Err(error) => {
            let source = format!("{CREDENTIALS_DIRECTORY} ({})", directory.display());
            return findings.report(source, format!("cannot be listed: {error}"));
        }
    };
    names.sort();
    for name in names {
        let path = directory.join(&name);
        match SecretName::parse(&name) {
            SecretName::Secret(slot) => drop(places.insert(slot, SecretLocation::Credential(path))),
            SecretName::Path(slot) => findings.report(
                CredentialFile(&path).to_string(),
                format!("is a file already: lay the key itself there, under the name {}", slot.variable()),
            ),
            SecretName::Malformed(why) => findings.report(CredentialFile(&path).to_string(), why),
            SecretName::Foreign if name == GRACE_DAYS => findings.warn(format!(
                "{} is not read: set the variable {GRACE_DAYS}, or `grace_days` in the configuration",
                CredentialFile(&path)
            )),
            SecretName::Foreign => {}
        }
    }
}

/// A file of the credentials directory, for a message.
pub(super) struct CredentialFile<'p>(pub(super) &'p Path);

impl fmt::Display for CredentialFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the credential {}", printable(self.0.as_os_str()))
    }
}
