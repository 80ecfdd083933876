//! A directory that is open, compared with its path.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::libc;

/// A directory that is open, with the path at which it was opened.
#[derive(Debug)]
pub struct OpenDirectory {
    path: PathBuf,
    file: File,
}

impl OpenDirectory {
    /// Opens a directory.
    ///
    /// # Errors
    /// The path is not a directory, or the system does not allow it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        Ok(OpenDirectory { path: path.to_owned(), file })
    }

    /// Returns whether the path still leads to the directory. Blocks.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn is_in_place(&self) -> io::Result<bool> {
        let open = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (open.dev(), open.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_a_directory_that_is_removed_renamed_or_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("vault"), folder.path().join("other"));
        fs::create_dir(&path).unwrap();
        let open = OpenDirectory::open(&path).unwrap();
        assert!(open.is_in_place().unwrap());
        fs::rename(&path, &other).unwrap();
        assert!(!open.is_in_place().unwrap());
        fs::create_dir(&path).unwrap();
        assert!(!open.is_in_place().unwrap());
        fs::remove_dir(&path).unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(open.is_in_place().unwrap());
        fs::remove_dir(&path).unwrap();
        assert!(!open.is_in_place().unwrap());
    }
}
