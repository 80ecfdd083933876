//! Rows of the vault: one is read as what was written, or not at all.

use masker_store::{
    RowKey,
    record::{
        Alias, ApiKeyRow, AuditHeadRow, FormatRow, GenerationRow, GenerationUseRow, HoneytokenRow, MappingRow, Record,
        RotationRow, RowName, SessionRow, SessionTokenRow, SpanRow, TombstoneCountRow, TombstoneRow, UsageRow,
    },
};

/// The first byte says which row the others are; what is read as one is written as the same bytes.
pub fn holds(bytes: &[u8]) {
    let Some((&which, row)) = bytes.split_first() else { return };
    macro_rules! written_again {
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
    match which {
        b'r' => written_again!(Record),
        b'a' => written_again!(Alias),
        b'g' => written_again!(GenerationRow),
        b'u' => written_again!(UsageRow),
        b'p' => written_again!(may fail: MappingRow),
        b'o' => written_again!(RotationRow),
        b'd' => written_again!(GenerationUseRow),
        b't' => written_again!(TombstoneRow),
        b'T' => written_again!(TombstoneCountRow),
        b'k' => written_again!(may fail: ApiKeyRow),
        b's' => written_again!(may fail: SessionRow),
        b'e' => written_again!(SessionTokenRow),
        b'h' => written_again!(may fail: HoneytokenRow),
        b'A' => written_again!(AuditHeadRow),
        b'S' => written_again!(SpanRow),
        b'm' => written_again!(FormatRow),
        _ => name(row),
    }
}

/// A row has one key.
fn name(key: &[u8]) {
    let Some(key) = RowKey::new(key) else { return };
    let Ok(named) = RowName::parse(&key) else { return };
    let again = match named {
        RowName::Record(id) => RowKey::record(&id),
        RowName::Alias(index) => RowKey::alias(&index),
        RowName::Generation(kid, fingerprint) => RowKey::generation(kid, &fingerprint),
        RowName::Usage(kind, kid) => RowKey::usage(kind, kid),
        RowName::Mapping(policy, kind) => RowKey::mapping(&policy, kind).expect("it was read from one"),
        RowName::Uses(kid, fingerprint) => RowKey::uses(kid, &fingerprint),
        RowName::Rotation(id) => RowKey::rotation(&id),
        RowName::Format => RowKey::format(),
        RowName::Span => RowKey::span(),
        RowName::Tombstones => RowKey::tombstones(),
        RowName::Tombstone(id) => RowKey::tombstone(&id),
        RowName::AuditHead => RowKey::audit_head(),
        RowName::ApiKey(id) => RowKey::api_key(&id),
        RowName::Session(id) => RowKey::session(&id),
        RowName::SessionToken(session, tag) => RowKey::session_token(&session, &tag),
        RowName::Honeytoken(id) => RowKey::honeytoken(&id),
    };
    assert!(again.as_bytes() == key.as_bytes(), "a row has one key");
}
