//! Offline verification: with the key and the files alone, of any size, in constant memory.

use std::{
    io,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{
    chain::{ChainHead, ChainVerifier, InvalidHead, LineError, claimed_sequence, parse_hash},
    segment::{self, NextLine, SegmentLines, is_damage},
};
use masker_core::crypto::ChainKey;

/// What is to be verified.
#[derive(Clone, Debug)]
pub enum LogSource {
    /// A whole log. Its oldest segments may be gone where an event says that they were removed.
    Directory(PathBuf),
    /// Segments that follow on each other, from any one on.
    Files(Vec<PathBuf>),
}

/// A head that the log must have had: its hash, and perhaps its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedHead {
    /// The number of the event.
    pub sequence: Option<u64>,
    /// Its hash.
    pub hash: [u8; 32],
}

impl From<ChainHead> for ExpectedHead {
    fn from(head: ChainHead) -> Self {
        ExpectedHead { sequence: Some(head.sequence), hash: head.hash }
    }
}

impl FromStr for ExpectedHead {
    type Err = InvalidHead;

    /// `NUMBER:HASH`, or the hash alone.
    fn from_str(text: &str) -> Result<Self, InvalidHead> {
        match parse_hash(text) {
            Some(hash) => Ok(ExpectedHead { sequence: None, hash }),
            None => text.parse::<ChainHead>().map(Into::into),
        }
    }
}

impl ExpectedHead {
    fn is(&self, head: &ChainHead) -> bool {
        self.hash == head.hash && self.sequence.is_none_or(|sequence| sequence == head.sequence)
    }
}

/// A log that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLog {
    /// Events in it.
    pub events: u64,
    /// The time of the first.
    pub first: String,
    /// The time of the last.
    pub last: String,
    /// The hash of the first.
    pub first_hash: [u8; 32],
    /// The last.
    pub head: ChainHead,
    /// Segments in it.
    pub segments: u64,
    /// The last event before it, where older segments were removed or not given.
    pub removed_before: Option<ChainHead>,
}

/// The first line that fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}, line {line}: {why}", file.display())]
pub struct InvalidLine {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// The number of the event that should stand there, where that can be told.
    pub sequence: Option<u64>,
    /// What is wrong with it.
    pub why: LineError,
}

/// Why a log was not found sound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It does not verify.
    #[error(transparent)]
    Failing(#[from] InvalidLine),
    /// There is nothing to verify.
    #[error("there is no audit log in {}: its files are named audit-*.jsonl and audit-*.jsonl.zst", path.display())]
    NoLog {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A file to be read.
struct LogFile {
    path: PathBuf,
    compressed: bool,
}

/// Verifies a log from its first line to its last, and that it had a certain head once.
///
/// # Errors
/// [`VerifyError::Failing`] with the first line that fails; otherwise that something cannot be read.
pub fn verify(source: &LogSource, key: &ChainKey, expected: Option<&ExpectedHead>) -> Result<VerifiedLog, VerifyError> {
    let parts = parts(source)?;
    let mut walk = LogVerifier {
        follower: ChainVerifier::new(key, true),
        found: None,
        announced: false,
        reached: expected.is_none(),
    };
    let mut end = None;
    for (index, part) in parts.iter().enumerate() {
        let lines = walk.read(part, &parts[index + 1..], expected)?;
        end = Some((part.path.clone(), lines));
    }
    let (Some(found), Some((file, line)), Some(first)) = (walk.found, end, parts.first()) else {
        let path = match source {
            LogSource::Directory(path) => path.clone(),
            LogSource::Files(paths) => paths.first().cloned().unwrap_or_default(),
        };
        return Err(VerifyError::NoLog { path });
    };
    if !walk.reached {
        let sequence = expected.and_then(|expected| expected.sequence);
        return Err(InvalidLine { file, line, sequence, why: LineError::Cut }.into());
    }
    match (source, found.removed_before) {
        (LogSource::Directory(_), Some(before)) if !walk.announced => {
            let why = LineError::Beheaded { before: before.sequence };
            Err(InvalidLine { file: first.path.clone(), line: 1, sequence: Some(before.sequence + 1), why }.into())
        }
        _ => Ok(found),
    }
}

/// The files, in the order in which the chain runs through them.
fn parts(source: &LogSource) -> Result<Vec<LogFile>, VerifyError> {
    match source {
        LogSource::Directory(path) => {
            let io = |source| VerifyError::Io { path: path.clone(), source };
            let segments = segment::list(path).map_err(io)?.segments;
            Ok(segments
                .into_iter()
                .map(|segment| LogFile { path: segment.path, compressed: segment.compressed })
                .collect())
        }
        LogSource::Files(paths) => {
            let mut named: Vec<_> =
                paths.iter().map(|path| (segment::segment_at(path).map(|s| s.name), path)).collect();
            // Files that were given other names are taken in the order in which they were given.
            if named.iter().all(|(name, _)| name.is_some()) {
                named.sort();
            }
            let compressed = |path: &Path| path.extension().is_some_and(|extension| extension == "zst");
            Ok(named
                .into_iter()
                .map(|(_, path)| LogFile { path: path.clone(), compressed: compressed(path) })
                .collect())
        }
    }
}

struct LogVerifier<'k> {
    follower: ChainVerifier<'k>,
    found: Option<VerifiedLog>,
    /// Whether an event says that what was before the first one was removed.
    announced: bool,
    /// Whether the expected head was met, or none is.
    reached: bool,
}

impl LogVerifier<'_> {
    /// Verifies a file; how many lines it has.
    fn read(&mut self, part: &LogFile, later: &[LogFile], expected: Option<&ExpectedHead>) -> Result<u64, VerifyError> {
        let io = |source| VerifyError::Io { path: part.path.clone(), source };
        let mut lines = match SegmentLines::open(&part.path, part.compressed) {
            // What is no compressed file at all is damaged from its first line on.
            Err(error) if is_damage(&error) => return Err(self.failing(part, 1, LineError::Damaged).into()),
            opened => opened.map_err(io)?,
        };
        let mut text = Vec::new();
        loop {
            let why = match lines.next(&mut text) {
                Err(error) if is_damage(&error) => Some((lines.count + 1, LineError::Damaged)),
                Err(error) => return Err(io(error)),
                Ok(NextLine::End) => break,
                Ok(NextLine::Torn) => Some((lines.count + 1, LineError::Torn)),
                Ok(NextLine::TooLong) => Some((lines.count + 1, LineError::Malformed)),
                Ok(NextLine::Line) => self.follow(&text, expected).err().map(|why| (lines.count, why)),
            };
            if let Some((line, why)) = why {
                let why = explain(why, &mut lines, later).map_err(io)?;
                return Err(self.failing(part, line, why).into());
            }
        }
        if let Some(found) = &mut self.found {
            found.segments += 1;
        }
        Ok(lines.count)
    }

    fn failing(&self, part: &LogFile, line: u64, why: LineError) -> InvalidLine {
        let sequence = self.follower.head().map(|head| head.sequence + 1);
        InvalidLine { file: part.path.clone(), line, sequence, why }
    }

    fn follow(&mut self, text: &[u8], expected: Option<&ExpectedHead>) -> Result<(), LineError> {
        let line = self.follower.follow(text)?;
        let time = &*line.facts.time;
        let found = self.found.get_or_insert_with(|| VerifiedLog {
            events: 0,
            first: time.to_owned(),
            last: String::new(),
            first_hash: line.head.hash,
            head: line.head,
            segments: 0,
            removed_before: line.opened.map(|opened| opened.previous).filter(|previous| previous.sequence > 0),
        });
        found.events += 1;
        found.last.clear();
        found.last.push_str(time);
        found.head = line.head;
        self.reached |= expected.is_some_and(|expected| expected.is(&line.head));
        self.announced |= found.removed_before.is_some() && line.removes() == found.removed_before;
        Ok(())
    }
}

/// Tells from what follows whether a line with the wrong number was moved, stands where others are missing, or is in its
/// place and was changed.
fn explain(why: LineError, lines: &mut SegmentLines<'_>, later: &[LogFile]) -> io::Result<LineError> {
    let (expected, may_come) = match why {
        LineError::Missing { expected, .. } => (expected, true),
        LineError::Reordered { expected, .. } => (expected, false),
        _ => return Ok(why),
    };
    let mut text = Vec::new();
    let mut first = true;
    let moved = |why| match why {
        LineError::Missing { expected, found } => LineError::Reordered { expected, found },
        why => why,
    };
    // What cannot be read from here on changes nothing about this line.
    while let Ok(NextLine::Line) = lines.next(&mut text) {
        let sequence = claimed_sequence(&text);
        if first && sequence == Some(expected + 1) {
            return Ok(LineError::Changed);
        }
        if !may_come {
            return Ok(why);
        }
        if sequence == Some(expected) {
            return Ok(moved(why));
        }
        first = false;
    }
    for part in later {
        let Ok(mut lines) = SegmentLines::open(&part.path, part.compressed) else { continue };
        while let Ok(NextLine::Line) = lines.next(&mut text) {
            if claimed_sequence(&text) == Some(expected) {
                return Ok(moved(why));
            }
        }
    }
    Ok(why)
}
