//! Files that get their name when they are complete.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions},
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, RenameFlags, renameat2},
    libc,
    unistd::linkat,
};

use super::sync_directory;

/// A file that gets its name when it is complete. Until then it has none, so that nothing is left of it if the process is
/// killed. Where the file system cannot do that, it has a temporary name beside the final one, which begins with a dot and ends in
/// `.partial`, and is removed on drop. Two writers of one name do not disturb each other.
#[derive(Debug)]
pub struct PendingFile {
    file: File,
    /// The temporary name, if it has one.
    temporary: Option<PathBuf>,
    path: PathBuf,
}

impl PendingFile {
    /// Creates a file that is to become `path`, with access for this user only.
    ///
    /// # Errors
    /// Returns an error if the file cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        match create_without_name(directory_of(path)) {
            Some(file) => Ok(PendingFile { file, temporary: None, path: path.to_owned() }),
            None => Self::create_with_name(path),
        }
    }

    fn create_with_name(path: &Path) -> io::Result<Self> {
        let create = |name: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(name);
        let (temporary, file) = with_temporary_name(path, create)?;
        Ok(PendingFile { file, temporary: Some(temporary), path: path.to_owned() })
    }

    /// Sets the permission bits of the file.
    ///
    /// # Errors
    /// Returns an error if the system does not allow it.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.file.set_permissions(Permissions::from_mode(mode))
    }

    /// Gives the file to a user and a group. Only root can give a file to another user.
    ///
    /// # Errors
    /// Returns an error if the system does not allow it.
    pub fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        fchown(&self.file, Some(uid), Some(gid))
    }

    /// Makes the file durable and gives it its final name. With `replace`, it replaces a file of that name.
    ///
    /// # Errors
    /// Returns an error if the file cannot be made durable or named; [`io::ErrorKind::AlreadyExists`] if there is a file that
    /// may not be replaced.
    pub fn persist(mut self, replace: bool) -> io::Result<()> {
        self.file.sync_all()?;
        if self.temporary.is_none() && !replace {
            link(&self.file, &self.path)?;
        } else {
            if self.temporary.is_none() {
                // A link replaces no file.
                self.temporary = Some(with_temporary_name(&self.path, |name| link(&self.file, name))?.0);
            }
            if let Some(temporary) = &self.temporary {
                if replace {
                    fs::rename(temporary, &self.path)?;
                } else {
                    rename_without_replacing(temporary, &self.path)?;
                }
            }
            self.temporary = None;
        }
        sync_directory(directory_of(&self.path))
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
        if let Some(temporary) = &self.temporary {
            // An incomplete file is useless. If it cannot be removed, that does no harm.
            let _ = fs::remove_file(temporary);
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a file without a name. `None` if the file system cannot, or if the file could not be named later.
fn create_without_name(directory: &Path) -> Option<File> {
    let file = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(directory).ok()?;
    descriptor_path(&file).exists().then_some(file)
}

/// Returns the path by which the kernel finds a file without a name.
fn descriptor_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Gives a file without a name this one. Replaces no file.
fn link(file: &File, name: &Path) -> io::Result<()> {
    Ok(linkat(AT_FDCWD, &descriptor_path(file), AT_FDCWD, name, AtFlags::AT_SYMLINK_FOLLOW)?)
}

/// How the temporary names end.
const TEMPORARY_SUFFIX: &str = ".partial";

/// Returns how the temporary names of a file begin.
fn temporary_prefix(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name
}

/// Removes temporary files that interrupted writes of a file left beside it. No other write of this file may be in progress.
///
/// # Errors
/// What the system reports.
pub fn remove_unnamed(path: &Path) -> io::Result<()> {
    let prefix = temporary_prefix(path);
    for entry in fs::read_dir(directory_of(path))? {
        let entry = entry?;
        let name = entry.file_name();
        let random = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let random = random.and_then(|name| name.strip_suffix(TEMPORARY_SUFFIX.as_bytes()));
        if random.is_some_and(|random| random.len() == 16 && random.iter().all(u8::is_ascii_hexdigit)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Creates something under a temporary name beside `path` that is used by no other writer.
fn with_temporary_name<T>(path: &Path, create: impl Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
    loop {
        // Hidden, so that nothing takes it for a complete file: systemd makes a credential of every other file of a directory.
        let mut name = temporary_prefix(path);
        name.push(format!("{:016x}{TEMPORARY_SUFFIX}", RandomState::new().hash_one(std::process::id())));
        let temporary = directory_of(path).join(name);
        match create(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return Ok((temporary, created?)),
        }
    }
}

/// Renames a file or directory within a file system, unless there is something of the new name. Not durable until its directory is
/// synced.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], or what the system reports.
pub fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // The file system cannot do both in one step.
        Err(Errno::EINVAL | Errno::ENOSYS) if to.symlink_metadata().is_err() => fs::rename(from, to),
        Err(Errno::EINVAL | Errno::ENOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        renamed => Ok(renamed?),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        os::unix::process::ExitStatusExt,
        process::{Command, Stdio},
    };

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let files = fs::read_dir(directory).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }

    const CREATE: [fn(&Path) -> io::Result<PendingFile>; 2] = [PendingFile::create, PendingFile::create_with_name];

    #[test]
    fn two_writers_of_one_name_do_not_disturb_each_other() {
        for create in CREATE {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("export");
            let mut first = create(&path).unwrap();
            let mut second = create(&path).unwrap();
            first.write_all(b"first").unwrap();
            second.write_all(b"second, longer").unwrap();
            assert_eq!(first.file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            second.set_mode(0o400).unwrap();
            second.persist(false).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"second, longer");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
            assert_eq!(first.persist(false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(names(directory.path()), ["export"]);
            let mut third = create(&path).unwrap();
            third.write_all(b"third").unwrap();
            third.persist(true).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"third");
            assert_eq!(names(directory.path()), ["export"]);
        }
    }

    #[test]
    fn a_file_that_is_not_persisted_is_removed() {
        for create in CREATE {
            let directory = tempfile::tempdir().unwrap();
            drop(create(&directory.path().join("export")).unwrap());
            assert!(names(directory.path()).is_empty());
        }
    }

    /// The path of the file that a process writes until it is killed.
    const KILLED_WRITER: &str = "MASKER_TEST_KILLED_WRITER";

    /// Begins a file and waits to be killed, in a process that the test below starts.
    #[test]
    fn writes_until_it_is_killed() {
        let Some(path) = std::env::var_os(KILLED_WRITER) else { return };
        let mut file = PendingFile::create(Path::new(&path)).unwrap();
        file.write_all(b"incomplete").unwrap();
        file.file.sync_all().unwrap();
        println!("is named: {}.", file.temporary.is_some());
        // The other end is closed only when the test is over.
        io::stdin().read_line(&mut String::new()).unwrap();
        panic!("it was not killed");
    }

    #[test]
    fn nothing_is_left_of_a_process_that_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "pending::tests::writes_until_it_is_killed"])
            .env(KILLED_WRITER, directory.path().join("export"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines().map(Result::unwrap);
        let begun = lines.filter_map(|line| Some(line.split_once("is named: ")?.1.to_owned())).next();
        writer.kill().unwrap();
        assert_eq!(writer.wait().unwrap().signal(), Some(libc::SIGKILL));
        match begun.as_deref() {
            Some("true.") => println!("skipped: this file system has no files without a name"),
            begun => {
                assert_eq!(begun, Some("false."));
                assert!(names(directory.path()).is_empty());
            }
        }
    }

    #[test]
    fn a_directory_that_does_not_exist_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let missing = PendingFile::create(&directory.path().join("missing/export"));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
