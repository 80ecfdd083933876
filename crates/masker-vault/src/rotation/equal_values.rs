//! The records of one value, which move together.

use super::{key_move::KeyMove, reseal::VisitedRecord};
use crate::index_list;
use masker_core::crypto::{Index, TokenId};
use masker_store::{RowKey, Store, StoreError};

/// An entry of a value's row, with the index of the row.
pub(crate) type ListedId = (Index, TokenId);

/// Returns what the rows of each value list, in the order of its indexes.
pub(crate) async fn listed_ids(store: &dyn Store, values: &[&[Index]]) -> Result<Vec<Vec<ListedId>>, StoreError> {
    let keys = values.iter().copied().flatten().map(|index| RowKey::value_index(index.as_bytes())).collect();
    let mut rows = store.get_many(keys).await?.into_iter();
    let ids = |indexes: &&[Index]| {
        let mut listed = Vec::new();
        for (index, row) in indexes.iter().zip(rows.by_ref()) {
            let row = row.and_then(|row| index_list::decode::<TokenId>(&row));
            listed.extend(row.iter().flat_map(index_list::entries).map(|id| (*index, id)));
        }
        listed
    };
    Ok(values.iter().map(ids).collect())
}

/// Returns the records of one value that move together, of those that its rows list, in the same order.
pub(crate) async fn moving_together(
    store: &dyn Store,
    key_move: KeyMove,
    sources: &[Index],
    listed: Vec<ListedId>,
) -> Result<Vec<VisitedRecord>, StoreError> {
    let keys = listed.iter().map(|(_, id)| RowKey::record(id.as_bytes())).collect();
    let rows = store.get_many(keys).await?;
    let visited = listed.into_iter().zip(rows).filter_map(|((index, id), row)| {
        let row = row.filter(|row| key_move.takes_along(row, index))?;
        Some(VisitedRecord { id, row, sources: sources.to_vec() })
    });
    Ok(visited.collect())
}
