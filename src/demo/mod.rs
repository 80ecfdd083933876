//! (not yet written)

use std::process::ExitCode;

/// (not yet written)
pub fn run() -> ExitCode {
    ExitCode::FAILURE
}
