//! The text of an API key.
//!
//! ```text
//! key      = mode || random || checksum       55 characters
//! mode     = "masker_live_" | "masker_test_"
//! random   = 37 characters of 0-9A-Za-z, each uniform: 220 bits
//! checksum = CRC-32(mode || random) in base 62, most significant digit first, six digits
//! ```
//!
//! This is the construction of GitHub's tokens ("Behind GitHub's new authentication token formats", 2021): a prefix
//! that nothing else has, so that scanners find a leaked key, and a checksum by which they, and a daemon that is handed
//! a typing error, tell a key from what only looks like one without asking anybody. It proves nothing: the random
//! characters do. At 220 bits a key needs no slow hash; what is kept of it is its SHA-256.

use std::fmt;

use rand::CryptoRng;
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

/// A new key. It has no `Debug`, `Clone` or `Serialize`: its text is shown once, to whom it was made for.
pub struct ApiKeySecret {
    text: Zeroizing<String>,
    mode: Mode,
}

impl ApiKeySecret {
    /// Makes a key that works in `mode`, from a generator of cryptographic quality.
    pub fn generate(mode: Mode, rng: &mut impl CryptoRng) -> Self {
        // With room for all of it no growing leaves half a key behind.
        let mut text = Zeroizing::new(String::with_capacity(KEY_CHARS));
        text.push_str(match mode {
            Mode::Live => LIVE,
            Mode::Test => TEST,
        });
        let mut byte = [0];
        while text.len() < MODE_CHARS + RANDOM_CHARS {
            rng.fill_bytes(&mut byte);
            // Six bits are a number below 64: two of them are thrown away, so that the others stay equally likely.
            if let Some(digit) = BASE62.get(usize::from(byte[0] >> 2)) {
                text.push(char::from(*digit));
            }
        }
        byte.zeroize();
        for digit in checksum(text.as_bytes()) {
            text.push(char::from(digit));
        }
        ApiKeySecret { text, mode }
    }

    /// The whole key, for the one answer that shows it.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What the daemon sees of it when it is presented.
    pub fn presented(&self) -> PresentedKey {
        PresentedKey::of(self.text.as_bytes(), self.mode)
    }
}

/// A key that came with a request. Having one tells you that its text was of the format: no typing error, and nothing
/// that was cut short. It says nothing about whether there is such a key.
///
/// It does not hold the key: that is needed no more.
#[derive(Clone, Copy)]
pub struct PresentedKey {
    mode: Mode,
    prefix: KeyPrefix,
    digest: KeyDigest,
}

/// Why a text is no API key. The messages hold nothing of the text: that may be a key with a typing error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiKeyFormatError {
    /// It does not begin as a key does.
    #[error("not an API key: one begins with `{LIVE}` or `{TEST}`")]
    Prefix,
    /// It is too short or too long.
    #[error("not a whole API key: one is {KEY_CHARS} characters long")]
    Length,
    /// It has a character that no key has.
    #[error("not an API key: one has only letters and digits after `{LIVE}` or `{TEST}`")]
    Character,
    /// The last characters do not fit the others.
    #[error("not an API key: its checksum is wrong, so a character was lost or mistyped")]
    Checksum,
}

impl PresentedKey {
    /// Reads the text of a key, which is all of `text`.
    ///
    /// # Errors
    /// [`ApiKeyFormatError`] for everything that [`ApiKeySecret`] does not write.
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

    /// The mode of tokens that the key works in.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The part of the key that may be shown.
    pub fn prefix(&self) -> KeyPrefix {
        self.prefix
    }

    /// The part of the key that is kept.
    pub fn digest(&self) -> KeyDigest {
        self.digest
    }
}

/// The first 16 characters of a key, by which people name it: the mode, and four of the 37 random characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPrefix([u8; PREFIX_CHARS]);

impl KeyPrefix {
    /// Reads a prefix that was written down; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let prefix = KeyPrefix(text.as_bytes().try_into().ok()?);
        let (mode, random) = prefix.0.split_at(MODE_CHARS);
        let sound = [LIVE, TEST].iter().any(|known| known.as_bytes() == mode);
        (sound && random.iter().all(u8::is_ascii_alphanumeric)).then_some(prefix)
    }

    /// The prefix as it may be shown.
    pub fn as_str(&self) -> &str {
        // The grammar is ASCII, so this cannot fail; an empty text is harmless if it ever did.
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

/// The SHA-256 of a whole key: what is kept of it. It has no `PartialEq`, so that nobody compares it in a time that
/// depends on where two differ.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; KeyDigest::BYTES]);

impl KeyDigest {
    /// Length of a digest, in bytes.
    pub const BYTES: usize = 32;

    /// Takes over one that was written down.
    pub fn from_bytes(bytes: [u8; KeyDigest::BYTES]) -> Self {
        KeyDigest(bytes)
    }

    /// The digest as it is written down.
    pub fn as_bytes(&self) -> &[u8; KeyDigest::BYTES] {
        &self.0
    }

    /// Whether two are of the same key, in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Whether something in `text`, such as a request's path and query, begins as a key does: in any letter case, and with
/// any of its characters percent-encoded, however often. A key in a URL is a key in a log, so it must be seen before the
/// URL gets into one.
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

/// The first character of a percent-encoded text, and the rest. What is encoded twice reads `%25…`.
fn next_character(text: &[u8]) -> Option<(u8, &[u8])> {
    let (first, mut rest) = text.split_first()?;
    let mut character = *first;
    while character == b'%'
        && let [high, low, after @ ..] = rest
        && let (Some(high), Some(low)) = (hexadecimal(*high), hexadecimal(*low))
    {
        character = high << 4 | low;
        rest = after;
    }
    Some((character, rest))
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|number| u8::try_from(number).ok())
}

/// The checksum of a key's other characters.
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

    /// Computed by another program: Python's `zlib.crc32` and `hashlib`.
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

    fn refusal(text: impl AsRef<[u8]>) -> ApiKeyFormatError {
        PresentedKey::parse(text).err().unwrap()
    }

    #[test]
    fn known_keys_are_read() {
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
    fn new_keys_are_read_as_what_they_were_made_for() {
        let mut rng = StdRng::seed_from_u64(1);
        for mode in Mode::ALL {
            let key = ApiKeySecret::generate(mode, &mut rng);
            let presented = PresentedKey::parse(key.expose()).unwrap();
            assert_eq!((key.expose().len(), presented.mode()), (55, mode));
            assert!(key.presented().mode() == mode && key.presented().prefix() == presented.prefix());
            assert!(key.presented().digest().ct_eq(&presented.digest()));
            let other = ApiKeySecret::generate(mode, &mut rng).presented();
            assert!(!other.digest().ct_eq(&presented.digest()) && other.prefix() != presented.prefix());
        }
    }

    /// Each of the 62 characters at each of the 37 places, none more often than chance allows: 200 times expected, a
    /// standard deviation of 14. A generator that took bytes modulo 62 would give eight of them 5/4 as often.
    #[test]
    fn the_random_characters_are_uniform() {
        const KEYS: usize = 62 * 200;
        let mut rng = StdRng::seed_from_u64(2);
        let mut counts = vec![[0u32; 256]; RANDOM_CHARS];
        let mut totals = [0u32; 256];
        for _ in 0..KEYS {
            let key = ApiKeySecret::generate(Mode::Live, &mut rng);
            for (place, character) in key.expose().bytes().skip(MODE_CHARS).take(RANDOM_CHARS).enumerate() {
                counts[place][usize::from(character)] += 1;
                totals[usize::from(character)] += 1;
            }
        }
        for digit in BASE62.iter().map(|digit| usize::from(*digit)) {
            assert!(counts.iter().all(|place| (125..275).contains(&place[digit])));
            // 7,400 expected, a standard deviation of 86.
            assert!((6_970..7_830).contains(&totals[digit]), "{}", totals[digit]);
        }
    }

    #[test]
    fn what_is_no_key_is_told_by_its_kind() {
        let (key, _) = KNOWN[2];
        for text in ["", "masker", "Masker_live_", "MASKER_LIVE_", "masker_prod_", "ghp_", "msk_live_", " masker_live_"]
        {
            assert_eq!(refusal(format!("{text}{}", &key[MODE_CHARS..])), ApiKeyFormatError::Prefix, "{text}");
        }
        for length in MODE_CHARS..KEY_CHARS {
            assert_eq!(refusal(&key[..length]), ApiKeyFormatError::Length, "{length}");
        }
        for end in ["0", " ", "\n", "\0"] {
            assert_eq!(refusal(format!("{key}{end}")), ApiKeyFormatError::Length);
        }
        for place in MODE_CHARS..KEY_CHARS {
            let mut text = key.as_bytes().to_vec();
            for wrong in [b'_', b'-', b' ', 0, 0x7f, 0x80, 0xff] {
                text[place] = wrong;
                assert_eq!(refusal(&text), ApiKeyFormatError::Character, "{wrong} at {place}");
            }
        }
        assert_eq!(refusal(key.replace("live", "test")), ApiKeyFormatError::Checksum);
    }

    #[test]
    fn every_single_wrong_character_and_every_swap_of_neighbours_is_noticed() {
        for (key, _) in KNOWN {
            for place in MODE_CHARS..KEY_CHARS {
                let mut text = key.as_bytes().to_vec();
                for wrong in BASE62.iter().filter(|digit| **digit != key.as_bytes()[place]) {
                    text[place] = *wrong;
                    assert_eq!(refusal(&text), ApiKeyFormatError::Checksum, "{} at {place}", *wrong as char);
                }
                let mut text = key.as_bytes().to_vec();
                text.swap(place - 1, place);
                if text != key.as_bytes() {
                    assert!(PresentedKey::parse(&text).is_err(), "swapped at {place}");
                }
            }
        }
    }

    #[test]
    fn refusals_hold_nothing_of_the_text() {
        let secret = "078051120";
        for text in [secret.to_owned(), format!("masker_live_{secret}"), format!("masker_live_{secret:_>43}")] {
            assert!(!refusal(&text).to_string().contains("0780"));
        }
        assert!(!refusal(KNOWN[0].0.replace("1Rib7N", "1Rib7M")).to_string().contains("Rib7"));
    }

    #[test]
    fn prefixes_are_read_back() {
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
    fn a_key_in_a_url_is_seen_however_it_is_written() {
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
        /// What is read is only what is written.
        #[test]
        fn no_other_text_is_a_key(text in "masker_(live|test)_[0-9A-Za-z]{43}") {
            let (body, digits) = text.split_at(KEY_CHARS - CHECKSUM_CHARS);
            let sound = checksum(body.as_bytes()) == digits.as_bytes();
            prop_assert_eq!(PresentedKey::parse(&text).is_ok(), sound);
            let whole = [body.as_bytes(), &checksum(body.as_bytes())].concat();
            prop_assert!(PresentedKey::parse(&whole).is_ok());
            prop_assert!(looks_like_key(&whole));
        }

        #[test]
        fn no_bytes_are_too_strange_to_look_at(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(PresentedKey::parse(&text).is_err());
            looks_like_key(&text);
        }
    }
}
