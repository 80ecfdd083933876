//! Segments: the files of a log, their names, and their compression.
//!
//! A segment is `audit-YYYYMMDDTHHMMSSZ-NNNNNN.jsonl`: the time at which it began, and its number. After it is closed it is
//! compressed to `.jsonl.zst`, and its summary is in `.rollup` (see `summary`). The time in a name never goes back, even if the clock does, so that names sort in the order
//! of the chain.
//!
//! At every moment one of the two forms of a segment is complete and durable: the compressed file is written under a
//! temporary name, synced, read back, compared with the original and renamed, and only then is the original removed. If
//! both exist, the original counts.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use masker_files::LOST_AND_FOUND;
use masker_types::limits::AUDIT_LINE_BYTES_MAX;

const PREFIX: &str = "audit-";
const PLAIN: &str = ".jsonl";
const COMPRESSED: &str = ".jsonl.zst";
/// A compressed segment that is being written.
const UNFINISHED: &str = ".jsonl.zst.new";
/// The summary of a closed segment.
const ROLLUP: &str = ".rollup";
/// A rollup that is being written.
const UNFINISHED_ROLLUP: &str = ".rollup.new";
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// The fastest of the usual levels. The lines of a log are so similar that higher levels compress them worse: level 1
/// leaves 11.6 MB of a segment of 137 MB where the default leaves 13.8 MB, in a third of the time.
const LEVEL: i32 = 1;
/// The size of a read from a segment, in bytes.
const READ_BYTES: usize = 1 << 17;

/// The name of a segment: its number and the time at which it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    /// From 1, without gaps.
    pub(super) number: u64,
    /// In whole seconds.
    pub(super) begun: Timestamp,
}

impl SegmentName {
    /// Returns the name of the next segment.
    pub(super) fn next(&self, now: Timestamp) -> Self {
        SegmentName { number: self.number + 1, begun: whole_seconds(now).max(self.begun) }
    }

    /// Returns the name of the first segment.
    pub(super) fn first(now: Timestamp) -> Self {
        SegmentName { number: 1, begun: whole_seconds(now) }
    }

    /// Parses a file name without its extension.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (time, number) = text.strip_prefix(PREFIX)?.split_once('-')?;
        let begun = DateTime::strptime(TIME, time).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let name = SegmentName { number: number.parse().ok()?, begun };
        // Each name has one text only, and a next one.
        ((1..u64::MAX).contains(&name.number) && name.to_string() == text).then_some(name)
    }

    /// Returns the path of the uncompressed file.
    pub(super) fn plain(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{self}{PLAIN}"))
    }

    /// Returns the path of the rollup.
    pub(super) fn rollup(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{self}{ROLLUP}"))
    }

    /// Returns the path of a rollup that is being written.
    pub(super) fn unfinished_rollup(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{self}{UNFINISHED_ROLLUP}"))
    }

    /// Returns the path of the compressed file.
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

/// A segment in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) name: SegmentName,
    /// The path of the file that counts.
    pub(super) path: PathBuf,
    /// Whether that file is compressed.
    pub(super) compressed: bool,
}

/// The contents of a log's directory.
#[derive(Debug, Default)]
pub(super) struct DirectoryListing {
    /// The segments in the order of their numbers.
    pub(super) segments: Vec<Segment>,
    /// The segments that have a rollup, or had one.
    pub(super) rollups: Vec<SegmentName>,
    /// Compressed files and rollups that were not completed.
    pub(super) unfinished: Vec<PathBuf>,
    /// The name of the first file that does not belong to a log.
    pub(super) foreign: Option<OsString>,
}

/// Lists a directory, including hidden files. It can be the root of a file system.
pub(super) fn list(directory: &Path) -> io::Result<DirectoryListing> {
    let mut listing = DirectoryListing::default();
    let mut names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        let path = directory.join(&name);
        match name.to_str().and_then(parse_file_name) {
            Some((_, UNFINISHED | UNFINISHED_ROLLUP)) => listing.unfinished.push(path),
            Some((name, ROLLUP)) => listing.rollups.push(name),
            Some((name, extension)) => {
                listing.segments.push(Segment { name, path, compressed: extension == COMPRESSED });
            }
            None if name == LOST_AND_FOUND => {}
            None => listing.foreign = listing.foreign.or(Some(name)),
        }
    }
    listing.segments.sort_by_key(|segment| (segment.name, segment.compressed));
    listing.segments.dedup_by_key(|segment| segment.name);
    Ok(listing)
}

/// Splits a file name into the name of the segment and the extension.
fn parse_file_name(file: &str) -> Option<(SegmentName, &'static str)> {
    [UNFINISHED, COMPRESSED, PLAIN, UNFINISHED_ROLLUP, ROLLUP]
        .into_iter()
        .find_map(|extension| Some((SegmentName::parse(file.strip_suffix(extension)?)?, extension)))
}

/// Returns the segment of a file, according to its name.
pub(super) fn segment_at(path: &Path) -> Option<Segment> {
    let (name, extension) = parse_file_name(path.file_name()?.to_str()?)?;
    [PLAIN, COMPRESSED].contains(&extension).then(|| Segment {
        name,
        path: path.to_owned(),
        compressed: extension == COMPRESSED,
    })
}

/// Creates an empty segment, or truncates one that a failed attempt left. The caller syncs the directory.
pub(super) fn create(path: &Path) -> io::Result<File> {
    options().create(true).truncate(true).write(true).open(path)?.sync_all()?;
    append_to(path)
}

/// Creates an empty file that is renamed once it is complete, or truncates one that a failed attempt left.
pub(super) fn create_unfinished(path: &Path) -> io::Result<File> {
    options().create(true).truncate(true).write(true).open(path)
}

/// Opens a segment for appending.
pub(super) fn append_to(path: &Path) -> io::Result<File> {
    options().append(true).open(path)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // The standard library adds O_CLOEXEC. Non-blocking, because opening a pipe without a writer would never return.
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

/// Opens a segment for reading. A file of another type in its place is damage.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = options().read(true).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, NotRegularFile)),
    }
}

/// Another file, such as a directory, is in the place of a segment.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it is not a regular file")]
pub(super) struct NotRegularFile;

impl Read for NotRegularFile {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::InvalidData, *self))
    }
}

/// Returns whether a file cannot be read because it is not a regular one.
pub(super) fn is_not_regular(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<NotRegularFile>())
}

/// The result of reading a line.
pub(super) enum NextLine {
    /// A line; the text does not include its line end.
    Line,
    /// Bytes after the last line end.
    Torn,
    /// More bytes without a line end than a line may have. They were skipped, up to the next line end.
    TooLong,
    /// The end of the file.
    End,
}

/// Reads the lines of a segment, compressed or not, in constant memory.
pub(super) struct SegmentLines<'a> {
    reader: Box<dyn BufRead + 'a>,
    /// The bytes of whole lines so far.
    pub(super) bytes: u64,
    /// The number of whole lines so far.
    pub(super) count: u64,
}

impl SegmentLines<'_> {
    /// Opens a segment. If it was compressed after it was listed, opens the compressed file. Another file in its place is damage from
    /// its first line on.
    pub(super) fn open(path: &Path, compressed: bool) -> io::Result<SegmentLines<'static>> {
        let file = match open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !compressed => {
                return SegmentLines::open(&path.with_extension("jsonl.zst"), true);
            }
            Err(error) if is_not_regular(&error) => return Ok(SegmentLines::new(BufReader::new(NotRegularFile))),
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

    /// Reads the next line into `text`, replacing its contents.
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
            read if read > AUDIT_LINE_BYTES_MAX => {
                self.reader.skip_until(b'\n')?;
                NextLine::TooLong
            }
            _ => NextLine::Torn,
        })
    }
}

impl SegmentLines<'_> {
    /// Reads the next whole line into `text`, as [`SegmentLines::next`], and passes over those that are too long. Returns `false`
    /// at the end, and where the file is damaged.
    pub(super) fn next_whole(&mut self, text: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            match self.next(text) {
                Ok(NextLine::Line) => return Ok(true),
                Ok(NextLine::TooLong) => {}
                Ok(NextLine::Torn | NextLine::End) => return Ok(false),
                Err(error) if is_damage(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns whether a read error is caused by the contents of the file, and not by the system.
pub(super) fn is_damage(error: &io::Error) -> bool {
    error.raw_os_error().is_none()
}

/// Compresses a closed segment and removes the original. Completes or repeats an attempt that a crash interrupted.
pub(super) fn compress(name: &SegmentName, directory: &Path) -> io::Result<()> {
    let (plain, compressed, unfinished) =
        (name.plain(directory), name.compressed(directory), name.unfinished(directory));
    let original = Segment { name: *name, path: plain.clone(), compressed: false };
    if !has_same_content(&compressed, &original)? {
        write_compressed(&original, &unfinished)?;
        // A file that cannot be read back must not replace the original.
        if !has_same_content(&unfinished, &original)? {
            return Err(io::Error::other("the compressed file does not decompress to the original"));
        }
        fs::rename(&unfinished, &compressed)?;
        masker_files::sync_directory(directory)?;
    }
    fs::remove_file(plain)?;
    masker_files::sync_directory(directory)
}

fn write_compressed(original: &Segment, path: &Path) -> io::Result<()> {
    let target = create_unfinished(path)?;
    let mut encoder = zstd::Encoder::new(target, LEVEL)?;
    encoder.include_checksum(true)?;
    let original = open(&original.path)?;
    io::copy(&mut BufReader::with_capacity(READ_BYTES, original), &mut encoder)?;
    let mut target = encoder.finish()?;
    target.flush()?;
    target.sync_all()
}

/// Returns whether a compressed file exists and decompresses to the original.
fn has_same_content(compressed: &Path, original: &Segment) -> io::Result<bool> {
    let file = match open(compressed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let mut decoder = BufReader::with_capacity(READ_BYTES, zstd::Decoder::new(file)?);
    let mut plain = BufReader::with_capacity(READ_BYTES, open(&original.path)?);
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
    fn names_sort_in_the_order_of_the_chain_even_if_the_clock_goes_back() {
        let first = SegmentName::first(at("2026-03-01T12:34:56.789Z"));
        assert_eq!(first.to_string(), "audit-20260301T123456Z-000001");
        let earlier = first.next(at("2020-01-01T00:00:00Z"));
        assert_eq!(earlier.to_string(), "audit-20260301T123456Z-000002");
        let later = earlier.next(at("2026-03-02T00:00:00Z"));
        assert!(first.to_string() < earlier.to_string() && earlier.to_string() < later.to_string());
        for name in [first, earlier, later] {
            assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        }
    }

    #[test]
    fn rejects_other_file_names() {
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
            assert_eq!(parse_file_name(name), None, "{name}");
        }
        assert!(parse_file_name("audit-20260301T123456Z-1000000.jsonl").is_some());
    }

    fn closed_segment() -> (tempfile::TempDir, SegmentName, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let name = SegmentName::first(at("2026-03-01T00:00:00Z"));
        let text: Vec<u8> = (0..20_000).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
        fs::write(name.plain(folder.path()), &text).unwrap();
        (folder, name, text)
    }

    fn decompressed(name: &SegmentName, directory: &Path) -> Vec<u8> {
        zstd::decode_all(File::open(name.compressed(directory)).unwrap()).unwrap()
    }

    #[test]
    fn a_crash_at_any_step_of_compression_loses_nothing() {
        let (folder, name, text) = closed_segment();
        let directory = folder.path();
        let whole = zstd::encode_all(&*text, LEVEL).unwrap();
        // What each step leaves: nothing, a part, all of it under the temporary name, all of it under the final name.
        type Leftovers<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);
        let half = &whole[..whole.len() / 2];
        let steps: [Leftovers<'_>; 6] = [
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
            // The original counts until the compression is complete.
            let listing = list(directory).unwrap();
            assert_eq!(listing.segments, [Segment { name, path: name.plain(directory), compressed: false }]);
            compress(&name, directory).unwrap();
            assert_eq!(decompressed(&name, directory), text);
            let listing = list(directory).unwrap();
            assert_eq!(listing.segments, [Segment { name, path: name.compressed(directory), compressed: true }]);
        }
    }

    #[test]
    fn a_planted_compressed_file_does_not_replace_the_original() {
        let (folder, name, text) = closed_segment();
        fs::write(name.compressed(folder.path()), zstd::encode_all(&b"line 0\n"[..], LEVEL).unwrap()).unwrap();
        compress(&name, folder.path()).unwrap();
        assert_eq!(decompressed(&name, folder.path()), text);
    }

    #[test]
    fn distinguishes_lines_from_torn_and_too_long_ones() {
        let (folder, name, _) = closed_segment();
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
