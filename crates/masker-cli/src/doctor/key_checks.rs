//! Keys: whether they are valid, differ, and are protected from other users.

use std::path::Path;

use super::{
    files::FileFacts,
    finding::{Finding, look_as},
    finding_id::FindingId,
    keys::{AUDIT_KEY, KeyFacts, KeyFileFacts},
};
use crate::key_files::quoted;
use masker_config::{
    CredentialCaution, CredentialFault, CredentialProblem, CredentialWarning, OriginKind, SecretOrigin,
};
use masker_core::crypto::SecretKey;
use masker_types::kind::Kid;

/// What to do if a key is not there, or is not what it was. A new key would not open what is sealed under it.
const PUT_BACK: &str =
    "put it back from its copy, and nothing else in its place: only this key opens what is sealed under it";

/// Returns the findings of every check of keys. `has_log` says whether there is an audit log, if this user can see that.
pub(super) fn judge(keys: &KeyFacts, has_log: Option<bool>) -> Vec<Finding> {
    let mut findings = read(keys);
    findings.extend(differ(&keys.keys()));
    findings.extend(random(&keys.keys()));
    findings.extend(files(&keys.files));
    findings.extend(keys_from_variables(&keys.credentials.given, &keys.decrypted));
    findings.extend(audit_key(keys, has_log));
    findings
}

/// `keys.read`: every provided key is valid.
fn read(keys: &KeyFacts) -> Vec<Finding> {
    let credentials = &keys.credentials;
    // `keys.audit` reports a missing key of the audit log.
    let is_other = |problem: &&CredentialProblem| !(problem.is_of_audit_key() && is_missing(problem.fault));
    let mut findings: Vec<Finding> = credentials.problems.iter().filter(is_other).map(problem_of).collect();
    findings.extend(credentials.warnings.iter().filter_map(warning_of));
    findings.extend(keys.missing.iter().map(|directory| {
        let found = format!("{}, from which the unit takes keys, does not exist: the daemon will not start", directory.display());
        let remedy = "put the directory back with the keys from their copies, and nothing else in their place; is its disk mounted?";
        Finding::error("keys.read", FindingId::KeyMissing, found, remedy)
    }));
    findings.extend(keys.links.iter().map(|link| {
        let found = format!("{} is a link, and systemd loads no links from a directory: the daemon does not get this key", link.display());
        let remedy = "put the file itself in the place of the link, with the owner root and the mode 0400: `ls -l` shows where the link \
                      leads. Keep the other copy until `masker doctor` finds no error";
        Finding::error("keys.read", FindingId::KeySourceInvalid, found, remedy)
    }));
    let hidden = keys.hidden.iter().map(|directory| format!("the keys in {}", directory.display()));
    let unread: Vec<String> = keys.unreadable.iter().cloned().chain(hidden).collect();
    if !unread.is_empty() {
        let remedy = format!(
            "{}; encrypted credentials and variables of a running daemon cannot be read, and the daemon checks them when it starts",
            look_as()
        );
        findings.push(Finding::not_checked(
            "keys.read",
            format!("{} cannot be read by this user", unread.join(", ")),
            remedy,
        ));
    }
    if findings.is_empty() && !credentials.keys.is_empty() {
        let from = keys.unit.as_ref().map_or_else(String::new, |unit| format!(", provided by {}", unit.display()));
        findings.push(Finding::ok("keys.read", format!("{} keys can be read{from}", credentials.keys.len())));
    }
    findings
}

fn is_missing(fault: CredentialFault) -> bool {
    matches!(fault, CredentialFault::Missing | CredentialFault::Empty)
}

/// Returns the finding of a problem of a key. A file that this user may not read is not at fault.
fn problem_of(problem: &CredentialProblem) -> Finding {
    let found = problem.to_string();
    let path = problem.path.as_deref();
    let error = |finding, remedy: String| Finding::error("keys.read", finding, found.clone(), remedy);
    match problem.fault {
        CredentialFault::Denied => Finding::not_checked("keys.read", found, look_as()),
        CredentialFault::Missing | CredentialFault::Empty => error(FindingId::KeyMissing, PUT_BACK.to_owned()),
        CredentialFault::Invalid => error(FindingId::KeyInvalid, PUT_BACK.to_owned()),
        CredentialFault::Misnamed => error(FindingId::KeyNameInvalid, misnamed(path)),
        CredentialFault::GivenTwice | CredentialFault::NotAPath => {
            let remedy = "let one variable or one file name the key, and change no key file";
            error(FindingId::KeySourceInvalid, remedy.to_owned())
        }
        CredentialFault::OldAlone => {
            let remedy = "put the active key back from its copy. If you have just renamed it to `_OLD`, undo that with `mv --no-clobber`; \
                          put no other key in its place";
            error(FindingId::OldKeyAlone, remedy.to_owned())
        }
        CredentialFault::SameAsActive => {
            let remedy = "a rotation was interrupted, or a file was copied over another one. Compare both with their copies; to complete a \
                          rotation, repeat `masker keys rotate` with the same arguments";
            error(FindingId::OldKeySame, remedy.to_owned())
        }
    }
}

/// Returns what to do about a file whose name is not that of a key.
fn misnamed(path: Option<&Path>) -> String {
    let Some(path) = path else {
        return "if it is a copy, remove the variable; if it is a key that is in use, correct the name".to_owned();
    };
    // Only the letters are small, and no key has this name.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let upper = name.to_ascii_uppercase();
    let kid = upper.strip_prefix("MASKER_KEY_").unwrap_or(&upper);
    let kid = Kid::parse(kid.strip_suffix("_OLD").unwrap_or(kid));
    let target = path.with_file_name(&upper);
    match kid {
        Some(_) if upper != name && target.symlink_metadata().is_err() => format!(
            "if it is a key that is in use, correct its name: `mv --no-clobber {} {}`. If it is a copy, move it out of the directory: a \
             copy of a key is a key",
            quoted(path),
            quoted(&target)
        ),
        _ => format!(
            "if it is a copy, move it out of the directory: `mv --no-clobber {} ~/`. A copy of a key is a key. If it is a key that is in \
             use, correct its name instead",
            quoted(path)
        ),
    }
}

fn warning_of(warning: &CredentialWarning) -> Option<Finding> {
    match warning.caution {
        // `keys.files` reports modes in more detail.
        CredentialCaution::OpenToOthers => None,
        CredentialCaution::OldMissing => {
            let remedy = "if `masker keys status` says that records need the old key, put its file back from its copy; if the rotation is \
                          over, remove the variable";
            Some(Finding::warning("keys.read", FindingId::OldKeyFileMissing, warning.to_string(), remedy))
        }
        CredentialCaution::NotRead => {
            let remedy = "set the variable or `[keys] grace_days` to what the file says";
            Some(Finding::warning("keys.read", FindingId::KeySourceInvalid, warning.to_string(), remedy))
        }
    }
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
                let remedy = "one of them was probably copied over the other: compare both with their copies (`masker keys fingerprint`), and \
                              put the one that is missing back";
                findings.push(Finding::error("keys.differ", FindingId::KeysEqual, found, remedy));
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
    let finding = |(name, key): &(String, &SecretKey)| {
        let found = format!("{name} {}", key.weakness()?);
        let remedy = match name == AUDIT_KEY {
            true => {
                "compare it with its copy. If it was always so, begin a new audit log under a random key, and keep this log and its key"
            }
            false => {
                "compare it with its copy. If it was always so, replace it by a rotation (`masker keys rotate`), which keeps it as the \
                      old key; do not overwrite its file"
            }
        };
        Some(Finding::error("keys.random", FindingId::KeyWeak, found, remedy))
    };
    let mut findings: Vec<Finding> = keys.iter().filter_map(finding).collect();
    if findings.is_empty() && !keys.is_empty() {
        findings.push(Finding::ok("keys.random", format!("the {} keys that were read look random", keys.len())));
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
            let folder = path.parent().unwrap_or(Path::new("/"));
            let found = format!("{} has mode {mode:04o}: other users can replace {shown}", folder.display());
            let remedy = format!("`chmod go-w {}`, as root or its owner", quoted(folder));
            findings.push(Finding::error("keys.files", FindingId::KeyFileOpen, found, remedy));
        }
    }
    let unseen: Vec<&str> = files
        .iter()
        .filter(|file| file.status.is_hidden() || file.directory.is_hidden())
        .map(|file| &*file.name)
        .collect();
    if !unseen.is_empty() {
        let found = format!("the modes of the files of {} cannot be seen by this user", unseen.join(", "));
        findings.push(Finding::not_checked("keys.files", found, look_as()));
    }
    if findings.is_empty() && files.iter().any(|file| file.status.facts().is_some()) {
        findings.push(Finding::ok("keys.files", "only their owner can access the files of keys"));
    }
    findings
}

fn key_file(name: &str, path: &Path, facts: &FileFacts, by_systemd: bool) -> Option<Finding> {
    let (shown, mode) = (path.display(), facts.mode);
    let remedy = format!(
        "`chmod 0400 {}`, as root or its owner. If others may have read the key, replace it by a rotation afterwards",
        quoted(path)
    );
    if mode & 0o007 != 0 {
        let found =
            format!("{shown}, which contains {name}, has mode {mode:04o}: every user of this host can access it");
        return Some(Finding::error("keys.files", FindingId::KeyFileOpen, found, remedy));
    }
    // systemd grants the daemon's user access with an ACL, whose mask appears as the group's bits.
    if mode & 0o070 != 0 && !by_systemd {
        let found = format!("{shown}, which contains {name}, has mode {mode:04o}: its group can access it");
        return Some(Finding::warning("keys.files", FindingId::KeyFileOpen, found, remedy));
    }
    None
}

/// `keys.source`: keys come from files, not from variables.
fn keys_from_variables(given: &[SecretOrigin], decrypted: &[String]) -> Vec<Finding> {
    let variables = given.iter().filter(|given| given.by == OriginKind::Variable).map(|given| &*given.name);
    let variables: Vec<&str> = variables.filter(|name| decrypted.iter().all(|decrypted| decrypted != name)).collect();
    if variables.is_empty() {
        return if given.is_empty() { Vec::new() } else { vec![Finding::ok("keys.source", "keys come from files")] };
    }
    let found = format!(
        "{} in the environment: the process that starts the daemon has the key too, and a reload cannot replace it",
        variables.join(", ")
    );
    let remedy = "put the same key into a file, and use `LoadCredential=` in the unit, or the variable with _FILE after its name";
    vec![Finding::warning("keys.source", FindingId::KeysInVariables, found, remedy)]
}

/// `keys.audit`: a key for the audit log is provided.
fn audit_key(keys: &KeyFacts, has_log: Option<bool>) -> Vec<Finding> {
    if keys.credentials.audit_key.is_some() {
        return vec![Finding::ok("keys.audit", "a key for the audit log is provided")];
    }
    if keys.audit_key_is_unreadable() {
        return vec![Finding::not_checked("keys.audit", format!("{AUDIT_KEY} cannot be read by this user"), look_as())];
    }
    if !keys.any() && keys.missing.is_empty() {
        return Vec::new();
    }
    let problem = keys.credentials.problems.iter().find(|problem| problem.is_of_audit_key());
    match (problem, has_log) {
        // `keys.read` reports what is there and is no key.
        (Some(problem), _) if !is_missing(problem.fault) => Vec::new(),
        (Some(problem), _) => {
            vec![Finding::error("keys.audit", FindingId::AuditKeyMissing, problem.to_string(), AUDIT_PUT_BACK)]
        }
        (None, Some(true)) => {
            let found =
                format!("there is an audit log, and its key is not provided ({AUDIT_KEY}): the daemon will not start");
            vec![Finding::error("keys.audit", FindingId::AuditKeyMissing, found, AUDIT_PUT_BACK)]
        }
        (None, _) => {
            let found = format!("{AUDIT_KEY} is not set: no audit log is written");
            let remedy = "if there ever was an audit log, put its key back from its copy. Otherwise the page describes how to begin one";
            vec![Finding::warning("keys.audit", FindingId::AuditLogOff, found, remedy)]
        }
    }
}

/// What to do if the key of an audit log is missing.
const AUDIT_PUT_BACK: &str = "put the key back from its copy where the daemon reads it (/etc/masker/audit.key with the package's unit): the \
                              log cannot be verified or continued with another one";
