//! Names of variables that contain secrets.

use masker_config::is_secret_name;

/// Returns whether a variable of this name contains a secret. A variable that names a file does not.
pub(super) fn holds_secret(name: &[u8]) -> bool {
    is_secret_name(name) && !name.ends_with(b"_FILE")
}
