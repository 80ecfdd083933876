//! Offline verification of a log of any size, with only the key and the files, in constant memory.

use std::{
    io,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{
    accepted_breaks::{AcceptedBreak, RecordedBreaks, Resume},
    chain::{ChainHead, ChainVerifier, InvalidHead, KeyCheck, LineError, claimed_sequence, parse_hash},
    event::AuditOperation,
    segment::{self, NextLine, SegmentLines, is_damage},
};
use masker_core::{
    crypto::{ChainKey, Fingerprint},
    keyring::Role,
};
use masker_types::kind::Kid;

/// The files to verify.
#[derive(Clone, Debug)]
pub enum LogSource {
    /// A whole log. Its oldest segments may be missing if an event announces their removal.
    Directory(PathBuf),
    /// Consecutive segments, from any one on.
    Files(Vec<PathBuf>),
}

/// A head that the chain must have had: its hash, and perhaps its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedHead {
    /// The number of the event.
    pub sequence: Option<u64>,
    /// The hash of the event.
    pub hash: [u8; 32],
}

impl From<ChainHead> for ExpectedHead {
    fn from(head: ChainHead) -> Self {
        ExpectedHead { sequence: Some(head.sequence), hash: head.hash }
    }
}

impl FromStr for ExpectedHead {
    type Err = InvalidHead;

    /// Parses `NUMBER:HASH`, or a hash.
    fn from_str(text: &str) -> Result<Self, InvalidHead> {
        match parse_hash(text) {
            Some(hash) => Ok(ExpectedHead { sequence: None, hash }),
            None => text.parse::<ChainHead>().map(Into::into),
        }
    }
}

impl ExpectedHead {
    fn matches(&self, head: &ChainHead) -> bool {
        self.hash == head.hash && self.sequence.is_none_or(|sequence| sequence == head.sequence)
    }
}

/// A verified log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLog {
    /// The number of events.
    pub events: u64,
    /// The time of the first event.
    pub first: String,
    /// The time of the last event.
    pub last: String,
    /// The hash of the first event.
    pub first_hash: [u8; 32],
    /// The last event.
    pub head: ChainHead,
    /// The number of segments.
    pub segments: u64,
    /// When the clock last jumped far past the events before, according to that clock. `None` if it was accepted since.
    pub clock_jump: Option<String>,
    /// The keys that starts and reloads have loaded, in the order of the first event of each.
    pub keys: Vec<RecordedKey>,
    /// The last event before the first one, if older segments were removed or not given.
    pub removed_before: Option<ChainHead>,
    /// The places at which the chain is broken, each recorded by the log and accepted by an operator.
    pub accepted_breaks: Vec<AcceptedBreak>,
}

/// A key that was loaded, as the log has recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedKey {
    /// The key id.
    pub kid: Kid,
    /// The fingerprint.
    pub fingerprint: Fingerprint,
    /// Whether it was the active key or the one that it had replaced, the last time.
    pub role: Role,
    /// The greatest number of records that were sealed under it when it was loaded.
    pub records: u64,
    /// Whether the last start or reload has loaded it.
    pub is_loaded: bool,
}

/// Adds the keys of an event to those of earlier ones.
fn add_keys(known: &mut Vec<RecordedKey>, loaded: Vec<RecordedKey>) {
    known.iter_mut().for_each(|key| key.is_loaded = false);
    for key in loaded {
        match known.iter_mut().find(|known| (known.kid, known.fingerprint) == (key.kid, key.fingerprint)) {
            Some(known) => {
                (known.role, known.is_loaded) = (key.role, true);
                known.records = known.records.max(key.records);
            }
            None => known.push(key),
        }
    }
}

/// The first line that does not verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}, line {line}: {why}", file.display())]
pub struct InvalidLine {
    /// The file.
    pub file: PathBuf,
    /// The number of the line, from 1.
    pub line: u64,
    /// The number of the event that should be there, if known.
    pub sequence: Option<u64>,
    /// The reason.
    pub why: LineError,
}

/// Why a log was not verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A line does not verify.
    #[error(transparent)]
    Failing(#[from] InvalidLine),
    /// There are no files to verify.
    #[error("there is no event of an audit log in {}: its files are named audit-*.jsonl and audit-*.jsonl.zst", path.display())]
    NoLog {
        /// The directory or the first file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("failed to read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A file to verify.
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) compressed: bool,
}

/// Verifies a log from its first line to its last, and that the chain had the expected head. A break that the log has recorded and
/// an operator has accepted is passed over: [`VerifiedLog::accepted_breaks`] names it.
///
/// # Errors
/// [`VerifyError::Failing`] for the first line that does not verify; other errors if the files cannot be read.
pub fn verify(source: &LogSource, key: &ChainKey, expected: Option<&ExpectedHead>) -> Result<VerifiedLog, VerifyError> {
    let files = files(source)?;
    let mut verifier = LogVerifier {
        key,
        chain: ChainVerifier::new(key, true),
        log: None,
        removal_announced: false,
        reached: expected.is_none(),
        accepted_breaks: Vec::new(),
    };
    let mut end = None;
    for (index, file) in files.iter().enumerate() {
        let before = end.as_ref().map(|(_, lines)| *lines);
        let lines = verifier.read_or_pass(&files, index, before, expected)?;
        end = Some((file.path.clone(), lines));
    }
    if let Some(log) = &mut verifier.log {
        log.accepted_breaks = verifier.accepted_breaks;
    }
    let (Some(mut log), Some((file, line)), Some(first)) = (verifier.log, end, files.first()) else {
        let path = match source {
            LogSource::Directory(path) => path.clone(),
            LogSource::Files(paths) => paths.first().cloned().unwrap_or_default(),
        };
        return Err(VerifyError::NoLog { path });
    };
    if !verifier.reached {
        let sequence = expected.and_then(|expected| expected.sequence);
        return Err(InvalidLine { file, line, sequence, why: LineError::Cut }.into());
    }
    match (source, log.removed_before) {
        (LogSource::Directory(_), Some(before)) if !verifier.removal_announced => {
            let why = LineError::Beheaded { before: before.sequence };
            let sequence = before.sequence.checked_add(1);
            let failing = InvalidLine { file: first.path.clone(), line: 1, sequence, why };
            match RecordedBreaks::read(&files, key)?.resume(&files, 0, &failing, None, key) {
                Some(Resume::ThisFile(accepted)) => {
                    log.accepted_breaks.insert(0, accepted);
                    Ok(log)
                }
                _ => Err(failing.into()),
            }
        }
        _ => Ok(log),
    }
}

/// Returns the files in the order of the chain.
fn files(source: &LogSource) -> Result<Vec<LogFile>, VerifyError> {
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
            // Renamed files keep the order in which they were given.
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
    key: &'k ChainKey,
    chain: ChainVerifier<'k>,
    log: Option<VerifiedLog>,
    /// Whether an event announces the removal of what was before the first one.
    removal_announced: bool,
    /// Whether the expected head was found, or none is expected.
    reached: bool,
    /// The breaks that were passed over.
    accepted_breaks: Vec<AcceptedBreak>,
}

impl LogVerifier<'_> {
    /// Verifies the file `files[index]`, and passes over an accepted break. Returns the number of its lines that were read.
    fn read_or_pass(
        &mut self,
        files: &[LogFile],
        index: usize,
        lines_before: Option<u64>,
        expected: Option<&ExpectedHead>,
    ) -> Result<u64, VerifyError> {
        let (file, later) = (&files[index], &files[index + 1..]);
        // A file is read twice at most.
        let mut lines_before = lines_before;
        loop {
            let failing = match self.read(file, later, expected) {
                Err(VerifyError::Failing(failing)) => failing,
                read => return read,
            };
            let breaks = RecordedBreaks::read(files, self.key)?;
            match breaks.resume(files, index, &failing, lines_before, self.key) {
                Some(Resume::ThisFile(accepted)) if self.chain.head().is_some() => {
                    self.pass(accepted);
                    lines_before = None;
                }
                Some(Resume::NextFile(accepted)) => {
                    let lines = accepted.line;
                    self.pass(accepted);
                    return Ok(lines);
                }
                _ => return Err(failing.into()),
            }
        }
    }

    /// Goes on with the next first line of a segment, without a comparison with the line above.
    fn pass(&mut self, accepted: AcceptedBreak) {
        self.accepted_breaks.push(accepted);
        self.chain = ChainVerifier::new(self.key, true);
        // What is before the first event is not known.
        self.removal_announced |= self.log.is_none();
    }

    /// Verifies a file. Returns the number of its lines.
    fn read(&mut self, file: &LogFile, later: &[LogFile], expected: Option<&ExpectedHead>) -> Result<u64, VerifyError> {
        let io = |source| VerifyError::Io { path: file.path.clone(), source };
        let mut lines = match SegmentLines::open(&file.path, file.compressed) {
            // A file that is not compressed at all is damaged from its first line on.
            Err(error) if is_damage(&error) => {
                return Err(self.invalid_line(file, 1, LineError::of_damage(&error)).into());
            }
            opened => opened.map_err(io)?,
        };
        let mut text = Vec::new();
        loop {
            let why = match lines.next(&mut text) {
                Err(error) if is_damage(&error) => Some((lines.count + 1, LineError::of_damage(&error))),
                Err(error) => return Err(io(error)),
                Ok(NextLine::End) => break,
                Ok(NextLine::Torn) => Some((lines.count + 1, LineError::Torn)),
                Ok(NextLine::TooLong) => Some((lines.count + 1, LineError::Malformed)),
                Ok(NextLine::Line) => self.verify_line(&text, expected).err().map(|why| (lines.count, why)),
            };
            if let Some((line, why)) = why {
                let why = match why {
                    LineError::Changed if line == 1 => match changed_or_other_key(&text, self.key, &mut lines) {
                        LineError::OtherKey if self.log.is_some() => LineError::OtherKeyHere,
                        why => why,
                    },
                    why => explain(why, &mut lines, later).map_err(io)?,
                };
                return Err(self.invalid_line(file, line, why).into());
            }
        }
        if let Some(log) = &mut self.log {
            log.segments += 1;
        }
        Ok(lines.count)
    }

    fn invalid_line(&self, file: &LogFile, line: u64, why: LineError) -> InvalidLine {
        let sequence = self.chain.head().and_then(|head| head.sequence.checked_add(1));
        InvalidLine { file: file.path.clone(), line, sequence, why }
    }

    fn verify_line(&mut self, text: &[u8], expected: Option<&ExpectedHead>) -> Result<(), LineError> {
        let line = self.chain.verify_line(text)?;
        let time = &*line.fields.time;
        let log = self.log.get_or_insert_with(|| VerifiedLog {
            events: 0,
            first: time.to_owned(),
            last: String::new(),
            first_hash: line.head.hash,
            head: line.head,
            segments: 0,
            clock_jump: None,
            keys: Vec::new(),
            removed_before: line.opened.map(|opened| opened.previous).filter(|previous| previous.sequence > 0),
            accepted_breaks: Vec::new(),
        });
        log.events += 1;
        if line.is(AuditOperation::ClockJumped) {
            log.clock_jump = Some(time.to_owned());
        } else if line.is(AuditOperation::ClockAccepted) {
            log.clock_jump = None;
        } else if let Some(keys) = line.loaded_keys() {
            add_keys(&mut log.keys, keys);
        }
        log.last.clear();
        log.last.push_str(time);
        log.head = line.head;
        self.reached |= expected.is_some_and(|expected| expected.matches(&line.head));
        self.removal_announced |= log.removed_before.is_some() && line.removed_head() == log.removed_before;
        Ok(())
    }
}

/// Finds out why the first line of a segment has another hash than under the key: if a line after it has the right one, it was
/// changed.
fn changed_or_other_key(first: &[u8], key: &ChainKey, lines: &mut SegmentLines<'_>) -> LineError {
    let mut check = KeyCheck::after(first, key);
    let mut text = Vec::new();
    while !check.has_match {
        // Lines that cannot be read match no key.
        let Ok(NextLine::Line) = lines.next(&mut text) else { return LineError::OtherKey };
        check.line(&text);
    }
    LineError::Changed
}

/// Finds out why a line has the wrong number: it was moved, lines before it are missing, or its number was changed. The
/// lines after it decide.
fn explain(why: LineError, lines: &mut SegmentLines<'_>, later: &[LogFile]) -> io::Result<LineError> {
    let (expected, may_follow) = match why {
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
    // Lines that cannot be read do not change the result for this one.
    while let Ok(NextLine::Line) = lines.next(&mut text) {
        let sequence = claimed_sequence(&text);
        if first && sequence.and_then(|sequence| sequence.checked_sub(1)) == Some(expected) {
            return Ok(LineError::Changed);
        }
        if !may_follow {
            return Ok(why);
        }
        if sequence == Some(expected) {
            return Ok(moved(why));
        }
        first = false;
    }
    for file in later {
        let Ok(mut lines) = SegmentLines::open(&file.path, file.compressed) else { continue };
        while let Ok(NextLine::Line) = lines.next(&mut text) {
            if claimed_sequence(&text) == Some(expected) {
                return Ok(moved(why));
            }
        }
    }
    Ok(why)
}
