//! HMAC-SHA256, the PRF of tokens (indexes, index tags, synthetic nonces) and the link of the audit chain.

use hmac::{
    KeyInit,
    block_api::HmacCore,
    digest::{
        Output,
        block_api::{Buffer, FixedOutputCore, UpdateCore},
    },
};
use sha2::Sha256;

use super::encoding::enc;

/// A prepared HMAC-SHA256 key: the two states after the inner and the outer key block (RFC 2104 section 4). A tag then
/// costs no more than its message.
///
/// The states are as secret as the key, so they are kept in [`super::Locked`]. The copy that computes a tag is wiped
/// when it is dropped, and it is never moved: a move would leave a copy on the stack that is not wiped.
pub(super) struct MacKey(HmacCore<Sha256>);

impl MacKey {
    /// Prepares a key. HMAC accepts any length; the keys of this crate are 32 bytes.
    pub(super) fn new(key: &[u8]) -> Self {
        MacKey(HmacCore::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104 section 2)"))
    }

    /// Computes `HMAC-SHA256(key, enc(parts))[0..N]`. A truncated tag keeps the properties of HMAC (RFC 2104 section
    /// 5).
    pub(super) fn tag<const N: usize>(&self, parts: &[&[u8]]) -> [u8; N] {
        self.truncated(|feed| enc(parts, feed))
    }

    /// Computes `HMAC-SHA256(key, a || b)`. The first part has a fixed length, so the parts need no [`enc`].
    pub(super) fn tag_of_two(&self, a: &[u8; 32], b: &[u8]) -> [u8; 32] {
        self.truncated(|feed| {
            feed(a);
            feed(b);
        })
    }

    fn truncated<const N: usize>(&self, message: impl FnOnce(&mut dyn FnMut(&[u8]))) -> [u8; N] {
        const { assert!(N <= 32) };
        let mut mac = self.0.clone();
        let mut buffer = Buffer::<HmacCore<Sha256>>::default();
        message(&mut |piece| buffer.digest_blocks(piece, |blocks| mac.update_blocks(blocks)));
        let mut whole = Output::<HmacCore<Sha256>>::default();
        mac.finalize_fixed_core(&mut buffer, &mut whole);
        let mut tag = [0; N];
        tag.copy_from_slice(&whole[..N]);
        tag
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    /// RFC 4231 section 4, HMAC-SHA-256: key, data, tag. Case 5 is truncated to 128 bits.
    #[test]
    fn rfc_4231() {
        let counting: Vec<u8> = (1..=25).collect();
        let cases: [(&[u8], &[u8], &str); 7] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            (&counting, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
            (&[0x0c; 20], b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                &[0xaa; 131],
                b"This is a test using a larger than block-size key and a larger than block-size data. The key needs \
                  to be hashed before being used by the HMAC algorithm.",
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (i, (key, data, tag)) in cases.into_iter().enumerate() {
            let key = MacKey::new(key);
            if tag.len() == 32 {
                assert_eq!(HEXLOWER.encode(&key.truncated::<16>(|feed| feed(data))), tag, "case {}", i + 1);
            } else {
                assert_eq!(HEXLOWER.encode(&key.truncated::<32>(|feed| feed(data))), tag, "case {}", i + 1);
            }
        }
    }

    #[test]
    fn a_prepared_key_can_be_reused() {
        let key = MacKey::new(&[1; 32]);
        let first: [u8; 32] = key.tag(&[b"a", b"b"]);
        assert_ne!(key.tag(&[b"ab", b""]), first);
        assert_eq!(key.tag(&[b"a", b"b"]), first);
        assert_eq!(key.tag::<16>(&[b"a", b"b"]), first[..16]);
    }
}
