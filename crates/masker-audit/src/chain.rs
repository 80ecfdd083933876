//! The chain of events: the format of a line, and its verification. Pure.
//!
//! A line is exactly `{"event":EVENT,"hash":"HASH"}` and a line end, where EVENT is canonical JSON and HASH is
//! `HMAC-SHA256(key, previous hash || EVENT)` in 64 lower-case hex digits. The previous hash of the first event is 32 zero
//! bytes. Each hash covers all earlier events, so a line that verifies vouches for every line above it.

use std::{borrow::Cow, fmt, io, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{event::AuditOperation, segment::is_not_regular, verify::RecordedKey};
use masker_core::{
    crypto::{ChainKey, Fingerprint},
    keyring::Role,
};
use masker_types::kind::Kid;

const BEFORE_EVENT: &[u8] = b"{\"event\":";
const BEFORE_HASH: &[u8] = b",\"hash\":\"";
const AFTER_HASH: &[u8] = b"\"}";
const HASH_DIGITS: usize = 64;

/// A position in the chain: the number of an event and its hash. A head that is kept outside of the log shows later that no
/// event up to it was changed or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChainHead {
    /// The number of the event, from 1; 0 before the first event.
    pub sequence: u64,
    /// The hash of the event.
    pub hash: [u8; 32],
}

impl ChainHead {
    /// The beginning of the chain, before any event.
    pub const GENESIS: ChainHead = ChainHead { sequence: 0, hash: [0; 32] };
}

impl fmt::Display for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; HASH_DIGITS];
        write!(f, "{}:{}", self.sequence, HEXLOWER.encode_mut_str(&self.hash, &mut digits))
    }
}

/// The error of parsing a [`ChainHead`].
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
        // Each head has one text only.
        (head.to_string() == text).then_some(head).ok_or(InvalidHead)
    }
}

impl TryFrom<String> for ChainHead {
    type Error = InvalidHead;

    fn try_from(text: String) -> Result<Self, InvalidHead> {
        text.parse()
    }
}

impl From<ChainHead> for String {
    fn from(head: ChainHead) -> Self {
        head.to_string()
    }
}

/// Parses 64 lower-case hex digits; returns `None` for anything else.
pub fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    (text.len() == HASH_DIGITS).then_some(())?;
    HEXLOWER.decode_mut(text.as_bytes(), &mut hash).ok()?;
    Some(hash)
}

/// Completes the line of the event that begins at `start` in `text`. Returns the new head.
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

/// Begins a line. Returns the position at which the caller appends the event before it calls [`seal`].
pub(super) fn begin_line(text: &mut Vec<u8>) -> usize {
    text.extend_from_slice(BEFORE_EVENT);
    text.len()
}

/// A well-formed line that is not verified.
pub(super) struct ParsedLine<'a> {
    pub(super) event: &'a [u8],
    pub(super) fields: EventFields<'a>,
    /// The hash that the line states.
    pub(super) hash: [u8; 32],
}

impl<'a> ParsedLine<'a> {
    /// Parses a line without its line end; returns `None` if it is malformed.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(BEFORE_EVENT)?.strip_suffix(AFTER_HASH)?;
        let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(HASH_DIGITS)?)?;
        let event = rest.strip_suffix(BEFORE_HASH)?;
        let hash = parse_hash(std::str::from_utf8(hash).ok()?)?;
        Some(ParsedLine { event, fields: serde_json::from_slice(event).ok()?, hash })
    }
}

/// The fields of an event that the log reads.
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

/// The caller of an event.
#[derive(Deserialize)]
pub(super) struct CallerName<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
}

/// The details of the event that opens a segment.
#[derive(Clone, Copy, Deserialize)]
pub(super) struct SegmentOpening {
    /// The last event before the segment.
    pub(super) previous: ChainHead,
    /// Whether the chain is known to be broken, and no operator has accepted the break.
    pub(super) unresolved_break: bool,
}

/// The details of the event that announces the removal of a segment.
#[derive(Clone, Copy, Deserialize)]
struct SegmentRemoval {
    /// The last event of the segment.
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
    /// The text of the event.
    pub(super) event: &'a [u8],
    pub(super) fields: EventFields<'a>,
    /// The head of the chain after this line.
    pub(super) head: ChainHead,
    /// The details, if the event opens a segment.
    pub(super) opened: Option<SegmentOpening>,
}

impl VerifiedLine<'_> {
    /// Returns whether the event has this operation.
    pub(super) fn is(&self, op: AuditOperation) -> bool {
        self.fields.op == op.as_str()
    }

    /// Returns the operation; `None` if a later release wrote the event.
    pub(super) fn operation(&self) -> Option<AuditOperation> {
        AuditOperation::ALL.iter().find(|op| self.is(**op)).copied()
    }

    /// Returns details of the event, if it has them.
    pub(super) fn detail<T: for<'d> Deserialize<'d>>(&self) -> Option<T> {
        detail(self.event)
    }

    /// Returns the keys that a start or a reload has loaded, if the event tells of one.
    pub(super) fn loaded_keys(&self) -> Option<Vec<RecordedKey>> {
        use AuditOperation::{KeysReload, Reload, Start};
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(borrow)]
            outcome: Cow<'a, str>,
            #[serde(borrow, default)]
            counts: Vec<KeyCount<'a>>,
        }
        #[derive(Deserialize)]
        struct KeyCount<'a> {
            #[serde(borrow)]
            kid: Cow<'a, str>,
            #[serde(borrow)]
            fingerprint: Cow<'a, str>,
            #[serde(borrow)]
            generation: Cow<'a, str>,
            items: u64,
        }
        if ![Start, KeysReload, Reload].into_iter().any(|op| self.is(op)) {
            return None;
        }
        let event: Event<'_> = serde_json::from_slice(self.event).ok()?;
        let key = |count: KeyCount<'_>| {
            let role = [Role::Active, Role::Old].into_iter().find(|role| role.as_str() == count.generation)?;
            let (kid, fingerprint) = (Kid::parse(&count.kid)?, Fingerprint::parse(&count.fingerprint)?);
            Some(RecordedKey { kid, fingerprint, role, records: count.items, is_loaded: true })
        };
        let keys: Vec<RecordedKey> = event.counts.into_iter().filter_map(key).collect();
        // A daemon has at least one key. A reload by a signal lists none.
        (event.outcome == "ok" && !keys.is_empty()).then_some(keys)
    }

    /// Returns the last event of the segment whose removal this event announces.
    pub(super) fn removed_head(&self) -> Option<ChainHead> {
        self.is(AuditOperation::SegmentRemoved)
            .then(|| detail::<SegmentRemoval>(self.event))
            .flatten()
            .map(|removed| removed.head)
    }
}

/// Why a line does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The line is in its position, but it is not the line that was written there.
    #[error("changed: its hash does not match")]
    Changed,
    /// The segment's first line has another hash than under this key, and so has every later line. No line of an earlier segment
    /// has verified.
    #[error(
        "changed: no line of this segment matches MASKER_AUDIT_HMAC_KEY: it is not the key that wrote them, or every line was \
         replaced"
    )]
    OtherKey,
    /// No line of the segment has the hash that it has under this key, but lines of other segments have.
    #[error(
        "changed: every line of this segment was replaced, or written under another key than the segments before or after it"
    )]
    OtherKeyHere,
    /// The line is malformed.
    #[error("changed: it is not a line of an audit log")]
    Malformed,
    /// The hash matches an event that is not canonical JSON. masker did not write it, but someone who has the key did.
    #[error("changed: its event is not canonical JSON")]
    NotCanonical,
    /// The compressed file is truncated or damaged here.
    #[error("changed: the compressed file is damaged from here on")]
    Damaged,
    /// Another file, such as a directory, is in the place of the segment.
    #[error("changed: what is there is not a regular file")]
    NotRegularFile,
    /// Another event was noted under this number outside of the log.
    #[error("changed: another event {sequence} was noted outside of the log")]
    Replaced {
        /// The number of the event.
        sequence: u64,
    },
    /// The segment does not continue the one before it.
    #[error("changed: its segment continues event {stated}, which is not the one above")]
    DoesNotContinue {
        /// The last event before the segment, according to its first line.
        stated: u64,
    },
    /// The file does not begin with the first line of a segment.
    #[error("missing: the first line of the segment")]
    Headless,
    /// Events before this one are missing.
    #[error("missing: expected event {expected}, found {found}")]
    Missing {
        /// The expected number.
        expected: u64,
        /// The number that was found.
        found: u64,
    },
    /// The oldest segments are missing, and no event announces their removal.
    #[error("missing: the log begins after event {before}, and no event announces the removal of what was before it")]
    Beheaded {
        /// The last missing event.
        before: u64,
    },
    /// The line is above or below its position.
    #[error("reordered: expected event {expected}, found {found}")]
    Reordered {
        /// The expected number.
        expected: u64,
        /// The number that was found.
        found: u64,
    },
    /// The last line has no line end.
    #[error("cut: the line has no end")]
    Torn,
    /// The log ends before an event that it once had.
    #[error("cut: the log ends here, but it once continued")]
    Cut,
}

impl LineError {
    /// Returns the error of a line that cannot be read because of the contents of its file.
    pub(super) fn of_damage(error: &io::Error) -> Self {
        if is_not_regular(error) { LineError::NotRegularFile } else { LineError::Damaged }
    }

    /// Returns `changed`, `missing`, `reordered` or `cut`.
    pub const fn as_str(self) -> &'static str {
        match self {
            LineError::Changed
            | LineError::OtherKey
            | LineError::OtherKeyHere
            | LineError::Malformed
            | LineError::NotCanonical
            | LineError::Damaged
            | LineError::NotRegularFile
            | LineError::Replaced { .. }
            | LineError::DoesNotContinue { .. } => "changed",
            LineError::Headless | LineError::Missing { .. } | LineError::Beheaded { .. } => "missing",
            LineError::Reordered { .. } => "reordered",
            LineError::Torn | LineError::Cut => "cut",
        }
    }
}

/// Verifies the chain line by line.
pub(super) struct ChainVerifier<'k> {
    key: &'k ChainKey,
    head: Option<ChainHead>,
    /// Whether to check that events are canonical, which takes longer than everything else.
    canonical: bool,
}

impl<'k> ChainVerifier<'k> {
    /// Returns a verifier that begins at the first line of any segment, which names the event before it.
    pub(super) fn new(key: &'k ChainKey, canonical: bool) -> Self {
        ChainVerifier { key, head: None, canonical }
    }

    /// Returns the last verified event.
    pub(super) fn head(&self) -> Option<ChainHead> {
        self.head
    }

    /// Goes on after a line that does not verify, from the number and the hash that it states: the next line can have been
    /// written after it. A line that states an earlier number is passed over, so that no line counts twice.
    pub(super) fn resume_after(&mut self, line: &[u8]) {
        let Some(stated) = ParsedLine::parse(line) else { return };
        if self.head.is_none_or(|head| stated.fields.seq > head.sequence) {
            self.head = Some(ChainHead { sequence: stated.fields.seq, hash: stated.hash });
        }
    }

    /// Verifies the next line, given without its line end.
    pub(super) fn verify_line<'a>(&mut self, line: &'a [u8]) -> Result<VerifiedLine<'a>, LineError> {
        let ParsedLine { event, fields, hash } = ParsedLine::parse(line).ok_or(LineError::Malformed)?;
        let opens = fields.op == AuditOperation::SegmentOpened.as_str();
        let opened: Option<SegmentOpening> = opens.then(|| detail(event)).flatten();
        let previous = match (self.head, opened) {
            (Some(head), _) => head,
            (None, Some(opened)) => opened.previous,
            (None, None) => return Err(LineError::Headless),
        };
        // Nothing is verified yet, so the number can be any.
        let expected = previous.sequence.checked_add(1).ok_or(LineError::Malformed)?;
        let found = fields.seq;
        if found != expected {
            return Err(if found > expected {
                LineError::Missing { expected, found }
            } else {
                LineError::Reordered { expected, found }
            });
        }
        if self.key.link(&previous.hash, event) != hash {
            // A segment that was begun after the chain broke verifies alone, but does not continue the line above.
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
        Ok(VerifiedLine { event, fields, head, opened })
    }
}

/// Tells a line that was changed from a wrong key, for which no line has the right hash.
pub(super) struct KeyCheck<'k> {
    key: &'k ChainKey,
    /// The hash that the line before states.
    previous: Option<[u8; 32]>,
    /// Whether a line has the hash that it has under the key, after the one stated before it.
    pub(super) has_match: bool,
}

impl<'k> KeyCheck<'k> {
    /// Begins after the first line of a segment, which has another hash than under the key.
    pub(super) fn after(first: &[u8], key: &'k ChainKey) -> Self {
        KeyCheck { key, previous: ParsedLine::parse(first).map(|line| line.hash), has_match: false }
    }

    /// Compares the next line, given without its line end.
    pub(super) fn line(&mut self, line: &[u8]) {
        let Some(ParsedLine { event, hash, .. }) = ParsedLine::parse(line) else {
            self.previous = None;
            return;
        };
        self.has_match |= self.previous.is_some_and(|previous| self.key.link(&previous, event) == hash);
        self.previous = Some(hash);
    }
}

/// Returns the number in a line, unverified.
pub(super) fn claimed_sequence(line: &[u8]) -> Option<u64> {
    ParsedLine::parse(line).map(|line| line.fields.seq)
}

fn is_canonical(event: &[u8]) -> bool {
    let canonical =
        serde_json::from_slice::<Value>(event).ok().and_then(|value| serde_json_canonicalizer::to_vec(&value).ok());
    canonical.as_deref() == Some(event)
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
    fn each_head_has_one_text_only() {
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
    fn verifies_a_chain_from_any_segment() {
        let key = key();
        let begun = ChainHead { sequence: 41, hash: [7; 32] };
        let (first, head) = line(&key, &begun, &opening(&begun));
        let (second, end) = line(&key, &head, r#"{"op":"tokenize","seq":43,"time":"t"}"#);
        let mut verifier = ChainVerifier::new(&key, true);
        assert_eq!(verifier.verify_line(&first).unwrap().opened.unwrap().previous, begun);
        assert!(verifier.verify_line(&second).unwrap().is(AuditOperation::Tokenize));
        assert_eq!(verifier.head(), Some(end));
        assert_eq!(ChainVerifier::new(&key, true).verify_line(&second).err(), Some(LineError::Headless));
    }

    #[test]
    fn reports_why_a_line_does_not_verify() {
        let key = key();
        let (first, head) = line(&key, &ChainHead::GENESIS, &opening(&ChainHead::GENESIS));
        let why = |line: &[u8]| {
            let mut verifier = ChainVerifier::new(&key, true);
            verifier.verify_line(&first).unwrap();
            verifier.verify_line(line).err()
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
