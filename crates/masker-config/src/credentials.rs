//! Keys, from the environment, from files that it names, and from the directory that systemd lays credentials in.
//!
//! Every problem is found before any is reported. Messages name the variable or the file, and never hold what is in
//! it: an operator who mixes up `MASKER_KEY_K` and `MASKER_KEY_K_FILE` must not find the key in the log.
//!
//! Variables are wiped once they are read, so what they held cannot be read a second time; files can.

mod name;
mod sources;

use std::{collections::BTreeSet, ffi::OsStr, fmt, os::unix::ffi::OsStrExt};

use super::Environment;
use crate::key_file::{self, KeyFile, KeyFileError};
use masker_core::{
    crypto::{SecretKey, SecretKeyError},
    keyring::{LoadedKey, Role},
};
use masker_types::kind::Kid;
use name::SecretPurpose;
pub use name::is_secret_name;
use sources::{CredentialFile, SecretLocation};
pub use sources::{KeySources, OriginKind, SecretOrigin};

/// The secrets that a daemon was given.
pub struct Credentials {
    /// The keys, in the order of their names: at most one for each key id and role.
    pub keys: Vec<LoadedKey>,
    /// The key of the audit chain, if one was given.
    pub audit_key: Option<SecretKey>,
    /// What is no reason not to start, and should be mended.
    pub warnings: Vec<String>,
    /// Where they came from.
    pub sources: KeySources,
}

/// What came of reading keys again.
pub struct ReloadedKeys {
    /// Those that come from files, as the files are now.
    pub keys: Vec<LoadedKey>,
    /// Those that came from variables, which are wiped: they stay what they were.
    pub kept: BTreeSet<(Kid, Role)>,
    /// What is no reason not to use them, and should be mended.
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

/// Everything that could be read of the secrets, and everything that is wrong with the rest.
pub struct CredentialSurvey {
    /// The keys that could be read.
    pub keys: Vec<LoadedKey>,
    /// The key of the audit chain, if one was given that could be read.
    pub audit_key: Option<SecretKey>,
    /// What is wrong.
    pub problems: Vec<CredentialProblem>,
    /// What is no reason not to start, and should be mended.
    pub warnings: Vec<String>,
    /// Where each secret was looked for.
    pub given: Vec<SecretOrigin>,
    sources: KeySources,
}

impl Credentials {
    /// Collects the secrets that an environment gives or names. Variables count before files of the credentials
    /// directory.
    ///
    /// # Errors
    /// Every problem of every secret.
    pub fn collect(environment: &Environment) -> Result<Credentials, CredentialProblems> {
        let CredentialSurvey { keys, audit_key, problems, warnings, sources, .. } = CredentialSurvey::of(environment);
        let warnings = ProblemCollector { problems, warnings }.end()?;
        Ok(Credentials { keys, audit_key, warnings, sources })
    }
}

impl CredentialSurvey {
    /// Reads the secrets that an environment gives or names, as far as they can be read.
    pub fn of(environment: &Environment) -> CredentialSurvey {
        let mut findings = ProblemCollector::default();
        let sources = KeySources::of(environment, &mut findings);
        let mut keys: Vec<LoadedKey> = Vec::new();
        let mut audit_key = None;
        let mut given = Vec::new();
        for (slot, place) in sources.places(&mut findings) {
            given.push(SecretOrigin::at(slot, &place));
            let key = match place {
                SecretLocation::Variable => {
                    let variable = slot.variable();
                    environment.get(&variable).and_then(|value| findings.parse(&variable, value.as_bytes()))
                }
                place => findings.read(slot, &place),
            };
            match (slot, key) {
                (SecretPurpose::Key(kid, role), Some(key)) => keys.push(LoadedKey { kid, role, key }),
                (SecretPurpose::Audit, Some(key)) => audit_key = Some(key),
                (_, None) => {}
            }
        }
        findings.compare(&keys, &BTreeSet::new());
        let ProblemCollector { problems, warnings } = findings;
        CredentialSurvey { keys, audit_key, problems, warnings, given, sources }
    }
}

impl Credentials {
    /// The key of the audit chain alone, for a command: what else is given does not concern it.
    ///
    /// # Errors
    /// Every problem of that key.
    pub fn audit_key(environment: &Environment) -> Result<Option<SecretKey>, CredentialProblems> {
        let mut findings = ProblemCollector::default();
        let place = KeySources::of(environment, &mut findings).places(&mut findings).remove(&SecretPurpose::Audit);
        let variable = SecretPurpose::Audit.variable();
        let key = match place {
            None => None,
            Some(SecretLocation::Variable) => {
                environment.get(&variable).and_then(|value| findings.parse(&variable, value.as_bytes()))
            }
            Some(place) => findings.read(SecretPurpose::Audit, &place),
        };
        findings.problems.retain(|problem| problem.source.contains(&variable));
        findings.end().map(|_| key)
    }
}

impl KeySources {
    /// Reads the keys again, all but those that variables held themselves, with files that have come and without
    /// those that have gone. The key of the audit chain is not read again.
    ///
    /// # Errors
    /// Every problem of every key.
    pub fn reload(&self) -> Result<ReloadedKeys, CredentialProblems> {
        let mut findings = ProblemCollector::default();
        let (mut keys, mut kept) = (Vec::new(), BTreeSet::new());
        for (slot, place) in self.places(&mut findings) {
            match (slot, &place) {
                (SecretPurpose::Key(kid, role), SecretLocation::Variable) => drop(kept.insert((kid, role))),
                (SecretPurpose::Key(kid, role), place) => {
                    keys.extend(findings.read(slot, place).map(|key| LoadedKey { kid, role, key }));
                }
                (SecretPurpose::Audit, _) => {}
            }
        }
        findings.compare(&keys, &kept);
        let warnings = findings.end()?;
        Ok(ReloadedKeys { keys, kept, warnings })
    }
}

/// What was found wrong so far.
#[derive(Default)]
struct ProblemCollector {
    problems: Vec<CredentialProblem>,
    warnings: Vec<String>,
}

impl ProblemCollector {
    fn report(&mut self, source: impl Into<String>, message: impl Into<String>) {
        self.problems.push(CredentialProblem { source: source.into(), message: message.into() });
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// The warnings, if nothing is worse.
    fn end(self) -> Result<Vec<String>, CredentialProblems> {
        if self.problems.is_empty() { Ok(self.warnings) } else { Err(CredentialProblems(self.problems)) }
    }

    /// Reads a secret from its file.
    fn read(&mut self, slot: SecretPurpose, place: &SecretLocation) -> Option<SecretKey> {
        let (source, read) = match place {
            SecretLocation::Variable => return None,
            SecretLocation::Named(path) => {
                let source = format!("{}_FILE ({})", slot.variable(), printable(path.as_os_str()));
                (source, key_file::read(path))
            }
            SecretLocation::Credential(path) => (CredentialFile(path).to_string(), key_file::read(path)),
        };
        let named = matches!(place, SecretLocation::Named(_));
        match read {
            Ok(KeyFile { bytes, open_to_others }) => {
                if named && open_to_others {
                    self.warn(format!("{source} can be read by other users than its owner: `chmod 0400` it"));
                }
                self.parse(&source, &bytes)
            }
            // The name of an old key's file is given once, the file comes and goes with the rotations.
            Err(KeyFileError::NotFound) if named && matches!(slot, SecretPurpose::Key(_, Role::Old)) => {
                self.warn(format!("{source} is not there, so there is no such key now"));
                None
            }
            Err(why) => {
                self.report(source, why.to_string());
                None
            }
        }
    }

    fn parse(&mut self, source: &str, text: &[u8]) -> Option<SecretKey> {
        if text.trim_ascii().is_empty() {
            self.report(source, "is empty: give it 32 bytes in base64, or leave it out");
            return None;
        }
        SecretKey::parse_base64(text).map_err(|error: SecretKeyError| self.report(source, error.to_string())).ok()
    }

    /// An active key and its old one must differ, and an old one replaces nothing where there is no active one. Of keys
    /// that are kept, the keyring alone can tell whether they differ from others.
    fn compare(&mut self, keys: &[LoadedKey], kept: &BTreeSet<(Kid, Role)>) {
        let read = |kid, role| keys.iter().find(|key| (key.kid, key.role) == (kid, role));
        let slots = keys.iter().map(|key| (key.kid, key.role)).chain(kept.iter().copied());
        for (kid, _) in slots.filter(|(_, role)| *role == Role::Old) {
            let (active_name, old_name) =
                (SecretPurpose::Key(kid, Role::Active).variable(), SecretPurpose::Key(kid, Role::Old).variable());
            let said = self.problems.iter().any(|problem| problem.source.contains(&active_name));
            match (read(kid, Role::Active), read(kid, Role::Old)) {
                (Some(active), Some(old)) if active.key.ct_eq(&old.key) => {
                    self.report(old_name, format!("is the same key as {active_name}: a rotation needs a new one"));
                }
                (None, _) if !said && !kept.contains(&(kid, Role::Active)) => self.report(
                    old_name,
                    format!("is set and {active_name} is not: an old key is kept beside the one that replaced it"),
                ),
                _ => {}
            }
        }
    }
}

/// A name for a message: what is not text, or would move the cursor, is escaped.
fn printable(name: &OsStr) -> String {
    name.to_string_lossy().escape_debug().to_string()
}

#[cfg(test)]
mod tests;
