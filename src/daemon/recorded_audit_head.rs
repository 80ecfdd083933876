//! The audit log's head that a vault has stored, read while no daemon has the vault open.

use std::{path::Path, thread};

use super::vault_owner::become_owner;
use masker_audit::ChainHead;
use masker_store::{
    RowKey, Store,
    embedded::{EmbeddedStore, StoreOptions, vault_exists},
    record::{AuditHeadRow, split_tag},
};

/// Memory for the store's cache. Only one row is read.
const CACHE_BYTES: u64 = 1024 * 1024;

/// Returns the head of the audit log that the vault stored last; `None` if it never stored one. Blocks. If this process is
/// root's, it becomes the vault's owner and stays so, because the files that an engine creates must be the owner's.
///
/// # Errors
/// There is no vault, it belongs to another user, or a daemon has it open.
pub fn recorded_audit_head(data_dir: &Path) -> Result<Option<ChainHead>, String> {
    // Opening a vault that does not exist would create one.
    if !vault_exists(data_dir) {
        return Err(format!("there is no vault in {}", data_dir.display()));
    }
    become_owner(data_dir)?;
    let engine = super::engines::driver(None, data_dir).map_err(|failed| failed.to_string())?;
    let options = StoreOptions { engine, cache_bytes: CACHE_BYTES, ..StoreOptions::default() };
    let store = EmbeddedStore::open(data_dir, options).map_err(|failed| failed.to_string())?;
    // On another thread, because the caller may be within a runtime.
    thread::scope(|scope| scope.spawn(|| read(&store)).join()).map_err(|_| "failed to read the vault".to_owned())?
}

fn read(store: &EmbeddedStore) -> Result<Option<ChainHead>, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|failed| failed.to_string())?;
    runtime.block_on(async {
        let rows = store.get_many(vec![RowKey::audit_head()]).await.map_err(|failed| failed.to_string());
        store.close().await.map_err(|failed| failed.to_string())?;
        // The tag needs the vault's keys, which this process does not have: like the row, it is as good as the files.
        let row = rows?.into_iter().next().flatten().map(|row| AuditHeadRow::decode(split_tag(&row).0)).transpose();
        let row = row.map_err(|damaged| damaged.to_string())?;
        Ok(row.map(|row| ChainHead { sequence: row.sequence, hash: row.hash }))
    })
}
