//! Reads and writes rows in sled's tree, joining and cutting them.

use super::row_pieces::{self, RowHead};
use crate::engine_error;
use masker_store::{
    Row, RowKey, RowPage,
    embedded::{EngineError, RowWrite},
};

/// Adds a row's change to a batch: the head, the pieces, and the removal of pieces of the old row that are left.
pub(super) fn write(writes: &mut ::sled::Batch, write: &RowWrite<'_>, sequence: u64) {
    let (key, mut pieces_written) = (write.key, 0);
    match write.row {
        None => writes.remove(row_pieces::head_key(key)),
        Some(row) => {
            let (head, pieces) = row_pieces::cut(row, sequence);
            writes.insert(row_pieces::head_key(key), head);
            for piece in pieces {
                pieces_written += 1;
                writes.insert(row_pieces::piece_key(key, pieces_written), piece);
            }
        }
    }
    for stale in pieces_written + 1..=row_pieces::extra_pieces(write.old_length) {
        writes.remove(row_pieces::piece_key(key, stale));
    }
}

/// Returns the row under a key.
pub(super) fn get(tree: &::sled::Tree, key: &RowKey) -> Result<Option<Row>, EngineError> {
    match tree.get(row_pieces::head_key(key)).map_err(engine_error)? {
        None => Ok(None),
        Some(head) => complete_row(tree, key, head),
    }
}

/// Returns the row whose head was just read. A batch may have changed the pieces since. Then the head has changed too, and
/// the row is read again.
pub(super) fn complete_row(
    tree: &::sled::Tree,
    key: &RowKey,
    mut value: ::sled::IVec,
) -> Result<Option<Row>, EngineError> {
    loop {
        let (sequence, length, first) = match row_pieces::head(&value)? {
            RowHead::Whole(row) => return Ok(Some(row.to_vec())),
            RowHead::Cut { sequence, length, first } => (sequence, length, first),
        };
        if let Some(row) =
            row_pieces::join((sequence, length, first), |number| tree.get(row_pieces::piece_key(key, number)))
                .map_err(engine_error)?
        {
            return Ok(Some(row));
        }
        match tree.get(row_pieces::head_key(key)).map_err(engine_error)? {
            None => return Ok(None),
            Some(again) if again == value => return Err(EngineError::Damaged("a piece of a row is missing")),
            Some(again) => value = again,
        }
    }
}

/// Returns up to `limit` rows of one space, or of all, after the key `after`.
pub(super) fn scan_after(
    tree: &::sled::Tree,
    space: Option<u8>,
    after: Option<&RowKey>,
    limit: usize,
) -> Result<RowPage, EngineError> {
    let mut rows = Vec::new();
    let mut heads = heads_after(tree, space, after);
    while rows.len() < limit {
        let Some(entry) = heads.next() else { return Ok(RowPage { rows, is_last: true }) };
        let (physical, head) = entry.map_err(engine_error)?;
        let key = row_pieces::logical_key(&physical)?;
        // The row may have been removed since its head was read.
        if let Some(row) = complete_row(tree, &key, head)? {
            rows.push((key, row));
        }
    }
    Ok(RowPage { rows, is_last: heads.next().transpose().map_err(engine_error)?.is_none() })
}

fn heads_after(
    tree: &::sled::Tree,
    space: Option<u8>,
    after: Option<&RowKey>,
) -> impl Iterator<Item = ::sled::Result<(::sled::IVec, ::sled::IVec)>> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let prefix = row_pieces::head_prefix(space);
    let from = match after.map(row_pieces::head_key) {
        Some(key) if key >= prefix => Excluded(key),
        _ => Included(prefix.clone()),
    };
    let heads = tree.range((from, Unbounded));
    heads.take_while(move |entry| entry.as_ref().map_or(true, |(physical, _)| physical.starts_with(&prefix)))
}
