//! The witness: a small file beside the database that remembers the last acknowledged commit.
//!
//! A database that lost its last commits looks like one that never had them. The witness tells the two apart. When a
//! batch is durable in the database, its position is written to the witness and made durable, and only then is the batch
//! acknowledged. So the witness is never ahead of the database, and at most one batch behind it, which was not
//! acknowledged.
//!
//! Layout, 12,288 bytes. All are written when the file is created, so that later writes only change bytes in place:
//!
//! | offset | content |
//! |---|---|
//! | 0 | `masker witness` and a line feed (15), version (1), vault id (16), checksum of those (8) |
//! | 4,096 and 8,192 | two slots: epoch (8), sequence (8), checksum of version, vault id and those (8) |
//!
//! Slots are written in turn, each within one sector, so a torn write damages the older slot only. Position 0 of epoch 0
//! means that the vault was never completely created.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use super::{
    manifest::{CommitPosition, VERSION, checksum},
    paths::{self, VaultPaths},
};
use masker_types::engine::EngineKind;

const MARK: &[u8; 15] = b"masker witness\n";
const SLOTS_AT: [u64; 2] = [4_096, 8_192];
const BYTES: usize = 12_288;

/// An open witness.
pub(super) struct Witness {
    file: File,
    vault_id: [u8; 16],
    position: CommitPosition,
    next_slot: usize,
}

/// The witness file as it was read.
pub(super) enum WitnessFile {
    Witness(Witness),
    Missing,
    Damaged,
    OtherVersion(u8),
}

impl Witness {
    /// The position of a vault that was never completely created.
    pub(super) const INITIAL: CommitPosition = CommitPosition { epoch: 0, sequence: 0 };

    /// Creates the file durably, or replaces it.
    pub(super) fn create(path: &Path, vault_id: [u8; 16], position: CommitPosition) -> io::Result<Self> {
        let mut bytes = vec![0; BYTES];
        bytes[..40].copy_from_slice(&header(&vault_id));
        bytes[SLOTS_AT[0] as usize..][..24].copy_from_slice(&slot(&vault_id, position));
        let temporary = path.with_extension("new");
        paths::write_durably(&temporary, &bytes)?;
        paths::rename_durably(&temporary, path)?;
        Ok(Witness { file: writable(path)?, vault_id, position, next_slot: 1 })
    }

    /// Reads the file.
    pub(super) fn open(path: &Path) -> io::Result<WitnessFile> {
        let mut bytes = Vec::with_capacity(BYTES);
        match masker_files::open_regular(path) {
            Ok(Some((file, _))) => file.take(BYTES as u64 + 1).read_to_end(&mut bytes)?,
            Ok(None) => return Ok(WitnessFile::Damaged),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(WitnessFile::Missing),
            Err(error) => return Err(error),
        };
        let Some((mark, [version, rest @ ..])) = bytes.split_first_chunk() else { return Ok(WitnessFile::Damaged) };
        if mark == MARK && ![0, VERSION].contains(version) {
            return Ok(WitnessFile::OtherVersion(*version));
        }
        let Some((vault_id, _)) = rest.split_first_chunk::<16>() else { return Ok(WitnessFile::Damaged) };
        if bytes.len() != BYTES || bytes[..40] != header(vault_id) {
            return Ok(WitnessFile::Damaged);
        }
        let positions = SLOTS_AT.map(|at| read_slot(vault_id, &bytes[at as usize..]));
        let Some(position) = positions.into_iter().flatten().max() else { return Ok(WitnessFile::Damaged) };
        Ok(WitnessFile::Witness(Witness {
            file: writable(path)?,
            vault_id: *vault_id,
            position,
            next_slot: usize::from(positions[0] == Some(position)),
        }))
    }

    /// Returns the id of the vault that it belongs to.
    pub(super) fn vault_id(&self) -> [u8; 16] {
        self.vault_id
    }

    /// Returns the last position that was recorded.
    pub(super) fn position(&self) -> CommitPosition {
        self.position
    }

    /// Records a position durably. After an error the file has either the new position or the one before.
    pub(super) fn record(&mut self, position: CommitPosition) -> io::Result<()> {
        self.file.write_all_at(&slot(&self.vault_id, position), SLOTS_AT[self.next_slot])?;
        self.position = position;
        self.next_slot = 1 - self.next_slot;
        Ok(())
    }
}

/// Returns the position that the witness of the vault in a directory has, with the id of the vault; `None` if there is no
/// witness that can be read. Changes nothing. Blocks.
pub fn witnessed_position(data_dir: &Path) -> Option<([u8; 16], CommitPosition)> {
    match Witness::open(&VaultPaths { root: data_dir.to_owned(), kind: EngineKind::default() }.witness()) {
        Ok(WitnessFile::Witness(witness)) => Some((witness.vault_id, witness.position)),
        _ => None,
    }
}

/// Opens the file so that each write is durable when it returns.
fn writable(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(path)
}

fn header(vault_id: &[u8; 16]) -> [u8; 40] {
    let mut header = [0; 40];
    header[..15].copy_from_slice(MARK);
    header[15] = VERSION;
    header[16..32].copy_from_slice(vault_id);
    let sum = checksum(&[&header[..32]]);
    header[32..].copy_from_slice(&sum);
    header
}

fn slot(vault_id: &[u8; 16], position: CommitPosition) -> [u8; 24] {
    let mut slot = [0; 24];
    slot[..8].copy_from_slice(&position.epoch.to_be_bytes());
    slot[8..16].copy_from_slice(&position.sequence.to_be_bytes());
    let sum = checksum(&[&[VERSION], vault_id, &slot[..16]]);
    slot[16..].copy_from_slice(&sum);
    slot
}

fn read_slot(vault_id: &[u8; 16], bytes: &[u8]) -> Option<CommitPosition> {
    let (epoch, rest) = bytes.split_first_chunk()?;
    let (sequence, _) = rest.split_first_chunk()?;
    let position = CommitPosition { epoch: u64::from_be_bytes(*epoch), sequence: u64::from_be_bytes(*sequence) };
    bytes.starts_with(&slot(vault_id, position)).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 16] = [3; 16];

    fn at(sequence: u64) -> CommitPosition {
        CommitPosition { epoch: 1, sequence }
    }

    fn position_of(path: &Path) -> Option<CommitPosition> {
        match Witness::open(path).unwrap() {
            WitnessFile::Witness(witness) => {
                assert_eq!(witness.vault_id(), ID);
                Some(witness.position())
            }
            _ => None,
        }
    }

    #[test]
    fn remembers_the_last_position_when_reopened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness");
        assert!(matches!(Witness::open(&path).unwrap(), WitnessFile::Missing));
        drop(Witness::create(&path, ID, Witness::INITIAL).unwrap());
        assert_eq!(position_of(&path), Some(Witness::INITIAL));
        for sequence in 1..=9 {
            let WitnessFile::Witness(mut witness) = Witness::open(&path).unwrap() else {
                panic!("there is no witness")
            };
            witness.record(at(2 * sequence)).unwrap();
            witness.record(at(2 * sequence + 1)).unwrap();
            assert_eq!(position_of(&path), Some(at(2 * sequence + 1)));
        }
    }

    #[test]
    fn a_torn_slot_leaves_the_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness");
        let mut witness = Witness::create(&path, ID, at(1)).unwrap();
        for sequence in 2..=5 {
            witness.record(at(sequence)).unwrap();
            let whole = std::fs::read(&path).unwrap();
            let newest = SLOTS_AT[1 - witness.next_slot] as usize;
            for byte in newest..newest + 24 {
                let mut torn = whole.clone();
                torn[byte] ^= 0x10;
                std::fs::write(&path, &torn).unwrap();
                assert_eq!(position_of(&path), Some(at(sequence - 1)));
            }
            std::fs::write(&path, &whole).unwrap();
        }
    }

    #[test]
    fn detects_damage_and_newer_versions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness");
        drop(Witness::create(&path, ID, at(1)).unwrap());
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..40 * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            assert!(
                matches!(Witness::open(&path).unwrap(), WitnessFile::Damaged | WitnessFile::OtherVersion(_)),
                "bit {bit}"
            );
        }
        for length in [0, 15, 16, 40, BYTES - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(Witness::open(&path).unwrap(), WitnessFile::Damaged), "{length} bytes");
        }
        let mut newer = whole;
        newer[15] = VERSION + 1;
        newer.truncate(100);
        std::fs::write(&path, &newer).unwrap();
        assert!(matches!(Witness::open(&path).unwrap(), WitnessFile::OtherVersion(version) if version == VERSION + 1));
    }
}
