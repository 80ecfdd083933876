//! Drives rotations to their end, step by step, at a pace that leaves room for requests.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use super::{
    service::RotationService,
    step::{StepBudget, StepProgress},
};
use crate::{VaultError, ids::RotationId, time};
use masker_audit::{AuditEvent, AuditOperation, DetailValue};
use masker_store::record::RotationRow;
use masker_types::limits::{ROTATION_RECORDS_MAX, ROTATION_RECORDS_MIN};

/// The pause after a step that failed, on a full disk for example.
const PAUSE: Duration = Duration::from_secs(1);
/// A step makes room for requests only if at least this many came during it.
const REQUESTS_FEW: u64 = 3;
/// The steps a second of a rotation with a limit of rows.
const STEPS_PER_SECOND: u64 = 10;

impl RotationService {
    /// Implements [`Vault::drive_rotations`](crate::Vault::drive_rotations).
    pub(crate) async fn drive_rotations(&self, mut stop: watch::Receiver<bool>) {
        let mut pacer = StepPacer::default();
        let mut failing = false;
        loop {
            if *stop.borrow() {
                return;
            }
            let Some((id, row)) = self.running().or_else(|| self.next_dry_run()) else {
                tokio::select! {
                    () = self.tracker.wake.notified() => continue,
                    stopped = stop.wait_for(|stop| *stop) => return drop(stopped),
                }
            };
            self.set_started(id, &row);
            let (began, requests) = (Instant::now(), self.requests());
            let budget = StepBudget { records: step_records(pacer.records, row.rows_per_second_max) };
            let stepped = match self.ledger.load().rotations.contains_key(&id) {
                true => self.step_rotation(budget).await,
                false => self.step_dry_run(id, budget).await,
            };
            let pause = match stepped {
                Ok(StepProgress::Read(read)) => {
                    failing = false;
                    let took = began.elapsed();
                    let rest = pacer.after_step(self.requests() - requests, took);
                    rest.max(step_duration_min(read, row.rows_per_second_max).saturating_sub(took))
                }
                Ok(StepProgress::Idle) => Duration::ZERO,
                Err(VaultError::Stopped) => return,
                Err(failed) => {
                    if !failing {
                        warn!(rotation = %id, error = %failed, "failed to step a rotation; retrying");
                    }
                    failing = true;
                    PAUSE
                }
            };
            self.record_end(id).await;
            if pause.is_zero() {
                tokio::task::yield_now().await;
            } else if timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
                return;
            }
        }
    }

    fn requests(&self) -> u64 {
        self.counters.requests()
    }

    fn set_started(&self, id: RotationId, row: &RotationRow) {
        let now_ms = time::unix_ms(&self.clock);
        let mut state = self.tracker.state();
        state.progress_of(id).began.get_or_insert((now_ms, row.rows_resealed + row.rows_failed));
    }

    /// Writes the end of a rotation to the log and to the audit log, once it has ended. Only the first call does.
    pub(super) async fn record_end(&self, id: RotationId) {
        let Some(status) = self.find_rotation(id).filter(|status| status.finished_at.is_some()) else { return };
        if std::mem::replace(&mut self.tracker.state().progress_of(id).is_end_recorded, true) {
            return;
        }
        let state = status.state.as_str();
        if let Some(detail) = &status.detail {
            warn!(rotation = %id, state, rows = status.rows_resealed, failed = status.rows_failed, "{detail}");
        } else {
            info!(rotation = %id, state, rows = status.rows_resealed, "rotation ended");
        }
        let Some(log) = self.audit_anchor.log() else { return };
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
            warn!(rotation = id, error = %failed, "failed to record the end of a rotation in the audit log");
        }
    }
}

/// Sets the size of steps by the requests that come meanwhile.
struct StepPacer {
    records: usize,
}

impl Default for StepPacer {
    fn default() -> Self {
        StepPacer { records: ROTATION_RECORDS_MIN }
    }
}

impl StepPacer {
    /// Adjusts to a step that took so long and to the requests during it. Returns how long to rest before the next one.
    fn after_step(&mut self, requests: u64, took: Duration) -> Duration {
        if requests < REQUESTS_FEW {
            self.records = (self.records * 2).min(ROTATION_RECORDS_MAX);
            return Duration::ZERO;
        }
        self.records = (self.records / 4).max(ROTATION_RECORDS_MIN);
        // The requests get half of the time to themselves.
        took
    }
}

/// Returns the records of a step under a limit of rows a second.
fn step_records(records: usize, per_second_max: u64) -> usize {
    match per_second_max {
        0 => records,
        limit => records.min(usize::try_from(limit.div_ceil(STEPS_PER_SECOND)).unwrap_or(records)),
    }
}

/// Returns how long a step over so many records must take at least under a limit of rows a second.
fn step_duration_min(records: usize, per_second_max: u64) -> Duration {
    match per_second_max {
        0 => Duration::ZERO,
        limit => Duration::from_secs_f64(records as f64 / limit as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_shrink_with_requests_and_grow_without_them() {
        let (mut pacer, took) = (StepPacer::default(), Duration::from_millis(7));
        for _ in 0..10 {
            assert_eq!(pacer.after_step(0, took), Duration::ZERO);
        }
        assert_eq!(pacer.records, ROTATION_RECORDS_MAX);
        assert_eq!((pacer.after_step(100, took), pacer.records), (took, ROTATION_RECORDS_MAX / 4));
        for _ in 0..10 {
            pacer.after_step(100, took);
        }
        assert_eq!(pacer.records, ROTATION_RECORDS_MIN);
    }

    #[test]
    fn keeps_a_limit_by_small_steps_and_pauses() {
        assert_eq!((step_records(1_024, 0), step_duration_min(1_024, 0)), (1_024, Duration::ZERO));
        assert_eq!((step_records(1_024, 500), step_duration_min(50, 500)), (50, Duration::from_millis(100)));
        assert_eq!((step_records(1_024, 1), step_duration_min(1, 1)), (1, Duration::from_secs(1)));
        assert_eq!(step_records(16, u64::MAX), 16);
    }
}
