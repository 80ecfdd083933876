//! Rotations. Every step rewrites the row of its rotation.

use std::fmt;

use masker_types::kind::Kid;

use super::{
    bytes::{RowReader, RowWriter},
    layout::{LAYOUT_VERSION, RecordError},
};
use crate::Row;

/// Most failed records that a rotation's row names. Further ones are only counted.
pub const ROTATION_FAILURES_MAX: usize = 32;

/// The state of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationState {
    /// It runs, and continues after a restart.
    Running,
    /// A full pass has proven that nothing is left under the keys that it moved records from.
    Done,
    /// It has ended, and records are left.
    Failed,
    /// An operator cancelled it.
    Cancelled,
}

impl RotationState {
    const ALL: [RotationState; 4] =
        [RotationState::Running, RotationState::Done, RotationState::Failed, RotationState::Cancelled];

    /// Returns the name for operators and clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            RotationState::Running => "running",
            RotationState::Done => "done",
            RotationState::Failed => "failed",
            RotationState::Cancelled => "cancelled",
        }
    }
}

/// Why a record was not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResealFailure {
    /// Its row cannot be decoded.
    Undecodable,
    /// The key that seals it is not loaded.
    KeyNotLoaded,
    /// It does not decrypt under its key.
    DoesNotOpen,
    /// The index row under the target key is full.
    IndexFull,
    /// An index row under the target key does not verify.
    IndexDamaged,
}

impl ResealFailure {
    const ALL: [ResealFailure; 5] = [
        ResealFailure::Undecodable,
        ResealFailure::KeyNotLoaded,
        ResealFailure::DoesNotOpen,
        ResealFailure::IndexFull,
        ResealFailure::IndexDamaged,
    ];

    /// Returns a description for operators.
    pub const fn as_str(self) -> &'static str {
        match self {
            ResealFailure::Undecodable => "its row cannot be read",
            ResealFailure::KeyNotLoaded => "its key is not loaded",
            ResealFailure::DoesNotOpen => "it does not open under its own key",
            ResealFailure::IndexFull => "its index row under the target key is full",
            ResealFailure::IndexDamaged => "its index row under the target key is damaged",
        }
    }
}

/// Why a rotation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationFault {
    /// There are records that could not be moved.
    Records,
    /// The key that it moved records to is no longer the active one of its kid.
    TargetReplaced,
    /// The proving pass found records that should not exist, or the counts do not match the records.
    Unproven,
}

impl RotationFault {
    const ALL: [RotationFault; 3] = [RotationFault::Records, RotationFault::TargetReplaced, RotationFault::Unproven];
}

/// A rotation: the records that it moves, their new key, and its progress.
#[derive(Clone, PartialEq, Eq)]
pub struct RotationRow {
    /// The kid whose active key records are moved to.
    pub target_kid: Kid,
    /// The fingerprint of that key.
    pub target: [u8; 8],
    /// The kid whose records are moved: the target's, unless an operator chose another.
    pub source_kid: Kid,
    /// Its state.
    pub state: RotationState,
    /// Why it failed, if it did.
    pub fault: Option<RotationFault>,
    /// Whether every record was visited, and the rotation now looks for records that are left.
    pub proving: bool,
    /// When it was started.
    pub started_at_ms: u64,
    /// When it ended, if it did.
    pub finished_at_ms: Option<u64>,
    /// Most rows per second; 0 for no limit.
    pub rows_per_second_max: u64,
    /// Records that were moved or are still to be moved.
    pub rows_total: u64,
    /// Records that were moved.
    pub rows_resealed: u64,
    /// Records that had been moved when the current pass began.
    pub resealed_before_pass: u64,
    /// Records under the old key when the pass began.
    pub left_before_pass: u64,
    /// Records that could not be moved in the current pass.
    pub rows_failed: u64,
    /// Moved records whose value has another token under the target key, which a search finds first.
    pub conflicts: u64,
    /// The last record that was visited; `None` at the beginning of a pass.
    pub cursor: Option<[u8; 20]>,
    /// The first records that could not be moved, at most [`ROTATION_FAILURES_MAX`].
    pub failures: Vec<([u8; 20], ResealFailure)>,
}

impl fmt::Debug for RotationRow {
    /// Shows only the keys, the state and the progress: the ids of records are tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotationRow")
            .field("target_kid", &self.target_kid)
            .field("source_kid", &self.source_kid)
            .field("state", &self.state)
            .field("fault", &self.fault)
            .field("proving", &self.proving)
            .field("rows_total", &self.rows_total)
            .field("rows_resealed", &self.rows_resealed)
            .field("rows_failed", &self.rows_failed)
            .finish_non_exhaustive()
    }
}

impl RotationRow {
    /// Encodes the rotation as a row, with the first [`ROTATION_FAILURES_MAX`] failed records.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 192 + 17 * self.failures.len());
        row.flags([self.proving, self.finished_at_ms.is_some(), self.cursor.is_some(), self.fault.is_some()]);
        row.byte(number(&RotationState::ALL, &self.state));
        if let Some(fault) = &self.fault {
            row.byte(number(&RotationFault::ALL, fault));
        }
        row.name(self.target_kid.as_str());
        row.array(&self.target);
        row.name(self.source_kid.as_str());
        row.integer(self.started_at_ms);
        if let Some(finished_at_ms) = self.finished_at_ms {
            row.integer(finished_at_ms);
        }
        let counts = [
            self.rows_per_second_max,
            self.rows_total,
            self.rows_resealed,
            self.resealed_before_pass,
            self.left_before_pass,
            self.rows_failed,
            self.conflicts,
        ];
        counts.into_iter().for_each(|count| row.integer(count));
        if let Some(cursor) = &self.cursor {
            row.array(cursor);
        }
        for (id, why) in self.failures.iter().take(ROTATION_FAILURES_MAX) {
            row.byte(number(&ResealFailure::ALL, why));
            row.array(id);
        }
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let [proving, is_finished, has_cursor, has_fault] = row.flags()?;
        let rotation = RotationRow {
            state: numbered(&RotationState::ALL, row.byte()?)?,
            fault: has_fault.then(|| numbered(&RotationFault::ALL, row.byte()?)).transpose()?,
            proving,
            target_kid: row.kid()?,
            target: row.array()?,
            source_kid: row.kid()?,
            started_at_ms: row.integer()?,
            finished_at_ms: is_finished.then(|| row.integer()).transpose()?,
            rows_per_second_max: row.integer()?,
            rows_total: row.integer()?,
            rows_resealed: row.integer()?,
            resealed_before_pass: row.integer()?,
            left_before_pass: row.integer()?,
            rows_failed: row.integer()?,
            conflicts: row.integer()?,
            cursor: has_cursor.then(|| row.array()).transpose()?,
            failures: failures(row.rest())?,
        };
        if rotation.failures.len() > ROTATION_FAILURES_MAX {
            return Err(RecordError::Damaged("it has more failures than its layout allows"));
        }
        Ok(rotation)
    }

    /// Returns whether it runs.
    pub fn is_running(&self) -> bool {
        self.state == RotationState::Running
    }
}

fn failures(bytes: &[u8]) -> Result<Vec<([u8; 20], ResealFailure)>, RecordError> {
    let (failures, rest) = bytes.as_chunks::<21>();
    if !rest.is_empty() {
        return Err(RecordError::Damaged("it ends in the middle of a failure"));
    }
    let failure = |[why, id @ ..]: &[u8; 21]| Ok((*id, numbered(&ResealFailure::ALL, *why)?));
    failures.iter().map(failure).collect()
}

/// Returns the number of a value in a row: its index in `all`, from 1.
fn number<T: PartialEq>(all: &[T], value: &T) -> u8 {
    all.iter().position(|known| known == value).map_or(0, |index| index as u8 + 1)
}

fn numbered<T: Copy>(all: &[T], number: u8) -> Result<T, RecordError> {
    let index = usize::from(number).checked_sub(1);
    index.and_then(|index| all.get(index)).copied().ok_or(RecordError::Damaged("it has an unknown state"))
}

impl RotationRow {
    /// Updates the row after a step. `left` is the number of records still under the old key.
    pub fn record_step(&mut self, step: StepResult, left: u64, now_ms: u64) {
        self.rows_resealed += step.resealed;
        self.conflicts += step.conflicts;
        self.note_failures(step.failed);
        self.rows_total = self.rows_resealed + left;
        self.cursor = step.cursor;
        if self.cursor.is_none() {
            self.finish_pass(left, now_ms);
        }
    }

    /// Counts records that could not be moved, and keeps the first of them.
    pub fn note_failures(&mut self, failed: Vec<([u8; 20], ResealFailure)>) {
        self.rows_failed += failed.len() as u64;
        let room = ROTATION_FAILURES_MAX.saturating_sub(self.failures.len());
        self.failures.extend(failed.into_iter().take(room));
    }

    /// Ends a pass that visited every record. Records that are left have failed, or were written behind the cursor.
    fn finish_pass(&mut self, left: u64, now_ms: u64) {
        if left == 0 && self.rows_failed == 0 {
            self.proving = true;
        } else if left <= self.rows_failed {
            self.fail(RotationFault::Records, now_ms);
        } else if (self.rows_resealed, left) == (self.resealed_before_pass, self.left_before_pass) {
            // The counts name records that no pass finds.
            self.fail(RotationFault::Unproven, now_ms);
        } else {
            self.begin_pass(left);
        }
    }

    /// Begins a pass over every record.
    pub fn begin_pass(&mut self, left: u64) {
        self.proving = false;
        self.cursor = None;
        self.resealed_before_pass = self.rows_resealed;
        self.left_before_pass = left;
        self.rows_failed = 0;
        self.failures.clear();
    }

    /// Ends the rotation as failed.
    pub fn fail(&mut self, fault: RotationFault, now_ms: u64) {
        self.fault = Some(fault);
        self.finish(RotationState::Failed, now_ms);
    }

    /// Ends the rotation.
    pub fn finish(&mut self, state: RotationState, now_ms: u64) {
        self.state = state;
        self.finished_at_ms = Some(now_ms);
        self.cursor = None;
    }
}

/// The result of a step of a rotation.
pub struct StepResult {
    /// Records moved to the new key.
    pub resealed: u64,
    /// Records whose index belongs to another record.
    pub conflicts: u64,
    /// Records that could not be moved.
    pub failed: Vec<([u8; 20], ResealFailure)>,
    /// The last record visited; `None` at the end of the pass.
    pub cursor: Option<[u8; 20]>,
}
