//! Rows in sled's tree: found, put together from their pieces, and written.

use super::{
    failure::EngineError,
    rows::{self, Head},
};
use crate::store::{Row, RowKey};

/// Adds to a batch what makes the row of `key` become `new`, whatever pieces the old one had.
pub(super) fn write(writes: &mut sled::Batch, key: &RowKey, old_length: usize, new: Option<&[u8]>, sequence: u64) {
    let mut kept = 0;
    match new {
        None => writes.remove(rows::head_key(key)),
        Some(row) => {
            let (head, pieces) = rows::cut(row, sequence);
            writes.insert(rows::head_key(key), head);
            for piece in pieces {
                kept += 1;
                writes.insert(rows::piece_key(key, kept), piece);
            }
        }
    }
    for stale in kept + 1..=rows::further_pieces(old_length) {
        writes.remove(rows::piece_key(key, stale));
    }
}

/// The row of a key.
pub(super) fn get(tree: &sled::Tree, key: &RowKey) -> Result<Option<Row>, EngineError> {
    match tree.get(rows::head_key(key))? {
        None => Ok(None),
        Some(head) => whole_row(tree, key, head),
    }
}

/// The row whose head was just read. A batch applied since can have changed the pieces; then the head has changed
/// as well, and all is read again.
pub(super) fn whole_row(tree: &sled::Tree, key: &RowKey, mut value: sled::IVec) -> Result<Option<Row>, EngineError> {
    loop {
        let (sequence, length, first) = match rows::head(&value)? {
            Head::Whole(row) => return Ok(Some(row.to_vec())),
            Head::Cut { sequence, length, first } => (sequence, length, first),
        };
        if let Some(row) = rows::join((sequence, length, first), |number| tree.get(rows::piece_key(key, number)))? {
            return Ok(Some(row));
        }
        match tree.get(rows::head_key(key))? {
            None => return Ok(None),
            Some(again) if again == value => return Err(EngineError::Damaged("a piece of a row is missing")),
            Some(again) => value = again,
        }
    }
}

/// The heads of a space, from the first after `after`.
pub(super) fn heads_after(
    tree: &sled::Tree,
    space: u8,
    after: Option<&RowKey>,
) -> impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let space = rows::heads_of(space);
    let from = match after.map(rows::head_key) {
        Some(key) if key.as_slice() >= space.as_slice() => Excluded(key),
        _ => Included(space.to_vec()),
    };
    let heads = tree.range((from, Unbounded));
    heads.take_while(move |entry| entry.as_ref().map_or(true, |(physical, _)| physical.starts_with(&space)))
}

/// Up to `limit` rows of every space whose heads come after `cursor`, without those that go meanwhile. Fewer: there are
/// no more.
pub(super) fn rows_after(
    tree: &sled::Tree,
    cursor: &[u8],
    limit: usize,
) -> Result<Vec<(RowKey, Option<Row>)>, EngineError> {
    use std::ops::Bound::{Excluded, Unbounded};
    let mut rows = Vec::new();
    let from = cursor.max(&rows::BOOKS_KEY);
    for entry in tree.range::<&[u8], _>((Excluded(from), Unbounded)).take(limit) {
        let (physical, head) = entry?;
        if !physical.starts_with(&rows::ALL_HEADS) {
            break;
        }
        let key = rows::logical_key(&physical)?;
        let row = whole_row(tree, &key, head)?;
        rows.push((key, row));
    }
    Ok(rows)
}
