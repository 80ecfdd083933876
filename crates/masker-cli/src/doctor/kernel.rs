//! The kernel's features for a sandbox and for identifying callers.

mod probe;

use std::{fs, path::Path};

use super::{finding::Finding, finding_id::FindingId};

/// The requirement for Landlock.
const LANDLOCK_SINCE: &str = "Linux 5.13, with `lsm=landlock,…` on the kernel's command line";

/// The features of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelFeatures {
    /// Its release, such as `6.1.0-18-amd64`.
    pub release: String,
    /// The version of Landlock. `None` if it is not available.
    pub landlock: Option<u32>,
    /// The actions of seccomp filters, such as `kill_process`. Empty without filters.
    pub seccomp: Vec<String>,
    /// Whether memory that the kernel cannot read is available (memfd_secret(2)).
    pub secret_memory: bool,
    /// Whether a descriptor of a caller's process is available (`SO_PEERPIDFD`).
    pub peer_pidfd: bool,
}

impl KernelFeatures {
    /// Probes the running kernel. Reads its files below a root.
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

    /// Probes the running kernel.
    pub fn here() -> Self {
        KernelFeatures::probe(Path::new("/"))
    }

    /// Returns whether a seccomp filter can kill the whole process, which needs Linux 4.14.
    pub fn filters(&self) -> bool {
        self.seccomp.iter().any(|action| action == "kill_process")
    }
}

/// Returns the findings about the kernel. A missing feature is a warning: the daemon works without it, with less protection.
pub(super) fn judge(kernel: &KernelFeatures) -> Vec<Finding> {
    let release = &kernel.release;
    let feature = |id, available: bool, what: &str, found: &str, remedy: &str| match available {
        true => Finding::ok(id, what),
        false => Finding::warning(id, FindingId::KernelFeature, format!("{found} (Linux {release})"), remedy),
    };
    // The file of the filters is missing with all others.
    let unread = release.is_empty().then(|| {
        let remedy = "run doctor where /proc is mounted, as on the host in place of a container";
        Finding::not_checked("kernel.seccomp", "failed to read /proc/sys/kernel", remedy)
    });
    let seccomp = unread.unwrap_or_else(|| {
        feature(
            "kernel.seccomp",
            kernel.filters(),
            "system calls can be filtered",
            "no filter of system calls that can kill the process",
            "Linux 4.14 or later, built with CONFIG_SECCOMP_FILTER",
        )
    });
    let landlock = match kernel.landlock {
        Some(version) => Finding::ok("kernel.landlock", format!("Landlock {version} can restrict access to files")),
        None => feature("kernel.landlock", false, "", "no Landlock: only file modes protect files", LANDLOCK_SINCE),
    };
    vec![
        landlock,
        seccomp,
        feature(
            "kernel.secret_memory",
            kernel.secret_memory,
            "keys can be in memory that the kernel cannot read",
            "no memfd_secret: keys are in locked memory, which root can read",
            "Linux 6.5 or later, or secretmem.enable=1 on the kernel's command line from 5.14 on",
        ),
        feature(
            "kernel.peer_pidfd",
            kernel.peer_pidfd,
            "a caller's unit is found by a descriptor of its process",
            "no SO_PEERPIDFD: a caller's unit is found by its process number and owner",
            "Linux 6.5 or later",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn a_missing_feature_is_a_warning() {
        let statuses = |kernel: &KernelFeatures| judge(kernel).iter().map(|finding| finding.status).collect::<Vec<_>>();
        let none = KernelFeatures { release: "4.9".to_owned(), ..KernelFeatures::default() };
        assert_eq!(statuses(&none), [Severity::Warning; 4]);
        assert_eq!(statuses(&KernelFeatures::default())[1], Severity::NotChecked, "nothing could be read");
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
    fn probes_the_running_kernel() {
        let kernel = KernelFeatures::probe(Path::new("/"));
        assert!(kernel.release.starts_with(|first: char| first.is_ascii_digit()), "{kernel:?}");
        // Probing twice has the same result.
        assert_eq!(kernel, KernelFeatures::probe(Path::new("/")));
    }
}
