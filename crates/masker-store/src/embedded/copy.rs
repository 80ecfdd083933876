//! Copying the rows of one database into another while batches are applied.
//!
//! Rows go over in the order of their keys, a page at a time. A commit carries along what it changes among the rows
//! that were copied before; of the others it notes the keys until the page that is being read just then is over, for
//! nobody knows whether the page has them as they were or as they are. Then those of the page are copied again. So after
//! each page, and each commit, the copy holds what the database holds up to a cursor.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    books::{Books, Position, Tally},
    database::Database,
    engine::{Cursor, Engine, Writer},
    failure::EngineError,
};
use crate::{Change, RowKey};

/// Rows that are written at once: what a commit that carries something along waits for.
const ROWS_AT_ONCE: usize = 256;

/// Bytes of rows in a page, and those that are written at once beyond. The writer is asked twice a page. Large ones, so
/// that the copy outruns commits that make the rows more; small ones, so that little has changed in them meanwhile.
const PAGE_BYTES: usize = 1024 * 1024;

/// A copy that is being made, as the writer knows it.
pub(super) struct Copy {
    target: Arc<Engine>,
    /// Which rows were copied.
    cursor: Cursor,
    /// Keys after the cursor that were changed since the page was begun.
    changed: BTreeSet<RowKey>,
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
    pub(super) fn carry(&mut self, changes: &[Change], position: Position) {
        let (copied, others): (Vec<&Change>, Vec<&Change>) =
            changes.iter().partition(|change| self.cursor.covers(change.key()));
        self.changed.extend(others.into_iter().map(|change| change.key().clone()));
        if self.failed.is_none() && !copied.is_empty() {
            self.failed = self.target.absorb(copied.into_iter(), position).err();
        }
    }
}

impl Engine {
    /// Begins to copy into an empty database, in place of any copy before.
    pub(super) fn begin_copy(&self, target: Arc<Engine>) {
        let mut writer = self.writer();
        target.set_books(Books { tally: Tally::default(), ..writer.books });
        writer.copy = Some(Copy { target, cursor: Cursor::Start, changed: BTreeSet::new(), failed: None });
    }

    /// Copies a page; whether there may be more. For one caller at a time.
    pub(super) fn copy_page(&self) -> Result<bool, CopyError> {
        let (target, mut cursor, position) = {
            let mut writer = self.writer_for_step();
            let position = writer.books.position;
            let copy = writer.copy()?;
            copy.changed.clear();
            (Arc::clone(&copy.target), copy.cursor.clone(), position)
        };
        let mut bytes = 0;
        while bytes < PAGE_BYTES && cursor != Cursor::End {
            let page = self.rows_after(None, cursor.last(), ROWS_AT_ONCE).map_err(CopyError::Source)?;
            cursor.advance(&page);
            let rows = page.rows.into_iter().map(|(key, row)| Change::Put(key, row));
            let changes: Vec<Change> = rows.inspect(|change| bytes += bytes_of(change)).collect();
            target.absorb(changes.iter(), position).map_err(CopyError::Target)?;
        }

        let mut writer = self.writer_for_step();
        let position = writer.books.position;
        let copy = writer.copy()?;
        let mut again = std::mem::take(&mut copy.changed);
        again.retain(|key| cursor.covers(key));
        let changes = self.with(|database| again.into_iter().map(|key| as_change(key, database)).collect());
        let changes: Vec<Change> = changes.map_err(CopyError::Source)?;
        target.absorb(changes.iter(), position).map_err(CopyError::Target)?;
        copy.cursor = cursor;
        Ok(copy.cursor != Cursor::End)
    }

    /// Lets go of the copy, if there is one.
    pub(super) fn end_copy(&self) {
        self.writer().copy = None;
    }
}

fn bytes_of(change: &Change) -> usize {
    change.key().as_bytes().len() + if let Change::Put(_, row) = change { row.len() } else { 0 }
}

/// What makes the row of a key what it is here.
fn as_change(key: RowKey, database: &dyn Database) -> Result<Change, EngineError> {
    Ok(match database.get(&key)? {
        Some(row) => Change::Put(key, row),
        None => Change::Remove(key),
    })
}

impl Writer {
    /// The copy that is being made, as long as it is one.
    fn copy(&mut self) -> Result<&mut Copy, CopyError> {
        let failed = self.copy.as_mut().and_then(|copy| copy.failed.take());
        // A commit that failed may be there in part.
        if failed.is_some() || self.over {
            self.copy = None;
        }
        match failed {
            Some(failed) => Err(CopyError::Target(failed)),
            None => self.copy.as_mut().ok_or(CopyError::Source(EngineError::Gone)),
        }
    }

    /// Lets go of a copy that is complete, for the target to go on by itself.
    pub(super) fn end_copy(&mut self) -> Result<(), CopyError> {
        self.copy()?;
        self.copy = None;
        Ok(())
    }
}
