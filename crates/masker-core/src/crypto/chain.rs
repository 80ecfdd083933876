//! The key of the audit chain.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    id::TokenId,
    mac::MacKey,
    secret::{Locked, LockedMemoryError, SecretKey},
};

/// The prepared key that links the events of the audit log, in locked memory.
///
/// Without it, nobody can change or insert an event, because each hash covers the hash before it. It has no `Debug` and
/// no `Clone`.
pub struct ChainKey(Locked<MacKey>);

impl ChainKey {
    /// Prepares a key. It is used without derivation, so that an auditor can compute hashes with common tools.
    ///
    /// # Errors
    /// Returns [`LockedMemoryError`] if no locked memory is available.
    pub fn new(key: &SecretKey) -> Result<Self, LockedMemoryError> {
        Locked::init(|| MacKey::new(key.expose())).map(ChainKey)
    }

    /// Computes `HMAC-SHA256(key, previous || event)`: the hash of an event whose predecessor has the hash `previous`.
    pub fn link(&self, previous: &[u8; 32], event: &[u8]) -> [u8; 32] {
        self.0.tag_of_two(previous, event)
    }

    /// Computes `HMAC-SHA256(key, enc("erased", id))[..16]`: what the log says of an erased record. Only who has the key and the
    /// id can tell that it is of this record.
    pub fn erasure_mark(&self, id: &TokenId) -> [u8; 16] {
        self.0.tag(&[b"erased", id.as_bytes()])
    }

    /// Computes `HMAC-SHA256(key, enc("rollup", SHA-256(rollup)))`: the MAC of a rollup, the summary of a closed segment.
    pub fn rollup_mac(&self, rollup: &[u8]) -> [u8; 32] {
        self.0.tag(&[b"rollup", &Sha256::digest(rollup)])
    }

    /// Returns whether a MAC is that of a rollup, in constant time.
    pub fn accepts_rollup(&self, rollup: &[u8], mac: &[u8; 32]) -> bool {
        self.rollup_mac(rollup).ct_eq(mac).into()
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use zeroize::Zeroizing;

    use super::*;

    /// Computed with `openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1f` over 32 zero bytes and `{}`.
    #[test]
    fn a_link_is_the_hmac_of_the_previous_hash_and_the_event() {
        let bytes = Zeroizing::new(std::array::from_fn(|i| i as u8));
        let key = ChainKey::new(&SecretKey::from_bytes(bytes).unwrap()).unwrap();
        assert_eq!(
            HEXLOWER.encode(&key.link(&[0; 32], b"{}")),
            "90fe99f432973397aa5c5709fd2166204591b36d93fb6812ab27f4357368b931"
        );
        assert_ne!(key.link(&[1; 32], b"{}"), key.link(&[0; 32], b"{}"));
    }

    /// Computed with Python: `hmac.digest(bytes(range(32)), enc(b"erased", bytes(range(20))), "sha256")[:16]`.
    #[test]
    fn a_mark_is_the_truncated_hmac_of_the_id() {
        let bytes = Zeroizing::new(std::array::from_fn(|i| i as u8));
        let key = ChainKey::new(&SecretKey::from_bytes(bytes).unwrap()).unwrap();
        let id = TokenId::from_bytes(std::array::from_fn(|i| i as u8));
        assert_eq!(HEXLOWER.encode(&key.erasure_mark(&id)), "33ec12faa89012b5b6d441efa50fcb8f");
    }
}
