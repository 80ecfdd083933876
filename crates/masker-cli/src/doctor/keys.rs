//! Keys: where they are, and which of them this user can read.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::ErrorKind,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    process::Command,
};

use super::{files::PathStatus, secret_names::holds_secret, units::InstalledUnits};
use masker_config::{CredentialFault, Credentials, Environment, OriginKind, PartialCredentials, SecretOrigin};
use masker_core::{crypto::SecretKey, keyring::Role};
use masker_types::kind::Kid;
use nix::unistd::geteuid;

/// The variable of the key of the audit log.
pub(super) const AUDIT_KEY: &str = "MASKER_AUDIT_HMAC_KEY";

/// Where doctor takes the daemon's keys from.
#[derive(Clone, Copy)]
pub(super) enum KeyPlace<'a> {
    /// The variables of an environment: doctor's own, or those that a running daemon has reported.
    Environment(&'a Environment),
    /// The credentials of the installed unit.
    Unit,
    /// Nothing says where they are.
    Unknown,
}

/// The keys that are provided, read as far as this user may.
pub(super) struct KeyFacts {
    pub(super) credentials: PartialCredentials,
    /// Whether it is known where the daemon's keys are.
    pub(super) has_place: bool,
    /// The unit whose credentials the keys are. `None` if they are of an environment.
    pub(super) unit: Option<PathBuf>,
    /// Credentials of the unit that only systemd or another user can read, and variables of a running daemon.
    pub(super) unreadable: Vec<String>,
    /// Encrypted credentials that were decrypted.
    pub(super) decrypted: Vec<String>,
    /// Directories of keys that this user cannot list: any key may be there.
    pub(super) hidden: Vec<PathBuf>,
    /// Directories of keys that do not exist.
    pub(super) missing: Vec<PathBuf>,
    /// Links in directories of keys, which systemd passes over.
    pub(super) links: Vec<PathBuf>,
    /// The files that contain keys, and their directories.
    pub(super) files: Vec<KeyFileFacts>,
}

/// A file that contains a key.
pub(super) struct KeyFileFacts {
    /// The name of the key's variable.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) status: PathStatus,
    pub(super) directory: PathStatus,
    /// Whether systemd created it for the daemon and controls its mode.
    pub(super) by_systemd: bool,
}

impl KeyFacts {
    /// Reads the keys. `in_variables` are those that a running daemon had in variables.
    pub(super) fn gather(place: KeyPlace<'_>, in_variables: &[String], installed: &InstalledUnits) -> Self {
        let mut keys = match place {
            KeyPlace::Environment(environment) => Self::of_environment(environment),
            KeyPlace::Unit => Self::of_unit(installed),
            KeyPlace::Unknown => Self::of_environment(&std::iter::empty().collect()),
        };
        keys.has_place = !matches!(place, KeyPlace::Unknown);
        keys.unreadable.extend_from_slice(in_variables);
        let files = keys.credentials.given.iter().filter_map(|given| KeyFileFacts::of(given, &keys.credentials));
        keys.files = files.collect();
        keys
    }

    fn of_environment(environment: &Environment) -> Self {
        KeyFacts {
            credentials: PartialCredentials::read(environment),
            has_place: true,
            unit: None,
            unreadable: Vec::new(),
            decrypted: Vec::new(),
            hidden: Vec::new(),
            missing: Vec::new(),
            links: Vec::new(),
            files: Vec::new(),
        }
    }

    fn of_unit(installed: &InstalledUnits) -> Self {
        let mut unreadable = installed.encrypted_credentials();
        let mut variables: Vec<(OsString, OsString)> = Vec::new();
        let mut decrypted = Vec::new();
        // Root can decrypt those in files, as `provided_keys` does.
        for (name, path) in installed.encrypted_files().into_iter().filter(|_| geteuid().is_root()) {
            if let Ok(key) = decrypt(&name, &path) {
                unreadable.retain(|known| *known != name);
                decrypted.push(name.clone());
                variables.push((name.into(), key));
            }
        }
        let found = installed.credentials();
        for (name, path) in found.files {
            match masker_files::open_regular(&path) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => unreadable.push(name),
                // A store of encrypted credentials or `SetCredential=` may have it as well.
                Err(error) if error.kind() == ErrorKind::NotFound && unreadable.contains(&name) => {}
                _ => variables.push((format!("{name}_FILE").into(), path.into())),
            }
        }
        KeyFacts {
            unit: installed.unit.clone(),
            unreadable,
            decrypted,
            hidden: found.hidden,
            missing: found.missing,
            links: found.links,
            ..Self::of_environment(&variables.into_iter().collect())
        }
    }

    /// Returns whether any key is provided, readable or not.
    pub(super) fn any(&self) -> bool {
        !self.credentials.given.is_empty() || !self.unreadable.is_empty() || !self.hidden.is_empty()
    }

    /// Returns whether every key id that has a key is known.
    pub(super) fn all_known(&self) -> bool {
        let is_denied = |fault| fault == CredentialFault::Denied;
        self.hidden.is_empty()
            && !self.credentials.problems.iter().any(|problem| is_denied(problem.fault) && problem.is_of_directory())
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

    /// Returns whether the key of the audit log may be there although this user cannot read it.
    pub(super) fn audit_key_is_unreadable(&self) -> bool {
        let denied = self.credentials.problems.iter().any(|problem| {
            problem.fault == CredentialFault::Denied && (problem.is_of_audit_key() || problem.is_of_directory())
        });
        denied || self.unreadable.iter().any(|name| name == AUDIT_KEY)
    }

    /// Returns the file of a key, if it is in one.
    pub(super) fn file_of(&self, kid: Kid, role: Role) -> Option<&Path> {
        self.path_of(&variable(kid, role))
    }

    /// Returns the file of the secret of a variable, if it is in one.
    pub(super) fn path_of(&self, name: &str) -> Option<&Path> {
        self.files.iter().find(|file| file.name == name).map(|file| file.path.as_path())
    }

    /// Returns every readable key, with the name of its variable.
    pub(super) fn keys(&self) -> Vec<(String, &SecretKey)> {
        let keys = self.credentials.keys.iter().map(|key| (variable(key.kid, key.role), &key.key));
        keys.chain(self.credentials.audit_key.iter().map(|key| (AUDIT_KEY.to_owned(), key))).collect()
    }
}

/// Returns the name of the variable of a key.
pub(super) fn variable(kid: Kid, role: Role) -> String {
    format!("MASKER_KEY_{kid}{}", if role == Role::Old { "_OLD" } else { "" })
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
    let found = installed.credentials();
    let denied: Vec<String> = found.denied().map(|path| path.display().to_string()).collect();
    if !denied.is_empty() {
        return Err(format!(
            "this user may not read the keys that {} provides ({}): run this as root, or set CREDENTIALS_DIRECTORY to a directory with \
             the keys",
            unit_name(&installed),
            denied.join(", ")
        ));
    }
    let files = found.files.into_iter();
    let files = files.map(|(name, path)| (format!("{name}_FILE").into(), path.into()));
    let decrypted = installed.encrypted_files().into_iter().map(|(name, path)| {
        let key = decrypt(&name, &path)
            .map_err(|why| format!("systemd-creds failed to decrypt {}: {why}", path.display()))?;
        Ok((name.into(), key))
    });
    let decrypted = decrypted.collect::<Result<Vec<(OsString, OsString)>, String>>()?;
    collect(&files.chain(decrypted).collect())
}

fn unit_name(installed: &InstalledUnits) -> String {
    installed.unit.as_ref().map_or_else(|| "the installed unit".to_owned(), |unit| unit.display().to_string())
}

/// Returns why an environment, or the installed unit in its place, provides no key of the audit log, and what to do.
pub(crate) fn missing_audit_key(own: &Environment) -> String {
    why_no_audit_key(own, &InstalledUnits::read(Path::new("/")))
}

fn why_no_audit_key(own: &Environment, installed: &InstalledUnits) -> String {
    let set = format!("set {AUDIT_KEY}_FILE to its file, or CREDENTIALS_DIRECTORY to the directory that has it");
    if let Some(directory) = own.setting("CREDENTIALS_DIRECTORY") {
        let directory = Path::new(directory).display();
        return format!(
            "CREDENTIALS_DIRECTORY is {directory}, where there is no {AUDIT_KEY}, the key of the audit log: {set}"
        );
    }
    let unit = unit_name(installed);
    let mut files = installed.credentials().files.into_iter().filter(|(name, _)| name == AUDIT_KEY);
    if let Some((_, path)) = files.next() {
        let shown = path.display();
        return match masker_files::open_regular(&path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                format!(
                    "the key of the audit log is in {shown}, which this user may not read: run this as root, or {set}"
                )
            }
            Err(error) => format!(
                "{unit} takes the key of the audit log from {shown}, which cannot be read ({error}): put it back from its copy, or {set}"
            ),
            // Other keys are in the environment, so that those of the unit were not read.
            Ok(_) => format!("the environment has keys, and not that of the audit log, which is in {shown}: {set}"),
        };
    }
    if installed.encrypted_credentials().iter().any(|name| name == AUDIT_KEY) {
        return format!(
            "{unit} has the key of the audit log as an encrypted credential, which root can read: run this as root, or {set}"
        );
    }
    format!("nothing says where the key of the audit log is: {set}")
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
pub(super) fn has_keys(own: &Environment) -> bool {
    let mut names = own.iter().map(|(name, _)| name.as_bytes());
    own.setting("CREDENTIALS_DIRECTORY").is_some()
        || names.any(|name| is_key(name) || is_key(name.strip_suffix(b"_FILE").unwrap_or(name)))
}

/// Returns whether a variable of this name contains a key of the daemon, not a credential of a client.
fn is_key(name: &[u8]) -> bool {
    holds_secret(name) && (name.starts_with(b"MASKER_KEY_") || name.starts_with(b"MASKER_AUDIT_"))
}

impl KeyFileFacts {
    fn of(given: &SecretOrigin, credentials: &PartialCredentials) -> Option<Self> {
        let (path, is_credential) = match &given.by {
            OriginKind::Variable => return None,
            OriginKind::File(path) => (path, false),
            OriginKind::Credential(path) => (path, true),
        };
        let directory = PathStatus::at(path.parent().unwrap_or(Path::new("/")));
        Some(KeyFileFacts {
            name: given.name.clone(),
            path: path.clone(),
            status: PathStatus::at(path),
            directory,
            // Another credentials directory is one that a user has made.
            by_systemd: is_credential && credentials.sources.unit_of_systemd().is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn says_where_the_key_of_the_audit_log_should_be() {
        let root = tempfile::tempdir().unwrap();
        let environment = |settings: &[(&str, &str)]| {
            settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect::<Environment>()
        };
        let none = environment(&[]);
        let why = |own: &Environment| why_no_audit_key(own, &InstalledUnits::read(root.path()));
        assert!(why(&none).starts_with("nothing says where"), "{}", why(&none));
        let own = why(&environment(&[("CREDENTIALS_DIRECTORY", "/k")]));
        assert!(own.starts_with("CREDENTIALS_DIRECTORY is /k, where there is no"), "{own}");
        let units = root.path().join("etc/systemd/system");
        fs::create_dir_all(&units).unwrap();
        let unit = |text: &str| fs::write(units.join("masker.service"), format!("[Service]\n{text}\n")).unwrap();
        unit("LoadCredential=MASKER_AUDIT_HMAC_KEY:/etc/masker/audit.key");
        assert!(why(&none).contains("audit.key, which cannot be read"), "{}", why(&none));
        fs::create_dir(root.path().join("etc/masker")).unwrap();
        fs::write(root.path().join("etc/masker/audit.key"), "").unwrap();
        assert!(why(&none).contains("the environment has keys, and not that"), "{}", why(&none));
        unit("LoadCredentialEncrypted=MASKER_AUDIT_HMAC_KEY:/etc/masker/audit.cred");
        assert!(why(&none).contains("as an encrypted credential"), "{}", why(&none));
    }
}
