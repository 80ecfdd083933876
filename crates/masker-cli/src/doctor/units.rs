//! masker's unit files: the daemon's user, its credentials, and secrets that should not be in unit files.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use nix::unistd::User;

use super::{
    files::{FileFacts, user_name},
    secret_names::holds_secret,
};
use masker_config::is_secret_name;

/// The directories of unit files, in order of precedence (systemd.unit(5)).
const DIRECTORIES: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
/// The daemon's unit.
const SERVICE: &str = "masker.service";
/// The directory of credentials whose path is relative.
const CREDENTIAL_STORE: &str = "etc/credstore";
/// Largest unit file that is read, in bytes.
const UNIT_BYTES_MAX: u64 = 1 << 20;

/// The unit files of masker.
#[derive(Default)]
pub(super) struct InstalledUnits {
    /// The settings of the daemon's unit, in the order in which they apply.
    service: Vec<UnitSetting>,
    /// The daemon's unit.
    pub(super) unit: Option<PathBuf>,
    /// The unit files that set a secret, with the variable's name.
    pub(super) keys_in_units: Vec<(PathBuf, String)>,
    root: PathBuf,
}

/// A setting of a unit file.
#[derive(Clone, PartialEq, Eq)]
struct UnitSetting {
    name: String,
    value: String,
}

/// The user that the daemon runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceUser {
    pub(super) uid: u32,
    /// The unit that names the user. Without it, the user is the one who runs doctor.
    pub(super) unit: Option<PathBuf>,
    /// Whether root runs doctor and no unit names a user: root can start the daemon as any user.
    pub(super) is_default_user: bool,
}

impl InstalledUnits {
    /// Reads every unit file whose name begins with `masker`, below a root.
    pub(super) fn read(root: &Path) -> Self {
        let mut installed = InstalledUnits { root: root.to_owned(), ..InstalledUnits::default() };
        let mut files = Vec::new();
        for directory in DIRECTORIES.map(|directory| root.join(directory)) {
            for entry in listed(&directory).into_iter().filter(|entry| name_of(entry).starts_with("masker")) {
                if entry.extension() == Some(OsStr::new("d")) {
                    files
                        .extend(listed(&entry).into_iter().filter(|file| file.extension() == Some(OsStr::new("conf"))));
                } else {
                    files.push(entry);
                }
            }
        }
        let unit = files.iter().find(|file| name_of(file) == SERVICE).cloned();
        let drop_in = |file: &&PathBuf| file.parent().is_some_and(|folder| name_of(folder) == format!("{SERVICE}.d"));
        let mut drop_ins: Vec<&PathBuf> = files.iter().filter(drop_in).collect();
        drop_ins.sort_by_key(|file| name_of(file));
        for file in unit.iter().chain(drop_ins) {
            installed.service.extend(settings(&read(file)));
        }
        for file in &files {
            for variable in variables(&settings(&read(file))) {
                if holds_secret(variable.as_bytes()) {
                    installed.keys_in_units.push((file.clone(), variable));
                }
            }
        }
        installed.unit = unit;
        installed
    }

    /// Returns the user that the daemon runs as. `own_uid` is the user who runs doctor.
    pub(super) fn runs_as(&self, own_uid: u32) -> ServiceUser {
        let user = self.last("User").and_then(|name| {
            let named = || User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
            name.parse().ok().or_else(named)
        });
        match (user, &self.unit) {
            (Some(uid), Some(unit)) => ServiceUser { uid, unit: Some(unit.clone()), is_default_user: false },
            _ => ServiceUser { uid: own_uid, unit: None, is_default_user: own_uid == 0 },
        }
    }

    /// Returns the credentials of the daemon's unit, by name, and their files.
    pub(super) fn credentials(&self) -> Vec<(String, PathBuf)> {
        let mut found: Vec<(String, PathBuf)> = Vec::new();
        for value in self.all("LoadCredential") {
            let (name, path) = self.credential(value);
            // Each file of a directory is a separate credential (systemd.exec(5)).
            if path.is_dir() {
                let files = listed(&path).into_iter().filter(|file| !file.is_dir());
                found.extend(files.map(|file| (format!("{name}_{}", name_of(&file)), file)));
            } else {
                found.push((name.to_owned(), path));
            }
        }
        found.retain(|(name, _)| is_secret_name(name.as_bytes()));
        found
    }

    /// Returns the paths of the credentials of the daemon's unit, whether this user can read them or not. Of those that a later
    /// file takes back, only the directories: the package owns them.
    pub(super) fn credential_paths(&self) -> Vec<PathBuf> {
        let encrypted = self.all("LoadCredentialEncrypted").into_iter().map(|value| self.credential(value).1);
        let directories = self.service.iter().filter(|setting| setting.name == "LoadCredential");
        let directories = directories.map(|setting| self.credential(&setting.value).1).filter(|path| path.is_dir());
        let named = self.all("LoadCredential").into_iter().map(|value| self.credential(value).1);
        let files = self.credentials().into_iter().map(|(_, path)| path);
        named.chain(encrypted).chain(directories).chain(files).collect()
    }

    /// Returns the name and the path of a credential.
    fn credential<'v>(&self, value: &'v str) -> (&'v str, PathBuf) {
        let (name, path) = value.split_once(':').unwrap_or((value, value));
        let path = Path::new(path);
        let path = match path.strip_prefix("/") {
            Ok(path) => self.root.join(path),
            Err(_) => self.root.join(CREDENTIAL_STORE).join(path),
        };
        (name, path)
    }

    /// Returns the encrypted credentials of the daemon's unit that are in files, by name.
    pub(super) fn encrypted_files(&self) -> Vec<(String, PathBuf)> {
        let credentials = self.all("LoadCredentialEncrypted").into_iter().map(|value| self.credential(value));
        let credentials = credentials.filter(|(name, path)| is_secret_name(name.as_bytes()) && path.is_file());
        credentials.map(|(name, path)| (name.to_owned(), path)).collect()
    }

    /// Returns the names of the encrypted credentials of the daemon's unit. Only systemd can read them.
    pub(super) fn encrypted_credentials(&self) -> Vec<String> {
        let names = self.all("LoadCredentialEncrypted").into_iter().chain(self.all("SetCredentialEncrypted"));
        names.map(|value| value.split(':').next().unwrap_or_default().to_owned()).collect()
    }

    fn last(&self, name: &str) -> Option<&str> {
        self.all(name).pop()
    }

    /// Returns the values of a setting after the last empty one, which resets it.
    fn all(&self, name: &str) -> Vec<&str> {
        let mut values = Vec::new();
        for setting in self.service.iter().filter(|setting| setting.name == name) {
            if setting.value.is_empty() {
                values.clear();
            } else {
                values.push(&*setting.value);
            }
        }
        values
    }
}

impl ServiceUser {
    /// Checks that a file belongs to the daemon's user.
    ///
    /// # Errors
    /// The text of the finding, and the remedy.
    pub(super) fn owns(&self, path: &Path, facts: &FileFacts) -> Result<(), (String, String)> {
        if facts.uid == self.uid {
            return Ok(());
        }
        let (shown, owner, user) = (path.display(), user_name(facts.uid), user_name(self.uid));
        let who = match &self.unit {
            Some(unit) => format!("{} runs the daemon as {user}", unit.display()),
            None => format!("a daemon started here runs as {user}"),
        };
        Err((format!("{shown} belongs to {owner}, and {who}"), format!("chown --recursive {user} {shown}")))
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Lists a directory in the order of names. Returns nothing if it cannot be read.
fn listed(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

/// Reads a unit file. Returns an empty text if it cannot be read, because systemd reports that.
fn read(file: &Path) -> String {
    let small = fs::metadata(file).is_ok_and(|found| found.is_file() && found.len() <= UNIT_BYTES_MAX);
    if small { fs::read_to_string(file).unwrap_or_default() } else { String::new() }
}

/// Parses the settings of a unit file (systemd.syntax(7)), without comments and with continued lines joined.
fn settings(text: &str) -> Vec<UnitSetting> {
    let mut settings = Vec::new();
    let mut line = String::new();
    for part in text.lines() {
        if part.trim_start().starts_with(['#', ';']) {
            continue;
        }
        if let Some(beginning) = part.strip_suffix('\\') {
            line.push_str(beginning);
            line.push(' ');
            continue;
        }
        line.push_str(part);
        if let Some((name, value)) = line.split_once('=') {
            settings.push(UnitSetting { name: name.trim().to_owned(), value: value.trim().to_owned() });
        }
        line.clear();
    }
    settings
}

/// Returns the names of the variables that `Environment=` sets.
fn variables(settings: &[UnitSetting]) -> Vec<String> {
    let set = settings.iter().filter(|setting| setting.name == "Environment");
    // A quote encloses a whole assignment, so a name follows white space or a quote.
    let words = set.flat_map(|setting| setting.value.split([' ', '\t', '"', '\'']));
    words.filter_map(|word| Some(word.split_once('=')?.0.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::files::FileKind;

    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn drop_ins_override_the_unit() {
        let none = host(&[]);
        let installed = InstalledUnits::read(none.path());
        assert_eq!(installed.runs_as(0), ServiceUser { uid: 0, unit: None, is_default_user: true });
        assert_eq!(installed.runs_as(7), ServiceUser { uid: 7, unit: None, is_default_user: false });
        let both = host(&[
            ("usr/lib/systemd/system/masker.service", "[Service]\n# User=9\nUser=12\n"),
            ("etc/systemd/system/masker.service.d/b.conf", "[Service]\nUser=\nUser=34\n"),
            ("usr/lib/systemd/system/masker.service.d/a.conf", "[Service]\nUser=56\n"),
            ("etc/systemd/system/other.service.d/c.conf", "[Service]\nUser=78\n"),
        ]);
        let runs_as = InstalledUnits::read(both.path()).runs_as(0);
        assert_eq!((runs_as.uid, runs_as.is_default_user), (34, false));
        assert!(runs_as.unit.unwrap().ends_with("usr/lib/systemd/system/masker.service"));
    }

    #[test]
    fn finds_credentials_as_systemd_does() {
        let root = host(&[
            (
                "etc/systemd/system/masker.service",
                "[Service]\nLoadCredential=MASKER_KEY:/gone\nLoadCredential=\nLoadCredential=MASKER_KEY:/etc/masker/keys\n\
                 LoadCredential=MASKER_AUDIT_HMAC_KEY:audit\nLoadCredential=tls:/etc/tls\n\
                 LoadCredentialEncrypted=MASKER_KEY_K_PAY:/x\n",
            ),
            ("etc/masker/keys/K_CARE", ""),
            ("etc/masker/keys/K_CARE_OLD", ""),
        ]);
        let installed = InstalledUnits::read(root.path());
        let found: Vec<String> = installed
            .credentials()
            .into_iter()
            .map(|(name, path)| format!("{name} {}", path.strip_prefix(root.path()).unwrap().display()))
            .collect();
        assert_eq!(
            found,
            [
                "MASKER_KEY_K_CARE etc/masker/keys/K_CARE",
                "MASKER_KEY_K_CARE_OLD etc/masker/keys/K_CARE_OLD",
                "MASKER_AUDIT_HMAC_KEY etc/credstore/audit"
            ]
        );
        assert_eq!(installed.encrypted_credentials(), ["MASKER_KEY_K_PAY"]);
    }

    #[test]
    fn finds_secrets_in_units_in_every_syntax() {
        for (line, found) in [
            ("Environment=MASKER_KEY_K=x", true),
            ("Environment=A=b MASKER_KEY_K_OLD=x", true),
            ("Environment=\"A=b c\" 'MASKER_AUDIT_HMAC_KEY=x'", true),
            ("Environment=A=b \\\n  MASKER_API_KEY=x", true),
            ("Environment=MASKER_KEY_K_FILE=/k", true),
            ("Environment=MASKER_KEY_ROTATION_GRACE_DAYS=3", false),
            ("#Environment=MASKER_KEY_K=x", false),
            ("Environment=MASKER_DATA_DIR=%S/masker", false),
        ] {
            let root = host(&[("etc/systemd/system/masker-demo.service", &format!("[Service]\n{line}\n"))]);
            // The name of a file is not a secret.
            let expected = found && !line.contains("_FILE");
            assert_eq!(!InstalledUnits::read(root.path()).keys_in_units.is_empty(), expected, "{line}");
        }
    }

    #[test]
    fn the_owner_must_be_the_daemons_user() {
        let facts = FileFacts { kind: FileKind::Directory, mode: 0o700, uid: 4_321, gid: 1, modified: None };
        let owns = |uid| ServiceUser { uid, unit: None, is_default_user: false }.owns(Path::new("/v"), &facts);
        assert_eq!(owns(4_321), Ok(()));
        let (found, remedy) = owns(0).unwrap_err();
        assert!(found.starts_with("/v belongs to uid 4321"), "{found}");
        assert_eq!(remedy, "chown --recursive root /v");
    }
}
