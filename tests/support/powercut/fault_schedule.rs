//! A process whose disk fails or takes its time, and whose clock is wrong, for as long as a test says. Nothing is recorded.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Fault, shim, tell};

/// What a process finds around it.
pub struct Weather {
    root: PathBuf,
    fault: PathBuf,
    file: fs::File,
    path: PathBuf,
    shim: PathBuf,
}

impl Weather {
    /// Fair weather for files below `root`; its own files go to `beside`, which must not be below `root`. Fails where
    /// there is no C compiler.
    pub fn new(root: &Path, beside: &Path) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
        let (fault, path) = (beside.join("fault"), beside.join("weather"));
        fs::write(&fault, [b' '; 8]).map_err(text)?;
        let file = fs::File::create(&path).map_err(text)?;
        file.write_all_at(&[0; 24], 0).map_err(text)?;
        Ok(Weather { root, fault, file, path, shim: shim()? })
    }

    /// What a process needs in its environment to be out in it.
    pub fn environment(&self) -> [(&'static str, &Path); 4] {
        [
            ("LD_PRELOAD", &self.shim),
            ("POWERCUT_ROOT", &self.root),
            ("POWERCUT_FAULT", &self.fault),
            ("POWERCUT_WEATHER", &self.path),
        ]
    }

    /// From now on, what the process tries fails; `None` for as usual.
    pub fn fail(&self, fault: Option<Fault>) {
        tell(&self.fault, fault);
    }

    /// From now on, a sync and a write of files below the root take so much longer.
    pub fn slow(&self, sync: Duration, write: Duration) {
        self.set(0, i64::try_from(sync.as_micros()).expect("a short time"));
        self.set(8, i64::try_from(write.as_micros()).expect("a short time"));
    }

    /// From now on, the clock is wrong by so many seconds.
    pub fn clock(&self, seconds: i64) {
        self.set(16, seconds);
    }

    fn set(&self, offset: u64, number: i64) {
        // Eight bytes of one page, at once: whoever has it mapped sees the number before or the number after.
        self.file.write_all_at(&number.to_ne_bytes(), offset).expect("the weather can be written");
    }
}
