//! System calls that probe features. None of them changes this process.

use std::{
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    ptr,
};

/// The flag that requests Landlock's version (landlock_create_ruleset(2)).
const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;

/// Returns the version of Landlock, or `None` if it is missing or disabled.
pub(super) fn landlock() -> Option<u32> {
    // SAFETY: with this flag the call takes no address and no size, and returns a number, not a descriptor.
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

/// Returns whether secret memory is available.
pub(super) fn secret_memory() -> bool {
    // SAFETY: the call takes only flags, and returns a descriptor that nothing else owns.
    let descriptor = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let descriptor = outcome(descriptor).ok().and_then(|descriptor| i32::try_from(descriptor).ok());
    // SAFETY: the descriptor is open and nothing else owns it; dropping it closes it.
    descriptor.map(|descriptor| drop(unsafe { OwnedFd::from_raw_fd(descriptor) })).is_some()
}

/// Returns whether a Unix socket can supply a descriptor of its peer's process.
///
/// # Errors
/// No socket pair can be created.
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
    // SAFETY: the kernel has just opened the descriptor for this process, and nothing else owns it; dropping it closes it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(true)
}

/// Converts the result of a system call.
fn outcome(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
