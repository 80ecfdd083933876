//! A store whose reads can be stopped between two rows.

use std::sync::Mutex;

use tokio::sync::oneshot;

use masker_store::{
    ApplyOutcome, CompactionSizes, Row, RowBatch, RowKey, RowPage, Store, StoreCheck, StoreFuture, memory::MemoryStore,
};

/// Where to stop: how many rows are read before, whom to tell, and what to wait for.
struct Pause {
    rows: usize,
    reached: oneshot::Sender<()>,
    go_on: oneshot::Receiver<()>,
}

/// Rows in memory. As with an engine, the rows of one read may be from before and after a batch.
pub(super) struct PausingStore {
    rows: MemoryStore,
    pause: Mutex<Option<Pause>>,
}

impl PausingStore {
    pub(super) fn new(rows: MemoryStore) -> Self {
        PausingStore { rows, pause: Mutex::new(None) }
    }

    /// Stops the read that comes after this many rows. The first channel says that it has stopped, the second lets it go on.
    pub(super) fn stop_after(&self, rows: usize) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (reached, has_reached) = oneshot::channel();
        let (release, go_on) = oneshot::channel();
        *self.pause.lock().unwrap() = Some(Pause { rows, reached, go_on });
        (has_reached, release)
    }

    /// Stops here if it is time. The writer's task is not stopped, for what overtakes a search needs it.
    async fn before_row(&self) {
        if tokio::task::try_id().is_some() {
            return;
        }
        let pause = {
            let mut pause = self.pause.lock().unwrap();
            match pause.as_mut() {
                Some(Pause { rows: 0, .. }) => pause.take(),
                Some(pause) => {
                    pause.rows -= 1;
                    None
                }
                None => None,
            }
        };
        if let Some(Pause { reached, go_on, .. }) = pause {
            // The test may be over.
            let _ = reached.send(());
            drop(go_on.await);
        }
    }
}

impl Store for PausingStore {
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>> {
        Box::pin(async move {
            let mut rows = Vec::with_capacity(keys.len());
            for key in keys {
                self.before_row().await;
                rows.extend(self.rows.get_many(vec![key]).await?);
            }
            Ok(rows)
        })
    }

    fn apply(&self, batch: RowBatch) -> StoreFuture<'_, ApplyOutcome> {
        self.rows.apply(batch)
    }

    fn scan_after(&self, space: u8, after: Option<RowKey>, limit: usize) -> StoreFuture<'_, RowPage> {
        Box::pin(async move {
            self.before_row().await;
            self.rows.scan_after(space, after, limit).await
        })
    }

    fn count(&self, space: u8) -> StoreFuture<'_, u64> {
        self.rows.count(space)
    }

    fn check(&self) -> StoreFuture<'_, StoreCheck> {
        self.rows.check()
    }

    fn position(&self) -> masker_types::vault_position::VaultPosition {
        self.rows.position()
    }

    fn bytes_on_disk(&self) -> StoreFuture<'_, u64> {
        self.rows.bytes_on_disk()
    }

    fn compact(&self) -> StoreFuture<'_, CompactionSizes> {
        self.rows.compact()
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        self.rows.close()
    }
}
