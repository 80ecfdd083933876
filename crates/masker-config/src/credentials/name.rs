//! The names under which secrets are given.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use masker_core::keyring::Role;
use masker_types::kind::Kid;

const KEY_PREFIX: &str = "MASKER_KEY_";
const AUDIT_KEY: &str = "MASKER_AUDIT_HMAC_KEY";
/// Begins like a key's name and is a setting.
pub(super) const GRACE_DAYS: &str = "MASKER_KEY_ROTATION_GRACE_DAYS";

/// Whether a variable of this name holds a secret itself, so that its value must not stay in the environment.
/// Names that only look like that are among them: whoever misspells the name of a key still puts a key there.
pub fn is_secret_name(name: &[u8]) -> bool {
    let key = name.starts_with(KEY_PREFIX.as_bytes()) && name != GRACE_DAYS.as_bytes();
    key || [AUDIT_KEY, "MASKER_API_KEY", "MASKER_SESSION"].iter().any(|secret| name == secret.as_bytes())
}

/// What a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SecretPurpose {
    Key(Kid, Role),
    Audit,
}

impl SecretPurpose {
    /// The variable that holds the secret itself.
    pub(super) fn variable(self) -> String {
        match self {
            SecretPurpose::Key(kid, Role::Active) => format!("{KEY_PREFIX}{kid}"),
            SecretPurpose::Key(kid, Role::Old) => format!("{KEY_PREFIX}{kid}_OLD"),
            SecretPurpose::Audit => AUDIT_KEY.to_owned(),
        }
    }
}

/// What the name of a variable or of a file of the credentials directory says.
pub(super) enum SecretName {
    /// The secret itself.
    Secret(SecretPurpose),
    /// Where the secret is.
    Path(SecretPurpose),
    /// It begins like a key, and is none. The text says why, going on from the name.
    Malformed(&'static str),
    /// Something else's.
    Foreign,
}

impl SecretName {
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
            return SecretName::Malformed("is not named in UTF-8: a key id is made of A-Z, 0-9 and `_`");
        };
        let (rest, is_path) = rest.strip_suffix("_FILE").map_or((rest, false), |rest| (rest, true));
        let (kid, role) = rest.strip_suffix("_OLD").map_or((rest, Role::Active), |kid| (kid, Role::Old));
        match Kid::parse(kid) {
            Some(kid) if is_path => SecretName::Path(SecretPurpose::Key(kid, role)),
            Some(kid) => SecretName::Secret(SecretPurpose::Key(kid, role)),
            None => SecretName::Malformed(
                "names no key: after `MASKER_KEY_` stands a key id, which is a letter from A to Z and then at most 47 \
                 of A to Z, 0 to 9 and `_`; after it may stand `_OLD`, then `_FILE`",
            ),
        }
    }
}
