//! A running gateway. Its signals, notifications and log are those of a daemon.

use std::path::Path;

use super::{
    Daemon, Ended,
    process::{Command, Process, masker_gateway},
};

/// Starts the gateway with a configuration file, and waits until it is ready or has ended. The directory of the file has a place
/// for the notifications.
pub fn start_gateway(configuration: &Path) -> Result<Daemon, Ended> {
    let process = Process::spawn(Command {
        program: masker_gateway(),
        arguments: vec!["--config".into(), configuration.into()],
        environment: Vec::new(),
        prelude: Vec::new(),
        stdin: None,
        notify: configuration.with_extension("notify"),
    });
    Daemon::ready_or_gone(process, configuration.into())
}
