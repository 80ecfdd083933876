//! Rows of the vault: a decoded row encodes to the same bytes.

use masker_store::{
    RowKey,
    record::{
        ApiKeyRow, AuditHeadRow, ControlManifestRow, ControlSlotRow, GenerationCountsRow, GenerationRow,
        GenerationUseRow, HoneytokenRow, IndexRow, KidMovesRow, MappingRow, NormalizersRow, PlaceholderKeyRow,
        PlaceholderRow, Record, RotationRow, RowName, SessionRow, SessionTokenRow, SpanRow, TombstoneCountRow,
        TombstoneRow, TombstoneSumRow, UsageRow,
    },
};

/// Checks that a decoded row encodes to the same bytes. The first byte selects the type of the row.
pub fn check(bytes: &[u8]) {
    let Some((&selector, row)) = bytes.split_first() else { return };
    macro_rules! check {
        ($row:ty) => {
            if let Ok(read) = <$row>::decode(row) {
                assert!(read.encode()[..] == *row, "a row has one layout");
            }
        };
        (may fail: $row:ty) => {
            if let Ok(read) = <$row>::decode(row) {
                assert!(read.encode().is_ok_and(|written| written[..] == *row), "a row has one layout");
            }
        };
    }
    match selector {
        b'r' => check!(Record),
        b'v' => check_index(row, 20),
        b'f' => check_index(row, 10),
        b'n' => check!(may fail: NormalizersRow),
        b'w' => check!(KidMovesRow),
        b'g' => check!(GenerationRow),
        b'c' => check!(GenerationCountsRow),
        b'u' => check!(UsageRow),
        b'p' => check!(may fail: MappingRow),
        b'o' => check!(RotationRow),
        b'd' => check!(GenerationUseRow),
        b't' => check!(TombstoneRow),
        b'T' => check!(TombstoneCountRow),
        b'k' => check!(may fail: ApiKeyRow),
        b's' => check!(may fail: SessionRow),
        b'e' => check!(SessionTokenRow),
        b'h' => check!(may fail: HoneytokenRow),
        b'b' => check!(PlaceholderKeyRow),
        b'l' => check!(PlaceholderRow),
        b'A' => check!(AuditHeadRow),
        b'S' => check!(SpanRow),
        b'x' => check!(ControlSlotRow),
        b'X' => check!(ControlManifestRow),
        b'M' => check!(TombstoneSumRow),
        _ => check_key(row),
    }
}

/// Checks that a decoded list encodes to the same bytes.
fn check_index(row: &[u8], entry_bytes: usize) {
    if let Ok(read) = IndexRow::decode(row, entry_bytes) {
        assert!(read.encode()[..] == *row, "a row has one layout");
    }
}

/// Checks that a parsed key has a single form.
fn check_key(key: &[u8]) {
    let Some(key) = RowKey::new(key) else { return };
    let Ok(named) = RowName::parse(&key) else { return };
    let again = match named {
        RowName::Record(id) => RowKey::record(&id),
        RowName::ValueIndex(index) => RowKey::value_index(&index),
        RowName::FormIndex(index) => RowKey::form_index(&index),
        RowName::Normalizers(kind, kid) => RowKey::normalizers(kind, kid),
        RowName::KidMoves(kid) => RowKey::kid_moves(kid),
        RowName::Generation(kid, fingerprint) => RowKey::generation(kid, &fingerprint),
        RowName::GenerationCounts(kid, fingerprint) => RowKey::generation_counts(kid, &fingerprint),
        RowName::TombstoneSum => RowKey::tombstone_sum(),
        RowName::ApiKeyUse(id) => RowKey::api_key_use(&id),
        RowName::ControlSlot(kid, fingerprint) => RowKey::control_slot(kid, &fingerprint),
        RowName::ControlManifest => RowKey::control_manifest(),
        RowName::Usage(kind, kid) => RowKey::usage(kind, kid),
        RowName::Mapping(policy, kind) => RowKey::mapping(&policy, kind).expect("a parsed name is valid"),
        RowName::Uses(kid, fingerprint) => RowKey::uses(kid, &fingerprint),
        RowName::Rotation(id) => RowKey::rotation(&id),
        RowName::Span => RowKey::span(),
        RowName::Tombstones => RowKey::tombstones(),
        RowName::Tombstone(id) => RowKey::tombstone(&id),
        RowName::AuditHead => RowKey::audit_head(),
        RowName::ApiKey(id) => RowKey::api_key(&id),
        RowName::Session(id) => RowKey::session(&id),
        RowName::SessionToken(session, tag) => RowKey::session_token(&session, &tag),
        RowName::Honeytoken(id) => RowKey::honeytoken(&id),
        RowName::PlaceholderKey(owner) => RowKey::placeholder_key(owner),
        RowName::Placeholder(owner, kind, code) => RowKey::placeholder(owner, kind, &code),
    };
    assert!(again.as_bytes() == key.as_bytes(), "a row has one key");
}
