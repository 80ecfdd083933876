//! Copying the rows of one database into another while batches are applied.
//!
//! Rows are copied in the order of their keys, a page at a time. The copy listens to the commits of its source. Changes
//! to rows that were copied before are applied to the target at once. Keys of other changed rows are noted until the
//! current page is done: the page may have been read before the change or after it. Then the noted rows of the page are
//! copied again. So after each page, and after each commit, the target equals the source up to a cursor.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    database::Database,
    engine::{CommitListener, Engine, EngineWriter},
    engine_error::EngineError,
    manifest::{CommitPosition, Manifest, RowTally},
    scan_cursor::ScanCursor,
};
use crate::{RowChange, RowKey};

/// Rows written at once. A commit that applies changes to the target waits this long.
const ROWS_PER_WRITE: usize = 256;

/// Bytes of rows in a page, exceeded by less than one write. Each page takes the source's writer twice: large pages let
/// the copy outrun commits that add rows, and small ones leave few rows to copy again.
const PAGE_BYTES: usize = 1024 * 1024;

/// A copy in progress.
pub(super) struct EngineCopy {
    source: Arc<Engine>,
    progress: Arc<CopyProgress>,
}

/// The part of a copy that the source's writer updates with each commit.
struct CopyProgress {
    target: Arc<Engine>,
    /// Locked after the source's writer and before the target's.
    state: Mutex<CopyState>,
}

struct CopyState {
    /// The rows that were copied.
    cursor: ScanCursor,
    /// Keys after the cursor that changed since the current page began.
    changed: BTreeSet<RowKey>,
    /// Why the target no longer follows the source.
    failed: Option<EngineError>,
}

/// Which of the two databases failed.
pub(super) enum CopyError {
    Source(EngineError),
    Target(EngineError),
}

impl EngineCopy {
    /// Starts copying into an empty database. Ends any copy of the source that was in progress.
    pub(super) fn begin(source: &Arc<Engine>, target: Arc<Engine>) -> Self {
        let state = CopyState { cursor: ScanCursor::Start, changed: BTreeSet::new(), failed: None };
        let progress = Arc::new(CopyProgress { target, state: Mutex::new(state) });
        let mut writer = source.writer();
        progress.target.set_manifest(Manifest { tally: RowTally::default(), ..writer.manifest });
        writer.listener = Some(Arc::clone(&progress) as Arc<dyn CommitListener>);
        drop(writer);
        EngineCopy { source: Arc::clone(source), progress }
    }

    /// Returns the database that is copied into.
    pub(super) fn target(&self) -> &Arc<Engine> {
        &self.progress.target
    }

    /// Copies a page. Returns whether there may be more. One caller at a time.
    pub(super) fn copy_page(&self) -> Result<bool, CopyError> {
        let target = self.target();
        let (mut cursor, position) = {
            let writer = self.source.lock_for_step();
            let mut state = self.state(&writer)?;
            state.changed.clear();
            (state.cursor.clone(), writer.manifest.position)
        };
        let mut bytes = 0;
        while bytes < PAGE_BYTES && cursor != ScanCursor::End {
            let page = self.source.scan_after(None, cursor.last(), ROWS_PER_WRITE).map_err(CopyError::Source)?;
            cursor.advance(&page);
            let rows = page.rows.into_iter().map(|(key, row)| RowChange::Put(key, row));
            let changes: Vec<RowChange> = rows.inspect(|change| bytes += change_bytes(change)).collect();
            target.write_unsynced(changes.iter(), position).map_err(CopyError::Target)?;
        }

        let writer = self.source.lock_for_step();
        let position = writer.manifest.position;
        let mut state = self.state(&writer)?;
        let mut again = std::mem::take(&mut state.changed);
        again.retain(|key| cursor.covers(key));
        let changes = self.source.with(|database| again.into_iter().map(|key| read_as_change(key, database)).collect());
        let changes: Vec<RowChange> = changes.map_err(CopyError::Source)?;
        target.write_unsynced(changes.iter(), position).map_err(CopyError::Target)?;
        state.cursor = cursor;
        Ok(state.cursor != ScanCursor::End)
    }

    /// Ends a complete copy under the source's writer: from here on, the two databases are independent.
    pub(super) fn finish(&self, writer: &mut EngineWriter) -> Result<(), CopyError> {
        drop(self.state(writer)?);
        writer.listener = None;
        Ok(())
    }

    /// Returns the state, as long as the target follows the source.
    fn state(&self, writer: &EngineWriter) -> Result<MutexGuard<'_, CopyState>, CopyError> {
        let mut state = self.progress.lock();
        if let Some(failed) = state.failed.take() {
            return Err(CopyError::Target(failed));
        }
        // A failed commit may be in the source in part.
        if writer.closed { Err(CopyError::Source(EngineError::Closed)) } else { Ok(state) }
    }
}

impl CopyProgress {
    fn lock(&self) -> MutexGuard<'_, CopyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommitListener for CopyProgress {
    /// Applies a commit to the rows that were copied. A failure ends the copy and not the commit.
    fn committed(&self, changes: &[RowChange], position: CommitPosition) {
        let mut state = self.lock();
        let (copied, others): (Vec<&RowChange>, Vec<&RowChange>) =
            changes.iter().partition(|change| state.cursor.covers(change.key()));
        state.changed.extend(others.into_iter().map(|change| change.key().clone()));
        if state.failed.is_none() && !copied.is_empty() {
            state.failed = self.target.write_unsynced(copied.into_iter(), position).err();
        }
    }
}

fn change_bytes(change: &RowChange) -> usize {
    change.key().as_bytes().len() + if let RowChange::Put(_, row) = change { row.len() } else { 0 }
}

/// Returns the change that makes the row under a key equal to this database's.
fn read_as_change(key: RowKey, database: &dyn Database) -> Result<RowChange, EngineError> {
    Ok(match database.get(&key)? {
        Some(row) => RowChange::Put(key, row),
        None => RowChange::Remove(key),
    })
}
