//! Keys that a key generation seals: the file keys of exports, and the control keys of vaults.

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::{
    aead::{NONCE_BYTES, TAG_BYTES, random_nonce},
    secret::{LockedMemoryError, SecretKey, SecretKeyError},
    xaes::Xaes256Gcm,
};
use masker_types::limits::KEY_BYTES;

/// Length of a wrapped key with its tag, in bytes.
pub const WRAPPED_BYTES: usize = KEY_BYTES + TAG_BYTES;

/// A key, sealed by a key generation with XAES-256-GCM.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The random nonce.
    pub nonce: [u8; NONCE_BYTES],
    /// The sealed key and its tag.
    pub sealed: [u8; WRAPPED_BYTES],
}

impl WrappedKey {
    pub(super) fn seal(cipher: &Xaes256Gcm, key: &SecretKey, aad: &[u8], rng: &mut impl CryptoRng) -> Self {
        let nonce = random_nonce(rng);
        let mut sealed = [0; WRAPPED_BYTES];
        let (data, tag) = sealed.split_at_mut(KEY_BYTES);
        data.copy_from_slice(key.expose());
        tag.copy_from_slice(&cipher.seal(&nonce, aad, data));
        WrappedKey { nonce, sealed }
    }

    /// Opens the key. Returns `None` if it was sealed under another key, or with other associated data.
    pub(super) fn open(&self, cipher: &Xaes256Gcm, aad: &[u8]) -> Result<Option<SecretKey>, LockedMemoryError> {
        let Some((data, tag)) = self.sealed.split_last_chunk::<TAG_BYTES>() else { return Ok(None) };
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        key.copy_from_slice(data);
        if cipher.open(&self.nonce, aad, key.as_mut_slice(), tag).is_err() {
            return Ok(None);
        }
        match SecretKey::from_bytes(key) {
            Ok(key) => Ok(Some(key)),
            Err(SecretKeyError::Memory(memory)) => Err(memory),
            // Only keys are wrapped.
            Err(_) => Ok(None),
        }
    }
}
