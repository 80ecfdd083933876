//! A running gateway. Its signals, notifications and log are those of a daemon.

use std::path::Path;

use super::{
    Daemon, Ended,
    process::{Command, Process, masker_gateway},
};

/// Starts the gateway with a configuration file, and waits until it is ready or has ended. The directory of the file has a place
/// for the notifications. With a user, the gateway runs as that user, without groups.
pub fn start_gateway(configuration: &Path, user: Option<u32>) -> Result<Daemon, Ended> {
    let mut arguments = vec!["--config".into(), configuration.into()];
    let mut program = masker_gateway();
    if let Some(uid) = user {
        let switch = [format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()];
        arguments = switch.map(Into::into).into_iter().chain([program.into_os_string()]).chain(arguments).collect();
        program = "/usr/bin/setpriv".into();
    }
    let process = Process::spawn(Command {
        program,
        arguments,
        environment: Vec::new(),
        prelude: Vec::new(),
        stdin: None,
        notify: configuration.with_extension("notify"),
    });
    Daemon::ready_or_gone(process, configuration.into())
}
