//! The audit log's head as a vault has noted it, read while no daemon has the vault.

use std::{path::Path, thread};

use masker_audit::ChainHead;
use masker_store::{
    RowKey, Store,
    embedded::{EmbeddedStore, StoreOptions},
    record::AuditHeadRow,
};

/// Memory for the store's cache: one row is read.
const CACHE_BYTES: u64 = 1024 * 1024;

/// Where the audit log stood when the vault was last told; `None` where it was never told. Blocks.
///
/// # Errors
/// Why that cannot be known: there is no vault, it is another user's, or a daemon has it.
pub fn recorded_audit_head(data_dir: &Path) -> Result<Option<ChainHead>, String> {
    // Opening one where there is none would make one.
    if !data_dir.join("witness").exists() {
        return Err(format!("there is no vault in {}", data_dir.display()));
    }
    let engine = super::engines::driver(None, data_dir)?;
    let options = StoreOptions { engine, cache_bytes: CACHE_BYTES, accept_loss: false };
    let store = EmbeddedStore::open(data_dir, options).map_err(|failed| failed.to_string())?;
    // On a thread of its own: whoever calls may be within another runtime.
    thread::scope(|scope| scope.spawn(|| read(&store)).join()).map_err(|_| "the vault could not be read".to_owned())?
}

fn read(store: &EmbeddedStore) -> Result<Option<ChainHead>, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|failed| failed.to_string())?;
    runtime.block_on(async {
        let rows = store.get_many(vec![RowKey::audit_head()]).await.map_err(|failed| failed.to_string());
        store.close().await.map_err(|failed| failed.to_string())?;
        let row = rows?.into_iter().next().flatten().map(|row| AuditHeadRow::decode(&row)).transpose();
        let row = row.map_err(|damaged| damaged.to_string())?;
        Ok(row.map(|row| ChainHead { sequence: row.sequence, hash: row.hash }))
    })
}
