//! Attempts that a compromised process would make, and the operations that the daemon needs.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    path::Path,
    ptr, thread,
};

use nix::sys::resource::{Resource, setrlimit};
use rustix::thread::CapabilitySet;

use super::inside::{Scene, status};

type Attempt = fn(&Path) -> io::Result<String>;

/// Returns the attempt with this name.
pub fn by_name(name: &str) -> Option<Attempt> {
    CALLS
        .iter()
        .chain(FILES)
        .chain(PRIVILEGED)
        .chain(HARMLESS)
        .chain(BY_PID)
        .chain(CONNECTIONS)
        .find(|(known, _)| *known == name)
        .map(|(_, attempt)| *attempt)
}

/// Calls that the daemon never makes. Each kills the process if the filter is in force.
pub const CALLS: &[(&str, Attempt)] = &[
    ("socket-inet", |_| call(libc::SYS_socket, [libc::AF_INET as usize, libc::SOCK_STREAM as usize, 0])),
    ("socket-netlink", |_| call(libc::SYS_socket, [libc::AF_NETLINK as usize, libc::SOCK_RAW as usize, 0])),
    ("run-a-program", |_| {
        let (path, end) = (c"/bin/true".as_ptr(), [ptr::null::<libc::c_char>()]);
        call(libc::SYS_execve, [path.addr(), end.as_ptr().addr(), end.as_ptr().addr()])
    }),
    ("fork", |_| {
        // If nothing prevents it, the child exits at once.
        // SAFETY: this process has one thread, and the child calls only `_exit`.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: this ends the child.
            0 => unsafe { libc::_exit(0) },
            _ => Ok(String::new()),
        }
    }),
    ("trace", |_| call(libc::SYS_ptrace, [libc::PTRACE_TRACEME as usize, 0, 0])),
    ("read-other-memory", |_| call(libc::SYS_process_vm_readv, [parent(), 0, 0])),
    ("signal-another", |_| call(libc::SYS_kill, [parent(), 0, 0])),
    ("signal-another-thread", |_| call(libc::SYS_tgkill, [parent(), parent(), 0])),
    ("become-root", |_| call(libc::SYS_setuid, [0, 0, 0])),
    ("take-capabilities", |_| {
        let sets = rustix::thread::capabilities(None)?;
        rustix::thread::set_capabilities(None, sets)?;
        Ok(String::new())
    }),
    ("be-traceable-again", |_| call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 1, 0])),
    ("own-namespace", |_| call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0])),
    ("mount", |_| call(libc::SYS_mount, [0, 0, 0])),
    ("load-bpf", |_| call(libc::SYS_bpf, [0, 0, 0])),
    ("io-uring", |_| call(libc::SYS_io_uring_setup, [1, 0, 0])),
    ("keyring", |_| call(libc::SYS_keyctl, [0, 0, 0])),
    ("memory-file", |_| call(libc::SYS_memfd_create, [c"x".as_ptr().addr(), 0, 0])),
    ("write-and-run-memory", |_| map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC)),
    ("run-written-memory", |_| {
        let written = map(libc::PROT_READ | libc::PROT_WRITE)?;
        let address: usize = written.parse().map_err(io::Error::other)?;
        call(libc::SYS_mprotect, [address, 4_096, (libc::PROT_READ | libc::PROT_EXEC) as usize])
    }),
    ("dump-again", |_| {
        let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        call(libc::SYS_prlimit64, [0, libc::RLIMIT_CORE as usize, ptr::from_ref(&limit).addr()])
    }),
    ("device", |root| {
        let path = std::ffi::CString::new(root.join("vault/pipe").into_os_string().into_encoded_bytes())?;
        call(libc::SYS_mknodat, [libc::AT_FDCWD as usize, path.as_ptr().addr(), (libc::S_IFIFO | 0o600) as usize])
    }),
    ("bind", |_| call(libc::SYS_bind, [0, 0, 0])),
    ("send-to-an-address", |root| {
        UnixDatagram::unbound()?.send_to(b"x", root.join("elsewhere/datagrams")).map(drop).map(done)
    }),
    ("send-a-message", |_| call(libc::SYS_sendmsg, [usize::MAX, 0, 0])),
    ("send-messages", |_| call(libc::SYS_sendmmsg, [usize::MAX, 0, 0])),
    ("run-before-all-others", |_| schedule(libc::SCHED_FIFO, 1)),
    ("run-after-all-others", |_| schedule(libc::SCHED_IDLE, 0)),
];

/// Access to files outside of the sandbox. Each attempt fails with `EACCES`.
pub const FILES: &[(&str, Attempt)] = &[
    ("read-shadow", |_| read(Path::new("/etc/shadow"))),
    ("read-elsewhere", |root| read(&scene(root).secret())),
    ("write-elsewhere", |root| fs::write(scene(root).0.join("elsewhere/new"), "x").map(drop).map(done)),
    ("list-elsewhere", |root| fs::read_dir(root.join("elsewhere")).map(drop).map(done)),
    ("remove-elsewhere", |root| fs::remove_file(root.join("elsewhere/victim")).map(done)),
    ("write-policy", |root| fs::write(scene(root).policy(), "x").map(done)),
    ("remove-policy", |root| fs::remove_file(root.join("policies/victim")).map(done)),
    ("make-beside-socket", |root| fs::write(root.join("run/new"), "x").map(done)),
    ("climb-out-by-a-link", |root| read(&root.join("vault/way-out"))),
];

/// Connections to other processes on this host. Each attempt fails with `EACCES`.
pub const CONNECTIONS: &[(&str, Attempt)] = &[
    ("connect", |root| UnixStream::connect(root.join("elsewhere/stream")).map(drop).map(done)),
    ("connect-datagrams", |root| UnixDatagram::unbound()?.connect(root.join("elsewhere/datagrams")).map(done)),
    ("connect-to-itself", |root| UnixStream::connect(root.join("run/listening")).map(drop).map(done)),
];

/// Operations that require a privilege. Each fails with `EPERM`, for root too, and without the filter too.
pub const PRIVILEGED: &[(&str, Attempt)] = &[
    ("regain-capabilities", |_| {
        let mut sets = rustix::thread::capabilities(None)?;
        sets.effective |= CapabilitySet::CHOWN;
        sets.permitted |= CapabilitySet::CHOWN;
        rustix::thread::set_capabilities(None, sets)?;
        Ok(String::new())
    }),
    ("give-away", |root| std::os::unix::fs::chown(root.join("vault"), Some(1), None).map(done)),
    ("raise-core-limit", |_| {
        setrlimit(Resource::RLIMIT_CORE, 1, 1)?;
        Ok(String::new())
    }),
];

/// Operations of the daemon. Each succeeds.
pub const HARMLESS: &[(&str, Attempt)] = &[
    ("write-own", |root| {
        let vault = scene(root).vault();
        fs::create_dir(vault.join("table"))?;
        fs::write(vault.join("draft"), "x")?;
        fs::rename(vault.join("draft"), vault.join("table/rows"))?;
        File::options().write(true).open(vault.join("table/rows"))?.set_len(0)?;
        File::open(vault.join("table"))?.sync_all()?;
        fs::remove_file(vault.join("table/rows"))?;
        fs::remove_dir(vault.join("table")).map(done)
    }),
    ("read-policy", |root| read(&scene(root).policy())),
    ("read-policy-that-was-renewed", |root| read(&root.join("policies/renewed.toml"))),
    ("remove-socket", |root| fs::remove_file(scene(root).socket()).map(done)),
    ("unit-of-a-caller", |_| read(Path::new(&format!("/proc/{}/cgroup", parent())))),
    ("look-up-a-user", |_| {
        let user = nix::unistd::User::from_name("root")?;
        // The lookup of a group that does not exist asks all sources, and loads their libraries.
        let missing = nix::unistd::Group::from_name("masker-no-such-group")?;
        Ok(format!("{:?} {}", user.map(|user| user.uid.as_raw()), missing.is_none()))
    }),
    ("thread", |_| Ok(thread::spawn(|| 7).join().map_err(|_| io::Error::other("panicked"))?.to_string())),
    ("newer-call", |_| {
        let error = call(500, [0; 3]).unwrap_err();
        Ok(error.raw_os_error().unwrap_or(0).to_string())
    }),
    ("unix-socket", |_| UnixDatagram::unbound().map(drop).map(done)),
    ("send-on-a-connection", |_| {
        let (here, there) = UnixDatagram::pair()?;
        here.send(b"x")?;
        there.recv(&mut [0]).map(|bytes| bytes.to_string())
    }),
    ("no-new-privileges", |_| status("NoNewPrivs")),
    ("filter", |_| status("Seccomp")),
    ("capabilities", |_| {
        Ok(["CapInh", "CapPrm", "CapEff", "CapAmb"].map(|set| status(set).unwrap_or_default()).join(" "))
    }),
    ("core-limit", |_| {
        let text = fs::read_to_string("/proc/self/limits")?;
        let line = text.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default();
        Ok(line.split_whitespace().skip(4).take(2).collect::<Vec<_>>().join(" "))
    }),
];

/// Attempts on another process, whose pid is in the file `pid`.
const BY_PID: &[(&str, Attempt)] = &[
    ("trace-it", |root| call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, pid(root)?, 0])),
    ("read-its-memory", |root| File::open(format!("/proc/{}/mem", pid(root)?)).map(drop).map(done)),
    ("read-its-environment", |root| File::open(format!("/proc/{}/environ", pid(root)?)).map(drop).map(done)),
];

/// Returns whether an attempt is one on another process of the same user.
pub fn is_by_pid(attempt: &str) -> bool {
    BY_PID.iter().any(|(known, _)| *known == attempt)
}

/// Lets other processes trace this one, even if Yama allows only ancestors.
pub fn allow_tracing() {
    let _ = nix::sys::prctl::set_dumpable(true);
    let _ = call(libc::SYS_prctl, [libc::PR_SET_PTRACER as usize, usize::MAX, 0]);
}

fn pid(root: &Path) -> io::Result<usize> {
    fs::read_to_string(root.join("pid"))?.parse().map_err(io::Error::other)
}

fn scene(root: &Path) -> Scene {
    Scene(root.to_owned())
}

fn parent() -> usize {
    fs::read_to_string("/proc/self/stat")
        .ok()
        .and_then(|stat| stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(1)
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map(|text| text.trim().to_owned())
}

fn done((): ()) -> String {
    String::new()
}

fn map(protection: libc::c_int) -> io::Result<String> {
    let zero = File::open("/dev/null")?;
    // SAFETY: without an address and MAP_FIXED the mapping replaces no other, and nothing uses it.
    let address = unsafe {
        libc::mmap(ptr::null_mut(), 4_096, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, zero.as_raw_fd(), 0)
    };
    if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(address.addr().to_string()) }
}

fn schedule(policy: libc::c_int, priority: libc::c_int) -> io::Result<String> {
    let parameter = libc::sched_param { sched_priority: priority };
    call(libc::SYS_sched_setscheduler, [0, policy as usize, ptr::from_ref(&parameter).addr()])
}

/// Makes a system call directly, without the C library's wrapper.
fn call(number: libc::c_long, [a, b, c]: [usize; 3]) -> io::Result<String> {
    // SAFETY: the callers pass numbers, null, or pointers to data that lives until the call returns. Calls that would
    // change this process's memory are denied, or change mappings that nothing uses.
    let result = unsafe { libc::syscall(number, a, b, c, 0usize, 0usize, 0usize) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result.to_string()) }
}
