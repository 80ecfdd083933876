//! The chain: what a line is, what it proves, and what is wrong with one that proves nothing. Pure.
//!
//! A line is exactly `{"event":EVENT,"hash":"HASH"}` and a line end, where EVENT is canonical JSON and HASH is
//! `HMAC-SHA256(key, previous hash || EVENT)` in 64 lower-case hex digits. The first event follows on 32 zero bytes. As
//! each hash covers all that came before, a line that verifies vouches for every line above it.

use std::{borrow::Cow, fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::Value;

use super::event::AuditOperation;
use masker_core::crypto::ChainKey;

const BEFORE_EVENT: &[u8] = b"{\"event\":";
const BEFORE_HASH: &[u8] = b",\"hash\":\"";
const AFTER_HASH: &[u8] = b"\"}";
const HASH_DIGITS: usize = 64;

/// A place in the chain: the number of an event and its hash. Whoever keeps one outside of the log can tell later that
/// nothing before it was changed and that the log was not cut above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ChainHead {
    /// The number of the event, from 1; 0 stands before the first.
    pub sequence: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

impl ChainHead {
    /// Where the chain begins, before any event.
    pub const GENESIS: ChainHead = ChainHead { sequence: 0, hash: [0; 32] };
}

impl fmt::Display for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; HASH_DIGITS];
        write!(f, "{}:{}", self.sequence, HEXLOWER.encode_mut_str(&self.hash, &mut digits))
    }
}

/// A text that is no [`ChainHead`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not of the form NUMBER:HASH, with 64 lower-case hex digits")]
pub struct InvalidHead;

impl FromStr for ChainHead {
    type Err = InvalidHead;

    fn from_str(text: &str) -> Result<Self, InvalidHead> {
        let (sequence, hash) = text.split_once(':').ok_or(InvalidHead)?;
        let head = ChainHead {
            sequence: sequence.parse().map_err(|_| InvalidHead)?,
            hash: parse_hash(hash).ok_or(InvalidHead)?,
        };
        // One place has one text.
        (head.to_string() == text).then_some(head).ok_or(InvalidHead)
    }
}

impl TryFrom<String> for ChainHead {
    type Error = InvalidHead;

    fn try_from(text: String) -> Result<Self, InvalidHead> {
        text.parse()
    }
}

/// Reads 64 lower-case hex digits; `None` for anything else.
pub fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    (text.len() == HASH_DIGITS).then_some(())?;
    HEXLOWER.decode_mut(text.as_bytes(), &mut hash).ok()?;
    Some(hash)
}

/// Puts the event that stands at the end of `text`, from `start` on, into a line, and gives the head that it makes.
pub(super) fn seal(text: &mut Vec<u8>, start: usize, key: &ChainKey, previous: &ChainHead) -> ChainHead {
    let hash = key.link(&previous.hash, &text[start..]);
    let mut digits = [0; HASH_DIGITS];
    HEXLOWER.encode_mut(&hash, &mut digits);
    text.extend_from_slice(BEFORE_HASH);
    text.extend_from_slice(&digits);
    text.extend_from_slice(AFTER_HASH);
    text.push(b'\n');
    ChainHead { sequence: previous.sequence + 1, hash }
}

/// Begins a line, so that an event can be written after it and be sealed.
pub(super) fn begin_line(text: &mut Vec<u8>) -> usize {
    text.extend_from_slice(BEFORE_EVENT);
    text.len()
}

/// A line of the right form, not yet verified.
pub(super) struct ParsedLine<'a> {
    pub(super) event: &'a [u8],
    pub(super) facts: EventFields<'a>,
    hash: [u8; 32],
}

impl<'a> ParsedLine<'a> {
    /// Takes a line without its end apart; `None` where it has not the form of one.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(BEFORE_EVENT)?.strip_suffix(AFTER_HASH)?;
        let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(HASH_DIGITS)?)?;
        let event = rest.strip_suffix(BEFORE_HASH)?;
        let hash = parse_hash(std::str::from_utf8(hash).ok()?)?;
        Some(ParsedLine { event, facts: serde_json::from_slice(event).ok()?, hash })
    }
}

/// What the log itself goes by.
#[derive(Deserialize)]
pub(super) struct EventFields<'a> {
    pub(super) seq: u64,
    #[serde(borrow)]
    pub(super) op: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) time: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) caller: Option<CallerName<'a>>,
}

/// Who an event is of.
#[derive(Deserialize)]
pub(super) struct CallerName<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
}

/// What the first line of a segment says.
#[derive(Clone, Copy, Deserialize)]
pub(super) struct SegmentOpening {
    /// Where the chain stood.
    pub(super) previous: ChainHead,
    /// Whether it is known to be broken, and nobody has taken note.
    pub(super) unresolved_break: bool,
}

/// What is said of a segment before it is removed.
#[derive(Clone, Copy, Deserialize)]
struct SegmentRemoval {
    /// Where the chain stood at its end.
    head: ChainHead,
}

#[derive(Deserialize)]
struct WithDetail<T> {
    detail: T,
}

fn detail<T: for<'a> Deserialize<'a>>(event: &[u8]) -> Option<T> {
    serde_json::from_slice::<WithDetail<T>>(event).ok().map(|event| event.detail)
}

/// A line that verifies.
pub(super) struct VerifiedLine<'a> {
    /// The event's text.
    pub(super) event: &'a [u8],
    /// What of it the log itself goes by.
    pub(super) facts: EventFields<'a>,
    /// Where the chain stands after it.
    pub(super) head: ChainHead,
    /// What it says, where it opens a segment.
    pub(super) opened: Option<SegmentOpening>,
}

impl VerifiedLine<'_> {
    pub(super) fn is(&self, op: AuditOperation) -> bool {
        self.facts.op == op.as_str()
    }

    /// Where the chain stood at the end of a segment that this event says is to be removed.
    pub(super) fn removes(&self) -> Option<ChainHead> {
        self.is(AuditOperation::SegmentRemoved)
            .then(|| detail::<SegmentRemoval>(self.event))
            .flatten()
            .map(|removed| removed.head)
    }
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// It is in its place and not what was written there.
    #[error("changed: its hash does not fit")]
    Changed,
    /// It has not the form of a line.
    #[error("changed: it is no line of an audit log")]
    Malformed,
    /// Its hash fits an event that is not written as RFC 8785 says: not by masker, but by someone with the key.
    #[error("changed: its event is not canonical JSON")]
    NotCanonical,
    /// The compressed file breaks off or is damaged here.
    #[error("changed: the compressed file is damaged from here on")]
    Damaged,
    /// It is another one than was noted outside of the log.
    #[error("changed: event {sequence} is not the one that was noted outside of the log")]
    Replaced {
        /// The number of the event.
        sequence: u64,
    },
    /// Its segment goes on from somewhere else.
    #[error("changed: its segment goes on from event {stated}, and not from the one above")]
    DoesNotContinue {
        /// Where the segment says that the chain stood.
        stated: u64,
    },
    /// A file that does not begin as a segment does.
    #[error("missing: the segment's first line is not here")]
    Headless,
    /// Events before it are not there.
    #[error("missing: event {expected} should be here, and this is {found}")]
    Missing {
        /// The number that should be here.
        expected: u64,
        /// The number that is here.
        found: u64,
    },
    /// The oldest segments are gone, and no event says that they were removed.
    #[error("missing: the log begins after event {before}, and no event says that what was before it was removed")]
    Beheaded {
        /// The last event that is not there.
        before: u64,
    },
    /// It stands above or below its place.
    #[error("reordered: event {expected} should be here, and this is {found}")]
    Reordered {
        /// The number that should be here.
        expected: u64,
        /// The number that is here.
        found: u64,
    },
    /// The last line has no end.
    #[error("cut: the line has no end")]
    Torn,
    /// The log ends before a head that it once had.
    #[error("cut: the log ends here, and once went on")]
    Cut,
}

impl LineError {
    /// `changed`, `missing`, `reordered` or `cut`.
    pub const fn as_str(self) -> &'static str {
        match self {
            LineError::Changed
            | LineError::Malformed
            | LineError::NotCanonical
            | LineError::Damaged
            | LineError::Replaced { .. }
            | LineError::DoesNotContinue { .. } => "changed",
            LineError::Headless | LineError::Missing { .. } | LineError::Beheaded { .. } => "missing",
            LineError::Reordered { .. } => "reordered",
            LineError::Torn | LineError::Cut => "cut",
        }
    }
}

/// Follows the chain from line to line.
pub(super) struct ChainVerifier<'k> {
    key: &'k ChainKey,
    head: Option<ChainHead>,
    /// Whether events are held against RFC 8785, too. That takes longer than all else.
    canonical: bool,
}

impl<'k> ChainVerifier<'k> {
    /// Begins at the first line of any segment: it says where the chain stood, and its hash vouches for that.
    pub(super) fn new(key: &'k ChainKey, canonical: bool) -> Self {
        ChainVerifier { key, head: None, canonical }
    }

    /// Where the chain stands.
    pub(super) fn head(&self) -> Option<ChainHead> {
        self.head
    }

    /// Verifies the next line, given without its end.
    pub(super) fn follow<'a>(&mut self, line: &'a [u8]) -> Result<VerifiedLine<'a>, LineError> {
        let ParsedLine { event, facts, hash } = ParsedLine::parse(line).ok_or(LineError::Malformed)?;
        let opens = facts.op == AuditOperation::SegmentOpened.as_str();
        let opened: Option<SegmentOpening> = opens.then(|| detail(event)).flatten();
        let previous = match (self.head, opened) {
            (Some(head), _) => head,
            (None, Some(opened)) => opened.previous,
            (None, None) => return Err(LineError::Headless),
        };
        let (expected, found) = (previous.sequence + 1, facts.seq);
        if found != expected {
            return Err(if found > expected {
                LineError::Missing { expected, found }
            } else {
                LineError::Reordered { expected, found }
            });
        }
        if self.key.link(&previous.hash, event) != hash {
            // A segment that was begun after the chain broke vouches for itself, and not for what is above it.
            return Err(match opened {
                Some(opened) if self.key.link(&opened.previous.hash, event) == hash => {
                    LineError::DoesNotContinue { stated: opened.previous.sequence }
                }
                _ => LineError::Changed,
            });
        }
        if self.canonical && !is_canonical(event) {
            return Err(LineError::NotCanonical);
        }
        let head = ChainHead { sequence: found, hash };
        self.head = Some(head);
        Ok(VerifiedLine { event, facts, head, opened })
    }
}

/// The number that a line says its event has, unverified.
pub(super) fn claimed_sequence(line: &[u8]) -> Option<u64> {
    ParsedLine::parse(line).map(|line| line.facts.seq)
}

fn is_canonical(event: &[u8]) -> bool {
    let written =
        serde_json::from_slice::<Value>(event).ok().and_then(|value| serde_json_canonicalizer::to_vec(&value).ok());
    written.as_deref() == Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::key;

    fn line(key: &ChainKey, previous: &ChainHead, event: &str) -> (Vec<u8>, ChainHead) {
        let mut text = Vec::new();
        let start = begin_line(&mut text);
        text.extend_from_slice(event.as_bytes());
        let head = seal(&mut text, start, key, previous);
        assert_eq!(text.pop(), Some(b'\n'));
        (text, head)
    }

    fn opening(previous: &ChainHead) -> String {
        format!(
            r#"{{"detail":{{"previous":"{previous}","segment":1,"unresolved_break":false}},"op":"segment.opened","seq":{},"time":"t"}}"#,
            previous.sequence + 1
        )
    }

    #[test]
    fn a_head_has_one_text() {
        let head = ChainHead { sequence: 12, hash: [0xab; 32] };
        assert_eq!(head.to_string(), format!("12:{}", "ab".repeat(32)));
        assert_eq!(head.to_string().parse(), Ok(head));
        let hash = "ab".repeat(32);
        for text in ["", "12", ":", &hash, &format!("012:{hash}"), &format!("+1:{hash}"), &format!("1:{hash}0")] {
            assert_eq!(text.parse::<ChainHead>(), Err(InvalidHead), "{text}");
        }
        assert_eq!(format!("1:{}", hash.to_uppercase()).parse::<ChainHead>(), Err(InvalidHead));
    }

    #[test]
    fn a_chain_can_be_followed_from_any_segment() {
        let key = key();
        let begun = ChainHead { sequence: 41, hash: [7; 32] };
        let (first, head) = line(&key, &begun, &opening(&begun));
        let (second, end) = line(&key, &head, r#"{"op":"tokenize","seq":43,"time":"t"}"#);
        let mut follower = ChainVerifier::new(&key, true);
        assert_eq!(follower.follow(&first).unwrap().opened.unwrap().previous, begun);
        assert!(follower.follow(&second).unwrap().is(AuditOperation::Tokenize));
        assert_eq!(follower.head(), Some(end));
        assert_eq!(ChainVerifier::new(&key, true).follow(&second).err(), Some(LineError::Headless));
    }

    #[test]
    fn a_line_tells_what_is_wrong_with_it() {
        let key = key();
        let (first, head) = line(&key, &ChainHead::GENESIS, &opening(&ChainHead::GENESIS));
        let why = |line: &[u8]| {
            let mut follower = ChainVerifier::new(&key, true);
            follower.follow(&first).unwrap();
            follower.follow(line).err()
        };
        let made = |event: &str| line(&key, &head, event).0;
        assert_eq!(why(&made(r#"{"op":"stop","seq":2,"time":"t"}"#)), None);
        assert_eq!(why(&made(r#"{"op":"stop","seq":2, "time":"t"}"#)), Some(LineError::NotCanonical));
        assert_eq!(why(&made(r#"{"op":"stop","seq":2,"seq":2,"time":"t"}"#)), Some(LineError::Malformed));
        assert_eq!(why(&made(r#"{"op":"stop","seq":2,"time":"t","x":1,"x":1}"#)), Some(LineError::NotCanonical));
        assert_eq!(why(&made(r#"{"op":"stop","seq":2,"time":"t","x":1.0}"#)), Some(LineError::NotCanonical));
        assert_eq!(
            why(&made(r#"{"op":"stop","seq":4,"time":"t"}"#)),
            Some(LineError::Missing { expected: 2, found: 4 })
        );
        assert_eq!(
            why(&made(r#"{"op":"stop","seq":1,"time":"t"}"#)),
            Some(LineError::Reordered { expected: 2, found: 1 })
        );
        let elsewhere = ChainHead { sequence: 1, hash: [9; 32] };
        assert_eq!(why(&line(&key, &elsewhere, r#"{"op":"stop","seq":2,"time":"t"}"#).0), Some(LineError::Changed));
        assert_eq!(
            why(&line(&key, &elsewhere, &opening(&elsewhere)).0),
            Some(LineError::DoesNotContinue { stated: 1 })
        );
        assert_eq!(why(b"{}"), Some(LineError::Malformed));
        assert_eq!(why(b""), Some(LineError::Malformed));
        let mut upper = made(r#"{"op":"stop","seq":2,"time":"t"}"#);
        let digits = upper.len() - 66;
        upper[digits..].make_ascii_uppercase();
        assert_eq!(why(&upper), Some(LineError::Malformed));
    }
}
