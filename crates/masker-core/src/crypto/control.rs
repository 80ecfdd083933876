//! The control key of a vault: it authenticates the rows that no other key seals.

use std::array;

use rand::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    aead::{NONCE_BYTES, TAG_BYTES, random_nonce},
    encoding::enc_to_vec,
    mac::MacKey,
    secret::{Locked, LockedMemoryError, SecretKey},
    xaes::Xaes256Gcm,
};
use masker_types::limits::KEY_BYTES;

const ROW: &[u8] = b"row";
const SUM: &[u8] = b"sum";
const MANIFEST: &[u8] = b"manifest";
const MASK: &[u8] = b"mask";
const SEAL: &[u8] = b"seal";
const SEALED_ROW: &[u8] = b"masker-sealed-row";
/// Length of the nonce of a stored sum, in bytes.
pub const MASK_NONCE_BYTES: usize = 16;

/// The random key that authenticates the unsealed rows of one vault in one control epoch, in locked memory.
///
/// Each key generation that a vault trusts holds it in a slot: see [`super::GenerationKeys::wrap_control_key`]. It has no
/// `Debug` and no `Clone`.
pub struct ControlKey {
    secret: SecretKey,
    mac: Locked<MacKey>,
    vault_id: [u8; 16],
    epoch: u64,
}

/// A sum of rows modulo 2^256, which does not depend on their order.
///
/// Each row contributes 32 bytes of HMAC-SHA256 under the control key. Without the key, nobody can find rows with a given
/// sum, as long as the sums themselves stay secret (Bellare, Goldreich, Goldwasser, "Incremental Cryptography: The Case
/// of Hashing and Signing", CRYPTO 1994).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowSum([u8; 32]);

/// What the tag of a manifest covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlCounts {
    /// The number of batches that changed control rows, in all epochs.
    pub changes: u64,
    /// The number of control rows.
    pub rows: u64,
    /// The sum of the control rows; `None` if they are not all that the vault wrote, so that nothing is granted by them.
    pub sum: Option<RowSum>,
}

impl ControlKey {
    /// Generates a key for an epoch.
    ///
    /// # Errors
    /// Returns [`LockedMemoryError`] if no locked memory is available.
    pub fn generate(vault_id: [u8; 16], epoch: u64, rng: &mut impl CryptoRng) -> Result<Self, LockedMemoryError> {
        Self::new(SecretKey::generate(rng)?, vault_id, epoch)
    }

    pub(super) fn new(secret: SecretKey, vault_id: [u8; 16], epoch: u64) -> Result<Self, LockedMemoryError> {
        let mac = Locked::init(|| MacKey::new(secret.expose()))?;
        Ok(ControlKey { secret, mac, vault_id, epoch })
    }

    pub(super) fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// Returns the id of the vault.
    pub fn vault_id(&self) -> [u8; 16] {
        self.vault_id
    }

    /// Returns the control epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns whether both are the same key, for the same vault and epoch. Takes constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        (self.vault_id, self.epoch) == (other.vault_id, other.epoch) && self.secret.ct_eq(&other.secret)
    }

    /// Computes the tag of a row: `HMAC-SHA256(control, enc("row", vault id, control epoch, space, key, row))[..16]`. `key`
    /// is the rest of the row's key after the byte of its space.
    pub fn row_tag(&self, space: u8, key: &[u8], row: &[u8]) -> [u8; TAG_BYTES] {
        self.mac.tag(&[ROW, &self.vault_id, &self.epoch.to_be_bytes(), &[space], key, row])
    }

    /// Checks the tag of a row in constant time.
    pub fn row_tag_verifies(&self, space: u8, key: &[u8], row: &[u8], tag: &[u8; TAG_BYTES]) -> bool {
        self.row_tag(space, key, row).ct_eq(tag).into()
    }

    /// Seals a row that holds a key, as `nonce || ciphertext || tag`: XAES-256-GCM under
    /// `HMAC-SHA256(control, enc("seal", vault id, control epoch))` with a random nonce and
    /// `aad = enc("masker-sealed-row", vault id, control epoch, space, key)`. `key` is the rest of the row's key after the byte
    /// of its space.
    pub fn seal_row(&self, space: u8, key: &[u8], row: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
        let nonce = random_nonce(rng);
        let mut sealed = [&nonce, row].concat();
        let tag = self.seal_cipher().seal(&nonce, &self.seal_aad(space, key), &mut sealed[NONCE_BYTES..]);
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Opens a row that [`ControlKey::seal_row`] sealed; `None` if it was sealed under another key, or for another place.
    pub fn open_row(&self, space: u8, key: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let (data, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        let mut row = Zeroizing::new(data.to_vec());
        self.seal_cipher().open(nonce, &self.seal_aad(space, key), &mut row, tag).ok()?;
        Some(row)
    }

    /// The cipher is on the stack for one row, and wiped after it.
    fn seal_cipher(&self) -> Xaes256Gcm {
        let key: Zeroizing<[u8; KEY_BYTES]> =
            Zeroizing::new(self.mac.tag(&[SEAL, &self.vault_id, &self.epoch.to_be_bytes()]));
        Xaes256Gcm::new(&key)
    }

    fn seal_aad(&self, space: u8, key: &[u8]) -> Vec<u8> {
        enc_to_vec(&[SEALED_ROW, &self.vault_id, &self.epoch.to_be_bytes(), &[space], key])
    }

    /// Computes what a row adds to the sum of its kind: `HMAC-SHA256(control, enc("sum", space, key, row))`.
    pub fn sum_of(&self, space: u8, key: &[u8], row: &[u8]) -> RowSum {
        RowSum(self.mac.tag(&[SUM, &[space], key, row]))
    }

    /// Computes the tag of the manifest of control rows:
    /// `HMAC-SHA256(control, enc("manifest", vault id, control epoch, changes, rows, sum or ""))[..16]`.
    pub fn manifest_tag(&self, counts: &ControlCounts) -> [u8; TAG_BYTES] {
        let ControlCounts { changes, rows, sum } = counts;
        let sum = sum.as_ref().map_or(&[][..], |sum| &sum.0);
        let (epoch, changes, rows) = (self.epoch.to_be_bytes(), changes.to_be_bytes(), rows.to_be_bytes());
        self.mac.tag(&[MANIFEST, &self.vault_id, &epoch, &changes, &rows, sum])
    }

    /// Checks the tag of the manifest in constant time.
    pub fn manifest_tag_verifies(&self, counts: &ControlCounts, tag: &[u8; TAG_BYTES]) -> bool {
        self.manifest_tag(counts).ct_eq(tag).into()
    }

    /// Hides a sum that is stored, or shows it again: adds or subtracts
    /// `HMAC-SHA256(control, enc("mask", vault id, control epoch, nonce))`.
    fn mask(&self, nonce: &[u8; MASK_NONCE_BYTES]) -> RowSum {
        RowSum(self.mac.tag(&[MASK, &self.vault_id, &self.epoch.to_be_bytes(), nonce]))
    }

    /// Returns a sum to be stored with this nonce. The nonce must be random: two sums with one nonce show their difference.
    pub fn masked(&self, sum: RowSum, nonce: &[u8; MASK_NONCE_BYTES]) -> [u8; 32] {
        sum.plus(self.mask(nonce)).0
    }

    /// Returns the sum that was stored with this nonce.
    pub fn unmasked(&self, stored: [u8; 32], nonce: &[u8; MASK_NONCE_BYTES]) -> RowSum {
        RowSum(stored).minus(self.mask(nonce))
    }
}

impl RowSum {
    /// Adds modulo 2^256.
    #[must_use]
    pub fn plus(self, other: RowSum) -> RowSum {
        let mut carry = 0;
        self.combined(other, |a, b| {
            let sum = u16::from(a) + u16::from(b) + carry;
            carry = sum >> 8;
            sum as u8
        })
    }

    /// Subtracts modulo 2^256.
    #[must_use]
    pub fn minus(self, other: RowSum) -> RowSum {
        let mut borrow = 0;
        self.combined(other, |a, b| {
            let difference = i16::from(a) - i16::from(b) - borrow;
            borrow = i16::from(difference < 0);
            difference as u8
        })
    }

    /// Combines the bytes of two big-endian numbers, the lowest first.
    fn combined(self, other: RowSum, mut byte: impl FnMut(u8, u8) -> u8) -> RowSum {
        let mut bytes: [u8; 32] = array::from_fn(|at| byte(self.0[31 - at], other.0[31 - at]));
        bytes.reverse();
        RowSum(bytes)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::*;
    use crate::crypto::GenerationKeys;
    use masker_types::{kind::Kid, mode::Mode};

    fn key(number: u8, vault_id: [u8; 16], epoch: u64) -> ControlKey {
        let bytes = Zeroizing::new(array::from_fn(|at| number ^ at as u8));
        ControlKey::new(SecretKey::from_bytes(bytes).unwrap(), vault_id, epoch).unwrap()
    }

    fn number(text: &str) -> RowSum {
        RowSum(HEXLOWER.decode(format!("{text:0>64}").as_bytes()).unwrap().try_into().unwrap())
    }

    #[test]
    fn sums_wrap_around() {
        let max = RowSum([0xff; 32]);
        assert_eq!(max.plus(number("01")), RowSum::default());
        assert_eq!(RowSum::default().minus(number("01")), max);
        assert_eq!(number("01ff").plus(number("0101")), number("0300"));
        assert_eq!(number("0300").minus(number("0101")), number("01ff"));
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_the_order(a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            let [a, b, c] = [a, b, c].map(RowSum);
            prop_assert_eq!(a.plus(b).plus(c), c.plus(a).plus(b));
            prop_assert_eq!(a.plus(b).minus(b), a);
        }
    }

    #[test]
    fn a_tag_covers_vault_epoch_space_key_and_row() {
        let own = key(0, [1; 16], 2);
        let tag = own.row_tag(b'k', b"key", b"row");
        assert!(own.row_tag_verifies(b'k', b"key", b"row", &tag));
        for other in [key(9, [1; 16], 2), key(0, [2; 16], 2), key(0, [1; 16], 3)] {
            assert!(!other.row_tag_verifies(b'k', b"key", b"row", &tag));
        }
        for (space, key, row) in [(b'g', &b"key"[..], &b"row"[..]), (b'k', b"kex", b"row"), (b'k', b"ke", b"yrow")] {
            assert!(!own.row_tag_verifies(space, key, row, &tag));
        }
        let counts = ControlCounts { changes: 3, rows: 4, sum: Some(own.sum_of(b'k', b"key", b"row")) };
        let tag = own.manifest_tag(&counts);
        let others = [
            ControlCounts { changes: 2, ..counts },
            ControlCounts { rows: 5, ..counts },
            ControlCounts { sum: Some(RowSum::default()), ..counts },
            ControlCounts { sum: None, ..counts },
        ];
        assert!(own.manifest_tag_verifies(&counts, &tag));
        assert!(others.iter().all(|other| !own.manifest_tag_verifies(other, &tag)));
    }

    /// Computed with Python's `hmac` from the formulas, for the key `000102…1f`.
    #[test]
    fn tags_follow_the_formulas() {
        let own = key(0, [1; 16], 2);
        assert_eq!(HEXLOWER.encode(&own.row_tag(b'k', b"key", b"row")), "3e94e476e4ea99417bc3d7654e8fc49e");
        assert_eq!(
            HEXLOWER.encode(&own.sum_of(b'k', b"key", b"row").0),
            "4f7b53a6738a873f49f0b700f9fba762d84fd4c48e2b54ad802cc306416179dc"
        );
        let counts = ControlCounts { changes: 3, rows: 4, sum: Some(RowSum([5; 32])) };
        assert_eq!(HEXLOWER.encode(&own.manifest_tag(&counts)), "31cc5ad6a74a9de146b7e001de541e19");
        assert_eq!(
            HEXLOWER.encode(&own.masked(RowSum::default(), &[7; 16])),
            "016317d005f1d5454c2de20d506e6d3c89f05bb1c9d7db0ea9d4ca2940fdb834"
        );
    }

    #[test]
    fn a_sealed_row_opens_only_in_its_place() {
        let own = key(0, [1; 16], 2);
        let sealed = own.seal_row(b'b', b"key", b"row", &mut rand::rng());
        assert_eq!(sealed.len(), NONCE_BYTES + 3 + TAG_BYTES);
        assert_ne!(sealed, own.seal_row(b'b', b"key", b"row", &mut rand::rng()));
        assert_eq!(own.open_row(b'b', b"key", &sealed).as_deref().map(Vec::as_slice), Some(&b"row"[..]));
        for other in [key(9, [1; 16], 2), key(0, [2; 16], 2), key(0, [1; 16], 3)] {
            assert!(other.open_row(b'b', b"key", &sealed).is_none());
        }
        assert!(own.open_row(b'a', b"key", &sealed).is_none() && own.open_row(b'b', b"kex", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(
                own.open_row(b'b', b"key", &changed).is_none() && own.open_row(b'b', b"key", &sealed[..at]).is_none()
            );
        }
    }

    #[test]
    fn a_stored_sum_shows_nothing_of_its_changes() {
        let own = key(0, [1; 16], 2);
        let sum = RowSum([5; 32]);
        assert_ne!(own.masked(sum, &[1; 16]), own.masked(sum, &[2; 16]));
        assert_eq!(own.unmasked(own.masked(sum, &[1; 16]), &[1; 16]), sum);
    }

    #[test]
    fn a_slot_opens_only_under_its_generation_vault_and_epoch() {
        let kid = |text| Kid::parse(text).unwrap();
        let generation = |kid, byte: u8, mode| {
            let bytes = Zeroizing::new(array::from_fn(|at| byte ^ at as u8));
            GenerationKeys::derive(kid, &SecretKey::from_bytes(bytes).unwrap(), mode).unwrap()
        };
        let own = generation(kid("K"), 1, Mode::Live);
        let control = key(7, [1; 16], 2);
        let slot = own.wrap_control_key(&control, &mut rand::rng());
        let opened = own.unwrap_control_key(&slot, [1; 16], 2).unwrap();
        assert!(opened.is_some_and(|opened| opened.ct_eq(&control)));
        assert!(own.unwrap_control_key(&slot, [2; 16], 2).unwrap().is_none());
        assert!(own.unwrap_control_key(&slot, [1; 16], 3).unwrap().is_none());
        let others = [(kid("K"), 2, Mode::Live), (kid("K_2"), 1, Mode::Live), (kid("K"), 1, Mode::Test)]
            .map(|(k, b, m)| generation(k, b, m));
        assert!(others.iter().all(|other| other.unwrap_control_key(&slot, [1; 16], 2).unwrap().is_none()));
    }
}
