//! The canonical text of a token: `{scheme}.{kind}.{kid}.{body}`.
//!
//! Parsing succeeds only for texts that printing reproduces byte for byte. A body is RFC 4648 base32 in upper case,
//! without padding and without nonzero trailing bits.

mod scan;

use std::fmt;

use data_encoding::BASE32_NOPAD;

pub use scan::{damaged_tokens_in, resembles_token, tokens_in};

use crate::crypto::aead::BODY_BYTES_MAX;
pub use crate::crypto::{AeadBody, MatchPart, TokenId};
use masker_types::kind::{EntityKind, Kid};

/// The scheme of vault tokens: random codes, which reveal nothing without the vault.
pub const VAULT_SCHEME: &str = "MSKV1";
/// The scheme of reversible tokens, which contain the sealed value.
pub const AEAD_SCHEME: &str = "MSK1";

/// Characters of a vault token's body: 20 bytes in base32, of which the first 16 are the match part.
const ID_CHARS: usize = (TokenId::BYTES * 8).div_ceil(5);
/// Characters of the longest body of a reversible token.
const BODY_CHARS_MAX: usize = (BODY_BYTES_MAX * 8).div_ceil(5);

/// Length of the longest token, in bytes (it is ASCII).
pub const TOKEN_BYTES_MAX: usize =
    AEAD_SCHEME.len() + masker_types::limits::KIND_BYTES_MAX + masker_types::limits::KID_BYTES_MAX + BODY_CHARS_MAX + 3;

const _: () = assert!(ID_CHARS == 32);

/// A text that is not a token. The error contains no position and no part of the text, which may be a token with a
/// typing error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token: the form is MSKV1.KIND.KEY_ID.BODY or MSK1.KIND.KEY_ID.BODY, with an upper-case base32 body")]
pub struct InvalidToken;

/// A token. Holding one proves that its text had the right format. Its origin is not proven.
///
/// It has no `Display`, so that it is not logged by accident. [`Token::to_text`] returns its text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Token {
    /// `MSKV1`: the vault stores the value under the id.
    Vault {
        /// The kind of the value.
        kind: EntityKind,
        /// The key id that the token was minted under.
        kid: Kid,
        /// The id of the record in the vault.
        id: TokenId,
    },
    /// `MSK1`: the token contains the sealed value.
    Aead {
        /// The kind of the value.
        kind: EntityKind,
        /// The key id that the token was minted under.
        kid: Kid,
        /// The sealed value.
        body: AeadBody,
    },
}

impl Token {
    /// Parses the text of a token.
    ///
    /// # Errors
    /// Returns [`InvalidToken`] for every text that [`Token::to_text`] does not produce.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let (scheme, rest) = split_field(text)?;
        let (kind, rest) = split_field(rest)?;
        let (kid, body) = split_field(rest)?;
        let kind = EntityKind::parse(kind).ok_or(InvalidToken)?;
        let kid = Kid::parse(kid).ok_or(InvalidToken)?;
        match scheme {
            VAULT_SCHEME => Ok(Token::Vault { kind, kid, id: parse_id(body)? }),
            AEAD_SCHEME => Ok(Token::Aead { kind, kid, body: parse_aead_body(body)? }),
            _ => Err(InvalidToken),
        }
    }

    /// Appends the text of the token. `out` grows at most once.
    pub fn write_to(&self, out: &mut String) {
        let (scheme, body): (_, &[u8]) = match self {
            Token::Vault { id, .. } => (VAULT_SCHEME, id.as_bytes()),
            Token::Aead { body, .. } => (AEAD_SCHEME, body.as_bytes()),
        };
        let (kind, kid) = (self.kind(), self.kid());
        let fields = [scheme, kind.as_str(), kid.as_str()];
        out.reserve(fields.iter().map(|field| field.len() + 1).sum::<usize>() + BASE32_NOPAD.encode_len(body.len()));
        for field in fields {
            out.push_str(field);
            out.push('.');
        }
        BASE32_NOPAD.encode_append(body, out);
    }

    /// Returns the text of the token.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write_to(&mut text);
        text
    }

    /// Returns the kind of the value.
    pub fn kind(&self) -> EntityKind {
        match self {
            Token::Vault { kind, .. } | Token::Aead { kind, .. } => *kind,
        }
    }

    /// Returns the key id that the token was minted under.
    pub fn kid(&self) -> Kid {
        match self {
            Token::Vault { kid, .. } | Token::Aead { kid, .. } => *kid,
        }
    }
}

/// Splits a text at its first dot. Fields are short, so a search byte by byte is the fastest.
fn split_field(text: &str) -> Result<(&str, &str), InvalidToken> {
    let dot = text.bytes().position(|byte| byte == b'.').ok_or(InvalidToken)?;
    Ok((&text[..dot], &text[dot + 1..]))
}

fn parse_id(body: &str) -> Result<TokenId, InvalidToken> {
    if body.len() != ID_CHARS {
        return Err(InvalidToken);
    }
    let mut id = [0; TokenId::BYTES];
    BASE32_NOPAD.decode_mut(body.as_bytes(), &mut id).map_err(|_| InvalidToken)?;
    Ok(TokenId::from_bytes(id))
}

fn parse_aead_body(body: &str) -> Result<AeadBody, InvalidToken> {
    // Checked before memory is allocated.
    let length = BASE32_NOPAD.decode_len(body.len()).map_err(|_| InvalidToken)?;
    if !AeadBody::is_length(length) {
        return Err(InvalidToken);
    }
    let mut bytes = vec![0; length].into_boxed_slice();
    BASE32_NOPAD.decode_mut(body.as_bytes(), &mut bytes).map_err(|_| InvalidToken)?;
    AeadBody::from_bytes(bytes).ok_or(InvalidToken)
}

impl fmt::Debug for Token {
    /// Shows everything but the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Vault { kind, kid, .. } => write!(f, "Token({VAULT_SCHEME}.{kind}.{kid}.…)"),
            Token::Aead { kind, kid, body } => write!(f, "Token({AEAD_SCHEME}.{kind}.{kid}.{body:?})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::Suite;

    const VAULT: &str = "MSKV1.PHONE.K_HEALTHCARE.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ";

    fn aead_text(suite: Suite, blocks: usize) -> String {
        let mut bytes = vec![0xA7; 45 + 16 * blocks];
        bytes[0] = suite.code();
        format!("MSK1.PHONE.K_A.{}", BASE32_NOPAD.encode(&bytes))
    }

    #[test]
    fn parses_all_fields() {
        let Ok(Token::Vault { kind, kid, id }) = Token::parse(VAULT) else { panic!("a vault token") };
        assert_eq!((kind.as_str(), kid.as_str()), ("PHONE", "K_HEALTHCARE"));
        assert_eq!(BASE32_NOPAD.encode(id.as_bytes()), "M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ");
        for suite in Suite::ALL {
            let Ok(Token::Aead { body, .. }) = Token::parse(&aead_text(suite, 1)) else { panic!("{suite:?}") };
            assert_eq!((body.suite(), body.fingerprint_prefix(), body.nonce()), (suite, [0xA7; 4], [0xA7; 24]));
        }
    }

    #[test]
    fn bodies_have_1_to_257_blocks() {
        for blocks in [1, 2, 3, 4, 5, 256, 257] {
            let text = aead_text(Suite::Xaes256Gcm, blocks);
            assert_eq!(Token::parse(&text).map(|token| token.to_text()), Ok(text), "{blocks}");
        }
        for blocks in [0, 258, 1_000] {
            assert_eq!(Token::parse(&aead_text(Suite::Xaes256Gcm, blocks)), Err(InvalidToken), "{blocks}");
        }
    }

    #[test]
    fn the_longest_token_has_the_maximum_length() {
        let body = aead_text(Suite::Xaes256Gcm, 257);
        let body = body.rsplit('.').next().unwrap();
        let text = format!("MSK1.{}.{}.{body}", "A".repeat(32), "K".repeat(48));
        assert_eq!(text.len(), TOKEN_BYTES_MAX);
        assert!(Token::parse(&text).is_ok());
    }

    /// Truncates the text, and replaces and inserts every character. A text that still parses must print unchanged. The
    /// last character of a body has bits that must be zero.
    #[test]
    fn parsing_is_canonical() {
        let alphabet: Vec<char> = (0..=0x7Fu8).map(char::from).chain(['é', '\u{ff11}', '\u{a0}']).collect();
        for text in [VAULT.to_owned(), aead_text(Suite::XChaCha20Poly1305Random, 1), aead_text(Suite::Xaes256Gcm, 2)] {
            let canonical = |candidate: String| {
                if let Ok(token) = Token::parse(&candidate) {
                    assert_eq!(token.to_text(), candidate);
                }
            };
            canonical(text.clone());
            for at in 0..text.len() {
                canonical(text[..at].to_owned());
                for c in &alphabet {
                    canonical(format!("{}{c}{}", &text[..at], &text[at + 1..]));
                    canonical(format!("{}{c}{}", &text[..at], &text[at..]));
                }
            }
            for c in &alphabet {
                assert_eq!(Token::parse(&format!("{text}{c}")), Err(InvalidToken), "{c:?} after");
                assert_eq!(Token::parse(&format!("{c}{text}")), Err(InvalidToken), "{c:?} before");
            }
        }
    }

    #[test]
    fn debug_hides_the_body() {
        assert_eq!(format!("{:?}", Token::parse(VAULT).unwrap()), "Token(MSKV1.PHONE.K_HEALTHCARE.…)");
        let shown = format!("{:?}", Token::parse(&aead_text(Suite::Xaes256Gcm, 1)).unwrap());
        assert_eq!(shown, "Token(MSK1.PHONE.K_A.AeadBody(Xaes256Gcm by a7a7a7a7…, 61 bytes))");
    }

    fn tokens() -> impl Strategy<Value = Token> {
        let kinds = "[A-Z][A-Z0-9_]{0,31}".prop_map(|text| EntityKind::parse(&text).unwrap());
        let kids = "[A-Z][A-Z0-9_]{0,47}".prop_filter_map("reserved", |text| Kid::parse(&text));
        let bodies = (0..4usize, 1..=257usize, any::<u8>()).prop_map(|(suite, blocks, fill)| {
            let mut bytes: Vec<u8> = (0..45 + 16 * blocks).map(|i| fill.wrapping_add((i * 7) as u8)).collect();
            bytes[0] = Suite::ALL[suite].code();
            AeadBody::from_bytes(bytes.into()).unwrap()
        });
        (kinds, kids, any::<[u8; 20]>(), bodies, any::<bool>()).prop_map(|(kind, kid, id, body, vault)| match vault {
            true => Token::Vault { kind, kid, id: TokenId::from_bytes(id) },
            false => Token::Aead { kind, kid, body },
        })
    }

    proptest! {
        #[test]
        fn parsing_the_text_returns_the_token(token in tokens()) {
            let text = token.to_text();
            prop_assert!(text.len() <= TOKEN_BYTES_MAX);
            prop_assert_eq!(Token::parse(&text), Ok(token));
        }

        #[test]
        fn printing_returns_the_parsed_text(text in "MSKV?1\\.[A-Z]{1,3}\\.[A-Z_]{1,9}\\.([A-Z2-7]{32}|[A-Z2-7]{98})") {
            if let Ok(token) = Token::parse(&text) {
                prop_assert_eq!(token.to_text(), text);
            }
        }

        #[test]
        fn arbitrary_text_does_not_panic(text in any::<String>(), body in "\\PC{0,120}") {
            for text in [text, format!("MSK1.A.K.{body}"), format!("MSKV1.A.K.{body}")] {
                if let Ok(token) = Token::parse(&text) {
                    prop_assert_eq!(token.to_text(), text);
                }
            }
        }

        #[test]
        fn writing_appends(token in tokens(), before in "\\PC{0,9}") {
            let mut out = before.clone();
            token.write_to(&mut out);
            prop_assert_eq!(out, before + &token.to_text());
        }
    }
}
