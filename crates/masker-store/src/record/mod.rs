//! The layouts of the vault's rows, byte by byte.
//!
//! Integers are big-endian. A name is its length (1 byte), then its bytes: ASCII, or UTF-8 for labels and callers. A row
//! begins with the version of its layout, which is 1. A decoder reads the complete row or fails: a row that is too short,
//! too long, or contains what the layout does not allow is [`RecordError::Damaged`]. A row of a later version is
//! [`RecordError::NewerVersion`], because a later release wrote it.
//!
//! | row | layout after the version |
//! |---|---|
//! | [`Record`] | flags (bit 0: has a value index, 1: has a form index), sealing kid, its fingerprint (8), kind, minted kid, minted at (8), sealed at (8), value index (20, if it has one), form index (20, if it has one), nonce (24), ciphertext |
//! | [`IndexRow`] | tag (16), list: ids (20 each) or match parts (10 each) |
//! | [`NormalizersRow`] | names |
//! | [`KidMovesRow`] | kids |
//! | [`GenerationRow`] | flags (bit 0: is retired, bit 1: is proven unneeded), first seen (8), old since (8, if it is retired), proven at (8, if it is proven) |
//! | [`GenerationCountsRow`] | last used (8, 0 for never), records (8), index rows (8) |
//! | [`UsageRow`] | records (8) |
//! | [`MappingRow`] | scheme (1), kid, normalizer |
//! | [`RotationRow`] | flags (bit 0: proving, 1: ended, 2: has a cursor, 3: has a fault), state (1), fault (1, if it has one), target kid, its fingerprint (8), source kid, started at (8), finished at (8, if it ended), most rows per second, rows in total, resealed, resealed before this pass, failed, conflicts (8 each), cursor (20, if it has one), then for each failure: reason (1), id (20) |
//! | [`SpanRow`] | oldest (8), newest (8) |
//! | [`GenerationUseRow`] | last opened (8), then for each day: its number since 1970-01-01 (8), tokens opened (8) |
//! | [`TombstoneRow`] | erased at (8) |
//! | [`TombstoneCountRow`] | tombstones (8) |
//! | [`ApiKeyRow`] | a document |
//! | [`SessionRow`] | flags (bit 0: closed, 1: its opener has a uid, 2: and a key), label, opener, uid (4, if there is one), id of the key (16, if there is one), opened at (8), last used (8), closed at (8, if it is closed), tokens not tracked (8), tokens without a record (8), number of kinds (1), then for each: kind, minted, rehydrated, others rehydrated (8 each), number of generations (1), then for each: kid, digits of the fingerprint, tokens (8) |
//! | [`SessionTokenRow`] | flags (bit 0: rehydrated, 1: carries its value), kind, kid, beginning of the fingerprint (4, if it carries its value) |
//! | [`HoneytokenRow`] | flags (bit 0: carries its value), tag of the token (20), kind, kid, planted at (8), planted by, label |
//! | [`PlaceholderKeyRow`] | key (32); stored as nonce (24), ciphertext of the whole row (33), tag (16) |
//! | [`PlaceholderRow`] | text of the token |
//! | [`AuditHeadRow`] | sequence (8), hash (32) |
//! | [`ControlSlotRow`] | control epoch (8), nonce (24), sealed key (48) |
//! | [`ControlManifestRow`] | flags (bit 0: is sound), control epoch (8), changes (8), rows (8), tag (16) |
//! | [`TombstoneSumRow`] | nonce (16), masked sum (32) |
//!
//! Times are milliseconds since 1970-01-01 UTC. Nothing here encrypts or decrypts. Rows that contain ids of tokens do not
//! implement `Debug`, because ids are tokens.

mod api_key;
mod audit;
mod bytes;
mod control;
mod generation;
mod generation_use;
mod honeytoken;
mod index;
mod key;
mod layout;
mod mapping;
mod placeholder;
mod rotation;
mod sealed;
mod session;
#[cfg(test)]
mod tests;
mod tombstone;
mod vault;

pub use api_key::ApiKeyRow;
pub use audit::AuditHeadRow;
pub use control::{ControlManifestRow, ControlSlotRow, TombstoneSumRow};
pub use generation::{GenerationCountsRow, GenerationRow, UsageRow};
pub use generation_use::{GenerationUseRow, USE_DAYS};
pub use honeytoken::HoneytokenRow;
pub use index::{INDEX_ENTRIES_MAX, IndexRow, KidMovesRow, NormalizersRow};
pub use key::{POLICY_NAME_BYTES_MAX, RowKeyError, RowName};
pub use layout::{
    API_KEY_BYTES_MAX, LAYOUT_VERSION, NORMALIZER_BYTES_MAX, RecordError, is_valid_caller, is_valid_label, split_tag,
};
pub use mapping::MappingRow;
pub use masker_types::limits::LABEL_BYTES_MAX;
pub use placeholder::{PLACEHOLDER_CODE_BYTES_MAX, PlaceholderKeyRow, PlaceholderOwner, PlaceholderRow};
pub use rotation::{ROTATION_FAILURES_MAX, ResealFailure, RotationFault, RotationRow, RotationState, StepResult};
pub use sealed::{CIPHERTEXT_BYTES_MIN, Record};
pub use session::{
    SESSION_GENERATIONS_MAX, SESSION_KINDS_MAX, SessionCounts, SessionNeed, SessionOwner, SessionRow, SessionTokenRow,
};
pub use tombstone::{TombstoneCountRow, TombstoneRow};
pub use vault::SpanRow;
