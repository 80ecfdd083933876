//! The system calls that the daemon needs after its start: in its own code, both engines of the store, the runtime, all
//! versions of the C library, and libraries that look up users.
//!
//! All calls that requests make are in the unconditional list, unless the kind of socket decides: the kernel caches that
//! calls of the list are allowed and does not run the filter for them; it does for each call with a condition.

use libc::c_long;
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// Calls that are allowed with any arguments, on every architecture.
const UNCONDITIONAL: &[c_long] = &[
    // -- sockets
    libc::SYS_accept4,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // -- waiting
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_sched_yield,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    // -- files
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
    // -- memory
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_memfd_secret,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munmap,
    // -- threads, signals and exit
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_get_robust_list,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    // -- information about the process and the time
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpid,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// Calls that fail with `EACCES` in place of ending the process. Libraries that look up users try to connect to services of
/// the host, and go on without them. A filter cannot tell those services from other sockets: it sees no paths.
pub(super) const REFUSED: [c_long; 1] = [libc::SYS_connect];

/// Former versions of the same calls, which only older architectures have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// Returns the calls that are allowed with any arguments.
pub(super) fn unconditional() -> impl Iterator<Item = i64> {
    UNCONDITIONAL.iter().chain(OLDER).copied()
}

/// Returns the calls that are allowed if one of their rules matches.
pub(super) fn conditional() -> Result<Vec<(i64, Vec<SeccompRule>)>, BackendError> {
    let (exec, write) = (libc::PROT_EXEC.unsigned_abs().into(), libc::PROT_WRITE.unsigned_abs().into());
    let this_process = std::process::id().into();
    Ok(vec![
        // To the other end of a connection, and to no address: it could be any socket of the host.
        (libc::SYS_sendto, any([long(4, 0)?])?),
        // No network.
        (libc::SYS_socket, any([is(0, libc::AF_UNIX)?])?),
        (libc::SYS_socketpair, any([is(0, libc::AF_UNIX)?])?),
        // Threads, but no processes.
        (libc::SYS_clone, any([has_all(0, libc::CLONE_THREAD)?])?),
        // No signals to other processes.
        (libc::SYS_tgkill, any([number(0, SeccompCmpOp::Eq, this_process)?])?),
        // No memory that is both writable and executable. Libraries that look up users are mapped executable only.
        (libc::SYS_mmap, any([has_none(2, exec)?, has_none(2, write)?])?),
        (libc::SYS_mprotect, any([has_none(2, exec)?])?),
        // Names of threads and mappings, and queries by libraries that look up users; nothing that could reopen the
        // sandbox.
        (
            libc::SYS_prctl,
            any([
                is(0, libc::PR_SET_NAME)?,
                is(0, libc::PR_GET_NAME)?,
                is(0, libc::PR_SET_VMA)?,
                is(0, libc::PR_CAPBSET_READ)?,
            ])?,
        ),
        // Limits can be read, but not set.
        (libc::SYS_prlimit64, any([long(2, 0)?])?),
        (
            libc::SYS_ioctl,
            [libc::FIONBIO, libc::FIOCLEX, libc::FIONREAD, libc::TCGETS]
                .into_iter()
                .map(|request| SeccompRule::new(vec![number(1, SeccompCmpOp::Eq, wide(request))?]))
                .collect::<Result<_, _>>()?,
        ),
    ])
}

/// Returns one rule for each condition.
fn any<const N: usize>(conditions: [SeccompCondition; N]) -> Result<Vec<SeccompRule>, BackendError> {
    conditions.into_iter().map(|condition| SeccompRule::new(vec![condition])).collect()
}

/// Converts a non-negative constant whose type differs between C libraries.
fn wide(constant: impl TryInto<u64>) -> u64 {
    constant.try_into().unwrap_or(u64::MAX)
}

/// Compares an argument that the kernel reads as 32 bits.
fn number(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)
}

fn is(argument: u8, value: i32) -> Result<SeccompCondition, BackendError> {
    number(argument, SeccompCmpOp::Eq, value.unsigned_abs().into())
}

fn long(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value)
}

fn has_all(argument: u8, bits: i32) -> Result<SeccompCondition, BackendError> {
    let bits = bits.unsigned_abs().into();
    number(argument, SeccompCmpOp::MaskedEq(bits), bits)
}

fn has_none(argument: u8, bits: u64) -> Result<SeccompCondition, BackendError> {
    number(argument, SeccompCmpOp::MaskedEq(bits), 0)
}
