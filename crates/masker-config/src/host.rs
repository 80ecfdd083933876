//! What the configuration depends on besides its file: command-line options, variables, the user and the working directory.

use std::{
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

use super::environment::Environment;

/// The directory of the host's configuration.
pub const SYSTEM_DIR: &str = "/etc/masker";

/// The command-line options that override the file and the variables.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommandLineOptions<'a> {
    /// `--config`: the configuration file.
    pub config: Option<&'a Path>,
    /// `--socket`: the path of the socket.
    pub socket: Option<&'a Path>,
}

/// What the configuration depends on besides its file.
#[derive(Clone, Copy)]
pub struct HostEnvironment<'a> {
    /// The environment.
    pub environment: &'a Environment,
    /// The effective user id. Root has other default paths than other users.
    pub uid: u32,
    /// The working directory, absolute. Paths in variables are relative to it.
    pub current_dir: &'a Path,
    /// The directory of the host's configuration: [`SYSTEM_DIR`].
    pub system_dir: &'a Path,
    /// Whether the log goes to a terminal.
    pub log_is_terminal: bool,
}

impl HostEnvironment<'_> {
    /// Returns the absolute path in a variable. The XDG specification says that relative ones are ignored.
    pub(super) fn absolute_path(&self, name: &str) -> Option<PathBuf> {
        self.environment.setting(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }
}

/// Returns a path relative to `directory` as an absolute one, without `.` components.
pub(super) fn absolute(directory: &Path, path: impl AsRef<OsStr>) -> PathBuf {
    let path = Path::new(&path);
    directory.join(path).components().filter(|part| !matches!(part, Component::CurDir)).collect()
}
