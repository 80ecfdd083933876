//! What is under the seal: records, then tombstones, each in the order of their ids, then how many there were.

use super::ExportError;
use masker_types::limits::ROW_BYTES_MAX;

const RECORD: u8 = b'r';
const TOMBSTONE: u8 = b't';
const END: u8 = b'e';

const _: () = assert!(ROW_BYTES_MAX <= u16::MAX as usize);

/// How many entries there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryCounts {
    /// Records.
    pub records: u64,
    /// Tombstones.
    pub tombstones: u64,
}

impl EntryCounts {
    pub(super) fn count(&mut self, entry: &ExportEntry<'_>) {
        match entry {
            ExportEntry::Record(..) => self.records += 1,
            ExportEntry::Tombstone(..) => self.tombstones += 1,
            ExportEntry::End(_) => {}
        }
    }
}

/// One entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ExportEntry<'a> {
    /// A record: its id, and its row as the vault holds it.
    Record([u8; 16], &'a [u8]),
    /// A tombstone: the id, and its row.
    Tombstone([u8; 16], &'a [u8]),
    /// The last entry.
    End(EntryCounts),
}

impl ExportEntry<'_> {
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            ExportEntry::Record(id, row) => write_row(bytes, RECORD, id, row),
            ExportEntry::Tombstone(id, row) => write_row(bytes, TOMBSTONE, id, row),
            ExportEntry::End(counts) => {
                bytes.push(END);
                bytes.extend_from_slice(&counts.records.to_be_bytes());
                bytes.extend_from_slice(&counts.tombstones.to_be_bytes());
            }
        }
    }
}

fn write_row(bytes: &mut Vec<u8>, kind: u8, id: &[u8; 16], row: &[u8]) {
    bytes.push(kind);
    bytes.extend_from_slice(id);
    // The store holds no longer row, as asserted above.
    bytes.extend_from_slice(&(row.len() as u16).to_be_bytes());
    bytes.extend_from_slice(row);
}

/// Reads entries out of chunks, and holds their order and number against the format.
#[derive(Default)]
pub struct EntryReader {
    bytes: Vec<u8>,
    at: usize,
    counts: EntryCounts,
    last: Option<(u8, [u8; 16])>,
    ended: bool,
}

impl EntryReader {
    /// Takes an opened chunk.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(chunk);
    }

    /// The next entry; `None` where another chunk is needed, or the end was read.
    ///
    /// # Errors
    /// [`ExportError::Damaged`] for what the format does not allow.
    pub fn take_next(&mut self) -> Result<Option<ExportEntry<'_>>, ExportError> {
        let rest = &self.bytes[self.at..];
        if self.ended {
            return if rest.is_empty() { Ok(None) } else { Err(ExportError::Damaged("something follows its end")) };
        }
        let Some((&kind, rest)) = rest.split_first() else { return Ok(None) };
        match kind {
            RECORD | TOMBSTONE => {
                let Some((id, rest)) = rest.split_first_chunk::<16>() else { return Ok(None) };
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = usize::from(u16::from_be_bytes(*length));
                let Some(row) = rest.get(..length) else { return Ok(None) };
                // Records before tombstones, as the order of their letters has it.
                if self.last.is_some_and(|last| last >= (kind, *id)) {
                    return Err(ExportError::Damaged("its entries are out of order"));
                }
                self.last = Some((kind, *id));
                self.at += 19 + length;
                let entry =
                    if kind == RECORD { ExportEntry::Record(*id, row) } else { ExportEntry::Tombstone(*id, row) };
                self.counts.count(&entry);
                Ok(Some(entry))
            }
            END => {
                let Some((records, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let Some((tombstones, _)) = rest.split_first_chunk() else { return Ok(None) };
                let told =
                    EntryCounts { records: u64::from_be_bytes(*records), tombstones: u64::from_be_bytes(*tombstones) };
                if told != self.counts {
                    return Err(ExportError::Damaged("it has not as many entries as it says"));
                }
                self.at += 17;
                self.ended = true;
                Ok(Some(ExportEntry::End(told)))
            }
            _ => Err(ExportError::Damaged("it has an entry of a kind that its layout does not know")),
        }
    }

    /// Whether the end was read, and nothing follows it.
    pub fn is_at_end(&self) -> bool {
        self.ended && self.at == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(entries: &[ExportEntry<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| entry.write(&mut bytes));
        bytes
    }

    /// Reads in pieces of some size; tells how many entries there were before the end.
    fn read(bytes: &[u8], piece: usize) -> Result<Option<EntryCounts>, ExportError> {
        let mut entries = EntryReader::default();
        let mut end = None;
        for piece in bytes.chunks(piece) {
            entries.feed(piece);
            while let Some(entry) = entries.take_next()? {
                if let ExportEntry::End(counts) = entry {
                    end = Some(counts);
                }
            }
        }
        assert_eq!(end.is_some(), entries.is_at_end());
        Ok(end)
    }

    #[test]
    fn entries_come_back_in_pieces_of_any_size() {
        let counts = EntryCounts { records: 2, tombstones: 1 };
        let bytes = written(&[
            ExportEntry::Record([1; 16], b"row"),
            ExportEntry::Record([2; 16], &[9; 300]),
            ExportEntry::Tombstone([1; 16], b""),
            ExportEntry::End(counts),
        ]);
        for piece in 1..bytes.len() + 1 {
            assert_eq!(read(&bytes, piece), Ok(Some(counts)), "{piece}");
        }
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length], 50), Ok(None), "{length}");
        }
    }

    #[test]
    fn what_the_format_does_not_allow_is_damage() {
        let (a, b) = (ExportEntry::Record([1; 16], b"a"), ExportEntry::Record([2; 16], b"b"));
        let stone = ExportEntry::Tombstone([1; 16], b"t");
        let end = |records, tombstones| ExportEntry::End(EntryCounts { records, tombstones });
        for (entries, why) in [
            (&[b, a][..], "out of order"),
            (&[a, a], "out of order"),
            (&[stone, a], "out of order"),
            (&[stone, stone], "out of order"),
            (&[a, end(2, 0)], "as many entries"),
            (&[a, stone, end(1, 0)], "as many entries"),
            (&[a, end(1, 0), end(1, 0)], "follows its end"),
        ] {
            let told = read(&written(entries), 1_000);
            assert!(matches!(told, Err(ExportError::Damaged(told)) if told.contains(why)), "{why}");
        }
        assert!(matches!(read(b"x", 1), Err(ExportError::Damaged(_))));
    }
}
