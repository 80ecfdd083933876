//! The manifest of a backup.

use std::{
    fs,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::failed;
use crate::{commands::vault::ExportKey, context::CommandError};
use masker_files::read_regular;

/// The file of the manifest. It is written last.
pub(super) const MANIFEST: &str = "manifest.json";
/// The version that this release writes and reads.
const VERSION: u32 = 1;
/// Largest manifest that is read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a backup has, and what it lacks.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BackupManifest {
    version: u32,
    /// The release that made the backup.
    pub(super) release: String,
    /// The name of the directory, if the command chose it.
    pub(super) name: Option<String>,
    /// When the backup began: RFC 3339, UTC.
    pub(super) began_at: String,
    /// When everything but the manifest was written.
    pub(super) ended_at: String,
    /// The id of the vault.
    pub(super) vault_id: String,
    /// The keys that the export needs.
    pub(super) keys: Vec<ExportKey>,
    /// The head of the audit log when the backup began: `NUMBER:HASH`.
    pub(super) audit_head: Option<String>,
    /// Every file but the manifest.
    pub(super) files: Vec<ManifestFile>,
    /// What is not in the backup.
    pub(super) not_included: Vec<NotIncluded>,
}

/// A file of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManifestFile {
    /// The path within the directory, with `/` between names.
    pub(super) path: String,
    pub(super) bytes: u64,
    /// In lower-case hex.
    pub(super) sha256: String,
}

/// Something that a backup does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NotIncluded {
    pub(super) what: String,
    /// Where it is.
    #[serde(rename = "where")]
    pub(super) place: String,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

impl ManifestFile {
    /// Describes the file of this path in a directory.
    pub(super) fn of(directory: &Path, path: String) -> io::Result<Self> {
        let mut file = read_regular(&directory.join(&path))?;
        let mut hash = Sha256::new();
        let (mut piece, mut bytes) = (vec![0; 1 << 17], 0);
        loop {
            match file.read(&mut piece)? {
                0 => break,
                length => {
                    hash.update(&piece[..length]);
                    bytes += length as u64;
                }
            }
        }
        Ok(ManifestFile { path, bytes, sha256: HEXLOWER.encode(&hash.finalize()) })
    }
}

impl BackupManifest {
    /// Returns a manifest of this version and release without files.
    pub(super) fn new(name: Option<String>, began_at: String) -> Self {
        BackupManifest {
            version: VERSION,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            name,
            began_at,
            ended_at: String::new(),
            vault_id: String::new(),
            keys: Vec::new(),
            audit_head: None,
            files: Vec::new(),
            not_included: Vec::new(),
        }
    }

    /// Reads the manifest of a backup.
    ///
    /// # Errors
    /// There is none, or it is not one of this version.
    pub(super) fn read(directory: &Path) -> Result<Self, CommandError> {
        let path = directory.join(MANIFEST);
        let read = || {
            let mut text = String::new();
            read_regular(&path)?.take(MANIFEST_BYTES_MAX).read_to_string(&mut text)?;
            Ok(text)
        };
        let text = read().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => CommandError::Other(format!(
                "{} is not a complete backup: it has no {MANIFEST}, which is written last",
                directory.display()
            )),
            io::ErrorKind::NotADirectory => CommandError::Other(format!(
                "{} is a file: name the directory of the backup, which has {MANIFEST}",
                directory.display()
            )),
            _ => failed("read", &path, &error),
        })?;
        let invalid =
            |why: &dyn std::fmt::Display| CommandError::Other(format!("{} is damaged: {why}", path.display()));
        let VersionOnly { version } = serde_json::from_str(&text).map_err(|error| invalid(&error))?;
        if version != VERSION {
            return Err(CommandError::Other(format!(
                "{} has version {version}, and this release reads version {VERSION}: use the release that made the backup",
                path.display()
            )));
        }
        let manifest: BackupManifest = serde_json::from_str(&text).map_err(|error| invalid(&error))?;
        if let Some(file) = manifest.files.iter().find(|file| !is_inside(&file.path)) {
            return Err(invalid(&format_args!("{:?} is not a path within a backup", file.path)));
        }
        Ok(manifest)
    }
}

/// Returns whether a path stays within its directory.
fn is_inside(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Returns the paths of all files in a directory, sorted, with `/` between names.
pub(super) fn files(directory: &Path) -> io::Result<Vec<String>> {
    let (mut found, mut left) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(inner) = left.pop() {
        for entry in fs::read_dir(directory.join(&inner))? {
            let entry = entry?;
            let path = inner.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                left.push(path);
            } else {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back_and_leads_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = BackupManifest::new(None, "2026-03-01T00:00:00Z".to_owned());
        let write = |manifest: &BackupManifest| {
            fs::write(folder.path().join(MANIFEST), serde_json::to_vec(manifest).unwrap()).unwrap();
            BackupManifest::read(folder.path())
        };
        fs::write(folder.path().join("a"), b"abc").unwrap();
        manifest.files.push(ManifestFile::of(folder.path(), "a".to_owned()).unwrap());
        // FIPS 180-4, example of SHA-256.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((manifest.files[0].bytes, manifest.files[0].sha256.as_str()), (3, expected));
        assert_eq!(write(&manifest).unwrap(), manifest);
        for path in ["../a", "/etc/passwd", "a/../b", "", "."] {
            manifest.files[0].path = path.to_owned();
            assert!(write(&manifest).is_err_and(|error| error.to_string().contains("not a path within")), "{path}");
        }
        manifest.version = 2;
        assert!(write(&manifest).is_err_and(|error| error.to_string().contains("has version 2")));
        let file = BackupManifest::read(&folder.path().join(MANIFEST));
        assert!(file.is_err_and(|error| error.to_string().contains("name the directory of the backup")));
        fs::remove_file(folder.path().join(MANIFEST)).unwrap();
        assert!(
            BackupManifest::read(folder.path()).is_err_and(|error| error.to_string().contains("not a complete backup"))
        );
    }
}
