//! The text of an API key.
//!
//! ```text
//! key      = mode || random || checksum       55 characters
//! mode     = "masker_live_" | "masker_test_"
//! random   = 37 characters of 0-9A-Za-z, each uniform: 220 bits
//! checksum = CRC-32(mode || random) in base 62, most significant digit first, six digits
//! ```
//!
//! The format follows GitHub's tokens ("Behind GitHub's new authentication token formats", 2021). The prefix is unique,
//! so scanners find a leaked key. The checksum shows a typing error without a lookup. It proves nothing else: only the
//! random characters do. A key has 220 random bits, so it needs no slow hash. The daemon stores its SHA-256.

use std::fmt;

use rand::CryptoRng;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::mode::Mode;

const LIVE: &str = "masker_live_";
const TEST: &str = "masker_test_";
const MODE_CHARS: usize = LIVE.len();
const RANDOM_CHARS: usize = 37;
const CHECKSUM_CHARS: usize = 6;
const KEY_CHARS: usize = MODE_CHARS + RANDOM_CHARS + CHECKSUM_CHARS;
const PREFIX_CHARS: usize = 16;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const _: () = assert!(TEST.len() == MODE_CHARS && RANDOM_CHARS + CHECKSUM_CHARS == 43);
// Six digits hold every CRC-32.
const _: () = assert!(62u64.pow(CHECKSUM_CHARS as u32) > u32::MAX as u64);

/// A new API key. Its text is shown once, to the person it is made for.
///
/// It has no `Debug`, `Clone` or `Serialize`.
pub struct ApiKeySecret {
    text: SecretString,
    mode: Mode,
}

impl ApiKeySecret {
    /// Generates a key for `mode` with a cryptographic random number generator.
    pub fn generate(mode: Mode, rng: &mut impl CryptoRng) -> Self {
        // With the full capacity from the start, no reallocation leaves a part of the key behind.
        let mut text = Zeroizing::new(String::with_capacity(KEY_CHARS));
        text.push_str(match mode {
            Mode::Live => LIVE,
            Mode::Test => TEST,
        });
        let mut byte = [0];
        while text.len() < MODE_CHARS + RANDOM_CHARS {
            rng.fill_bytes(&mut byte);
            // Six bits are a number below 64. Dropping 62 and 63 keeps the distribution uniform.
            if let Some(digit) = BASE62.get(usize::from(byte[0] >> 2)) {
                text.push(char::from(*digit));
            }
        }
        byte.zeroize();
        for digit in checksum(text.as_bytes()) {
            text.push(char::from(digit));
        }
        ApiKeySecret { text: SecretString::from(text.as_str()), mode }
    }

    /// Returns the text of the key, for the one response that shows it.
    pub fn into_text(self) -> SecretString {
        self.text
    }

    /// Returns what the daemon keeps of the key when a request presents it.
    pub fn presented(&self) -> PresentedKey {
        PresentedKey::of(self.text.expose_secret().as_bytes(), self.mode)
    }
}

/// The identity of an API key from a request. Holding one proves that the text had the right format and checksum. The
/// key may still be unknown.
///
/// It does not contain the key itself.
#[derive(Clone, Copy)]
pub struct PresentedKey {
    mode: Mode,
    prefix: KeyPrefix,
    digest: KeyDigest,
}

/// A text that is not an API key. The messages contain no part of the text: it may be a key with a typing error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiKeyFormatError {
    /// The prefix is wrong.
    #[error("not an API key: a key begins with `{LIVE}` or `{TEST}`")]
    Prefix,
    /// The text is too short or too long.
    #[error("not a whole API key: a key is {KEY_CHARS} characters long")]
    Length,
    /// The text contains a character that no key contains.
    #[error("not an API key: only letters and digits follow `{LIVE}` or `{TEST}`")]
    Character,
    /// The checksum does not match.
    #[error("not an API key: its checksum is wrong, so a character was lost or mistyped")]
    Checksum,
}

impl PresentedKey {
    /// Parses the text of a key.
    ///
    /// # Errors
    /// Returns [`ApiKeyFormatError`] for every text that [`ApiKeySecret`] does not produce.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, ApiKeyFormatError> {
        let text = text.as_ref();
        let mode = match text.get(..MODE_CHARS) {
            Some(mode) if mode == LIVE.as_bytes() => Mode::Live,
            Some(mode) if mode == TEST.as_bytes() => Mode::Test,
            _ => return Err(ApiKeyFormatError::Prefix),
        };
        if text.len() != KEY_CHARS {
            return Err(ApiKeyFormatError::Length);
        }
        if !text[MODE_CHARS..].iter().all(u8::is_ascii_alphanumeric) {
            return Err(ApiKeyFormatError::Character);
        }
        let (body, digits) = text.split_at(KEY_CHARS - CHECKSUM_CHARS);
        if checksum(body) != digits {
            return Err(ApiKeyFormatError::Checksum);
        }
        Ok(PresentedKey::of(text, mode))
    }

    fn of(text: &[u8], mode: Mode) -> Self {
        let mut prefix = [0; PREFIX_CHARS];
        prefix.copy_from_slice(&text[..PREFIX_CHARS]);
        PresentedKey { mode, prefix: KeyPrefix(prefix), digest: KeyDigest(Sha256::digest(text).into()) }
    }

    /// Returns the mode that the key works in.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns the part of the key that may be shown.
    pub fn prefix(&self) -> KeyPrefix {
        self.prefix
    }

    /// Returns the part of the key that the daemon stores.
    pub fn digest(&self) -> KeyDigest {
        self.digest
    }
}

/// The first 16 characters of a key, which identify it for people: the mode and four of the 37 random characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPrefix([u8; PREFIX_CHARS]);

impl KeyPrefix {
    /// Parses a stored prefix. Returns `None` if the text is not a prefix.
    pub fn parse(text: &str) -> Option<Self> {
        let prefix = KeyPrefix(text.as_bytes().try_into().ok()?);
        let (mode, random) = prefix.0.split_at(MODE_CHARS);
        let known_mode = [LIVE, TEST].iter().any(|known| known.as_bytes() == mode);
        (known_mode && random.iter().all(u8::is_ascii_alphanumeric)).then_some(prefix)
    }

    /// Returns the prefix as text.
    pub fn as_str(&self) -> &str {
        // Cannot fail, because the grammar is ASCII.
        std::str::from_utf8(&self.0).unwrap_or("")
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The SHA-256 of a key, which the daemon stores. It has no `PartialEq`, because comparisons must take constant time.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; KeyDigest::BYTES]);

impl KeyDigest {
    /// Length of a digest, in bytes.
    pub const BYTES: usize = 32;

    /// Creates a digest from stored bytes.
    pub fn from_bytes(bytes: [u8; KeyDigest::BYTES]) -> Self {
        KeyDigest(bytes)
    }

    /// Returns the bytes to store.
    pub fn as_bytes(&self) -> &[u8; KeyDigest::BYTES] {
        &self.0
    }

    /// Compares two digests in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Returns whether `text`, such as the path and query of a request, contains the prefix of a key. Letter case is
/// ignored, and each character may be percent-encoded any number of times. Keys in URLs end up in logs, so this check
/// runs before a URL is logged.
pub fn looks_like_key(text: &[u8]) -> bool {
    (0..text.len()).any(|start| {
        let text = &text[start..];
        begins_with(text, LIVE.as_bytes()) || begins_with(text, TEST.as_bytes())
    })
}

fn begins_with(mut text: &[u8], pattern: &[u8]) -> bool {
    pattern.iter().all(|expected| {
        let Some((found, rest)) = next_character(text) else { return false };
        text = rest;
        found.eq_ignore_ascii_case(expected)
    })
}

/// Splits off the first character of a percent-encoded text. A character that is encoded twice begins with `%25`.
fn next_character(text: &[u8]) -> Option<(u8, &[u8])> {
    let (first, mut rest) = text.split_first()?;
    let mut character = *first;
    while character == b'%'
        && let [high, low, after @ ..] = rest
        && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
    {
        character = high << 4 | low;
        rest = after;
    }
    Some((character, rest))
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|number| u8::try_from(number).ok())
}

/// Computes the checksum of the other characters of a key.
fn checksum(body: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(body) as usize;
    let mut digits = [0; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[rest % BASE62.len()];
        rest /= BASE62.len();
    }
    digits
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    /// Keys and digests, computed with Python's `zlib.crc32` and `hashlib`.
    const KNOWN: [(&str, &str); 3] = [
        (
            "masker_live_00000000000000000000000000000000000001Rib7N",
            "5ad930d0c91334d9a72841a07160c5a7f907f5d3c68034670b41f33ee54a160e",
        ),
        (
            "masker_test_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA15yLA1",
            "c2ace631bc7b3f7d9498b71e6f12338d12091e823386eec401de5ac3e379276a",
        ),
        (
            "masker_live_PQRSTUVWXYZabcdefghijklmnopqrstuvwxyz4CzFke",
            "e6287085c33c9ccfea6602324bf30662c79dc9e15930ad219399b25202946ab4",
        ),
    ];

    fn parse_error(text: impl AsRef<[u8]>) -> ApiKeyFormatError {
        PresentedKey::parse(text).err().unwrap()
    }

    #[test]
    fn parses_known_keys() {
        for (text, digest) in KNOWN {
            let presented = PresentedKey::parse(text).unwrap();
            let mode = if text.starts_with("masker_live_") { Mode::Live } else { Mode::Test };
            assert_eq!(presented.mode(), mode);
            assert_eq!(presented.prefix().as_str(), &text[..16]);
            assert_eq!(HEXLOWER.encode(presented.digest().as_bytes()), digest);
        }
        // A checksum that begins with zeros keeps them.
        assert!(PresentedKey::parse("masker_test_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz2600fmw7").is_ok());
    }

    #[test]
    fn parses_generated_keys() {
        let mut rng = StdRng::seed_from_u64(1);
        for mode in Mode::ALL {
            let key = ApiKeySecret::generate(mode, &mut rng);
            let presented = PresentedKey::parse(key.text.expose_secret()).unwrap();
            assert_eq!((key.text.expose_secret().len(), presented.mode()), (55, mode));
            assert!(key.presented().mode() == mode && key.presented().prefix() == presented.prefix());
            assert!(key.presented().digest().ct_eq(&presented.digest()));
            let other = ApiKeySecret::generate(mode, &mut rng).presented();
            assert!(!other.digest().ct_eq(&presented.digest()) && other.prefix() != presented.prefix());
        }
    }

    /// Counts each of the 62 characters at each of the 37 positions: 200 expected, with a standard deviation of 14. A
    /// generator that took bytes modulo 62 would produce eight of them 5/4 as often.
    #[test]
    fn random_characters_are_uniform() {
        const KEYS: usize = 62 * 200;
        let mut rng = StdRng::seed_from_u64(2);
        let mut counts = vec![[0u32; 256]; RANDOM_CHARS];
        let mut totals = [0u32; 256];
        for _ in 0..KEYS {
            let key = ApiKeySecret::generate(Mode::Live, &mut rng);
            for (position, character) in
                key.text.expose_secret().bytes().skip(MODE_CHARS).take(RANDOM_CHARS).enumerate()
            {
                counts[position][usize::from(character)] += 1;
                totals[usize::from(character)] += 1;
            }
        }
        for digit in BASE62.iter().map(|digit| usize::from(*digit)) {
            assert!(counts.iter().all(|position| (125..275).contains(&position[digit])));
            // 7,400 expected, a standard deviation of 86.
            assert!((6_970..7_830).contains(&totals[digit]), "{}", totals[digit]);
        }
    }

    #[test]
    fn reports_why_a_text_is_not_a_key() {
        let (key, _) = KNOWN[2];
        for text in ["", "masker", "Masker_live_", "MASKER_LIVE_", "masker_prod_", "ghp_", "msk_live_", " masker_live_"]
        {
            assert_eq!(parse_error(format!("{text}{}", &key[MODE_CHARS..])), ApiKeyFormatError::Prefix, "{text}");
        }
        for length in MODE_CHARS..KEY_CHARS {
            assert_eq!(parse_error(&key[..length]), ApiKeyFormatError::Length, "{length}");
        }
        for end in ["0", " ", "\n", "\0"] {
            assert_eq!(parse_error(format!("{key}{end}")), ApiKeyFormatError::Length);
        }
        for position in MODE_CHARS..KEY_CHARS {
            let mut text = key.as_bytes().to_vec();
            for wrong in [b'_', b'-', b' ', 0, 0x7f, 0x80, 0xff] {
                text[position] = wrong;
                assert_eq!(parse_error(&text), ApiKeyFormatError::Character, "{wrong} at {position}");
            }
        }
        assert_eq!(parse_error(key.replace("live", "test")), ApiKeyFormatError::Checksum);
    }

    #[test]
    fn detects_every_wrong_character_and_every_swap_of_neighbours() {
        for (key, _) in KNOWN {
            for position in MODE_CHARS..KEY_CHARS {
                let mut text = key.as_bytes().to_vec();
                for wrong in BASE62.iter().filter(|digit| **digit != key.as_bytes()[position]) {
                    text[position] = *wrong;
                    assert_eq!(parse_error(&text), ApiKeyFormatError::Checksum, "{} at {position}", *wrong as char);
                }
                let mut text = key.as_bytes().to_vec();
                text.swap(position - 1, position);
                if text != key.as_bytes() {
                    assert!(PresentedKey::parse(&text).is_err(), "swapped at {position}");
                }
            }
        }
    }

    #[test]
    fn messages_contain_no_part_of_the_text() {
        let secret = "078051120";
        for text in [secret.to_owned(), format!("masker_live_{secret}"), format!("masker_live_{secret:_>43}")] {
            assert!(!parse_error(&text).to_string().contains("0780"));
        }
        assert!(!parse_error(KNOWN[0].0.replace("1Rib7N", "1Rib7M")).to_string().contains("Rib7"));
    }

    #[test]
    fn parses_prefixes() {
        let prefix = PresentedKey::parse(KNOWN[2].0).unwrap().prefix();
        assert_eq!(KeyPrefix::parse("masker_live_PQRS"), Some(prefix));
        assert_eq!(format!("{prefix} {prefix:?}"), "masker_live_PQRS masker_live_PQRS");
        for bad in
            ["", "masker_live_PQR", "masker_live_PQRST", "masker_prod_PQRS", "masker_live_PQR_", "masker_live_PQé"]
        {
            assert_eq!(KeyPrefix::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn finds_encoded_keys_in_urls() {
        for url in [
            "/api/v1/keys?key=masker_live_00000000000000000000000000000000000001Rib7N",
            "/masker_test_",
            "/x?MASKER_LIVE_0",
            "/x?k=Masker%5fLive%5F0",
            "/x?k=masker%255Flive_0",
            "/x?k=%6d%61%73%6B%65%72%5f%74%65%73%74%5f",
            "/x?k=%25256dasker_live_",
            "/mmasker_live_",
            "/%masker_live_",
            "/%5masker_live_",
        ] {
            assert!(looks_like_key(url.as_bytes()), "{url}");
        }
        for url in [
            "",
            "/",
            "/api/v1/tokenize",
            "/masker_live",
            "/masker/live/",
            "/masker-live-0",
            "/masker%_live_",
            "%",
            "%5",
        ] {
            assert!(!looks_like_key(url.as_bytes()), "{url}");
        }
    }

    proptest! {
        /// Only keys with the right checksum are parsed.
        #[test]
        fn rejects_keys_with_a_wrong_checksum(text in "masker_(live|test)_[0-9A-Za-z]{43}") {
            let (body, digits) = text.split_at(KEY_CHARS - CHECKSUM_CHARS);
            let matches = checksum(body.as_bytes()) == digits.as_bytes();
            prop_assert_eq!(PresentedKey::parse(&text).is_ok(), matches);
            let whole = [body.as_bytes(), &checksum(body.as_bytes())].concat();
            prop_assert!(PresentedKey::parse(&whole).is_ok());
            prop_assert!(looks_like_key(&whole));
        }

        #[test]
        fn accepts_arbitrary_bytes_without_panicking(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(PresentedKey::parse(&text).is_err());
            looks_like_key(&text);
        }
    }
}
