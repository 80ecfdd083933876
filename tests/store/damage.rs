//! Damaged files: an acknowledged row is never missing without an error.
//!
//! sled's log is read completely before it opens, so damage is reported then. fjall reads its journals when it opens. A
//! table is read when a row of it is needed, so its damage is an error of that read, and of a check.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use masker_store::{
    Store, StoreError,
    embedded::{EmbeddedStore, StoreOpenError, StoreOptions},
};
use masker_types::engine::EngineKind;

use crate::{
    accepting,
    compaction::names,
    opening::{snapshot, vault},
    options,
    powercut::disk::Seeded,
    runtime, scratch,
    workload::{Model, Workload, differences},
};

on_each_engine!(
    a_flipped_bit_is_an_error_or_harmless,
    a_lost_tail_is_an_error_with_the_number_of_commits,
    a_missing_file_is_an_error_or_harmless,
    an_operator_can_accept_a_loss,
    damage_under_a_running_store_is_an_error_for_the_damaged_rows,
);

#[derive(Default, Debug)]
struct Outcomes {
    behind: u32,
    damaged: u32,
    other: u32,
    /// Found by a check or by reading.
    found: u32,
    whole: u32,
}

/// Damages a copy of a vault and opens it. Either that is an error and changes nothing, or every row is there.
fn damage(
    engine: EngineKind,
    sound: &Path,
    model: &Model,
    what: &str,
    outcomes: &mut Outcomes,
    change: impl FnOnce(&Path),
) {
    let folder = scratch();
    let path = folder.path().join("vault");
    assert!(std::process::Command::new("cp").arg("-a").arg(sound).arg(&path).status().unwrap().success());
    change(&path);
    let before = snapshot(&path);
    match EmbeddedStore::open(&path, options(engine)) {
        Err(error) => {
            assert!(snapshot(&path) == before, "{what}: the failed opening changed something: {error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{what}: {error}");
            match error {
                StoreOpenError::BehindWitness { .. } => outcomes.behind += 1,
                StoreOpenError::Damaged { .. } => outcomes.damaged += 1,
                _ => outcomes.other += 1,
            }
        }
        Ok(store) => {
            let matches_model = runtime().block_on(differences(&store, model));
            if matches_model.is_ok() {
                outcomes.whole += 1;
            } else {
                assert_eq!(engine, EngineKind::Fjall, "{what}: opened without an error: {matches_model:?}");
                let checked = runtime().block_on(store.check());
                assert!(
                    !checked.is_ok_and(|checked| checked.sound),
                    "{what}: {matches_model:?}, but a check finds nothing"
                );
                outcomes.found += 1;
            }
            let _ = runtime().block_on(store.close());
        }
    }
}

fn flip(path: &Path, at: u64, bit: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// Returns the file with the last commits, relative to the data directory.
fn log(engine: EngineKind, root: &Path) -> PathBuf {
    match engine {
        EngineKind::Sled => "sled/db".into(),
        EngineKind::Fjall => {
            let journals = names(&root.join("fjall"));
            let numbers = journals.iter().filter_map(|name| name.strip_suffix(".jnl")?.parse::<u64>().ok());
            format!("fjall/{}.jnl", numbers.max().unwrap()).into()
        }
    }
}

/// Overwrites every other page of 4 KiB with noise, in the files that rows are read from.
pub fn overwrite_every_other_page(engine: EngineKind, root: &Path, seed: u64) {
    let mut random = Seeded(seed);
    let files = match engine {
        EngineKind::Sled => vec![root.join("sled/db")],
        EngineKind::Fjall => {
            let tables = root.join("fjall/keyspaces/1/tables");
            names(&tables).iter().map(|name| tables.join(name)).collect()
        }
    };
    assert!(!files.is_empty());
    for path in files {
        // A table may be removed at any time, after it was merged into another.
        let Ok(file) = OpenOptions::new().write(true).open(&path) else { continue };
        for at in (4_096..file.metadata().unwrap().len()).step_by(8_192) {
            file.write_all_at(&random.bytes(4_096), at).unwrap();
        }
    }
}

fn a_flipped_bit_is_an_error_or_harmless(engine: EngineKind) {
    let folder = scratch();
    let sound = folder.path().join("vault");
    let model = vault(engine, &sound, 71, 120);
    // Opened again, so that there is a snapshot.
    drop(EmbeddedStore::open(&sound, options(engine)).unwrap());
    let (seed, mut outcomes) = (72, Outcomes::default());
    println!("seed {seed}");
    let mut random = Seeded(seed);
    let log = log(engine, &sound);
    let whole = length(&sound.join(&log));
    let mut places: Vec<u64> = (0..80).map(|_| random.below(whole)).collect();
    if engine == EngineKind::Sled {
        // The headers of segments: with a damaged one, sled takes the segment for unused.
        places.extend((0..whole / (512 * 1024)).map(|segment| segment * 512 * 1024 + random.below(20)));
    }
    for at in places {
        let bit = random.below(8) as u8;
        damage(engine, &sound, &model, &format!("bit {bit} of byte {at} of {log:?}"), &mut outcomes, |path| {
            flip(&path.join(&log), at, bit)
        });
    }
    println!("{log:?}: {outcomes:?}");
    assert!(outcomes.damaged + outcomes.behind > 0, "{outcomes:?}");
    // sled's log has unused segments. In fjall's journal every bit counts.
    assert_eq!(outcomes.whole > 0, engine == EngineKind::Sled, "{outcomes:?}");

    let mut outcomes = Outcomes::default();
    for file in snapshot(&sound.join(engine.name())).into_keys().filter(|file| file.is_file()) {
        let name = file.strip_prefix(&sound).unwrap();
        for _ in 0..if name == log || length(&file) == 0 { 0 } else { 15 } {
            let (at, bit) = (random.below(length(&file)), random.below(8) as u8);
            damage(engine, &sound, &model, &format!("bit {bit} of byte {at} of {name:?}"), &mut outcomes, |path| {
                flip(&path.join(name), at, bit);
            });
        }
    }
    println!("other files: {outcomes:?}");
    assert_eq!(outcomes.found > 0, engine == EngineKind::Fjall, "{outcomes:?}");
}

fn a_lost_tail_is_an_error_with_the_number_of_commits(engine: EngineKind) {
    let folder = scratch();
    let sound = folder.path().join("vault");
    let model = vault(engine, &sound, 73, 120);
    let (seed, mut outcomes) = (74, Outcomes::default());
    println!("seed {seed}");
    let mut random = Seeded(seed);
    if engine == EngineKind::Fjall {
        // Opened again, so that the file has no room for more batches.
        drop(EmbeddedStore::open(&sound, options(engine)).unwrap());
    }
    let log = log(engine, &sound);
    let whole = length(&sound.join(&log));
    for round in 0..40 {
        // Half of them near the end, where the last commits are.
        let kept = if round % 2 == 0 { random.below(whole) } else { whole - 1 - random.below(60_000.min(whole - 1)) };
        damage(engine, &sound, &model, &format!("cut to {kept} of {whole}"), &mut outcomes, |path| {
            OpenOptions::new().write(true).open(path.join(&log)).unwrap().set_len(kept).unwrap();
        });
        damage(engine, &sound, &model, &format!("zeros from {kept} of {whole}"), &mut outcomes, |path| {
            let file = OpenOptions::new().write(true).open(path.join(&log)).unwrap();
            file.write_all_at(&vec![0; (whole - kept) as usize], kept).unwrap();
        });
    }
    println!("{outcomes:?}");
    assert!(outcomes.behind > 0 && outcomes.whole < 40, "{outcomes:?}");
}

fn a_missing_file_is_an_error_or_harmless(engine: EngineKind) {
    let folder = scratch();
    let sound = folder.path().join("vault");
    let model = vault(engine, &sound, 75, 60);
    let mut outcomes = Outcomes::default();
    for file in snapshot(&sound.join(engine.name())).into_keys().filter(|file| *file != sound.join(engine.name())) {
        let name = file.strip_prefix(&sound).unwrap();
        damage(engine, &sound, &model, &format!("{name:?} is missing"), &mut outcomes, |path| {
            let file = path.join(name);
            if file.is_dir() { fs::remove_dir_all(file) } else { fs::remove_file(file) }.unwrap();
        });
        damage(engine, &sound, &model, &format!("{name:?} is empty"), &mut outcomes, |path| {
            let file = path.join(name);
            if file.is_file() {
                fs::write(file, b"").unwrap();
            }
        });
    }
    println!("{outcomes:?}");
    if engine == EngineKind::Sled {
        assert_eq!(outcomes.damaged + outcomes.behind, 2, "a missing and an empty database: {outcomes:?}");
    } else {
        assert!(outcomes.damaged + outcomes.behind > 4, "{outcomes:?}");
    }
}

#[cfg(feature = "sled")]
#[test]
fn an_unfinished_snapshot_of_sled_is_harmless() {
    let engine = EngineKind::Sled;
    let folder = scratch();
    let sound = folder.path().join("vault");
    let model = vault(engine, &sound, 76, 60);
    let mut outcomes = Outcomes::default();
    for content in [&b""[..], b"half of a snapshot"] {
        damage(engine, &sound, &model, "an unfinished snapshot", &mut outcomes, |path| {
            fs::write(path.join("sled/snap.FFFFFFFFFFFFFFF0.generating"), content).unwrap();
        });
    }
    assert_eq!(outcomes.whole, 2);
}

fn an_operator_can_accept_a_loss(engine: EngineKind) {
    let folder = scratch();
    let path = folder.path().join("vault");
    let model = vault(engine, &path, 77, 40);
    let store = EmbeddedStore::open(&path, options(engine)).unwrap();
    let db = path.join(log(engine, &path));
    let before = fs::read(&db).unwrap();
    let lost = runtime().block_on(async {
        let batch = Workload::new(78, 600, false).batch();
        let mut with_it = model.clone();
        with_it.apply(&batch);
        store.apply(batch).await.unwrap();
        store.close().await.unwrap();
        with_it
    });
    // What the batch wrote is removed.
    let after = fs::read(&db).unwrap();
    let changed = (0..after.len()).find(|at| before.get(*at) != after.get(*at)).unwrap();
    let zeros = after[changed..].chunks(4_096).position(|chunk| chunk.iter().all(|byte| *byte == 0));
    let end = zeros.map_or(after.len(), |chunk| changed + chunk * 4_096);
    let file = OpenOptions::new().write(true).open(&db).unwrap();
    file.write_all_at(&vec![0; end - changed], changed as u64).unwrap();

    let before_opening = snapshot(&path);
    let error = EmbeddedStore::open(&path, options(engine)).map(drop).unwrap_err();
    assert!(matches!(error, StoreOpenError::BehindWitness { lost: 1, .. }), "{error}");
    assert!(snapshot(&path) == before_opening);
    let store = EmbeddedStore::open(&path, accepting(engine)).unwrap();
    assert_eq!(store.accepted_loss(), Some(1));
    runtime().block_on(async {
        assert_eq!(differences(&store, &model).await, Ok(()));
        assert!(differences(&store, &lost).await.is_err());
        store.close().await.unwrap();
    });
    drop(EmbeddedStore::open(&path, options(engine)).unwrap());
}

#[cfg(feature = "sled")]
#[test]
fn a_lost_segment_of_sled_is_an_error_or_found_by_a_check() {
    let engine = EngineKind::Sled;
    let folder = scratch();
    let sound = folder.path().join("vault");
    let model = vault(engine, &sound, 83, 120);
    let (mut refused, mut found, mut harmless) = (0, 0, 0);
    for segment in 0..length(&sound.join("sled/db")) / (512 * 1024) {
        let folder = scratch();
        let path = folder.path().join("vault");
        assert!(std::process::Command::new("cp").arg("-a").arg(&sound).arg(&path).status().unwrap().success());
        let db = OpenOptions::new().write(true).open(path.join("sled/db")).unwrap();
        db.write_all_at(&vec![0; 512 * 1024], segment * 512 * 1024).unwrap();
        let Ok(store) = EmbeddedStore::open(&path, options(engine)) else {
            refused += 1;
            continue;
        };
        let checked = runtime().block_on(store.check());
        if runtime().block_on(differences(&store, &model)).is_ok() {
            harmless += 1;
        } else {
            assert!(
                !checked.is_ok_and(|checked| checked.sound),
                "segment {segment}: rows are missing, but a check finds nothing"
            );
            found += 1;
        }
        let _ = runtime().block_on(store.close());
    }
    println!("{refused} rejected, {found} found by a check, {harmless} unused");
    assert!(refused + found > 0);
}

fn damage_under_a_running_store_is_an_error_for_the_damaged_rows(engine: EngineKind) {
    let folder = scratch();
    let path = folder.path().join("vault");
    let model = vault(engine, &path, 79, 150);
    let store = EmbeddedStore::open(
        &path,
        StoreOptions { engine: crate::driver(engine), cache_bytes: 64 * 1024, ..StoreOptions::default() },
    )
    .unwrap();
    // While the files are in use.
    overwrite_every_other_page(engine, &path, 80);
    runtime().block_on(async {
        let (mut failed, mut intact) = (0, 0);
        for (key, row) in &model.0 {
            match store.get_many(vec![key.clone()]).await {
                Ok(found) => {
                    assert!(found == [Some(row.clone())], "another row than the acknowledged one");
                    intact += 1;
                }
                Err(StoreError::Damaged(_) | StoreError::Unavailable(_)) => failed += 1,
                Err(other) => panic!("{other}"),
            }
        }
        println!("{failed} rows failed, {intact} are intact");
        assert!(failed > 0);
        assert!(!store.check().await.is_ok_and(|checked| checked.sound));
        let _ = store.close().await;
    });
}
