//! The loop of the writer: gather, commit, answer.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::Instant,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::yield_now,
};
use tracing::{error, warn};

use super::{Job, PendingJob, caller_estimate::CallerEstimate, commit_group::CommitGroup};
use crate::{Ledger, VaultError, VaultShared};
use masker_store::{ApplyOutcome, RowBatch, RowChange, StoreError};
use masker_types::limits::COMMIT_ROWS_MAX;

/// How often a group is searched and applied again when the store says that something changed in between. With one
/// process in front of the store nothing does.
const ATTEMPTS_MAX: u32 = 3;

/// Commits what comes through the queue, until told to stop or everybody has gone.
pub(super) async fn run(shared: Arc<VaultShared>, jobs: mpsc::Receiver<Job>) {
    CommitLoop { shared, jobs, callers: CallerEstimate::default() }.run().await;
}

struct CommitLoop {
    shared: Arc<VaultShared>,
    jobs: mpsc::Receiver<Job>,
    callers: CallerEstimate,
}

impl CommitLoop {
    async fn run(mut self) {
        while let Some(first) = self.jobs.recv().await {
            let mut group = vec![first];
            self.gather(&mut group).await;
            let last = group.pop_if(|job| job.runs_alone());
            if !group.is_empty() {
                self.commit_and_answer(group).await;
            }
            match last {
                Some(Job::Stop(asked)) => {
                    let noted = self.note_key_use().await;
                    let closed = self.shared.store.close().await.map_err(VaultError::from);
                    return asked.done(&noted.and(closed));
                }
                // Alone in its group: what was asked for before it is written under the keys before it, and is there.
                Some(alone) => self.commit_and_answer(vec![alone]).await,
                None => {}
            }
        }
    }

    async fn commit_and_answer(&mut self, mut group: Vec<Job>) {
        let committed = self.commit(&mut group).await;
        self.callers.answered(group.len(), self.jobs.len());
        for job in group {
            job.answer(&committed);
        }
    }

    /// Takes what else is waiting, and what is about to come. The runtime's clock is too coarse for the wait, so the
    /// runtime's other tasks and then other threads are let go ahead as often as it takes.
    async fn gather(&mut self, group: &mut Vec<Job>) {
        let mut rows: usize = group.iter().map(Job::rows).sum();
        let began = Instant::now();
        let mut last_arrival = began;
        while rows < COMMIT_ROWS_MAX && !group.last().is_some_and(Job::runs_alone) {
            if let Ok(job) = self.jobs.try_recv() {
                rows += job.rows();
                group.push(job);
                last_arrival = Instant::now();
            } else if self.callers.should_wait(group.len(), began.elapsed(), last_arrival.elapsed()) {
                yield_now().await;
                thread::yield_now();
            } else {
                break;
            }
        }
    }

    /// Commits a group: durable when it returns, and every job has its outcome.
    async fn commit(&self, jobs: &mut [Job]) -> Result<(), VaultError> {
        if self.shared.ledger_stale.load(Ordering::Acquire) {
            self.reload_ledger().await?;
        }
        for _ in 0..ATTEMPTS_MAX {
            let keys = match &*jobs {
                [Job::PutKeys(asked)] => Arc::clone(&asked.work.keys),
                _ => self.shared.keys.load_full(),
            };
            let CommitGroup { draft, in_flight, mut changes, preconditions, .. } =
                CommitGroup::build(&self.shared, &keys, jobs).await?;
            let draft_changes = draft.changes();
            if changes.is_empty() && draft_changes.is_empty() {
                self.committed(jobs);
                return Ok(());
            }
            let audit_head_written = self.shared.audit_head().map(|(sequence, change)| {
                changes.insert(change.key().clone(), change);
                sequence
            });
            let mut changes: Vec<RowChange> = changes.into_values().collect();
            changes.extend(draft_changes);
            let rows = changes.len();
            let started = Instant::now();
            self.shared.in_flight.begin(in_flight);
            let applied = self.shared.store.apply(RowBatch { preconditions, changes }).await;
            self.shared.in_flight.end(applied.is_err());
            match applied {
                Ok(ApplyOutcome::Durable) => {
                    self.shared.metrics.commit_rows.observe(rows as f64);
                    self.shared.metrics.commit_duration.observe(started.elapsed().as_secs_f64());
                    self.shared.metrics.records.set(draft.ledger.records().cast_signed());
                    self.shared.ledger.store(Arc::new(draft.ledger));
                    audit_head_written.into_iter().for_each(|sequence| self.shared.set_audit_head_written(sequence));
                    self.committed(jobs);
                    return Ok(());
                }
                Ok(ApplyOutcome::Refused(precondition)) => {
                    warn!(precondition, "the vault changed under its writer; searching again");
                    self.reload_ledger().await?;
                }
                Err(failed) => {
                    error!(error = %failed, rows, "a commit failed; nothing of it was acknowledged");
                    // The batch may be there all the same. A store that does not answer now is asked again before the
                    // next commit.
                    drop(self.reload_ledger().await);
                    return Err(failed.into());
                }
            }
        }
        Err(StoreError::Unavailable("the vault kept changing under its writer".to_owned()).into())
    }

    /// What follows from a group's being durable: the keys that it brought come into force, and the use of keys that it
    /// wrote down is not to be written again.
    fn committed(&self, jobs: &[Job]) {
        for job in jobs {
            match job {
                Job::PutKeys(asked) if matches!(asked.outcome, Some(Ok(_))) => {
                    self.shared.keys.store(Arc::clone(&asked.work.keys));
                }
                Job::NoteKeyUse(asked) => {
                    self.shared.keys.load().uses.written(asked.outcome.as_deref().unwrap_or_default());
                }
                _ => {}
            }
        }
    }

    /// Writes down when keys were last used: the last commit.
    async fn note_key_use(&self) -> Result<(), VaultError> {
        let (reply, _) = oneshot::channel();
        self.commit(&mut [Job::NoteKeyUse(PendingJob { work: (), outcome: None, reply })]).await
    }

    /// Reads the books again from the store.
    async fn reload_ledger(&self) -> Result<(), VaultError> {
        self.shared.ledger_stale.store(true, Ordering::Release);
        let ledger = Ledger::load(self.shared.store.as_ref()).await?;
        self.shared.ledger.store(Arc::new(ledger));
        self.shared.ledger_stale.store(false, Ordering::Release);
        Ok(())
    }
}
