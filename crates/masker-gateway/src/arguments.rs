//! The command line.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::Parser;

/// The exit code of an invalid command line (`EX_USAGE` of sysexits.h).
const USAGE: u8 = 64;

const EXAMPLES: &str = "\
Examples:
  masker-gateway --check                       whether the configuration and the certificates are valid
  masker-gateway --config /etc/masker/gateway.toml

Signals:
  SIGHUP       reads the certificate, the key, the client CA and its CRL again; so does a change of their files
  SIGTERM      ends it once the requests in flight are answered

Exit codes:
  0            it ended in order, or the check found nothing
  1            it failed to start
  3            the configuration, a certificate or a key is invalid
  64           the command line is invalid";

/// Let machines beyond the host reach masker's daemon, over TLS
///
/// The gateway forwards requests to the daemon's Unix socket. It holds no vault key and keeps nothing.
#[derive(Debug, Parser)]
#[command(name = "masker-gateway", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/masker/gateway.toml")]
    pub config: PathBuf,
    /// Check the configuration, the certificates and the key, and exit
    #[arg(long)]
    pub check: bool,
}

impl Arguments {
    /// Reads the arguments of a process, of which the first is its name.
    ///
    /// # Errors
    /// The exit code, after the help, the version or the error was printed.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ExitCode> {
        Arguments::try_parse_from(arguments).map_err(|error| {
            // If the output is closed, the exit code still reports the failure.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;

        Arguments::command().debug_assert();
        let arguments = Arguments::try_parse_from(["masker-gateway"]).unwrap();
        assert_eq!((arguments.config.to_str(), arguments.check), (Some("/etc/masker/gateway.toml"), false));
    }
}
