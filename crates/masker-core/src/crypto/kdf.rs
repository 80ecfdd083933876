//! The subkeys of a key generation, for each purpose and mode.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use super::secret::SecretKey;
use masker_types::{kind::Kid, limits::KEY_BYTES, mode::Mode};

/// The salt of HKDF-Extract, which separates this format from other uses of the same key.
const SALT: &[u8] = b"masker.v1";

/// The purpose of a subkey. The texts are part of the formats of tokens and exports.
#[derive(Clone, Copy)]
pub(super) enum SubkeyLabel {
    /// The HMAC key of value and form indexes.
    Index,
    /// The HMAC key of synthetic nonces.
    Nonce,
    /// The cipher key of reversible tokens under XAES-256-GCM.
    AeadXaes256Gcm,
    /// The cipher key of reversible tokens under XChaCha20-Poly1305.
    AeadXChaCha20Poly1305,
    /// The cipher key of vault records.
    Record,
    /// The HMAC key that authenticates index rows.
    IndexTag,
    /// The cipher key that wraps the keys of exports.
    Export,
    /// The cipher key of the slot that holds a vault's control key.
    Control,
    /// Not a key: its first 8 bytes are the public name of the generation, the same in both modes.
    Fingerprint,
}

impl SubkeyLabel {
    fn as_str(self) -> &'static str {
        match self {
            SubkeyLabel::Index => "index",
            SubkeyLabel::Nonce => "nonce",
            SubkeyLabel::AeadXaes256Gcm => "aead/xaes-256-gcm",
            SubkeyLabel::AeadXChaCha20Poly1305 => "aead/xchacha20-poly1305",
            SubkeyLabel::Record => "record",
            SubkeyLabel::IndexTag => "index-tag",
            SubkeyLabel::Export => "export",
            SubkeyLabel::Control => "control",
            SubkeyLabel::Fingerprint => "fingerprint",
        }
    }
}

/// A key generation after HKDF-Extract, from which subkeys are expanded. It is on the stack while the prepared states
/// are built; [`super::Locked::init`] wipes that stack.
pub(super) struct Subkeys {
    kid: Kid,
    hkdf: Hkdf<Sha256>,
}

impl Subkeys {
    /// Computes `prk = HKDF-Extract(salt = "masker.v1", ikm = key)` with HKDF-SHA256 (RFC 5869).
    pub(super) fn extract(kid: Kid, key: &SecretKey) -> Self {
        Subkeys { kid, hkdf: extract(SALT, key.expose()) }
    }

    /// Computes `HKDF-Expand(prk, info = label || 0x00 || kid, length = 32)`. In the test mode the label begins with
    /// `test/`, except for the fingerprint. No label contains a zero byte, so no two pairs of label and kid have the
    /// same `info`.
    pub(super) fn subkey(&self, mode: Mode, label: SubkeyLabel) -> Zeroizing<[u8; KEY_BYTES]> {
        let mode = match (mode, label) {
            (Mode::Live, _) | (_, SubkeyLabel::Fingerprint) => "",
            (Mode::Test, _) => "test/",
        };
        let info = [mode.as_bytes(), label.as_str().as_bytes(), &[0], self.kid.as_str().as_bytes()];
        let mut subkey = Zeroizing::new([0; KEY_BYTES]);
        expand(&self.hkdf, &info, subkey.as_mut_slice());
        subkey
    }
}

pub(super) fn extract(salt: &[u8], ikm: &[u8]) -> Hkdf<Sha256> {
    let (mut prk, hkdf) = Hkdf::extract(Some(salt), ikm);
    prk.as_mut_slice().zeroize();
    hkdf
}

pub(super) fn expand(hkdf: &Hkdf<Sha256>, info: &[&[u8]], okm: &mut [u8]) {
    hkdf.expand_multi_info(info, okm).expect("a key is one or two blocks of the 255 that HKDF-SHA256 can expand");
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use serde_json::Value;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    /// RFC 5869 appendix A.1 to A.3, the SHA-256 cases: ikm, salt, info, okm.
    #[test]
    fn rfc_5869() {
        let counting = |range: std::ops::RangeInclusive<u8>| range.collect::<Vec<u8>>();
        let cases = [
            (
                vec![0x0b; 22],
                counting(0x00..=0x0c),
                counting(0xf0..=0xf9),
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            ),
            (
                counting(0x00..=0x4f),
                counting(0x60..=0xaf),
                counting(0xb0..=0xff),
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09\
                 da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
            ),
            (
                vec![0x0b; 22],
                vec![],
                vec![],
                "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
            ),
        ];
        for (i, (ikm, salt, info, okm)) in cases.into_iter().enumerate() {
            let expected = hex(okm);
            let mut got = vec![0; expected.len()];
            // In two pieces, because infos are passed in pieces.
            let (front, back) = info.split_at(info.len() / 3);
            expand(&extract(&salt, &ikm), &[front, back], &mut got);
            assert_eq!(got, expected, "case A.{}", i + 1);
        }
    }

    #[test]
    fn matches_every_derive_vector() {
        let file: Value = serde_json::from_str(include_str!("../../../../tests/vectors/tokens-v1.json")).unwrap();
        let labels = [
            (Mode::Live, SubkeyLabel::Index, "index"),
            (Mode::Live, SubkeyLabel::IndexTag, "index-tag"),
            (Mode::Live, SubkeyLabel::Nonce, "nonce"),
            (Mode::Live, SubkeyLabel::AeadXaes256Gcm, "aead/xaes-256-gcm"),
            (Mode::Live, SubkeyLabel::AeadXChaCha20Poly1305, "aead/xchacha20-poly1305"),
            (Mode::Live, SubkeyLabel::Record, "record"),
            (Mode::Live, SubkeyLabel::Export, "export"),
            (Mode::Live, SubkeyLabel::Control, "control"),
            (Mode::Live, SubkeyLabel::Fingerprint, "fingerprint"),
            (Mode::Test, SubkeyLabel::Index, "test/index"),
        ];
        let mut count = 0;
        for vector in file["vectors"].as_array().unwrap().iter().filter(|v| v["kind_of"] == "derive") {
            let kid = Kid::parse(vector["kid"].as_str().unwrap()).unwrap();
            let key = hex(vector["key"].as_str().unwrap());
            let key = SecretKey::from_bytes(Zeroizing::new(key.try_into().unwrap())).unwrap();
            let subkeys = Subkeys::extract(kid, &key);
            let expected = vector["subkeys"].as_object().unwrap();
            assert_eq!(expected.len(), labels.len(), "this test lacks a label");
            for (mode, label, text) in labels {
                let got = HEXLOWER.encode(subkeys.subkey(mode, label).as_slice());
                assert_eq!(expected[text].as_str(), Some(got.as_str()), "{kid} {text}");
                count += 1;
            }
            let [live, test] = [Mode::Live, Mode::Test].map(|mode| subkeys.subkey(mode, SubkeyLabel::Fingerprint));
            assert_eq!(live, test, "the fingerprint is the same in both modes");
            assert_eq!(HEXLOWER.encode(&live[..8]), vector["fingerprint"].as_str().unwrap());
        }
        assert_eq!(count, 6 * labels.len());
    }

    #[test]
    fn subkeys_differ_by_mode_label_and_kid() {
        let key = SecretKey::from_bytes(Zeroizing::new(std::array::from_fn(|i| i as u8))).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        let labels = [
            SubkeyLabel::Index,
            SubkeyLabel::IndexTag,
            SubkeyLabel::Nonce,
            SubkeyLabel::AeadXaes256Gcm,
            SubkeyLabel::AeadXChaCha20Poly1305,
            SubkeyLabel::Record,
            SubkeyLabel::Export,
        ];
        for kid in ["K", "K_9", "KK"] {
            let subkeys = Subkeys::extract(Kid::parse(kid).unwrap(), &key);
            for mode in [Mode::Live, Mode::Test] {
                seen.extend(labels.map(|label| *subkeys.subkey(mode, label)));
            }
        }
        assert_eq!(seen.len(), 3 * 2 * labels.len());
    }
}
