//! The cryptography of an export: the file key, wrapped by each key generation that may open the file, and the stream
//! of chunks that is sealed under it.

use aead_stream::{NewStream, StreamBE32, StreamPrimitive};
use chacha20poly1305::XChaCha20Poly1305;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    aead::{NONCE_BYTES, TAG_BYTES, UnsealError},
    kdf::{expand, extract},
    secret::{Locked, LockedMemoryError, SecretKey},
};
use masker_types::limits::KEY_BYTES;

/// Length of the random salt of an export, in bytes.
pub const SALT_BYTES: usize = 32;
/// Bytes that sealing adds to a chunk.
pub const CHUNK_OVERHEAD_BYTES: usize = TAG_BYTES;
/// Bytes of the nonce that all chunks share. The others are the number of the chunk and the mark of the last.
const NONCE_PREFIX_BYTES: usize = NONCE_BYTES - 5;
/// The purpose of the payload key, for its derivation.
const INFO: &[u8] = b"masker export v1";

/// The cipher of the payload of an export: STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, "Online
/// Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015) over XChaCha20-Poly1305.
///
/// ```text
/// prk       = HKDF-Extract(salt, file key)                                              (HKDF-SHA256, RFC 5869)
/// key || np = HKDF-Expand(prk, "masker export v1" || 0x00 || SHA-256(header), 32 + 19)
/// chunk i   = XChaCha20-Poly1305(key, np || u32 i || last, plaintext i)                 last: 1 for the last chunk, else 0
/// ```
///
/// The file key is random and used for one file, so no nonce repeats. A chunk that was moved, repeated, omitted or
/// added does not open, nor does any chunk under another header. A file has at most 2^32 chunks.
pub struct ExportCipher(Locked<StreamBE32<XChaCha20Poly1305>>);

impl ExportCipher {
    /// Derives the payload key for a header.
    ///
    /// # Errors
    /// Returns [`LockedMemoryError`] if no locked memory is available.
    pub fn new(file_key: &SecretKey, salt: &[u8; SALT_BYTES], header: &[u8]) -> Result<Self, LockedMemoryError> {
        let stream = Locked::init(|| {
            let mut okm = Zeroizing::new([0; KEY_BYTES + NONCE_PREFIX_BYTES]);
            expand(&extract(salt, file_key.expose()), &[INFO, &[0], &Sha256::digest(header)], okm.as_mut_slice());
            let mut key = Zeroizing::new([0; KEY_BYTES]);
            let mut nonce = [0; NONCE_PREFIX_BYTES];
            key.copy_from_slice(&okm[..KEY_BYTES]);
            nonce.copy_from_slice(&okm[KEY_BYTES..]);
            StreamBE32::new((&*key).into(), (&nonce).into())
        })?;
        Ok(ExportCipher(stream))
    }

    /// Seals a chunk in place. The numbers of the chunks of a file must differ.
    pub fn seal(&self, number: u32, last: bool, chunk: &mut Vec<u8>) {
        self.0
            .encrypt_in_place(number, last, &[], chunk)
            .expect("a chunk is far shorter than the 256 GiB that ChaCha20 can seal, and a vector grows");
    }

    /// Opens a chunk in place.
    ///
    /// # Errors
    /// Returns [`UnsealError`] if this is not the chunk with this number, or if `last` differs.
    pub fn open(&self, number: u32, last: bool, chunk: &mut Vec<u8>) -> Result<(), UnsealError> {
        self.0.decrypt_in_place(number, last, &[], chunk).map_err(|_| UnsealError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{GenerationKeys, aead::NONCE_BYTES, wrapped_key::WRAPPED_BYTES};
    use masker_types::{kind::Kid, mode::Mode};

    fn key(number: u8) -> SecretKey {
        SecretKey::from_bytes(Zeroizing::new(std::array::from_fn(|i| number ^ i as u8))).unwrap()
    }

    #[test]
    fn a_wrapped_key_opens_only_under_its_generation_and_export_id() {
        let kid = |text| Kid::parse(text).unwrap();
        let keys = |kid, number, mode| GenerationKeys::derive(kid, &key(number), mode).unwrap();
        let own = keys(kid("K"), 1, Mode::Live);
        let wrapped = own.wrap_export_key(&key(9), b"bound to", &mut rand::rng());
        let opened =
            |keys: &GenerationKeys, wrapped: &_, export_id: &[u8]| keys.unwrap_export_key(wrapped, export_id).unwrap();
        assert!(opened(&own, &wrapped, b"bound to").is_some_and(|back| back.ct_eq(&key(9))));
        assert!(opened(&own, &wrapped, b"bound tp").is_none());
        for other in [keys(kid("K"), 2, Mode::Live), keys(kid("K_2"), 1, Mode::Live), keys(kid("K"), 1, Mode::Test)] {
            assert!(opened(&other, &wrapped, b"bound to").is_none());
        }
        for bit in 0..8 * (NONCE_BYTES + WRAPPED_BYTES) {
            let mut changed = wrapped.clone();
            match (bit / 8).checked_sub(NONCE_BYTES) {
                None => changed.nonce[bit / 8] ^= 1 << (bit % 8),
                Some(byte) => changed.sealed[byte] ^= 1 << (bit % 8),
            }
            assert!(opened(&own, &changed, b"bound to").is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_chunk_opens_only_at_its_position() {
        let cipher = ExportCipher::new(&key(1), &[2; 32], b"header").unwrap();
        let mut sealed = b"a chunk".to_vec();
        cipher.seal(3, false, &mut sealed);
        assert_eq!(sealed.len(), 7 + CHUNK_OVERHEAD_BYTES);
        let opened = |cipher: &ExportCipher, number, last| {
            let mut chunk = sealed.clone();
            cipher.open(number, last, &mut chunk).map(|()| chunk)
        };
        assert_eq!(opened(&cipher, 3, false).unwrap(), b"a chunk");
        for (number, last) in [(2, false), (4, false), (3, true)] {
            assert!(opened(&cipher, number, last).is_err());
        }
        for (file_key, salt, header) in
            [(2, [2; 32], &b"header"[..]), (1, [3; 32], b"header"), (1, [2; 32], b"headex"), (1, [2; 32], b"heade")]
        {
            let other = ExportCipher::new(&key(file_key), &salt, header).unwrap();
            assert!(opened(&other, 3, false).is_err());
        }
        for bit in 0..8 * sealed.len() {
            let mut chunk = sealed.clone();
            chunk[bit / 8] ^= 1 << (bit % 8);
            assert!(cipher.open(3, false, &mut chunk).is_err(), "bit {bit}");
        }
    }

    /// Computes the construction a second time, from the formula above.
    #[test]
    fn the_stream_follows_the_formula() {
        use chacha20poly1305::{KeyInit, aead::Aead};
        let (salt, header) = ([7; 32], b"any header");
        let mut sealed = b"plain".to_vec();
        ExportCipher::new(&key(5), &salt, header).unwrap().seal(0x0102_0304, true, &mut sealed);
        let hkdf = hkdf::Hkdf::<Sha256>::new(Some(&salt), key(5).expose());
        let mut okm = [0; 51];
        hkdf.expand(&[&b"masker export v1\0"[..], &Sha256::digest(header)].concat(), &mut okm).unwrap();
        let mut nonce = [0; 24];
        nonce[..19].copy_from_slice(&okm[32..]);
        nonce[19..].copy_from_slice(&[1, 2, 3, 4, 1]);
        let key: [u8; 32] = okm[..32].try_into().unwrap();
        let cipher = XChaCha20Poly1305::new((&key).into());
        assert_eq!(cipher.encrypt((&nonce).into(), &b"plain"[..]).unwrap(), sealed);
    }
}
