//! Keys: whether they can be read, are valid, differ, and are protected from other users.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::File,
    io::ErrorKind,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    DoctorInput,
    files::{FileFacts, PathStatus},
    finding::{Finding, Severity},
    secret_names::holds_secret,
    units::InstalledUnits,
};
use masker_config::{CredentialProblem, Credentials, Environment, OriginKind, PartialCredentials, SecretOrigin};
use masker_core::{crypto::SecretKey, keyring::Role};
use masker_types::kind::Kid;

/// The remedy for a key that must be replaced.
const GENERATE: &str = "`masker keys generate --kid KID` generates a key; the page \"Rotating a key\" of the book describes how to \
                        move records to it";

/// The keys that are provided, read as far as this user may.
pub(super) struct KeyFacts {
    pub(super) credentials: PartialCredentials,
    /// The unit whose credentials the keys are. `None` if they are of this environment.
    unit: Option<PathBuf>,
    /// Credentials of the unit that only systemd or another user can read.
    unreadable: Vec<String>,
    /// The files that contain keys, and their directories.
    files: Vec<KeyFileFacts>,
}

/// A file that contains a key.
struct KeyFileFacts {
    /// The name of the key's variable.
    name: String,
    path: PathBuf,
    status: PathStatus,
    directory: PathStatus,
    /// Whether systemd created it for the daemon and controls its mode.
    by_systemd: bool,
}

impl KeyFacts {
    /// Reads the keys of this environment or, if it has none, those that the installed unit provides.
    pub(super) fn gather(input: &DoctorInput<'_>, installed: &InstalledUnits) -> Self {
        let own = input.host.environment;
        let mut keys = if has_keys(own) {
            KeyFacts {
                credentials: PartialCredentials::read(own),
                unit: None,
                unreadable: Vec::new(),
                files: Vec::new(),
            }
        } else {
            Self::of_unit(installed)
        };
        let files = keys.credentials.given.iter().filter_map(|given| KeyFileFacts::of(given, keys.unit.is_some()));
        keys.files = files.collect();
        keys
    }

    fn of_unit(installed: &InstalledUnits) -> Self {
        let mut unreadable = installed.encrypted_credentials();
        let mut variables: Vec<(OsString, OsString)> = Vec::new();
        for (name, path) in installed.credentials() {
            match File::open(&path) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => unreadable.push(name),
                _ => variables.push((format!("{name}_FILE").into(), path.into())),
            }
        }
        let environment: Environment = variables.into_iter().collect();
        KeyFacts {
            credentials: PartialCredentials::read(&environment),
            unit: installed.unit.clone(),
            unreadable,
            files: Vec::new(),
        }
    }

    /// Returns whether any key is provided, readable or not.
    pub(super) fn any(&self) -> bool {
        !self.credentials.given.is_empty() || !self.unreadable.is_empty()
    }

    /// Returns the key ids with an active key, readable or not.
    pub(super) fn kids(&self) -> BTreeSet<Kid> {
        let given =
            self.credentials.given.iter().filter(|given| !given.name.ends_with("_OLD")).filter_map(|given| given.kid);
        let unreadable = self.unreadable.iter().filter_map(|name| Kid::parse(name.strip_prefix("MASKER_KEY_")?));
        given.chain(unreadable).collect()
    }

    /// Returns the files that contain keys, without the copies that systemd makes.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter(|file| !file.by_systemd).map(|file| file.path.as_path())
    }

    /// Returns the directories of the copies that systemd makes.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter(|file| file.by_systemd).filter_map(|file| file.path.parent())
    }

    /// Returns whether the key of the audit log is provided but this user cannot read it.
    pub(super) fn audit_key_is_unreadable(&self) -> bool {
        self.unreadable.iter().any(|name| name == "MASKER_AUDIT_HMAC_KEY")
    }

    /// Returns every readable key, with the name of its variable.
    pub(super) fn keys(&self) -> Vec<(String, &SecretKey)> {
        let name = |kid: &Kid, role| format!("MASKER_KEY_{kid}{}", if role == Role::Old { "_OLD" } else { "" });
        let keys = self.credentials.keys.iter().map(|key| (name(&key.kid, key.role), &key.key));
        keys.chain(self.credentials.audit_key.iter().map(|key| ("MASKER_AUDIT_HMAC_KEY".to_owned(), key))).collect()
    }
}

/// Reads the keys of this environment or, if it has none, those that the installed unit provides. Encrypted ones are decrypted by
/// `systemd-creds`, which takes root.
///
/// # Errors
/// A message with all problems of all keys.
pub(crate) fn provided_keys(own: &Environment) -> Result<Credentials, String> {
    let collect =
        |environment: &Environment| Credentials::collect(environment).map_err(|problems| problems.to_string());
    if has_keys(own) {
        return collect(own);
    }
    let installed = InstalledUnits::read(Path::new("/"));
    let files = installed.credentials().into_iter().map(|(name, path)| (format!("{name}_FILE").into(), path.into()));
    let decrypted = installed.encrypted_files().into_iter().map(|(name, path)| {
        let key = decrypt(&name, &path)
            .map_err(|why| format!("systemd-creds failed to decrypt {}: {why}", path.display()))?;
        Ok((name.into(), key))
    });
    let decrypted = decrypted.collect::<Result<Vec<(OsString, OsString)>, String>>()?;
    collect(&files.chain(decrypted).collect())
}

fn decrypt(name: &str, path: &Path) -> Result<OsString, String> {
    let mut command = Command::new("systemd-creds");
    let output = command.arg("decrypt").arg(format!("--name={name}")).arg(path).arg("-").output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(OsString::from_vec(output.stdout))
}

/// Returns whether an environment contains or names keys of the daemon.
fn has_keys(own: &Environment) -> bool {
    let mut names = own.iter().map(|(name, _)| name.as_bytes());
    own.setting("CREDENTIALS_DIRECTORY").is_some()
        || names.any(|name| is_key(name) || is_key(name.strip_suffix(b"_FILE").unwrap_or(name)))
}

/// Returns whether a variable of this name contains a key of the daemon, not a credential of a client.
fn is_key(name: &[u8]) -> bool {
    holds_secret(name) && (name.starts_with(b"MASKER_KEY_") || name.starts_with(b"MASKER_AUDIT_"))
}

impl KeyFileFacts {
    fn of(given: &SecretOrigin, of_unit: bool) -> Option<Self> {
        let (path, by_systemd) = match &given.by {
            OriginKind::Variable => return None,
            OriginKind::File(path) => (path, false),
            OriginKind::Credential(path) => (path, true),
        };
        // systemd reads a unit's credentials as root, so the daemon's user needs no access.
        let directory = PathStatus::at(path.parent().unwrap_or(Path::new("/")));
        let by_systemd = by_systemd && !of_unit;
        Some(KeyFileFacts {
            name: given.name.clone(),
            path: path.clone(),
            status: PathStatus::at(path),
            directory,
            by_systemd,
        })
    }
}

/// Returns the findings of every check of keys.
pub(super) fn judge(keys: &KeyFacts) -> Vec<Finding> {
    let mut findings = read(keys);
    findings.extend(differ(&keys.keys()));
    findings.extend(random(&keys.keys()));
    findings.extend(files(&keys.files));
    findings.extend(keys_from_variables(&keys.credentials.given));
    findings.extend(audit_key(keys));
    findings
}

/// `keys.read`: every provided key is valid.
fn read(keys: &KeyFacts) -> Vec<Finding> {
    let credentials = &keys.credentials;
    let mut findings: Vec<Finding> = credentials.problems.iter().map(problem_of).collect();
    // `keys.files` reports modes in more detail.
    let warnings = credentials.warnings.iter().filter(|warning| !warning.contains("can be read by other users"));
    findings.extend(warnings.map(|warning| {
        Finding::warning(
            "keys.read",
            warning.clone(),
            "remove the variable when the rotation is over, or provide the file",
        )
    }));
    if !keys.unreadable.is_empty() {
        let found = format!("{} cannot be read by this user and were not checked", keys.unreadable.join(", "));
        let remedy = "run doctor as root; only the daemon's unit can read encrypted credentials, and the daemon checks them when \
                      it starts";
        findings.push(Finding::warning("keys.read", found, remedy));
    }
    if findings.iter().all(|finding| finding.status != Severity::Error) && !credentials.keys.is_empty() {
        let from = keys.unit.as_ref().map_or_else(String::new, |unit| format!(", provided by {}", unit.display()));
        findings.push(Finding::ok("keys.read", format!("{} keys can be read{from}", credentials.keys.len())));
    }
    findings
}

/// Returns the finding of a problem of a key. A file that this user may not read is not at fault.
fn problem_of(problem: &CredentialProblem) -> Finding {
    let found = problem.to_string();
    if found.contains("Permission denied") {
        return Finding::warning("keys.read", found, "run doctor as root, or as the user of the daemon");
    }
    Finding::error("keys.read", found, GENERATE)
}

/// `keys.differ`: no key is used under two names.
fn differ(keys: &[(String, &SecretKey)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, (name, key)) in keys.iter().enumerate() {
        for (other, earlier) in &keys[..index] {
            // `keys.read` reports an active key that equals its old one.
            let pair = *name == format!("{other}_OLD") || *other == format!("{name}_OLD");
            if key.ct_eq(earlier) && !pair {
                let found = format!("{other} and {name} are the same key");
                findings.push(Finding::error("keys.differ", found, GENERATE));
            }
        }
    }
    if findings.is_empty() && keys.len() > 1 {
        findings.push(Finding::ok("keys.differ", format!("the {} keys differ", keys.len())));
    }
    findings
}

/// `keys.random`: no key looks like a passphrase or a placeholder.
fn random(keys: &[(String, &SecretKey)]) -> Vec<Finding> {
    let weak = keys.iter().filter_map(|(name, key)| Some((name, key.weakness()?)));
    let mut findings: Vec<Finding> =
        weak.map(|(name, weakness)| Finding::error("keys.random", format!("{name} {weakness}"), GENERATE)).collect();
    if findings.is_empty() && !keys.is_empty() {
        findings.push(Finding::ok("keys.random", "every key looks random"));
    }
    findings
}

/// `keys.files`: no other user can read or replace the files of keys.
fn files(files: &[KeyFileFacts]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for KeyFileFacts { name, path, status, directory, by_systemd } in files {
        let shown = path.display();
        if let Some(facts) = status.facts() {
            findings.extend(key_file(name, path, facts, *by_systemd));
        }
        if let Some(FileFacts { mode, .. }) = directory.facts()
            // In a sticky directory, such as /tmp, users cannot remove the files of others.
            && mode & 0o022 != 0
            && mode & 0o1000 == 0
        {
            let folder = path.parent().unwrap_or(Path::new("/")).display();
            let found = format!("{folder} has mode {mode:04o}: other users can replace {shown}");
            findings.push(Finding::error("keys.files", found, format!("chmod go-w {folder}")));
        }
    }
    if findings.is_empty() && !files.is_empty() {
        findings.push(Finding::ok("keys.files", "only their owner can access the files of keys"));
    }
    findings
}

fn key_file(name: &str, path: &Path, facts: &FileFacts, by_systemd: bool) -> Option<Finding> {
    let (shown, mode) = (path.display(), facts.mode);
    let remedy = format!("chmod 0400 {shown}; replace a key that others may have read");
    if mode & 0o007 != 0 {
        let found =
            format!("{shown}, which contains {name}, has mode {mode:04o}: every user of this host can access it");
        return Some(Finding::error("keys.files", found, remedy));
    }
    // systemd grants the daemon's user access with an ACL, whose mask appears as the group's bits.
    if mode & 0o070 != 0 && !by_systemd {
        let found = format!("{shown}, which contains {name}, has mode {mode:04o}: its group can access it");
        return Some(Finding::warning("keys.files", found, remedy));
    }
    None
}

/// `keys.source`: keys come from files, not from variables.
fn keys_from_variables(given: &[SecretOrigin]) -> Vec<Finding> {
    let variables: Vec<&str> =
        given.iter().filter(|given| given.by == OriginKind::Variable).map(|given| &*given.name).collect();
    if variables.is_empty() {
        return if given.is_empty() { Vec::new() } else { vec![Finding::ok("keys.source", "keys come from files")] };
    }
    let found = format!(
        "{} in the environment: the process that starts the daemon has the key too, and a reload cannot replace it",
        variables.join(", ")
    );
    let remedy =
        "put the key into a file, and use `LoadCredential=` in the unit, or the variable with _FILE after its name";
    vec![Finding::warning("keys.source", found, remedy)]
}

/// `keys.audit`: a key for the audit log is provided.
fn audit_key(keys: &KeyFacts) -> Vec<Finding> {
    let given = keys.credentials.given.iter().any(|given| given.kid.is_none());
    if given || keys.audit_key_is_unreadable() {
        return vec![Finding::ok("keys.audit", "a key for the audit log is provided")];
    }
    if !keys.any() {
        return Vec::new();
    }
    let remedy = "`masker keys generate --kid AUDIT --output FILE` makes one: provide it as MASKER_AUDIT_HMAC_KEY_FILE, or as a credential";
    vec![Finding::warning("keys.audit", "MASKER_AUDIT_HMAC_KEY is not set: there is no audit log", remedy)]
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;
    use crate::doctor::files::FileKind;

    fn key(seed: u8) -> String {
        BASE64.encode(&std::array::from_fn::<u8, 32, _>(|index| (index as u8).wrapping_mul(index as u8) ^ seed))
    }

    fn secrets(variables: &[(&str, &str)]) -> KeyFacts {
        let environment: Environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        KeyFacts {
            credentials: PartialCredentials::read(&environment),
            unit: None,
            unreadable: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Returns the check, severity and text of the findings that are not ok.
    fn faults(findings: &[Finding]) -> Vec<(&'static str, Severity, &str)> {
        let faults = findings.iter().filter(|finding| finding.status != Severity::Ok);
        faults.map(|finding| (finding.id, finding.status, &*finding.found)).collect()
    }

    #[test]
    fn valid_keys_in_variables_are_a_warning() {
        let (first, second) = (key(1), key(2));
        let findings = judge(&secrets(&[("MASKER_KEY_K", &first), ("MASKER_AUDIT_HMAC_KEY", &second)]));
        let [(id, status, found)] = faults(&findings)[..] else { panic!("{findings:?}") };
        assert_eq!((id, status), ("keys.source", Severity::Warning));
        assert!(
            found.starts_with("MASKER_KEY_K, MASKER_AUDIT_HMAC_KEY in") || found.contains("MASKER_KEY_K"),
            "{found}"
        );
        assert!(findings.iter().all(|finding| !finding.found.contains(&first[..8])));
    }

    #[test]
    fn every_fault_of_a_key_is_an_error() {
        let (sound, other) = (key(1), key(2));
        let short = BASE64.encode(&[1, 2, 3]);
        let text = BASE64.encode(b"correct horse battery staple !!!");
        for (variables, id, words) in [
            (vec![("MASKER_KEY_K", &*short)], "keys.read", "MASKER_KEY_K is 3 bytes long"),
            (vec![("MASKER_KEY_K", "hunter2")], "keys.read", "is not standard base64"),
            (vec![("MASKER_KEY_K", "")], "keys.read", "is empty"),
            (vec![("MASKER_KEY_K_OLD", &sound)], "keys.read", "MASKER_KEY_K is not"),
            (vec![("MASKER_KEY_K", &sound), ("MASKER_KEY_K_OLD", &sound)], "keys.read", "is the same key as"),
            (vec![("MASKER_KEY_K", &sound), ("MASKER_KEY_L", &sound)], "keys.differ", "are the same key"),
            (vec![("MASKER_KEY_K", &sound), ("MASKER_AUDIT_HMAC_KEY", &sound)], "keys.differ", "HMAC_KEY are the same"),
            (vec![("MASKER_KEY_K", &text)], "keys.random", "MASKER_KEY_K is made of printable characters"),
        ] {
            let mut variables = variables;
            if variables.iter().all(|(name, _)| *name != "MASKER_AUDIT_HMAC_KEY") {
                variables.push(("MASKER_AUDIT_HMAC_KEY", &other));
            }
            let findings = judge(&secrets(&variables));
            let errors: Vec<_> = faults(&findings).into_iter().filter(|fault| fault.1 == Severity::Error).collect();
            assert_eq!(errors.len(), 1, "{words}: {findings:?}");
            assert!(errors[0].0 == id && errors[0].2.contains(words), "{words}: {errors:?}");
            assert!(!errors[0].2.contains("hunter2"));
        }
    }

    #[test]
    fn a_missing_key_of_the_audit_log_is_a_warning() {
        let findings = judge(&secrets(&[("MASKER_KEY_K", &key(1))]));
        assert!(faults(&findings).iter().any(|fault| (fault.0, fault.1) == ("keys.audit", Severity::Warning)));
        assert!(judge(&secrets(&[])).is_empty(), "without keys there are no findings");
    }

    #[test]
    fn judges_the_mode_of_a_key_file() {
        let facts = |mode, uid| FileFacts { kind: FileKind::Regular, mode, uid, gid: 0, modified: None };
        let status = |mode, uid, by_systemd| {
            key_file("K", Path::new("/k"), &facts(mode, uid), by_systemd).map(|finding| finding.status)
        };
        for (mode, expected) in [
            (0o400, None),
            (0o600, None),
            (0o440, Some(Severity::Warning)),
            (0o620, Some(Severity::Warning)),
            (0o444, Some(Severity::Error)),
            (0o402, Some(Severity::Error)),
        ] {
            assert_eq!(status(mode, 0, false), expected, "{mode:o}");
        }
        assert_eq!(status(0o440, 0, true), None);
        assert_eq!(status(0o444, 0, true), Some(Severity::Error));
        assert_eq!(status(0o600, 7, false), None);
        let directory = |mode| {
            let present = |facts| PathStatus::Present(facts);
            let folder = FileFacts { kind: FileKind::Directory, ..facts(mode, 0) };
            let file = KeyFileFacts {
                name: "K".into(),
                path: "/keys/k".into(),
                status: present(facts(0o400, 0)),
                directory: present(folder),
                by_systemd: false,
            };
            files(&[file])[0].status
        };
        let found = [0o700, 0o755, 0o1777, 0o775, 0o777].map(directory);
        assert_eq!(found, [Severity::Ok, Severity::Ok, Severity::Ok, Severity::Error, Severity::Error]);
    }
}
