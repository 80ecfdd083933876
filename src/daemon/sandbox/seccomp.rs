//! The filter of system calls (seccomp(2)): a call that is not in the list of [`calls`] kills the process, or is logged.

use std::{collections::BTreeMap, env::consts::ARCH};

use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ERRNO, c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompFilter, TargetArch, apply_filter_all_threads, sock_filter,
};

use super::{calls, report::MechanismState};
use masker_config::SeccompMode;

/// The first system call number that was unassigned when the list was written. A C library that tries a newer call gets
/// the answer of an older kernel, and falls back to calls that it knows.
const FIRST_UNKNOWN: u32 = 470;

/// Filters the calls of all threads of the process, present and future.
pub(super) fn close(mode: SeccompMode) -> MechanismState {
    let (action, state) = match mode {
        SeccompMode::Off => return MechanismState::Off("off"),
        SeccompMode::Log => (SeccompAction::Log, MechanismState::Off("violations are logged")),
        SeccompMode::Enforce => (SeccompAction::KillProcess, MechanismState::Active("violations kill".to_owned())),
    };
    let refused: &[c_long] = if mode == SeccompMode::Enforce { &calls::REFUSED } else { &[] };
    match program(action, refused).map_err(Error::from).and_then(|program| apply_filter_all_threads(&program)) {
        Ok(()) => state,
        Err(error) => {
            MechanismState::Degraded(format!("failed to filter system calls ({error}); Linux 4.14 and later can"))
        }
    }
}

/// Returns the filter. The calls in `refused` fail, and it takes `action` on others that are not in the list.
fn program(action: SeccompAction, refused: &[c_long]) -> Result<BpfProgram, BackendError> {
    let target = TargetArch::try_from(ARCH)?;
    let mut rules: BTreeMap<i64, _> = calls::unconditional().map(|call| (call, Vec::new())).collect();
    rules.extend(calls::conditional()?);
    let filter = SeccompFilter::new(rules, action, SeccompAction::Allow, target)?;
    let mut program = unknown_calls().to_vec();
    program.extend(refused.iter().flat_map(|call| refused_call(*call)));
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

/// Returns instructions that answer `ENOSYS` to calls newer than the list and to clone3(2), whose flags are in memory,
/// where a filter cannot read them: the C library then falls back to clone(2). All other calls go on to the instructions
/// that follow.
fn unknown_calls() -> [sock_filter; 4] {
    [
        // `seccomp_data.nr` is the first word.
        instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
        instruction(BPF_JMP | BPF_JGE | BPF_K, 1, 0, FIRST_UNKNOWN),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number(libc::SYS_clone3)),
        fail_with(libc::ENOSYS),
    ]
}

/// Returns instructions that answer `EACCES` to a call, whose number the instructions before have loaded.
fn refused_call(call: c_long) -> [sock_filter; 2] {
    [instruction(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number(call)), fail_with(libc::EACCES)]
}

fn fail_with(error: c_int) -> sock_filter {
    instruction(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | error.unsigned_abs())
}

/// Returns an instruction. Opcodes of classic BPF are 16 bits wide, and the constants fit.
fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

fn number(call: c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_filter_is_within_the_kernels_limit() {
        let program = program(SeccompAction::KillProcess, &calls::REFUSED).unwrap();
        assert!(program.len() < 4_096, "{}", program.len());
    }

    #[test]
    fn the_lists_are_disjoint_and_contain_only_known_calls() {
        let unconditional: Vec<i64> = calls::unconditional().collect();
        let unique: BTreeSet<i64> = unconditional.iter().copied().collect();
        assert_eq!(unique.len(), unconditional.len(), "a call is listed twice");
        let conditional = calls::conditional().unwrap();
        assert!(conditional.iter().all(|(call, _)| !unique.contains(call)));
        assert!(unique.iter().all(|call| *call < i64::from(FIRST_UNKNOWN)));
    }

    #[test]
    fn dangerous_calls_are_not_unconditional() {
        let unconditional: BTreeSet<i64> = calls::unconditional().collect();
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
            libc::SYS_connect,
            libc::SYS_sendto,
            libc::SYS_sendmsg,
            libc::SYS_sendmmsg,
        ] {
            assert!(!unconditional.contains(&call), "{call}");
        }
    }
}
