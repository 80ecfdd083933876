//! The manifest: a row of the database that every batch rewrites, and that says what the database must contain.
//!
//! Layout, 73 bytes, integers big-endian: mark (8), version (1), vault id (16), epoch (8), sequence (8), number of rows
//! (8), digest of the rows (16), checksum of all of that (8). The mark, the id and the checksum allow an engine to find
//! the latest manifest in its log without opening the database.

use sha2::{Digest, Sha256};

/// The version of manifest and witness that this release writes, and the latest that it reads.
pub(super) const VERSION: u8 = 3;

const MARK: [u8; 8] = *b"MSKRBOOK";
const BYTES: usize = 8 + 1 + 16 + 8 + 8 + 8 + 16 + 8;

/// The number of rows and a digest of their contents, independent of their order.
///
/// The digest is the sum of a 128-bit hash of each row. It detects rows that were lost, added, or replaced by older
/// ones. It is no protection against an attacker who can write the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowTally {
    /// The number of rows.
    pub rows: u64,
    digest: u128,
}

impl RowTally {
    /// Counts a row that was added.
    pub fn add(&mut self, key: &[u8], row: &[u8]) {
        self.rows = self.rows.wrapping_add(1);
        self.digest = self.digest.wrapping_add(row_hash(key, row));
    }

    /// Counts a row that was removed.
    pub fn remove(&mut self, key: &[u8], row: &[u8]) {
        self.rows = self.rows.wrapping_sub(1);
        self.digest = self.digest.wrapping_sub(row_hash(key, row));
    }
}

fn row_hash(key: &[u8], row: &[u8]) -> u128 {
    let hash =
        Sha256::new().chain_update((key.len() as u64).to_be_bytes()).chain_update(key).chain_update(row).finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    u128::from_be_bytes(half)
}

/// Returns the first 8 bytes of the SHA-256 of these parts.
pub(super) fn checksum(parts: &[&[u8]]) -> [u8; 8] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    let mut sum = [0; 8];
    sum.copy_from_slice(&hash.finalize()[..8]);
    sum
}

/// The position of a commit. Later commits compare greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitPosition {
    /// The history that the commit belongs to. A new epoch begins when an operator accepts a loss.
    pub epoch: u64,
    /// The number of the commit, which continues over epochs.
    pub sequence: u64,
}

/// What the database must contain as of one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The id of the vault.
    pub vault_id: [u8; 16],
    /// The position of the commit.
    pub position: CommitPosition,
    /// All rows after the commit.
    pub tally: RowTally,
}

/// Why a manifest cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestError {
    /// Another release wrote it, in this format.
    OtherVersion(u8),
    /// It is not what was written.
    Damaged,
}

impl Manifest {
    /// Returns the bytes that every manifest of a vault begins with, or of any vault.
    fn mark(vault_id: Option<&[u8; 16]>) -> Vec<u8> {
        let mut mark = Vec::with_capacity(25);
        mark.extend_from_slice(&MARK);
        mark.push(VERSION);
        mark.extend(vault_id.into_iter().flatten());
        mark
    }

    /// Returns the manifest as an engine stores it.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(&Self::mark(Some(&self.vault_id)));
        bytes.extend_from_slice(&self.position.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.position.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.tally.rows.to_be_bytes());
        bytes.extend_from_slice(&self.tally.digest.to_be_bytes());
        bytes.extend_from_slice(&checksum(&[&bytes]));
        bytes
    }

    /// Decodes a manifest.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] if the bytes are not exactly one manifest of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let read = || {
            let (mark, rest) = bytes.split_first_chunk::<8>()?;
            let ([version], rest) = rest.split_first_chunk::<1>()?;
            let (vault_id, rest) = rest.split_first_chunk()?;
            let (epoch, rest) = rest.split_first_chunk()?;
            let (sequence, rest) = rest.split_first_chunk()?;
            let (rows, rest) = rest.split_first_chunk()?;
            let (digest, sum) = rest.split_first_chunk()?;
            let valid = mark == &MARK && sum == checksum(&[&bytes[..BYTES - 8]]) && *version == VERSION;
            valid.then(|| Manifest {
                vault_id: *vault_id,
                position: CommitPosition { epoch: u64::from_be_bytes(*epoch), sequence: u64::from_be_bytes(*sequence) },
                tally: RowTally { rows: u64::from_be_bytes(*rows), digest: u128::from_be_bytes(*digest) },
            })
        };
        match bytes.split_first_chunk::<8>() {
            Some((&MARK, [version, ..])) if ![0, VERSION].contains(version) => {
                Err(ManifestError::OtherVersion(*version))
            }
            _ if bytes.len() != BYTES => Err(ManifestError::Damaged),
            _ => read().ok_or(ManifestError::Damaged),
        }
    }

    /// Returns the last complete manifest of a vault, or of any vault, that occurs in `bytes`, at any offset.
    pub fn find_last(bytes: &[u8], vault_id: Option<&[u8; 16]>) -> Option<Self> {
        let mark = Self::mark(vault_id);
        let last = bytes.len().checked_sub(BYTES)?;
        (0..=last)
            .rev()
            .filter(|&at| bytes[at] == mark[0] && bytes[at..].starts_with(&mark))
            .find_map(|at| Self::decode(&bytes[at..at + BYTES]).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let mut tally = RowTally::default();
        tally.add(b"key", b"row");
        Manifest { vault_id: [5; 16], position: CommitPosition { epoch: 2, sequence: 77 }, tally }
    }

    #[test]
    fn decodes_what_it_encodes_and_detects_every_flipped_bit() {
        let bytes = manifest().encode();
        assert_eq!(bytes.len(), BYTES);
        assert_eq!(Manifest::decode(&bytes), Ok(manifest()));
        for bit in 0..BYTES * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..BYTES {
            assert_eq!(Manifest::decode(&bytes[..length]), Err(ManifestError::Damaged));
        }
    }

    #[test]
    fn names_another_version() {
        for version in [VERSION - 1, VERSION + 1] {
            let mut bytes = manifest().encode();
            bytes[8] = version;
            bytes.push(0);
            assert_eq!(Manifest::decode(&bytes), Err(ManifestError::OtherVersion(version)));
        }
    }

    #[test]
    fn finds_the_last_manifest_among_other_bytes() {
        let earlier = Manifest { position: CommitPosition { epoch: 2, sequence: 76 }, ..manifest() };
        let other = Manifest { vault_id: [6; 16], ..manifest() };
        let log =
            [&[1; 40][..], &earlier.encode(), &[2; 3], &manifest().encode(), &[3; 9], &other.encode(), b"MSKRBOOK"]
                .concat();
        assert_eq!(Manifest::find_last(&log, Some(&[5; 16])), Some(manifest()));
        assert_eq!(Manifest::find_last(&log, Some(&[9; 16])), None);
        assert_eq!(Manifest::find_last(&log, None), Some(other));
        assert_eq!(Manifest::find_last(&[], None), None);
    }

    #[test]
    fn a_tally_ignores_order_and_detects_changed_rows() {
        let rows: [(&[u8], &[u8]); 3] = [(b"a", b"1"), (b"b", b"2"), (b"ab", b"")];
        let mut forwards = RowTally::default();
        rows.iter().for_each(|(key, row)| forwards.add(key, row));
        let mut backwards = RowTally::default();
        rows.iter().rev().for_each(|(key, row)| backwards.add(key, row));
        assert_eq!(forwards, backwards);
        forwards.remove(b"b", b"2");
        forwards.add(b"b", b"3");
        assert_ne!(forwards, backwards);
        let (mut one, mut other) = (RowTally::default(), RowTally::default());
        one.add(b"a", b"bc");
        other.add(b"ab", b"c");
        assert_ne!(one, other, "the boundary between key and row counts");
    }
}
