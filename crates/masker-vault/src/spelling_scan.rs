//! Scans of the records with one match part. A form can have millions of spellings, so they are read page by page.

use std::ops::ControlFlow;

use super::records;
use masker_core::crypto::{MatchPart, TokenId};
use masker_store::{Row, RowKey, Store, StoreError};

/// Records read at a time. Nearly every form has fewer spellings.
pub(crate) const SPELLINGS_AT_ONCE: usize = 64;

/// Visits the records with a match part that come after `after`, or all, in the order of their ids. Returns the value that
/// `visit` breaks with.
pub(crate) async fn visit_spellings<B>(
    store: &dyn Store,
    part: MatchPart,
    after: Option<TokenId>,
    mut visit: impl FnMut(TokenId, Row) -> ControlFlow<B>,
) -> Result<Option<B>, StoreError> {
    let prefix = RowKey::records_with(part.as_bytes());
    let mut after = after.map_or_else(|| prefix.clone(), |id| RowKey::record(id.as_bytes()));
    loop {
        let mut page = store.scan_after(prefix.space(), Some(after), SPELLINGS_AT_ONCE).await?;
        let last = page.rows.last().map(|(key, _)| key.clone());
        page.rows.retain(|(key, _)| key.begins_with(&prefix));
        for (id, row) in records::with_ids(page.rows) {
            if let ControlFlow::Break(found) = visit(id, row) {
                return Ok(Some(found));
            }
        }
        match last.filter(|last| !page.is_last && last.begins_with(&prefix)) {
            Some(last) => after = last,
            None => return Ok(None),
        }
    }
}
