//! Resources of a process, and limits on them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// The resources of a process.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Anonymous memory, in KiB.
    pub anonymous_kib: u64,
    /// Open descriptors, except files in the data directory.
    pub descriptors: usize,
    /// Open files in the data directory.
    pub files: usize,
}

impl Footprint {
    /// Measures a process.
    pub fn of(pid: u32, place: &Path) -> Self {
        let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of ours");
        // A descriptor that is closed meanwhile does not count.
        let open: Vec<PathBuf> = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok()).collect();
        let files = open.iter().filter(|path| path.starts_with(place)).count();
        Footprint { anonymous_kib: status_kib(pid, "RssAnon:"), descriptors: open.len() - files, files }
    }
}

/// Returns the size of a process's address space, in bytes.
pub fn address_space(pid: u32) -> u64 {
    status_kib(pid, "VmSize:") * 1_024
}

fn status_kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A limit of another process, reset when dropped.
pub struct Limited {
    pid: Pid,
    resource: Resource,
    before: Rlimit,
}

impl Limited {
    /// Sets the soft limit.
    pub fn to(pid: u32, resource: Resource, most: u64) -> Self {
        let pid = Pid::from_raw(pid.cast_signed()).expect("a process has a number");
        // The hard limit stays: a daemon that is started here inherits that of this process.
        let limit = Rlimit { current: Some(most), maximum: getrlimit(resource).maximum };
        let before = prlimit(Some(pid), resource, limit).expect("a process of ours");
        Limited { pid, resource, before }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // The process may have ended.
        let _ = prlimit(Some(self.pid), self.resource, self.before);
    }
}

/// A control group with a memory limit. Removed when dropped.
pub struct Group {
    path: PathBuf,
    limit: PathBuf,
    /// The file that counts how often the limit was hit.
    hits: PathBuf,
    /// The group to which its processes return.
    home: PathBuf,
}

impl Group {
    /// Creates the group, in either version of control groups. Needs root; otherwise returns the reason.
    pub fn make(name: &str) -> Result<Self, String> {
        let mut why = "there are no control groups".to_owned();
        for (root, limit, hits) in [
            ("/sys/fs/cgroup", "memory.max", "memory.events"),
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.failcnt"),
        ] {
            let path = Path::new(root).join(format!("masker-soak-{}-{name}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {
                    let home = PathBuf::from(root).join("cgroup.procs");
                    let group = Group { limit: path.join(limit), hits: path.join(hits), home, path };
                    if group.limit.exists() {
                        return Ok(group);
                    }
                    why = "control groups have no limit of memory here".to_owned();
                }
                Err(error) => why = format!("{}: {error}", path.display()),
            }
        }
        Err(why)
    }

    /// Limits this process to `bytes` more bytes, including all files that it writes from now on. If they are not
    /// enough, the system kills it.
    pub fn squeeze(&self, pid: u32, bytes: u64) -> Squeezed<'_> {
        // A new group: pages of files that were written in the old one are charged to it as long as the files exist.
        fs::remove_dir(&self.path).and_then(|()| fs::create_dir(&self.path)).expect("a group of ours");
        fs::write(&self.limit, bytes.to_string()).expect("a group of ours");
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).expect("a process of ours");
        Squeezed { group: self, pid }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// A process with little memory. The limit is removed when dropped.
pub struct Squeezed<'g> {
    group: &'g Group,
    pid: u32,
}

impl Squeezed<'_> {
    /// Whether the limit was hit.
    pub fn was_hit(&self) -> bool {
        let text = fs::read_to_string(&self.group.hits).expect("a group of ours");
        let number = text.lines().find_map(|line| line.strip_prefix("max ")).unwrap_or(&text);
        number.trim() != "0"
    }
}

impl Drop for Squeezed<'_> {
    fn drop(&mut self) {
        // The process may have ended.
        let _ = fs::write(&self.group.limit, (1_u64 << 40).to_string());
        let _ = fs::write(&self.group.home, self.pid.to_string());
    }
}
