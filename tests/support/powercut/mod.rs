//! Cutting the power of a process that writes files, at any point, on paper.
//!
//! A process runs with a preloaded shim that records every change below a directory, and every sync ([`Recorder`]).
//! From the log, the disk is rebuilt as a power cut could have left it: what was synced is there, the rest is there,
//! not there, reordered or torn ([`disk`]). A process marks in the same log what it has answered, so a test knows
//! what must be there.
//!
//! The model is stricter than most disks and file systems: a file's sync promises nothing about its entry in its
//! directory, and changes of entries that were not synced come and go independently of each other. `sync_file_range`
//! promises nothing.

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

/// Where a run is recorded.
pub struct Recorder {
    root: PathBuf,
    log: PathBuf,
    marks: PathBuf,
    fault: PathBuf,
    shim: PathBuf,
}

/// What goes wrong with files below the root, and the error that it gives.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Nothing can be changed, nor opened to be changed.
    Changes(Errno),
    /// Nothing can be written, nor made.
    Growth(Errno),
    /// Nothing can be made durable.
    Syncs(Errno),
}

impl Recorder {
    /// Records what happens below `root`; its own files go to `beside`, which must not be below `root`. Fails where there
    /// is no C compiler.
    pub fn new(root: &Path, beside: &Path) -> Result<Self, String> {
        let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
        let file = |name| {
            let path = beside.join(name);
            fs::write(&path, b"").map(|()| path).map_err(|error| error.to_string())
        };
        Ok(Recorder { root, log: file("log")?, marks: file("marks")?, fault: file("fault")?, shim: shim()? })
    }

    /// Has this command recorded. Several, one after the other, are recorded in one log.
    pub fn record<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.environment())
    }

    /// What a process to be recorded needs in its environment.
    pub fn environment(&self) -> [(&'static str, &Path); 5] {
        [
            ("LD_PRELOAD", &self.shim),
            ("POWERCUT_ROOT", &self.root),
            ("POWERCUT_LOG", &self.log),
            ("POWERCUT_MARKS", &self.marks),
            ("POWERCUT_FAULT", &self.fault),
        ]
    }

    /// Has this command recorded, and every `every`-th sync of a file fail.
    pub fn record_with_failing_syncs<'a>(&self, command: &'a mut Command, every: u32) -> &'a mut Command {
        self.record(command).env("POWERCUT_FAIL_SYNCS", every.to_string())
    }

    /// What was recorded until now.
    pub fn log(&self) -> disk::Log {
        disk::Log::read(&self.log)
    }

    /// How long the log is now, in bytes. What a process has told anyone by then is in it.
    pub fn length(&self) -> u64 {
        fs::metadata(&self.log).expect("the log is there").len()
    }

    /// Waits until no recorded process is in the middle of a change, and lets none begin until the answer is dropped.
    /// A process that is killed meanwhile leaves files and log that agree.
    pub fn hold_still(&self) -> fs::File {
        let log = fs::File::open(&self.log).expect("the log is there");
        log.lock().expect("the log can be locked");
        log
    }

    /// From now on, what recorded processes try fails; `None` for as usual.
    pub fn fail(&self, fault: Option<Fault>) {
        tell(&self.fault, fault);
    }
}

fn tell(path: &Path, fault: Option<Fault>) {
    let text = fault.map_or(String::new(), |fault| match fault {
        Fault::Changes(errno) => format!("C{}", errno as i32),
        Fault::Growth(errno) => format!("G{}", errno as i32),
        Fault::Syncs(errno) => format!("S{}", errno as i32),
    });
    // A process reads the eight bytes at once, so they are written in place: there is never none of them.
    let mut file = fs::OpenOptions::new().write(true).open(path).expect("the fault can be opened");
    file.write_all(format!("{text:8}").as_bytes()).expect("the fault can be written");
}

/// Marks something in the log, from within a recorded process. Does nothing in one that is not.
pub fn mark(text: &str) {
    if let Some(marks) = std::env::var_os("POWERCUT_MARKS") {
        let mut file = fs::OpenOptions::new().append(true).open(marks).expect("the marks can be opened");
        file.write_all(text.as_bytes()).expect("a mark can be written");
    }
}

/// Compiles the shim, once a run.
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
