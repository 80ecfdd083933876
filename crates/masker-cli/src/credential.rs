//! The credential that commands show: `MASKER_API_KEY`.
//!
//! It comes from the environment and from nowhere else: every user of the host can read the arguments of a process.

use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use masker_config::Environment;
use masker_types::api_key::{ApiKeyFormatError, PresentedKey};

/// The variable that holds an API key.
const VARIABLE: &str = "MASKER_API_KEY";

/// A credential that no daemon would accept. The text holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CredentialError {
    /// It is no API key; nothing was sent.
    #[error("{VARIABLE} is {0}; leave it out to be known as this user")]
    Malformed(#[from] ApiKeyFormatError),
}

/// The `Authorization` header of every request; `None` without a credential. White space around it, such as the end of a
/// line in a file, is left out.
pub(super) fn authorization(environment: &Environment) -> Result<Option<HeaderValue>, CredentialError> {
    let Some(key) = environment.setting(VARIABLE) else { return Ok(None) };
    let key = key.as_encoded_bytes().trim_ascii();
    PresentedKey::parse(key)?;
    let header = Zeroizing::new([b"Bearer ", key].concat());
    // A key has letters, digits and `_` alone, all of which a header can have.
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
    fn a_key_becomes_a_header_that_is_not_shown() {
        for text in [KEY.to_owned(), format!("{KEY}\n"), format!(" {KEY} ")] {
            let header = of(Some(&text)).unwrap().unwrap();
            assert_eq!(header.as_bytes(), format!("Bearer {KEY}").as_bytes());
            assert_eq!(format!("{header:?}"), "Sensitive");
        }
        assert_eq!((of(None), of(Some(""))), (Ok(None), Ok(None)));
    }

    #[test]
    fn what_is_no_key_is_told_and_not_repeated() {
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
