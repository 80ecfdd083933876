//! What the kernel offers for keeping a daemon in its place.

mod probe;

use std::{fs, io, path::Path};

use super::Finding;

/// Linux releases that have what masker can use, as `uname -r` counts them.
const LANDLOCK_SINCE: &str = "Linux 5.13, with `lsm=landlock,…` on the kernel's command line";

/// What a kernel offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelFeatures {
    /// Its release, such as `6.1.0-18-amd64`.
    pub release: String,
    /// The version of Landlock; `None` where there is none.
    pub landlock: Option<u32>,
    /// What a seccomp filter can answer, such as `kill_process`; empty where there are no filters.
    pub seccomp: Vec<String>,
    /// Whether memory can be had that the kernel itself cannot read (memfd_secret(2)).
    pub secret_memory: bool,
    /// Whether a caller's process can be held on to (`SO_PEERPIDFD`).
    pub peer_pidfd: bool,
}

impl KernelFeatures {
    /// Asks the kernel; what it tells in files is read below a root.
    pub fn probe(root: &Path) -> Self {
        let file = |name: &str| fs::read_to_string(root.join("proc/sys/kernel").join(name)).unwrap_or_default();
        KernelFeatures {
            release: file("osrelease").trim().to_owned(),
            landlock: probe::landlock(),
            seccomp: file("seccomp/actions_avail").split_whitespace().map(str::to_owned).collect(),
            secret_memory: probe::secret_memory(),
            peer_pidfd: probe::peer_pidfd().unwrap_or(false),
        }
    }

    /// Asks the kernel that this process runs on.
    pub fn here() -> Self {
        KernelFeatures::probe(Path::new("/"))
    }

    /// Whether a filter of system calls can end the whole process, which began with Linux 4.14.
    pub fn filters(&self) -> bool {
        self.seccomp.iter().any(|action| action == "kill_process")
    }
}

/// Every check of the kernel. What is missing makes a daemon no less right, only less fenced in.
pub(super) fn judge(kernel: &KernelFeatures) -> Vec<Finding> {
    let release = &kernel.release;
    let told = |id, there: bool, what: &str, found: &str, remedy: &str| match there {
        true => Finding::ok(id, what),
        false => Finding::warning(id, format!("{found} (Linux {release})"), remedy),
    };
    let landlock = match kernel.landlock {
        Some(version) => Finding::ok("kernel.landlock", format!("Landlock {version} can fence files in")),
        None => told(
            "kernel.landlock",
            false,
            "",
            "there is no Landlock: files are kept by their modes alone",
            LANDLOCK_SINCE,
        ),
    };
    vec![
        landlock,
        told(
            "kernel.seccomp",
            kernel.filters(),
            "system calls can be filtered",
            "system calls cannot be filtered with an end of the process",
            "Linux 4.14 or later, built with CONFIG_SECCOMP_FILTER",
        ),
        told(
            "kernel.secret_memory",
            kernel.secret_memory,
            "keys can be kept from the kernel's own view",
            "there is no memfd_secret: keys are in locked memory, which root can read",
            "Linux 6.5 or later, or secretmem.enable=1 on the kernel's command line from 5.14 on",
        ),
        told(
            "kernel.peer_pidfd",
            kernel.peer_pidfd,
            "a caller's unit is told beyond doubt",
            "there is no SO_PEERPIDFD: a caller's unit is told by its process number and its owner",
            "Linux 6.5 or later",
        ),
    ]
}

/// The end of a system call that gives a descriptor or a number.
fn outcome(answer: i64) -> io::Result<i64> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn what_is_missing_is_a_warning() {
        let statuses = |kernel: &KernelFeatures| judge(kernel).iter().map(|finding| finding.status).collect::<Vec<_>>();
        assert_eq!(statuses(&KernelFeatures::default()), [Severity::Warning; 4]);
        let all = KernelFeatures {
            release: "6.12".to_owned(),
            landlock: Some(6),
            seccomp: vec!["kill_process".to_owned()],
            secret_memory: true,
            peer_pidfd: true,
        };
        assert_eq!(statuses(&all), [Severity::Ok; 4]);
    }

    #[test]
    fn this_kernel_can_be_asked() {
        let kernel = KernelFeatures::probe(Path::new("/"));
        assert!(kernel.release.starts_with(|first: char| first.is_ascii_digit()), "{kernel:?}");
        // Asking twice tells the same, and leaves nothing open.
        assert_eq!(kernel, KernelFeatures::probe(Path::new("/")));
    }
}
