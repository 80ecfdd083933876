//! The entries of an export: records, then tombstones, each in the order of their ids, then control rows in the order of their
//! keys, then the counts.

use super::ExportError;
use masker_types::limits::ROW_BYTES_MAX;

const RECORD: u8 = b'r';
const TOMBSTONE: u8 = b't';
const CONTROL: u8 = b'x';
const END: u8 = b'e';

const _: () = assert!(ROW_BYTES_MAX <= u16::MAX as usize);

/// The counts of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryCounts {
    /// The number of records.
    pub records: u64,
    /// The number of tombstones.
    pub tombstones: u64,
    /// The number of control rows.
    pub control_rows: u64,
}

impl EntryCounts {
    pub(super) fn count(&mut self, entry: &ExportEntry<'_>) {
        match entry {
            ExportEntry::Record(..) => self.records += 1,
            ExportEntry::Tombstone(..) => self.tombstones += 1,
            ExportEntry::Control { .. } => self.control_rows += 1,
            ExportEntry::End(_) => {}
        }
    }
}

/// The positions of a record in the lists of its index rows, from 0. An import appends in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPositions {
    /// The position of its id among those of its value.
    pub value: u8,
    /// The position of its match part among those of its form.
    pub form: u8,
}

/// An entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ExportEntry<'a> {
    /// A record: its id, its positions in the lists of its index rows, and its row as the vault stores it.
    Record([u8; 20], ListPositions, &'a [u8]),
    /// A tombstone: its id and its row.
    Tombstone([u8; 20], &'a [u8]),
    /// A row that no key of a record seals, for the restore of a backup.
    Control {
        /// Its key in the vault: the space, then the rest. 2 to 255 bytes.
        key: &'a [u8],
        /// The row, without the tag of the vault's control key.
        row: &'a [u8],
    },
    /// The last entry, with the counts.
    End(EntryCounts),
}

impl ExportEntry<'_> {
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            ExportEntry::Record(id, positions, row) => {
                bytes.push(RECORD);
                bytes.extend_from_slice(id);
                bytes.extend_from_slice(&[positions.value, positions.form]);
                write_row(bytes, row);
            }
            ExportEntry::Tombstone(id, row) => {
                bytes.push(TOMBSTONE);
                bytes.extend_from_slice(id);
                write_row(bytes, row);
            }
            ExportEntry::Control { key, row } => {
                bytes.push(CONTROL);
                // Cannot truncate: keys of rows are shorter.
                bytes.push(key.len() as u8);
                bytes.extend_from_slice(key);
                write_row(bytes, row);
            }
            ExportEntry::End(counts) => {
                bytes.push(END);
                bytes.extend_from_slice(&counts.records.to_be_bytes());
                bytes.extend_from_slice(&counts.tombstones.to_be_bytes());
                bytes.extend_from_slice(&counts.control_rows.to_be_bytes());
            }
        }
    }
}

fn write_row(bytes: &mut Vec<u8>, row: &[u8]) {
    // Cannot truncate: the assertion above bounds rows.
    bytes.extend_from_slice(&(row.len() as u16).to_be_bytes());
    bytes.extend_from_slice(row);
}

/// Reads entries from chunks, and checks their order and number.
#[derive(Default)]
pub struct EntryReader {
    bytes: Vec<u8>,
    at: usize,
    counts: EntryCounts,
    last: Option<(u8, [u8; 20])>,
    /// The key of the last control row, if there was one.
    last_control: Vec<u8>,
    ended: bool,
}

impl EntryReader {
    /// Adds an opened chunk.
    pub fn push(&mut self, chunk: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(chunk);
    }

    /// Returns the next entry, or `None` if another chunk is needed or the end was read.
    ///
    /// # Errors
    /// Returns [`ExportError::Damaged`] if the format is violated.
    pub fn take_next(&mut self) -> Result<Option<ExportEntry<'_>>, ExportError> {
        let rest = &self.bytes[self.at..];
        if self.ended {
            return if rest.is_empty() { Ok(None) } else { Err(ExportError::Damaged("something follows its end")) };
        }
        let Some((&kind, rest)) = rest.split_first() else { return Ok(None) };
        match kind {
            RECORD | TOMBSTONE => {
                let Some((id, rest)) = rest.split_first_chunk::<20>() else { return Ok(None) };
                let positions_bytes = if kind == RECORD { 2 } else { 0 };
                let Some((positions, rest)) = rest.split_at_checked(positions_bytes) else { return Ok(None) };
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = usize::from(u16::from_be_bytes(*length));
                let Some(row) = rest.get(..length) else { return Ok(None) };
                // Records come before tombstones, in the order of their letters.
                if self.last.is_some_and(|last| last >= (kind, *id)) || !self.last_control.is_empty() {
                    return Err(ExportError::Damaged("its entries are out of order"));
                }
                self.last = Some((kind, *id));
                self.at += 1 + id.len() + positions_bytes + 2 + length;
                let entry = match positions {
                    [value, form] => ExportEntry::Record(*id, ListPositions { value: *value, form: *form }, row),
                    _ => ExportEntry::Tombstone(*id, row),
                };
                self.counts.count(&entry);
                Ok(Some(entry))
            }
            CONTROL => {
                let Some((&key_bytes, rest)) = rest.split_first() else { return Ok(None) };
                let Some((key, rest)) = rest.split_at_checked(usize::from(key_bytes)) else { return Ok(None) };
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = usize::from(u16::from_be_bytes(*length));
                let Some(row) = rest.get(..length) else { return Ok(None) };
                if key.len() < 2 {
                    return Err(ExportError::Damaged("the key of a control row is too short"));
                }
                if self.last_control.as_slice() >= key {
                    return Err(ExportError::Damaged("its entries are out of order"));
                }
                self.last_control.clear();
                self.last_control.extend_from_slice(key);
                self.at += 1 + 1 + key.len() + 2 + length;
                let entry = ExportEntry::Control { key, row };
                self.counts.count(&entry);
                Ok(Some(entry))
            }
            END => {
                let Some((records, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let Some((tombstones, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let Some((control_rows, _)) = rest.split_first_chunk() else { return Ok(None) };
                let declared = EntryCounts {
                    records: u64::from_be_bytes(*records),
                    tombstones: u64::from_be_bytes(*tombstones),
                    control_rows: u64::from_be_bytes(*control_rows),
                };
                if declared != self.counts {
                    return Err(ExportError::Damaged("its number of entries is wrong"));
                }
                self.at += 1 + 3 * 8;
                self.ended = true;
                Ok(Some(ExportEntry::End(declared)))
            }
            _ => Err(ExportError::Damaged("it has an entry of an unknown type")),
        }
    }

    /// Returns whether the end was read and nothing follows it.
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

    /// Reads pieces of a given size. Returns the counts in the last entry, if it was read.
    fn read(bytes: &[u8], piece: usize) -> Result<Option<EntryCounts>, ExportError> {
        let mut entries = EntryReader::default();
        let mut end = None;
        for piece in bytes.chunks(piece) {
            entries.push(piece);
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
    fn reads_entries_in_pieces_of_any_size() {
        let counts = EntryCounts { records: 2, tombstones: 1, control_rows: 2 };
        let bytes = written(&[
            ExportEntry::Record([1; 20], ListPositions { value: 1, form: 2 }, b"row"),
            ExportEntry::Record([2; 20], ListPositions::default(), &[9; 300]),
            ExportEntry::Tombstone([1; 20], b""),
            ExportEntry::Control { key: b"g1", row: b"row" },
            ExportEntry::Control { key: b"k0", row: b"" },
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
    fn rejects_violations_of_the_format() {
        let record = |id, row| ExportEntry::Record([id; 20], ListPositions::default(), row);
        let (a, b) = (record(1, b"a"), record(2, b"b"));
        let tombstone = ExportEntry::Tombstone([1; 20], b"t");
        let control = |key| ExportEntry::Control { key, row: b"c" };
        let end = |records, tombstones| ExportEntry::End(EntryCounts { records, tombstones, control_rows: 0 });
        for (entries, why) in [
            (&[b, a][..], "out of order"),
            (&[a, a], "out of order"),
            (&[tombstone, a], "out of order"),
            (&[tombstone, tombstone], "out of order"),
            (&[control(b"k1"), tombstone], "out of order"),
            (&[control(b"k1"), control(b"k1")], "out of order"),
            (&[control(b"k1"), control(b"g1")], "out of order"),
            (&[control(b"k")], "too short"),
            (&[control(b"k1"), end(0, 0)], "number of entries"),
            (&[a, end(2, 0)], "number of entries"),
            (&[a, tombstone, end(1, 0)], "number of entries"),
            (&[a, end(1, 0), end(1, 0)], "follows its end"),
        ] {
            let result = read(&written(entries), 1_000);
            assert!(matches!(result, Err(ExportError::Damaged(reason)) if reason.contains(why)), "{why}");
        }
        assert!(matches!(read(b"z", 1), Err(ExportError::Damaged(_))));
    }
}
