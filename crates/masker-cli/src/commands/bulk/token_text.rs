//! What a text of the input is to the daemon: a token, what was one, or a value that it refuses.

use std::borrow::Cow;

use memchr::memchr2_iter;

use super::plan::BulkOperation;
use masker_core::{
    token::{AEAD_SCHEME, Token, VAULT_SCHEME, resembles_token},
    validate::is_token,
};
use masker_types::{error_code::Code, kind::Value, limits::VALUE_BYTES_MAX};

/// Returns whether a text was meant as a token: it begins with the scheme of one, or contains the four parts of one, also in
/// lower case. Such a text must not be copied as if it never was a token.
pub(super) fn was_token(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let begins_with =
        |scheme: &str| text.strip_prefix(scheme.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'.'));
    begins_with(VAULT_SCHEME)
        || begins_with(AEAD_SCHEME)
        || memchr2_iter(b'M', b'm', text).any(|at| resembles_token(&text[at..]))
}

/// Returns why the daemon would refuse a text of a column or field. If the policy passes its kind through or redacts it, a
/// long value is not refused, but the policy is not known here.
pub(super) fn refusal(operation: BulkOperation, text: &str) -> Option<(Code, Cow<'static, str>)> {
    match operation {
        BulkOperation::Tokenize if is_token(text) => Some((Code::ValueIsToken, "the value is a token".into())),
        BulkOperation::Tokenize if Value::new(text).is_none() => {
            Some((Code::ValueInvalid, format!("not 1 to {VALUE_BYTES_MAX} bytes long").into()))
        }
        BulkOperation::Tokenize => None,
        BulkOperation::Rehydrate => {
            Token::parse(text).err().map(|error| (Code::TokenMalformed, error.to_string().into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "MSKV1.PHONE.K_HEALTHCARE.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ";

    #[test]
    fn damaged_tokens_were_tokens() {
        for text in [
            TOKEN,
            &TOKEN.to_lowercase(),
            &TOKEN[..TOKEN.len() - 1],
            &TOKEN[..TOKEN.len() - 31],
            &TOKEN.replace("M2", "M1"),
            &TOKEN.replace('.', ".."),
            &format!(" {TOKEN}"),
            &format!("call {TOKEN}."),
            &format!("x{}", TOKEN.to_lowercase()),
            &format!("a\u{e9}mm{TOKEN}"),
            "MSKV1.",
            " MSK1.PHONE",
            "MSK1.x",
        ] {
            assert!(was_token(text.as_bytes()), "{text}");
        }
        assert!(was_token(b"\xFFMSK1.A.B.C\xFF"), "what is not text");
    }

    #[test]
    fn other_texts_never_were_tokens() {
        for text in [
            "",
            "MSKV1",
            "msk1.com",
            "www.msk1.com",
            "Ann@MSK1.COM",
            "mskv1.phone",
            "mskv1.phone.k_care.",
            "MSKV2.PHONE.K_CARE.M2TULLO3",
            "msk1.1.2.3",
            "msk1.com.au",
            "m.m.m.m",
        ] {
            assert!(!was_token(text.as_bytes()), "{text}");
        }
    }

    /// With work that grew with the square of the length, this would take hours.
    #[test]
    fn a_long_text_is_searched_once() {
        assert!(!was_token("m".repeat(4 << 20).as_bytes()));
        assert!(was_token(format!("{}{TOKEN}", "m".repeat(4 << 20)).as_bytes()));
    }

    #[test]
    fn refuses_what_the_daemon_refuses() {
        let code = |operation, text: &str| refusal(operation, text).map(|(code, _)| code);
        let (tokenize, rehydrate) = (BulkOperation::Tokenize, BulkOperation::Rehydrate);
        for (text, value, token) in [
            (TOKEN, Some(Code::ValueIsToken), None),
            (&*TOKEN.to_lowercase(), None, Some(Code::TokenMalformed)),
            ("", Some(Code::ValueInvalid), Some(Code::TokenMalformed)),
            (&"x".repeat(VALUE_BYTES_MAX), None, Some(Code::TokenMalformed)),
            (&"x".repeat(VALUE_BYTES_MAX + 1), Some(Code::ValueInvalid), Some(Code::TokenMalformed)),
        ] {
            assert_eq!((code(tokenize, text), code(rehydrate, text)), (value, token), "{text}");
        }
    }
}
