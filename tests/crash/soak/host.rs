//! What the system knows of a process, and how it is kept short.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Memory that is its own and no file's, in KiB.
    pub anonymous_kib: u64,
    /// Open descriptors, but for files below the place of its data.
    pub descriptors: usize,
    /// Open files below that place.
    pub files: usize,
}

impl Footprint {
    /// What this process holds now.
    pub fn of(pid: u32, place: &Path) -> Self {
        let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of ours");
        // One that is closed meanwhile is none.
        let open: Vec<PathBuf> = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok()).collect();
        let files = open.iter().filter(|path| path.starts_with(place)).count();
        Footprint { anonymous_kib: status_kib(pid, "RssAnon:"), descriptors: open.len() - files, files }
    }
}

/// The size of a process's address space, in bytes.
pub fn address_space(pid: u32) -> u64 {
    status_kib(pid, "VmSize:") * 1_024
}

fn status_kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A limit of another process, until this is dropped.
pub struct Limited {
    pid: Pid,
    resource: Resource,
    before: Rlimit,
}

impl Limited {
    /// Sets the soft limit.
    pub fn to(pid: u32, resource: Resource, most: u64) -> Self {
        let pid = Pid::from_raw(pid.cast_signed()).expect("a process has a number");
        // The hard limit stays as it is: a daemon that is started here has that of this process.
        let limit = Rlimit { current: Some(most), maximum: getrlimit(resource).maximum };
        let before = prlimit(Some(pid), resource, limit).expect("a process of ours");
        Limited { pid, resource, before }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // The process may have ended by it.
        let _ = prlimit(Some(self.pid), self.resource, self.before.clone());
    }
}

/// A control group of processes that have so much memory and no more. It goes with this.
pub struct Group {
    path: PathBuf,
    limit: PathBuf,
    /// Tells how often it had no memory left.
    felt: PathBuf,
    /// Where its processes go back to.
    home: PathBuf,
}

impl Group {
    /// Makes it, in either version of control groups. Takes root; without, says so.
    pub fn make(name: &str) -> Result<Self, String> {
        let mut why = "there are no control groups".to_owned();
        for (root, limit, felt) in [
            ("/sys/fs/cgroup", "memory.max", "memory.events"),
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.failcnt"),
        ] {
            let path = Path::new(root).join(format!("masker-soak-{}-{name}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {
                    let home = PathBuf::from(root).join("cgroup.procs");
                    let group = Group { limit: path.join(limit), felt: path.join(felt), home, path };
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

    /// Lets this process have so many bytes more, with all files that it writes from now on. Where they do not suffice,
    /// the system kills it.
    pub fn squeeze(&self, pid: u32, bytes: u64) -> Squeezed<'_> {
        // A new one: what was written to files in it before counts for as long as the files are there.
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

/// A process that has little memory, until this is dropped.
pub struct Squeezed<'g> {
    group: &'g Group,
    pid: u32,
}

impl Squeezed<'_> {
    /// Whether there was too little memory once.
    pub fn was_felt(&self) -> bool {
        let text = fs::read_to_string(&self.group.felt).expect("a group of ours");
        let number = text.lines().find_map(|line| line.strip_prefix("max ")).unwrap_or(&text);
        number.trim() != "0"
    }
}

impl Drop for Squeezed<'_> {
    fn drop(&mut self) {
        // The process may have ended by it.
        let _ = fs::write(&self.group.limit, (1_u64 << 40).to_string());
        let _ = fs::write(&self.group.home, self.pid.to_string());
    }
}
