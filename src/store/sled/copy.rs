//! Copying the rows of one database into another while batches are applied.
//!
//! Rows go over in the order of their keys, some at a time, under the writer's lock. A commit carries along what it
//! changes among the rows that were copied before; the others it need not care for, for their turn comes. So, at
//! every moment between two commits, the copy holds what the database holds up to a cursor.

use std::sync::Arc;

use super::{
    books::{Books, Position, Tally},
    engine::{Engine, EngineError, Writer, rows_after},
    rows,
};
use crate::store::{Batch, Change};

/// A copy that is being made.
pub(super) struct Copy {
    target: Arc<Engine>,
    /// The head of the last row that was copied.
    cursor: Vec<u8>,
    /// Why the copy is not one any more.
    failed: Option<EngineError>,
}

/// Which of the two databases failed.
pub(super) enum CopyError {
    Source(EngineError),
    Target(EngineError),
}

impl Copy {
    /// Carries along what a commit has changed. That the copy fails is no matter to the commit.
    pub(super) fn carry(&mut self, batch: &Batch, position: Position) {
        let copied = |change: &&Change| rows::head_key(change.key()) <= self.cursor;
        let changes: Vec<&Change> = batch.changes.iter().filter(copied).collect();
        if self.failed.is_none() && !changes.is_empty() {
            self.failed = self.target.absorb(&changes, position).err();
        }
    }
}

impl Engine {
    /// Begins to copy into an empty database, in place of any copy before.
    pub(super) fn begin_copy(&self, target: Arc<Engine>) {
        let mut writer = self.writer();
        target.set_books(Books { tally: Tally::default(), ..writer.books });
        writer.copy = Some(Copy { target, cursor: Vec::new(), failed: None });
    }

    /// Copies up to `limit` rows; whether there may be more.
    pub(super) fn copy_more(&self, limit: usize) -> Result<bool, CopyError> {
        let mut writer = self.writer_after_commits();
        let Some(mut copy) = writer.copy.take() else { return Err(CopyError::Source(EngineError::Gone)) };
        if let Some(failed) = copy.failed {
            return Err(CopyError::Target(failed));
        }
        let found = self.with_tree(|tree| rows_after(tree, &copy.cursor, limit)).map_err(CopyError::Source)?;
        let more = found.len() == limit;
        copy.cursor = match found.last() {
            Some((key, _)) if more => rows::head_key(key),
            _ => rows::AFTER_HEADS.into(),
        };
        let changes: Vec<Change> = found.into_iter().map(|(key, row)| Change::Put(key, row)).collect();
        let changes: Vec<&Change> = changes.iter().collect();
        copy.target.absorb(&changes, writer.books.position).map_err(CopyError::Target)?;
        writer.copy = Some(copy);
        Ok(more)
    }

    /// Lets go of the copy, if there is one.
    pub(super) fn end_copy(&self) {
        self.writer().copy = None;
    }
}

impl Writer {
    /// Lets go of a copy that is complete, for the target to go on by itself.
    pub(super) fn end_copy(&mut self) -> Result<(), CopyError> {
        match self.copy.take() {
            None => Err(CopyError::Source(EngineError::Gone)),
            Some(Copy { failed: Some(failed), .. }) => Err(CopyError::Target(failed)),
            Some(_) => Ok(()),
        }
    }
}
