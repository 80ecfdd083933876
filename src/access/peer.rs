//! The caller as the kernel attests it: nothing here is of the caller's own saying.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use nix::sys::socket::{getsockopt, sockopt};

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
    /// Asks the kernel (`SO_PEERCRED`, `SO_PEERGROUPS`; unix(7)) who connected this socket.
    ///
    /// # Errors
    /// [`PeerError`] if the socket is not a connected Unix socket.
    pub fn of(socket: &impl AsFd) -> Result<Self, PeerError> {
        let credentials = getsockopt(&socket.as_fd(), sockopt::PeerCredentials).map_err(io::Error::from)?;
        Ok(Peer {
            uid: credentials.uid(),
            gid: credentials.gid(),
            // 0 stands for a process of another pid namespace, which has no number here.
            pid: (credentials.pid() != 0).then_some(credentials.pid()),
            groups: supplementary_groups(socket)?,
            unit: None,
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

    /// The unit of the system's service manager that the process runs in.
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// Whether `gid` is the primary or a supplementary group.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    #[cfg(test)]
    pub(crate) fn for_tests(uid: u32, gid: u32, groups: &[u32]) -> Self {
        Peer { uid, gid, pid: Some(1), groups: groups.to_vec(), unit: None }
    }

    #[cfg(test)]
    pub(crate) fn in_unit(self, unit: &str) -> Self {
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
    fn a_socket_that_is_not_a_unix_socket_has_no_peer() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(Peer::of(&socket).is_err());
    }
}
