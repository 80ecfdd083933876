//! Exports and imports: round trips, merging, and rejected files.

use std::io::Write;

use super::*;
use crate::{ImportOutcome, ImportRules, Ledger, MergeCounts, VaultExportError, VaultImportError};
use masker_core::export::{ExportHeader, PREFIX_BYTES, sealed_chunk_bytes};
use masker_store::record::{RowName, TombstoneRow};

const VAULT_ID: [u8; 16] = [0xAB; 16];
const RESTORING: ImportRules = ImportRules { restore_erased: true, skip_missing_keys: false };
const SKIPPING: ImportRules = ImportRules { restore_erased: false, skip_missing_keys: true };

async fn export(vault: &Vault) -> Vec<u8> {
    let mut exporting = vault.export(&permit(), VAULT_ID).await.unwrap();
    let mut file = Vec::new();
    while let Some(piece) = exporting.next().await.unwrap() {
        file.extend_from_slice(&piece);
    }
    file
}

async fn import_by(vault: &Vault, export: &[u8], rules: ImportRules) -> Result<ImportOutcome, VaultImportError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(export).unwrap();
    vault.import(&permit(), file, rules).await
}

async fn import(vault: &Vault, export: &[u8]) -> Result<ImportOutcome, VaultImportError> {
    import_by(vault, export, ImportRules::default()).await
}

async fn assert_sound(vault: &Vault) -> super::super::CheckOutcome {
    let outcome = vault.check(&permit()).await.unwrap();
    assert!(outcome.ok(), "{:?}", outcome.problems);
    assert_eq!(outcome.records, vault.records());
    outcome
}

fn header(export: &[u8]) -> (ExportHeader, usize) {
    let (prefix, rest) = export.split_first_chunk::<PREFIX_BYTES>().unwrap();
    let length = ExportHeader::fields_bytes(prefix).unwrap();
    (ExportHeader::parse_fields(&rest[..length]).unwrap(), PREFIX_BYTES + length)
}

fn fingerprint(number: u8) -> masker_core::crypto::Fingerprint {
    ring(number, None, 1).get(kid()).unwrap().active().fingerprint()
}

#[tokio::test]
async fn an_import_restores_every_token_across_a_rotation() {
    let (from, to) = (Bench::new(), Bench::new());
    let vault = from.open(ring(1, None, 1)).await;
    let first = from.token(&vault, "first").await;
    let forgotten = from.token(&vault, "forgotten").await;
    drop(vault);
    let vault = from.open(ring(2, Some(1), 2)).await;
    let second = from.token(&vault, "second").await;
    assert_eq!(forget(&vault, &forgotten).await, Ok(true));
    let file = export(&vault).await;

    let (exported, _) = header(&file);
    assert_eq!((exported.vault_id, exported.created_at_ms), (VAULT_ID, NOW_S as u64 * 1_000));
    let mut keys: Vec<_> =
        exported.keys.iter().map(|key| (key.fingerprint, key.records, key.wrapped.is_some())).collect();
    keys.sort_unstable();
    let mut expected = [(fingerprint(1), 1, false), (fingerprint(2), 1, true)];
    expected.sort_unstable();
    assert_eq!(keys, expected, "the keys that it needs, and those that open it");

    let other = to.open(ring(2, Some(1), 1)).await;
    let outcome = import(&other, &file).await.unwrap();
    let merged = MergeCounts { imported: 2, resealed: 1, tombstones_added: 1, ..MergeCounts::default() };
    assert_eq!(outcome, ImportOutcome { records: 2, tombstones: 1, merged, ..ImportOutcome::default() });
    let checked = assert_sound(&other).await;
    assert_eq!((checked.records, checked.index_rows, checked.tombstones), (2, 2, 1));
    drop(other);
    // Nothing was written under the old key, so it may be missing.
    let other = to.open(ring(2, None, 2)).await;
    for (token, text) in [(&first, "first"), (&second, "second")] {
        assert_eq!(value(&other, token).await, Ok((text.to_owned(), Role::Active)));
        assert_eq!(to.mint(&other, "NOTE", &[text]).await, [Ok((token.clone(), false))]);
    }
    assert_eq!(value(&other, &forgotten).await, Err(ItemFailure::NotFound));
    assert_sound(&other).await;

    // Repeated, the import changes nothing.
    drop(other);
    let other = to.open(ring(2, Some(1), 3)).await;
    let outcome = import(&other, &file).await.unwrap();
    assert_eq!(outcome.merged, MergeCounts { present: 2, ..MergeCounts::default() });
    // Importing its own export changes nothing either.
    let outcome = import(&other, &export(&other).await).await.unwrap();
    assert_eq!(outcome.merged, MergeCounts { present: 2, ..MergeCounts::default() });
    assert_sound(&other).await;
}

#[tokio::test]
async fn an_import_makes_index_rows_under_the_active_key() {
    let (from, middle, to) = (Bench::new(), Bench::new(), Bench::new());
    let vault = from.open(ring(1, None, 1)).await;
    let token = from.token(&vault, "v").await;
    let file = export(&vault).await;
    let vault = middle.open(ring(2, Some(1), 1)).await;
    assert_eq!(import(&vault, &file).await.unwrap().merged.resealed, 1);
    let file = export(&vault).await;
    let vault = to.open(ring(2, None, 1)).await;
    assert_eq!(import(&vault, &file).await.unwrap().merged, MergeCounts { imported: 1, ..MergeCounts::default() });
    assert_eq!(assert_sound(&vault).await.index_rows, 1);
    assert_eq!(to.mint(&vault, "NOTE", &["v"]).await, [Ok((token, false))]);
}

#[tokio::test]
async fn an_import_overwrites_nothing_and_lists_other_tokens_after_the_vaults_own() {
    let (from, to) = (Bench::new(), Bench::new());
    let vault = from.open(ring(1, None, 1)).await;
    let theirs = from.token(&vault, "same").await;
    let their_number = from.mint(&vault, "PHONE", &["4155552671"]).await.pop().unwrap().unwrap().0;
    let file = export(&vault).await;

    let vault = to.open(ring(1, None, 1)).await;
    let mine = to.token(&vault, "same").await;
    let my_number = to.mint(&vault, "PHONE", &["(415) 555-2671"]).await.pop().unwrap().unwrap().0;
    assert!(mine != theirs, "two vaults share no tokens, also under one key");
    let outcome = import(&vault, &file).await.unwrap();
    assert_eq!(outcome.merged, MergeCounts { imported: 2, index_conflicts: 1, ..MergeCounts::default() });
    let lookup = async |kind, value| {
        let item = ValueInput { kind, value, context: "" };
        vault.lookup(&permit(), &to.policy, &[item]).await.unwrap().results.remove(0).unwrap().tokens
    };
    assert_eq!(lookup("NOTE", "same").await, [mine, theirs]);
    assert_eq!(lookup("PHONE", "(415) 555-2671").await, [my_number.clone(), their_number.clone()]);
    assert_eq!(lookup("PHONE", "4155552671").await, [their_number, my_number.clone()]);
    let third = to.mint(&vault, "PHONE", &["415 555 2671"]).await.pop().unwrap().unwrap().0;
    assert_eq!(match_part(&third), match_part(&my_number), "the vault's own match part comes first");
    assert_sound(&vault).await;
    // Repeated, and back to where it came from: nothing changes.
    assert_eq!(import(&vault, &file).await.unwrap().merged, MergeCounts { present: 2, ..MergeCounts::default() });
}

/// An export that is imported into an empty vault gives the same lists, in the same order.
#[tokio::test]
async fn lists_keep_their_order_through_an_export_and_an_import() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let mut expected = Vec::new();
    for number in 0..6 {
        let other = Bench::new();
        let other_vault = other.open(ring(1, None, 1)).await;
        let spelling = ["4155552671", "(415) 555-2671"][number % 2];
        expected.push(other.mint(&other_vault, "PHONE", &[spelling]).await.remove(0).unwrap().0);
        import(&vault, &export(&other_vault).await).await.unwrap();
    }
    let copy_bench = Bench::new();
    let copy = copy_bench.open(ring(2, Some(1), 1)).await;
    import(&copy, &export(&vault).await).await.unwrap();
    for (number, spelling) in ["4155552671", "(415) 555-2671"].into_iter().enumerate() {
        let item = ValueInput { kind: "PHONE", value: spelling, context: "" };
        let own: Vec<&String> = expected.iter().skip(number).step_by(2).collect();
        for vault in [&vault, &copy] {
            let found = vault.lookup(&permit(), &bench.policy, &[item]).await.unwrap().results.remove(0).unwrap();
            assert_eq!(found.tokens[..3].iter().collect::<Vec<_>>(), own, "{spelling}");
            assert_eq!(found.tokens.len(), 6);
        }
    }
    let minted = copy_bench.mint(&copy, "PHONE", &["415.555.2671"]).await.remove(0).unwrap().0;
    assert_eq!(match_part(&minted), match_part(&expected[0]));
    assert_sound(&copy).await;
}

#[tokio::test]
async fn counts_a_value_with_two_tokens_and_both_rehydrate() {
    let (from, to) = (Bench::new(), Bench::new());
    let vault = from.open(ring(1, None, 1)).await;
    let theirs = from.token(&vault, "v").await;
    let file = export(&vault).await;
    // Minted before the old key was loaded.
    let vault = to.open(ring(2, None, 1)).await;
    let mine = to.token(&vault, "v").await;
    assert_ne!(mine, theirs);
    drop(vault);
    let vault = to.open(ring(2, Some(1), 2)).await;
    let outcome = import(&vault, &file).await.unwrap();
    assert_eq!(outcome.merged, MergeCounts { imported: 1, resealed: 1, index_conflicts: 1, ..MergeCounts::default() });
    assert_eq!(to.mint(&vault, "NOTE", &["v"]).await, [Ok((mine.clone(), false))], "the vault's own token stays");
    for token in [&mine, &theirs] {
        assert_eq!(value(&vault, token).await.unwrap().0, "v");
    }
    assert_eq!(assert_sound(&vault).await.index_rows, 1, "one row lists both");
}

#[tokio::test]
async fn restores_erased_records_only_on_request() {
    let (from, to) = (Bench::new(), Bench::new());
    let vault = from.open(ring(1, None, 1)).await;
    let (a, b) = (from.token(&vault, "a").await, from.token(&vault, "b").await);
    let before = export(&vault).await;
    assert_eq!(forget(&vault, &b).await, Ok(true));
    let after = export(&vault).await;
    let (_, payload) = header(&after);
    assert!(after.len() - payload < before.len() - payload, "what was erased is not in a later export");

    // The vault's own tombstone keeps the record out.
    assert_eq!(
        import(&vault, &before).await.unwrap().merged,
        MergeCounts { present: 1, erased_skipped: 1, ..MergeCounts::default() }
    );
    assert_eq!(value(&vault, &b).await, Err(ItemFailure::NotFound));
    // So does a tombstone from an export.
    let other = to.open(ring(1, None, 1)).await;
    let outcome = import(&other, &after).await.unwrap();
    assert_eq!(outcome.merged, MergeCounts { imported: 1, tombstones_added: 1, ..MergeCounts::default() });
    let outcome = import(&other, &before).await.unwrap();
    assert_eq!(outcome.merged, MergeCounts { present: 1, erased_skipped: 1, ..MergeCounts::default() });
    assert_eq!(assert_sound(&other).await.tombstones, 1);

    let outcome = import_by(&other, &before, RESTORING).await.unwrap();
    assert_eq!(outcome.merged, MergeCounts { imported: 1, restored: 1, present: 1, ..MergeCounts::default() });
    assert_eq!(value(&other, &b).await.unwrap().0, "b");
    assert_eq!(assert_sound(&other).await.tombstones, 0);
    // Another vault's tombstone does not erase a record.
    let outcome = import(&other, &after).await.unwrap();
    assert_eq!(outcome.merged, MergeCounts { present: 1, records_kept: 1, ..MergeCounts::default() });
    for token in [&a, &b] {
        assert!(value(&other, token).await.is_ok());
    }
    assert_sound(&other).await;
}

/// Enough for several pages and chunks.
async fn many(bench: &Bench, vault: &Vault, count: usize) -> Vec<(String, String)> {
    let texts: Vec<String> = (0..count).map(|number| format!("value {number}")).collect();
    let minted = bench.mint(vault, "NOTE", &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    texts.into_iter().zip(minted).map(|(text, minted)| (text, minted.unwrap().0)).collect()
}

#[tokio::test]
async fn an_export_omits_records_erased_meanwhile_and_nothing_else() {
    let (from, to) = (Bench::new(), Bench::new());
    let vault = from.open(ring(1, None, 1)).await;
    let tokens = many(&from, &vault, 2_500).await;
    let mut exporting = vault.export(&permit(), VAULT_ID).await.unwrap();
    let mut file = Vec::new();
    for _ in 0..2 {
        file.extend_from_slice(&exporting.next().await.unwrap().unwrap());
    }
    // The first thousand ids have been read by now, which include some of these.
    for (_, token) in &tokens[..100] {
        assert_eq!(forget(&vault, token).await, Ok(true));
    }
    from.mint(&vault, "NOTE", &["meanwhile"]).await;
    while let Some(piece) = exporting.next().await.unwrap() {
        file.extend_from_slice(&piece);
    }
    let other = to.open(ring(1, None, 1)).await;
    let outcome = import(&other, &file).await.unwrap();
    assert!(outcome.records > 2_400, "some were read before they were erased");
    assert_eq!(outcome.tombstones, 100);
    assert_eq!(outcome.merged.tombstones_added, 100);
    assert_eq!(outcome.merged.imported, outcome.records - outcome.merged.erased_skipped);
    for (number, (text, token)) in tokens.iter().enumerate() {
        match value(&other, token).await {
            Ok((found, _)) => assert!(number >= 100 && found == *text),
            Err(failure) => assert!(number < 100 && failure == ItemFailure::NotFound),
        }
    }
    assert_sound(&other).await;
    // They are restored on request.
    let other = Bench::new().open(ring(1, None, 1)).await;
    assert_eq!(import_by(&other, &file, RESTORING).await.unwrap().merged.imported, outcome.records);
    assert_sound(&other).await;
}

#[tokio::test]
async fn rejects_every_altered_byte_and_every_truncation() {
    let (from, to) = (Bench::new(), Bench::new());
    let vault = from.open(ring(1, None, 1)).await;
    let token = from.token(&vault, "a").await;
    from.token(&vault, "b").await;
    assert_eq!(forget(&vault, &token).await, Ok(true));
    let file = export(&vault).await;
    assert!((300..1_000).contains(&file.len()), "{} bytes", file.len());

    let other = to.open(ring(1, None, 1)).await;
    for at in 0..file.len() {
        let mut altered = file.clone();
        altered[at] ^= 1 << (at % 8);
        assert!(import(&other, &altered).await.is_err(), "byte {at}");
        assert!(import(&other, &file[..at]).await.is_err(), "{at} bytes");
    }
    for more in [&b"\0"[..], &file] {
        assert!(import(&other, &[&file, more].concat()).await.is_err());
    }
    assert_eq!((other.records(), to.store.count(RowName::TOMBSTONES).await.unwrap()), (0, 0));
    assert_eq!(import(&other, &file).await.unwrap().merged.imported, 1, "as it was made, it is taken");
}

#[tokio::test]
async fn rejects_moved_repeated_and_missing_chunks() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    many(&bench, &vault, 4_000).await;
    let file = export(&vault).await;
    let (head, payload) = file.split_at(header(&file).1);
    let chunks: Vec<&[u8]> = payload.chunks(sealed_chunk_bytes()).collect();
    assert!(chunks.len() > 4);
    let order = |order: &[usize]| [head, &order.iter().map(|i| chunks[*i]).collect::<Vec<_>>().concat()].concat();
    let all: Vec<usize> = (0..chunks.len()).collect();
    let other = Bench::new().open(ring(1, None, 1)).await;
    for changed in [
        [&[1, 0], &all[2..]].concat(),
        [&[0, 0], &all[1..]].concat(),
        [&[0], &all[2..]].concat(),
        all[..all.len() - 1].to_vec(),
        [&all[..], &[all.len() - 1]].concat(),
        [&[all.len() - 1], &all[1..]].concat(),
    ] {
        let outcome = import(&other, &order(&changed)).await;
        assert!(matches!(outcome, Err(VaultImportError::Export(_))), "{changed:?}");
    }
    assert_eq!(other.records(), 0);
    assert_eq!(import(&other, &order(&all)).await.unwrap().merged.imported, 4_000);
}

#[tokio::test]
async fn rejects_an_export_whose_keys_are_missing_and_names_them() {
    let from = Bench::new();
    let vault = from.open(ring(1, None, 1)).await;
    many(&from, &vault, 3).await;
    drop(vault);
    let vault = from.open(ring(2, Some(1), 2)).await;
    from.token(&vault, "new").await;
    let file = export(&vault).await;

    let stranger = Bench::new().open(ring(3, None, 1)).await;
    let outcome = import(&stranger, &file).await.unwrap_err();
    assert!(matches!(&outcome, VaultImportError::Closed(keys) if *keys == [(kid(), fingerprint(2))]), "{outcome}");
    // The key that opens the file is not the only one needed.
    let half = Bench::new().open(ring(2, None, 1)).await;
    let outcome = import(&half, &file).await.unwrap_err();
    let VaultImportError::KeysMissing(missing) = &outcome else { panic!("{outcome}") };
    assert_eq!(missing.iter().map(|(name, count)| (*name, *count)).collect::<Vec<_>>(), [((kid(), fingerprint(1)), 3)]);
    assert!(outcome.to_string().contains(&format!("3 need K_A with fingerprint {}", fingerprint(1))), "{outcome}");
    assert!(outcome.to_string().contains("--skip-missing-keys"), "{outcome}");
    assert_eq!((half.records(), stranger.records()), (0, 0));
}

/// What an import leaves out for want of a key comes with a later one, and takes no place from what the vault has by then.
#[tokio::test]
async fn leaves_out_records_whose_key_is_missing_until_it_is_back() {
    let from = Bench::new();
    let vault = from.open(ring(1, None, 1)).await;
    let lost = from.token(&vault, "both").await;
    let (only, forgotten) = (from.token(&vault, "only").await, from.token(&vault, "forgotten").await);
    assert_eq!(forget(&vault, &forgotten).await, Ok(true));
    drop(vault);
    // The key is lost, and one value gets a second token.
    let grace = GracePeriod { days: 30, action: GraceAction::Warn };
    let second_tokens = BTreeSet::from([kid()]);
    let rules = KeyRules { accept_new_control_key: true, second_tokens, ..KeyRules::new(grace) };
    let vault = from.open_by(ring(2, None, 2), rules).await.unwrap();
    let (second, kept) = (from.token(&vault, "both").await, from.token(&vault, "kept").await);
    assert_ne!(second, lost);
    let file = export(&vault).await;

    let to = Bench::new();
    let vault = to.open(ring(2, None, 1)).await;
    assert!(matches!(import(&vault, &file).await, Err(VaultImportError::KeysMissing(_))));
    assert_eq!(vault.records(), 0);
    let outcome = import_by(&vault, &file, SKIPPING).await.unwrap();
    let merged = MergeCounts { imported: 2, tombstones_added: 1, ..MergeCounts::default() };
    assert_eq!(
        outcome,
        ImportOutcome { records: 4, key_missing: 2, tombstones: 1, merged, ..ImportOutcome::default() }
    );
    assert_sound(&vault).await;
    for token in [&lost, &only, &forgotten] {
        assert_eq!(value(&vault, token).await, Err(ItemFailure::NotFound));
    }
    let tokens = [Ok((second.clone(), false)), Ok((kept.clone(), false))];
    assert_eq!(to.mint(&vault, "NOTE", &["both", "kept"]).await, tokens);
    drop(vault);

    // The key is back.
    let vault = to.open(ring(2, Some(1), 2)).await;
    let outcome = import_by(&vault, &file, SKIPPING).await.unwrap();
    let merged = MergeCounts { imported: 2, resealed: 2, present: 2, index_conflicts: 1, ..MergeCounts::default() };
    assert_eq!(outcome, ImportOutcome { records: 4, tombstones: 1, merged, ..ImportOutcome::default() });
    for (token, text) in [(&lost, "both"), (&only, "only"), (&second, "both"), (&kept, "kept")] {
        assert_eq!(value(&vault, token).await.unwrap().0, text);
    }
    assert_eq!(value(&vault, &forgotten).await, Err(ItemFailure::NotFound));
    let tokens = [Ok((second.clone(), false)), Ok((only, false))];
    assert_eq!(to.mint(&vault, "NOTE", &["both", "only"]).await, tokens, "the vault's own token stays first");
    assert_sound(&vault).await;
}

#[tokio::test]
async fn a_failed_import_can_be_repeated() {
    let (from, to) = (Bench::new(), Bench::new());
    let vault = from.open(ring(1, None, 1)).await;
    let tokens = many(&from, &vault, 3_500).await;
    let file = export(&vault).await;
    for fault in [InjectedFault::NotApplied, InjectedFault::AppliedUnanswered] {
        let to = Bench::new();
        let other = to.open(ring(2, Some(1), 1)).await;
        to.store.fail_next_apply(fault);
        assert!(matches!(import(&other, &file).await, Err(VaultImportError::Vault(_))));
        let outcome = import(&other, &file).await.unwrap().merged;
        assert_eq!(outcome.imported + outcome.present, 3_500);
        assert_eq!(outcome.present > 0, fault == InjectedFault::AppliedUnanswered);
        let checked = assert_sound(&other).await;
        assert_eq!((checked.records, checked.index_rows), (3_500, 3_500));
    }
    // Dropped in the middle, as when the client disconnects.
    let other = to.open(ring(2, Some(1), 1)).await;
    let mut importing = Box::pin(import(&other, &file));
    let mut cx = task::Context::from_waker(Waker::noop());
    while other.records() == 0 {
        assert!(matches!(importing.as_mut().poll(&mut cx), Poll::Pending));
        tokio::task::yield_now().await;
    }
    drop(importing);
    let outcome = import(&other, &file).await.unwrap().merged;
    assert!(outcome.present >= 1_000, "{outcome:?}");
    for (text, token) in &tokens {
        assert_eq!(value(&other, token).await.unwrap().0, *text);
    }
    assert_sound(&other).await;
}

#[tokio::test]
async fn an_export_fails_after_a_failed_commit() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    bench.token(&vault, "v").await;
    let mut exporting = vault.export(&permit(), VAULT_ID).await.unwrap();
    assert!(exporting.next().await.unwrap().is_some());
    bench.store.fail_next_apply(InjectedFault::NotApplied);
    let item = ValueInput { kind: "NOTE", value: "w", context: "" };
    assert!(vault.tokenize::<masker_access::Tokenize>(&permit(), &bench.policy, &[item]).await.is_err());
    assert!(matches!(exporting.next().await, Err(VaultExportError::Uncertain)));
    assert!(exporting.next().await.unwrap().is_none());
}

#[tokio::test]
async fn counts_a_damaged_record_and_imports_the_rest() {
    let bench = Bench::new();
    let vault = bench.open(ring(1, None, 1)).await;
    let tokens = many(&bench, &vault, 3).await;
    let Ok(Token::Vault { id, .. }) = Token::parse(&tokens[1].1) else { panic!("no vault token") };
    let key = RowKey::record(id.as_bytes());
    let mut row = bench.store.get_many(vec![key.clone()]).await.unwrap().remove(0).unwrap();
    *row.last_mut().unwrap() ^= 1;
    let change = vec![RowChange::Put(key, row)];
    bench.store.apply(RowBatch { preconditions: vec![], changes: change }).await.unwrap();
    let file = export(&vault).await;
    let to = Bench::new();
    let other = to.open(ring(1, None, 1)).await;
    let outcome = import(&other, &file).await.unwrap();
    assert_eq!((outcome.records, outcome.damaged, outcome.merged.imported), (3, 1, 2));
    assert_eq!(assert_sound(&other).await.records, 2);
    // The count of tombstones is loaded with the rest.
    let tombstone = RowChange::Put(RowKey::tombstone(&[1; 20]), TombstoneRow { erased_at_ms: 1 }.encode());
    let store = to.controlled(&ring(1, None, 1)).await;
    to.store.apply(RowBatch { preconditions: vec![], changes: vec![tombstone] }).await.unwrap();
    assert_eq!(Ledger::load(&store).await.unwrap().tombstones(), 0);
    assert!(!other.check(&permit()).await.unwrap().counts_agree, "a tombstone that was not counted is noticed");
}
