//! XAES-256-GCM, the extended-nonce AEAD of C2SP (<https://c2sp.org/XAES-256-GCM>).

use aes::{
    Aes256Enc, Block,
    cipher::{BlockCipherEncrypt, KeyInit, consts::U12},
};
use aes_gcm::{AesGcm, aead::AeadInOut};
use zeroize::Zeroize;

use super::aead::{NONCE_BYTES, TAG_BYTES, UnsealError};
use masker_types::limits::KEY_BYTES;

/// AES-256-GCM without the key schedule for decryption of blocks. GCM does not need it, and computing it for each nonce
/// would cost time.
type Aes256Gcm = AesGcm<Aes256Enc, U12>;
/// Bytes of the nonce that select the key. The other 12 are the nonce of AES-256-GCM.
const KEY_NONCE_BYTES: usize = 12;

/// A prepared XAES-256-GCM key: the AES-256 key schedule and the CMAC subkey `K1`, which all nonces share.
///
/// ```text
/// K1 = AES-256(K, 0) doubled in GF(2^128)                                   (NIST SP 800-38B section 6.1)
/// Kx = AES-256(K, 00 01 'X' 00 || N[..12] ^ K1) || AES-256(K, 00 02 'X' 00 || N[..12] ^ K1)
/// ciphertext = AES-256-GCM(Kx, N[12..], plaintext, aad)                     (NIST SP 800-108r1, SP 800-38D)
/// ```
///
/// The 192-bit nonce can be random or the output of a PRF: after 2^80 messages, the probability of a repetition is
/// 2^-32. A nonce that is repeated with other data breaks the authentication of GCM. The construction does not commit
/// to its key.
pub(super) struct Xaes256Gcm {
    cipher: Aes256Enc,
    k1: Block,
}

impl Xaes256Gcm {
    /// Prepares a key.
    pub(super) fn new(key: &[u8; KEY_BYTES]) -> Self {
        let cipher = Aes256Enc::new(key.into());
        let mut l = Block::default();
        cipher.encrypt_block(&mut l);
        let k1 = doubled(&l);
        l.as_mut_slice().zeroize();
        Xaes256Gcm { cipher, k1 }
    }

    /// Encrypts `data` in place and returns its tag. The nonce must never repeat under this key with other data or aad.
    pub(super) fn seal(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], data: &mut [u8]) -> [u8; TAG_BYTES] {
        let (cipher, nonce) = self.for_nonce(nonce);
        cipher
            .encrypt_inout_detached(&nonce, aad, data.into())
            .expect("values and records are far shorter than the 64 GiB that AES-GCM can seal")
            .into()
    }

    /// Decrypts `data` in place. If the tag is wrong, `data` stays unchanged.
    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), UnsealError> {
        let (cipher, nonce) = self.for_nonce(nonce);
        cipher.decrypt_inout_detached(&nonce, aad, data.into(), tag.into()).map_err(|_| UnsealError)
    }

    /// Returns the cipher with the key `Kx`, and the nonce `Nx`.
    fn for_nonce(&self, nonce: &[u8; NONCE_BYTES]) -> (Aes256Gcm, aes_gcm::Nonce<U12>) {
        let (key_nonce, gcm_nonce) = nonce.split_at(KEY_NONCE_BYTES);
        let mut halves = [[0, 1, b'X', 0], [0, 2, b'X', 0]].map(|counter_and_label| {
            let mut block = Block::default();
            block[..4].copy_from_slice(&counter_and_label);
            block[4..].copy_from_slice(key_nonce);
            block.iter_mut().zip(&self.k1).for_each(|(byte, k1)| *byte ^= k1);
            block
        });
        self.cipher.encrypt_blocks(&mut halves);
        let mut key = [0; KEY_BYTES];
        key[..16].copy_from_slice(&halves[0]);
        key[16..].copy_from_slice(&halves[1]);
        let cipher = Aes256Gcm::new((&key).into());
        key.zeroize();
        halves.iter_mut().for_each(|half| half.as_mut_slice().zeroize());
        let mut nonce = aes_gcm::Nonce::default();
        nonce.copy_from_slice(gcm_nonce);
        (cipher, nonce)
    }
}

impl Drop for Xaes256Gcm {
    fn drop(&mut self) {
        self.k1.as_mut_slice().zeroize();
    }
}

/// Multiplies by `x` in GF(2^128) as CMAC does (NIST SP 800-38B section 6.1), without a branch on the secret.
fn doubled(l: &Block) -> Block {
    let l = u128::from_be_bytes((*l).into());
    let carry = (l >> 127).wrapping_neg() & 0b1000_0111;
    ((l << 1) ^ carry).to_be_bytes().into()
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use shake::{ExtendableOutput, Shake128, Update, XofReader};

    use super::*;

    /// Checks the two vectors of <https://c2sp.org/XAES-256-GCM> with their inner values. The top bit of `L` is 0 in
    /// the first and 1 in the second.
    #[test]
    fn c2sp_vectors() {
        let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        let cases: [(u8, &[u8], &str, &str); 2] = [
            (0x01, b"", "e531954aca063d5b8d9c47a47d4cc6f0", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
            (
                0x03,
                b"c2sp.org/XAES-256-GCM",
                "23810ec50edb99f374409466ed1f4b7b",
                "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
            ),
        ];
        for (key, aad, k1, sealed) in cases {
            let xaes = Xaes256Gcm::new(&[key; 32]);
            assert_eq!(HEXLOWER.encode(&xaes.k1), k1);
            let mut data = *b"XAES-256-GCM";
            let tag = xaes.seal(nonce, aad, &mut data);
            assert_eq!(HEXLOWER.encode(&[&data[..], &tag[..]].concat()), sealed);
            xaes.open(nonce, aad, &mut data, &tag).unwrap();
            assert_eq!(&data, b"XAES-256-GCM");
        }
    }

    /// Runs the accumulated randomized test of <https://c2sp.org/XAES-256-GCM>: keys, nonces, plaintexts and associated
    /// data come from one SHAKE128 of the empty input, and ciphertexts go into another.
    #[test]
    fn c2sp_accumulated_10_000() {
        let mut source = Shake128::default().finalize_xof();
        let mut sink = Shake128::default();
        fn array<const N: usize>(source: &mut impl XofReader) -> [u8; N] {
            let mut bytes = [0; N];
            source.read(&mut bytes);
            bytes
        }
        fn opaque(source: &mut impl XofReader) -> Vec<u8> {
            let [length] = array(source);
            let mut bytes = vec![0; usize::from(length)];
            source.read(&mut bytes);
            bytes
        }
        for _ in 0..10_000 {
            let xaes = Xaes256Gcm::new(&array(&mut source));
            let nonce = array(&mut source);
            let plaintext = opaque(&mut source);
            let aad = opaque(&mut source);
            let mut data = plaintext.clone();
            let tag = xaes.seal(&nonce, &aad, &mut data);
            sink.update(&data);
            sink.update(&tag);
            xaes.open(&nonce, &aad, &mut data, &tag).unwrap();
            assert_eq!(data, plaintext);
        }
        let accumulated = HEXLOWER.encode(&array::<32>(&mut sink.finalize_xof()));
        assert_eq!(accumulated, "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939");
    }

    #[test]
    fn failed_decryption_leaves_the_data_unchanged() {
        let xaes = Xaes256Gcm::new(&[5; 32]);
        let mut data = *b"sixteen bytes!!!";
        let mut tag = xaes.seal(&[1; 24], b"aad", &mut data);
        tag[15] ^= 1;
        let before = data;
        assert!(xaes.open(&[1; 24], b"aad", &mut data, &tag).is_err());
        assert_eq!(data, before);
    }
}
