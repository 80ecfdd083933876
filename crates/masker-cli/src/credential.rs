//! The credential of requests: `MASKER_API_KEY`.
//!
//! It comes from the environment only, because every user of the host can read the arguments of a process.

use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use masker_config::Environment;
use masker_types::api_key::{ApiKeyFormatError, PresentedKey};

/// The variable that holds an API key.
const VARIABLE: &str = "MASKER_API_KEY";

/// An invalid credential. The message contains no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The variable is not an API key. Nothing was sent.
    #[error("{VARIABLE} is {0}; leave it out to be known as this user")]
    Malformed(#[from] ApiKeyFormatError),
}

/// Returns the `Authorization` header of every request, or `None` without a credential. Ignores white space around the
/// key, such as a line end.
///
/// # Errors
/// The variable is not an API key.
pub fn authorization(environment: &Environment) -> Result<Option<HeaderValue>, CredentialError> {
    // An empty one is a mistake, such as a file that was not there: the request must not be made with the user's rights.
    let Some(key) = environment.get(VARIABLE) else { return Ok(None) };
    let key = key.as_encoded_bytes().trim_ascii();
    PresentedKey::parse(key)?;
    let header = Zeroizing::new([b"Bearer ", key].concat());
    // A key consists of letters, digits and `_`, which are valid in a header.
    let mut header = HeaderValue::from_bytes(&header).map_err(|_| ApiKeyFormatError::Character)?;
    header.set_sensitive(true);
    Ok(Some(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "masker_live_PQRSTUVWXYZabcdefghijklmnopqrstuvwxyz4CzFke";

    fn of(value: Option<&str>) -> Result<Option<HeaderValue>, CredentialError> {
        authorization(&value.map(|value| (VARIABLE.into(), value.into())).into_iter().collect())
    }

    #[test]
    fn a_key_becomes_a_sensitive_header() {
        for text in [KEY.to_owned(), format!("{KEY}\n"), format!(" {KEY} ")] {
            let header = of(Some(&text)).unwrap().unwrap();
            assert_eq!(header.as_bytes(), format!("Bearer {KEY}").as_bytes());
            assert_eq!(format!("{header:?}"), "Sensitive");
        }
        assert_eq!(of(None), Ok(None));
    }

    #[test]
    fn rejects_an_invalid_key_without_repeating_it() {
        assert!(of(Some("")).is_err() && of(Some(" ")).is_err(), "not as if there were none");
        for (text, malformed) in [
            ("hunter2", ApiKeyFormatError::Prefix),
            (&KEY[..54], ApiKeyFormatError::Length),
            (&KEY.replace("Fke", "Fkf"), ApiKeyFormatError::Checksum),
        ] {
            let error = of(Some(text)).unwrap_err();
            assert_eq!(error, CredentialError::Malformed(malformed));
            assert!(!error.to_string().contains(text), "{error}");
        }
    }
}
