//! Text in the paths and queries of requests.

use std::fmt::Write as _;

use crate::context::CommandError;

/// Percent-encodes a text for a path segment or a query (RFC 3986, section 2.1). Dots too, so that no text is a dot segment.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Returns an id, checked to be a valid path segment.
///
/// # Errors
/// The text cannot be an id.
pub(crate) fn path_id(id: &str) -> Result<&str, CommandError> {
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(id);
    }
    Err(CommandError::Usage("an id is 32 hex digits".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{encode, path_id};

    #[test]
    fn encodes_what_is_special_in_a_url() {
        assert_eq!(encode("2026-01-31T00:00:00+01:00 &ü"), "2026-01-31T00:00:00%2B01:00%20%26%C3%BC");
    }

    #[test]
    fn rejects_ids_that_would_change_the_path() {
        assert!(path_id("0196c1f2").is_ok());
        for id in ["", "a/b", "a?b", "..", "a b", "é"] {
            assert!(path_id(id).is_err(), "{id}");
        }
    }
}
