//! Copies of a log that is written meanwhile.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{
    chain::{ChainHead, ParsedLine},
    segment::{self, Segment, SegmentLines},
};

/// Copies the segments of a log into an empty directory, durably but for its entries. Each copy ends with a whole line. A
/// segment that is begun meanwhile is left out, so that the copies continue each other. Blocks.
///
/// # Errors
/// An I/O error if a segment cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut left: Option<BTreeSet<_>> = None;
    loop {
        let segments = segment::list(from)?.segments;
        let left = left.get_or_insert_with(|| segments.iter().map(|segment| segment.name).collect());
        let mut is_changed = false;
        for segment in segments.iter().filter(|segment| left.contains(&segment.name)).cloned().collect::<Vec<_>>() {
            match copy_segment(&segment, to) {
                Ok(()) => drop(left.remove(&segment.name)),
                // It was compressed or removed after it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !segment.path.exists() => is_changed = true,
                Err(error) => return Err(error),
            }
        }
        if !is_changed {
            return Ok(());
        }
    }
}

fn copy_segment(segment: &Segment, to: &Path) -> io::Result<()> {
    let mut source = BufReader::with_capacity(1 << 17, segment::open(&segment.path)?);
    let name = segment.path.file_name().unwrap_or_default();
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to.join(name))?;
    let (mut written, mut whole) = (0_u64, 0_u64);
    loop {
        let piece = source.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        target.write_all(piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            whole = written + at as u64 + 1;
        }
        let length = piece.len();
        written += length as u64;
        source.consume(length);
    }
    if !segment.compressed {
        // The line that is being written.
        target.set_len(whole)?;
    }
    target.sync_all()
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
        assert!(copy(from.path(), to.path()).is_err(), "nothing is replaced");
    }
}
