use std::{io, path::Path};

use masker_types::engine::EngineKind;

use super::{CommitPosition, DatabaseState, EngineError, Manifest, StoreOpenError, StoreOptions};
use crate::{
    Row, RowKey, RowPage,
    embedded::{Database, EmbeddedStore, EngineDriver, FJALL, RowWrite},
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
