//! The process at the other end of a connection, as the kernel attests it: nothing here comes from the caller.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use nix::sys::socket::{getsockopt, sockopt};

use crate::systemd_unit::{self, ProcessCheck};

/// The process at the other end of a Unix socket, as of its `connect`.
#[derive(Clone, Debug)]
pub struct Peer {
    uid: u32,
    gid: u32,
    pid: Option<i32>,
    groups: Vec<u32>,
    unit: Option<String>,
}

/// The kernel did not identify the peer. The connection is not served.
#[derive(Debug, thiserror::Error)]
#[error("failed to identify the peer: {0}")]
pub struct PeerError(#[from] io::Error);

impl Peer {
    /// Asks the kernel which process connected this socket (`SO_PEERCRED`, `SO_PEERGROUPS`, `SO_PEERPIDFD`; unix(7)), and
    /// reads its systemd unit. Called once for each connection.
    ///
    /// # Errors
    /// [`PeerError`] if the socket is not a connected Unix socket.
    pub fn of(socket: &impl AsFd) -> Result<Self, PeerError> {
        let credentials = getsockopt(&socket.as_fd(), sockopt::PeerCredentials).map_err(io::Error::from)?;
        let uid = credentials.uid();
        // A process of another pid namespace has no number here, and the kernel returns 0.
        let pid = (credentials.pid() != 0).then_some(credentials.pid());
        let check = match pidfd(socket) {
            Ok(pidfd) => Some(ProcessCheck::Pidfd(pidfd)),
            // A kernel before 6.5.
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Some(ProcessCheck::OwnedBy(uid)),
            // The process is gone, or descriptors are exhausted. Without a unit, a peer has no rights by one.
            Err(_) => None,
        };
        Ok(Peer {
            uid,
            gid: credentials.gid(),
            pid,
            groups: supplementary_groups(socket)?,
            unit: pid.zip(check).and_then(|(pid, check)| systemd_unit::of_process(Path::new("/proc"), pid, &check)),
        })
    }

    /// Returns the effective user id.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Returns the effective group id.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Returns the process id; `None` for a process of another pid namespace.
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Returns whether `gid` is the primary or a supplementary group.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// Returns the process's unit of the system's service manager, such as `billing.service`; `None` if it has none, or
    /// if there is any doubt.
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

/// Reads `SO_PEERGROUPS`, which nix does not wrap. If the buffer is too small, the kernel returns the number of groups.
fn supplementary_groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 32];
    loop {
        let mut length = libc::socklen_t::try_from(size_of_val(groups.as_slice())).map_err(io::Error::other)?;
        // SAFETY: the descriptor is open while `socket` is borrowed; the pointer and the length describe all of
        // `groups`, which nothing else uses meanwhile; the kernel writes at most `length` bytes, and any bytes are
        // valid `u32`s.
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

/// Reads `SO_PEERPIDFD`, which nix does not wrap either: a descriptor of the process, which stays valid even if another
/// process gets its number.
fn pidfd(socket: &impl AsFd) -> io::Result<OwnedFd> {
    let mut descriptor: libc::c_int = -1;
    let mut length = libc::socklen_t::try_from(size_of_val(&descriptor)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open while `socket` is borrowed; the pointer and the length describe `descriptor`, which
    // nothing else uses meanwhile; the kernel writes at most `length` bytes, and any bytes are a valid `c_int`.
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
    // SAFETY: the kernel has just opened it for this call (close-on-exec), so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn identifies_this_process_as_its_own_peer() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&socket).unwrap();
        assert_eq!(peer.uid(), nix::unistd::geteuid().as_raw());
        assert_eq!(peer.pid(), Some(std::process::id().cast_signed()));
        let groups: Vec<u32> = nix::unistd::getgroups().unwrap().into_iter().map(nix::unistd::Gid::as_raw).collect();
        assert!(groups.iter().all(|&gid| peer.in_group(gid)));
    }

    #[test]
    fn the_pidfd_is_of_the_peer_and_closed_on_exec() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let pidfd = pidfd(&socket).unwrap();
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
        assert!(info.lines().any(|line| line == format!("Pid:\t{}", std::process::id())), "{info}");
        let flags = nix::fcntl::fcntl(&pidfd, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }

    #[test]
    fn rejects_a_socket_that_is_not_a_unix_socket() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(Peer::of(&socket).is_err());
    }
}
