//! Damage to the files: never a row that was answered missing without a word.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use masker::store::{
    Store, StoreError,
    sled::{OpenError, Options, SledStore},
};

use crate::{
    opening::{ACCEPTING, picture, vault},
    powercut::disk::Seeded,
    runtime, scratch,
    workload::{Model, Workload, differences},
};

#[derive(Default, Debug)]
struct Outcomes {
    behind: u32,
    damaged: u32,
    other: u32,
    whole: u32,
}

/// Spoils a copy of a vault and opens it: an error that changes nothing, or every row.
fn spoil(sound: &Path, model: &Model, what: &str, outcomes: &mut Outcomes, how: impl FnOnce(&Path)) {
    let folder = scratch();
    let path = folder.path().join("vault");
    assert!(std::process::Command::new("cp").arg("-a").arg(sound).arg(&path).status().unwrap().success());
    how(&path);
    let before = picture(&path);
    match SledStore::open(&path, Options::default()) {
        Err(error) => {
            assert!(picture(&path) == before, "{what}: a refusal changed something: {error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{what}: {error}");
            match error {
                OpenError::BehindWitness { .. } => outcomes.behind += 1,
                OpenError::Damaged { .. } => outcomes.damaged += 1,
                _ => outcomes.other += 1,
            }
        }
        Ok(store) => {
            let held = runtime().block_on(differences(&store, model));
            assert_eq!(held, Ok(()), "{what}: opened without a word");
            runtime().block_on(store.close()).unwrap();
            outcomes.whole += 1;
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

#[test]
fn a_flipped_bit_is_an_error_or_does_no_harm() {
    let folder = scratch();
    let sound = folder.path().join("vault");
    let model = vault(&sound, 71, 120);
    // Opened once more, so that there is a snapshot to spoil.
    drop(SledStore::open(&sound, Options::default()).unwrap());
    let (seed, mut outcomes) = (72, Outcomes::default());
    println!("seed {seed}");
    let mut random = Seeded(seed);
    let db = sound.join("sled/db");
    for _ in 0..80 {
        let (at, bit) = (random.below(length(&db)), random.below(8) as u8);
        spoil(&sound, &model, &format!("bit {bit} of byte {at} of db"), &mut outcomes, |path| {
            flip(&path.join("sled/db"), at, bit)
        });
    }
    // The heads of segments, where sled takes a whole segment for unused.
    for segment in 0..length(&db) / (512 * 1024) {
        let (at, bit) = (segment * 512 * 1024 + random.below(20), random.below(8) as u8);
        spoil(&sound, &model, &format!("bit {bit} of byte {at} of db"), &mut outcomes, |path| {
            flip(&path.join("sled/db"), at, bit)
        });
    }
    println!("db: {outcomes:?}");
    assert!(outcomes.damaged + outcomes.behind > 0 && outcomes.whole > 0, "{outcomes:?}");

    let mut outcomes = Outcomes::default();
    for entry in fs::read_dir(sound.join("sled")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_owned();
        for _ in 0..if file.is_file() && name != "db" { 15 } else { 0 } {
            let (at, bit) = (random.below(length(&file)), random.below(8) as u8);
            spoil(&sound, &model, &format!("bit {bit} of byte {at} of {name:?}"), &mut outcomes, |path| {
                flip(&path.join("sled").join(&name), at, bit);
            });
        }
    }
    println!("other files: {outcomes:?}");
}

#[test]
fn a_lost_tail_is_an_error_that_tells_how_much() {
    let folder = scratch();
    let sound = folder.path().join("vault");
    let model = vault(&sound, 73, 120);
    let (seed, mut outcomes) = (74, Outcomes::default());
    println!("seed {seed}");
    let mut random = Seeded(seed);
    let whole = length(&sound.join("sled/db"));
    for round in 0..40 {
        // Half of them near the end, where the last commits are.
        let kept = if round % 2 == 0 { random.below(whole) } else { whole - 1 - random.below(60_000.min(whole - 1)) };
        spoil(&sound, &model, &format!("cut to {kept} of {whole}"), &mut outcomes, |path| {
            OpenOptions::new().write(true).open(path.join("sled/db")).unwrap().set_len(kept).unwrap();
        });
        spoil(&sound, &model, &format!("zeros from {kept} of {whole}"), &mut outcomes, |path| {
            let file = OpenOptions::new().write(true).open(path.join("sled/db")).unwrap();
            file.write_all_at(&vec![0; (whole - kept) as usize], kept).unwrap();
        });
    }
    println!("{outcomes:?}");
    assert!(outcomes.behind > 0 && outcomes.whole < 40, "{outcomes:?}");
}

#[test]
fn missing_files_are_errors_or_do_no_harm() {
    let folder = scratch();
    let sound = folder.path().join("vault");
    let model = vault(&sound, 75, 60);
    let mut outcomes = Outcomes::default();
    for entry in fs::read_dir(sound.join("sled")).unwrap() {
        let name = entry.unwrap().file_name();
        spoil(&sound, &model, &format!("{name:?} is missing"), &mut outcomes, |path| {
            let file = path.join("sled").join(&name);
            if file.is_dir() { fs::remove_dir_all(file) } else { fs::remove_file(file) }.unwrap();
        });
        spoil(&sound, &model, &format!("{name:?} is empty"), &mut outcomes, |path| {
            let file = path.join("sled").join(&name);
            if file.is_file() {
                fs::write(file, b"").unwrap();
            }
        });
    }
    println!("{outcomes:?}");
    assert_eq!(outcomes.damaged + outcomes.behind, 2, "a missing and an empty database: {outcomes:?}");
}

#[test]
fn what_a_stopped_snapshot_leaves_does_no_harm() {
    let folder = scratch();
    let sound = folder.path().join("vault");
    let model = vault(&sound, 76, 60);
    let mut outcomes = Outcomes::default();
    for content in [&b""[..], b"half of a snapshot"] {
        spoil(&sound, &model, "an unfinished snapshot", &mut outcomes, |path| {
            fs::write(path.join("sled/snap.FFFFFFFFFFFFFFF0.generating"), content).unwrap();
        });
    }
    assert_eq!(outcomes.whole, 2);
}

#[test]
fn an_operator_can_go_on_with_what_is_left() {
    let folder = scratch();
    let path = folder.path().join("vault");
    let model = vault(&path, 77, 40);
    let db = path.join("sled/db");
    let store = SledStore::open(&path, Options::default()).unwrap();
    let before = fs::read(&db).unwrap();
    let lost = runtime().block_on(async {
        let batch = Workload::new(78, 600, false).batch();
        let mut with_it = model.clone();
        with_it.apply(&batch);
        store.apply(batch).await.unwrap();
        store.close().await.unwrap();
        with_it
    });
    // What that batch wrote goes again.
    let after = fs::read(&db).unwrap();
    let changed = (0..after.len()).find(|at| before.get(*at) != after.get(*at)).unwrap();
    let end =
        changed + after[changed..].chunks(4_096).position(|chunk| chunk.iter().all(|byte| *byte == 0)).unwrap() * 4_096;
    let file = OpenOptions::new().write(true).open(&db).unwrap();
    file.write_all_at(&vec![0; end - changed], changed as u64).unwrap();

    let picture_before = picture(&path);
    let error = SledStore::open(&path, Options::default()).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::BehindWitness { lost: 1, .. }), "{error}");
    assert!(picture(&path) == picture_before);
    let store = SledStore::open(&path, ACCEPTING).unwrap();
    assert_eq!(store.accepted_loss(), Some(1));
    runtime().block_on(async {
        assert_eq!(differences(&store, &model).await, Ok(()));
        assert!(differences(&store, &lost).await.is_err());
        store.close().await.unwrap();
    });
    drop(SledStore::open(&path, Options::default()).unwrap());
}

#[test]
fn a_segment_that_is_gone_is_an_error_or_found_by_a_check() {
    let folder = scratch();
    let sound = folder.path().join("vault");
    let model = vault(&sound, 83, 120);
    let (mut refused, mut found, mut harmless) = (0, 0, 0);
    for segment in 0..length(&sound.join("sled/db")) / (512 * 1024) {
        let folder = scratch();
        let path = folder.path().join("vault");
        assert!(std::process::Command::new("cp").arg("-a").arg(&sound).arg(&path).status().unwrap().success());
        let db = OpenOptions::new().write(true).open(path.join("sled/db")).unwrap();
        db.write_all_at(&vec![0; 512 * 1024], segment * 512 * 1024).unwrap();
        let Ok(store) = SledStore::open(&path, Options::default()) else {
            refused += 1;
            continue;
        };
        let told = runtime().block_on(store.check());
        if runtime().block_on(differences(&store, &model)).is_ok() {
            harmless += 1;
        } else {
            assert!(
                !told.is_ok_and(|checked| checked.sound),
                "segment {segment}: rows are missing and a check finds nothing"
            );
            found += 1;
        }
        let _ = runtime().block_on(store.close());
    }
    println!("{refused} refused, {found} found by a check, {harmless} not in use");
    assert!(refused + found > 0);
}

#[test]
fn damage_under_a_running_store_is_an_error_for_what_it_hit() {
    let folder = scratch();
    let path = folder.path().join("vault");
    let model = vault(&path, 79, 150);
    let store = SledStore::open(&path, Options { cache_bytes: 64 * 1024, accept_loss: false }).unwrap();
    // Every other page of four kilobytes of the file turns to noise while pages of it are in use.
    let db = OpenOptions::new().write(true).open(path.join("sled/db")).unwrap();
    let mut random = Seeded(80);
    for at in (4_096..length(&path.join("sled/db"))).step_by(8_192) {
        db.write_all_at(&random.bytes(4_096), at).unwrap();
    }
    runtime().block_on(async {
        let (mut hit, mut spared) = (0, 0);
        for (key, row) in &model.0 {
            match store.get_many(vec![key.clone()]).await {
                Ok(found) => {
                    assert!(found == [Some(row.clone())], "another row than the one that was answered");
                    spared += 1;
                }
                Err(StoreError::Damaged(_) | StoreError::Unavailable(_)) => hit += 1,
                Err(other) => panic!("{other}"),
            }
        }
        println!("{hit} rows hit, {spared} spared");
        assert!(hit > 0);
        assert!(!store.check().await.is_ok_and(|checked| checked.sound));
        let _ = store.close().await;
    });
}
