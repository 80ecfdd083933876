//! Scans of a whole space, page by page, so that requests are served between pages.

use masker_store::{Row, RowKey, Store, StoreError};

/// Rows read at a time.
pub(super) const PAGE_ROWS: usize = 1_000;

/// A scan that continues where it stopped. A row that exists during the whole scan is seen once.
pub(super) struct PagedScan {
    space: u8,
    after: Option<RowKey>,
    finished: bool,
}

impl PagedScan {
    pub(super) fn new(space: u8) -> Self {
        PagedScan { space, after: None, finished: false }
    }

    /// Returns the next rows, in the order of their keys; `None` at the end.
    pub(super) async fn next(&mut self, store: &dyn Store) -> Result<Option<Vec<(RowKey, Row)>>, StoreError> {
        if self.finished {
            return Ok(None);
        }
        let page = store.scan_after(self.space, self.after.take(), PAGE_ROWS).await?;
        self.finished = page.is_last;
        self.after = page.rows.last().map(|(key, _)| key.clone());
        Ok(Some(page.rows))
    }
}
