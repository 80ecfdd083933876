//! The sealed payload of an export: chunks of equal size, of which the last is marked.

use super::entry::{EntryCounts, ExportEntry};
use crate::crypto::{ExportCipher, export::CHUNK_OVERHEAD_BYTES};

/// Bytes of entries in a chunk. The last chunk has 1 to this many.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Returns the length of a sealed chunk, in bytes. The last chunk may be shorter.
pub const fn sealed_chunk_bytes() -> usize {
    CHUNK_BYTES + CHUNK_OVERHEAD_BYTES
}

/// Seals a stream of entries.
pub struct PayloadSealer {
    cipher: ExportCipher,
    chunks: u32,
    /// Entries that are not sealed yet. A full chunk is kept until it is known whether it is the last.
    pending: Vec<u8>,
    counts: EntryCounts,
}

impl PayloadSealer {
    /// Creates a sealer for a payload.
    pub fn new(cipher: ExportCipher) -> Self {
        PayloadSealer { cipher, chunks: 0, pending: Vec::new(), counts: EntryCounts::default() }
    }

    /// Adds an entry.
    pub fn put(&mut self, entry: ExportEntry<'_>) {
        self.counts.count(&entry);
        entry.write(&mut self.pending);
    }

    /// Returns the counts of the entries so far.
    pub fn counts(&self) -> EntryCounts {
        self.counts
    }

    /// Returns the chunks that are full by now. Returns `None` beyond 2^32 chunks (256 TiB), the most that a file can
    /// have.
    pub fn sealed(&mut self) -> Option<Vec<u8>> {
        let mut sealed = Vec::new();
        while self.pending.len() > CHUNK_BYTES {
            let rest = self.pending.split_off(CHUNK_BYTES);
            let mut chunk = std::mem::replace(&mut self.pending, rest);
            self.cipher.seal(self.chunks, false, &mut chunk);
            self.chunks = self.chunks.checked_add(1)?;
            sealed.extend_from_slice(&chunk);
        }
        Some(sealed)
    }

    /// Ends the payload. Returns the remaining entries and the counts, sealed as the last chunks.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        ExportEntry::End(self.counts).write(&mut self.pending);
        let mut sealed = self.sealed()?;
        self.cipher.seal(self.chunks, true, &mut self.pending);
        sealed.extend_from_slice(&self.pending);
        Some(sealed)
    }
}
