use std::{fs, io, path::Path};

use masker_types::{engine::EngineKind, vault_position::VaultPosition};

use super::{CommitPosition, DatabaseState, EngineError, Manifest, StoreOpenError, StoreOptions, Witness};
use crate::{
    Row, RowBatch, RowKey, RowPage, Store,
    embedded::{Database, EmbeddedStore, EngineDriver, FJALL, NewVault, RowWrite, engine_of},
};

/// Fjall on a disk that fails every scan.
struct FailingScans;

struct FailingDatabase(Box<dyn Database>);

impl EngineDriver for FailingScans {
    fn kind(&self) -> EngineKind {
        FJALL.kind()
    }

    fn open(&self, folder: &Path, cache_bytes: u64) -> Result<Box<dyn Database>, EngineError> {
        Ok(Box::new(FailingDatabase(FJALL.open(folder, cache_bytes)?)))
    }

    fn inspect(&self, folder: &Path, vault: &[u8; 16], at: CommitPosition) -> Result<DatabaseState, EngineError> {
        FJALL.inspect(folder, vault, at)
    }

    fn may_destroy_on_open(&self) -> bool {
        FJALL.may_destroy_on_open()
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        FJALL.copy(from, to)
    }

    fn copied_bytes(&self, from: &Path) -> io::Result<u64> {
        FJALL.copied_bytes(from)
    }

    fn clean_up(&self, folder: &Path) -> io::Result<()> {
        FJALL.clean_up(folder)
    }

    fn thread_prefix(&self) -> &'static str {
        FJALL.thread_prefix()
    }

    fn bytes_per_row(&self) -> u64 {
        FJALL.bytes_per_row()
    }
}

impl Database for FailingDatabase {
    fn manifest(&self) -> Result<Option<Vec<u8>>, EngineError> {
        self.0.manifest()
    }

    fn get(&self, key: &RowKey) -> Result<Option<Row>, EngineError> {
        self.0.get(key)
    }

    fn scan_after(&self, _: Option<u8>, _: Option<&RowKey>, _: usize) -> Result<RowPage, EngineError> {
        Err(io::Error::from_raw_os_error(libc::EIO).into())
    }

    fn count(&self, space: u8) -> Result<u64, EngineError> {
        self.0.count(space)
    }

    fn commit(&self, writes: &[RowWrite<'_>], manifest: &Manifest) -> Result<(), EngineError> {
        self.0.commit(writes, manifest)
    }

    fn write_unsynced(&self, writes: &[RowWrite<'_>], sequence: u64) -> Result<(), EngineError> {
        self.0.write_unsynced(writes, sequence)
    }

    fn remove_incomplete_rows(&self) -> Result<(), EngineError> {
        self.0.remove_incomplete_rows()
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.0.sync()
    }
}

#[test]
fn a_disk_that_fails_while_a_loss_is_accepted_is_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let open = |engine, accept_loss| {
        EmbeddedStore::open(
            folder.path(),
            StoreOptions { engine, cache_bytes: 1 << 20, accept_loss, ..StoreOptions::default() },
        )
    };
    drop(open(FJALL, false).unwrap());
    let failed = open(&FailingScans, true).err().unwrap();
    assert!(matches!(failed, StoreOpenError::Io { .. }), "{failed}");
    assert_eq!(open(FJALL, true).unwrap().accepted_loss(), None);
}

/// Opens a vault, makes a commit, and returns the position before it and after it.
fn commit(root: &Path, options: StoreOptions) -> [VaultPosition; 2] {
    let store = EmbeddedStore::open(root, options).unwrap();
    let before = store.position();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(store.apply(RowBatch::default())).unwrap();
    [before, store.position()]
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy_all(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

#[test]
fn only_commits_advance_the_position() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = commit(folder.path(), StoreOptions::default());
    assert_eq!((first.epoch, first.sequence, second.sequence), (1, 1, 2));
    for _ in 0..3 {
        assert_eq!(EmbeddedStore::open(folder.path(), StoreOptions::default()).unwrap().position(), second);
    }
}

#[test]
fn an_older_copy_with_its_witness_is_behind_the_recorded_position() {
    let folder = tempfile::tempdir().unwrap();
    let (root, older) = (folder.path().join("vault"), folder.path().join("older"));
    let [_, copied] = commit(&root, StoreOptions::default());
    copy_all(&root, &older);
    commit(&root, StoreOptions::default());
    let [_, recorded] = commit(&root, StoreOptions::default());
    fs::remove_dir_all(&root).unwrap();
    fs::rename(&older, &root).unwrap();

    let behind = StoreOptions { recorded: Some(recorded), ..StoreOptions::default() };
    for options in [behind, StoreOptions { new_vault: Some(NewVault { id: [5; 16], create: true }), ..behind }] {
        let refused = EmbeddedStore::open(&root, options).err().unwrap();
        assert!(matches!(refused, StoreOpenError::BehindAuditLog { lost: 2, .. }), "{refused}");
    }
    let store = EmbeddedStore::open(&root, StoreOptions { accept_loss: true, ..behind }).unwrap();
    assert_eq!(store.accepted_loss(), Some(2));
    let accepted = store.position();
    assert_eq!((accepted.epoch, accepted.sequence), (recorded.epoch + 1, copied.sequence + 1));
    assert!(accepted.is_after(&recorded));
    drop(store);
    EmbeddedStore::open(&root, StoreOptions { recorded: Some(accepted), ..StoreOptions::default() }).unwrap();
}

#[test]
fn a_higher_epoch_excuses_no_missing_commits() {
    let folder = tempfile::tempdir().unwrap();
    let (root, older) = (folder.path().join("vault"), folder.path().join("older"));
    commit(&root, StoreOptions::default());
    copy_all(&root, &older);
    commit(&root, StoreOptions::default());
    let [_, recorded] = commit(&root, StoreOptions::default());
    fs::remove_dir_all(&root).unwrap();
    fs::rename(&older, &root).unwrap();

    let options = StoreOptions { recorded: Some(recorded), ..StoreOptions::default() };
    let accepting = StoreOptions { accept_loss: true, ..options };
    // This start begins an epoch, and fails before the audit log has recorded that.
    let first = EmbeddedStore::open(&root, accepting).unwrap().accepted_loss();
    let refused = EmbeddedStore::open(&root, options).err().unwrap();
    assert!(matches!(refused, StoreOpenError::BehindAuditLog { .. }), "{refused}");
    let store = EmbeddedStore::open(&root, accepting).unwrap();
    assert!(first == Some(2) && store.accepted_loss().is_some_and(|lost| lost > 0), "{first:?}");
    assert_eq!(store.position().epoch, recorded.epoch + 2);
}

#[test]
fn a_vault_that_was_recorded_is_not_replaced_by_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (root, other) = (folder.path().join("vault"), folder.path().join("other"));
    let [_, recorded] = commit(&root, StoreOptions::default());
    commit(&other, StoreOptions::default());
    let options = StoreOptions { recorded: Some(recorded), ..StoreOptions::default() };
    let found = EmbeddedStore::open(&other, StoreOptions::default()).unwrap().vault_id();
    let accepting = |id, create| StoreOptions { new_vault: Some(NewVault { id, create }), ..options };

    let refused = EmbeddedStore::open(&other, options).err().unwrap();
    assert!(matches!(refused, StoreOpenError::OtherVault { .. }), "{refused}");
    // Another one was accepted.
    let refused = EmbeddedStore::open(&other, accepting([5; 16], false)).err().unwrap();
    assert!(matches!(refused, StoreOpenError::OtherVault { .. }), "{refused}");
    EmbeddedStore::open(&other, accepting(found, false)).unwrap();

    fs::remove_dir_all(&root).unwrap();
    let missing = |root: &Path, options| {
        let refused = EmbeddedStore::open(root, options).err().unwrap();
        assert!(matches!(refused, StoreOpenError::VaultMissing { .. }), "{refused}");
    };
    missing(&root, options);
    missing(&root, StoreOptions { accept_loss: true, ..options });
    missing(&root, accepting([5; 16], false));
    assert!(!root.exists(), "nothing is created");
    // A mount point that nothing is mounted on, and what an interrupted creation left.
    fs::create_dir(&root).unwrap();
    missing(&root, options);
    drop(Witness::create(&root.join("witness"), [9; 16], Witness::INITIAL).unwrap());
    missing(&root, options);
    let store = EmbeddedStore::open(&root, accepting([5; 16], true)).unwrap();
    assert_eq!(store.vault_id(), [5; 16]);
    // The same start again, after one that ended before the audit log had the new vault.
    drop(store);
    EmbeddedStore::open(&root, accepting([5; 16], true)).unwrap();
}

#[test]
fn a_second_database_is_never_a_reason_to_accept_a_loss() {
    let folder = tempfile::tempdir().unwrap();
    let (root, fjall) = (folder.path().join("vault"), folder.path().join("vault/fjall"));
    let (earlier, second) = (folder.path().join("earlier"), root.join("sled"));
    let open = |accept_loss| {
        EmbeddedStore::open(
            &root,
            StoreOptions { engine: FJALL, cache_bytes: 1 << 20, accept_loss, ..StoreOptions::default() },
        )
        .map(drop)
    };
    open(false).unwrap();
    fs::create_dir(&earlier).unwrap();
    FJALL.copy(&fjall, &earlier).unwrap();
    commit(&root, StoreOptions::default());
    assert_eq!(engine_of(&root).unwrap(), Some(EngineKind::Fjall));

    fs::create_dir(&second).unwrap();
    let (first, other) = (EngineKind::Fjall, EngineKind::Sled);
    let is_second = |error: &StoreOpenError| {
        let text = error.to_string();
        assert!(text.contains("\"fjall\"") && text.contains("\"sled\"") && !text.contains("masker recover"), "{text}");
        matches!(error, StoreOpenError::SecondDatabase { first: a, second: b, .. } if (*a, *b) == (first, other))
    };
    assert!(is_second(&engine_of(&root).unwrap_err()));
    open(false).expect("the database of the configured engine has the witnessed commit");
    assert!(is_second(&open(true).unwrap_err()));

    fs::remove_dir_all(&fjall).unwrap();
    fs::rename(&earlier, &fjall).unwrap();
    assert!(is_second(&open(false).unwrap_err()) && is_second(&open(true).unwrap_err()));
    let witness = fs::read(root.join("witness")).unwrap();
    fs::remove_file(root.join("witness")).unwrap();
    assert!(is_second(&open(false).unwrap_err()) && is_second(&open(true).unwrap_err()));
    fs::write(root.join("witness"), witness).unwrap();

    // Of one database, a loss can be accepted. Until then nothing is removed.
    fs::remove_dir(&second).unwrap();
    let replaced = root.join("sled.old");
    fs::create_dir(&replaced).unwrap();
    assert!(matches!(open(false), Err(StoreOpenError::BehindWitness { .. })));
    assert!(replaced.exists());
    open(true).unwrap();
    assert!(!replaced.exists());
}
