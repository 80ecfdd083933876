//! Segments: the files that the log is made of, their names, and how they get to the disk, shrink and go.
//!
//! A segment is `audit-YYYYMMDDTHHMMSSZ-NNNNNN.jsonl`: when it was begun, and its number. Once closed it is compressed, to
//! `.jsonl.zst`. The time in a name never goes back, whatever the clock does, so names sort as the chain runs.
//!
//! At every moment one of the two forms of a segment is whole and on the disk: the compressed one is written beside under
//! a name of its own, synced, read back and held against the original, renamed, and only then does the original go. Where
//! both are there, the original counts.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use masker_types::limits::AUDIT_LINE_BYTES_MAX;

const PREFIX: &str = "audit-";
const PLAIN: &str = ".jsonl";
const COMPRESSED: &str = ".jsonl.zst";
/// A compressed segment that is being written.
const UNFINISHED: &str = ".jsonl.zst.new";
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// The fastest of the usual levels. Lines of the log are so much alike that those above it, which look for more, make more
/// of it: of a segment of 137 MB 11.6 are left in place of 13.8, in a third of the time.
const LEVEL: i32 = 1;
/// Bytes that are read from a segment at once.
const READ_BYTES: usize = 1 << 17;

/// When a segment was begun, and which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    /// From 1, without gaps.
    pub(super) number: u64,
    /// In whole seconds.
    pub(super) begun: Timestamp,
}

impl SegmentName {
    /// The name of the segment after this one.
    pub(super) fn next(&self, now: Timestamp) -> Self {
        SegmentName { number: self.number + 1, begun: whole_seconds(now).max(self.begun) }
    }

    /// The name of the first segment.
    pub(super) fn first(now: Timestamp) -> Self {
        SegmentName { number: 1, begun: whole_seconds(now) }
    }

    /// Reads what stands before the endings.
    fn parse(text: &str) -> Option<Self> {
        let (time, number) = text.strip_prefix(PREFIX)?.split_once('-')?;
        let begun = DateTime::strptime(TIME, time).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let name = SegmentName { number: number.parse().ok()?, begun };
        // One name has one text.
        (name.number > 0 && name.to_string() == text).then_some(name)
    }

    pub(super) fn plain(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{self}{PLAIN}"))
    }

    pub(super) fn compressed(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{self}{COMPRESSED}"))
    }

    fn unfinished(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{self}{UNFINISHED}"))
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-{:06}", self.begun.strftime(TIME), self.number)
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// A segment that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) name: SegmentName,
    /// The file that counts.
    pub(super) path: PathBuf,
    /// Whether that is a compressed one.
    pub(super) compressed: bool,
}

/// What is in the log's directory.
#[derive(Debug, Default)]
pub(super) struct DirectoryListing {
    /// In the order of their numbers.
    pub(super) segments: Vec<Segment>,
    /// Compressed segments that were being written.
    pub(super) unfinished: Vec<PathBuf>,
    /// Something that is no part of a log.
    pub(super) foreign: Option<OsString>,
}

/// Looks at everything in a directory, hidden or not.
pub(super) fn list(directory: &Path) -> io::Result<DirectoryListing> {
    let mut listing = DirectoryListing::default();
    let mut names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        let path = directory.join(&name);
        match name.to_str().and_then(named) {
            Some((_, UNFINISHED)) => listing.unfinished.push(path),
            Some((name, ending)) => {
                listing.segments.push(Segment { name, path, compressed: ending == COMPRESSED });
            }
            None => listing.foreign = listing.foreign.or(Some(name)),
        }
    }
    listing.segments.sort_by_key(|segment| (segment.name, segment.compressed));
    listing.segments.dedup_by_key(|segment| segment.name);
    Ok(listing)
}

/// What a file is by its name: the segment, and the ending.
fn named(file: &str) -> Option<(SegmentName, &'static str)> {
    [UNFINISHED, COMPRESSED, PLAIN]
        .into_iter()
        .find_map(|ending| Some((SegmentName::parse(file.strip_suffix(ending)?)?, ending)))
}

/// A file that was named to be read, as the segment that its name says it is.
pub(super) fn segment_at(path: &Path) -> Option<Segment> {
    let (name, ending) = named(path.file_name()?.to_str()?)?;
    (ending != UNFINISHED).then(|| Segment { name, path: path.to_owned(), compressed: ending == COMPRESSED })
}

/// Makes a new, empty segment, or empties what is left of one that was never begun. Its entry is not durable yet.
pub(super) fn create(path: &Path) -> io::Result<File> {
    options().create(true).truncate(true).write(true).open(path)?.sync_all()?;
    append_to(path)
}

/// Opens a segment to write at its end.
pub(super) fn append_to(path: &Path) -> io::Result<File> {
    options().append(true).open(path)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // The standard library adds O_CLOEXEC.
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

/// What stands next in a segment.
pub(super) enum NextLine {
    /// A line with an end, which is not in the text.
    Line,
    /// What follows the last line end.
    Torn,
    /// More bytes without a line end than any line has. What follows was not read.
    TooLong,
    /// Nothing.
    End,
}

/// The lines of a segment, whichever its form, in constant memory.
pub(super) struct SegmentLines<'a> {
    reader: Box<dyn BufRead + 'a>,
    /// Bytes of whole lines so far.
    pub(super) bytes: u64,
    /// Whole lines so far.
    pub(super) count: u64,
}

impl SegmentLines<'_> {
    /// Opens a segment. One that was compressed since it was listed is read in its other form.
    pub(super) fn open(path: &Path, compressed: bool) -> io::Result<SegmentLines<'static>> {
        let file = match options().read(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !compressed => {
                return SegmentLines::open(&path.with_extension("jsonl.zst"), true);
            }
            opened => opened?,
        };
        if compressed {
            return Ok(SegmentLines::new(BufReader::with_capacity(READ_BYTES, zstd::Decoder::new(file)?)));
        }
        Ok(SegmentLines::new(BufReader::with_capacity(READ_BYTES, file)))
    }

    fn new<'a>(reader: impl BufRead + 'a) -> SegmentLines<'a> {
        SegmentLines { reader: Box::new(reader), bytes: 0, count: 0 }
    }

    /// Reads on, into `text` in place of what it holds.
    pub(super) fn next(&mut self, text: &mut Vec<u8>) -> io::Result<NextLine> {
        text.clear();
        let read = (&mut self.reader).take(AUDIT_LINE_BYTES_MAX as u64 + 1).read_until(b'\n', text)?;
        if text.pop_if(|last| *last == b'\n').is_some() {
            self.bytes += read as u64;
            self.count += 1;
            return Ok(NextLine::Line);
        }
        Ok(match read {
            0 => NextLine::End,
            read if read > AUDIT_LINE_BYTES_MAX => NextLine::TooLong,
            _ => NextLine::Torn,
        })
    }
}

/// Whether an error in reading a segment is for what is in the file, and not of the disk.
pub(super) fn is_damage(error: &io::Error) -> bool {
    error.raw_os_error().is_none()
}

/// Compresses a closed segment and removes its original. What a crash has left of an earlier attempt is in no way.
pub(super) fn compress(name: &SegmentName, directory: &Path) -> io::Result<()> {
    let (plain, compressed, unfinished) =
        (name.plain(directory), name.compressed(directory), name.unfinished(directory));
    let original = Segment { name: *name, path: plain.clone(), compressed: false };
    if !has_same_content(&compressed, &original)? {
        write_compressed(&original, &unfinished)?;
        // What cannot be read back would be lost with the original.
        if !has_same_content(&unfinished, &original)? {
            return Err(io::Error::other("what was compressed reads back as something else"));
        }
        fs::rename(&unfinished, &compressed)?;
        masker_files::sync_directory(directory)?;
    }
    fs::remove_file(plain)?;
    masker_files::sync_directory(directory)
}

fn write_compressed(original: &Segment, path: &Path) -> io::Result<()> {
    let target = options().create(true).truncate(true).write(true).open(path)?;
    let mut encoder = zstd::Encoder::new(target, LEVEL)?;
    encoder.include_checksum(true)?;
    let original = options().read(true).open(&original.path)?;
    io::copy(&mut BufReader::with_capacity(READ_BYTES, original), &mut encoder)?;
    let mut target = encoder.finish()?;
    target.flush()?;
    target.sync_all()
}

/// Whether a compressed file is there and holds what a plain one does.
fn has_same_content(compressed: &Path, original: &Segment) -> io::Result<bool> {
    let file = match options().read(true).open(compressed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let mut decoder = BufReader::with_capacity(READ_BYTES, zstd::Decoder::new(file)?);
    let mut plain = BufReader::with_capacity(READ_BYTES, options().read(true).open(&original.path)?);
    loop {
        let expected = plain.fill_buf()?;
        let found = match decoder.fill_buf() {
            Err(error) if is_damage(&error) => return Ok(false),
            found => found?,
        };
        let length = expected.len().min(found.len());
        if expected[..length] != found[..length] || (length == 0 && expected.len() != found.len()) {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
        plain.consume(length);
        decoder.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn names_sort_as_the_chain_runs_whatever_the_clock_does() {
        let first = SegmentName::first(at("2026-03-01T12:34:56.789Z"));
        assert_eq!(first.to_string(), "audit-20260301T123456Z-000001");
        let back = first.next(at("2020-01-01T00:00:00Z"));
        assert_eq!(back.to_string(), "audit-20260301T123456Z-000002");
        let on = back.next(at("2026-03-02T00:00:00Z"));
        assert!(first.to_string() < back.to_string() && back.to_string() < on.to_string());
        for name in [first, back, on] {
            assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        }
    }

    #[test]
    fn other_names_are_not_ours() {
        for name in [
            "audit-20260301T123456Z-1.jsonl",
            "audit-20260301T123456Z-000000.jsonl",
            "audit-20260301T123456Z-0000001.jsonl",
            "audit-20261301T123456Z-000001.jsonl",
            "audit-20260301T123456Z-000001",
            "audit-20260301T123456Z-000001.jsonl.gz",
            "audit-20260301T123456Z-000001.jsonl.zst.old",
            ".audit-20260301T123456Z-000001.jsonl",
            "lock",
        ] {
            assert_eq!(named(name), None, "{name}");
        }
        assert!(named("audit-20260301T123456Z-1000000.jsonl").is_some());
    }

    fn scene() -> (tempfile::TempDir, SegmentName, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let name = SegmentName::first(at("2026-03-01T00:00:00Z"));
        let text: Vec<u8> = (0..20_000).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
        fs::write(name.plain(folder.path()), &text).unwrap();
        (folder, name, text)
    }

    fn unpacked(name: &SegmentName, directory: &Path) -> Vec<u8> {
        zstd::decode_all(File::open(name.compressed(directory)).unwrap()).unwrap()
    }

    #[test]
    fn a_crash_at_any_step_of_compressing_loses_nothing() {
        let (folder, name, text) = scene();
        let directory = folder.path();
        let whole = zstd::encode_all(&*text, LEVEL).unwrap();
        // What each step leaves: nothing, a part, all of it under its first name, all of it under its last.
        type Left<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);
        let half = &whole[..whole.len() / 2];
        let steps: [Left<'_>; 6] = [
            (None, None),
            (Some(b""), None),
            (Some(half), None),
            (Some(&whole), None),
            (None, Some(&whole)),
            (None, Some(half)),
        ];
        for (unfinished, compressed) in steps {
            fs::write(name.plain(directory), &text).unwrap();
            let _ = fs::remove_file(name.compressed(directory));
            unfinished.inspect(|bytes| fs::write(name.unfinished(directory), bytes).unwrap());
            compressed.inspect(|bytes| fs::write(name.compressed(directory), bytes).unwrap());
            // Until it is done the original counts.
            let listing = list(directory).unwrap();
            assert_eq!(listing.segments, [Segment { name, path: name.plain(directory), compressed: false }]);
            compress(&name, directory).unwrap();
            assert_eq!(unpacked(&name, directory), text);
            let listing = list(directory).unwrap();
            assert_eq!(listing.segments, [Segment { name, path: name.compressed(directory), compressed: true }]);
        }
    }

    #[test]
    fn a_planted_compressed_file_does_not_replace_the_original() {
        let (folder, name, text) = scene();
        fs::write(name.compressed(folder.path()), zstd::encode_all(&b"line 0\n"[..], LEVEL).unwrap()).unwrap();
        compress(&name, folder.path()).unwrap();
        assert_eq!(unpacked(&name, folder.path()), text);
    }

    #[test]
    fn lines_are_told_from_what_has_no_end() {
        let (folder, name, _) = scene();
        let path = name.plain(folder.path());
        let kinds = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let mut lines = SegmentLines::open(&path, false).unwrap();
            let (mut text, mut kinds) = (Vec::new(), String::new());
            loop {
                kinds.push(match lines.next(&mut text).unwrap() {
                    NextLine::Line => 'l',
                    NextLine::Torn => 't',
                    NextLine::TooLong => 'x',
                    NextLine::End => 'e',
                });
                if !kinds.ends_with('l') {
                    return (kinds, lines.bytes);
                }
            }
        };
        assert_eq!(kinds(b""), ("e".into(), 0));
        assert_eq!(kinds(b"a\n\nb"), ("llt".into(), 3));
        let mut long = vec![b'a'; AUDIT_LINE_BYTES_MAX];
        long.push(b'\n');
        assert_eq!(kinds(&long).0, "le");
        long.insert(0, b'a');
        assert_eq!(kinds(&long).0, "x");
    }
}
