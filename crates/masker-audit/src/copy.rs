//! Copies of a log that is written meanwhile.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{
    chain::{ChainHead, ParsedLine},
    segment::{self, Segment, SegmentLines},
};

/// Why a log was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The log cannot be read.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The file or the directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The copy cannot be written, as on a full disk or beyond a limit of the size of files.
    #[error("failed to write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Copies the segments of a log into an empty directory, durably but for its entries. Each copy ends with a whole line. A
/// segment that is begun meanwhile is left out, so that the copies continue each other. Blocks.
///
/// # Errors
/// [`CopyError`] if a segment cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<(), CopyError> {
    let mut left: Option<BTreeSet<_>> = None;
    loop {
        let listed = segment::list(from).map_err(|source| CopyError::Read { path: from.to_owned(), source })?;
        let segments = listed.segments;
        let left = left.get_or_insert_with(|| segments.iter().map(|segment| segment.name).collect());
        let mut is_changed = false;
        for segment in segments.iter().filter(|segment| left.contains(&segment.name)).cloned().collect::<Vec<_>>() {
            match copy_segment(&segment, to) {
                Ok(()) => drop(left.remove(&segment.name)),
                // It was compressed or removed after it was listed.
                Err(CopyError::Read { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && !segment.path.exists() =>
                {
                    is_changed = true;
                }
                Err(error) => return Err(error),
            }
        }
        if !is_changed {
            return Ok(());
        }
    }
}

fn copy_segment(segment: &Segment, to: &Path) -> Result<(), CopyError> {
    let read = |source| CopyError::Read { path: segment.path.clone(), source };
    let mut source = BufReader::with_capacity(1 << 17, segment::open(&segment.path).map_err(read)?);
    let path = to.join(segment.path.file_name().unwrap_or_default());
    let write = |source| CopyError::Write { path: path.clone(), source };
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(write)?;
    let (mut written, mut whole) = (0_u64, 0_u64);
    loop {
        let piece = source.fill_buf().map_err(read)?;
        if piece.is_empty() {
            break;
        }
        target.write_all(piece).map_err(write)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            whole = written + at as u64 + 1;
        }
        let length = piece.len();
        written += length as u64;
        source.consume(length);
    }
    if !segment.compressed {
        // The line that is being written.
        target.set_len(whole).map_err(write)?;
    }
    target.sync_all().map_err(write)
}

/// Returns whether a log states this head, without verifying it. Blocks.
///
/// # Errors
/// An I/O error if a segment cannot be read.
pub fn states_head(directory: &Path, head: &ChainHead) -> io::Result<bool> {
    if *head == ChainHead::GENESIS {
        return Ok(true);
    }
    let mut text = Vec::new();
    // It is among the last.
    for segment in segment::list(directory)?.segments.iter().rev() {
        let mut lines = SegmentLines::open(&segment.path, segment.compressed)?;
        while lines.next_whole(&mut text)? {
            let states = |line: ParsedLine<'_>| line.fields.seq == head.sequence && line.hash == head.hash;
            if ParsedLine::parse(&text).is_some_and(states) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_copy_ends_with_a_whole_line_and_has_both_forms() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("audit-20260301T000000Z-000001.jsonl.zst"), b"compressed").unwrap();
        fs::write(from.path().join("audit-20260302T000000Z-000002.jsonl"), b"one\ntwo\nthr").unwrap();
        fs::write(from.path().join("audit-20260302T000000Z-000003.jsonl"), b"no end").unwrap();
        copy(from.path(), to.path()).unwrap();
        let read = |name: &str| fs::read(to.path().join(name)).unwrap();
        assert_eq!(read("audit-20260301T000000Z-000001.jsonl.zst"), b"compressed");
        assert_eq!(read("audit-20260302T000000Z-000002.jsonl"), b"one\ntwo\n");
        assert_eq!(read("audit-20260302T000000Z-000003.jsonl"), b"");
        let again = copy(from.path(), to.path());
        assert!(matches!(again, Err(CopyError::Write { .. })), "nothing is replaced: {again:?}");
        let gone = copy(&from.path().join("none"), to.path());
        assert!(matches!(gone, Err(CopyError::Read { .. })), "{gone:?}");
    }
}
