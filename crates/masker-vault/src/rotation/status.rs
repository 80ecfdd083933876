//! The status of rotations.

use data_encoding::HEXLOWER;
use jiff::Timestamp;

use super::{service::RotationService, tracker::RotationsState};
use crate::{
    ids::RotationId,
    time::{self, timestamp},
};
use masker_core::crypto::Fingerprint;
use masker_store::record::{RotationFault, RotationRow, RotationState};
use masker_types::kind::Kid;

/// The phase of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationPhase {
    /// It moves records.
    Moving,
    /// It has visited every record, and reads all rows again.
    Proving,
    /// It has ended.
    Ended,
}

impl RotationPhase {
    /// Returns the name that operators and clients see.
    pub const fn as_str(self) -> &'static str {
        match self {
            RotationPhase::Moving => "moving",
            RotationPhase::Proving => "proving",
            RotationPhase::Ended => "ended",
        }
    }
}

/// The status of a rotation.
#[derive(Clone)]
pub struct RotationStatus {
    /// Its id.
    pub id: RotationId,
    /// The kid whose active key records are moved to.
    pub new_kid: Kid,
    /// The fingerprint of that key.
    pub fingerprint: Fingerprint,
    /// The kid whose records are moved.
    pub old_kid: Kid,
    /// Whether nothing is written.
    pub dry_run: bool,
    /// Its state.
    pub state: RotationState,
    /// Its phase.
    pub phase: RotationPhase,
    /// Records to move, including those that were moved.
    pub rows_total: u64,
    /// Records that were moved or that failed.
    pub rows_done: u64,
    /// Records that were moved.
    pub rows_resealed: u64,
    /// Records that could not be moved.
    pub rows_failed: u64,
    /// Moved records whose value has another token under the new key, which a search finds first.
    pub conflicts: u64,
    /// Records done a second, since this process began to drive it.
    pub rows_per_second: f64,
    /// The most rows a second; 0 for no limit.
    pub rows_per_second_max: u64,
    /// Seconds until all records are moved at this rate; `None` if unknown.
    pub eta_seconds: Option<u64>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The first records that could not be moved, by their ids, and why.
    pub failures: Vec<(String, &'static str)>,
    /// What an operator should know and do, if it failed.
    pub detail: Option<String>,
}

impl RotationService {
    pub(super) fn find_rotation(&self, id: RotationId) -> Option<RotationStatus> {
        let state = self.tracker.state();
        let dry_run = state.dry_runs.get(&id).cloned();
        let (row, dry_run) = match dry_run {
            Some(row) => (row, true),
            None => (self.ledger.load().rotations.get(&id)?.clone(), false),
        };
        Some(status(id, &row, dry_run, time::unix_ms(&self.clock), &state))
    }

    /// Returns all rotations, the latest first.
    pub(super) fn all_rotations(&self) -> Vec<RotationStatus> {
        let state = self.tracker.state();
        let ledger = self.ledger.load();
        let rows = ledger.rotations.iter().map(|(id, row)| (*id, row, false));
        let dry_runs = state.dry_runs.iter().map(|(id, row)| (*id, row, true));
        let now_ms = time::unix_ms(&self.clock);
        let mut all: Vec<_> =
            rows.chain(dry_runs).map(|(id, row, dry_run)| status(id, row, dry_run, now_ms, &state)).collect();
        all.sort_by_key(|status| std::cmp::Reverse(status.id));
        all
    }
}

fn status(id: RotationId, row: &RotationRow, dry_run: bool, now_ms: u64, state: &RotationsState) -> RotationStatus {
    let rows_done = row.rows_resealed + row.rows_failed;
    let rows_total = row.rows_total.max(rows_done);
    let until_ms = row.finished_at_ms.unwrap_or(now_ms);
    let began = state.find_progress(id).and_then(|progress| progress.began).unwrap_or((row.started_at_ms, 0));
    let seconds = until_ms.saturating_sub(began.0) as f64 / 1_000.0;
    let done_since = rows_done.saturating_sub(began.1) as f64;
    let rows_per_second = if seconds > 0.0 { done_since / seconds } else { 0.0 };
    let phase = match (row.state, row.proving) {
        (RotationState::Running, false) => RotationPhase::Moving,
        (RotationState::Running, true) => RotationPhase::Proving,
        _ => RotationPhase::Ended,
    };
    let eta = (rows_total - rows_done) as f64 / rows_per_second;
    RotationStatus {
        id,
        new_kid: row.target_kid,
        fingerprint: Fingerprint::from_bytes(row.target),
        old_kid: row.source_kid,
        dry_run,
        state: row.state,
        phase,
        rows_total,
        rows_done,
        rows_resealed: row.rows_resealed,
        rows_failed: row.rows_failed,
        conflicts: row.conflicts,
        rows_per_second,
        rows_per_second_max: row.rows_per_second_max,
        eta_seconds: (phase == RotationPhase::Moving && eta.is_finite()).then_some(eta.ceil() as u64),
        started_at: timestamp(row.started_at_ms),
        finished_at: row.finished_at_ms.and_then(timestamp),
        failures: row.failures.iter().map(|(id, why)| (HEXLOWER.encode(id), why.as_str())).collect(),
        detail: row.fault.map(|fault| detail(fault, row, dry_run)),
    }
}

fn detail(fault: RotationFault, row: &RotationRow, dry_run: bool) -> String {
    let RotationRow { target_kid, source_kid, rows_failed, .. } = row;
    match fault {
        RotationFault::Records if dry_run => format!(
            "{rows_failed} records could not be opened: `masker vault check` describes them; a rotation would leave \
             them alone"
        ),
        RotationFault::Records => format!(
            "{rows_failed} records could not be opened and were left alone, every other one was moved: load the keys \
             that are missing, see `masker vault check`, and start another rotation; keep the old keys of {source_kid} \
             until one is done"
        ),
        RotationFault::TargetReplaced => format!(
            "the key that it moved records to is no longer the active key of {target_kid}: start another rotation"
        ),
        RotationFault::Unproven => format!(
            "the vault differs from its counts: keep the old keys of {source_kid}, and run `masker vault check`"
        ),
    }
}
