//! The one writer: group commit.
//!
//! Requests hand over what they want written and wait. The writer takes all that has gathered, repeats the whole search
//! for each under the keys in force at that moment, commits everything as one atomic batch, makes it durable once, and
//! answers all. So two requests for one value get one token, and nothing prepared before the keys changed is written
//! under a key that was retired since.

mod caller_estimate;
mod commit;
mod tombstones;
mod commit_group;
pub(super) mod merge;
mod rotate;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tracing::error;
use zeroize::Zeroizing;

use self::merge::{MergeCounts, MergeItem, MergeRequest};
use super::{
    ItemFailure, KeysInForce, VaultError, VaultShared,
    forget::{EraseRequest, ErasedRecord},
    generation_use::GenerationUseSnapshot,
    purge::PurgeCandidate,
    rotation::{RotationError, RotationId, RotationStep, RotationTransition, StepOutcome},
    search::{CandidateIds, MatchedRecord},
};
use masker_core::{
    crypto::{Fingerprint, TokenId},
    policy::PolicySet,
};
use masker_store::{RowChange, record::Record};
use masker_types::{
    kind::{EntityKind, Kid},
    limits::{QUEUE_WAIT_SECONDS_MAX, WRITER_QUEUE_MAX},
    mode::Mode,
};

/// A value to mint a token for, unless the search finds one.
pub(super) struct MintRequest {
    pub(super) mode: Mode,
    pub(super) kid: Kid,
    pub(super) kind: EntityKind,
    pub(super) context: Zeroizing<String>,
    pub(super) value: Zeroizing<String>,
    /// The normal form, where it differs from the value.
    pub(super) normal: Option<Zeroizing<String>>,
    pub(super) prepared: PreparedMint,
}

/// What the request prepared: the value's names and its record, good for as long as the keys have not changed.
pub(super) struct PreparedMint {
    pub(super) epoch: u64,
    pub(super) ids: CandidateIds,
    pub(super) record: Record,
}

/// The token of a minted value.
pub(super) struct Minted {
    pub(super) found: MatchedRecord,
    pub(super) created: bool,
}

/// Keys to put into force.
pub(super) struct KeyringUpdate {
    pub(super) keys: Arc<KeysInForce>,
    /// Whether a key that had been replaced may be active again.
    pub(super) accept_rollback: bool,
    /// Policies that are to be remembered with them.
    pub(super) policies: Option<PolicySet>,
}

/// Work for the writer, and whoever waits for what comes of it.
struct PendingJob<W, T> {
    work: W,
    /// What will be answered once the group is durable.
    outcome: Option<T>,
    reply: oneshot::Sender<Result<T, VaultError>>,
}

impl<W, T> PendingJob<W, T> {
    fn answer(self, committed: &Result<(), VaultError>) {
        let answer = match committed {
            Ok(()) => self.outcome.ok_or(VaultError::Stopped),
            Err(failed) => Err(failed.clone()),
        };
        // An asker that has gone away needs no answer: what it asked for is durable or was never acknowledged.
        drop(self.reply.send(answer));
    }
}

impl PendingJob<(), ()> {
    /// Answers what has no outcome but that it is done.
    fn done(self, committed: &Result<(), VaultError>) {
        PendingJob { outcome: Some(()), ..self }.answer(committed);
    }
}

enum Job {
    Mint(PendingJob<Vec<MintRequest>, Vec<Result<Minted, ItemFailure>>>),
    Forget(PendingJob<Vec<EraseRequest>, Vec<Result<ErasedRecord, ItemFailure>>>),
    Purge(PendingJob<Vec<PurgeCandidate>, Vec<Option<ErasedRecord>>>),
    Merge(PendingJob<MergeRequest, Result<MergeCounts, ItemFailure>>),
    PutKeys(PendingJob<KeyringUpdate, Result<Vec<String>, Vec<String>>>),
    Step(PendingJob<RotationStep, StepOutcome>),
    Transition(PendingJob<(RotationId, RotationTransition), Result<(), RotationError>>),
    NoteKeyUse(PendingJob<(), Vec<GenerationUseSnapshot>>),
    AdoptPolicies(PendingJob<PolicySet, Vec<String>>),
    /// A full pass has found nothing under these generations.
    NoteProven(PendingJob<Vec<(Kid, Fingerprint)>, ()>),
    /// Rows that no search and no count concerns.
    Keep(PendingJob<Vec<RowChange>, ()>),
    /// Nothing to write: the ledger is to be that of the store.
    Settle(PendingJob<(), ()>),
    Stop(PendingJob<(), ()>),
}

impl Job {
    fn rows(&self) -> usize {
        match self {
            Job::Mint(asked) => asked.work.len(),
            Job::Forget(asked) => asked.work.len(),
            Job::Purge(asked) => asked.work.len(),
            Job::Merge(asked) => asked.work.incoming.len(),
            Job::Step(asked) => asked.work.resealed.len(),
            Job::Keep(asked) => asked.work.len(),
            _ => 1,
        }
    }

    /// Whether nothing may be taken into a group after it, and it is a group of its own.
    fn runs_alone(&self) -> bool {
        matches!(self, Job::Merge(_) | Job::PutKeys(_) | Job::Stop(_))
    }

    fn mints(&self) -> &[MintRequest] {
        match self {
            Job::Mint(asked) => &asked.work,
            _ => &[],
        }
    }

    /// The records that are to be erased, by forgetting or by a purge.
    fn erased_ids(&self) -> Vec<TokenId> {
        match self {
            Job::Forget(asked) => asked.work.iter().map(|erasure| erasure.id).collect(),
            Job::Purge(asked) => asked.work.iter().map(|candidates| candidates.id).collect(),
            _ => Vec::new(),
        }
    }

    fn merges(&self) -> &[MergeItem] {
        match self {
            Job::Merge(asked) => &asked.work.incoming,
            _ => &[],
        }
    }

    fn step(&self) -> Option<&RotationStep> {
        match self {
            Job::Step(asked) => Some(&asked.work),
            _ => None,
        }
    }

    /// Tells whoever waits what became of it.
    fn answer(self, committed: &Result<(), VaultError>) {
        match self {
            Job::Mint(asked) => asked.answer(committed),
            Job::Forget(asked) => asked.answer(committed),
            Job::Purge(asked) => asked.answer(committed),
            Job::Merge(asked) => asked.answer(committed),
            Job::PutKeys(asked) => asked.answer(committed),
            Job::Step(asked) => asked.answer(committed),
            Job::Transition(asked) => asked.answer(committed),
            Job::AdoptPolicies(asked) => asked.answer(committed),
            Job::NoteProven(asked) => asked.answer(committed),
            Job::NoteKeyUse(asked) => asked.answer(committed),
            Job::Keep(asked) => asked.answer(committed),
            Job::Settle(asked) | Job::Stop(asked) => asked.done(committed),
        }
    }
}

/// The requests' end of the writer's queue.
pub(super) struct WriterHandle {
    queue: mpsc::Sender<Job>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl WriterHandle {
    pub(super) fn start(shared: Arc<VaultShared>) -> Self {
        let (queue, jobs) = mpsc::channel(WRITER_QUEUE_MAX);
        WriterHandle { queue, task: Mutex::new(Some(tokio::spawn(commit::run(shared, jobs)))) }
    }

    pub(super) async fn mint(&self, mints: Vec<MintRequest>) -> Result<Vec<Result<Minted, ItemFailure>>, VaultError> {
        self.ask(mints, Job::Mint).await
    }

    pub(super) async fn forget(
        &self,
        erasures: Vec<EraseRequest>,
    ) -> Result<Vec<Result<ErasedRecord, ItemFailure>>, VaultError> {
        self.ask(erasures, Job::Forget).await
    }

    /// Erases what still is to go. Returns which were erased.
    pub(super) async fn purge(&self, candidates: Vec<PurgeCandidate>) -> Result<Vec<Option<ErasedRecord>>, VaultError> {
        self.ask(candidates, Job::Purge).await
    }

    pub(super) async fn merge(&self, merge: MergeRequest) -> Result<Result<MergeCounts, ItemFailure>, VaultError> {
        self.ask(merge, Job::Merge).await
    }

    /// Puts keys into force: what is committed after it is written under them. Returns what an operator should know.
    pub(super) async fn put_keys(&self, change: KeyringUpdate) -> Result<Result<Vec<String>, Vec<String>>, VaultError> {
        self.ask(change, Job::PutKeys).await
    }

    /// Notes that a full pass has found nothing under these generations, where the books agree.
    pub(super) async fn note_proven(&self, names: Vec<(Kid, Fingerprint)>) -> Result<(), VaultError> {
        self.ask(names, Job::NoteProven).await
    }

    /// Writes a step of a rotation.
    pub(super) async fn reseal(&self, step: RotationStep) -> Result<StepOutcome, VaultError> {
        self.ask(step, Job::Step).await
    }

    /// Changes how a rotation stands.
    pub(super) async fn change_rotation(
        &self,
        id: RotationId,
        transition: RotationTransition,
    ) -> Result<Result<(), RotationError>, VaultError> {
        self.ask((id, transition), Job::Transition).await
    }

    /// Writes down the use of keys. Returns what was written.
    pub(super) async fn note_key_use(&self) -> Result<Vec<GenerationUseSnapshot>, VaultError> {
        self.ask((), Job::NoteKeyUse).await
    }

    pub(super) async fn adopt_policies(&self, policies: &PolicySet) -> Result<Vec<String>, VaultError> {
        self.ask(policies.clone(), Job::AdoptPolicies).await
    }

    /// Writes rows that no search and no count concerns: durable when it returns. Of two changes of one row, the later
    /// counts. Rows must be within the store's bounds, for they share a batch with what others ask for.
    pub(super) async fn keep(&self, changes: Vec<RowChange>) -> Result<(), VaultError> {
        self.ask(changes, Job::Keep).await
    }

    /// Has the ledger read again if a failed commit has left it uncertain.
    pub(super) async fn finish_pending_commits(&self) -> Result<(), VaultError> {
        self.ask((), Job::Settle).await
    }

    /// Lets the writer finish what it has taken on, closes the store, and waits for both.
    pub(super) async fn stop(&self) -> Result<(), VaultError> {
        let stopped = self.ask((), Job::Stop).await;
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(panicked) = task.await
        {
            error!(error = %panicked, "the vault's writer ended by a bug");
        }
        stopped
    }

    async fn ask<W, T>(&self, work: W, job: impl FnOnce(PendingJob<W, T>) -> Job) -> Result<T, VaultError> {
        let (reply, answer) = oneshot::channel();
        let wait = Duration::from_secs(QUEUE_WAIT_SECONDS_MAX);
        let job = job(PendingJob { work, outcome: None, reply });
        self.queue.send_timeout(job, wait).await.map_err(|refused| match refused {
            mpsc::error::SendTimeoutError::Timeout(_) => VaultError::Overloaded,
            mpsc::error::SendTimeoutError::Closed(_) => VaultError::Stopped,
        })?;
        answer.await.unwrap_or(Err(VaultError::Stopped))
    }
}
