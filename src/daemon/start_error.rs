//! Why the daemon did not start.

use std::fmt::Display;

/// The operator must fix something before the daemon can start.
const EXIT_FAILED: u8 = 1;
/// The policies or the clients are invalid.
const EXIT_INVALID: u8 = 3;

/// Why the daemon did not start, and its exit code. It has no `Display`, so that `?` converts every error that has.
pub(super) struct StartError {
    pub(super) exit: u8,
    pub(super) problems: Vec<String>,
}

impl StartError {
    /// Returns the error for problems of keys, if any, and of policies and clients.
    pub(super) fn of_inputs(keys: Vec<String>, policies: Vec<String>) -> Self {
        let exit = if keys.is_empty() { EXIT_INVALID } else { EXIT_FAILED };
        StartError { exit, problems: [keys, policies].concat() }
    }
}

impl<E: Display> From<E> for StartError {
    fn from(error: E) -> Self {
        StartError { exit: EXIT_FAILED, problems: vec![error.to_string()] }
    }
}
