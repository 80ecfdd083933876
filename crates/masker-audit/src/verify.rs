//! Offline verification: with the key and the files alone, of any size, in constant memory.

use std::{
    io,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{
    chain::{Follower, Head, NoHead, Why, parse_hash, stated_sequence},
    segment::{self, Lines, Next, is_damage},
};
use masker_core::crypto::ChainKey;

/// What is to be verified.
#[derive(Clone, Debug)]
pub enum Source {
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

impl From<Head> for ExpectedHead {
    fn from(head: Head) -> Self {
        ExpectedHead { sequence: Some(head.sequence), hash: head.hash }
    }
}

impl FromStr for ExpectedHead {
    type Err = NoHead;

    /// `NUMBER:HASH`, or the hash alone.
    fn from_str(text: &str) -> Result<Self, NoHead> {
        match parse_hash(text) {
            Some(hash) => Ok(ExpectedHead { sequence: None, hash }),
            None => text.parse::<Head>().map(Into::into),
        }
    }
}

impl ExpectedHead {
    fn is(&self, head: &Head) -> bool {
        self.hash == head.hash && self.sequence.is_none_or(|sequence| sequence == head.sequence)
    }
}

/// A log that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Events in it.
    pub events: u64,
    /// The time of the first.
    pub first: String,
    /// The time of the last.
    pub last: String,
    /// The hash of the first.
    pub first_hash: [u8; 32],
    /// The last.
    pub head: Head,
    /// Segments in it.
    pub segments: u64,
    /// The last event before it, where older segments were removed or not given.
    pub removed_before: Option<Head>,
}

/// The first line that fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}, line {line}: {why}", file.display())]
pub struct Failing {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// The number of the event that should stand there, where that can be told.
    pub sequence: Option<u64>,
    /// What is wrong with it.
    pub why: Why,
}

/// Why a log was not found sound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It does not verify.
    #[error(transparent)]
    Failing(#[from] Failing),
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
struct Part {
    path: PathBuf,
    compressed: bool,
}

/// Verifies a log from its first line to its last, and that it had a certain head once.
///
/// # Errors
/// [`VerifyError::Failing`] with the first line that fails; otherwise that something cannot be read.
pub fn verify(source: &Source, key: &ChainKey, expected: Option<&ExpectedHead>) -> Result<Verified, VerifyError> {
    let parts = parts(source)?;
    let mut walk =
        Walk { follower: Follower::new(key, true), found: None, announced: false, reached: expected.is_none() };
    let mut end = None;
    for (index, part) in parts.iter().enumerate() {
        let lines = walk.read(part, &parts[index + 1..], expected)?;
        end = Some((part.path.clone(), lines));
    }
    let (Some(found), Some((file, line)), Some(first)) = (walk.found, end, parts.first()) else {
        let path = match source {
            Source::Directory(path) => path.clone(),
            Source::Files(paths) => paths.first().cloned().unwrap_or_default(),
        };
        return Err(VerifyError::NoLog { path });
    };
    if !walk.reached {
        let sequence = expected.and_then(|expected| expected.sequence);
        return Err(Failing { file, line, sequence, why: Why::Cut }.into());
    }
    match (source, found.removed_before) {
        (Source::Directory(_), Some(before)) if !walk.announced => {
            let why = Why::Beheaded { before: before.sequence };
            Err(Failing { file: first.path.clone(), line: 1, sequence: Some(before.sequence + 1), why }.into())
        }
        _ => Ok(found),
    }
}

/// The files, in the order in which the chain runs through them.
fn parts(source: &Source) -> Result<Vec<Part>, VerifyError> {
    match source {
        Source::Directory(path) => {
            let io = |source| VerifyError::Io { path: path.clone(), source };
            let segments = segment::list(path).map_err(io)?.segments;
            Ok(segments
                .into_iter()
                .map(|segment| Part { path: segment.path, compressed: segment.compressed })
                .collect())
        }
        Source::Files(paths) => {
            let mut named: Vec<_> =
                paths.iter().map(|path| (segment::segment_at(path).map(|s| s.name), path)).collect();
            // Files that were given other names are taken in the order in which they were given.
            if named.iter().all(|(name, _)| name.is_some()) {
                named.sort();
            }
            let compressed = |path: &Path| path.extension().is_some_and(|extension| extension == "zst");
            Ok(named.into_iter().map(|(_, path)| Part { path: path.clone(), compressed: compressed(path) }).collect())
        }
    }
}

struct Walk<'k> {
    follower: Follower<'k>,
    found: Option<Verified>,
    /// Whether an event says that what was before the first one was removed.
    announced: bool,
    /// Whether the expected head was met, or none is.
    reached: bool,
}

impl Walk<'_> {
    /// Verifies a file; how many lines it has.
    fn read(&mut self, part: &Part, later: &[Part], expected: Option<&ExpectedHead>) -> Result<u64, VerifyError> {
        let io = |source| VerifyError::Io { path: part.path.clone(), source };
        let mut lines = match Lines::open(&part.path, part.compressed) {
            // What is no compressed file at all is damaged from its first line on.
            Err(error) if is_damage(&error) => return Err(self.failing(part, 1, Why::Damaged).into()),
            opened => opened.map_err(io)?,
        };
        let mut text = Vec::new();
        loop {
            let why = match lines.next(&mut text) {
                Err(error) if is_damage(&error) => Some((lines.count + 1, Why::Damaged)),
                Err(error) => return Err(io(error)),
                Ok(Next::End) => break,
                Ok(Next::Torn) => Some((lines.count + 1, Why::Torn)),
                Ok(Next::TooLong) => Some((lines.count + 1, Why::Malformed)),
                Ok(Next::Line) => self.follow(&text, expected).err().map(|why| (lines.count, why)),
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

    fn failing(&self, part: &Part, line: u64, why: Why) -> Failing {
        let sequence = self.follower.head().map(|head| head.sequence + 1);
        Failing { file: part.path.clone(), line, sequence, why }
    }

    fn follow(&mut self, text: &[u8], expected: Option<&ExpectedHead>) -> Result<(), Why> {
        let line = self.follower.follow(text)?;
        let time = &*line.facts.time;
        let found = self.found.get_or_insert_with(|| Verified {
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
fn explain(why: Why, lines: &mut Lines<'_>, later: &[Part]) -> io::Result<Why> {
    let (expected, may_come) = match why {
        Why::Missing { expected, .. } => (expected, true),
        Why::Reordered { expected, .. } => (expected, false),
        _ => return Ok(why),
    };
    let mut text = Vec::new();
    let mut first = true;
    let moved = |why| match why {
        Why::Missing { expected, found } => Why::Reordered { expected, found },
        why => why,
    };
    // What cannot be read from here on changes nothing about this line.
    while let Ok(Next::Line) = lines.next(&mut text) {
        let sequence = stated_sequence(&text);
        if first && sequence == Some(expected + 1) {
            return Ok(Why::Changed);
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
        let Ok(mut lines) = Lines::open(&part.path, part.compressed) else { continue };
        while let Ok(Next::Line) = lines.next(&mut text) {
            if stated_sequence(&text) == Some(expected) {
                return Ok(moved(why));
            }
        }
    }
    Ok(why)
}
