//! Sessions of applications, and the tokens that they minted.

use masker_types::{
    kind::{EntityKind, Kid},
    limits::{KID_BYTES_MAX, KIND_BYTES_MAX, LABEL_BYTES_MAX, ROW_BYTES_MAX},
};

use super::{
    bytes::{RowReader, RowWriter},
    key::RowKeyError,
    layout::{LAYOUT_VERSION, RecordError, is_valid_caller, is_valid_label},
};
use crate::Row;

/// Most kinds that a session counts.
pub const SESSION_KINDS_MAX: usize = 96;
/// Most key generations in the needs of a closed session.
pub const SESSION_GENERATIONS_MAX: usize = 64;

const KIND_ROW_BYTES: usize = 1 + KIND_BYTES_MAX + 3 * 8;
const NEED_ROW_BYTES: usize = 1 + KID_BYTES_MAX + 1 + 16 + 8;
const _: () = assert!(SESSION_KINDS_MAX < 256);
const _: () = assert!(SESSION_GENERATIONS_MAX < 256);
const _: () = assert!(
    128 + 2 * LABEL_BYTES_MAX + SESSION_KINDS_MAX * KIND_ROW_BYTES + SESSION_GENERATIONS_MAX * NEED_ROW_BYTES
        <= ROW_BYTES_MAX
);

/// The caller who opened a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOwner {
    /// The caller's name: 1 to [`LABEL_BYTES_MAX`] bytes.
    pub name: String,
    /// The caller's uid, if the kernel attested one.
    pub uid: Option<u32>,
    /// The id of the caller's API key, if it used one.
    pub key_id: Option<[u8; 16]>,
}

impl SessionOwner {
    /// Returns whether both are the same caller: with API keys, if the keys are the same, and otherwise if the uids and names
    /// are.
    pub fn is_same(&self, other: &SessionOwner) -> bool {
        match (self.key_id, other.key_id) {
            (Some(own), Some(others)) => own == others,
            (None, None) => (self.uid, &self.name) == (other.uid, &other.name),
            _ => false,
        }
    }
}

/// Counts of the tokens of one kind in a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Distinct tokens that it returned.
    pub minted: u64,
    /// How many of those it rehydrated.
    pub rehydrated: u64,
    /// How often it rehydrated a token that it had not returned, or did not track.
    pub others_rehydrated: u64,
}

impl SessionCounts {
    /// Returns how many tokens were returned and not rehydrated.
    pub fn not_rehydrated(&self) -> u64 {
        self.minted.saturating_sub(self.rehydrated)
    }
}

/// The number of a session's tokens that need a key generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionNeed {
    /// The key id.
    pub kid: Kid,
    /// The fingerprint in lower-case hex: 16 digits, or the 8 digits in a token if no known generation matches.
    pub fingerprint: String,
    /// The number of tokens.
    pub tokens: u64,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its label: at most [`LABEL_BYTES_MAX`] bytes, without control characters.
    pub label: String,
    /// The caller who opened it.
    pub opened_by: SessionOwner,
    /// When it was opened.
    pub opened_at_ms: u64,
    /// When a request last used it.
    pub last_used_ms: u64,
    /// When it was closed, if it was.
    pub closed_at_ms: Option<u64>,
    /// Tokens that were returned after the limit of tracked tokens was reached, counted each time.
    pub untracked: u64,
    /// Tokens without a record when it was closed.
    pub gone: u64,
    /// Its counts by kind, at most [`SESSION_KINDS_MAX`], each kind once.
    pub kinds: Vec<(EntityKind, SessionCounts)>,
    /// The generations that its tokens needed when it was closed, at most [`SESSION_GENERATIONS_MAX`].
    pub needs: Vec<SessionNeed>,
}

impl SessionRow {
    /// Encodes the session as a row.
    ///
    /// # Errors
    ///
    /// [`RowKeyError::Label`] if the label or the name of its owner is invalid; see the fields.
    pub fn encode(&self) -> Result<Row, RowKeyError> {
        let owner = &self.opened_by;
        if !is_valid_label(&self.label) || !is_valid_caller(&owner.name) {
            return Err(RowKeyError::Label);
        }
        let mut row = RowWriter::new(LAYOUT_VERSION, 512);
        row.flags([self.closed_at_ms.is_some(), owner.uid.is_some(), owner.key_id.is_some()]);
        row.name(&self.label);
        row.name(&owner.name);
        if let Some(uid) = owner.uid {
            row.array(&uid.to_be_bytes());
        }
        if let Some(key_id) = &owner.key_id {
            row.array(key_id);
        }
        row.integer(self.opened_at_ms);
        row.integer(self.last_used_ms);
        if let Some(closed_at_ms) = self.closed_at_ms {
            row.integer(closed_at_ms);
        }
        row.integer(self.untracked);
        row.integer(self.gone);
        let kinds = self.kinds.iter().take(SESSION_KINDS_MAX);
        row.byte(kinds.len() as u8);
        for (kind, counts) in kinds {
            row.name(kind.as_str());
            row.integer(counts.minted);
            row.integer(counts.rehydrated);
            row.integer(counts.others_rehydrated);
        }
        let needs = self.needs.iter().take(SESSION_GENERATIONS_MAX);
        row.byte(needs.len() as u8);
        for need in needs {
            row.name(need.kid.as_str());
            row.name(&need.fingerprint);
            row.integer(need.tokens);
        }
        Ok(row.finish())
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let [is_closed, has_uid, has_key] = row.flags()?;
        let label = row.label()?;
        let opened_by = SessionOwner {
            name: row.caller()?,
            uid: has_uid.then(|| row.array()).transpose()?.map(u32::from_be_bytes),
            key_id: has_key.then(|| row.array()).transpose()?,
        };
        let mut session = SessionRow {
            label,
            opened_by,
            opened_at_ms: row.integer()?,
            last_used_ms: row.integer()?,
            closed_at_ms: is_closed.then(|| row.integer()).transpose()?,
            untracked: row.integer()?,
            gone: row.integer()?,
            kinds: Vec::new(),
            needs: Vec::new(),
        };
        for _ in 0..bounded(row.byte()?, SESSION_KINDS_MAX)? {
            let kind = row.kind()?;
            let (minted, rehydrated, others_rehydrated) = (row.integer()?, row.integer()?, row.integer()?);
            session.kinds.push((kind, SessionCounts { minted, rehydrated, others_rehydrated }));
        }
        for _ in 0..bounded(row.byte()?, SESSION_GENERATIONS_MAX)? {
            let need = SessionNeed { kid: row.kid()?, fingerprint: row.name()?.to_owned(), tokens: row.integer()? };
            if !is_fingerprint(&need.fingerprint) {
                return Err(RecordError::Damaged("it has an invalid fingerprint"));
            }
            session.needs.push(need);
        }
        row.finish()?;
        Ok(session)
    }
}

fn bounded(number: u8, max: usize) -> Result<u8, RecordError> {
    if usize::from(number) <= max {
        Ok(number)
    } else {
        Err(RecordError::Damaged("it has more entries than its layout allows"))
    }
}

fn is_fingerprint(digits: &str) -> bool {
    [8, 16].contains(&digits.len()) && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A token that a session returned. Its key has the session's id and the token's tag: the token's id, or the first 16 bytes
/// of its nonce if it carries its value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionTokenRow {
    /// Whether the session rehydrated it.
    pub rehydrated: bool,
    /// The kind in the token.
    pub kind: EntityKind,
    /// The key id in the token.
    pub kid: Kid,
    /// The part of the key's fingerprint in a token that carries its value.
    pub prefix: Option<[u8; 4]>,
}

impl SessionTokenRow {
    /// Encodes the token as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 64);
        row.flags([self.rehydrated, self.prefix.is_some()]);
        row.name(self.kind.as_str());
        row.name(self.kid.as_str());
        if let Some(prefix) = &self.prefix {
            row.array(prefix);
        }
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let [rehydrated, carries_value] = row.flags()?;
        let token = SessionTokenRow {
            rehydrated,
            kind: row.kind()?,
            kid: row.kid()?,
            prefix: carries_value.then(|| row.array()).transpose()?,
        };
        row.finish()?;
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest() -> SessionRow {
        let kid = Kid::parse(&"K".repeat(KID_BYTES_MAX)).unwrap();
        let need = SessionNeed { kid, fingerprint: "0123456789abcdef".to_owned(), tokens: u64::MAX };
        let kind = EntityKind::parse(&"P".repeat(KIND_BYTES_MAX)).unwrap();
        let counts = SessionCounts { minted: 3, rehydrated: 2, others_rehydrated: u64::MAX };
        SessionRow {
            label: "l".repeat(LABEL_BYTES_MAX),
            opened_by: SessionOwner { name: "n".repeat(LABEL_BYTES_MAX), uid: Some(7), key_id: Some([8; 16]) },
            opened_at_ms: 1,
            last_used_ms: 2,
            closed_at_ms: Some(3),
            untracked: 4,
            gone: 5,
            kinds: vec![(kind, counts); SESSION_KINDS_MAX],
            needs: vec![need; SESSION_GENERATIONS_MAX],
        }
    }

    #[test]
    fn the_largest_session_fits_a_row() {
        let row = largest().encode().unwrap();
        assert!(row.len() <= ROW_BYTES_MAX, "{}", row.len());
        assert_eq!(SessionRow::decode(&row), Ok(largest()));
    }

    #[test]
    fn rejects_invalid_labels_and_callers() {
        for label in ["", "Nachtlauf 7 für Büro", "日本"] {
            let session = SessionRow { label: label.to_owned(), ..largest() };
            assert_eq!(SessionRow::decode(&session.encode().unwrap()), Ok(session));
        }
        for label in ["l".repeat(LABEL_BYTES_MAX + 1), "two\nlines".to_owned(), "\u{85}".to_owned()] {
            let encoded = SessionRow { label: label.clone(), ..largest() }.encode();
            assert_eq!(encoded, Err(RowKeyError::Label), "{label:?}");
            let opened_by = SessionOwner { name: label, ..largest().opened_by };
            assert_eq!(SessionRow { opened_by, ..largest() }.encode(), Err(RowKeyError::Label));
        }
        let opened_by = SessionOwner { name: String::new(), ..largest().opened_by };
        assert_eq!(SessionRow { opened_by, ..largest() }.encode(), Err(RowKeyError::Label));
    }

    #[test]
    fn owners_are_compared_by_key_or_by_user_and_name() {
        let owner = |name: &str, uid, key: Option<u8>| SessionOwner {
            name: name.to_owned(),
            uid: Some(uid),
            key_id: key.map(|key| [key; 16]),
        };
        assert!(
            owner("a", 1, None).is_same(&owner("a", 1, None))
                && owner("a", 1, Some(1)).is_same(&owner("b", 2, Some(1)))
        );
        for other in [owner("a", 2, None), owner("b", 1, None), owner("a", 1, Some(1))] {
            assert!(!owner("a", 1, None).is_same(&other) && !other.is_same(&owner("a", 1, None)), "{other:?}");
        }
        assert!(!owner("a", 1, Some(1)).is_same(&owner("a", 1, Some(2))));
    }

    #[test]
    fn rejects_invalid_fingerprints_and_counts() {
        let short = SessionRow { kinds: vec![], ..largest() };
        for fingerprint in ["", "0123456", "0123456G", "0123456789ABCDEF"] {
            let needs = vec![SessionNeed { fingerprint: fingerprint.to_owned(), ..short.needs[0].clone() }];
            let row = SessionRow { needs, ..short.clone() }.encode().unwrap();
            assert!(matches!(SessionRow::decode(&row), Err(RecordError::Damaged(_))), "{fingerprint:?}");
        }
        let mut row = SessionRow { needs: vec![], ..short }.encode().unwrap();
        let at = row.len() - 2;
        row[at] = SESSION_KINDS_MAX as u8 + 1;
        assert!(matches!(
            SessionRow::decode(&row),
            Err(RecordError::Damaged("it has more entries than its layout allows"))
        ));
    }
}
