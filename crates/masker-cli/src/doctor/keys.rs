//! Keys: whether they can be read, are keys at all, differ, and are nobody else's to read.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::File,
    io::ErrorKind,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    DoctorInput, Finding, Severity,
    environment::holds_secret,
    files::{FileFacts, PathStatus},
    units::InstalledUnits,
};
use masker_config::{CredentialSurvey, Environment, OriginKind, SecretOrigin};
use masker_core::{crypto::SecretKey, keyring::Role};
use masker_types::kind::Kid;

/// What makes another key.
const GENERATE: &str = "`masker keys generate --kid KID` makes a key; README.md, \"Rotating a key\", says how records move \
                        to it";

/// What was given of keys, read as far as this user may.
pub(super) struct KeyFacts {
    pub(super) survey: CredentialSurvey,
    /// Where they were given: `None` for this environment, else the unit whose credentials they are.
    unit: Option<PathBuf>,
    /// Credentials of the unit that this user may not read, or nobody but systemd can.
    closed: Vec<String>,
    /// Each file that holds a key, and the directory that it is in.
    files: Vec<KeyFileFacts>,
}

/// A file that holds a key.
struct KeyFileFacts {
    /// The variable that the key would have.
    name: String,
    path: PathBuf,
    look: PathStatus,
    directory: PathStatus,
    /// systemd lays it for the daemon, and looks after its mode.
    by_systemd: bool,
}

impl KeyFacts {
    /// The secrets of this environment; where it has none, those that the installed unit lays for the daemon.
    pub(super) fn gather(subject: &DoctorInput<'_>, installed: &InstalledUnits) -> Self {
        let own = subject.host.environment;
        let names = own.iter().map(|(name, _)| name.as_bytes());
        let given_here = own.setting("CREDENTIALS_DIRECTORY").is_some()
            || names.into_iter().any(|name| is_key(name) || is_key(name.strip_suffix(b"_FILE").unwrap_or(name)));
        let mut secrets = if given_here {
            KeyFacts { survey: CredentialSurvey::of(own), unit: None, closed: Vec::new(), files: Vec::new() }
        } else {
            Self::of_unit(installed)
        };
        let files = secrets.survey.given.iter().filter_map(|given| KeyFileFacts::of(given, secrets.unit.is_some()));
        secrets.files = files.collect();
        secrets
    }

    fn of_unit(installed: &InstalledUnits) -> Self {
        let mut closed = installed.encrypted_credentials();
        let mut variables: Vec<(OsString, OsString)> = Vec::new();
        for (name, path) in installed.credentials() {
            match File::open(&path) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => closed.push(name),
                _ => variables.push((format!("{name}_FILE").into(), path.into())),
            }
        }
        let environment: Environment = variables.into_iter().collect();
        KeyFacts { survey: CredentialSurvey::of(&environment), unit: installed.unit.clone(), closed, files: Vec::new() }
    }

    /// Whether any key was given, readable or not.
    pub(super) fn any(&self) -> bool {
        !self.survey.given.is_empty() || !self.closed.is_empty()
    }

    /// The kids of which an active key was given, readable or not.
    pub(super) fn kids(&self) -> BTreeSet<Kid> {
        let given =
            self.survey.given.iter().filter(|given| !given.name.ends_with("_OLD")).filter_map(|given| given.kid);
        let closed = self.closed.iter().filter_map(|name| Kid::parse(name.strip_prefix("MASKER_KEY_")?));
        given.chain(closed).collect()
    }

    /// Whether the key of the audit chain was given and cannot be read by this user.
    pub(super) fn audit_key_is_closed(&self) -> bool {
        self.closed.iter().any(|name| name == "MASKER_AUDIT_HMAC_KEY")
    }

    /// Each key that could be read, by the variable that it has or would have.
    pub(super) fn keys(&self) -> Vec<(String, &SecretKey)> {
        let name = |kid: &Kid, role| format!("MASKER_KEY_{kid}{}", if role == Role::Old { "_OLD" } else { "" });
        let keys = self.survey.keys.iter().map(|key| (name(&key.kid, key.role), &key.key));
        keys.chain(self.survey.audit_key.iter().map(|key| ("MASKER_AUDIT_HMAC_KEY".to_owned(), key))).collect()
    }
}

/// Whether a variable of this name holds a key of the daemon's, and not a client's credential.
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
        // systemd reads a unit's credentials as root: whether the daemon's user may is no matter.
        let directory = PathStatus::at(path.parent().unwrap_or(Path::new("/")));
        let by_systemd = by_systemd && !of_unit;
        Some(KeyFileFacts {
            name: given.name.clone(),
            path: path.clone(),
            look: PathStatus::at(path),
            directory,
            by_systemd,
        })
    }
}

/// Every check of keys.
pub(super) fn judge(secrets: &KeyFacts) -> Vec<Finding> {
    let mut findings = read(secrets);
    findings.extend(differ(&secrets.keys()));
    findings.extend(random(&secrets.keys()));
    findings.extend(files(&secrets.files));
    findings.extend(keys_from_variables(&secrets.survey.given));
    findings.extend(audit_key(secrets));
    findings
}

/// `keys.read`: every key that was given is one.
fn read(secrets: &KeyFacts) -> Vec<Finding> {
    let survey = &secrets.survey;
    let mut findings: Vec<Finding> =
        survey.problems.iter().map(|problem| Finding::error("keys.read", problem.to_string(), GENERATE)).collect();
    // What is said of modes is said with more of them by `keys.files`.
    let warnings = survey.warnings.iter().filter(|warning| !warning.contains("can be read by other users"));
    findings.extend(warnings.map(|warning| {
        Finding::warning("keys.read", warning.clone(), "remove the variable once the rotation is over, or lay the file")
    }));
    if !secrets.closed.is_empty() {
        let found = format!("{} cannot be read here, and were not looked at", secrets.closed.join(", "));
        let remedy = "run this as root; those that are encrypted can be read by the daemon's unit alone, and it says at \
                      its start what is wrong with them";
        findings.push(Finding::warning("keys.read", found, remedy));
    }
    if findings.iter().all(|finding| finding.status != Severity::Error) && !survey.keys.is_empty() {
        let from = secrets.unit.as_ref().map_or_else(String::new, |unit| format!(", as {} lays them", unit.display()));
        findings.push(Finding::ok("keys.read", format!("keys that can be read: {}{from}", survey.keys.len())));
    }
    findings
}

/// `keys.differ`: no key is there twice.
fn differ(keys: &[(String, &SecretKey)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, (name, key)) in keys.iter().enumerate() {
        for (other, earlier) in &keys[..place] {
            // An active key that is its own old one was found while reading.
            let pair = *name == format!("{other}_OLD") || *other == format!("{name}_OLD");
            if key.ct_eq(earlier) && !pair {
                let found = format!("{other} and {name} are the same key: whoever has one has both");
                findings.push(Finding::error("keys.differ", found, GENERATE));
            }
        }
    }
    if findings.is_empty() && keys.len() > 1 {
        findings.push(Finding::ok("keys.differ", format!("the {} keys differ", keys.len())));
    }
    findings
}

/// `keys.random`: no key can be guessed.
fn random(keys: &[(String, &SecretKey)]) -> Vec<Finding> {
    let weak = keys.iter().filter_map(|(name, key)| Some((name, key.weakness()?)));
    let mut findings: Vec<Finding> =
        weak.map(|(name, weakness)| Finding::error("keys.random", format!("{name} {weakness}"), GENERATE)).collect();
    if findings.is_empty() && !keys.is_empty() {
        findings.push(Finding::ok("keys.random", "no key shows a sign of not being random"));
    }
    findings
}

/// `keys.files`: nobody else can read or change them.
fn files(files: &[KeyFileFacts]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for KeyFileFacts { name, path, look, directory, by_systemd } in files {
        let shown = path.display();
        if let Some(facts) = look.facts() {
            findings.extend(key_file(name, path, facts, *by_systemd));
        }
        if let Some(FileFacts { mode, .. }) = directory.facts()
            // Of a sticky directory, as /tmp is one, nobody takes others' files away.
            && mode & 0o022 != 0
            && mode & 0o1000 == 0
        {
            let folder = path.parent().unwrap_or(Path::new("/")).display();
            let found = format!("{folder} has mode {mode:04o}: others can put another key in the place of {shown}");
            findings.push(Finding::error("keys.files", found, format!("chmod go-w {folder}")));
        }
    }
    if findings.is_empty() && !files.is_empty() {
        findings.push(Finding::ok("keys.files", "the files of keys are their owner's alone"));
    }
    findings
}

fn key_file(name: &str, path: &Path, facts: &FileFacts, by_systemd: bool) -> Option<Finding> {
    let (shown, mode) = (path.display(), facts.mode);
    let remedy = format!("chmod 0400 {shown}; a key that others may have read is to be replaced");
    if mode & 0o007 != 0 {
        let found = format!("{shown}, which holds {name}, has mode {mode:04o}: every user of this host can reach it");
        return Some(Finding::error("keys.files", found, remedy));
    }
    // systemd lets the daemon's user in by an access list, whose mask is shown as the group's bits.
    if mode & 0o070 != 0 && !by_systemd {
        let found = format!("{shown}, which holds {name}, has mode {mode:04o}: its group can reach it");
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
        "{} in the environment: whatever starts the daemon has the key too, and it cannot be read again on a reload",
        variables.join(", ")
    );
    let remedy = "lay it in a file, and give `LoadCredential=` in the unit or the variable with _FILE after its name";
    vec![Finding::warning("keys.source", found, remedy)]
}

/// `keys.audit`: there is a key for the audit log.
fn audit_key(secrets: &KeyFacts) -> Vec<Finding> {
    let given = secrets.survey.given.iter().any(|given| given.kid.is_none());
    if given || secrets.audit_key_is_closed() {
        return vec![Finding::ok("keys.audit", "there is a key for the audit log")];
    }
    if !secrets.any() {
        return Vec::new();
    }
    let remedy = "`masker keys generate` makes one: give it as MASKER_AUDIT_HMAC_KEY_FILE, or as a credential";
    vec![Finding::warning("keys.audit", "MASKER_AUDIT_HMAC_KEY is not set: there is no audit log", remedy)]
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;
    use crate::doctor::files::FileKind;

    fn key(seed: u8) -> String {
        BASE64.encode(&std::array::from_fn::<u8, 32, _>(|place| (place as u8).wrapping_mul(place as u8) ^ seed))
    }

    fn secrets(variables: &[(&str, &str)]) -> KeyFacts {
        let environment: Environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        KeyFacts { survey: CredentialSurvey::of(&environment), unit: None, closed: Vec::new(), files: Vec::new() }
    }

    /// The findings that are not ok: their checks and what was found.
    fn faults(findings: &[Finding]) -> Vec<(&'static str, Severity, &str)> {
        let faults = findings.iter().filter(|finding| finding.status != Severity::Ok);
        faults.map(|finding| (finding.id, finding.status, &*finding.found)).collect()
    }

    #[test]
    fn sound_keys_are_told_to_be_sound_and_that_variables_hold_them() {
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
    fn each_fault_of_a_key_is_an_error() {
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
    fn without_a_key_of_the_audit_log_there_is_a_warning() {
        let findings = judge(&secrets(&[("MASKER_KEY_K", &key(1))]));
        assert!(faults(&findings).iter().any(|fault| (fault.0, fault.1) == ("keys.audit", Severity::Warning)));
        assert!(judge(&secrets(&[])).is_empty(), "where no key is given, nothing can be said of them");
    }

    #[test]
    fn a_file_is_its_owners_alone() {
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
            let look = |facts| PathStatus::There(facts);
            let folder = FileFacts { kind: FileKind::Directory, ..facts(mode, 0) };
            let file = KeyFileFacts {
                name: "K".into(),
                path: "/keys/k".into(),
                look: look(facts(0o400, 0)),
                directory: look(folder),
                by_systemd: false,
            };
            files(&[file])[0].status
        };
        let found = [0o700, 0o755, 0o1777, 0o775, 0o777].map(directory);
        assert_eq!(found, [Severity::Ok, Severity::Ok, Severity::Ok, Severity::Error, Severity::Error]);
    }
}
