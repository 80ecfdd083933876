//! Connections of other users.

use std::{
    fs, io,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    thread,
};

use super::{Client, Daemon, Launch, Site};

/// Whether this process can become other users; otherwise prints that the test is skipped.
pub fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: {test} needs root");
    }
    root
}

/// A daemon whose socket all users can reach. No configuration allows that, so the socket is passed to it.
pub struct OpenDaemon {
    daemon: Daemon,
    socket: std::path::PathBuf,
}

impl OpenDaemon {
    /// Starts the daemon.
    pub fn start(site: &Site) -> Self {
        OpenDaemon::start_with(site, |launch| launch)
    }

    /// Starts the daemon with further settings.
    pub fn start_with(site: &Site, settings: impl FnOnce(Launch<'_>) -> Launch<'_>) -> Self {
        // Lets other users reach the socket's file.
        fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o711)).expect("a mode");
        let socket = site.path("open.sock");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("a socket");
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("a mode");
        let launch = settings(site.launch().care_keys());
        OpenDaemon { daemon: launch.handed_over(&listener).start(), socket }
    }

    /// Returns a connection of this user, with the group of the same number and no others.
    pub fn client_of(&self, uid: u32) -> Client {
        Client::over(connect_as(uid, uid, &self.socket).expect("a connection"))
    }

    /// Returns the path of its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl std::ops::Deref for OpenDaemon {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl OpenDaemon {
    /// Stops the daemon.
    pub fn stop(self) {
        self.daemon.stop();
    }
}

/// Connects as this user, with this group and no others, from a new thread.
///
/// The kernel attests the credentials of the thread that connects, and credentials belong to threads. Needs root.
pub fn connect_as(uid: u32, gid: u32, socket: &Path) -> io::Result<UnixStream> {
    thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            become_for_good(uid, gid)?;
            UnixStream::connect(socket)
        });
        connecting.join().expect("nothing here panics")
    })
}

/// Changes the credentials of the calling thread only; the C library's functions change those of all threads.
fn become_for_good(uid: u32, gid: u32) -> io::Result<()> {
    let steps: [&dyn Fn() -> libc::c_long; 3] = [
        // SAFETY: setgroups(2) reads as many ids as its first argument says, here none, so the null pointer is not
        // followed.
        &|| unsafe { libc::syscall(libc::SYS_setgroups, 0usize, std::ptr::null::<libc::gid_t>()) },
        // SAFETY: setresgid(2) takes three numbers and touches no memory.
        &|| unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) },
        // SAFETY: setresuid(2) takes three numbers and touches no memory.
        &|| unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) },
    ];
    for step in steps {
        if step() != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
