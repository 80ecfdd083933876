//! The names of secrets: variables and files of the credentials directory.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use masker_core::keyring::Role;
use masker_types::kind::Kid;

const KEY_PREFIX: &str = "MASKER_KEY_";
const AUDIT_KEY: &str = "MASKER_AUDIT_HMAC_KEY";
/// A setting whose name begins like that of a key.
pub(super) const GRACE_DAYS: &str = "MASKER_KEY_ROTATION_GRACE_DAYS";

/// Returns whether the value of a variable is a secret, which must not stay in the environment. This includes names that only
/// begin like that of a key, because a variable with a misspelled name contains a key, too.
pub fn is_secret_name(name: &[u8]) -> bool {
    let key = name.starts_with(KEY_PREFIX.as_bytes()) && name != GRACE_DAYS.as_bytes();
    // The last one is the former name of the one before it.
    let others = [AUDIT_KEY, "MASKER_API_KEY", "MASKER_APP_SESSION", "MASKER_SESSION"];
    key || others.iter().any(|secret| name == secret.as_bytes())
}

/// The purpose of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SecretPurpose {
    Key(Kid, Role),
    Audit,
}

impl SecretPurpose {
    /// Returns the name of the variable that contains the secret.
    pub(super) fn variable(self) -> String {
        match self {
            SecretPurpose::Key(kid, Role::Active) => format!("{KEY_PREFIX}{kid}"),
            SecretPurpose::Key(kid, Role::Old) => format!("{KEY_PREFIX}{kid}_OLD"),
            SecretPurpose::Audit => AUDIT_KEY.to_owned(),
        }
    }
}

/// The meaning of the name of a variable or of a file of the credentials directory.
pub(super) enum SecretName {
    /// The value is the secret.
    Secret(SecretPurpose),
    /// The value is the path of the secret.
    Path(SecretPurpose),
    /// The name begins like that of a key and is invalid. The text continues after the name.
    Malformed(&'static str),
    /// The name has another meaning.
    Foreign,
}

impl SecretName {
    /// Parses a name.
    pub(super) fn parse(name: &OsStr) -> Self {
        let Some(rest) = name.as_bytes().strip_prefix(KEY_PREFIX.as_bytes()) else {
            return match name.as_bytes().strip_prefix(AUDIT_KEY.as_bytes()) {
                Some(b"") => SecretName::Secret(SecretPurpose::Audit),
                Some(b"_FILE") => SecretName::Path(SecretPurpose::Audit),
                _ => SecretName::Foreign,
            };
        };
        if name == GRACE_DAYS {
            return SecretName::Foreign;
        }
        let Ok(rest) = std::str::from_utf8(rest) else {
            return SecretName::Malformed("is not named in UTF-8: a key id consists of A-Z, 0-9 and `_`");
        };
        let (rest, is_path) = rest.strip_suffix("_FILE").map_or((rest, false), |rest| (rest, true));
        let (kid, role) = rest.strip_suffix("_OLD").map_or((rest, Role::Active), |kid| (kid, Role::Old));
        match Kid::parse(kid) {
            Some(kid) if is_path => SecretName::Path(SecretPurpose::Key(kid, role)),
            Some(kid) => SecretName::Secret(SecretPurpose::Key(kid, role)),
            None => SecretName::Malformed(
                "names no key: `MASKER_KEY_` must be followed by a key id, which is a letter from A to Z and then at most \
                 47 of A to Z, 0 to 9 and `_`, and then optionally by `_OLD` and `_FILE`",
            ),
        }
    }
}
