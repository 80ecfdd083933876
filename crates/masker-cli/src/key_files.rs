//! Key files on the disk: written once, and never replaced by accident.
//!
//! A key file contains a key in base64 and a line end. It gets its name when it is complete and durable, and only its owner can
//! read it.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::context::CommandError;
use masker_core::crypto::{GenerationKeys, SecretKey};
use masker_files::PendingFile;
use masker_types::{kind::Kid, limits::KEY_FILE_BYTES_MAX};

/// The permission bits of a key file: only its owner reads it, and nobody changes it.
const KEY_FILE_MODE: u32 = 0o400;
/// How the names of keys in a credentials directory begin.
const CREDENTIAL_PREFIX: &str = "MASKER_KEY_";

/// Returns the fingerprint of a key under a key id.
pub(crate) fn fingerprint_of(kid: Kid, key: &SecretKey) -> String {
    GenerationKeys::fingerprint_of(kid, key).to_string()
}

/// Generates a key.
pub(crate) fn generate() -> Result<SecretKey, CommandError> {
    let generated = SecretKey::generate(&mut rand::rng());
    generated.map_err(|error| CommandError::Other(format!("failed to generate a key: {error}")))
}

/// The user and the group of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct UserAndGroup {
    uid: u32,
    gid: u32,
}

/// A key file that was read.
pub(crate) struct ExistingKeyFile {
    pub(crate) key: SecretKey,
    pub(crate) owner: UserAndGroup,
}

impl ExistingKeyFile {
    /// Reads a key file. `None` if there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, CommandError> {
        let failed = |why: &dyn std::fmt::Display| CommandError::Other(format!("{} {why}", path.display()));
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(|error| failed(&format_args!("cannot be read: {error}{}", as_whom(&error))))?,
        };
        if !metadata.is_file() {
            return Err(failed(&"is not a regular file: a key file is one, and not a link"));
        }
        let mut text = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX as usize));
        masker_files::read_regular(path)
            .and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut text))
            .map_err(|error| failed(&format_args!("cannot be read: {error}{}", as_whom(&error))))?;
        let key = SecretKey::parse_base64(&text).map_err(|error| failed(&error))?;
        Ok(Some(ExistingKeyFile { key, owner: UserAndGroup { uid: metadata.uid(), gid: metadata.gid() } }))
    }
}

/// Prepares a key file that is to become `path`, of this user or of the owner of another key file.
pub(crate) fn prepare(path: &Path, key: &SecretKey, owner: Option<UserAndGroup>) -> Result<PendingFile, CommandError> {
    let write = || {
        let mut file = PendingFile::create(path)?;
        file.write_all(key.to_base64().expose_secret().as_bytes())?;
        file.write_all(b"\n")?;
        file.set_mode(KEY_FILE_MODE)?;
        if let Some(UserAndGroup { uid, gid }) = owner {
            file.set_owner(uid, gid)?;
        }
        Ok(file)
    };
    write().map_err(|error| failed_to_write(path, &error))
}

/// Writes a new key file.
///
/// # Errors
/// [`CommandError`], also if a file of this name exists: it stays as it is.
pub(crate) fn create(path: &Path, key: &SecretKey, owner: Option<UserAndGroup>) -> Result<(), CommandError> {
    prepare(path, key, owner)?.persist(false).map_err(|error| failed_to_write(path, &error))
}

/// Returns the error of a file that was not written.
pub(crate) fn failed_to_write(path: &Path, error: &io::Error) -> CommandError {
    CommandError::Other(match error.kind() {
        io::ErrorKind::AlreadyExists => format!(
            "{} exists, and is not replaced: a vault or an audit log may need it. `masker keys rotate` replaces a key of a vault",
            path.display()
        ),
        _ => format!("failed to write {}: {error}{}", path.display(), as_whom(error)),
    })
}

/// Returns what to do about an error of permissions, for the end of a message.
fn as_whom(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as the owner of the directory, such as root for /etc/masker",
        _ => "",
    }
}

/// The files of a key id in a directory.
pub(crate) struct KeyPaths {
    /// The active key.
    pub(crate) active: PathBuf,
    /// The key that it replaced.
    pub(crate) old: PathBuf,
}

impl KeyPaths {
    /// Returns the files `KID` and `KID_OLD`, as in /etc/masker/keys, or `MASKER_KEY_KID` and `MASKER_KEY_KID_OLD`, as in a
    /// credentials directory, if there is one of these.
    ///
    /// # Errors
    /// The directory has files of both forms.
    pub(crate) fn find(directory: &Path, kid: Kid) -> Result<Self, CommandError> {
        let [plain, credentials] = ["", CREDENTIAL_PREFIX].map(|prefix| KeyPaths {
            active: directory.join(format!("{prefix}{kid}")),
            old: directory.join(format!("{prefix}{kid}_OLD")),
        });
        match (plain.first_existing(), credentials.first_existing()) {
            (Some(plain), Some(credential)) => Err(CommandError::Other(format!(
                "{} and {} are both there: remove the one that the daemon does not read, once you have compared them \
                 (`masker keys fingerprint --kid {kid} < FILE`)",
                plain.display(),
                credential.display()
            ))),
            (None, Some(_)) => Ok(credentials),
            (_, None) => Ok(plain),
        }
    }

    /// Returns the files of the key whose active file is this one, with its key id. `None` if the name is not that of a key.
    pub(crate) fn of_active(path: &Path) -> Option<(Kid, Self)> {
        let name = path.file_name()?.to_str()?;
        let kid = Kid::parse(name.strip_prefix(CREDENTIAL_PREFIX).unwrap_or(name))?;
        Some((kid, KeyPaths { active: path.to_owned(), old: path.with_file_name(format!("{name}_OLD")) }))
    }

    fn first_existing(&self) -> Option<&Path> {
        [&self.active, &self.old].into_iter().map(PathBuf::as_path).find(|path| path.symlink_metadata().is_ok())
    }

    /// Returns the message about an active key that is missing beside its old one.
    pub(crate) fn only_old_text(&self) -> String {
        let (active, old) = (quoted(&self.active), quoted(&self.old));
        format!(
            "{} is there and {} is not. If you have just renamed it, undo that: `mv --no-clobber {old} {active}`. \
             Otherwise put the active key back from its copy: a new key would not open what is sealed under it",
            self.old.display(),
            self.active.display()
        )
    }
}

/// Returns a path as a word for a shell.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+=:,@%".contains(character);
    if text.chars().all(plain) && !text.is_empty() { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
