//! Simulates power cuts at any point of a process that writes files.
//!
//! The process runs with a preloaded shim that records every change below a directory, and every sync ([`Recorder`]). From
//! the log, the disk is rebuilt as a power cut could have left it: synced changes are there, and others are there, missing,
//! reordered or torn ([`disk`]). The process marks in the log what it has acknowledged, so a test knows what must be there.
//!
//! The model is stricter than most disks and file systems. Syncing a file does not sync its directory entry. Changes of
//! entries that were not synced are kept or lost independently of each other. `sync_file_range` has no effect.

pub mod disk;
pub mod fault_schedule;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use nix::errno::Errno;

/// Records processes.
pub struct Recorder {
    root: PathBuf,
    log: PathBuf,
    marks: PathBuf,
    fault: PathBuf,
    shim: PathBuf,
}

/// Calls on files below the root that fail, and their error.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// All changes, and opening files for writing.
    Changes(Errno),
    /// Writing and creating files.
    Growth(Errno),
    /// Syncs.
    Syncs(Errno),
}

impl Recorder {
    /// Prepares to record what happens below `root`. Creates its files in `beside`, which must not be below `root`. Fails
    /// without a C compiler.
    pub fn new(root: &Path, beside: &Path) -> Result<Self, String> {
        let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
        let file = |name| {
            let path = beside.join(name);
            fs::write(&path, b"").map(|()| path).map_err(|error| error.to_string())
        };
        Ok(Recorder { root, log: file("log")?, marks: file("marks")?, fault: file("fault")?, shim: shim()? })
    }

    /// Records this command. Several commands, one after the other, are recorded in one log.
    pub fn record<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.environment())
    }

    /// Returns the environment of a recorded process.
    pub fn environment(&self) -> [(&'static str, &Path); 5] {
        [
            ("LD_PRELOAD", &self.shim),
            ("POWERCUT_ROOT", &self.root),
            ("POWERCUT_LOG", &self.log),
            ("POWERCUT_MARKS", &self.marks),
            ("POWERCUT_FAULT", &self.fault),
        ]
    }

    /// Records this command, and makes every `every`-th sync of a file fail.
    pub fn record_with_failing_syncs<'a>(&self, command: &'a mut Command, every: u32) -> &'a mut Command {
        self.record(command).env("POWERCUT_FAIL_SYNCS", every.to_string())
    }

    /// Returns the log.
    pub fn log(&self) -> disk::Log {
        disk::Log::read(&self.log)
    }

    /// Returns the length of the log, in bytes. The log has everything that a process has acknowledged until now.
    pub fn length(&self) -> u64 {
        fs::metadata(&self.log).expect("failed to read the log").len()
    }

    /// Waits until no recorded process is in the middle of a change, and prevents changes until the lock is dropped. If a
    /// process is killed meanwhile, its files match the log.
    pub fn hold_still(&self) -> fs::File {
        let log = fs::File::open(&self.log).expect("failed to read the log");
        log.lock().expect("failed to lock the log");
        log
    }

    /// Makes calls of recorded processes fail from now on, or ends that.
    pub fn fail(&self, fault: Option<Fault>) {
        write_fault(&self.fault, fault);
    }
}

fn write_fault(path: &Path, fault: Option<Fault>) {
    let text = fault.map_or(String::new(), |fault| match fault {
        Fault::Changes(errno) => format!("C{}", errno as i32),
        Fault::Growth(errno) => format!("G{}", errno as i32),
        Fault::Syncs(errno) => format!("S{}", errno as i32),
    });
    // Written in place, because a process may read the eight bytes at any time.
    let mut file = fs::OpenOptions::new().write(true).open(path).expect("failed to open the fault file");
    file.write_all(format!("{text:8}").as_bytes()).expect("failed to write the fault file");
}

/// Adds a mark to the log of a recorded process. Does nothing in other processes.
pub fn mark(text: &str) {
    if let Some(marks) = std::env::var_os("POWERCUT_MARKS") {
        let mut file = fs::OpenOptions::new().append(true).open(marks).expect("failed to open the marks");
        file.write_all(text.as_bytes()).expect("failed to write a mark");
    }
}

/// Compiles the shim, once per run.
fn shim() -> Result<PathBuf, String> {
    static SHIM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/powercut/shim.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("powercut-{}.so", std::process::id()));
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let output = Command::new(&compiler)
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .args([library.as_path(), source.as_ref()])
            .args(["-ldl", "-lpthread"])
            .output()
            .map_err(|error| format!("the power-cut tests need a C compiler ({compiler}): {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(library)
    })
    .clone()
}
