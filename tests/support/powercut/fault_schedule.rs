//! Makes the disk of a process fail or slow, and its clock wrong, as a test schedules it. Nothing is recorded.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Fault, shim, write_fault};

/// The current faults of a process.
pub struct FaultSchedule {
    root: PathBuf,
    fault: PathBuf,
    file: fs::File,
    path: PathBuf,
    shim: PathBuf,
}

impl FaultSchedule {
    /// Begins without faults for files below `root`. Creates its files in `beside`, which must not be below `root`. Fails
    /// without a C compiler.
    pub fn new(root: &Path, beside: &Path) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
        let (fault, path) = (beside.join("fault"), beside.join("schedule"));
        fs::write(&fault, [b' '; 8]).map_err(text)?;
        let file = fs::File::create(&path).map_err(text)?;
        file.write_all_at(&[0; 24], 0).map_err(text)?;
        Ok(FaultSchedule { root, fault, file, path, shim: shim()? })
    }

    /// Returns the environment of a process with these faults.
    pub fn environment(&self) -> [(&'static str, &Path); 4] {
        [
            ("LD_PRELOAD", &self.shim),
            ("POWERCUT_ROOT", &self.root),
            ("POWERCUT_FAULT", &self.fault),
            ("POWERCUT_SCHEDULE", &self.path),
        ]
    }

    /// Makes calls fail from now on, or ends that.
    pub fn fail(&self, fault: Option<Fault>) {
        write_fault(&self.fault, fault);
    }

    /// Delays each sync and each write of files below the root from now on.
    pub fn slow(&self, sync: Duration, write: Duration) {
        self.set(0, i64::try_from(sync.as_micros()).expect("the delay is too long"));
        self.set(8, i64::try_from(write.as_micros()).expect("the delay is too long"));
    }

    /// Makes the clock wrong by so many seconds from now on.
    pub fn clock(&self, seconds: i64) {
        self.set(16, seconds);
    }

    fn set(&self, offset: u64, number: i64) {
        // Eight bytes of one page are written at once: the process sees the old or the new number.
        self.file.write_all_at(&number.to_ne_bytes(), offset).expect("failed to write the schedule");
    }
}
