//! Breaks of the chain that the log has recorded and that an operator has accepted.
//!
//! Both events are lines of the log, so that nobody without its key can write them. A break is accepted at the place that
//! `chain.broken` names and nowhere else: what fails at another place is a new break.

use std::{fmt, io, path::PathBuf};

use super::{
    chain::{ChainVerifier, LineError},
    condition::BreakPlace,
    event::AuditOperation,
    segment::{self, SegmentLines, SegmentName, is_damage},
    verify::{InvalidLine, LogFile, VerifyError},
};
use masker_core::crypto::ChainKey;
use serde::Deserialize;

/// A break that an operator has accepted. From its place to the next segment that verifies, nothing is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedBreak {
    /// The file.
    pub file: PathBuf,
    /// The number of the first line that does not verify, from 1.
    pub line: u64,
    /// The reason.
    pub why: LineError,
    /// The time of the event that recorded it.
    pub recorded: String,
    /// The time of the event that accepted it.
    pub accepted: String,
}

impl fmt::Display for AcceptedBreak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AcceptedBreak { file, line, why, recorded, accepted } = self;
        write!(f, "{}, line {line}: {why} (recorded {recorded}, accepted {accepted})", file.display())
    }
}

/// A break, as the log has recorded it.
struct RecordedBreak {
    place: BreakPlace,
    /// The index of the file that records it.
    file: usize,
    recorded: String,
    accepted: Option<String>,
}

/// Where verification goes on after an accepted break.
pub(super) enum Resume {
    /// The failing file does not continue the one before it, and is whole: it is read again from its first line.
    ThisFile(AcceptedBreak),
    /// The rest of the failing file is passed over.
    NextFile(AcceptedBreak),
}

/// The breaks that the files of a log have recorded.
pub(super) struct RecordedBreaks(Vec<RecordedBreak>);

impl RecordedBreaks {
    /// Reads the lines of all files that verify after what the line before states.
    pub(super) fn read(files: &[LogFile], key: &ChainKey) -> Result<Self, VerifyError> {
        let mut breaks = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let failed = |source| VerifyError::Io { path: file.path.clone(), source };
            read_file(file, index, key, &mut breaks).map_err(failed)?;
        }
        Ok(RecordedBreaks(breaks))
    }

    /// Returns where to go on if the line at which the file `files[index]` fails is an accepted break. `lines_before` is the number
    /// of lines of the file before.
    pub(super) fn resume(
        &self,
        files: &[LogFile],
        index: usize,
        failing: &InvalidLine,
        lines_before: Option<u64>,
        key: &ChainKey,
    ) -> Option<Resume> {
        let name = |file: &LogFile| segment::segment_at(&file.path).map(|segment| segment.name);
        let (own, before) = (name(&files[index])?, index.checked_sub(1).map(|before| name(&files[before])));
        let of = |found: &RecordedBreak| {
            Some(AcceptedBreak {
                file: failing.file.clone(),
                line: failing.line,
                why: failing.why,
                recorded: found.recorded.clone(),
                accepted: found.accepted.clone()?,
            })
        };
        let accepted = self.0.iter().filter(|found| found.accepted.is_some());
        // Line 0 means the whole segment.
        let is_here = |found: &&RecordedBreak| {
            found.place.segment == own.to_string()
                && [0, failing.line].contains(&found.place.line)
                && found.file > index
        };
        if let Some(found) = accepted.clone().find(is_here) {
            let next = files.get(index + 1).and_then(|file| opened_number(file, key));
            return of(found).filter(|_| next == Some(own.number + 1)).map(Resume::NextFile);
        }
        let number = opened_number(&files[index], key).filter(|_| failing.line == 1)?;
        let is_before = |found: &&RecordedBreak| {
            let BreakPlace { segment, line } = &found.place;
            if segment.is_empty() {
                return index == 0 && found.file == 0;
            }
            let follows = SegmentName::parse(segment).is_some_and(|name| name.number + 1 == number);
            let is_end = before.flatten().is_some_and(|name| name.to_string() == *segment)
                && (*line == 0 || lines_before == Some(*line))
                && found.file >= index;
            let is_gone = !files.iter().any(|file| name(file).is_some_and(|name| name.to_string() == *segment));
            follows && (is_end || is_gone && found.file == index)
        };
        accepted.clone().find(is_before).and_then(of).map(Resume::ThisFile)
    }
}

/// Returns the number of the segment that the first line of a file opens, if that line verifies after what it states. The name of
/// the file could be another one.
fn opened_number(file: &LogFile, key: &ChainKey) -> Option<u64> {
    #[derive(Deserialize)]
    struct Opening {
        segment: u64,
    }
    let mut text = Vec::new();
    let mut lines = SegmentLines::open(&file.path, file.compressed).ok()?;
    lines.next_whole(&mut text).ok().filter(|is_line| *is_line)?;
    let mut verifier = ChainVerifier::new(key, true);
    let line = verifier.verify_line(&text).ok().filter(|line| line.opened.is_some())?;
    line.detail().map(|Opening { segment }| segment)
}

fn read_file(file: &LogFile, index: usize, key: &ChainKey, breaks: &mut Vec<RecordedBreak>) -> io::Result<()> {
    let mut lines = match SegmentLines::open(&file.path, file.compressed) {
        Err(error) if is_damage(&error) => return Ok(()),
        opened => opened?,
    };
    let mut verifier = ChainVerifier::new(key, true);
    let mut text = Vec::new();
    while lines.next_whole(&mut text)? {
        let line = match verifier.verify_line(&text) {
            Ok(line) => line,
            Err(_) => {
                verifier.resume_after(&text);
                continue;
            }
        };
        if line.is(AuditOperation::ChainBroken) {
            let place = line.detail().unwrap_or(BreakPlace { segment: String::new(), line: 0 });
            let recorded = line.fields.time.into_owned();
            breaks.push(RecordedBreak { place, file: index, recorded, accepted: None });
        } else if line.is(AuditOperation::BreakAccepted) {
            // It resolves every break before it.
            for open in breaks.iter_mut().filter(|open| open.accepted.is_none()) {
                open.accepted = Some(line.fields.time.clone().into_owned());
            }
        }
    }
    Ok(())
}
