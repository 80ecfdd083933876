//! The writer's loop: gather, commit, answer.

use std::{sync::Arc, thread, time::Instant};

use tokio::task::yield_now;
use tracing::{error, warn};

use super::{
    caller_estimate::CallerEstimate,
    change::{Message, QueuedChange},
    draft::{CommitDraft, DraftedBatch},
    queue::ChangeQueue,
    reads::ReadPlan,
};
use crate::{
    VaultError,
    audit_anchor::AuditAnchor,
    control::{ControlledStore, SlotChange},
    in_flight::InFlightRecords,
    keys::{CurrentKeys, KeysInForce},
    ledger::{CurrentLedger, LedgerDraft},
    metrics::VaultMetrics,
    time::{self, Clock},
};
use masker_store::{ApplyOutcome, RowBatch, RowChange, Store, StoreError};
use masker_types::limits::COMMIT_ROWS_MAX;

/// How often a group is decided and applied again when the store refuses a precondition. With one process in front of the
/// store it never does.
const ATTEMPTS_MAX: u32 = 3;

/// What the writer works with.
pub(crate) struct WriterContext {
    pub(crate) store: Arc<ControlledStore>,
    pub(crate) keys: Arc<CurrentKeys>,
    pub(crate) ledger: Arc<CurrentLedger>,
    pub(crate) in_flight: Arc<InFlightRecords>,
    pub(crate) audit_anchor: Arc<AuditAnchor>,
    pub(crate) metrics: Arc<VaultMetrics>,
    pub(crate) clock: Clock,
}

/// Commits what comes through the queue until it is stopped or every handle is dropped.
pub(super) async fn run(context: Arc<WriterContext>, queue: Arc<ChangeQueue>) {
    let closing = ClosingQueue(queue);
    CommitLoop { context, queue: Arc::clone(&closing.0), callers: CallerEstimate::default() }.run().await;
}

/// Closes the queue when the writer ends, also by a panic, so that nobody waits for it.
struct ClosingQueue(Arc<ChangeQueue>);

impl Drop for ClosingQueue {
    fn drop(&mut self) {
        self.0.close();
        // Operations that wait for an answer learn that none comes.
        while self.0.try_next().is_some() {}
    }
}

struct CommitLoop {
    context: Arc<WriterContext>,
    queue: Arc<ChangeQueue>,
    callers: CallerEstimate,
}

impl CommitLoop {
    async fn run(mut self) {
        while let Some(first) = self.queue.next().await {
            let mut group = Vec::new();
            let alone = self.gather(first, &mut group).await;
            if !group.is_empty() {
                self.commit_and_answer(group).await;
            }
            match alone {
                Some(Message::Stop { mut last, reply }) => {
                    let committed = self.context.commit(std::slice::from_mut(&mut last)).await;
                    let closed = self.context.store.close().await.map_err(VaultError::from);
                    // The stopping side may have gone away.
                    drop(reply.send(committed.and(closed)));
                    return;
                }
                Some(Message::Change(change)) => self.commit_and_answer(vec![change]).await,
                None => {}
            }
        }
    }

    async fn commit_and_answer(&mut self, mut group: Vec<Box<dyn QueuedChange>>) {
        let committed = self.context.commit(&mut group).await;
        self.callers.answered(group.len(), self.queue.waiting());
        for change in group {
            change.answer(&committed);
        }
    }

    /// Gathers a group from `first` on, with what is waiting and what is about to come. Returns a message that ends the
    /// group because it is to run alone.
    ///
    /// The runtime's clock is too coarse for the wait, so this yields to other tasks and threads instead.
    async fn gather(&mut self, first: Message, group: &mut Vec<Box<dyn QueuedChange>>) -> Option<Message> {
        let mut rows = 0;
        let mut next = Some(first);
        let began = Instant::now();
        let mut last_arrival = began;
        loop {
            match next.take() {
                Some(Message::Change(change)) if !change.runs_alone() => {
                    rows += change.row_count();
                    group.push(change);
                }
                Some(alone) => return Some(alone),
                None if self.callers.should_wait(group.len(), began.elapsed(), last_arrival.elapsed()) => {
                    yield_now().await;
                    thread::yield_now();
                }
                None => return None,
            }
            if rows >= COMMIT_ROWS_MAX {
                return None;
            }
            next = self.queue.try_next();
            if next.is_some() {
                last_arrival = Instant::now();
            }
        }
    }
}

impl WriterContext {
    /// Commits a group: it is durable when this returns, and every change has its outcome.
    async fn commit(&self, changes: &mut [Box<dyn QueuedChange>]) -> Result<(), VaultError> {
        if self.ledger.is_stale() {
            self.reload().await?;
        }
        for _ in 0..ATTEMPTS_MAX {
            let keys = self.keys.load_full();
            let DraftedBatch { ledger, mut rows, preconditions, in_flight, control } =
                self.decide(&keys, changes).await?;
            let ledger_rows = ledger.changes();
            let present_kids = self.keys.policy_kids();
            let slots = SlotChange {
                keyring: &control.keys.as_ref().unwrap_or(&keys).ring,
                kids: control.policy_kids.as_ref().unwrap_or(&present_kids),
                unneeded: &|name| ledger.ledger.is_proven_unneeded(name),
                new_key: control.new_key,
            };
            let slots = Some(&slots).filter(|slots| self.store.changes_slots(slots));
            if rows.is_empty() && ledger_rows.is_empty() && slots.is_none() {
                self.committed(changes);
                return Ok(());
            }
            let audit_sequence = self.audit_anchor.unwritten_head().map(|(sequence, change)| {
                rows.insert(change.key().clone(), change);
                sequence
            });
            let mut row_changes: Vec<RowChange> = rows.into_values().collect();
            row_changes.extend(ledger_rows);
            let row_count = row_changes.len();
            let started = Instant::now();
            self.in_flight.begin(in_flight);
            let applied = self.store.apply_with(RowBatch { preconditions, changes: row_changes }, slots).await;
            self.in_flight.end(applied.is_err());
            match applied {
                Ok(ApplyOutcome::Durable) => {
                    self.metrics.commit_rows.observe(row_count as f64);
                    self.metrics.commit_duration.observe(started.elapsed().as_secs_f64());
                    self.metrics.records.set(ledger.ledger.records().cast_signed());
                    self.ledger.publish(ledger.ledger);
                    audit_sequence.into_iter().for_each(|sequence| self.audit_anchor.set_written(sequence));
                    self.committed(changes);
                    return Ok(());
                }
                Ok(ApplyOutcome::Refused(precondition)) => {
                    warn!(precondition, "the vault changed between read and commit; deciding the group again");
                    self.reload().await?;
                }
                Err(failed) => {
                    error!(error = %failed, rows = row_count, "failed to commit; no change of the group was acknowledged");
                    // The batch may have been written all the same. If the store does not answer now, the next commit
                    // reloads.
                    drop(self.reload().await);
                    return Err(failed.into());
                }
            }
        }
        Err(StoreError::Unavailable("the vault kept changing between read and commit".to_owned()).into())
    }

    /// Has changes decide over what the store holds now, and writes nothing.
    pub(super) async fn preview(&self, changes: &mut [Box<dyn QueuedChange>]) -> Result<(), StoreError> {
        let keys = self.keys.load_full();
        self.decide(&keys, changes).await.map(drop)
    }

    /// Reads again what a failed or refused commit has left uncertain.
    async fn reload(&self) -> Result<(), StoreError> {
        self.ledger.mark_stale();
        self.store.reload().await?;
        self.ledger.reload(self.store.as_ref()).await
    }

    /// Reads what the changes need and has each decide in turn.
    async fn decide(
        &self,
        keys: &KeysInForce,
        changes: &mut [Box<dyn QueuedChange>],
    ) -> Result<DraftedBatch, StoreError> {
        let now_ms = time::unix_ms(&self.clock);
        let ledger = self.ledger.load_full();
        let mut plan = ReadPlan::new(&keys.ring, &ledger, self.store.may_have_tombstones());
        for change in changes.iter_mut() {
            change.plan_reads(&mut plan);
        }
        let snapshot = plan.read(self.store.as_ref()).await?;
        let second_tokens = self.keys.second_tokens();
        let mut draft =
            CommitDraft::new(keys, second_tokens, &self.metrics, now_ms, LedgerDraft::of(&ledger), snapshot);
        for change in changes {
            change.decide(&mut draft);
        }
        Ok(draft.finish())
    }

    fn committed(&self, changes: &[Box<dyn QueuedChange>]) {
        for change in changes {
            change.committed(&self.keys);
        }
    }
}
