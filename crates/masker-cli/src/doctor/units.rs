//! masker's unit files: the daemon's user, its credentials, and secrets that should not be in unit files.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use nix::unistd::{User, geteuid};

use super::{
    files::{FileFacts, user_name},
    secret_names::holds_secret,
};
use crate::key_files::quoted;
use masker_config::{SYSTEM_DIR, is_secret_name};

/// The directories of unit files, in order of precedence (systemd.unit(5)). On hosts with a merged /usr the last one is the one before.
const DIRECTORIES: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
/// The daemon's unit.
pub(super) const SERVICE: &str = "masker.service";
/// The unit of the daemon's socket.
const SOCKET: &str = "masker.socket";
/// The directory of credentials whose path is relative.
const CREDENTIAL_STORE: &str = "etc/credstore";
/// The mode of the directories that systemd makes, if a unit sets none.
const DIRECTORY_MODE_DEFAULT: u32 = 0o755;
/// How deep directories of credentials are read.
const UNIT_DIRECTORIES_DEPTH_MAX: u32 = 8;
/// Largest unit file that is read, in bytes.
const UNIT_BYTES_MAX: u64 = 1 << 20;

/// The unit files of masker.
#[derive(Default)]
pub(super) struct InstalledUnits {
    /// The settings of the daemon's unit, in the order in which they apply.
    service: Vec<UnitSetting>,
    /// The settings of the unit of its socket.
    socket: Vec<UnitSetting>,
    /// The daemon's unit.
    pub(super) unit: Option<PathBuf>,
    /// The unit files that set a secret, with the variable's name.
    pub(super) keys_in_units: Vec<(PathBuf, String)>,
    /// The unit files that cannot be read.
    pub(super) unreadable: Vec<PathBuf>,
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
    /// Whether the daemon's user is unknown, because there is neither a unit nor a running daemon.
    pub(super) is_default_user: bool,
}

impl InstalledUnits {
    /// Reads every unit file whose name begins with `masker`, below a root.
    pub(super) fn read(root: &Path) -> Self {
        let mut installed = InstalledUnits { root: root.to_owned(), ..InstalledUnits::default() };
        let directories = unit_directories(root);
        (installed.unit, installed.service) = in_force(&directories, SERVICE);
        (_, installed.socket) = in_force(&directories, SOCKET);
        // Also those that another file overrides: every user can read them.
        let entries = directories.iter().flat_map(|directory| listed(directory));
        for file in entries.filter(|entry| name_of(entry).starts_with("masker")).flat_map(drop_ins_or_itself) {
            let Some(text) = read(&file) else {
                installed.unreadable.push(file);
                continue;
            };
            for (variable, _) in variables(&settings(&text)) {
                if holds_secret(variable.as_bytes()) {
                    installed.keys_in_units.push((file.clone(), variable));
                }
            }
        }
        installed
    }

    /// Returns the path of the socket on which systemd listens for the daemon.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        let streams = values(&self.socket, "ListenStream");
        let path = streams.into_iter().find(|stream| stream.starts_with('/'))?;
        self.unit.as_ref().map(|_| PathBuf::from(path))
    }

    /// Returns the mode that systemd gives a directory at each start of the daemon, if it is that of its state or its logs.
    pub(super) fn mode_of(&self, directory: &Path) -> Option<u32> {
        let of = |setting: &str, parent: &str| {
            let mut names = values(&self.service, setting).into_iter().flat_map(str::split_whitespace);
            names.find(|name| Path::new(parent).join(name) == directory)?;
            let mode = self.last(&format!("{setting}Mode")).and_then(|mode| u32::from_str_radix(mode, 8).ok());
            Some(mode.unwrap_or(DIRECTORY_MODE_DEFAULT))
        };
        of("StateDirectory", "/var/lib").or_else(|| of("LogsDirectory", "/var/log"))
    }

    /// Returns the user that the daemon runs as. `own_uid` is the user who runs doctor.
    pub(super) fn runs_as(&self, own_uid: u32) -> ServiceUser {
        let user = self.last("User").and_then(|name| {
            let named = || User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
            name.parse().ok().or_else(named)
        });
        match (user, &self.unit) {
            (Some(uid), Some(unit)) => ServiceUser { uid, unit: Some(unit.clone()), is_default_user: false },
            _ => ServiceUser { uid: own_uid, unit: None, is_default_user: true },
        }
    }

    /// Returns the user of a running daemon.
    pub(super) fn runs_as_user(&self, uid: u32) -> ServiceUser {
        ServiceUser { uid, unit: self.unit.clone(), is_default_user: false }
    }

    /// Returns the daemon's settings that the unit has as variables, without secrets.
    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        let settings: Vec<UnitSetting> =
            self.service.iter().filter(|setting| setting.name == "Environment").cloned().collect();
        let last_reset = settings.iter().rposition(|setting| setting.value.is_empty()).unwrap_or(0);
        let variables = variables(&settings[last_reset.min(settings.len())..]).into_iter();
        let of_masker = variables.filter(|(name, _)| name.starts_with("MASKER_") && !is_secret_name(name.as_bytes()));
        of_masker.map(|(name, value)| (name, expanded(&value))).collect()
    }

    /// Returns the number of the unit's user, if it names one that exists.
    pub(super) fn user(&self) -> Option<u32> {
        self.runs_as(0).unit.map(|_| self.runs_as(0).uid)
    }

    /// Returns the configuration file of the daemon's unit.
    pub(super) fn config_file(&self) -> Option<PathBuf> {
        self.unit.as_ref()?;
        let named = self.environment().remove("MASKER_CONFIG").map(PathBuf::from);
        Some(named.unwrap_or_else(|| Path::new(SYSTEM_DIR).join("masker.toml")))
    }

    /// Returns the credentials of the daemon's unit.
    pub(super) fn credentials(&self) -> UnitCredentials {
        let mut found = UnitCredentials::default();
        for value in self.all("LoadCredential") {
            let (name, path) = self.credential(value);
            // Each file of a directory, and of those in it, is a separate credential (systemd.exec(5)).
            if path.is_dir() {
                found.add_directory(name, &path, UNIT_DIRECTORIES_DEPTH_MAX);
            } else if is_secret_name(name.as_bytes()) {
                found.files.push((name.to_owned(), path));
            } else if is_secret_name(format!("{name}_").as_bytes()) {
                found.missing.push(path);
            }
        }
        found
    }

    /// Returns the paths of the credentials of the daemon's unit, whether this user can read them or not. Of those that a later
    /// file takes back, only the directories: the package owns them.
    pub(super) fn credential_paths(&self) -> Vec<PathBuf> {
        let encrypted = self.all("LoadCredentialEncrypted").into_iter().map(|value| self.credential(value).1);
        let directories = self.service.iter().filter(|setting| setting.name == "LoadCredential");
        let directories = directories.map(|setting| self.credential(&setting.value).1).filter(|path| path.is_dir());
        let named = self.all("LoadCredential").into_iter().map(|value| self.credential(value).1);
        let files = self.credentials().files.into_iter().map(|(_, path)| path);
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

    fn all(&self, name: &str) -> Vec<&str> {
        values(&self.service, name)
    }
}

/// Returns the values of a setting after the last empty one, which resets it.
fn values<'s>(settings: &'s [UnitSetting], name: &str) -> Vec<&'s str> {
    let mut values = Vec::new();
    for setting in settings.iter().filter(|setting| setting.name == name) {
        if setting.value.is_empty() {
            values.clear();
        } else {
            values.push(&*setting.value);
        }
    }
    values
}

/// Returns the directories of unit files that exist, each once, in order of precedence.
fn unit_directories(root: &Path) -> Vec<PathBuf> {
    let mut directories: Vec<(PathBuf, PathBuf)> = Vec::new();
    for directory in DIRECTORIES.map(|directory| root.join(directory)) {
        let Ok(real) = fs::canonicalize(&directory) else { continue };
        if directories.iter().all(|(_, known)| *known != real) {
            directories.push((directory, real));
        }
    }
    directories.into_iter().map(|(directory, _)| directory).collect()
}

/// Returns the file of a unit, and the settings of it and of its drop-ins in the order in which they apply. Of the files of one name
/// the one in the first directory is in force. Drop-ins apply in the order of their names, and a link to /dev/null takes the others
/// of its name out of force. A unit that is masked so has no file.
fn in_force(directories: &[PathBuf], unit: &str) -> (Option<PathBuf>, Vec<UnitSetting>) {
    let found = directories.iter().map(|directory| directory.join(unit)).find(|file| file.symlink_metadata().is_ok());
    let Some(file) = found.filter(|file| !is_masked(file)) else { return (None, Vec::new()) };
    let mut drop_ins: BTreeMap<String, PathBuf> = BTreeMap::new();
    for drop_in in directories.iter().flat_map(|directory| drop_ins_of(&directory.join(format!("{unit}.d")))) {
        drop_ins.entry(name_of(&drop_in)).or_insert(drop_in);
    }
    let drop_ins = drop_ins.into_values().filter(|drop_in| !is_masked(drop_in));
    let files = std::iter::once(file.clone()).chain(drop_ins);
    let settings = files.flat_map(|file| settings(&read(&file).unwrap_or_default())).collect();
    (Some(file), settings)
}

/// Returns whether a file is a link to /dev/null.
fn is_masked(file: &Path) -> bool {
    fs::canonicalize(file).is_ok_and(|real| real == Path::new("/dev/null"))
}

/// Lists the drop-ins in a directory.
fn drop_ins_of(directory: &Path) -> Vec<PathBuf> {
    listed(directory).into_iter().filter(|file| file.extension() == Some(OsStr::new("conf"))).collect()
}

/// Returns a unit file, or the drop-ins of a directory of them.
fn drop_ins_or_itself(entry: PathBuf) -> Vec<PathBuf> {
    match entry.extension() == Some(OsStr::new("d")) {
        true => drop_ins_of(&entry),
        false => vec![entry],
    }
}

/// The credentials of a unit, as far as this user can see them.
#[derive(Default)]
pub(super) struct UnitCredentials {
    /// The secrets, by name, and their files.
    pub(super) files: Vec<(String, PathBuf)>,
    /// Directories of keys that this user cannot list.
    pub(super) hidden: Vec<PathBuf>,
    /// Directories of keys that do not exist.
    pub(super) missing: Vec<PathBuf>,
    /// Links in directories of keys.
    pub(super) links: Vec<PathBuf>,
}

impl UnitCredentials {
    /// Returns the files and directories that this user may not read.
    pub(super) fn denied(&self) -> impl Iterator<Item = &Path> {
        let is_denied = |path: &&Path| {
            masker_files::open_regular(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        let files = self.files.iter().map(|(_, path)| path.as_path()).filter(is_denied);
        files.chain(self.hidden.iter().map(PathBuf::as_path))
    }

    fn add_directory(&mut self, name: &str, directory: &Path, depth_left: u32) {
        if fs::read_dir(directory).is_err() {
            self.hidden.push(directory.to_owned());
        }
        // systemd takes neither hidden files of a directory nor links.
        for path in listed(directory).into_iter().filter(|path| !name_of(path).starts_with('.')) {
            let name = format!("{name}_{}", name_of(&path));
            if path.is_dir() && !path.is_symlink() && depth_left > 0 {
                self.add_directory(&name, &path, depth_left - 1);
            } else if path.is_symlink() && is_secret_name(name.as_bytes()) {
                self.links.push(path);
            } else if is_secret_name(name.as_bytes()) {
                self.files.push((name, path));
            }
        }
    }
}

/// Returns the user that the installed unit runs the daemon as.
pub(crate) fn service_uid() -> Option<u32> {
    let user = InstalledUnits::read(Path::new("/")).runs_as(0);
    user.unit.map(|_| user.uid)
}

/// Returns the directories of the keys that the installed unit names.
pub(crate) fn key_directories() -> Vec<PathBuf> {
    let installed = InstalledUnits::read(Path::new("/"));
    let named = installed.all("LoadCredential").into_iter().map(|value| installed.credential(value));
    named.filter(|(name, path)| *name == "MASKER_KEY" && path.is_dir()).map(|(_, path)| path).collect()
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
            None if self.is_default_user || self.uid == geteuid().as_raw() => {
                format!("a daemon started here runs as {user}")
            }
            None => format!("the daemon runs as {user}"),
        };
        // As another user, the daemon of this directory was perhaps started by mistake.
        let remedy = match self.is_default_user {
            true => format!(
                "run doctor and the daemon as {owner}: `sudo -u {owner} masker doctor`, with the same arguments"
            ),
            false => format!(
                "if this is the right directory: as root, `chown --recursive --no-dereference {user} {}`, while the daemon is stopped",
                quoted(path)
            ),
        };
        Err((format!("{shown} belongs to {owner}, and {who}"), remedy))
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

/// Reads a unit file. A unit that is masked by a link to /dev/null is empty.
fn read(file: &Path) -> Option<String> {
    let found = fs::metadata(file).ok()?;
    match found.is_file() {
        true if found.len() <= UNIT_BYTES_MAX => fs::read_to_string(file).ok(),
        true => None,
        false => Some(String::new()),
    }
}

/// Replaces the specifiers of directories of the system's service manager (systemd.unit(5)).
fn expanded(value: &str) -> String {
    let specifiers = [("%S", "/var/lib"), ("%L", "/var/log"), ("%E", "/etc"), ("%t", "/run"), ("%%", "%")];
    specifiers.iter().fold(value.to_owned(), |text, (specifier, directory)| text.replace(specifier, directory))
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

/// Returns the variables that `Environment=` sets, with their values up to a space.
fn variables(settings: &[UnitSetting]) -> Vec<(String, String)> {
    let set = settings.iter().filter(|setting| setting.name == "Environment");
    // A quote encloses a whole assignment, so a name follows white space or a quote.
    let words = set.flat_map(|setting| setting.value.split([' ', '\t', '"', '\'']));
    words.filter_map(|word| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::files::FileType;

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
        assert_eq!(installed.runs_as(7), ServiceUser { uid: 7, unit: None, is_default_user: true });
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
    fn of_files_of_one_name_the_first_directory_counts() {
        let user = |root: &tempfile::TempDir| InstalledUnits::read(root.path()).runs_as(0).uid;
        let root = host(&[
            ("usr/lib/systemd/system/masker.service", "[Service]\nUser=1\n"),
            ("usr/lib/systemd/system/masker.service.d/50-user.conf", "[Service]\nUser=2\n"),
            ("run/systemd/system/masker.service.d/50-user.conf", "[Service]\nUser=3\n"),
            ("etc/systemd/system/masker.service.d/40-user.conf", "[Service]\nUser=4\n"),
            ("usr/lib/systemd/system/masker.socket", "[Socket]\nListenStream=/run/m.sock\n"),
        ]);
        assert_eq!(user(&root), 3, "the last name, of the first directory that has it");
        assert_eq!(InstalledUnits::read(root.path()).socket(), Some("/run/m.sock".into()));
        let at = |path: &str| root.path().join(path);
        std::os::unix::fs::symlink("/dev/null", at("etc/systemd/system/masker.service.d/50-user.conf")).unwrap();
        assert_eq!(user(&root), 4, "masked");
        // A merged /usr: each file counts once.
        fs::write(at("usr/lib/systemd/system/masker.service"), "[Service]\nUser=1\nEnvironment=MASKER_API_KEY=x\n")
            .unwrap();
        std::os::unix::fs::symlink("usr/lib", at("lib")).unwrap();
        assert_eq!(InstalledUnits::read(root.path()).keys_in_units.len(), 1);
        std::os::unix::fs::symlink("/dev/null", at("etc/systemd/system/masker.service")).unwrap();
        let masked = InstalledUnits::read(root.path());
        assert_eq!((masked.unit.clone(), masked.socket(), user(&root)), (None, None, 0));
    }

    #[test]
    fn knows_the_directories_whose_mode_systemd_sets() {
        let root = host(&[(
            "usr/lib/systemd/system/masker.service",
            "[Service]\nStateDirectory=masker\nStateDirectoryMode=0700\nLogsDirectory=masker other\n",
        )]);
        let installed = InstalledUnits::read(root.path());
        let managed = ["/var/lib/masker", "/var/log/masker", "/var/log/other", "/srv/masker", "/var/lib/other"]
            .map(|directory| installed.mode_of(Path::new(directory)));
        assert_eq!(managed, [Some(0o700), Some(0o755), Some(0o755), None, None]);
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
            .files
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
        // Neither hidden files nor links of a directory.
        let keys = root.path().join("etc/masker/keys");
        fs::write(keys.join(".K_CARE.0123456789abcdef.partial"), "").unwrap();
        std::os::unix::fs::symlink(keys.join("K_CARE"), keys.join("K_LINK")).unwrap();
        let credentials = installed.credentials();
        assert_eq!((credentials.files.len(), credentials.links), (3, vec![keys.join("K_LINK")]));
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
        let facts = FileFacts { kind: FileType::Directory, mode: 0o700, uid: 4_321, gid: 1, modified: None };
        let owns = |uid| ServiceUser { uid, unit: None, is_default_user: false }.owns(Path::new("/v"), &facts);
        assert_eq!(owns(4_321), Ok(()));
        let (found, remedy) = owns(0).unwrap_err();
        assert!(found.starts_with("/v belongs to uid 4321"), "{found}");
        assert!(remedy.contains("`chown --recursive --no-dereference root /v`"), "{remedy}");
    }
}
