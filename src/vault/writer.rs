//! The one writer: group commit.
//!
//! Requests hand over what they want written and wait. The writer takes all that has gathered, repeats the whole search
//! for each under the keys in force at that moment, commits everything as one atomic batch, makes it durable once, and
//! answers all. So two requests for one value get one token, and nothing prepared before the keys changed is written
//! under a key that was retired since.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, yield_now},
};
use tracing::{error, warn};
use zeroize::Zeroizing;

use super::{
    Failure, KeyName, Shared, VaultError,
    forget::{Erased, Erasure},
    ledger::{Draft, Ledger},
    records,
    search::{self, Found, Query},
};
use crate::{
    crypto::{Fingerprint, TokenId, World},
    keyring::Keyring,
    kind::{Context, EntityKind, Kid, Value},
    limits::{COMMIT_ROWS_MAX, QUEUE_WAIT_SECONDS_MAX, WRITER_QUEUE_MAX},
    policy::PolicySet,
    store::{Applied, Batch, Change, Precondition, RowKey, StoreError, record::Record},
};

/// How often a group is searched and applied again when the store says that something changed in between. With one
/// process in front of the store nothing does.
const ATTEMPTS_MAX: u32 = 3;

/// How many turns of the runtime's other tasks must bring nothing new before a group is closed.
const GATHER_IDLE_TURNS: u32 = 2;

/// A value to mint a token for, unless the search finds one.
pub(super) struct Mint {
    pub(super) world: World,
    pub(super) kid: Kid,
    pub(super) kind: EntityKind,
    pub(super) context: Zeroizing<String>,
    pub(super) value: Zeroizing<String>,
    /// The normal form, where it differs from the value.
    pub(super) normal: Option<Zeroizing<String>>,
    pub(super) prepared: Prepared,
}

/// The record as the request prepared it, good for as long as the keys have not changed.
pub(super) struct Prepared {
    pub(super) epoch: u64,
    pub(super) id: TokenId,
    pub(super) record: Record,
}

/// The token of a minted value.
pub(super) struct Minted {
    pub(super) found: Found,
    pub(super) created: bool,
}

type Reply<T> = oneshot::Sender<Result<T, VaultError>>;

enum Job {
    Mint(Vec<Mint>, Reply<Vec<Result<Minted, Failure>>>),
    Forget(Vec<Erasure>, Reply<Vec<Result<Erased, Failure>>>),
    NoteKeys(Reply<()>),
    NoteKeyUse(Reply<()>),
    AdoptPolicies(PolicySet, Reply<Vec<String>>),
    /// Nothing to write: the ledger is to be that of the store.
    Settle(Reply<()>),
    Stop(Reply<()>),
}

impl Job {
    fn rows(&self) -> usize {
        match self {
            Job::Mint(mints, _) => mints.len(),
            Job::Forget(erasures, _) => erasures.len(),
            _ => 1,
        }
    }
}

/// The requests' end of the writer's queue.
pub(super) struct WriterHandle {
    queue: mpsc::Sender<Job>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl WriterHandle {
    pub(super) fn start(shared: Arc<Shared>) -> Self {
        let (queue, jobs) = mpsc::channel(WRITER_QUEUE_MAX);
        let writer = Writer { shared, jobs };
        WriterHandle { queue, task: Mutex::new(Some(tokio::spawn(writer.run()))) }
    }

    pub(super) async fn mint(&self, mints: Vec<Mint>) -> Result<Vec<Result<Minted, Failure>>, VaultError> {
        self.ask(|reply| Job::Mint(mints, reply)).await
    }

    pub(super) async fn forget(&self, erasures: Vec<Erasure>) -> Result<Vec<Result<Erased, Failure>>, VaultError> {
        self.ask(|reply| Job::Forget(erasures, reply)).await
    }

    pub(super) async fn note_keys(&self) -> Result<(), VaultError> {
        self.ask(Job::NoteKeys).await
    }

    pub(super) async fn note_key_use(&self) -> Result<(), VaultError> {
        self.ask(Job::NoteKeyUse).await
    }

    pub(super) async fn adopt_policies(&self, policies: &PolicySet) -> Result<Vec<String>, VaultError> {
        self.ask(|reply| Job::AdoptPolicies(policies.clone(), reply)).await
    }

    /// Has the ledger read again if a failed commit has left it uncertain.
    pub(super) async fn settle(&self) -> Result<(), VaultError> {
        self.ask(Job::Settle).await
    }

    /// Lets the writer finish what it has taken on, closes the store, and waits for both.
    pub(super) async fn stop(&self) -> Result<(), VaultError> {
        let stopped = self.ask(Job::Stop).await;
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(panicked) = task.await
        {
            error!(error = %panicked, "the vault's writer ended by a bug");
        }
        stopped
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, VaultError> {
        let (reply, answer) = oneshot::channel();
        let wait = Duration::from_secs(QUEUE_WAIT_SECONDS_MAX);
        self.queue.send_timeout(job(reply), wait).await.map_err(|refused| match refused {
            mpsc::error::SendTimeoutError::Timeout(_) => VaultError::Overloaded,
            mpsc::error::SendTimeoutError::Closed(_) => VaultError::Stopped,
        })?;
        answer.await.unwrap_or(Err(VaultError::Stopped))
    }
}

struct Writer {
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
}

/// A group being put together: the changes so far, over what the store holds.
struct Group<'k> {
    keyring: &'k Keyring,
    now_ms: u64,
    draft: Draft,
    /// `None` for a record that this group erases.
    records: HashMap<TokenId, Option<Record>>,
    changes: BTreeMap<RowKey, Change>,
    preconditions: Vec<Precondition>,
}

/// What a job will be answered once its group is durable.
enum Answer {
    Minted(Vec<Result<Minted, Failure>>),
    Erased(Vec<Result<Erased, Failure>>),
    Notes(Vec<String>),
    Done,
}

impl Writer {
    async fn run(mut self) {
        while let Some(first) = self.jobs.recv().await {
            let mut group = vec![first];
            self.gather(&mut group).await;
            let stop = match group.pop() {
                Some(Job::Stop(reply)) => {
                    // The last commit: when keys were last used.
                    let (done, _) = oneshot::channel();
                    group.push(Job::NoteKeyUse(done));
                    Some(reply)
                }
                Some(job) => {
                    group.push(job);
                    None
                }
                None => None,
            };
            let committed = self.commit(&group).await;
            answer(group, committed);
            if let Some(reply) = stop {
                let closed = self.shared.store.close().await.map_err(VaultError::from);
                // The asker may have stopped waiting; there is nobody else to tell.
                let _ = reply.send(closed);
                return;
            }
        }
    }

    /// Takes what else is waiting. When a commit is answered, all whom it answered ask again at about the same time, so
    /// the runtime's other tasks are let go first for as long as that brings in more: a group of one now would keep
    /// the rest waiting for a whole commit.
    async fn gather(&mut self, group: &mut Vec<Job>) {
        let mut rows: usize = group.iter().map(Job::rows).sum();
        let mut idle_turns = 0;
        // Nothing is taken on after the order to stop.
        while rows < COMMIT_ROWS_MAX && idle_turns < GATHER_IDLE_TURNS && !matches!(group.last(), Some(Job::Stop(_))) {
            match self.jobs.try_recv() {
                Ok(job) => {
                    rows += job.rows();
                    group.push(job);
                    idle_turns = 0;
                }
                Err(_) => {
                    idle_turns += 1;
                    yield_now().await;
                }
            }
        }
    }

    /// Commits a group: durable when it returns.
    async fn commit(&self, group: &[Job]) -> Result<Vec<Answer>, VaultError> {
        if self.shared.ledger_stale.load(Ordering::Acquire) {
            self.reload_ledger().await?;
        }
        for _ in 0..ATTEMPTS_MAX {
            let keys = self.shared.keys.load_full();
            let (answers, built) = self.build(group, &keys.ring).await?;
            let Group { draft, records, changes, preconditions, .. } = built;
            let mut changes: Vec<Change> = changes.into_values().collect();
            changes.extend(draft.changes());
            if changes.is_empty() {
                return Ok(answers);
            }
            let rows = changes.len();
            let started = Instant::now();
            self.shared.in_flight.begin(records.into_keys());
            let applied = self.shared.store.apply(Batch { preconditions, changes }).await;
            self.shared.in_flight.end(applied.is_err());
            match applied {
                Ok(Applied::Durable) => {
                    self.shared.metrics.commit_rows.observe(rows as f64);
                    self.shared.metrics.commit_duration.observe(started.elapsed().as_secs_f64());
                    self.shared.metrics.vault_records.set(draft.ledger.records().cast_signed());
                    self.shared.ledger.store(Arc::new(draft.ledger));
                    return Ok(answers);
                }
                Ok(Applied::Refused(precondition)) => {
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

    /// Reads the books again from the store.
    async fn reload_ledger(&self) -> Result<(), VaultError> {
        self.shared.ledger_stale.store(true, Ordering::Release);
        let ledger = Ledger::load(self.shared.store.as_ref()).await?;
        self.shared.ledger.store(Arc::new(ledger));
        self.shared.ledger_stale.store(false, Ordering::Release);
        Ok(())
    }

    /// Searches for everything the group needs, and decides what becomes of each job.
    async fn build<'k>(&self, jobs: &[Job], keyring: &'k Keyring) -> Result<(Vec<Answer>, Group<'k>), VaultError> {
        let now_ms = self.shared.now_ms();
        let mut group = Group {
            keyring,
            now_ms,
            draft: Draft::of(&self.shared.ledger.load()),
            records: HashMap::new(),
            changes: BTreeMap::new(),
            preconditions: Vec::new(),
        };

        let queries: Vec<Option<Query<'k>>> = jobs.iter().flat_map(mints).map(|mint| query(keyring, mint)).collect();
        let known: Vec<&Query<'k>> = queries.iter().flatten().collect();
        let store = self.shared.store.as_ref();
        let mut hits = search::find_all(store, &known, &|| self.shared.damage_seen()).await?.into_iter();
        let mut found = queries.iter().map(|query| query.as_ref().and_then(|query| Some((query, hits.next()?))));

        let erasures = jobs.iter().flat_map(erasures);
        let record_keys = erasures.map(|erasure| RowKey::record(erasure.id.as_bytes())).collect();
        let mut erased = self.shared.store.get_many(record_keys).await?.into_iter();

        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            answers.push(match job {
                Job::Mint(mints, _) => {
                    let searched = mints.iter().zip(found.by_ref());
                    Answer::Minted(searched.map(|(mint, searched)| group.mint(mint, searched)).collect())
                }
                Job::Forget(erasures, _) => {
                    let mut results = Vec::with_capacity(erasures.len());
                    for (erasure, row) in erasures.iter().zip(erased.by_ref()) {
                        results.push(match row.map(|row| Record::decode(&row)).transpose() {
                            Ok(record) => group.erase(erasure, record),
                            Err(_) => {
                                self.shared.damage_seen();
                                Err(Failure::Damaged)
                            }
                        });
                    }
                    Answer::Erased(results)
                }
                Job::NoteKeys(_) => {
                    for note in group.draft.keys_loaded(keyring, now_ms) {
                        warn!("{note}");
                    }
                    Answer::Done
                }
                Job::NoteKeyUse(_) => {
                    for (name, at_ms) in self.shared.keys.load().last_used.iter() {
                        group.draft.key_used(name, at_ms);
                    }
                    Answer::Done
                }
                Job::AdoptPolicies(policies, _) => Answer::Notes(group.draft.policies_loaded(policies)),
                Job::Settle(_) | Job::Stop(_) => Answer::Done,
            });
        }
        Ok((answers, group))
    }
}

fn mints(job: &Job) -> &[Mint] {
    match job {
        Job::Mint(mints, _) => mints,
        _ => &[],
    }
}

fn erasures(job: &Job) -> &[Erasure] {
    match job {
        Job::Forget(erasures, _) => erasures,
        _ => &[],
    }
}

/// The search for a value under the keys in force; `None` if its kid has no key any more.
fn query<'k>(keyring: &'k Keyring, mint: &Mint) -> Option<Query<'k>> {
    let pair = keyring.get(mint.kid)?;
    let context = Context::new(&mint.context)?;
    Some(Query::new(pair, mint.world, mint.kind, context, mint.normal()))
}

impl Mint {
    fn normal(&self) -> &str {
        self.normal.as_ref().unwrap_or(&self.value)
    }
}

impl Group<'_> {
    fn mint(
        &mut self,
        mint: &Mint,
        searched: Option<(&Query<'_>, Result<Vec<Found>, Failure>)>,
    ) -> Result<Minted, Failure> {
        let unavailable = |fingerprint| Failure::KeyUnavailable(KeyName { kid: mint.kid, fingerprint });
        let (Some((query, found)), Some(pair)) = (searched, self.keyring.get(mint.kid)) else {
            return Err(unavailable("unknown".to_owned()));
        };
        let found = found?;
        // What this group has erased is gone, what it has minted is there.
        let stands = |found: &&Found| self.records.get(&found.id).is_none_or(Option::is_some);
        if let Some(found) = found.iter().find(stands) {
            return Ok(Minted { found: *found, created: false });
        }
        let id = query.active_id();
        if let Some(Some(record)) = self.records.get(&id) {
            let found = Found { kind: record.kind, minted_kid: record.minted_kid, id };
            return Ok(Minted { found, created: false });
        }
        if let Some(fingerprint) = self.draft.ledger.blind(mint.kid, self.keyring) {
            return Err(unavailable(fingerprint.to_string()));
        }

        let record = if mint.prepared.epoch == self.keyring.epoch() && mint.prepared.id == id {
            mint.prepared.record.clone()
        } else {
            // Prepared before the keys changed: sealed again under those in force.
            let context = Context::new(&mint.context).ok_or(Failure::ContextLength)?;
            let value = Value::new(&mint.value).ok_or(Failure::ValueLength)?;
            let payload = records::payload(context, value, mint.normal());
            records::seal(pair.active().keys(mint.world), mint.kind, id, &payload, self.now_ms, &mut rand::rng())
        };
        let key = RowKey::record(id.as_bytes());
        // A record that this group erased before is still in the store when the batch is applied.
        if !self.records.contains_key(&id) {
            self.preconditions.push(Precondition::Absent(key.clone()));
        }
        self.changes.insert(key.clone(), Change::Put(key, record.encode()));
        self.draft.minted(&record);
        self.records.insert(id, Some(record));
        Ok(Minted { found: Found { kind: mint.kind, minted_kid: mint.kid, id }, created: true })
    }

    fn erase(&mut self, erasure: &Erasure, stored: Option<Record>) -> Result<Erased, Failure> {
        let record = match self.records.get(&erasure.id) {
            Some(changed) => changed.clone(),
            None => stored,
        };
        let record = record.filter(|record| erasure.names(record)).ok_or(Failure::NotFound)?;
        erasure.context_holds(self.keyring, &record)?;
        let key = RowKey::record(erasure.id.as_bytes());
        self.changes.insert(key.clone(), Change::Remove(key));
        if let Some(alias) = record.alias {
            let key = RowKey::alias(&alias);
            self.changes.insert(key.clone(), Change::Remove(key));
        }
        self.draft.erased(&record);
        let name = (record.sealing_kid, Fingerprint::from_bytes(record.fingerprint));
        self.records.insert(erasure.id, None);
        Ok(Erased { sealed_under: name })
    }
}

/// Tells everybody in the group what became of it.
fn answer(group: Vec<Job>, committed: Result<Vec<Answer>, VaultError>) {
    let mut answers = match committed {
        Ok(answers) => answers.into_iter().map(Ok).collect::<Vec<_>>().into_iter(),
        Err(failed) => (0..group.len()).map(|_| Err(failed.clone())).collect::<Vec<_>>().into_iter(),
    };
    for job in group {
        let answer = answers.next().unwrap_or(Err(VaultError::Stopped));
        // An asker that has gone away needs no answer: what it asked for is durable or was never acknowledged.
        match (job, answer) {
            (Job::Mint(_, reply), Ok(Answer::Minted(results))) => drop(reply.send(Ok(results))),
            (Job::Forget(_, reply), Ok(Answer::Erased(results))) => drop(reply.send(Ok(results))),
            (Job::AdoptPolicies(_, reply), Ok(Answer::Notes(notes))) => drop(reply.send(Ok(notes))),
            (Job::NoteKeys(reply) | Job::NoteKeyUse(reply) | Job::Settle(reply) | Job::Stop(reply), answer) => {
                drop(reply.send(answer.map(|_| ())));
            }
            (Job::Mint(_, reply), answer) => drop(reply.send(Err(failure(answer)))),
            (Job::Forget(_, reply), answer) => drop(reply.send(Err(failure(answer)))),
            (Job::AdoptPolicies(_, reply), answer) => drop(reply.send(Err(failure(answer)))),
        }
    }
}

fn failure(answer: Result<Answer, VaultError>) -> VaultError {
    answer.err().unwrap_or(VaultError::Stopped)
}
