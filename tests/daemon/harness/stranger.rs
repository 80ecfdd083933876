//! Connections made as another user.

use std::{io, os::unix::net::UnixStream, path::Path, thread};

/// Connects as this user, with this group and no other, from a thread that is that user from then on.
///
/// The kernel attests the credentials of the thread that connects, and credentials belong to threads. It takes root.
pub fn connect_as(uid: u32, gid: u32, socket: &Path) -> io::Result<UnixStream> {
    thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            become_for_good(uid, gid)?;
            UnixStream::connect(socket)
        });
        connecting.join().expect("nothing here panics")
    })
}

/// Changes the credentials of the calling thread alone, which the C library's functions never do.
fn become_for_good(uid: u32, gid: u32) -> io::Result<()> {
    let steps: [&dyn Fn() -> libc::c_long; 3] = [
        // SAFETY: setgroups(2) reads as many ids as it is told of, here none, so the null pointer is not followed.
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
