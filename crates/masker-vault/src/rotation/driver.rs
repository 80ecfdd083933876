//! Rotations driven to their end: step after step, at the pace that the vault's other work leaves.

use std::{
    sync::{MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use super::{
    RotationId, RotationTracker, RotationsState, StepBudget,
    proof::ProofScan,
    step::{Prefetched, StepProgress},
};
use crate::{Vault, VaultError};
use masker_audit::{AuditEvent, AuditOperation, DetailValue};
use masker_store::record::RotationRow;
use masker_types::limits::{ROTATION_RECORDS_MAX, ROTATION_RECORDS_MIN};

/// Pause after a step that failed, such as on a full disk.
const PAUSE: Duration = Duration::from_secs(1);
/// Fewer requests than these during a step are none to make room for.
const REQUESTS_FEW: u64 = 3;
/// Steps in which a rotation that is throttled spends what it may in a second.
const STEPS_PER_SECOND: u64 = 10;

/// What this process knows of a rotation beside its row.
#[derive(Default)]
pub(crate) struct RotationProgress {
    /// When this process began with it, in milliseconds of Unix time, and how many records were done by then.
    pub(super) began: Option<(u64, u64)>,
    /// The proving pass, while it is not being stepped.
    pass: Option<ProofScan>,
}

impl RotationTracker {
    pub(super) fn state(&self) -> MutexGuard<'_, RotationsState> {
        // Every change is one assignment or one call on a map.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_prefetched(&self) -> Option<Prefetched> {
        self.state().ahead.take()
    }

    pub(super) fn set_prefetched(&self, ahead: Prefetched) {
        self.state().ahead = Some(ahead);
    }

    pub(super) fn take_proof_scan(&self, id: RotationId) -> ProofScan {
        self.state().progress_of(id).pass.take().unwrap_or_default()
    }

    pub(super) fn set_proof_scan(&self, id: RotationId, pass: ProofScan) {
        self.state().progress_of(id).pass = Some(pass);
    }
}

impl RotationsState {
    /// What is known of this rotation; of another one nothing is remembered.
    fn progress_of(&mut self, id: RotationId) -> &mut RotationProgress {
        if self.progress.as_ref().is_none_or(|(of, _)| *of != id) {
            self.progress = None;
        }
        &mut self.progress.get_or_insert_with(|| (id, RotationProgress::default())).1
    }

    pub(super) fn find_progress(&self, id: RotationId) -> Option<&RotationProgress> {
        self.progress.as_ref().filter(|(of, _)| *of == id).map(|(_, progress)| progress)
    }
}

impl Vault {
    /// Drives rotations until told to stop: those that were begun before the process started, too.
    pub async fn drive_rotations(&self, mut stop: watch::Receiver<bool>) {
        let mut pace = StepPacer::default();
        let mut failing = false;
        loop {
            if *stop.borrow() {
                return;
            }
            let Some((id, row)) = self.running().or_else(|| self.next_dry_run()) else {
                tokio::select! {
                    () = self.shared.rotations.wake.notified() => continue,
                    stopped = stop.wait_for(|stop| *stop) => return drop(stopped),
                }
            };
            self.set_started(id, &row);
            let (began, requests) = (Instant::now(), self.requests());
            let budget = StepBudget { records: within(pace.records, row.rows_per_second_max) };
            let stepped = match self.shared.ledger.load().rotations.contains_key(&id) {
                true => self.step_rotation(budget).await,
                false => self.step_dry_run(id, budget).await,
            };
            let pause = match stepped {
                Ok(StepProgress::Read(read)) => {
                    failing = false;
                    let took = began.elapsed();
                    let rest = pace.after_step(self.requests() - requests, took);
                    rest.max(pause_for(read, row.rows_per_second_max).saturating_sub(took))
                }
                Ok(StepProgress::Idle) => Duration::ZERO,
                Err(VaultError::Stopped) => return,
                Err(failed) => {
                    if !failing {
                        warn!(rotation = %id, error = %failed, "a rotation waits: its step failed, and is tried again");
                    }
                    failing = true;
                    PAUSE
                }
            };
            self.log_rotation_end(id).await;
            if pause.is_zero() {
                tokio::task::yield_now().await;
            } else if timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
                return;
            }
        }
    }

    fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    fn set_started(&self, id: RotationId, row: &RotationRow) {
        let now_ms = self.now_ms();
        let mut state = self.shared.rotations.state();
        state.progress_of(id).began.get_or_insert((now_ms, row.rows_resealed + row.rows_failed));
    }

    /// Tells both logs of the end of a rotation that was just driven.
    async fn log_rotation_end(&self, id: RotationId) {
        let Some(status) = self.find_rotation(id).filter(|status| status.finished_at.is_some()) else { return };
        let state = status.state.as_str();
        if let Some(detail) = &status.detail {
            warn!(rotation = %id, state, rows = status.rows_resealed, failed = status.rows_failed, "{detail}");
        } else {
            info!(rotation = %id, state, rows = status.rows_resealed, "a rotation has ended");
        }
        let Some(log) = self.shared.audit_anchor.log() else { return };
        let (id, kid, old_kid) = (id.to_string(), status.new_kid.to_string(), status.old_kid.to_string());
        let fingerprint = status.fingerprint.to_string();
        let detail = [
            ("dry_run", DetailValue::Flag(status.dry_run)),
            ("fingerprint", DetailValue::Text(&fingerprint)),
            ("new_kid", DetailValue::Text(&kid)),
            ("old_kid", DetailValue::Text(&old_kid)),
            ("rotation", DetailValue::Text(&id)),
            ("rows_failed", DetailValue::Number(status.rows_failed)),
            ("rows_resealed", DetailValue::Number(status.rows_resealed)),
        ];
        if let Err(failed) =
            log.record(&AuditEvent { detail: &detail, ..AuditEvent::new(AuditOperation::RotationEnd, state) }).await
        {
            warn!(rotation = id, error = %failed, "the audit log was not told of a rotation's end");
        }
    }
}

/// How much a step does, by what else the daemon has to do.
struct StepPacer {
    records: usize,
}

impl Default for StepPacer {
    fn default() -> Self {
        StepPacer { records: ROTATION_RECORDS_MIN }
    }
}

impl StepPacer {
    /// Takes account of a step that took so long, and of the requests that were worked on meanwhile. Says how long to rest
    /// before the next one.
    fn after_step(&mut self, requests: u64, took: Duration) -> Duration {
        if requests < REQUESTS_FEW {
            self.records = (self.records * 2).min(ROTATION_RECORDS_MAX);
            return Duration::ZERO;
        }
        self.records = (self.records / 4).max(ROTATION_RECORDS_MIN);
        // Half of the time belongs to the requests alone.
        took
    }
}

/// The records of a step under a limit of so many a second.
fn within(records: usize, per_second_max: u64) -> usize {
    match per_second_max {
        0 => records,
        limit => records.min(usize::try_from(limit.div_ceil(STEPS_PER_SECOND)).unwrap_or(records)),
    }
}

/// How long a step over so many records must take at least under a limit of so many a second.
fn pause_for(records: usize, per_second_max: u64) -> Duration {
    match per_second_max {
        0 => Duration::ZERO,
        limit => Duration::from_secs_f64(records as f64 / limit as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_shrink_beside_requests_and_grow_without_them() {
        let (mut pace, took) = (StepPacer::default(), Duration::from_millis(7));
        for _ in 0..10 {
            assert_eq!(pace.after_step(0, took), Duration::ZERO);
        }
        assert_eq!(pace.records, ROTATION_RECORDS_MAX);
        assert_eq!((pace.after_step(100, took), pace.records), (took, ROTATION_RECORDS_MAX / 4));
        for _ in 0..10 {
            pace.after_step(100, took);
        }
        assert_eq!(pace.records, ROTATION_RECORDS_MIN);
    }

    #[test]
    fn a_limit_is_kept_to_by_small_steps_and_pauses() {
        assert_eq!((within(1_024, 0), pause_for(1_024, 0)), (1_024, Duration::ZERO));
        assert_eq!((within(1_024, 500), pause_for(50, 500)), (50, Duration::from_millis(100)));
        assert_eq!((within(1_024, 1), pause_for(1, 1)), (1, Duration::from_secs(1)));
        assert_eq!(within(16, u64::MAX), 16);
    }
}
