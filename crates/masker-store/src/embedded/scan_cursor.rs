//! The progress of work that takes all rows in the order of their keys: a check, or a copy.

use crate::{RowKey, RowPage};

/// The progress of the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ScanCursor {
    Start,
    After(RowKey),
    End,
}

impl ScanCursor {
    /// Returns whether the work has passed this key.
    pub(super) fn covers(&self, key: &RowKey) -> bool {
        match self {
            ScanCursor::Start => false,
            ScanCursor::After(last) => key <= last,
            ScanCursor::End => true,
        }
    }

    /// Returns the key that the next page begins after.
    pub(super) fn last(&self) -> Option<&RowKey> {
        match self {
            ScanCursor::After(last) => Some(last),
            ScanCursor::Start | ScanCursor::End => None,
        }
    }

    /// Moves past the next page.
    pub(super) fn advance(&mut self, page: &RowPage) {
        *self = match page.rows.last() {
            Some((key, _)) if !page.is_last => ScanCursor::After(key.clone()),
            _ => ScanCursor::End,
        };
    }
}
