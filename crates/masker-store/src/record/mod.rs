//! What is in the vault's rows: versioned layouts, byte by byte.
//!
//! Integers are big-endian. A name is its length (1 byte), then its bytes, ASCII but for labels and callers. A row begins with the version of its
//! layout, 1, and a decoder takes the whole row or nothing: a row that is too short, too long, or holds what the
//! layout does not allow is [`RecordError::Damaged`]; one of a later version is [`RecordError::NewerVersion`], because a later
//! release wrote it and a guess would read it wrongly.
//!
//! | row | layout after the version |
//! |---|---|
//! | [`Record`] | flags (bit 0: has an alias), sealing kid, its fingerprint (8), kind, minted kid, minted at (8), sealed at (8), id of the alias (16, where it has one), nonce (24), ciphertext |
//! | [`Alias`] | target (16), tag (16) |
//! | [`GenerationRow`] | flags (bit 0: was retired, bit 1: was proven unneeded), first seen (8), old since (8, where it was retired), last used (8, 0 for never), records (8), aliases (8), proven at (8, where it was) |
//! | [`UsageRow`] | records (8) |
//! | [`MappingRow`] | scheme (1), kid, normalizer |
//! | [`RotationRow`] | flags (bit 0: proving, 1: ended, 2: has a cursor, 3: has a fault), state (1), fault (1, where it has one), target kid, its fingerprint (8), source kid, started at (8), finished at (8, where it ended), rows a second at most, rows in total, resealed, resealed before this pass, failed, conflicts (8 each), cursor (16, where it has one), then for each failure: why (1), id (16) |
//! | [`SpanRow`] | oldest (8), newest (8) |
//! | [`GenerationUseRow`] | last opened (8), then for each day: its number since 1970-01-01 (8), tokens opened (8) |
//! | [`TombstoneRow`] | erased at (8) |
//! | [`TombstoneCountRow`] | tombstones (8) |
//! | [`ApiKeyRow`] | a document |
//! | [`SessionRow`] | flags (bit 0: closed, 1: its opener has a uid, 2: and a key), label, opener, uid (4, where there is one), id of the key (16, where there is one), opened at (8), last used (8), closed at (8, where it is), tokens not tracked (8), tokens without a record (8), number of kinds (1), then for each: kind, minted, rehydrated, others rehydrated (8 each), number of generations (1), then for each: kid, digits of the fingerprint, tokens (8) |
//! | [`SessionTokenRow`] | flags (bit 0: rehydrated, 1: carries its value), kind, kid, beginning of the fingerprint (4, where it carries its value) |
//! | [`HoneytokenRow`] | flags (bit 0: carries its value), tag of the token (16), kind, kid, planted at (8), planted by, label |
//! | [`AuditHeadRow`] | sequence (8), hash (32) |
//! | [`FormatRow`] | id of the vault (16) |
//!
//! Times are milliseconds since 1970-01-01 UTC. Nothing here seals or opens: the ciphertext is opaque. None of the
//! rows has `Debug`: ids are tokens.

mod api_key;
mod audit;
mod bytes;
mod honeytoken;
mod key;
mod rotation;
mod session;
mod tombstone;
mod generation_use;

pub use api_key::{API_KEY_BYTES_MAX, ApiKeyRow};
pub use audit::AuditHeadRow;
pub use generation_use::{GenerationUseRow, USE_DAYS};
pub use honeytoken::HoneytokenRow;
pub use key::{POLICY_NAME_BYTES_MAX, RowKeyError, RowName};
pub use rotation::{ROTATION_FAILURES_MAX, ResealFailure, RotationFault, RotationRow, RotationState, StepDone};
pub use session::{
    SESSION_GENERATIONS_MAX, SESSION_KINDS_MAX, SessionCounts, SessionNeed, SessionOwner, SessionRow, SessionTokenRow,
};
pub use tombstone::{TombstoneCountRow, TombstoneRow};

use crate::Row;
use bytes::{RowReader, RowWriter};
use masker_types::kind::{EntityKind, Kid};

/// The layout that this release writes and the latest that it reads.
pub const LAYOUT_VERSION: u8 = 1;

/// Shortest ciphertext, in bytes: one padded block of 16 and the tag of 16. Longer ones grow by whole blocks.
pub const CIPHERTEXT_BYTES_MIN: usize = 32;

pub use masker_types::limits::LABEL_BYTES_MAX;

/// Longest name of a normalizer, in bytes (it is ASCII).
pub const NORMALIZER_BYTES_MAX: usize = 32;

/// Why a row could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The row was written by a later release.
    #[error(
        "a row has layout {0}, and this release of masker knows layouts up to {LAYOUT_VERSION}: use a later release"
    )]
    NewerVersion(u8),
    /// The row is not what was written.
    #[error("a row is damaged: {0}")]
    Damaged(&'static str),
}

/// A sealed value.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The kid of the key generation that seals it.
    pub sealing_kid: Kid,
    /// The fingerprint of that generation.
    pub fingerprint: [u8; 8],
    /// The kind under which the token was minted.
    pub kind: EntityKind,
    /// The kid under which the token was minted: that of its text.
    pub minted_kid: Kid,
    /// When the token was minted.
    pub minted_at_ms: u64,
    /// When the value was last sealed: by the mint, or by a rotation since.
    pub sealed_at_ms: u64,
    /// The index of the alias that leads here, where there is one.
    pub alias: Option<[u8; 16]>,
    /// The nonce of the seal.
    pub nonce: [u8; 24],
    /// The sealed payload and its tag: a multiple of 16 bytes, [`CIPHERTEXT_BYTES_MIN`] or more.
    pub ciphertext: Vec<u8>,
}

impl Record {
    /// The row of the record.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 192 + self.ciphertext.len());
        row.flags([self.alias.is_some()]);
        row.name(self.sealing_kid.as_str());
        row.array(&self.fingerprint);
        row.name(self.kind.as_str());
        row.name(self.minted_kid.as_str());
        row.integer(self.minted_at_ms);
        row.integer(self.sealed_at_ms);
        if let Some(alias) = &self.alias {
            row.array(alias);
        }
        row.array(&self.nonce);
        row.array(&self.ciphertext);
        row.finish()
    }

    /// The record of a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`], as the module says.
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let [has_alias] = row.flags()?;
        let record = Record {
            sealing_kid: row.kid()?,
            fingerprint: row.array()?,
            kind: row.kind()?,
            minted_kid: row.kid()?,
            minted_at_ms: row.integer()?,
            sealed_at_ms: row.integer()?,
            alias: has_alias.then(|| row.array()).transpose()?,
            nonce: row.array()?,
            ciphertext: row.rest().to_vec(),
        };
        if record.ciphertext.len() < CIPHERTEXT_BYTES_MIN || !record.ciphertext.len().is_multiple_of(16) {
            return Err(RecordError::Damaged("its ciphertext has an impossible length"));
        }
        Ok(record)
    }
}

/// A second way to a record, from its id under another key. The tag is to be verified, in constant time, before the
/// target is followed; so it has no `==`.
#[derive(Clone)]
pub struct Alias {
    /// The id of the record.
    pub target: [u8; 16],
    /// What authenticates the pair of index and target.
    pub tag: [u8; 16],
}

impl Alias {
    /// The row of the alias.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 32);
        row.array(&self.target);
        row.array(&self.tag);
        row.finish()
    }

    /// The alias of a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`], as the module says.
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let alias = Alias { target: row.array()?, tag: row.array()? };
        row.end()?;
        Ok(alias)
    }
}

/// What the vault knows of a key generation, and what it still needs it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationRow {
    /// When it was first loaded.
    pub first_seen_ms: u64,
    /// Since when it is the old one of its kid, where it is.
    pub old_since_ms: Option<u64>,
    /// When it last opened something; 0 for never.
    pub last_used_ms: u64,
    /// Records that it seals.
    pub records: u64,
    /// Aliases that it made.
    pub aliases: u64,
    /// When a full pass over the vault found nothing that needs it, where nothing has come to need it since.
    pub proven_at_ms: Option<u64>,
}

impl GenerationRow {
    /// Whether a record or an alias is under it.
    pub fn is_needed(&self) -> bool {
        self.records > 0 || self.aliases > 0
    }

    /// A generation that was never seen before.
    pub fn first_seen(now_ms: u64) -> Self {
        GenerationRow {
            first_seen_ms: now_ms,
            old_since_ms: None,
            last_used_ms: 0,
            records: 0,
            aliases: 0,
            proven_at_ms: None,
        }
    }

    /// The row of the generation.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 56);
        row.flags([self.old_since_ms.is_some(), self.proven_at_ms.is_some()]);
        row.integer(self.first_seen_ms);
        if let Some(old_since_ms) = self.old_since_ms {
            row.integer(old_since_ms);
        }
        row.integer(self.last_used_ms);
        row.integer(self.records);
        row.integer(self.aliases);
        if let Some(proven_at_ms) = self.proven_at_ms {
            row.integer(proven_at_ms);
        }
        row.finish()
    }

    /// The generation of a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`], as the module says.
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let [is_old, is_proven] = row.flags()?;
        let generation = GenerationRow {
            first_seen_ms: row.integer()?,
            old_since_ms: is_old.then(|| row.integer()).transpose()?,
            last_used_ms: row.integer()?,
            records: row.integer()?,
            aliases: row.integer()?,
            proven_at_ms: is_proven.then(|| row.integer()).transpose()?,
        };
        row.end()?;
        Ok(generation)
    }
}

/// How many records were minted for a kind under a kid and are still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Records.
    pub records: u64,
}

impl UsageRow {
    /// The row of the count.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 8);
        row.integer(self.records);
        row.finish()
    }

    /// The count of a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`], as the module says.
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let usage = UsageRow { records: row.integer()? };
        row.end()?;
        Ok(usage)
    }
}

/// How a policy last minted tokens of a kind: what tells that a changed policy would give known values new tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MappingRow {
    /// The scheme, by the number that the policies' layer gives it.
    pub scheme: u8,
    /// The kid.
    pub kid: Kid,
    /// The name of the normalizer: 1 to [`NORMALIZER_BYTES_MAX`] bytes of printable ASCII.
    pub normalizer: String,
}

impl MappingRow {
    /// The row of the mapping.
    ///
    /// # Errors
    ///
    /// [`RowKeyError::Normalizer`] where the normalizer's name is not as [`MappingRow::normalizer`] says.
    pub fn encode(&self) -> Result<Row, RowKeyError> {
        if !normalizer_is_named(&self.normalizer) {
            return Err(RowKeyError::Normalizer);
        }
        let mut row = RowWriter::new(LAYOUT_VERSION, 96);
        row.byte(self.scheme);
        row.name(self.kid.as_str());
        row.name(&self.normalizer);
        Ok(row.finish())
    }

    /// The mapping of a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`], as the module says.
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let mapping = MappingRow { scheme: row.byte()?, kid: row.kid()?, normalizer: row.name()?.to_owned() };
        row.end()?;
        if !normalizer_is_named(&mapping.normalizer) {
            return Err(RecordError::Damaged("its normalizer has an impossible name"));
        }
        Ok(mapping)
    }
}

/// Whether a text can be a label: printable, and no longer than [`LABEL_BYTES_MAX`]. It may be empty.
pub fn is_label(text: &str) -> bool {
    text.len() <= LABEL_BYTES_MAX && !text.chars().any(char::is_control)
}

/// Whether a text can be the name of a caller: a label that is not empty.
pub fn is_caller(text: &str) -> bool {
    !text.is_empty() && is_label(text)
}

fn normalizer_is_named(name: &str) -> bool {
    (1..=NORMALIZER_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic())
}

/// Between which times the records were minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanRow {
    /// When the oldest record was minted, or one older that has been erased since.
    pub oldest_ms: u64,
    /// When the newest record was minted, or one newer that has been erased since.
    pub newest_ms: u64,
}

impl SpanRow {
    /// The row of the span.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 16);
        row.integer(self.oldest_ms);
        row.integer(self.newest_ms);
        row.finish()
    }

    /// The span of a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`], as the module says.
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let span = SpanRow { oldest_ms: row.integer()?, newest_ms: row.integer()? };
        row.end()?;
        Ok(span)
    }
}

/// The first row of a vault. Its version is that of the vault: a later one changes what other rows mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatRow {
    /// The vault's id: random, given when it is made. It names a vault to people and files; it is no secret.
    pub vault_id: [u8; 16],
}

impl FormatRow {
    /// The row of the format.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 16);
        row.array(&self.vault_id);
        row.finish()
    }

    /// The format of a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`], as the module says.
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let format = FormatRow { vault_id: row.array()? };
        row.end()?;
        Ok(format)
    }
}

#[cfg(test)]
mod tests;
