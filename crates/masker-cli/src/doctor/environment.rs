//! Keys where other programs can read them: in the environments of processes, and in unit files.

use std::{fs, io::ErrorKind, path::Path, process};

use zeroize::Zeroizing;

use super::{
    finding::{Finding, look_as},
    finding_id::FindingId,
    keys::KeyFacts,
    secret_names::holds_secret,
    units::InstalledUnits,
};
use masker_core::crypto::SecretKey;

/// The kind of a secret in another process's environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ExposedKind {
    /// A key of this daemon.
    OurKey,
    /// Another variable with the name of a secret.
    Secret,
}

/// A process with a secret in its environment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExposedProcess {
    pid: u32,
    /// The program's name, from the kernel.
    program: String,
    variable: String,
    kind: ExposedKind,
}

/// The environments of other processes.
#[derive(Debug, Default)]
pub(super) struct ProcessEnvironments {
    exposed: Vec<ExposedProcess>,
    /// Number of those that were read.
    read: usize,
    /// Number of those that this user cannot read.
    hidden: usize,
}

/// Returns the other processes with secrets in their environment, as far as this user can read it.
pub(super) fn gather(root: &Path, keys: &KeyFacts) -> ProcessEnvironments {
    let keys = keys.keys();
    let keys: Vec<&SecretKey> = keys.iter().map(|(_, key)| *key).collect();
    let mut found = ProcessEnvironments::default();
    for entry in fs::read_dir(root.join("proc")).into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid == process::id() {
            continue;
        }
        let environ = match fs::read(entry.path().join("environ")).map(Zeroizing::new) {
            Ok(environ) => environ,
            Err(error) => {
                // Otherwise the process has ended.
                found.hidden += usize::from(error.kind() == ErrorKind::PermissionDenied);
                continue;
            }
        };
        found.read += 1;
        let program = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let program = program.trim_end().escape_debug().to_string();
        let of_process = |(variable, kind)| ExposedProcess { pid, program: program.clone(), variable, kind };
        found.exposed.extend(secrets_of(&environ, &keys).into_iter().map(of_process));
    }
    found.exposed.sort_by_key(|exposed| (exposed.kind, exposed.pid));
    found
}

/// Returns the names of the variables with secrets in an environment, in the format of `/proc/PID/environ`.
fn secrets_of(environ: &[u8], keys: &[&SecretKey]) -> Vec<(String, ExposedKind)> {
    let variables = environ.split(|byte| *byte == 0).filter_map(|variable| {
        let equals = variable.iter().position(|byte| *byte == b'=')?;
        Some((&variable[..equals], &variable[equals + 1..]))
    });
    let secrets = variables.filter(|(name, value)| holds_secret(name) && value.iter().any(|byte| *byte != 0));
    secrets
        .map(|(name, value)| {
            let key = SecretKey::parse_base64(value).ok();
            let ours = key.is_some_and(|key| keys.iter().any(|known| known.ct_eq(&key)));
            let name = String::from_utf8_lossy(name).escape_debug().to_string();
            (name, if ours { ExposedKind::OurKey } else { ExposedKind::Secret })
        })
        .collect()
}

/// Returns the findings of both checks.
pub(super) fn judge(found: &ProcessEnvironments, installed: &InstalledUnits) -> Vec<Finding> {
    let mut findings = processes(found);
    findings.extend(units(installed));
    findings
}

/// `environment.processes`: no other process has a secret in its environment.
fn processes(found: &ProcessEnvironments) -> Vec<Finding> {
    let ProcessEnvironments { exposed, read, hidden } = found;
    if exposed.is_empty() && *hidden == 0 && *read > 0 {
        return vec![Finding::ok(
            "environment.processes",
            format!("none of {read} other processes has a secret in its environment"),
        )];
    }
    if exposed.is_empty() {
        let found = match read + hidden {
            0 => "/proc lists no other process".to_owned(),
            all => format!(
                "the environments of {hidden} of {all} other processes cannot be read by this user; the others have no secret"
            ),
        };
        return vec![Finding::not_checked("environment.processes", found, look_as())];
    }
    let remedy = "give the secret to the program by a file, and start it again without the variable; if others may have read a key, replace \
                  it by a rotation";
    let finding = |ExposedProcess { pid, program, variable, kind }: &ExposedProcess| match kind {
        ExposedKind::OurKey => {
            let found = format!("process {pid} ({program}) has a key of this daemon in its environment, as {variable}");
            Finding::error("environment.processes", FindingId::SecretInProcess, found, remedy)
        }
        ExposedKind::Secret => {
            let found = format!("process {pid} ({program}) has {variable} in its environment");
            Finding::warning("environment.processes", FindingId::SecretInProcess, found, remedy)
        }
    };
    exposed.iter().map(finding).collect()
}

/// `environment.units`: no unit file contains a secret.
fn units(installed: &InstalledUnits) -> Vec<Finding> {
    let finding = |(file, variable): &(std::path::PathBuf, String)| {
        let file = file.display();
        let found = format!("{file} sets {variable}: every user can read it with `systemctl show`");
        let remedy = "put the same secret into a file that only root can read, and name it with `LoadCredential=`; then replace the secret, a key by a \
             rotation, because others may have read it";
        Finding::error("environment.units", FindingId::SecretInUnit, found, remedy)
    };
    let mut findings: Vec<Finding> = installed.keys_in_units.iter().map(finding).collect();
    findings.extend(installed.unreadable.iter().map(|file| {
        Finding::not_checked("environment.units", format!("failed to read {}", file.display()), look_as())
    }));
    match (&installed.unit, findings.is_empty()) {
        (Some(unit), true) => {
            vec![Finding::ok("environment.units", format!("{} sets no secret", unit.display()))]
        }
        _ => findings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Severity, keys::KeyPlace};

    const KEY: &[u8] = b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn recognizes_secrets_by_name_and_our_keys_by_value() {
        let ours = SecretKey::parse_base64(KEY).unwrap();
        let environ = [
            b"HOME=/root\0MASKER_KEY_K=".as_slice(),
            KEY,
            b"\0MASKER_KEY_L=other\0MASKER_KEY_M_FILE=/k\0MASKER_KEY_N=\0MASKER_API_KEY=x\0",
            // A variable that a process has wiped.
            b"MASKER_KEY_O=\0\0\0\0",
            b"\0nothing",
        ]
        .concat();
        let found = secrets_of(&environ, &[&ours]);
        let expected = [
            ("MASKER_KEY_K", ExposedKind::OurKey),
            ("MASKER_KEY_L", ExposedKind::Secret),
            ("MASKER_API_KEY", ExposedKind::Secret),
        ];
        assert_eq!(found, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }

    #[test]
    fn our_key_is_an_error_and_another_secret_a_warning() {
        let exposed =
            |kind| ExposedProcess { pid: 7, program: "sh".to_owned(), variable: "MASKER_KEY_K".to_owned(), kind };
        let judged =
            |exposed: Vec<ExposedProcess>, read, hidden| processes(&ProcessEnvironments { exposed, read, hidden });
        let statuses =
            |exposed, read, hidden| judged(exposed, read, hidden).iter().map(|f| f.status).collect::<Vec<_>>();
        assert_eq!(statuses(vec![], 3, 0), [Severity::Ok]);
        assert_eq!(statuses(vec![], 3, 1), [Severity::NotChecked]);
        assert_eq!(statuses(vec![], 0, 0), [Severity::NotChecked]);
        assert_eq!(
            statuses(vec![exposed(ExposedKind::OurKey), exposed(ExposedKind::Secret)], 3, 1),
            [Severity::Error, Severity::Warning]
        );
        assert!(
            judged(vec![exposed(ExposedKind::OurKey)], 1, 0)[0]
                .found
                .starts_with("process 7 (sh) has a key of this daemon")
        );
    }

    #[test]
    fn processes_are_found_below_a_root() {
        let root = tempfile::tempdir().unwrap();
        let process = root.path().join("proc/4194305");
        fs::create_dir_all(&process).unwrap();
        fs::write(process.join("environ"), b"MASKER_KEY_K=x\0").unwrap();
        fs::write(process.join("comm"), b"a\x1bb\n").unwrap();
        fs::create_dir_all(root.path().join("proc/sys")).unwrap();
        let none = KeyFacts::gather(KeyPlace::Unknown, &[], &InstalledUnits::default());
        let found = gather(root.path(), &none).exposed;
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].pid, &*found[0].program, &*found[0].variable), (4_194_305, "a\\u{1b}b", "MASKER_KEY_K"));
    }
}
