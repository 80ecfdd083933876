//! A scan of the rows whose keys begin with a prefix, page by page.

use crate::{Row, RowKey, RowPage};

/// Rows of the first page. Most prefixes have one row; later pages are larger.
const FIRST_PAGE_ROWS: usize = 2;
/// Most rows of a page.
const PAGE_ROWS_MAX: usize = 1_024;

/// A scan of one prefix.
pub(crate) struct PrefixScan {
    prefix: RowKey,
    limit: usize,
    page_rows: usize,
    ended: bool,
    /// The rows found so far, in the order of their keys.
    pub(crate) rows: Vec<(RowKey, Row)>,
}

impl PrefixScan {
    /// Begins a scan that ends after `limit` rows.
    pub(crate) fn new(prefix: RowKey, limit: usize) -> Self {
        PrefixScan { prefix, limit, page_rows: FIRST_PAGE_ROWS, ended: limit == 0, rows: Vec::new() }
    }

    /// Returns the key after which the next page begins and how many rows to read; `None` at the end.
    pub(crate) fn next_page(&self) -> Option<(RowKey, usize)> {
        let after = self.rows.last().map_or(&self.prefix, |(key, _)| key);
        (!self.ended).then(|| (after.clone(), self.page_rows.min(self.limit - self.rows.len())))
    }

    /// Adds a page.
    pub(crate) fn add(&mut self, page: RowPage) {
        self.ended = page.is_last;
        for (key, row) in page.rows {
            if !key.begins_with(&self.prefix) {
                self.ended = true;
                return;
            }
            self.rows.push((key, row));
        }
        self.ended |= self.rows.len() >= self.limit;
        self.page_rows = (self.page_rows * 4).min(PAGE_ROWS_MAX);
    }
}
