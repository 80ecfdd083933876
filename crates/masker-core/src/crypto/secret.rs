//! Keys: reading, generating, comparing and writing them. Nothing else can be done with their bytes.

use base64::{
    Engine, decoded_len_estimate,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use rand::CryptoRng;
use secrecy::SecretString;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::weakness::weakness_of;
pub use super::{
    locked::{Locked, LockedMemoryError},
    weakness::Weakness,
};
use masker_types::limits::KEY_BYTES;

/// Characters of a padded key in base64: four for every three bytes (RFC 4648 section 4).
const KEY_BASE64_CHARS: usize = KEY_BYTES.div_ceil(3) * 4;

/// A text that is not a key. The messages continue a sentence that begins with the name of the variable or file. They
/// contain no part of the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretKeyError {
    /// The text is not standard base64.
    #[error("is not standard base64 (RFC 4648 section 4); a key is 32 random bytes in base64, with nothing else")]
    NotBase64,
    /// The length differs from 32 bytes.
    #[error("is {bytes} bytes long, but a key is 32 random bytes")]
    Length {
        /// The length after decoding, in bytes.
        bytes: usize,
    },
    /// One byte is repeated 32 times: a placeholder, not a key.
    #[error("has 32 equal bytes, so it is not a random key: put the key back from its copy")]
    AllBytesEqual,
    /// No locked memory is available for the key.
    #[error("cannot be kept: {0}")]
    Memory(#[from] LockedMemoryError),
}

/// A key of 32 bytes in locked memory.
///
/// It has no `Debug`, `Clone` or `Serialize`. Only the `crypto` module can see its bytes.
pub struct SecretKey(Locked<[u8; KEY_BYTES]>);

impl SecretKey {
    /// Reads standard base64 (RFC 4648 section 4). Padding is optional. ASCII white space at both ends is ignored, so
    /// that a file may end with a line break.
    ///
    /// # Errors
    /// Returns [`SecretKeyError`] if the text is not canonical base64 of 32 bytes that could be random.
    pub fn parse_base64(text: &[u8]) -> Result<Self, SecretKeyError> {
        let text = text.trim_ascii();
        // Both engines reject nonzero trailing bits: these show that a character was lost or mistyped.
        let engine = if text.ends_with(b"=") { STANDARD } else { STANDARD_NO_PAD };
        let mut bytes = Zeroizing::new(vec![0; decoded_len_estimate(text.len())]);
        // The cause is dropped because it names positions and characters of the key.
        let length = engine.decode_slice(text, &mut bytes).map_err(|_| SecretKeyError::NotBase64)?;
        let key = bytes.get(..length).and_then(|decoded| decoded.try_into().ok());
        Self::from_reference(key.ok_or(SecretKeyError::Length { bytes: length })?)
    }

    /// Creates a key from raw bytes.
    ///
    /// # Errors
    /// Returns [`SecretKeyError::AllBytesEqual`] or [`SecretKeyError::Memory`].
    pub fn from_bytes(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Result<Self, SecretKeyError> {
        Self::from_reference(&bytes)
    }

    fn from_reference(bytes: &[u8; KEY_BYTES]) -> Result<Self, SecretKeyError> {
        // Without an early exit, the time does not depend on the bytes.
        let differences = bytes.iter().fold(0, |found, byte| found | (byte ^ bytes[0]));
        if differences == 0 {
            return Err(SecretKeyError::AllBytesEqual);
        }
        Ok(SecretKey(Locked::init(|| *bytes)?))
    }

    /// Generates a key with a cryptographic random number generator.
    ///
    /// # Errors
    /// Returns [`LockedMemoryError`] if no locked memory is available for the key.
    pub fn generate(rng: &mut impl CryptoRng) -> Result<Self, LockedMemoryError> {
        Locked::init(|| {
            let mut bytes = [0; KEY_BYTES];
            rng.fill_bytes(&mut bytes);
            bytes
        })
        .map(SecretKey)
    }

    /// Returns the key in the form that [`SecretKey::parse_base64`] reads: 44 characters, padded.
    pub fn to_base64(&self) -> SecretString {
        // Encodes in place: `Engine::encode_string` goes through a buffer on the stack and does not wipe it.
        let mut text = vec![0; KEY_BASE64_CHARS];
        STANDARD.encode_slice(self.0.as_slice(), &mut text).expect("the buffer has the length of the text");
        // The vector has no spare capacity, so the conversion to `SecretString` does not reallocate.
        String::from_utf8(text).expect("base64 is ASCII").into()
    }

    /// Compares two keys in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }

    /// Returns a sign that the key was not generated at random, if there is one.
    pub fn weakness(&self) -> Option<Weakness> {
        weakness_of(self.expose())
    }

    /// Returns the bytes, for key derivation and weakness checks only.
    pub(super) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    /// 00 01 … 1f.
    const COUNTING: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn key(text: &[u8]) -> Result<SecretKey, SecretKeyError> {
        SecretKey::parse_base64(text)
    }

    #[test]
    fn accepts_missing_padding_and_surrounding_white_space() {
        let expected: [u8; 32] = std::array::from_fn(|i| i as u8);
        let unpadded = COUNTING.trim_end_matches('=');
        for text in [COUNTING, unpadded, &format!("  {COUNTING}\r\n"), &format!("\t{unpadded}\n")] {
            assert_eq!(key(text.as_bytes()).unwrap().expose(), &expected, "{text:?}");
        }
        assert_eq!(key(COUNTING.as_bytes()).unwrap().to_base64().expose_secret(), COUNTING);
    }

    #[test]
    fn rejects_everything_but_standard_base64() {
        let url_safe = "-_-_AwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let inner_space = "AAECAwQFBgcICQoLDA0O DxAREhMUFRYXGBkaGxwdHh8=";
        let trailing_bits = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=";
        let padded_twice = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8==";
        let short_padding = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg=";
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f!";
        for text in [
            url_safe,
            inner_space,
            trailing_bits,
            trailing_bits.trim_end_matches('='),
            padded_twice,
            short_padding,
            hex,
            "=",
            "A",
            "\0",
        ] {
            assert!(matches!(key(text.as_bytes()), Err(SecretKeyError::NotBase64)), "{text:?}");
        }
        assert!(matches!(key(b"\xFF\xFE"), Err(SecretKeyError::NotBase64)));
    }

    #[test]
    fn reports_the_length() {
        for length in [0, 1, 31, 33, 64, 3_000] {
            let text = STANDARD.encode(vec![1; length]);
            assert!(
                matches!(key(text.as_bytes()), Err(SecretKeyError::Length { bytes }) if bytes == length),
                "{length}"
            );
        }
    }

    #[test]
    fn rejects_one_repeated_byte() {
        for byte in [0x00, 0x41, 0xFF] {
            let text = STANDARD.encode([byte; 32]);
            assert!(matches!(key(text.as_bytes()), Err(SecretKeyError::AllBytesEqual)));
            assert!(matches!(SecretKey::from_bytes(Zeroizing::new([byte; 32])), Err(SecretKeyError::AllBytesEqual)));
        }
        let mut nearly = [7; 32];
        nearly[31] = 8;
        assert!(SecretKey::from_bytes(Zeroizing::new(nearly)).is_ok());
    }

    #[test]
    fn messages_contain_no_part_of_the_text() {
        let texts: [&[u8]; 3] = [b"hunter2!hunter2!", b"aHVudGVyMg==", &[b'Q'; 44]];
        for text in texts {
            let Err(error) = key(text) else { panic!("not a key") };
            let message = format!("{error} {error:?}");
            assert!(!message.contains("hunter2") && !message.contains("aHVudGVyMg") && !message.contains("QQQ"));
        }
    }

    #[test]
    fn equality_compares_every_bit() {
        let bytes: [u8; 32] = std::array::from_fn(|i| i as u8);
        let reference = SecretKey::from_bytes(Zeroizing::new(bytes)).unwrap();
        assert!(reference.ct_eq(&SecretKey::from_bytes(Zeroizing::new(bytes)).unwrap()));
        for bit in 0..256 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!reference.ct_eq(&SecretKey::from_bytes(Zeroizing::new(other)).unwrap()), "bit {bit}");
        }
    }

    #[test]
    fn generated_keys_differ_and_are_read_back() {
        let mut rng = rand::rng();
        let (a, b) = (SecretKey::generate(&mut rng).unwrap(), SecretKey::generate(&mut rng).unwrap());
        assert!(!a.ct_eq(&b));
        assert!(key(a.to_base64().expose_secret().as_bytes()).unwrap().ct_eq(&a));
    }
}
