//! The filter of system calls (seccomp(2)): what is not in the list of [`calls`] ends the process, or is logged.

use std::{collections::BTreeMap, env::consts::ARCH};

use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ERRNO};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompFilter, TargetArch, apply_filter_all_threads, sock_filter,
};

use super::{calls, report::MechanismState};
use masker_config::SeccompMode;

/// The first number of a system call that was not given when the list was written. A C library that tries one is told what
/// an older kernel would have told it, and goes on with what it knows.
const FIRST_UNKNOWN: u32 = 470;

/// Filters the calls of every thread of the process, and of all that will be.
pub(super) fn close(mode: SeccompMode) -> MechanismState {
    let (violation, closed) = match mode {
        SeccompMode::Off => return MechanismState::Off("off"),
        SeccompMode::Log => (SeccompAction::Log, MechanismState::Off("violations are logged")),
        SeccompMode::Enforce => (SeccompAction::KillProcess, MechanismState::Active("violations kill".to_owned())),
    };
    match program(violation).map_err(Error::from).and_then(|program| apply_filter_all_threads(&program)) {
        Ok(()) => closed,
        Err(error) => {
            MechanismState::Degraded(format!("system calls are not filtered ({error}); Linux 4.14 and later can"))
        }
    }
}

fn program(violation: SeccompAction) -> Result<BpfProgram, BackendError> {
    let target = TargetArch::try_from(ARCH)?;
    let mut rules: BTreeMap<i64, _> = calls::plain().map(|call| (call, Vec::new())).collect();
    rules.extend(calls::with_conditions()?);
    let filter = SeccompFilter::new(rules, violation, SeccompAction::Allow, target)?;
    let mut program = unknown_calls().to_vec();
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

/// Answers `ENOSYS` to calls that are newer than the list, and to clone3(2): its flags are in memory, where a filter cannot
/// look, so the C library is sent back to clone(2). Jumps over nothing else: what follows begins with its own checks.
fn unknown_calls() -> [sock_filter; 4] {
    // Codes of the classic machine are 16 bits wide, and these constants are none wider.
    let instruction = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    let clone3 = u32::try_from(libc::SYS_clone3).unwrap_or(u32::MAX);
    [
        // `seccomp_data.nr` is the first word.
        instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
        instruction(BPF_JMP | BPF_JGE | BPF_K, 1, 0, FIRST_UNKNOWN),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, clone3),
        instruction(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_filter_fits_into_the_kernel_s_limit() {
        let program = program(SeccompAction::KillProcess).unwrap();
        assert!(program.len() < 4_096, "{}", program.len());
    }

    #[test]
    fn no_call_is_both_plain_and_conditional_and_none_is_unknown() {
        let plain: Vec<i64> = calls::plain().collect();
        let unique: BTreeSet<i64> = plain.iter().copied().collect();
        assert_eq!(unique.len(), plain.len(), "a call is there twice");
        let conditional = calls::with_conditions().unwrap();
        assert!(conditional.iter().all(|(call, _)| !unique.contains(call)));
        assert!(unique.iter().all(|call| *call < i64::from(FIRST_UNKNOWN)));
    }

    #[test]
    fn what_a_thief_would_want_is_not_in_the_list() {
        let plain: BTreeSet<i64> = calls::plain().collect();
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_setuid,
            libc::SYS_setresuid,
            libc::SYS_capset,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
            libc::SYS_keyctl,
            libc::SYS_kill,
            libc::SYS_pidfd_getfd,
            libc::SYS_memfd_create,
            libc::SYS_mknodat,
            libc::SYS_bind,
            libc::SYS_listen,
        ] {
            assert!(!plain.contains(&call), "{call}");
        }
    }
}
