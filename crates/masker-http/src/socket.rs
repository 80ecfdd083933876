//! The Unix socket. Its mode and group are set before anyone can connect, and verified after.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::{
        fd::AsRawFd,
        unix::{
            fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket, sockopt},
        stat::{Mode, umask},
    },
    unistd::{Gid, chown},
};

/// Connections that may wait to be accepted; the kernel's own limit (`net.core.somaxconn`) is the same by default.
const BACKLOG: i32 = 4_096;
/// Time that another daemon may take to create a socket at the same path, in seconds.
const LOCK_SECONDS_MAX: u64 = 5;
/// Pause between two attempts to take the lock, in milliseconds.
const LOCK_PAUSE_MS: u64 = 5;

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// The socket's path.
    pub path: PathBuf,
    /// Its mode: connecting takes write permission.
    pub mode: u32,
    /// Its group; the daemon's own if absent.
    pub group: Option<u32>,
}

/// Why the socket cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another process listens on it.
    #[error("{0}: another process is listening on this socket; stop it, or configure another path (`[server] socket`)")]
    Live(PathBuf),
    /// The path is not a socket.
    #[error("{0}: this is not a socket; move it away, or configure another path (`[server] socket`)")]
    NotASocket(PathBuf),
    /// The inherited socket is connected, or does not listen.
    #[error(
        "{0}: the inherited socket does not accept connections; hand over a listening one (`ListenStream=` and `Accept=no` \
         in masker.socket)"
    )]
    NotListening(PathBuf),
    /// The socket was changed after it was created.
    #[error(
        "{path}: the socket has mode {mode:o} and group {gid} instead of those configured: another process changed it"
    )]
    Changed {
        /// The socket's path.
        path: PathBuf,
        /// The mode found.
        mode: u32,
        /// The group found.
        gid: u32,
    },
    /// The system refused.
    #[error("{path}: failed to {what}: {source}")]
    System {
        /// The path concerned.
        path: PathBuf,
        /// What failed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// A listening socket. Dropping it removes its file, unless another file has replaced it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    file: Option<(PathBuf, u64)>,
}

impl Socket {
    /// Creates the socket. Replaces a socket that a dead daemon left, and fails if another process listens on it.
    ///
    /// Must be called while the process has one thread, as it changes the process's umask for a moment. A lock file next
    /// to the socket, which stays, makes it wait for another daemon that is creating its socket at the same path.
    ///
    /// # Errors
    /// [`SocketError`]. Nothing was changed, except for the lock file and missing directories.
    pub fn bind(options: &SocketOptions) -> Result<Self, SocketError> {
        let path = &options.path;
        let system = |what| move |source: io::Error| SocketError::System { path: options.path.clone(), what, source };
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory).map_err(system("create its directory"))?;
        }
        // Held until `listen`, so another daemon finds no socket, a dead one, or one with a listener.
        let _guard = lock(path)?;
        remove_stale(path)?;

        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let descriptor = socket(AddressFamily::Unix, SockType::Stream, flags, None)
            .map_err(|e| system("create a socket")(e.into()))?;
        let address = UnixAddr::new(path).map_err(|e| system("use this path (at most 107 bytes)")(e.into()))?;
        // Nobody can connect before `listen`, so the mode and the group are set before the first connection. The umask
        // keeps the file closed in between.
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = bind(descriptor.as_raw_fd(), &address);
        umask(before);
        bound.map_err(|e| system("bind the socket")(e.into()))?;
        let created = fs::symlink_metadata(path).map_err(system("inspect the socket"))?;
        let mut socket = Socket { listener: UnixListener::from(descriptor), file: Some((path.clone(), created.ino())) };

        chown(path, None, options.group.map(Gid::from_raw))
            .map_err(|e| system("give the socket to its group (is the daemon's user a member of it?)")(e.into()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(options.mode)).map_err(system("set the socket's mode"))?;
        socket.verify(options)?;
        listen(&socket.listener, Backlog::new(BACKLOG).map_err(|e| system("listen")(e.into()))?)
            .map_err(|e| system("listen")(e.into()))?;
        socket.verify(options)?;
        Ok(socket)
    }

    /// Takes over a listening socket from a service manager, which owns its file.
    ///
    /// # Errors
    /// [`SocketError::NotListening`], or [`SocketError::System`] if it cannot be made non-blocking.
    pub fn from_inherited(listener: UnixListener) -> Result<Self, SocketError> {
        let socket = Socket { listener, file: None };
        if !getsockopt(&socket.listener, sockopt::AcceptConn).unwrap_or_default() {
            return Err(SocketError::NotListening(socket.path()));
        }
        socket.listener.set_nonblocking(true).map_err(|source| SocketError::System {
            path: socket.path(),
            what: "use the inherited socket",
            source,
        })?;
        Ok(socket)
    }

    /// Returns the group of the socket's file, whose members may connect.
    ///
    /// # Errors
    /// An I/O error if the file cannot be inspected.
    pub fn group(&self) -> io::Result<Option<u32>> {
        let address = self.listener.local_addr()?;
        address.as_pathname().map(|path| Ok(fs::symlink_metadata(path)?.gid())).transpose()
    }

    /// Returns the socket's path.
    pub fn path(&self) -> PathBuf {
        let address = self.listener.local_addr().ok();
        address
            .and_then(|address| address.as_pathname().map(Path::to_owned))
            .unwrap_or_else(|| PathBuf::from("(no path)"))
    }

    /// Returns the socket's file, if this process created it.
    pub fn created_path(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| path.as_path())
    }

    /// Returns a second handle to the listener, for the runtime to accept on.
    ///
    /// # Errors
    /// An I/O error if the process has no more descriptors.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    fn verify(&mut self, options: &SocketOptions) -> Result<(), SocketError> {
        let found = fs::symlink_metadata(&options.path).map_err(|source| SocketError::System {
            path: options.path.clone(),
            what: "inspect the socket",
            source,
        })?;
        let ours = self.file.as_ref().is_some_and(|(_, inode)| *inode == found.ino());
        let (mode, gid) = (found.permissions().mode() & 0o7777, found.gid());
        if ours && found.file_type().is_socket() && mode == options.mode && options.group.is_none_or(|want| want == gid)
        {
            return Ok(());
        }
        if !ours {
            // Another file has replaced the socket, and must not be removed.
            self.file = None;
        }
        Err(SocketError::Changed { path: options.path.clone(), mode, gid })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some((path, inode)) = &self.file
            && fs::symlink_metadata(path).is_ok_and(|found| found.ino() == *inode)
        {
            // If this fails, the next start replaces the stale socket.
            let _ = fs::remove_file(path);
        }
    }
}

/// Locks the creation of a socket at this path until the file is dropped.
fn lock(path: &Path) -> Result<File, SocketError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let beside = PathBuf::from(beside);
    let system = |source| SocketError::System { path: beside.clone(), what: "lock this file", source };
    // The file is never removed: all that wait for the lock must wait for the same file.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&beside)
        .map_err(system)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(failed)) => return Err(system(failed)),
            Err(TryLockError::WouldBlock) if begun.elapsed().as_secs() >= LOCK_SECONDS_MAX => {
                return Err(system(ErrorKind::TimedOut.into()));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(LOCK_PAUSE_MS)),
        }
    }
}

/// Removes a socket without a listener.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let system = |what| move |source| SocketError::System { path: path.to_owned(), what, source };
    match fs::symlink_metadata(path) {
        Err(missing) if missing.kind() == ErrorKind::NotFound => return Ok(()),
        Err(failed) => return Err(system("inspect this path")(failed)),
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::Live(path.to_owned())),
        Err(refused) if refused.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(system("remove the socket that a dead daemon left"))
        }
        Err(gone) if gone.kind() == ErrorKind::NotFound => Ok(()),
        Err(failed) => Err(system("find out whether another process listens on it")(failed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn options(directory: &tempfile::TempDir) -> SocketOptions {
        SocketOptions { path: directory.path().join("run/masker.sock"), mode: 0o660, group: None }
    }

    #[test]
    fn the_socket_has_its_mode_and_is_removed_on_drop() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(&directory);
        let socket = Socket::bind(&options).unwrap();
        let found = fs::metadata(&options.path).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, 0o660);
        assert_eq!(socket.group().unwrap(), Some(found.gid()));
        drop(socket);
        assert!(!options.path.exists());
    }

    #[test]
    fn a_live_socket_is_an_error_and_a_stale_one_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(&directory);
        let mut live = Socket::bind(&options).unwrap();
        assert!(matches!(Socket::bind(&options), Err(SocketError::Live(_))));
        // As after kill -9: the file stays.
        live.file = None;
        drop(live);
        assert!(options.path.exists());
        Socket::bind(&options).unwrap();
    }

    #[test]
    fn bind_waits_for_another_daemon_that_is_creating_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(&directory);
        fs::create_dir_all(options.path.parent().unwrap()).unwrap();
        // Another daemon has bound its socket, and does not listen yet.
        let lock_file = lock(&options.path).unwrap();
        let its_socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(its_socket.as_raw_fd(), &UnixAddr::new(&options.path).unwrap()).unwrap();
        thread::scope(|scope| {
            let (done, outcome) = mpsc::channel();
            let options = &options;
            scope.spawn(move || done.send(Socket::bind(options)).unwrap());
            assert!(outcome.recv_timeout(Duration::from_millis(100)).is_err(), "it did not wait");
            listen(&its_socket, Backlog::new(1).unwrap()).unwrap();
            drop(lock_file);
            assert!(matches!(outcome.recv().unwrap(), Err(SocketError::Live(_))));
        });
    }

    #[test]
    fn another_kind_of_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(&directory);
        fs::create_dir_all(options.path.parent().unwrap()).unwrap();
        fs::write(&options.path, "precious").unwrap();
        assert!(matches!(Socket::bind(&options), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read(&options.path).unwrap(), b"precious");
    }

    #[test]
    fn a_file_that_replaced_the_socket_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(&directory);
        let socket = Socket::bind(&options).unwrap();
        fs::remove_file(&options.path).unwrap();
        fs::write(&options.path, "another's").unwrap();
        drop(socket);
        assert!(options.path.exists());
    }
}
