//! Migration of a vault from one engine to another, and interrupted migrations. Needs both engines.

#![cfg(feature = "sled")]

use std::{
    cell::Cell,
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
};

use masker::daemon::engines::ENGINES;
use masker_store::{
    Store,
    embedded::{EmbeddedStore, MigrateError, Migrated, StoreOpenError, engine_of, migrate},
};
use masker_types::engine::EngineKind;

use crate::{
    compaction::{copy, names, settled},
    full_disk::{SmallDisk, fill},
    opening::{refused, snapshot, vault},
    options,
    powercut::{
        Recorder,
        disk::{Cut, Disk, Event, Seeded},
        mark,
    },
    runtime, scratch, small,
    workload::{Model, Workload, differences},
};

on_each_engine!(
    a_vault_is_migrated_and_migrated_back,
    rejects_a_vault_of_another_engine,
    a_migration_that_is_killed_loses_nothing,
    the_next_start_finishes_an_interrupted_migration,
    a_migration_survives_power_cuts,
    a_rejected_migration_changes_nothing,
    a_copy_from_before_a_migration_is_not_taken_for_the_vault,
);

const CACHE_BYTES: u64 = 1024 * 1024;

fn other(engine: EngineKind) -> EngineKind {
    match engine {
        EngineKind::Sled => EngineKind::Fjall,
        EngineKind::Fjall => EngineKind::Sled,
    }
}

/// Compares the rows of the vault with the model, and returns the vault's id.
fn check_rows(engine: EngineKind, path: &Path, model: &Model) -> [u8; 16] {
    let store = EmbeddedStore::open(path, small(engine)).unwrap();
    runtime().block_on(async {
        assert_eq!(differences(&store, model).await, Ok(()));
        masker_store::Store::close(&store).await.unwrap();
    });
    assert_eq!(store.accepted_loss(), None);
    store.vault_id()
}

fn a_vault_is_migrated_and_migrated_back(engine: EngineKind) {
    let folder = scratch();
    let path = folder.path().join("vault");
    let model = vault(engine, &path, 101, 80);
    let id = check_rows(engine, &path, &model);
    for (from, to) in [(engine, other(engine)), (other(engine), engine)] {
        let progress = Cell::new((0, 0));
        let moved = migrate(&path, ENGINES, to, CACHE_BYTES, |done, total| progress.set((done, total))).unwrap();
        let rows = model.0.len() as u64;
        assert!(matches!(moved, Migrated::Moved { from: was, rows: moved, .. } if was == from && moved == rows));
        assert_eq!(progress.get(), (rows, rows), "the last progress is complete");
        assert_eq!(names(&path), settled(to));
        assert_eq!(engine_of(&path).unwrap(), Some(to));
        let error = refused(&path, options(from));
        assert!(
            matches!(error, StoreOpenError::OtherEngine { found, configured, .. } if found == to && configured == from)
        );
        assert_eq!(migrate(&path, ENGINES, to, CACHE_BYTES, |_, _| ()).unwrap(), Migrated::Already);
        assert_eq!(check_rows(to, &path, &model), id, "the id changed");
    }
}

fn rejects_a_vault_of_another_engine(engine: EngineKind) {
    let folder = scratch();
    let path = folder.path().join("vault");
    let model = vault(engine, &path, 102, 20);
    let witness = fs::read(path.join("witness")).unwrap();
    for damage in ["", "its witness is damaged", "its witness is missing"] {
        match damage {
            "" => {}
            "its witness is missing" => fs::remove_file(path.join("witness")).unwrap(),
            _ => fs::write(path.join("witness"), &witness[..100]).unwrap(),
        }
        for accept_loss in [false, true] {
            let error = refused(&path, masker_store::embedded::StoreOptions { accept_loss, ..options(other(engine)) });
            assert!(matches!(error, StoreOpenError::OtherEngine { .. }), "{damage}: {error}");
            let text = error.to_string();
            assert!(text.contains(&format!("`masker vault migrate --to {}`", other(engine))), "{text}");
            assert!(text.contains(&format!("set it to \"{engine}\"")), "{text}");
        }
    }
    fs::write(path.join("witness"), witness).unwrap();
    check_rows(engine, &path, &model);
}

/// A child process that migrates a vault, and kills itself after so many pages. Does nothing when run as a test.
#[test]
fn process() {
    let Some(root) = std::env::var_os("MIGRATION_CHILD_ROOT") else { return };
    let text = |name: &str| std::env::var(name).unwrap();
    let (to, pages) = (text("MIGRATION_CHILD_TO"), text("MIGRATION_CHILD_PAGES").parse::<u32>().unwrap());
    let to = EngineKind::CHOICES.into_iter().find(|(name, _)| *name == to).unwrap().1;
    let copied = Cell::new(0);
    let count = |_, _| {
        copied.set(copied.get() + 1);
        if copied.get() == pages {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    };
    migrate(root, ENGINES, to, CACHE_BYTES, count).unwrap();
    mark("moved\n");
    println!("pages {}", copied.get());
}

fn child(root: &Path, to: EngineKind, pages: u32) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["migration::process", "--exact", "--nocapture", "--test-threads=1"])
        .env("MIGRATION_CHILD_ROOT", root)
        .env("MIGRATION_CHILD_TO", to.name())
        .env("MIGRATION_CHILD_PAGES", pages.to_string());
    command
}

fn a_migration_that_is_killed_loses_nothing(engine: EngineKind) {
    let folder = scratch();
    let (path, to) = (folder.path().join("vault"), other(engine));
    let model = vault(engine, &path, 103, 120);
    let mut pages = 1;
    loop {
        let output = child(&path, to, pages).stderr(Stdio::null()).output().unwrap();
        if output.status.success() {
            break;
        }
        assert_eq!(output.status.signal(), Some(9));
        assert!(path.join(format!("{to}.new")).exists(), "it was not interrupted");
        assert!(matches!(refused(&path, options(to)), StoreOpenError::OtherEngine { .. }));
        if pages % 2 == 1 {
            check_rows(engine, &path, &model);
            assert_eq!(names(&path), settled(engine));
        }
        pages += 1;
    }
    assert!(pages > 2, "it was not killed after the first page and after the last");
    check_rows(to, &path, &model);
    assert_eq!(names(&path), settled(to));
}

fn the_next_start_finishes_an_interrupted_migration(engine: EngineKind) {
    let folder = scratch();
    let (sound, moved, to) = (folder.path().join("sound"), folder.path().join("moved"), other(engine));
    let model = vault(engine, &sound, 104, 40);
    copy(&sound, &moved);
    migrate(&moved, ENGINES, to, CACHE_BYTES, |_, _| ()).unwrap();
    let (before, after) = (sound.join(engine.name()), moved.join(to.name()));
    let name = |kind: EngineKind, suffix: &str| format!("{kind}{suffix}");
    // The databases that are left, and the engine that the vault then belongs to.
    let left = [
        ("while building the new one", vec![(name(engine, ""), &before), (name(to, ".new"), &after)], engine),
        ("between the renames", vec![(name(engine, ".old"), &before), (name(to, ".new"), &after)], engine),
        ("while removing the old one", vec![(name(engine, ".old"), &before), (name(to, ""), &after)], to),
    ];
    for (moment, places, owner) in left {
        let root = folder.path().join("left");
        copy(if owner == engine { &sound } else { &moved }, &root);
        fs::remove_dir_all(root.join(owner.name())).unwrap();
        for (name, what) in places {
            copy(what, &root.join(name));
        }
        assert_eq!(engine_of(&root).unwrap(), Some(owner), "{moment}");
        assert!(matches!(refused(&root, options(other(owner))), StoreOpenError::OtherEngine { .. }), "{moment}");
        let again = folder.path().join("again");
        copy(&root, &again);
        check_rows(owner, &root, &model);
        assert_eq!(names(&root), settled(owner), "{moment}");
        // The next migration finishes it too.
        let migrated = migrate(&again, ENGINES, to, CACHE_BYTES, |_, _| ()).unwrap();
        assert_eq!(migrated == Migrated::Already, owner == to, "{moment}");
        check_rows(to, &again, &model);
        assert_eq!(names(&again), settled(to), "{moment}");
        fs::remove_dir_all(&root).unwrap();
        fs::remove_dir_all(&again).unwrap();
    }
}

fn a_migration_survives_power_cuts(engine: EngineKind) {
    let folder = scratch();
    let (path, to, seed) = (folder.path().join("vault"), other(engine), 105);
    let model = vault(engine, &path, seed, 40);
    let recorder = Recorder::new(&path, folder.path()).unwrap_or_else(|reason| panic!("{reason}"));
    let mut disk = Disk::holding(&path);
    assert!(recorder.record(&mut child(&path, to, u32::MAX)).stdout(Stdio::null()).status().unwrap().success());
    let log = recorder.log();
    let mut random = Seeded(seed);
    // Every event near a rename, and some of the others.
    let switches = |number: usize| {
        let near = number.saturating_sub(6)..(number + 6).min(log.events.len());
        log.events[near].iter().any(|event| matches!(event, Event::Renamed { to, .. } if !to.contains('/')))
    };
    let percent = 60 * 100 / log.events.len() as u64 + 1;
    let (mut cuts, mut as_before) = (0, 0);
    for point in 0..=log.events.len() {
        disk.play(&log, point);
        if !switches(point) && !random.chance(percent.min(100)) {
            continue;
        }
        let (cut, target) = (Cut::any(&mut random), folder.path().join("rebuilt"));
        disk.rebuild(&log, cut, &mut random, &target);
        let owner = engine_of(&target).unwrap().unwrap_or_else(|| panic!("event {point}, {cut:?}: no vault"));
        check_rows(owner, &target, &model);
        (cuts, as_before) = (cuts + 1, as_before + u32::from(owner == engine));
        fs::remove_dir_all(&target).unwrap();
    }
    println!("{cuts} cuts, {as_before} of them before the switch");
    assert!(cuts > 20 && as_before > 0 && as_before < cuts);
}

fn a_rejected_migration_changes_nothing(engine: EngineKind) {
    let folder = scratch();
    let (path, to) = (folder.path().join("vault"), other(engine));
    assert!(matches!(migrate(&path, ENGINES, to, CACHE_BYTES, |_, _| ()), Err(MigrateError::NoVault { .. })));
    assert!(!path.exists(), "the migration created something");

    let model = vault(engine, &path, 106, 20);
    let store = EmbeddedStore::open(&path, options(engine)).unwrap();
    let before = snapshot(&path);
    let error = migrate(&path, ENGINES, to, CACHE_BYTES, |_, _| ()).unwrap_err();
    assert!(matches!(error, MigrateError::Open(StoreOpenError::Locked { .. })), "{error}");
    assert!(snapshot(&path) == before);
    drop(store);

    let disk = match SmallDisk::mount(48) {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: a small file system cannot be mounted here: {reason}"),
    };
    let full = disk.path.join("vault");
    copy(&path, &full);
    let ballast = fill(&disk.path, 4 * 1024 * 1024);
    let error = migrate(&full, ENGINES, to, CACHE_BYTES, |_, _| ()).unwrap_err();
    assert!(matches!(error, MigrateError::NoRoom { .. }), "{error}");
    assert!(error.to_string().contains("make room"), "{error}");
    assert_eq!(names(&full), settled(engine));
    fs::remove_file(ballast).unwrap();
    check_rows(engine, &full, &model);
}

fn a_copy_from_before_a_migration_is_not_taken_for_the_vault(engine: EngineKind) {
    let folder = scratch();
    let (path, earlier, to) = (folder.path().join("vault"), folder.path().join("earlier"), other(engine));
    let mut model = vault(engine, &path, 107, 20);
    copy(&path.join(engine.name()), &earlier);
    migrate(&path, ENGINES, to, CACHE_BYTES, |_, _| ()).unwrap();
    let batch = Workload::new(108, 20, false).batch();
    model.apply(&batch);
    runtime().block_on(EmbeddedStore::open(&path, options(to)).unwrap().apply(batch)).unwrap();
    copy(&earlier, &path.join(engine.name()));
    let is_second = |error: &StoreOpenError| matches!(error, StoreOpenError::SecondDatabase { .. });
    assert!(is_second(&engine_of(&path).unwrap_err()));
    for accept_loss in [false, true] {
        let error = refused(&path, masker_store::embedded::StoreOptions { accept_loss, ..options(engine) });
        assert!(is_second(&error) && !error.to_string().contains("masker recover"), "{error}");
    }
    for target in [engine, to] {
        let error = migrate(&path, ENGINES, target, CACHE_BYTES, |_, _| ()).unwrap_err();
        assert!(matches!(&error, MigrateError::Open(error) if is_second(error)), "{error}");
    }
    check_rows(to, &path, &model);
}
