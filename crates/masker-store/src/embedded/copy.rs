//! Copying the rows of one database into another while batches are applied.
//!
//! Rows go over in the order of their keys, a page at a time. A commit carries along what it changes among the rows
//! that were copied before; of the others it notes the keys until the page that is being read just then is over, for
//! nobody knows whether the page has them as they were or as they are. Then those of the page are copied again. So after
//! each page, and each commit, the copy holds what the database holds up to a cursor.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    database::Database,
    engine::{Engine, EngineWriter, ScanCursor},
    engine_error::EngineError,
    manifest::{CommitPosition, Manifest, RowTally},
};
use crate::{RowChange, RowKey};

/// Rows that are written at once: what a commit that carries something along waits for.
const ROWS_AT_ONCE: usize = 256;

/// Bytes of rows in a page, and those that are written at once beyond. The writer is asked twice a page. Large ones, so
/// that the copy outruns commits that make the rows more; small ones, so that little has changed in them meanwhile.
const PAGE_BYTES: usize = 1024 * 1024;

/// A copy that is being made, as the writer knows it.
pub(super) struct CompactionCopy {
    target: Arc<Engine>,
    /// Which rows were copied.
    cursor: ScanCursor,
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

impl CompactionCopy {
    /// Carries along what a commit has changed. That the copy fails is no matter to the commit.
    pub(super) fn mirror(&mut self, changes: &[RowChange], position: CommitPosition) {
        let (copied, others): (Vec<&RowChange>, Vec<&RowChange>) =
            changes.iter().partition(|change| self.cursor.covers(change.key()));
        self.changed.extend(others.into_iter().map(|change| change.key().clone()));
        if self.failed.is_none() && !copied.is_empty() {
            self.failed = self.target.write_unlogged(copied.into_iter(), position).err();
        }
    }
}

impl Engine {
    /// Begins to copy into an empty database, in place of any copy before.
    pub(super) fn begin_copy(&self, target: Arc<Engine>) {
        let mut writer = self.writer();
        target.set_manifest(Manifest { tally: RowTally::default(), ..writer.manifest });
        writer.copy =
            Some(CompactionCopy { target, cursor: ScanCursor::Start, changed: BTreeSet::new(), failed: None });
    }

    /// Copies a page; whether there may be more. For one caller at a time.
    pub(super) fn copy_page(&self) -> Result<bool, CopyError> {
        let (target, mut cursor, position) = {
            let mut writer = self.lock_for_step();
            let position = writer.manifest.position;
            let copy = writer.copy()?;
            copy.changed.clear();
            (Arc::clone(&copy.target), copy.cursor.clone(), position)
        };
        let mut bytes = 0;
        while bytes < PAGE_BYTES && cursor != ScanCursor::End {
            let page = self.rows_after(None, cursor.last(), ROWS_AT_ONCE).map_err(CopyError::Source)?;
            cursor.advance(&page);
            let rows = page.rows.into_iter().map(|(key, row)| RowChange::Put(key, row));
            let changes: Vec<RowChange> = rows.inspect(|change| bytes += bytes_of(change)).collect();
            target.write_unlogged(changes.iter(), position).map_err(CopyError::Target)?;
        }

        let mut writer = self.lock_for_step();
        let position = writer.manifest.position;
        let copy = writer.copy()?;
        let mut again = std::mem::take(&mut copy.changed);
        again.retain(|key| cursor.covers(key));
        let changes = self.with(|database| again.into_iter().map(|key| read_as_change(key, database)).collect());
        let changes: Vec<RowChange> = changes.map_err(CopyError::Source)?;
        target.write_unlogged(changes.iter(), position).map_err(CopyError::Target)?;
        copy.cursor = cursor;
        Ok(copy.cursor != ScanCursor::End)
    }

    /// Lets go of the copy, if there is one.
    pub(super) fn end_copy(&self) {
        self.writer().copy = None;
    }
}

fn bytes_of(change: &RowChange) -> usize {
    change.key().as_bytes().len() + if let RowChange::Put(_, row) = change { row.len() } else { 0 }
}

/// What makes the row of a key what it is here.
fn read_as_change(key: RowKey, database: &dyn Database) -> Result<RowChange, EngineError> {
    Ok(match database.get(&key)? {
        Some(row) => RowChange::Put(key, row),
        None => RowChange::Remove(key),
    })
}

impl EngineWriter {
    /// The copy that is being made, as long as it is one.
    fn copy(&mut self) -> Result<&mut CompactionCopy, CopyError> {
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
