//! What this kernel has of what the sandbox is made of.

use std::fs;

use super::paths;
use crate::crypto::{KeyMemory, key_memory};

/// The actions that seccomp filters of this kernel can take, one word each (seccomp(2)).
const SECCOMP_ACTIONS: &str = "/proc/sys/kernel/seccomp/actions_avail";

/// What this kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The version of Landlock; `None` where it has none. Version 6 (Linux 6.12) holds everything that the sandbox asks of it.
    pub landlock: Option<i32>,
    /// Whether a filter of system calls can end the whole process, which began with Linux 4.14.
    pub seccomp: bool,
    /// Whether it gives secret memory (memfd_secret(2)).
    pub secret_memory: bool,
}

/// Asks the kernel, and changes nothing.
pub fn kernel() -> Kernel {
    let actions = fs::read_to_string(SECCOMP_ACTIONS).unwrap_or_default();
    Kernel {
        landlock: paths::version(),
        seccomp: actions.split_whitespace().any(|action| action == "kill_process"),
        secret_memory: key_memory() == KeyMemory::Secret,
    }
}
