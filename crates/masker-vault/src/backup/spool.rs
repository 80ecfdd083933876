//! A received export in a file, to be read several times. The file is encrypted, as it was received.

use std::{collections::BTreeSet, fs::File, os::unix::fs::FileExt, sync::Arc};

use super::{export::CONTROL_SPACES, import_error::VaultImportError};
use crate::VaultError;
use masker_core::{
    crypto::{ExportCipher, Fingerprint},
    export::{EntryReader, ExportEntry, ExportError, ExportHeader, ListPositions, PREFIX_BYTES, sealed_chunk_bytes},
    keyring::Keyring,
};
use masker_store::{Row, RowKey, record::TombstoneRow};
use masker_types::{kind::Kid, mode::Mode};

/// Entries read at a time.
pub(super) const BATCH_ENTRIES: usize = 1_000;

/// An export whose envelope a loaded key opens.
pub(super) struct Spool {
    file: File,
    length: u64,
    payload_at: u64,
    cipher: ExportCipher,
    /// The keys that were active in the exported vault.
    pub(super) active: BTreeSet<(Kid, Fingerprint)>,
}

/// An entry of the export.
pub(super) enum SpoolEntry {
    Record([u8; 20], ListPositions, Vec<u8>),
    Tombstone([u8; 20], TombstoneRow),
    /// A control row, which is not decoded.
    Control(RowKey, Row),
}

impl Spool {
    /// Reads the header and finds a loaded key that opens the rest.
    pub(super) fn open(file: File, ring: &Keyring) -> Result<Self, VaultImportError> {
        let length = file.metadata().map_err(VaultImportError::Spool)?.len();
        let mut prefix = [0; PREFIX_BYTES];
        if length < PREFIX_BYTES as u64 {
            return Err(ExportError::Foreign.into());
        }
        file.read_exact_at(&mut prefix, 0).map_err(VaultImportError::Spool)?;
        let payload_at = (PREFIX_BYTES + ExportHeader::fields_bytes(&prefix)?) as u64;
        if payload_at > length {
            return Err(ExportError::Damaged("it ends within its header").into());
        }
        let mut bytes = vec![0; payload_at as usize];
        file.read_exact_at(&mut bytes, 0).map_err(VaultImportError::Spool)?;
        let header = ExportHeader::parse_fields(&bytes[PREFIX_BYTES..])?;
        let export_id = header.export_id();
        let openers = header.keys.iter().filter(|key| key.wrapped.is_some());
        let active: BTreeSet<_> = openers.map(|key| (key.kid, key.fingerprint)).collect();
        let mut loaded = false;
        for key in &header.keys {
            let Some(wrapped) = &key.wrapped else { continue };
            let Some(generation) = ring.by_fingerprint(key.kid, key.fingerprint) else { continue };
            loaded = true;
            if let Some(file_key) = generation.keys(Mode::Live).unwrap_export_key(wrapped, &export_id)? {
                let cipher = ExportCipher::new(&file_key, &header.salt, &bytes)?;
                return Ok(Spool { file, length, payload_at, cipher, active });
            }
        }
        if loaded {
            return Err(ExportError::Damaged("its header was changed").into());
        }
        Err(VaultImportError::Closed(active.into_iter().collect()))
    }
}

/// A position in an export. Reading to the end verifies all of it.
pub(super) struct SpoolCursor {
    spool: Arc<Spool>,
    at: u64,
    chunks: u32,
    last_seen: bool,
    entries: EntryReader,
}

impl SpoolCursor {
    pub(super) fn new(spool: &Arc<Spool>) -> Self {
        let at = spool.payload_at;
        SpoolCursor { spool: Arc::clone(spool), at, chunks: 0, last_seen: false, entries: EntryReader::default() }
    }

    /// Returns the next entries; none at the end. Reads from the disk on a thread that may block.
    pub(super) async fn next_batch(self) -> Result<(Self, Vec<SpoolEntry>), VaultImportError> {
        let mut cursor = self;
        let read = tokio::task::spawn_blocking(move || {
            let batch = cursor.batch();
            batch.map(|batch| (cursor, batch))
        });
        // Fails only if the runtime shuts down.
        read.await.unwrap_or(Err(VaultImportError::Vault(VaultError::Stopped)))
    }

    fn batch(&mut self) -> Result<Vec<SpoolEntry>, VaultImportError> {
        let mut items = Vec::new();
        loop {
            while let Some(entry) = self.entries.take_next()? {
                match entry {
                    ExportEntry::Record(id, positions, row) => {
                        items.push(SpoolEntry::Record(id, positions, row.to_vec()));
                    }
                    ExportEntry::Tombstone(id, row) => {
                        let tombstone = TombstoneRow::decode(row);
                        let tombstone = tombstone.map_err(|_| ExportError::Damaged("a tombstone does not decode"))?;
                        items.push(SpoolEntry::Tombstone(id, tombstone));
                    }
                    ExportEntry::Control { key, row } => {
                        let key = RowKey::new(key).filter(|key| CONTROL_SPACES.contains(&key.space()));
                        let key = key.ok_or(ExportError::Damaged("it has a control row of an unknown type"))?;
                        items.push(SpoolEntry::Control(key, row.to_vec()));
                    }
                    ExportEntry::End(_) => {}
                }
                if items.len() == BATCH_ENTRIES {
                    return Ok(items);
                }
            }
            if self.last_seen {
                let end = self.entries.is_at_end();
                return if end { Ok(items) } else { Err(ExportError::Damaged("it is truncated").into()) };
            }
            self.read_chunk()?;
        }
    }

    fn read_chunk(&mut self) -> Result<(), VaultImportError> {
        let left = self.spool.length - self.at;
        let length = left.min(sealed_chunk_bytes() as u64);
        let last = length == left;
        let mut chunk = vec![0; length as usize];
        self.spool.file.read_exact_at(&mut chunk, self.at).map_err(VaultImportError::Spool)?;
        let damaged = ExportError::Damaged("it was truncated or changed");
        self.spool.cipher.open(self.chunks, last, &mut chunk).map_err(|_| damaged)?;
        self.entries.push(&chunk);
        self.at += length;
        self.last_seen = last;
        if !last {
            self.chunks = self.chunks.checked_add(1).ok_or(ExportError::Damaged("it is too long"))?;
        }
        Ok(())
    }
}

/// The tombstones of an export, read in step with its records. Both are in the order of their ids.
pub(super) struct TombstoneReader {
    /// `None` if there are no more tombstones.
    cursor: Option<SpoolCursor>,
    items: std::vec::IntoIter<SpoolEntry>,
    /// The id of the next tombstone.
    next: Option<[u8; 20]>,
}

impl TombstoneReader {
    pub(super) fn new(spool: &Arc<Spool>, tombstones: u64) -> Self {
        let cursor = (tombstones > 0).then(|| SpoolCursor::new(spool));
        TombstoneReader { cursor, items: Vec::new().into_iter(), next: None }
    }

    /// Returns whether the export has a tombstone of this id. Calls must be in the order of ids.
    pub(super) async fn has(&mut self, id: &[u8; 20]) -> Result<bool, VaultImportError> {
        while self.next.is_none_or(|next| next < *id) {
            match self.items.next() {
                Some(SpoolEntry::Tombstone(id, _)) => self.next = Some(id),
                Some(SpoolEntry::Record(..) | SpoolEntry::Control(..)) => {}
                None => {
                    let Some(cursor) = self.cursor.take() else { return Ok(false) };
                    let (cursor, batch) = cursor.next_batch().await?;
                    self.cursor = (!batch.is_empty()).then_some(cursor);
                    self.items = batch.into_iter();
                }
            }
        }
        Ok(self.next.as_ref() == Some(id))
    }
}
