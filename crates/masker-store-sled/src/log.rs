//! Reads sled's log without changing it, before sled may open it.
//!
//! sled repairs when it opens: it takes the first incomplete message of its log for the end, and silently overwrites what
//! follows. That is correct after a crash and fatal after damage, because the evidence and the rows are gone before the
//! witness can detect it. So the log is read first, without sled's code: every message has a checksum, and the manifest
//! is in the last complete commit.
//!
//! The format is that of sled 0.34 (its `pagecache` module), which will not change. Segments of 512 KiB begin with a
//! header of 20 bytes: checksum (4), log sequence number (8), number up to which the log was stable then (8), the numbers
//! xored with `i64::MAX`, little-endian. An unused segment is all zeros. Messages follow: checksum (4), kind (1), length,
//! number of the segment, page (each a variable-length integer), and the content. A message of kind `Cap`, or less than
//! 32 bytes of room, ends the segment.
//!
//! A log is consistent if every segment is either empty or complete, except the one that ends the log. A power cut can
//! leave a log inconsistent without harm, in segments that were about to be reused. So an inconsistent log is not damage
//! yet; `embedded::open` then tries its recovery on a copy.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use masker_store::embedded::Manifest;

const SEGMENT_BYTES: usize = 512 * 1024;
const SEGMENT_HEADER_BYTES: usize = 20;
const MESSAGE_HEADER_BYTES_MAX: usize = 32;

const KIND_CORRUPTED: u8 = 0;
const KIND_CAP: u8 = 2;
const KIND_BATCH_MANIFEST: u8 = 3;
const KIND_MAX: u8 = 11;

/// The result of reading the log.
#[derive(Debug)]
pub(super) struct LogInspection {
    /// Offsets of segments that are neither empty nor complete and do not end the log.
    pub(super) inconsistent_segments: Vec<u64>,
    /// The manifest of the last complete commit, if there is one.
    pub(super) manifest: Option<Manifest>,
}

/// A segment in use, as far as it can be read.
struct SledSegment {
    offset: u64,
    sequence: i64,
    stable: i64,
    /// Bytes from the segment's beginning to the end of the last complete message.
    readable: usize,
    /// Whether no messages are missing.
    complete: bool,
    /// The last batch that begins in the segment: the numbers of its beginning and of its last byte.
    last_batch: Option<(i64, i64)>,
}

impl SledSegment {
    /// Returns the number after the last readable byte.
    fn end(&self) -> i64 {
        self.sequence + if self.complete { SEGMENT_BYTES } else { self.readable } as i64
    }
}

enum SegmentState {
    Empty,
    InUse(SledSegment),
    Unreadable,
}

/// Reads the whole log of a vault, or of any vault. The latest snapshot covers the log before the number `snapshot`.
pub(super) fn inspect(db: &File, vault_id: Option<&[u8; 16]>, snapshot: i64) -> io::Result<LogInspection> {
    // Without this, some systems read the file eight times as slowly.
    posix_fadvise(db, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL)?;
    let mut inconsistent_segments = Vec::new();
    let mut segments = BTreeMap::new();
    let mut buffer = vec![0; SEGMENT_BYTES];
    let mut offset = 0;
    loop {
        let filled = read_up_to(db, &mut buffer, offset)?;
        if filled == 0 {
            break;
        }
        match inspect_segment(&buffer[..filled], offset) {
            SegmentState::Empty => {}
            SegmentState::Unreadable => inconsistent_segments.push(offset),
            SegmentState::InUse(segment) => {
                if let Some(duplicate) = segments.insert(segment.sequence, segment) {
                    inconsistent_segments.push(duplicate.offset);
                }
            }
        }
        offset += SEGMENT_BYTES as u64;
    }

    let end = end_of_log(&segments, snapshot);
    let below = |segment: &&SledSegment| segment.sequence + (SEGMENT_BYTES as i64) < end && !segment.complete;
    inconsistent_segments.extend(segments.values().filter(below).map(|segment| segment.offset));

    let readable_to = end_of_complete_batches(&segments, end);
    let mut manifest = None;
    for segment in segments.range(..readable_to).rev().map(|(_, segment)| segment) {
        let readable = (readable_to.min(segment.end()) - segment.sequence) as usize;
        let filled = read_up_to(db, &mut buffer[..readable.min(SEGMENT_BYTES)], segment.offset)?;
        manifest = Manifest::find_last(&buffer[..filled], vault_id);
        if manifest.is_some() {
            break;
        }
    }
    Ok(LogInspection { inconsistent_segments, manifest })
}

/// Returns the end of the log: from the last number known to be stable, segments follow each other without a gap up to an
/// incomplete one.
fn end_of_log(segments: &BTreeMap<i64, SledSegment>, snapshot: i64) -> i64 {
    let stable = segments.values().map(|segment| segment.stable).max().unwrap_or(0).max(snapshot);
    let mut expected = stable / SEGMENT_BYTES as i64 * SEGMENT_BYTES as i64;
    for segment in segments.range(expected..).map(|(_, segment)| segment) {
        if segment.sequence != expected {
            break;
        }
        expected = segment.end();
        if !segment.complete {
            break;
        }
    }
    expected
}

/// Returns the end of the last complete batch: sled drops a batch that continues after the end of the log.
fn end_of_complete_batches(segments: &BTreeMap<i64, SledSegment>, end: i64) -> i64 {
    let last_batch = segments.range(..end).rev().find_map(|(_, segment)| segment.last_batch);
    match last_batch {
        Some((begins, last)) if last >= end => begins,
        _ => end,
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn inspect_segment(bytes: &[u8], offset: u64) -> SegmentState {
    let Some((sequence, stable)) = segment_header(bytes) else {
        return if bytes.iter().all(|byte| *byte == KIND_CORRUPTED) {
            SegmentState::Empty
        } else {
            SegmentState::Unreadable
        };
    };
    let number = (sequence / SEGMENT_BYTES as i64) as u64;
    let (mut readable, mut complete, mut last_batch) = (SEGMENT_HEADER_BYTES, false, None);
    loop {
        if SEGMENT_BYTES - readable < MESSAGE_HEADER_BYTES_MAX {
            complete = bytes.len() == SEGMENT_BYTES;
            break;
        }
        let Some(message) = bytes.get(readable..).and_then(|bytes| Message::read(bytes, number)) else { break };
        if message.kind == KIND_CAP {
            complete = true;
            break;
        }
        if let (KIND_BATCH_MANIFEST, Ok(last)) = (message.kind, message.content.try_into()) {
            last_batch = Some((sequence + readable as i64, i64::from_le_bytes(last)));
        }
        readable += message.length;
    }
    SegmentState::InUse(SledSegment { offset, sequence, stable, readable, complete, last_batch })
}

fn segment_header(bytes: &[u8]) -> Option<(i64, i64)> {
    let (header, _) = bytes.split_first_chunk::<SEGMENT_HEADER_BYTES>()?;
    let (sum, numbers) = header.split_first_chunk()?;
    let (sequence, stable) = numbers.split_first_chunk()?;
    let number = |bytes: [u8; 8]| i64::from_le_bytes(bytes) ^ i64::MAX;
    let (sequence, stable) = (number(*sequence), number(stable.try_into().ok()?));
    let in_use = u32::from_le_bytes(*sum) ^ u32::MAX == crc32fast::hash(numbers)
        && sequence >= 0
        && sequence % SEGMENT_BYTES as i64 == 0;
    in_use.then_some((sequence, stable))
}

struct Message<'a> {
    kind: u8,
    content: &'a [u8],
    length: usize,
}

impl<'a> Message<'a> {
    /// Returns the message at the beginning of `bytes`, if it is complete and belongs to this segment.
    fn read(bytes: &'a [u8], segment: u64) -> Option<Self> {
        let mut rest = bytes;
        let sum = take::<4>(&mut rest)?;
        let [kind] = take::<1>(&mut rest)?;
        let length = take_integer(&mut rest)?;
        let of_segment = take_integer(&mut rest)?;
        let _page = take_integer(&mut rest)?;
        let header_length = bytes.len() - rest.len();
        let content = rest.get(..usize::try_from(length).ok()?)?;
        let mut hash = crc32fast::Hasher::new();
        hash.update(content);
        hash.update(&bytes[4..header_length]);
        let valid = kind != KIND_CORRUPTED
            && kind <= KIND_MAX
            && of_segment == segment
            && u32::from_le_bytes(sum) ^ u32::MAX == hash.finalize();
        valid.then(|| Message { kind, content, length: header_length + content.len() })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// Reads one of sled's integers: 1 to 9 bytes. The first determines how many.
fn take_integer(bytes: &mut &[u8]) -> Option<u64> {
    let [first] = take(bytes)?;
    match first {
        0..=240 => Some(first.into()),
        241..=248 => {
            let [low] = take(bytes)?;
            Some(240 + 256 * (u64::from(first) - 241) + u64::from(low))
        }
        249 => {
            let [high, low] = take(bytes)?;
            Some(2_288 + 256 * u64::from(high) + u64::from(low))
        }
        250..=255 => {
            let length = usize::from(first) - 247;
            let (taken, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            let mut integer = [0; 8];
            integer[..length].copy_from_slice(taken);
            Some(u64::from_le_bytes(integer))
        }
    }
}

/// Files in sled's folder that it does not need, but fails on if they are damaged: snapshots, which shorten reading the
/// log, and its configuration, which is always the same.
pub(super) struct SideFiles {
    /// Snapshots that were never finished. sled takes them for finished ones.
    pub(super) unfinished: Vec<PathBuf>,
    /// Files that do not contain what was written.
    pub(super) damaged: Vec<PathBuf>,
    /// The number that the latest complete snapshot covers the log up to; 0 without one.
    pub(super) snapshot: i64,
}

/// Reads the side files.
pub(super) fn inspect_side_files(folder: &Path) -> io::Result<SideFiles> {
    let mut found = SideFiles { unfinished: Vec::new(), damaged: Vec::new(), snapshot: 0 };
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let complete = match &*name {
            "conf" => configuration_is_complete(&std::fs::read(&path)?),
            name if !name.starts_with("snap.") => continue,
            name if name.ends_with(".generating") => {
                found.unfinished.push(path);
                continue;
            }
            name => {
                let complete = snapshot_is_complete(&std::fs::read(&path)?);
                // Its name ends in the number, in hexadecimal.
                let number = i64::from_str_radix(&name["snap.".len()..], 16).unwrap_or(0);
                found.snapshot = found.snapshot.max(if complete { number } else { 0 });
                complete
            }
        };
        if !complete {
            found.damaged.push(path);
        }
    }
    Ok(found)
}

/// Returns whether a configuration is complete. It ends with its checksum (4).
fn configuration_is_complete(bytes: &[u8]) -> bool {
    bytes.split_last_chunk().is_some_and(|(content, sum)| u32::from_le_bytes(*sum) == crc32fast::hash(content))
}

/// Returns whether a snapshot is complete. It ends with its length (8) and its checksum (4).
fn snapshot_is_complete(bytes: &[u8]) -> bool {
    let Some((content, sum)) = bytes.split_last_chunk() else { return false };
    let Some((content, length)) = content.split_last_chunk() else { return false };
    !content.is_empty()
        && u64::from_le_bytes(*length) == content.len() as u64
        && u32::from_le_bytes(*sum) == crc32fast::hash(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::SLED;
    use masker_store::{
        RowBatch, RowChange, RowKey, Store,
        embedded::{EmbeddedStore, StoreOptions},
    };

    fn vault(path: &Path, batches: u8) -> [u8; 16] {
        let store = EmbeddedStore::open(path, StoreOptions { engine: SLED, ..StoreOptions::default() }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for number in 0..batches {
                let put = RowChange::Put(RowKey::new([b'r', number]).unwrap(), vec![number; 5_000]);
                store.apply(RowBatch { preconditions: Vec::new(), changes: vec![put] }).await.unwrap();
            }
            store.close().await.unwrap();
        });
        store.vault_id()
    }

    #[test]
    fn finds_the_last_manifest_and_detects_every_changed_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault");
        let vault_id = vault(&path, 9);
        let db = File::options().read(true).write(true).open(path.join("sled/db")).unwrap();
        let sound = inspect(&db, Some(&vault_id), 0).unwrap();
        assert!(sound.inconsistent_segments.is_empty());
        // The commit of the opening, and nine batches.
        assert_eq!(sound.manifest.unwrap().position.sequence, 10);
        assert!(inspect(&db, Some(&[0; 16]), 0).unwrap().manifest.is_none(), "the manifest of another vault");

        let content = std::fs::read(path.join("sled/db")).unwrap();
        let used = content.iter().rposition(|byte| *byte != 0).unwrap();
        for at in (0..used).step_by(61) {
            db.write_all_at(&[content[at] ^ 0x20], at as u64).unwrap();
            let changed = inspect(&db, Some(&vault_id), 0).unwrap();
            assert!(
                !changed.inconsistent_segments.is_empty() || changed.manifest != sound.manifest,
                "byte {at} of {used}"
            );
            db.write_all_at(&content[at..=at], at as u64).unwrap();
        }
        for length in (0..used).step_by(997) {
            db.set_len(length as u64).unwrap();
            assert_ne!(inspect(&db, Some(&vault_id), 0).unwrap().manifest, sound.manifest, "cut to {length} of {used}");
            db.write_all_at(&content[length..], length as u64).unwrap();
        }
    }

    #[test]
    fn reads_integers_as_sled_writes_them() {
        let cases: [(&[u8], u64); 6] = [
            (&[240], 240),
            (&[241, 1], 241),
            (&[248, 255], 2_287),
            (&[249, 255, 255], 67_823),
            (&[250, 0, 0, 2], 131_072),
            (&[255, 1, 2, 3, 4, 5, 6, 7, 8], 0x0807_0605_0403_0201),
        ];
        for (mut bytes, integer) in cases {
            assert_eq!(take_integer(&mut bytes), Some(integer));
            assert!(bytes.is_empty());
        }
        for mut short in [&[][..], &[241], &[249, 1], &[252, 1, 2, 3, 4]] {
            assert_eq!(take_integer(&mut short), None);
        }
    }

    #[test]
    fn tells_complete_damaged_and_unfinished_side_files_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault");
        vault(&path, 3);
        vault(&path, 3);
        let sled = path.join("sled");
        let found = inspect_side_files(&sled).unwrap();
        assert!(found.unfinished.is_empty() && found.damaged.is_empty() && found.snapshot > 0);
        for name in std::fs::read_dir(&sled).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            if name.ends_with("db") {
                continue;
            }
            let sound = std::fs::read(&name).unwrap();
            for at in 0..sound.len() {
                let mut changed = sound.clone();
                changed[at] ^= 1;
                std::fs::write(&name, changed).unwrap();
                assert_eq!(
                    inspect_side_files(&sled).unwrap().damaged.as_slice(),
                    std::slice::from_ref(&name),
                    "byte {at}"
                );
            }
            std::fs::write(&name, sound).unwrap();
        }
        std::fs::write(sled.join("snap.01.generating"), b"").unwrap();
        assert_eq!(inspect_side_files(&sled).unwrap().unfinished, [sled.join("snap.01.generating")]);
    }
}
