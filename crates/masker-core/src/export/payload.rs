//! The seal around the entries: chunks of one size, of which the last one says that it is.

use super::entry::{EntryCounts, ExportEntry};
use crate::crypto::{ExportCipher, export::CHUNK_OVERHEAD_BYTES};

/// Bytes of entries in every chunk but the last, which has 1 to as many.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Length of a sealed chunk, in bytes; the last one may be shorter.
pub const fn sealed_chunk_bytes() -> usize {
    CHUNK_BYTES + CHUNK_OVERHEAD_BYTES
}

/// Seals entries, as they come.
pub struct PayloadSealer {
    cipher: ExportCipher,
    chunks: u32,
    /// Entries that are not sealed yet. A full chunk waits here until it is known whether it is the last.
    waiting: Vec<u8>,
    counts: EntryCounts,
}

impl PayloadSealer {
    /// Begins a payload.
    pub fn new(cipher: ExportCipher) -> Self {
        PayloadSealer { cipher, chunks: 0, waiting: Vec::new(), counts: EntryCounts::default() }
    }

    /// Takes an entry.
    pub fn put(&mut self, entry: ExportEntry<'_>) {
        self.counts.count(&entry);
        entry.write(&mut self.waiting);
    }

    /// What was taken so far.
    pub fn counts(&self) -> EntryCounts {
        self.counts
    }

    /// The chunks that are full by now. `None` where there would be more of them than can be told apart: at 2^32 chunks,
    /// which are 256 TiB.
    pub fn sealed(&mut self) -> Option<Vec<u8>> {
        let mut sealed = Vec::new();
        while self.waiting.len() > CHUNK_BYTES {
            let rest = self.waiting.split_off(CHUNK_BYTES);
            let mut chunk = std::mem::replace(&mut self.waiting, rest);
            self.cipher.seal(self.chunks, false, &mut chunk);
            self.chunks = self.chunks.checked_add(1)?;
            sealed.extend_from_slice(&chunk);
        }
        Some(sealed)
    }

    /// Ends the payload: what was waiting, the counts, and the mark of the end.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        ExportEntry::End(self.counts).write(&mut self.waiting);
        let mut sealed = self.sealed()?;
        self.cipher.seal(self.chunks, true, &mut self.waiting);
        sealed.extend_from_slice(&self.waiting);
        Some(sealed)
    }
}
