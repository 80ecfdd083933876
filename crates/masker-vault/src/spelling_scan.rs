//! Scans of the records with one match part, which are the spellings of a form. A form can have millions, so those that many
//! parts have are read up to a limit, and the others of one part page by page.

use std::ops::ControlFlow;

use super::records;
use masker_core::crypto::{MatchPart, TokenId};
use masker_store::{Row, RowKey, Store, StoreError};

/// Records read at a time. Nearly every form has fewer spellings.
pub(crate) const SPELLINGS_AT_ONCE: usize = 64;

/// The first records with a match part, in the order of their ids.
pub(crate) struct Spellings {
    part: MatchPart,
    pub(crate) records: Vec<(TokenId, Row)>,
    /// Whether the limit was reached, so that there can be more.
    pub(crate) is_cut: bool,
}

/// Reads the records with each of these match parts, up to `limit` for each.
pub(crate) async fn read_spellings(
    store: &dyn Store,
    parts: &[MatchPart],
    limit: usize,
) -> Result<Vec<Spellings>, StoreError> {
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let prefixes = parts.iter().map(|part| RowKey::records_with(part.as_bytes())).collect();
    let found = store.scan_prefixes(prefixes, limit).await?;
    let spellings = |(part, rows): (&MatchPart, Vec<(RowKey, Row)>)| {
        let is_cut = rows.len() >= limit;
        Spellings { part: *part, records: records::with_ids(rows), is_cut }
    };
    Ok(parts.iter().zip(found).map(spellings).collect())
}

impl Spellings {
    /// Visits the records that come after `after`, or after those that were read if it is earlier or `None`, in the order of
    /// their ids. Returns the value that `visit` breaks with.
    pub(crate) async fn visit_rest<B>(
        &self,
        store: &dyn Store,
        after: Option<TokenId>,
        mut visit: impl FnMut(TokenId, Row) -> ControlFlow<B>,
    ) -> Result<Option<B>, StoreError> {
        let prefix = RowKey::records_with(self.part.as_bytes());
        let Some(after) = after.max(self.end()).filter(|_| self.is_cut) else { return Ok(None) };
        let mut after = RowKey::record(after.as_bytes());
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

    /// Returns the last of the records that were read.
    pub(crate) fn end(&self) -> Option<TokenId> {
        self.records.last().map(|(id, _)| *id)
    }
}
