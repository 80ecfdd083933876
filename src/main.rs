//! The program `masker`: reads the command line and runs the daemon, the demo, or a client command.
//!
//! Secrets are removed from the environment here, before the process has a second thread: the daemon takes them from
//! the copy, which is wiped before it serves.

#[cfg(feature = "sled")]
mod allocator;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use masker::{
    daemon::{self, wipe_environment},
    demo,
};
use masker_cli as cli;
use masker_cli::{
    Exit,
    args::{Arguments, Command, Global},
};
use masker_config::{CommandLineOptions, Config, Credentials, Environment, HostEnvironment, is_secret_name};
use nix::sys::signal::{SigHandler, Signal, signal};

// jemalloc returns free memory to the system; `.cargo/config.toml` sets when. With the C library's allocator, rotations and
// checks of 300,000 records left 390 MiB behind, of which 160 MiB were in use: it has up to eight heaps for each core, and
// memory that is free in one is not used by the others.
#[cfg(not(feature = "sled"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(feature = "sled")]
#[global_allocator]
static ALLOCATOR: allocator::JemallocOrAbort = allocator::JemallocOrAbort;

fn main() -> ExitCode {
    ignore_file_size_signal();
    match cli::complete_if_asked() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => error.exit(),
    }
    let arguments = match Arguments::read(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(exit) => return exit.into(),
    };
    let current_dir = match std::env::current_dir() {
        Ok(current_dir) => current_dir,
        Err(error) => return fail(Exit::Error, &[format!("failed to get the working directory: {error}")]),
    };
    let environment: Environment = std::env::vars_os().collect();
    // Before the first thread, and for every command. From here on only the copy contains secrets.
    if environment.iter().any(|(name, _)| is_secret_name(name.as_encoded_bytes()))
        && let Err(error) = wipe_environment::wipe(is_secret_name)
    {
        return fail(Exit::Error, &[error.to_string()]);
    }
    let host = HostEnvironment::of_process(&environment, &current_dir);
    match arguments.command {
        Command::Serve => match prepare(&arguments.global, host) {
            Ok((config, credentials)) => {
                // Dropping it wipes it: a copy of the keys must not live as long as the daemon.
                drop(environment);
                daemon::serve(&config, credentials)
            }
            Err(exit) => exit,
        },
        Command::Demo => demo::run(),
        Command::Client(command) => cli::run(command, &arguments.global, host, daemon::OFFLINE).into(),
    }
}

/// Ignores `SIGXFSZ`, as Rust's runtime does `SIGPIPE`. A write beyond the limit of file sizes (`ulimit -f`) would otherwise end
/// the process. Now it fails, like one on a full disk.
fn ignore_file_size_signal() {
    // SAFETY: no handler is installed, so no code runs within a signal.
    let ignored = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    // It fails only for a number that is no signal, or that cannot be ignored.
    debug_assert!(ignored.is_ok());
}

/// Loads the configuration and the credentials, and reports all problems of both at once.
fn prepare(global: &Global, host: HostEnvironment<'_>) -> Result<(Config, Credentials), ExitCode> {
    let socket = global.socket_flag().map_err(|message| fail(Exit::Usage, &[message]))?;
    let config = Config::load(CommandLineOptions { config: global.config.as_deref(), socket: socket.as_deref() }, host);
    let credentials = Credentials::collect(host.environment);
    match (config, credentials) {
        (Ok(mut config), Ok(credentials)) => {
            if let Some(level) = global.log_level() {
                config.log.level = level;
            }
            Ok((config, credentials))
        }
        (config, credentials) => {
            let exit = if config.is_err() { Exit::Invalid } else { Exit::Error };
            let mut problems: Vec<String> = Vec::new();
            problems.extend(config.err().iter().flat_map(|errors| errors.iter()).map(ToString::to_string));
            problems.extend(credentials.err().iter().flat_map(|problems| problems.iter()).map(ToString::to_string));
            Err(fail(exit, &problems))
        }
    }
}

fn fail(exit: Exit, problems: &[String]) -> ExitCode {
    for problem in problems {
        // If standard error is closed, the exit code still reports the failure.
        let _ = writeln!(io::stderr(), "masker: {problem}");
    }
    exit.into()
}
