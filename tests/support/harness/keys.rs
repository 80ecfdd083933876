//! Keys for tests, and their derived values, computed independently of the code under test.

use data_encoding::{BASE64, HEXLOWER};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

/// A key that depends only on its name.
#[derive(Clone, PartialEq, Eq)]
pub struct TestKey([u8; 32]);

impl TestKey {
    /// Returns the key of this name.
    pub fn named(name: &str) -> Self {
        TestKey(Sha256::digest(["a key for masker's tests: ", name].concat()).into())
    }

    /// Returns a key of these bytes, in hex.
    pub fn hex(digits: &str) -> Self {
        let bytes = HEXLOWER.decode(digits.as_bytes()).expect("hex");
        TestKey(bytes.try_into().expect("32 bytes"))
    }

    /// Returns the 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the key as written in the environment.
    pub fn base64(&self) -> String {
        BASE64.encode(&self.0)
    }

    /// Returns HKDF-Extract of the key (RFC 5869), which is as sensitive as the key.
    pub fn extracted(&self) -> [u8; 32] {
        Hkdf::<Sha256>::extract(Some(b"masker.v1"), &self.0).0.into()
    }

    /// Returns the subkey with this label for a key id.
    pub fn subkey(&self, kid: &str, label: &str) -> [u8; 32] {
        let mut subkey = [0; 32];
        let info = [label.as_bytes(), &[0], kid.as_bytes()].concat();
        Hkdf::<Sha256>::new(Some(b"masker.v1"), &self.0).expand(&info, &mut subkey).expect("one block");
        subkey
    }

    /// Returns the fingerprint of the key for a key id: 16 hex digits.
    pub fn fingerprint(&self, kid: &str) -> String {
        HEXLOWER.encode(&self.subkey(kid, "fingerprint")[..8])
    }
}
