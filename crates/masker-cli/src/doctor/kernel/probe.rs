//! System calls that are made only to see whether they are there. None of them changes this process.

use std::{
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    ptr,
};

use super::outcome;

/// Asks for Landlock's version (landlock_create_ruleset(2)).
const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;

/// The version of Landlock; `None` where there is none, or where it is turned off.
pub(super) fn landlock() -> Option<u32> {
    // SAFETY: with this flag the call takes no address and no size, and gives a number, no descriptor.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<libc::c_void>(),
            0usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    outcome(version).ok().and_then(|version| u32::try_from(version).ok())
}

/// Whether secret memory can be had.
pub(super) fn secret_memory() -> bool {
    // SAFETY: the call takes flags alone, and gives a descriptor that nothing else owns.
    let descriptor = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let descriptor = outcome(descriptor).ok().and_then(|descriptor| i32::try_from(descriptor).ok());
    // SAFETY: as said, it is open and nobody else's; dropping it closes it.
    descriptor.map(|descriptor| drop(unsafe { OwnedFd::from_raw_fd(descriptor) })).is_some()
}

/// Whether a Unix socket gives a descriptor of the process at its other end.
///
/// # Errors
/// Why there is no socket to ask.
pub(super) fn peer_pidfd() -> io::Result<bool> {
    let (socket, _other) = UnixStream::pair()?;
    let mut descriptor: libc::c_int = -1;
    let mut length = libc::socklen_t::try_from(size_of_val(&descriptor)).map_err(io::Error::other)?;
    // SAFETY: the socket is open; the pointer and the length describe all of `descriptor`, which nothing else uses.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            ptr::from_mut(&mut descriptor).cast(),
            &mut length,
        )
    };
    if status != 0 || descriptor < 0 {
        return Ok(false);
    }
    // SAFETY: the kernel has just opened it for this process, and nothing else knows it; dropping it closes it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(true)
}
