use proptest::prelude::*;

use super::*;
use crate::{Row, RowKey};
use masker_types::kind::{EntityKind, Kid};

fn record(value_index: Option<[u8; 20]>) -> Record {
    Record {
        sealing_kid: Kid::parse("K_NEW").unwrap(),
        fingerprint: [7; 8],
        kind: EntityKind::parse("PHONE").unwrap(),
        minted_kid: Kid::parse("K_FIRST").unwrap(),
        minted_at_ms: 1_700_000_000_123,
        sealed_at_ms: 1_800_000_000_456,
        value_index,
        form_index: value_index.map(|_| [4; 20]),
        nonce: [9; 24],
        ciphertext: vec![0xC5; 48],
    }
}

fn generation(old_since_ms: Option<u64>) -> GenerationRow {
    let proven_at_ms = old_since_ms.map(|since| since + 7);
    GenerationRow { first_seen_ms: 1, old_since_ms, proven_at_ms }
}

fn counts() -> GenerationCountsRow {
    GenerationCountsRow { last_used_ms: 3, records: 4, index_rows: 5 }
}

fn slot() -> ControlSlotRow {
    ControlSlotRow { epoch: 1, nonce: [2; 24], sealed: [3; 48] }
}

fn manifest(is_sound: bool) -> ControlManifestRow {
    ControlManifestRow { is_sound, epoch: 1, changes: 2, rows: 3, tag: [4; 16] }
}

fn tombstone_sum() -> TombstoneSumRow {
    TombstoneSumRow { nonce: [1; 16], masked: [2; 32] }
}

fn mapping() -> MappingRow {
    MappingRow { scheme: 1, kid: Kid::parse("K").unwrap(), normalizer: "casefold".into() }
}

fn rotation(ended: bool) -> RotationRow {
    RotationRow {
        target_kid: Kid::parse("K_NEW").unwrap(),
        target: [7; 8],
        source_kid: Kid::parse("K_FIRST").unwrap(),
        state: if ended { RotationState::Failed } else { RotationState::Running },
        fault: ended.then_some(RotationFault::Unproven),
        proving: ended,
        started_at_ms: 1,
        finished_at_ms: ended.then_some(2),
        rows_per_second_max: 3,
        rows_total: 4,
        rows_resealed: 5,
        resealed_before_pass: 6,
        left_before_pass: 5,
        rows_failed: 7,
        conflicts: 8,
        cursor: (!ended).then_some([9; 20]),
        failures: vec![([1; 20], ResealFailure::DoesNotOpen); usize::from(ended) * ROTATION_FAILURES_MAX],
    }
}

fn session(closed: bool) -> SessionRow {
    let counts = SessionCounts { minted: 3, rehydrated: 2, others_rehydrated: 1 };
    let need = SessionNeed { kid: Kid::parse("K").unwrap(), fingerprint: "0123abcd".into(), tokens: 9 };
    SessionRow {
        label: "night run".into(),
        opened_by: SessionOwner { name: "billing".into(), uid: closed.then_some(7), key_id: closed.then_some([8; 16]) },
        opened_at_ms: 1,
        last_used_ms: 2,
        closed_at_ms: closed.then_some(3),
        untracked: 4,
        gone: 5,
        kinds: vec![(EntityKind::parse("PHONE").unwrap(), counts); usize::from(closed)],
        needs: vec![need; 2 * usize::from(closed)],
    }
}

fn placeholder() -> PlaceholderRow {
    PlaceholderRow { token: "MSKV1.A.K.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ".into() }
}

fn session_token(prefix: Option<[u8; 4]>) -> SessionTokenRow {
    let (kind, kid) = (EntityKind::parse("PHONE").unwrap(), Kid::parse("K").unwrap());
    SessionTokenRow { rehydrated: prefix.is_some(), kind, kid, prefix }
}

fn honeytoken() -> HoneytokenRow {
    HoneytokenRow {
        carries_value: true,
        tag: [1; 20],
        kind: EntityKind::parse("PHONE").unwrap(),
        kid: Kid::parse("K").unwrap(),
        planted_at_ms: 2,
        planted_by: "root".into(),
        label: "backup of the CRM".into(),
    }
}

fn index_row() -> IndexRow {
    IndexRow { list: vec![1; 20], tag: [2; 16] }
}

/// A decoder without its result.
type Decoder = fn(&[u8]) -> Result<(), RecordError>;

/// Returns a row of every layout, with its decoder.
fn layouts() -> Vec<(Row, Decoder)> {
    vec![
        (record(None).encode(), |row| Record::decode(row).map(drop)),
        (record(Some([3; 20])).encode(), |row| Record::decode(row).map(drop)),
        (index_row().encode(), |row| IndexRow::decode(row, 20).map(drop)),
        (generation(None).encode(), |row| GenerationRow::decode(row).map(drop)),
        (generation(Some(2)).encode(), |row| GenerationRow::decode(row).map(drop)),
        (counts().encode(), |row| GenerationCountsRow::decode(row).map(drop)),
        (slot().encode(), |row| ControlSlotRow::decode(row).map(drop)),
        (manifest(true).encode(), |row| ControlManifestRow::decode(row).map(drop)),
        (tombstone_sum().encode(), |row| TombstoneSumRow::decode(row).map(drop)),
        (UsageRow { records: 12 }.encode(), |row| UsageRow::decode(row).map(drop)),
        (mapping().encode().unwrap(), |row| MappingRow::decode(row).map(drop)),
        (rotation(false).encode(), |row| RotationRow::decode(row).map(drop)),
        (TombstoneRow { erased_at_ms: 13 }.encode(), |row| TombstoneRow::decode(row).map(drop)),
        (TombstoneCountRow { tombstones: 14 }.encode(), |row| TombstoneCountRow::decode(row).map(drop)),
        (AuditHeadRow { sequence: 15, hash: [16; 32] }.encode(), |row| AuditHeadRow::decode(row).map(drop)),
        (session(false).encode().unwrap(), |row| SessionRow::decode(row).map(drop)),
        (session(true).encode().unwrap(), |row| SessionRow::decode(row).map(drop)),
        (session_token(None).encode(), |row| SessionTokenRow::decode(row).map(drop)),
        (session_token(Some([4; 4])).encode(), |row| SessionTokenRow::decode(row).map(drop)),
        (honeytoken().encode().unwrap(), |row| HoneytokenRow::decode(row).map(drop)),
        (PlaceholderKeyRow { key: [5; 32] }.encode(), |row| PlaceholderKeyRow::decode(row).map(drop)),
        (placeholder().encode(), |row| PlaceholderRow::decode(row).map(drop)),
    ]
}

#[test]
fn decodes_what_it_encodes() {
    for index in [None, Some([3; 20])] {
        assert!(Record::decode(&record(index).encode()).is_ok_and(|decoded| decoded == record(index)));
    }
    for old_since_ms in [None, Some(2)] {
        assert_eq!(GenerationRow::decode(&generation(old_since_ms).encode()), Ok(generation(old_since_ms)));
    }
    assert_eq!(GenerationCountsRow::decode(&counts().encode()), Ok(counts()));
    assert!(ControlSlotRow::decode(&slot().encode()).is_ok_and(|decoded| decoded == slot()));
    for is_sound in [false, true] {
        assert_eq!(ControlManifestRow::decode(&manifest(is_sound).encode()), Ok(manifest(is_sound)));
    }
    assert_eq!(TombstoneSumRow::decode(&tombstone_sum().encode()), Ok(tombstone_sum()));
    for ended in [false, true] {
        assert_eq!(RotationRow::decode(&rotation(ended).encode()), Ok(rotation(ended)));
    }
    let decoded = IndexRow::decode(&index_row().encode(), 20).unwrap();
    assert_eq!((decoded.tag, decoded.list.len()), ([2; 16], 20));
    assert_eq!(decoded.entries::<20>().collect::<Vec<_>>(), [[1; 20]]);
    let normalizers = NormalizersRow { names: vec!["trim".into(), "phone_nanp".into()] };
    assert_eq!(NormalizersRow::decode(&normalizers.encode().unwrap()), Ok(normalizers));
    let moves = KidMovesRow { targets: vec![Kid::parse("K_B").unwrap(), Kid::parse("K_C").unwrap()] };
    assert_eq!(KidMovesRow::decode(&moves.encode()), Ok(moves));
    assert_eq!(UsageRow::decode(&UsageRow { records: 12 }.encode()), Ok(UsageRow { records: 12 }));
    assert_eq!(MappingRow::decode(&mapping().encode().unwrap()), Ok(mapping()));
    let tombstone = TombstoneRow { erased_at_ms: 13 };
    assert_eq!(TombstoneRow::decode(&tombstone.encode()), Ok(tombstone));
    let count = TombstoneCountRow { tombstones: 14 };
    assert_eq!(TombstoneCountRow::decode(&count.encode()), Ok(count));
    let head = AuditHeadRow { sequence: 15, hash: [16; 32] };
    assert_eq!(AuditHeadRow::decode(&head.encode()), Ok(head));
    for closed in [false, true] {
        assert_eq!(SessionRow::decode(&session(closed).encode().unwrap()), Ok(session(closed)));
    }
    for token in [session_token(None), session_token(Some([4; 4]))] {
        assert!(SessionTokenRow::decode(&token.encode()).is_ok_and(|decoded| decoded == token));
    }
    assert!(PlaceholderRow::decode(&placeholder().encode()).is_ok_and(|decoded| decoded == placeholder()));
    let key = PlaceholderKeyRow { key: [5; 32] };
    assert!(PlaceholderKeyRow::decode(&key.encode()).is_ok_and(|decoded| decoded == key));
    for carries_value in [false, true] {
        let planted = HoneytokenRow { carries_value, ..honeytoken() };
        assert!(HoneytokenRow::decode(&planted.encode().unwrap()).is_ok_and(|decoded| decoded == planted));
    }
}

#[test]
fn encodes_a_record_as_documented() {
    let row = record(Some([3; 20])).encode();
    let mut expected = vec![1, 3, 5];
    expected.extend_from_slice(b"K_NEW");
    expected.extend_from_slice(&[7; 8]);
    expected.extend_from_slice(b"\x05PHONE\x07K_FIRST");
    expected.extend_from_slice(&1_700_000_000_123_u64.to_be_bytes());
    expected.extend_from_slice(&1_800_000_000_456_u64.to_be_bytes());
    expected.extend_from_slice(&[3; 20]);
    expected.extend_from_slice(&[4; 20]);
    expected.extend_from_slice(&[9; 24]);
    expected.extend_from_slice(&[0xC5; 48]);
    assert_eq!(row, expected);
}

#[test]
fn detects_every_truncation() {
    for (index, (row, decode)) in layouts().into_iter().enumerate() {
        for length in 0..row.len() {
            let decoded = decode(&row[..length]);
            // A record's ciphertext may have any number of blocks from two. Records are the first two rows.
            let shorter_ciphertext = index < 2 && length >= row.len() - 16 && (row.len() - length) % 16 == 0;
            if shorter_ciphertext {
                assert_eq!(decoded, Ok(()));
            } else {
                assert!(matches!(decoded, Err(RecordError::Damaged(_))), "{length} of {}: {decoded:?}", row.len());
            }
        }
    }
}

#[test]
fn rejects_an_extra_byte() {
    for (mut row, decode) in layouts() {
        row.push(0);
        assert!(matches!(decode(&row), Err(RecordError::Damaged(_))));
    }
}

#[test]
fn rejects_other_versions() {
    for (mut row, decode) in layouts() {
        row[0] = 0;
        assert!(matches!(decode(&row), Err(RecordError::Damaged(_))));
        for newer in [2, 255] {
            row[0] = newer;
            assert_eq!(decode(&row), Err(RecordError::NewerVersion(newer)));
        }
    }
}

#[test]
fn rejects_unknown_flags_and_invalid_names() {
    let mut row = record(None).encode();
    row[1] = 4;
    assert!(matches!(Record::decode(&row), Err(RecordError::Damaged(_))));
    let mut row = record(None).encode();
    row[3] = b'k';
    assert!(matches!(Record::decode(&row), Err(RecordError::Damaged(_))));
    assert_eq!(MappingRow { normalizer: String::new(), ..mapping() }.encode(), Err(RowKeyError::Normalizer));
    assert_eq!(MappingRow { normalizer: "x".repeat(33), ..mapping() }.encode(), Err(RowKeyError::Normalizer));
}

fn names() -> Vec<(RowKey, RowName)> {
    let kid = Kid::parse(&"K".repeat(48)).unwrap();
    let kind = EntityKind::parse(&"P".repeat(32)).unwrap();
    let policy = "p".repeat(POLICY_NAME_BYTES_MAX);
    let owner = PlaceholderOwner::Client([9; 16]);
    vec![
        (RowKey::record(&[1; 20]), RowName::Record([1; 20])),
        (RowKey::value_index(&[2; 20]), RowName::ValueIndex([2; 20])),
        (RowKey::form_index(&[2; 20]), RowName::FormIndex([2; 20])),
        (RowKey::normalizers(kind, kid), RowName::Normalizers(kind, kid)),
        (RowKey::kid_moves(kid), RowName::KidMoves(kid)),
        (RowKey::generation(kid, &[3; 8]), RowName::Generation(kid, [3; 8])),
        (RowKey::generation_counts(kid, &[3; 8]), RowName::GenerationCounts(kid, [3; 8])),
        (RowKey::usage(kind, kid), RowName::Usage(kind, kid)),
        (RowKey::mapping(&policy, kind).unwrap(), RowName::Mapping(policy, kind)),
        (RowKey::span(), RowName::Span),
        (RowKey::tombstones(), RowName::Tombstones),
        (RowKey::tombstone_sum(), RowName::TombstoneSum),
        (RowKey::tombstone(&[4; 20]), RowName::Tombstone([4; 20])),
        (RowKey::audit_head(), RowName::AuditHead),
        (RowKey::api_key(&[5; 16]), RowName::ApiKey([5; 16])),
        (RowKey::session(&[6; 16]), RowName::Session([6; 16])),
        (RowKey::session_token(&[7; 16], &[8; 20]), RowName::SessionToken([7; 16], [8; 20])),
        (RowKey::api_key_use(&[5; 16]), RowName::ApiKeyUse([5; 16])),
        (RowKey::honeytoken(&[9; 16]), RowName::Honeytoken([9; 16])),
        (RowKey::placeholder_key(owner), RowName::PlaceholderKey(owner)),
        (RowKey::placeholder(owner, kind, &[31; 32]), RowName::Placeholder(owner, kind, vec![31; 32])),
        (RowKey::control_slot(kid, &[3; 8]), RowName::ControlSlot(kid, [3; 8])),
        (RowKey::control_manifest(), RowName::ControlManifest),
    ]
}

#[test]
fn parses_the_keys_that_it_creates() {
    for (key, name) in names() {
        assert!(RowName::parse(&key).is_ok_and(|parsed| parsed == name), "{key:?}");
        assert!(RowKey::new(key.as_bytes()).is_some(), "{key:?} is too long");
    }
    assert!(RowKey::mapping("", EntityKind::parse("P").unwrap()).is_err());
    assert!(RowKey::mapping(&"p".repeat(POLICY_NAME_BYTES_MAX + 1), EntityKind::parse("P").unwrap()).is_err());
}

#[test]
fn rejects_keys_that_the_vault_does_not_create() {
    for key in [
        &b"x"[..],
        b"r",
        b"k",
        b"v1234567890123456789",
        b"f",
        b"n",
        b"w",
        b"m",
        b"s",
        b"e12345678901234561",
        b"h12",
        b"b12345678901234567",
        b"l\x001234567890123456\x05PHONE",
        b"l\x071234567890123456\x05PHONE1",
        b"maudit2",
        b"mx",
        b"t",
        b"g1234567",
        b"u",
        b"u\x05PHONE",
        b"p\x05PHONE",
        b"u\x09PHONEK",
        b"p\x01\xff",
    ] {
        assert!(matches!(RowName::parse(&RowKey::new(key).unwrap()), Err(RecordError::Damaged(_))), "{key:?}");
    }
}

#[test]
fn debug_of_a_rotation_hides_the_ids_of_records() {
    for ended in [false, true] {
        let shown = format!("{:?}", rotation(ended));
        assert!(shown.contains("K_NEW") && !shown.contains('['), "{shown}");
    }
}

proptest! {
    #[test]
    fn decoders_do_not_panic(row in proptest::collection::vec(any::<u8>(), 0..200), version in 0_u8..3) {
        let mut versioned = vec![version];
        versioned.extend_from_slice(&row);
        for (_, decode) in layouts() {
            let _ = decode(&row);
            let _ = decode(&versioned);
        }
        if let Some(key) = RowKey::new(row) {
            let _ = RowName::parse(&key);
        }
    }
}
