//! Keys, from environment variables, key files and systemd's credentials directory.
//!
//! All problems are reported at once. Messages name the variable or the file, and never contain its value: an operator who
//! mixes up `MASKER_KEY_K` and `MASKER_KEY_K_FILE` must not find the key in the log.
//!
//! Variables are wiped after they are read, so a reload reads key files only.

mod name;
mod problems;
mod sources;

use std::{collections::BTreeSet, os::unix::ffi::OsStrExt, path::Path};

use super::environment::Environment;
use crate::key_file::{self, KeyFile, KeyFileError};
use masker_core::{
    crypto::{SecretKey, SecretKeyError},
    keyring::{LoadedKey, Role},
};
use masker_types::kind::Kid;
use name::SecretPurpose;
pub use name::is_secret_name;
pub use problems::{CredentialCaution, CredentialFault, CredentialProblem, CredentialProblems, CredentialWarning};
use problems::{ProblemCollector, ProblemSubject, printable};
use sources::{CredentialFile, SecretLocation};
pub use sources::{KeyChanges, KeySources, OriginKind, SecretOrigin};

/// The secrets of a daemon.
pub struct Credentials {
    /// The keys, in the order of their names. There is at most one for each key id and role.
    pub keys: Vec<LoadedKey>,
    /// The key of the audit chain, if one was given.
    pub audit_key: Option<SecretKey>,
    /// Problems that do not prevent a start.
    pub warnings: Vec<String>,
    /// The sources of the secrets.
    pub sources: KeySources,
}

/// The result of reading keys again.
pub struct ReloadedKeys {
    /// The keys of files.
    pub keys: Vec<LoadedKey>,
    /// The keys that came from variables, which are wiped: these keys stay as they are.
    pub kept: BTreeSet<(Kid, Role)>,
    /// Problems that do not prevent the use of the keys.
    pub warnings: Vec<String>,
}

/// The secrets that could be read, and the problems of the others.
pub struct PartialCredentials {
    /// The keys that could be read.
    pub keys: Vec<LoadedKey>,
    /// The key of the audit chain, if one was given and could be read.
    pub audit_key: Option<SecretKey>,
    /// The problems.
    pub problems: Vec<CredentialProblem>,
    /// Problems that do not prevent a start.
    pub warnings: Vec<CredentialWarning>,
    /// The source of each secret.
    pub given: Vec<SecretOrigin>,
    /// The sources of the secrets.
    pub sources: KeySources,
}

impl Credentials {
    /// Reads the secrets that an environment contains or names. Variables take precedence over the credentials directory.
    ///
    /// # Errors
    /// All problems of all secrets.
    pub fn collect(environment: &Environment) -> Result<Credentials, CredentialProblems> {
        let PartialCredentials { keys, audit_key, problems, warnings, sources, .. } =
            PartialCredentials::read(environment);
        let warnings = ProblemCollector { problems, warnings }.into_result()?;
        Ok(Credentials { keys, audit_key, warnings, sources })
    }
}

impl PartialCredentials {
    /// Reads the secrets that an environment contains or names, as far as possible.
    pub fn read(environment: &Environment) -> PartialCredentials {
        let mut problems = ProblemCollector::default();
        let sources = KeySources::of(environment, &mut problems);
        let mut keys: Vec<LoadedKey> = Vec::new();
        let mut audit_key = None;
        let mut given = Vec::new();
        for (purpose, location) in sources.locations(&mut problems) {
            given.push(SecretOrigin::new(purpose, &location));
            let key = match location {
                SecretLocation::Variable => {
                    let variable = purpose.variable();
                    environment
                        .get(&variable)
                        .and_then(|value| problems.parse(purpose, None, &variable, value.as_bytes()))
                }
                location => problems.read(purpose, &location),
            };
            match (purpose, key) {
                (SecretPurpose::Key(kid, role), Some(key)) => keys.push(LoadedKey { kid, role, key }),
                (SecretPurpose::Audit, Some(key)) => audit_key = Some(key),
                (_, None) => {}
            }
        }
        problems.compare(&keys, &BTreeSet::new());
        let ProblemCollector { problems, warnings } = problems;
        PartialCredentials { keys, audit_key, problems, warnings, given, sources }
    }
}

impl Credentials {
    /// Reads only the key of the audit chain, for a command that needs no other.
    ///
    /// # Errors
    /// All problems, except those of another key.
    pub fn audit_key(environment: &Environment) -> Result<Option<SecretKey>, CredentialProblems> {
        let mut problems = ProblemCollector::default();
        let location =
            KeySources::of(environment, &mut problems).locations(&mut problems).remove(&SecretPurpose::Audit);
        let variable = SecretPurpose::Audit.variable();
        let key = match location {
            None => None,
            Some(SecretLocation::Variable) => environment
                .get(&variable)
                .and_then(|value| problems.parse(SecretPurpose::Audit, None, &variable, value.as_bytes())),
            Some(location) => problems.read(SecretPurpose::Audit, &location),
        };
        let (audit, directory) = (ProblemSubject::from(SecretPurpose::Audit), ProblemSubject::Directory);
        problems.problems.retain(|problem| [audit, directory].contains(&problem.subject));
        problems.into_result().map(|_| key)
    }
}

impl KeySources {
    /// Reads the key files again, including new ones. Keys that came from variables are kept. The key of the audit chain is
    /// not read again.
    ///
    /// # Errors
    /// All problems of all keys.
    pub fn reload(&self) -> Result<ReloadedKeys, CredentialProblems> {
        let mut problems = ProblemCollector::default();
        let (mut keys, mut kept) = (Vec::new(), BTreeSet::new());
        for (purpose, location) in self.locations(&mut problems) {
            match (purpose, &location) {
                (SecretPurpose::Key(kid, role), SecretLocation::Variable) => drop(kept.insert((kid, role))),
                (SecretPurpose::Key(kid, role), location) => {
                    keys.extend(problems.read(purpose, location).map(|key| LoadedKey { kid, role, key }));
                }
                (SecretPurpose::Audit, _) => {}
            }
        }
        problems.compare(&keys, &kept);
        let warnings = problems.into_result()?;
        Ok(ReloadedKeys { keys, kept, warnings })
    }
}

impl ProblemCollector {
    /// Reads a secret from its file.
    fn read(&mut self, purpose: SecretPurpose, location: &SecretLocation) -> Option<SecretKey> {
        let (source, path) = match location {
            SecretLocation::Variable => return None,
            SecretLocation::Named(path) => {
                (format!("{}_FILE ({})", purpose.variable(), printable(path.as_os_str())), path.as_path())
            }
            SecretLocation::Credential(path) => (CredentialFile(path).to_string(), path.as_path()),
        };
        let read = key_file::read(path);
        let named = matches!(location, SecretLocation::Named(_));
        match read {
            Ok(KeyFile { bytes, open_to_others }) => {
                if named && open_to_others {
                    self.warn(
                        CredentialCaution::OpenToOthers,
                        format!("{source} can be read by other users than its owner: run `chmod 0400` on it"),
                    );
                }
                self.parse(purpose, path, &source, &bytes)
            }
            // The variable stays, while the file exists only during a rotation.
            Err(KeyFileError::NotFound) if named && matches!(purpose, SecretPurpose::Key(_, Role::Old)) => {
                self.warn(
                    CredentialCaution::OldMissing,
                    format!("{source} does not exist, so this old key is not loaded"),
                );
                None
            }
            Err(why) => {
                self.report_at(path, purpose, CredentialFault::from(&why), source, why.to_string());
                None
            }
        }
    }

    fn parse<'p>(
        &mut self,
        purpose: SecretPurpose,
        path: impl Into<Option<&'p Path>>,
        source: &str,
        text: &[u8],
    ) -> Option<SecretKey> {
        let path = path.into();
        if text.trim_ascii().is_empty() {
            self.report_at(
                path,
                purpose,
                CredentialFault::Empty,
                source,
                "is empty, or its file is missing: put the key back from its copy; `masker doctor` says more",
            );
            return None;
        }
        let report = |error: SecretKeyError| {
            self.report_at(path, purpose, CredentialFault::Invalid, source, error.to_string());
        };
        SecretKey::parse_base64(text).map_err(report).ok()
    }

    /// Checks that an old key has an active key, and that the two differ. The keyring compares the keys that are kept.
    fn compare(&mut self, keys: &[LoadedKey], kept: &BTreeSet<(Kid, Role)>) {
        let read = |kid, role| keys.iter().find(|key| (key.kid, key.role) == (kid, role));
        let purposes = keys.iter().map(|key| (key.kid, key.role)).chain(kept.iter().copied());
        for (kid, _) in purposes.filter(|(_, role)| *role == Role::Old) {
            let (active, old) = (SecretPurpose::Key(kid, Role::Active), SecretPurpose::Key(kid, Role::Old));
            let (active_name, old_name) = (active.variable(), old.variable());
            let reported = self.problems.iter().any(|problem| problem.subject == active.into());
            match (read(kid, Role::Active), read(kid, Role::Old)) {
                (Some(active), Some(replaced)) if active.key.ct_eq(&replaced.key) => {
                    let message = format!("is the same key as {active_name}: a rotation needs a new key");
                    self.report(old, CredentialFault::SameAsActive, old_name, message);
                }
                (None, _) if !reported && !kept.contains(&(kid, Role::Active)) => self.report(
                    old,
                    CredentialFault::OldAlone,
                    old_name,
                    format!("is set and {active_name} is not: an old key needs the active key that replaced it"),
                ),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
