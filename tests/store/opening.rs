//! Opening a vault: what is rejected, with which message, and that nothing is changed.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use masker_store::{
    Store,
    embedded::{EmbeddedStore, StoreOpenError, StoreOptions},
};
use masker_types::engine::EngineKind;

use crate::{
    accepting, options, runtime, scratch, small,
    workload::{Model, Workload, differences},
};

on_each_engine!(
    a_reopened_vault_is_unchanged,
    files_are_accessible_to_the_owner_only,
    rejects_a_vault_that_is_open,
    rejects_a_directory_with_other_files,
    rejects_a_newer_vault,
    rejects_a_vault_of_the_former_format,
    rejects_a_database_without_its_witness,
    a_torn_slot_of_the_witness_is_harmless,
    rejects_an_older_copy_of_the_database,
);

/// Creates a vault with some batches of a workload, and closes it.
pub fn vault(engine: EngineKind, path: &Path, seed: u64, batches: usize) -> Model {
    let store = EmbeddedStore::open(path, small(engine)).unwrap();
    let mut workload = Workload::new(seed, 600, true);
    let mut model = Model::default();
    runtime().block_on(async {
        for _ in 0..batches {
            let batch = workload.batch();
            model.apply(&batch);
            store.apply(batch).await.unwrap();
        }
        store.close().await.unwrap();
    });
    model
}

/// Returns every file and folder below a path, with mode and content.
pub fn snapshot(path: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        found.insert(folder.clone(), (fs::metadata(&folder).unwrap().permissions().mode(), Vec::new()));
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(
                    path.clone(),
                    (fs::metadata(&path).unwrap().permissions().mode(), fs::read(&path).unwrap()),
                );
            }
        }
    }
    found
}

/// Returns the error of opening a vault, which must change nothing.
pub fn refused(path: &Path, options: StoreOptions) -> StoreOpenError {
    let before = snapshot(path);
    let error = EmbeddedStore::open(path, options).map(|_| "it opened").unwrap_err();
    assert!(snapshot(path) == before, "the failed opening changed something: {error}");
    error
}

fn check_rows(path: &Path, options: StoreOptions, model: &Model) -> Option<u64> {
    let store = EmbeddedStore::open(path, options).unwrap();
    runtime().block_on(async {
        assert_eq!(differences(&store, model).await, Ok(()));
        store.close().await.unwrap();
    });
    store.accepted_loss()
}

fn a_reopened_vault_is_unchanged(engine: EngineKind) {
    let folder = scratch();
    let path = folder.path().join("deep/in/vault");
    let model = vault(engine, &path, 61, 60);
    let id = {
        let store = EmbeddedStore::open(&path, options(engine)).unwrap();
        store.vault_id()
    };
    assert_eq!(check_rows(&path, options(engine), &model), None);
    assert_eq!(EmbeddedStore::open(&path, options(engine)).unwrap().vault_id(), id);
    assert_eq!(check_rows(&path, accepting(engine), &model), None, "there was no loss to accept");
}

fn files_are_accessible_to_the_owner_only(engine: EngineKind) {
    let folder = scratch();
    let path = folder.path().join("vault");
    vault(engine, &path, 62, 10);
    let store = EmbeddedStore::open(&path, options(engine)).unwrap();
    for (path, (mode, _)) in snapshot(&path) {
        assert_eq!(mode & 0o7777, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
    drop(store);
}

#[cfg(feature = "sled")]
#[test]
fn sled_keeps_the_largest_rows_out_of_files_that_it_never_syncs() {
    let engine = EngineKind::Sled;
    use masker_store::{RowBatch, RowChange, RowKey};
    use masker_types::limits::ROW_BYTES_MAX;
    let folder = scratch();
    let path = folder.path().join("vault");
    let store = EmbeddedStore::open(&path, options(engine)).unwrap();
    runtime().block_on(async {
        // Neighbouring keys, so that leaves fill with the largest rows under the longest keys, and are rewritten.
        for round in 0..6_u8 {
            for first in (0..1_000_u16).step_by(100) {
                let keys = (first..first + 100).map(|number| [&[b'r'; 94][..], &number.to_be_bytes()].concat());
                let put = |key: Vec<u8>| RowChange::Put(RowKey::new(key).unwrap(), vec![round; ROW_BYTES_MAX]);
                store.apply(RowBatch { preconditions: Vec::new(), changes: keys.map(put).collect() }).await.unwrap();
            }
            assert_eq!(fs::read_dir(path.join("sled/blobs")).unwrap().count(), 0);
        }
        assert!(store.bytes_on_disk().await.unwrap() > 12_000_000);
        store.close().await.unwrap();
    });
}

fn rejects_a_vault_that_is_open(engine: EngineKind) {
    let folder = scratch();
    let path = folder.path().join("vault");
    let model = vault(engine, &path, 63, 10);
    let store = EmbeddedStore::open(&path, options(engine)).unwrap();
    let error = refused(&path, options(engine));
    assert!(matches!(error, StoreOpenError::Locked { pid: Some(pid), .. } if pid == std::process::id()));
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    runtime().block_on(store.close()).unwrap();
    assert_eq!(check_rows(&path, options(engine), &model), None, "a closed store has released everything");
}

fn rejects_a_directory_with_other_files(engine: EngineKind) {
    let folder = scratch();
    let path = folder.path().join("vault");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    fs::write(path.join("notes.txt"), b"mine").unwrap();
    let error = refused(&path, options(engine));
    assert!(matches!(&error, StoreOpenError::Foreign { entry, .. } if entry == "notes.txt"), "{error}");
    fs::set_permissions(&path, Permissions::from_mode(0o770)).unwrap();
    assert!(matches!(refused(&path, options(engine)), StoreOpenError::Exposed { .. }));
}

fn rejects_a_newer_vault(engine: EngineKind) {
    let folder = scratch();
    let path = folder.path().join("vault");
    vault(engine, &path, 64, 10);
    let mut witness = fs::read(path.join("witness")).unwrap();
    witness[15] = 9;
    fs::write(path.join("witness"), witness).unwrap();
    for options in [options(engine), accepting(engine)] {
        let error = refused(&path, options);
        assert!(matches!(error, StoreOpenError::OtherVersion { version: 9, .. }), "{error}");
        assert!(error.to_string().contains("later release"), "{error}");
    }
}

fn rejects_a_vault_of_the_former_format(engine: EngineKind) {
    let folder = scratch();
    let path = folder.path().join("vault");
    vault(engine, &path, 64, 10);
    let mut witness = fs::read(path.join("witness")).unwrap();
    witness[15] -= 1;
    fs::write(path.join("witness"), witness).unwrap();
    for options in [options(engine), accepting(engine)] {
        let error = refused(&path, options);
        assert!(matches!(error, StoreOpenError::OtherVersion { version: 2, known: 3, .. }), "{error}");
        assert!(error.to_string().contains("use the build that wrote it"), "{error}");
    }
}

#[test]
fn rejects_an_unreadable_directory() {
    let engine = EngineKind::Fjall;
    // Root may read everything, so the test runs itself again as another user.
    let folder = scratch();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("vault");
    if let Some(path) = std::env::var_os("STORE_UNREADABLE") {
        let error = EmbeddedStore::open(path, options(engine)).map(drop).unwrap_err();
        assert!(matches!(error, StoreOpenError::Directory { .. } | StoreOpenError::Owner { .. }), "{error}");
        println!("rejected: {error}");
        return;
    }
    vault(engine, &path, 65, 5);
    if !nix::unistd::geteuid().is_root() {
        fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
        let error = EmbeddedStore::open(&path, options(engine)).map(drop).unwrap_err();
        assert!(matches!(error, StoreOpenError::Directory { .. }), "{error}");
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        return;
    }
    // The other user runs a copy of the test that it can read.
    let program = folder.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let locked_away = folder.path().join("locked-away");
    fs::create_dir(&locked_away).unwrap();
    fs::rename(&path, locked_away.join("vault")).unwrap();
    for (path, mode) in [(locked_away.join("vault"), 0o700), (locked_away.join("vault"), 0o755)] {
        fs::set_permissions(&locked_away, Permissions::from_mode(mode)).unwrap();
        let before = snapshot(&path);
        let output = Command::new(&program)
            .args(["opening::rejects_an_unreadable_directory", "--exact", "--nocapture"])
            .env("STORE_UNREADABLE", &path)
            .env("TMPDIR", folder.path())
            .uid(65_534)
            .gid(65_534)
            .output();
        match output {
            Err(error) => println!("skipped: failed to run as another user: {error}"),
            Ok(output) => {
                let output_text = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(output.status.success() && output_text.contains("rejected: "), "{output_text}");
            }
        }
        assert!(snapshot(&path) == before);
    }
}

fn rejects_a_database_without_its_witness(engine: EngineKind) {
    let folder = scratch();
    let path = folder.path().join("vault");
    let model = vault(engine, &path, 66, 30);
    let witness = fs::read(path.join("witness")).unwrap();

    fs::remove_file(path.join("witness")).unwrap();
    assert!(matches!(refused(&path, options(engine)), StoreOpenError::WitnessMissing { .. }));
    fs::write(path.join("witness"), &witness[..100]).unwrap();
    assert!(matches!(refused(&path, options(engine)), StoreOpenError::WitnessDamaged { .. }));
    let mut neither_slot = witness.clone();
    neither_slot[4_096..].fill(0x55);
    fs::write(path.join("witness"), neither_slot).unwrap();
    assert!(matches!(refused(&path, options(engine)), StoreOpenError::WitnessDamaged { .. }));

    let other = folder.path().join("other");
    vault(engine, &other, 67, 30);
    fs::copy(other.join("witness"), path.join("witness")).unwrap();
    let error = refused(&path, options(engine));
    assert!(matches!(error, StoreOpenError::WitnessOfAnotherVault { .. }), "{error}");

    assert_eq!(check_rows(&path, accepting(engine), &model), Some(0), "an operator can continue without it");
    assert_eq!(check_rows(&path, options(engine), &model), None, "then there is a witness again");
    fs::write(path.join("witness"), &witness).unwrap();
    assert_eq!(check_rows(&path, options(engine), &model), None, "an old witness of the vault is harmless");
}

fn a_torn_slot_of_the_witness_is_harmless(engine: EngineKind) {
    let folder = scratch();
    let path = folder.path().join("vault");
    let model = vault(engine, &path, 68, 30);
    let witness = fs::read(path.join("witness")).unwrap();
    for slot in [4_096, 8_192] {
        let mut torn = witness.clone();
        torn[slot + 3..slot + 20].fill(0xEE);
        fs::write(path.join("witness"), torn).unwrap();
        assert_eq!(check_rows(&path, options(engine), &model), None);
    }
}

fn rejects_an_older_copy_of_the_database(engine: EngineKind) {
    let folder = scratch();
    let path = folder.path().join("vault");
    let model = vault(engine, &path, 69, 40);
    let older = folder.path().join("older");
    fs::rename(path.join(engine.name()), &older).unwrap();
    let copy = |from: &Path, to: &Path| {
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    };
    copy(&older, &path.join(engine.name()));
    let newer = {
        let store = EmbeddedStore::open(&path, options(engine)).unwrap();
        let mut workload = Workload::new(70, 600, false);
        let mut newer = model.clone();
        runtime().block_on(async {
            for _ in 0..10 {
                let batch = workload.batch();
                newer.apply(&batch);
                store.apply(batch).await.unwrap();
            }
            store.close().await.unwrap();
        });
        newer
    };
    let current = folder.path().join("current");
    fs::rename(path.join(engine.name()), &current).unwrap();
    copy(&older, &path.join(engine.name()));
    let error = refused(&path, options(engine));
    // Opening it made no commit.
    assert!(matches!(error, StoreOpenError::BehindWitness { lost: 10, .. }), "{error}");
    assert!(
        error.to_string().contains("the last 10 commits") && error.to_string().contains("masker recover"),
        "{error}"
    );

    assert_eq!(check_rows(&path, accepting(engine), &model), Some(10));
    assert_eq!(check_rows(&path, options(engine), &model), None, "the loss is accepted once");
    fs::remove_dir_all(path.join(engine.name())).unwrap();
    copy(&current, &path.join(engine.name()));
    let error = refused(&path, options(engine));
    assert!(matches!(error, StoreOpenError::Superseded { .. }), "the replaced database came back unnoticed: {error}");
    assert_eq!(check_rows(&path, accepting(engine), &newer), Some(0));

    fs::remove_dir_all(path.join(engine.name())).unwrap();
    let witness = fs::read(path.join("witness")).unwrap();
    for (bytes, what) in [(&witness[..], "its database is missing"), (&witness[..100], "its witness file is damaged")] {
        fs::write(path.join("witness"), bytes).unwrap();
        for options in [options(engine), accepting(engine)] {
            let error = refused(&path, options);
            let StoreOpenError::Damaged { can_continue: false, .. } = error else { panic!("{error}") };
            let message = error.to_string();
            assert!(message.contains(what) && !message.contains("masker recover"), "{message}");
        }
    }
}
