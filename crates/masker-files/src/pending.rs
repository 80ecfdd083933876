//! Files that get their name when they are complete.

use std::{
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
};

use super::sync_directory;

/// A file that is written under a temporary name beside its final one. The temporary name ends in `.partial` and is used by
/// no other writer, so two writers of one name do not disturb each other. If the file is not persisted, it is removed on
/// drop.
#[derive(Debug)]
pub struct PendingFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    persisted: bool,
}

impl PendingFile {
    /// Creates a file that is to become `path`, with access for this user only.
    ///
    /// # Errors
    /// Returns an error if the file cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        loop {
            let mut temporary = path.as_os_str().to_owned();
            temporary.push(format!(".{:016x}.partial", RandomState::new().hash_one(std::process::id())));
            let temporary = PathBuf::from(temporary);
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => return Ok(PendingFile { file: file?, temporary, path: path.to_owned(), persisted: false }),
            }
        }
    }

    /// Returns the temporary name.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Makes the file durable and gives it its final name. With `replace`, it replaces a file of that name.
    ///
    /// # Errors
    /// Returns an error if the file cannot be made durable or renamed; [`io::ErrorKind::AlreadyExists`] if there is a file
    /// that may not be replaced.
    pub fn persist(mut self, replace: bool) -> io::Result<()> {
        self.file.sync_all()?;
        if replace {
            fs::rename(&self.temporary, &self.path)?;
        } else {
            rename_without_replacing(&self.temporary, &self.path)?;
        }
        self.persisted = true;
        let directory = self.path.parent().filter(|directory| !directory.as_os_str().is_empty());
        sync_directory(directory.unwrap_or(Path::new(".")))
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if !self.persisted {
            // An incomplete file is useless. If it cannot be removed, that does no harm.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // The file system cannot do both in one step.
        Err(Errno::EINVAL | Errno::ENOSYS) if to.symlink_metadata().is_err() => fs::rename(from, to),
        Err(Errno::EINVAL | Errno::ENOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        renamed => Ok(renamed?),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let files = fs::read_dir(directory).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn two_writers_of_one_name_do_not_disturb_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("export");
        let mut first = PendingFile::create(&path).unwrap();
        let mut second = PendingFile::create(&path).unwrap();
        first.write_all(b"first").unwrap();
        second.write_all(b"second, longer").unwrap();
        assert_eq!(first.temporary().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        second.persist(false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second, longer");
        assert_eq!(first.persist(false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(directory.path()), ["export"]);
        let mut third = PendingFile::create(&path).unwrap();
        third.write_all(b"third").unwrap();
        third.persist(true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
    }

    #[test]
    fn a_file_that_is_not_persisted_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        drop(PendingFile::create(&directory.path().join("export")).unwrap());
        assert!(names(directory.path()).is_empty());
    }
}
