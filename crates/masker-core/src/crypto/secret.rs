//! Key bytes: how they come in, how they go out, and nothing else that could be done with them.

use data_encoding::{BASE64, BASE64_NOPAD};
use rand::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::weakness::weakness_of;
pub use super::{
    locked::{Locked, LockedMemoryError},
    weakness::Weakness,
};
use masker_types::limits::KEY_BYTES;

/// Characters of a padded key: RFC 4648 section 4, four for every three bytes.
const KEY_BASE64_CHARS: usize = KEY_BYTES.div_ceil(3) * 4;

/// Why a text is no key. The messages go on from the name of the variable or file, and hold nothing of the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretKeyError {
    /// Something that standard base64 does not have.
    #[error("is not standard base64 (RFC 4648 section 4); generate a key with `openssl rand -base64 32`")]
    NotBase64,
    /// Another length than 32 bytes.
    #[error("is {bytes} bytes long, where a key is 32; generate one with `openssl rand -base64 32`")]
    Length {
        /// The length after decoding, in bytes.
        bytes: usize,
    },
    /// One byte 32 times: a placeholder, not a key.
    #[error("has all its bytes equal, so it is no random key; generate one with `openssl rand -base64 32`")]
    AllBytesEqual,
    /// There is no locked memory to keep it in.
    #[error("cannot be kept: {0}")]
    Memory(#[from] LockedMemoryError),
}

/// One key generation: 32 bytes in locked memory.
///
/// It has no `Debug`, `Clone` or `Serialize`, and its bytes can be seen inside this module tree alone.
pub struct SecretKey(Locked<[u8; KEY_BYTES]>);

impl SecretKey {
    /// Reads standard base64 (RFC 4648 section 4). Padding is optional; ASCII white space around it is ignored, so
    /// that the line end of a file does no harm.
    ///
    /// # Errors
    /// [`SecretKeyError`], for every way in which this is not 32 bytes that could be random.
    pub fn parse_base64(text: &[u8]) -> Result<Self, SecretKeyError> {
        let text = text.trim_ascii();
        // Both alphabets refuse non-zero trailing bits: those show that a character was lost or mistyped.
        let alphabet = if text.ends_with(b"=") { BASE64 } else { BASE64_NOPAD };
        // The causes are dropped on purpose: they name places and characters of the key.
        let length_max = alphabet.decode_len(text.len()).map_err(|_| SecretKeyError::NotBase64)?;
        let mut bytes = Zeroizing::new(vec![0; length_max]);
        let length = alphabet.decode_mut(text, &mut bytes).map_err(|_| SecretKeyError::NotBase64)?;
        let key = bytes.get(..length).and_then(|decoded| decoded.try_into().ok());
        Self::from_reference(key.ok_or(SecretKeyError::Length { bytes: length })?)
    }

    /// Takes over raw bytes.
    ///
    /// # Errors
    /// [`SecretKeyError::AllBytesEqual`] and [`SecretKeyError::Memory`].
    pub fn from_bytes(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Result<Self, SecretKeyError> {
        Self::from_reference(&bytes)
    }

    fn from_reference(bytes: &[u8; KEY_BYTES]) -> Result<Self, SecretKeyError> {
        // Looks at every byte, whatever it finds.
        let differences = bytes.iter().fold(0, |found, byte| found | (byte ^ bytes[0]));
        if differences == 0 {
            return Err(SecretKeyError::AllBytesEqual);
        }
        Ok(SecretKey(Locked::init(|| *bytes)?))
    }

    /// A new key from a generator of cryptographic quality.
    ///
    /// # Errors
    /// [`LockedMemoryError`] where there is no locked memory to keep it in.
    pub fn generate(rng: &mut impl CryptoRng) -> Result<Self, LockedMemoryError> {
        Locked::init(|| {
            let mut bytes = [0; KEY_BYTES];
            rng.fill_bytes(&mut bytes);
            bytes
        })
        .map(SecretKey)
    }

    /// The key as [`SecretKey::parse_base64`] reads it: 44 characters, padded.
    pub fn to_base64(&self) -> Zeroizing<String> {
        // With room for all of it no growing leaves half a key behind.
        let mut text = Zeroizing::new(String::with_capacity(KEY_BASE64_CHARS));
        BASE64.encode_append(self.0.as_slice(), &mut text);
        text
    }

    /// Whether two keys are the same, in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }

    /// What shows that the key was not drawn at random, if anything does.
    pub fn weakness(&self) -> Option<Weakness> {
        weakness_of(self.expose())
    }

    /// The bytes, for key derivation and judging them alone.
    pub(super) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 00 01 … 1f.
    const COUNTING: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn key(text: &[u8]) -> Result<SecretKey, SecretKeyError> {
        SecretKey::parse_base64(text)
    }

    #[test]
    fn padding_is_optional_and_surrounding_white_space_ignored() {
        let expected: [u8; 32] = std::array::from_fn(|i| i as u8);
        let unpadded = COUNTING.trim_end_matches('=');
        for text in [COUNTING, unpadded, &format!("  {COUNTING}\r\n"), &format!("\t{unpadded}\n")] {
            assert_eq!(key(text.as_bytes()).unwrap().expose(), &expected, "{text:?}");
        }
        assert_eq!(*key(COUNTING.as_bytes()).unwrap().to_base64(), COUNTING);
    }

    #[test]
    fn anything_but_standard_base64_is_refused() {
        let url_safe = "-_-_AwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let inner_space = "AAECAwQFBgcICQoLDA0O DxAREhMUFRYXGBkaGxwdHh8=";
        let trailing_bits = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=";
        let padded_twice = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8==";
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f!";
        for text in [url_safe, inner_space, trailing_bits, padded_twice, hex, "=", "A", "\0"] {
            assert!(matches!(key(text.as_bytes()), Err(SecretKeyError::NotBase64)), "{text:?}");
        }
        assert!(matches!(key(b"\xFF\xFE"), Err(SecretKeyError::NotBase64)));
    }

    #[test]
    fn the_length_is_told() {
        for length in [0, 1, 31, 33, 64, 3_000] {
            let text = BASE64.encode(&vec![1; length]);
            assert!(
                matches!(key(text.as_bytes()), Err(SecretKeyError::Length { bytes }) if bytes == length),
                "{length}"
            );
        }
    }

    #[test]
    fn one_byte_repeated_is_a_placeholder() {
        for byte in [0x00, 0x41, 0xFF] {
            let text = BASE64.encode(&[byte; 32]);
            assert!(matches!(key(text.as_bytes()), Err(SecretKeyError::AllBytesEqual)));
            assert!(matches!(SecretKey::from_bytes(Zeroizing::new([byte; 32])), Err(SecretKeyError::AllBytesEqual)));
        }
        let mut nearly = [7; 32];
        nearly[31] = 8;
        assert!(SecretKey::from_bytes(Zeroizing::new(nearly)).is_ok());
    }

    #[test]
    fn messages_hold_nothing_of_the_text() {
        let texts: [&[u8]; 3] = [b"hunter2!hunter2!", b"aHVudGVyMg==", &[b'Q'; 44]];
        for text in texts {
            let Err(error) = key(text) else { panic!("not a key") };
            let message = format!("{error} {error:?}");
            assert!(!message.contains("hunter2") && !message.contains("aHVudGVyMg") && !message.contains("QQQ"));
        }
    }

    #[test]
    fn equality_sees_every_byte() {
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
    fn generated_keys_differ_and_survive_their_text() {
        let mut rng = rand::rng();
        let (a, b) = (SecretKey::generate(&mut rng).unwrap(), SecretKey::generate(&mut rng).unwrap());
        assert!(!a.ct_eq(&b));
        assert!(key(a.to_base64().as_bytes()).unwrap().ct_eq(&a));
    }
}
