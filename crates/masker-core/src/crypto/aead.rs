//! The suites of reversible tokens, and the bodies that they seal.

use std::fmt;

use data_encoding::HEXLOWER;
use rand::CryptoRng;

use super::padding;
use masker_types::limits::VALUE_BYTES_MAX;

/// Length of the part of a fingerprint in a header, in bytes.
pub const PREFIX_BYTES: usize = 4;
/// Length of a header, in bytes: the code of the suite, then the first bytes of the fingerprint of the key generation.
pub(super) const HEADER_BYTES: usize = 1 + PREFIX_BYTES;
/// Length of a nonce in every suite, in bytes: 192 bits.
pub const NONCE_BYTES: usize = 24;
/// Length of an authentication tag in every suite, in bytes: 128 bits.
pub const TAG_BYTES: usize = 16;
/// Length of a body without its padded value, in bytes.
const OVERHEAD_BYTES: usize = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;
/// Length of the longest body, in bytes: 257 blocks of 16 for a value of 4,096 bytes.
pub const BODY_BYTES_MAX: usize = OVERHEAD_BYTES + padding::padded_bytes(VALUE_BYTES_MAX);

const _: () = assert!(OVERHEAD_BYTES == 45);
const _: () = assert!(BODY_BYTES_MAX == 45 + 16 * 257);

/// Opening failed. The sealed bytes are forged or damaged, belong to another kind, key id or context, or were sealed
/// under another key. There is a single error, so that it reveals nothing to an attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token or record does not open under this key, kind, key id and context")]
pub struct UnsealError;

/// Returns a random nonce.
pub(super) fn random_nonce(rng: &mut impl CryptoRng) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    rng.fill_bytes(&mut nonce);
    nonce
}

/// The AEAD of a suite.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AeadCipher {
    Xaes256Gcm,
    XChaCha20Poly1305,
}

/// The way a reversible token is sealed: a cipher, and the source of its nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// `0x01`: XAES-256-GCM under a synthetic nonce. Equal values give equal tokens.
    Xaes256Gcm,
    /// `0x02`: XChaCha20-Poly1305 under a synthetic nonce. Equal values give equal tokens.
    XChaCha20Poly1305,
    /// `0x11`: XAES-256-GCM under a random nonce. It does not commit to its key: only the fingerprint selects the key.
    Xaes256GcmRandom,
    /// `0x12`: XChaCha20-Poly1305 under a random nonce. It does not commit to its key: only the fingerprint selects the
    /// key.
    XChaCha20Poly1305Random,
}

impl Suite {
    /// All suites, in the order of their codes.
    pub const ALL: [Suite; 4] =
        [Suite::Xaes256Gcm, Suite::XChaCha20Poly1305, Suite::Xaes256GcmRandom, Suite::XChaCha20Poly1305Random];

    /// Returns the code of the suite, which is the first byte of a body.
    pub const fn code(self) -> u8 {
        match self {
            Suite::Xaes256Gcm => 0x01,
            Suite::XChaCha20Poly1305 => 0x02,
            Suite::Xaes256GcmRandom => 0x11,
            Suite::XChaCha20Poly1305Random => 0x12,
        }
    }

    /// Returns the suite with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.code() == code)
    }

    /// Returns whether equal inputs give equal tokens.
    pub const fn is_deterministic(self) -> bool {
        matches!(self, Suite::Xaes256Gcm | Suite::XChaCha20Poly1305)
    }

    /// Returns the suite with the same cipher whose tokens are different every time.
    pub const fn with_random_nonce(self) -> Self {
        match self.cipher() {
            AeadCipher::Xaes256Gcm => Suite::Xaes256GcmRandom,
            AeadCipher::XChaCha20Poly1305 => Suite::XChaCha20Poly1305Random,
        }
    }

    pub(super) const fn cipher(self) -> AeadCipher {
        match self {
            Suite::Xaes256Gcm | Suite::Xaes256GcmRandom => AeadCipher::Xaes256Gcm,
            Suite::XChaCha20Poly1305 | Suite::XChaCha20Poly1305Random => AeadCipher::XChaCha20Poly1305,
        }
    }
}

/// The decoded body of a reversible token: `suite || fingerprint[..4] || nonce || ciphertext || tag`.
///
/// Holding one proves that its suite exists and that its length is 45 + 16·n bytes, with n from 1 to 257. Its origin is
/// not proven.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AeadBody {
    suite: Suite,
    bytes: Box<[u8]>,
}

impl AeadBody {
    /// Creates a body from bytes. Returns `None` if the suite or the length is not valid.
    pub fn from_bytes(bytes: Box<[u8]>) -> Option<Self> {
        let suite = Suite::from_code(*bytes.first()?)?;
        Self::is_length(bytes.len()).then_some(AeadBody { suite, bytes })
    }

    /// Returns whether a body can have this length, in bytes.
    pub const fn is_length(bytes: usize) -> bool {
        let shortest = OVERHEAD_BYTES + padding::BLOCK_BYTES;
        shortest <= bytes && bytes <= BODY_BYTES_MAX && (bytes - shortest).is_multiple_of(padding::BLOCK_BYTES)
    }

    /// Builds a body in one allocation that is never moved: header, nonce, and the padded value. Then `seal` encrypts
    /// the padded value in place and returns the tag.
    pub(super) fn seal(
        suite: Suite,
        header: [u8; HEADER_BYTES],
        nonce: &[u8; NONCE_BYTES],
        value: &str,
        seal: impl FnOnce(&mut [u8]) -> [u8; TAG_BYTES],
    ) -> Self {
        let length = OVERHEAD_BYTES + padding::padded_bytes(value.len());
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(nonce);
        bytes.extend_from_slice(value.as_bytes());
        padding::pad(&mut bytes, value.len());
        let tag = seal(&mut bytes[HEADER_BYTES + NONCE_BYTES..]);
        bytes.extend_from_slice(&tag);
        AeadBody { suite, bytes: bytes.into_boxed_slice() }
    }

    /// Returns the suite that sealed the body.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Returns the first bytes of the fingerprint of the key generation that sealed the body.
    pub fn fingerprint_prefix(&self) -> [u8; PREFIX_BYTES] {
        self.chunk::<1, PREFIX_BYTES>()
    }

    /// Returns the nonce.
    pub fn nonce(&self) -> [u8; NONCE_BYTES] {
        self.chunk::<HEADER_BYTES, NONCE_BYTES>()
    }

    /// Returns the whole body, as the text of the token encodes it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn header(&self) -> [u8; HEADER_BYTES] {
        self.chunk::<0, HEADER_BYTES>()
    }

    /// Returns the padded and encrypted value without its tag.
    pub(super) fn ciphertext(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES + NONCE_BYTES..self.bytes.len() - TAG_BYTES]
    }

    pub(super) fn tag(&self) -> [u8; TAG_BYTES] {
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&self.bytes[self.bytes.len() - TAG_BYTES..]);
        tag
    }

    /// Returns a field of the fixed part at the front. Every body is longer than it.
    fn chunk<const AT: usize, const LENGTH: usize>(&self) -> [u8; LENGTH] {
        const { assert!(AT + LENGTH <= OVERHEAD_BYTES) };
        let mut field = [0; LENGTH];
        field.copy_from_slice(&self.bytes[AT..AT + LENGTH]);
        field
    }
}

impl fmt::Debug for AeadBody {
    /// Shows only the header and the length: the rest is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = HEXLOWER.encode(&self.fingerprint_prefix());
        write!(f, "AeadBody({:?} by {prefix}…, {} bytes)", self.suite, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_suites_are_one_to_one() {
        for code in 0..=u8::MAX {
            match Suite::from_code(code) {
                Some(suite) => assert_eq!(suite.code(), code),
                None => assert!(!matches!(code, 0x01 | 0x02 | 0x11 | 0x12)),
            }
        }
        assert_eq!(Suite::ALL.map(Suite::code), [0x01, 0x02, 0x11, 0x12]);
        assert_eq!(Suite::ALL.map(Suite::is_deterministic), [true, true, false, false]);
    }

    #[test]
    fn accepts_only_whole_blocks_and_known_suites() {
        for length in 0..=BODY_BYTES_MAX + 32 {
            let mut bytes = vec![0; length];
            bytes.iter_mut().take(1).for_each(|code| *code = 0x12);
            let expected = length >= 61 && (length - 45) % 16 == 0 && (length - 45) / 16 <= 257;
            assert_eq!(AeadBody::from_bytes(bytes.into()).is_some(), expected, "{length}");
        }
        assert!(AeadBody::from_bytes(vec![0x03; 61].into()).is_none());
    }

    #[test]
    fn debug_shows_only_the_header() {
        let mut bytes = vec![0xEE; 61];
        bytes[0] = 0x01;
        let body = AeadBody::from_bytes(bytes.into()).unwrap();
        assert_eq!(format!("{body:?}"), "AeadBody(Xaes256Gcm by eeeeeeee…, 61 bytes)");
    }
}
