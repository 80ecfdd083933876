//! The caller as the kernel attests it: nothing here is of the caller's own saying.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use nix::sys::socket::{getsockopt, sockopt};

use super::systemd_unit::{self, ProcessOwner};

/// The process at the other end of a Unix socket, as it was when it connected.
#[derive(Clone, Debug)]
pub struct Peer {
    uid: u32,
    gid: u32,
    pid: Option<i32>,
    groups: Vec<u32>,
    unit: Option<String>,
}

/// The kernel did not say who is calling. Such a connection is not served.
#[derive(Debug, thiserror::Error)]
#[error("the kernel did not say who is calling: {0}")]
pub struct PeerError(#[from] io::Error);

impl Peer {
    /// Asks the kernel (`SO_PEERCRED`, `SO_PEERGROUPS`, `SO_PEERPIDFD`; unix(7)) who connected this socket, and reads
    /// which unit that process runs in: once for a connection, at its start.
    ///
    /// # Errors
    /// [`PeerError`] if the socket is not a connected Unix socket.
    pub fn of(socket: &impl AsFd) -> Result<Self, PeerError> {
        let credentials = getsockopt(&socket.as_fd(), sockopt::PeerCredentials).map_err(io::Error::from)?;
        let uid = credentials.uid();
        // 0 stands for a process of another pid namespace, which has no number here.
        let pid = (credentials.pid() != 0).then_some(credentials.pid());
        let hold = match process(socket) {
            Ok(process) => Some(ProcessOwner::Process(process)),
            // A kernel before 6.5.
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Some(ProcessOwner::Owner(uid)),
            // The process is gone, or there is no descriptor left: who has no unit has no rights by it.
            Err(_) => None,
        };
        Ok(Peer {
            uid,
            gid: credentials.gid(),
            pid,
            groups: supplementary_groups(socket)?,
            unit: pid.zip(hold).and_then(|(pid, hold)| systemd_unit::for_process(Path::new("/proc"), pid, &hold)),
        })
    }

    /// The effective user id.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The effective group id.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// The process id; `None` for a process of another pid namespace.
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Whether `gid` is the primary or a supplementary group.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// The systemd unit of the system's own manager that the process runs in, such as `billing.service`; `None` if it
    /// runs in none, or if that could not be told for certain.
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// Returns a peer with these ids, in no unit.
    #[cfg(any(test, feature = "testing"))]
    pub fn for_tests(uid: u32, gid: u32, groups: &[u32]) -> Self {
        Peer { uid, gid, pid: Some(1), groups: groups.to_vec(), unit: None }
    }

    /// Returns the same peer in a systemd unit.
    #[cfg(any(test, feature = "testing"))]
    pub fn in_unit(self, unit: &str) -> Self {
        Peer { unit: Some(unit.to_owned()), ..self }
    }
}

/// `SO_PEERGROUPS`, which no crate at hand wraps. The kernel says how many there are when the room is too small.
fn supplementary_groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 32];
    loop {
        let mut length = libc::socklen_t::try_from(size_of_val(groups.as_slice())).map_err(io::Error::other)?;
        // SAFETY: the descriptor is open for as long as `socket` is borrowed; the pointer and the length describe the
        // whole of `groups`, which nothing else uses meanwhile; the kernel writes at most `length` bytes of it, and
        // any bytes are valid `u32`s.
        let status = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &mut length,
            )
        };
        let count = length as usize / size_of::<u32>();
        if status == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// `SO_PEERPIDFD`, which no crate at hand wraps either: a descriptor of the process, which stays its own whatever becomes
/// of the number.
fn process(socket: &impl AsFd) -> io::Result<OwnedFd> {
    let mut descriptor: libc::c_int = -1;
    let mut length = libc::socklen_t::try_from(size_of_val(&descriptor)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the pointer and the length describe
    // `descriptor`, which nothing else uses meanwhile; the kernel writes at most `length` bytes of it, and any bytes are
    // a valid `c_int`.
    let status = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut descriptor).cast(),
            &mut length,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for this call (and to be closed on exec), so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_peer_of_this_process_is_this_process() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&socket).unwrap();
        assert_eq!(peer.uid(), nix::unistd::geteuid().as_raw());
        assert_eq!(peer.pid(), Some(std::process::id().cast_signed()));
        let groups: Vec<u32> = nix::unistd::getgroups().unwrap().into_iter().map(nix::unistd::Gid::as_raw).collect();
        assert!(groups.iter().all(|&gid| peer.in_group(gid)));
    }

    #[test]
    fn a_peer_is_held_by_itself_and_not_by_its_number() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let held = process(&socket).unwrap();
        let described = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", held.as_raw_fd())).unwrap();
        assert!(described.lines().any(|line| line == format!("Pid:\t{}", std::process::id())), "{described}");
        let flags = nix::fcntl::fcntl(&held, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }

    #[test]
    fn a_socket_that_is_not_a_unix_socket_has_no_peer() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(Peer::of(&socket).is_err());
    }
}
