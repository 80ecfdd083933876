//! Rows that are neither searched nor counted: API keys, sessions, honeytokens, the audit log's head.

use crate::writer::{Change, CommitDraft, Lane};
use masker_store::RowChange;

/// Writes rows as they are. If a row changes twice, the later change counts.
///
/// Rows must be within the store's bounds, for they share a batch with other changes.
pub(crate) struct KeepRows(pub(crate) Vec<RowChange>);

impl Change for KeepRows {
    type Outcome = ();

    fn row_count(&self) -> usize {
        self.0.len()
    }

    fn lane(&self) -> Lane {
        Lane::Control
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>) {
        self.0.iter().for_each(|change| draft.write(change.clone()));
    }
}
