use std::{fs, io, path::Path};

use masker_types::engine::EngineKind;

use super::{CommitPosition, DatabaseState, EngineError, Manifest, StoreOpenError, StoreOptions};
use crate::{
    Row, RowKey, RowPage,
    embedded::{Database, EmbeddedStore, EngineDriver, FJALL, RowWrite, engine_of},
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
        EmbeddedStore::open(folder.path(), StoreOptions { engine, cache_bytes: 1 << 20, accept_loss })
    };
    drop(open(FJALL, false).unwrap());
    let failed = open(&FailingScans, true).err().unwrap();
    assert!(matches!(failed, StoreOpenError::Io { .. }), "{failed}");
    assert_eq!(open(FJALL, true).unwrap().accepted_loss(), None);
}

#[test]
fn a_second_database_is_never_a_reason_to_accept_a_loss() {
    let folder = tempfile::tempdir().unwrap();
    let (root, fjall) = (folder.path().join("vault"), folder.path().join("vault/fjall"));
    let (earlier, second) = (folder.path().join("earlier"), root.join("sled"));
    let open = |accept_loss| {
        EmbeddedStore::open(&root, StoreOptions { engine: FJALL, cache_bytes: 1 << 20, accept_loss }).map(drop)
    };
    open(false).unwrap();
    fs::create_dir(&earlier).unwrap();
    FJALL.copy(&fjall, &earlier).unwrap();
    open(false).unwrap();
    assert_eq!(engine_of(&root).unwrap(), Some(EngineKind::Fjall));

    fs::create_dir(&second).unwrap();
    let (first, other) = (EngineKind::Fjall, EngineKind::Sled);
    let is_second = |error: &StoreOpenError| {
        let text = error.to_string();
        assert!(text.contains("\"fjall\"") && text.contains("\"sled\"") && !text.contains("accept-loss"), "{text}");
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
