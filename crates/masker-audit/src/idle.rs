//! Work that gives way to every other.

use std::{io, thread};

use nix::errno::Errno;

/// Does something on a thread that runs while nothing else wants its processor: requests do not wait for it. A thread of
/// its own, since what takes the log's locks must not give way.
///
/// # Errors
/// What the work said; where the thread could not be started or has panicked, that.
pub(super) fn run_at_idle_priority<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let idle_thread = thread::Builder::new().name("audit-compress".into()).spawn_scoped(scope, || {
            if let Err(error) = set_idle_priority() {
                tracing::debug!(%error, "a compression does not give way to requests");
            }
            work()
        })?;
        idle_thread.join().unwrap_or_else(|_| Err(io::Error::other("the compression has panicked")))
    })
}

/// Has the calling thread run as `SCHED_IDLE` from now on: below every nice value, and off the processor at once when
/// another thread wakes (sched(7)). It is not starved: what is always left to it is about a three-hundredth.
fn set_idle_priority() -> Result<(), Errno> {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and the pointer is to a parameter of ours, which the call only reads.
    Errno::result(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &none) }).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The scheduling policy of the calling thread (proc_pid_stat(5), field 41).
    fn policy() -> io::Result<i32> {
        let stat = fs::read_to_string("/proc/thread-self/stat")?;
        let field = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(38));
        field.and_then(|text| text.parse().ok()).ok_or_else(|| io::Error::other("no such field"))
    }

    #[test]
    fn the_work_gives_way_and_who_waits_for_it_does_not() {
        let before = policy().unwrap();
        assert_ne!(before, libc::SCHED_IDLE);
        assert_eq!(run_at_idle_priority(policy).unwrap(), libc::SCHED_IDLE);
        assert_eq!(policy().unwrap(), before);
    }

    #[test]
    fn what_goes_wrong_is_told() {
        assert_eq!(run_at_idle_priority(|| Err::<(), _>(io::Error::other("no"))).unwrap_err().to_string(), "no");
    }
}
