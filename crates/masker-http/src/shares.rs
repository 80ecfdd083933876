//! Shares of connections and memory, for tasks: [`ShareLedger`] behind a lock, with charges that are given back when they are
//! dropped. What is smaller than the unmetered sizes is never charged, so most requests take no lock here.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    problem::Problem,
    seat::{Seat, displaced, now_ms},
};
use masker_access::{AccountId, Displaceable, HoldingId, Resource, ShareDecision, ShareHolder, ShareLedger, TicketId};
use masker_types::{
    error_code::Code,
    limits::{CONNECTIONS_MAX, OPERATIONS_PERCENT_MAX, QUEUE_WAIT_SECONDS_MAX},
    share::Share,
};
use masker_vault::LongReads;

/// How often a place in the queue looks again for what it can displace, in milliseconds.
const PRESS_MS: u64 = 100;

/// Who holds how much.
#[derive(Default)]
pub(super) struct Shares {
    state: Mutex<State>,
    /// Wakes who waits until all connections are given back.
    given_back: Notify,
}

#[derive(Default)]
struct State {
    ledger: ShareLedger<Arc<Seat>>,
    accounts: HashMap<(ShareHolder, Share), Weak<ShareAccount>>,
    /// Wakes who waits for a part.
    waiting: BTreeMap<TicketId, Arc<Notify>>,
}

/// The account of a user, as long as one of its connections or operations lasts.
pub(super) struct ShareAccount {
    shares: Arc<Shares>,
    id: AccountId,
    /// Operations at work.
    operations: AtomicU32,
    /// The most that may be at work.
    operations_max: u32,
    /// Requests that wait until an operation ends.
    waiting: AtomicU32,
    /// Wakes one of them.
    ended: Notify,
    /// Its reads of whole sessions.
    pub(super) long_reads: LongReads,
}

impl ShareAccount {
    /// Counts an operation. Waits while too many are at work.
    ///
    /// # Errors
    /// `overloaded` if none has ended in time, or if the seat was displaced.
    pub(super) async fn begin_operation(&self, seat: &Seat) -> Result<(), Problem> {
        if self.try_begin() {
            return Ok(());
        }
        let _waiting = WaitingRequest::new(&self.waiting);
        let deadline = Instant::now() + Duration::from_secs(QUEUE_WAIT_SECONDS_MAX);
        loop {
            let mut ended = pin!(self.ended.notified());
            ended.as_mut().enable();
            if self.try_begin() {
                return Ok(());
            }
            if seat.is_displaced() {
                return Err(displaced());
            }
            if Instant::now() >= deadline {
                return Err(overloaded());
            }
            let next = deadline.min(Instant::now() + Duration::from_millis(PRESS_MS));
            let _ = timeout_at(next, ended).await;
        }
    }

    /// Both this and [`ShareAccount::end_operation`] first change one number and then read the other, in one order for all
    /// threads: so an end is not missed.
    fn try_begin(&self) -> bool {
        let begun = self.operations.fetch_add(1, Ordering::SeqCst) < self.operations_max;
        if !begun {
            self.operations.fetch_sub(1, Ordering::SeqCst);
        }
        begun
    }

    /// Stops counting an operation.
    pub(super) fn end_operation(&self) {
        self.operations.fetch_sub(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.ended.notify_one();
        }
    }
}

/// Counts as waiting until it is dropped.
struct WaitingRequest<'a>(&'a AtomicU32);

impl<'a> WaitingRequest<'a> {
    fn new(waiting: &'a AtomicU32) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        WaitingRequest(waiting)
    }
}

impl Drop for WaitingRequest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for ShareAccount {
    fn drop(&mut self) {
        self.shares.lock().ledger.close_account(self.id);
    }
}

/// A part that is held until it is dropped.
pub(super) struct Charge {
    seat: Arc<Seat>,
    id: HoldingId,
    amount: usize,
}

impl Shares {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what the clients of the configuration are guaranteed together, in percent.
    pub(super) fn set_guaranteed(&self, percent: u64) {
        self.lock().ledger.set_guaranteed(percent);
    }

    /// Returns an account. Accounts with the same holder and share are one.
    pub(super) fn account(self: &Arc<Self>, (holder, share): (ShareHolder, Share)) -> Arc<ShareAccount> {
        let mut state = self.lock();
        let key = (holder, share);
        if let Some(account) = state.accounts.get(&key).and_then(Weak::upgrade) {
            return account;
        }
        // Those that ended since.
        state.accounts.retain(|_, account| account.strong_count() > 0);
        let is_owner = key.0 == ShareHolder::Owner;
        let percent = if is_owner { 100 } else { OPERATIONS_PERCENT_MAX.min(share.max_percent.into()) };
        let operations_max = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX) * percent / 100;
        let id = state.ledger.open_account(is_owner, share);
        let account = Arc::new(ShareAccount {
            shares: Arc::clone(self),
            id,
            operations: AtomicU32::new(0),
            operations_max,
            waiting: AtomicU32::new(0),
            ended: Notify::new(),
            long_reads: LongReads::default(),
        });
        state.accounts.insert(key, Arc::downgrade(&account));
        account
    }

    /// Takes a part for the connection of a seat. Waits for it, and displaces others.
    ///
    /// # Errors
    /// `overloaded` if there is none in time, or if the seat itself was displaced.
    pub(super) async fn charge(resource: Resource, seat: &Arc<Seat>, amount: usize) -> Result<Charge, Problem> {
        let account = &seat.account;
        let answer = account.shares.ask(|ledger, now| ledger.ask(resource, account.id, amount, Arc::clone(seat), now));
        let id = wait(seat, answer).await?;
        Ok(Charge { seat: Arc::clone(seat), id, amount })
    }

    /// Asks the ledger, and prepares to be woken where the answer is a place in the queue.
    fn ask(
        &self,
        ask: impl FnOnce(&mut ShareLedger<Arc<Seat>>, u64) -> ShareDecision,
    ) -> Result<HoldingId, Option<(TicketId, Arc<Notify>)>> {
        let mut state = self.lock();
        match ask(&mut state.ledger, now_ms()) {
            ShareDecision::Granted(id) => Ok(id),
            ShareDecision::Refused => Err(None),
            ShareDecision::Queued(ticket) => {
                let notify = Arc::new(Notify::new());
                state.waiting.insert(ticket, Arc::clone(&notify));
                Err(Some((ticket, notify)))
            }
        }
    }

    /// Gives back a part, and wakes those who get it.
    fn give_back(&self, give_back: impl FnOnce(&mut ShareLedger<Arc<Seat>>) -> Vec<TicketId>) {
        let mut state = self.lock();
        for ticket in give_back(&mut state.ledger) {
            if let Some(notify) = state.waiting.get(&ticket) {
                notify.notify_one();
            }
        }
    }

    /// Returns how many connections are held.
    pub(super) fn connections(&self) -> usize {
        self.lock().ledger.used(Resource::Connections)
    }

    /// Waits until no connection is held. Operations that outlive theirs hold it until they end.
    pub(super) async fn all_given_back(&self) {
        loop {
            let mut given_back = pin!(self.given_back.notified());
            given_back.as_mut().enable();
            if self.connections() == 0 {
                return;
            }
            given_back.await;
        }
    }
}

/// Waits for a place in the queue to be granted.
async fn wait(
    seat: &Arc<Seat>,
    answer: Result<HoldingId, Option<(TicketId, Arc<Notify>)>>,
) -> Result<HoldingId, Problem> {
    let (ticket, notify) = match answer {
        Ok(granted) => return Ok(granted),
        Err(None) => return Err(overloaded()),
        Err(Some(queued)) => queued,
    };
    let shares = &seat.account.shares;
    let place = QueuePlace { shares, ticket };
    let deadline = Instant::now() + Duration::from_secs(QUEUE_WAIT_SECONDS_MAX);
    loop {
        let next = deadline.min(Instant::now() + Duration::from_millis(PRESS_MS));
        let _ = timeout_at(next, notify.notified()).await;
        let mut state = shares.lock();
        if let Some(granted) = state.ledger.collect(ticket) {
            return Ok(granted);
        }
        if seat.is_displaced() {
            drop(state);
            return Err(displaced());
        }
        if Instant::now() >= deadline {
            drop(state);
            return Err(overloaded());
        }
        state.ledger.displace_more(place.ticket, now_ms());
    }
}

/// Returns the problem of a request for which there is no place.
pub(super) fn overloaded() -> Problem {
    Problem::unread(Code::Overloaded, "too many requests are in flight; try again")
}

/// A place in the queue, which is given up when it is dropped.
struct QueuePlace<'s> {
    shares: &'s Shares,
    ticket: TicketId,
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        let cancelled = {
            let mut state = self.shares.lock();
            state.waiting.remove(&self.ticket);
            state.ledger.cancel(self.ticket)
        };
        if let Some(granted) = cancelled {
            self.shares.give_back(|ledger| ledger.release(granted));
        }
    }
}

impl Charge {
    /// Takes more. Waits for it, and displaces others.
    ///
    /// # Errors
    /// `overloaded`, as [`Shares::charge`]. What is held stays held.
    pub(super) async fn grow_to(&mut self, amount: usize) -> Result<(), Problem> {
        let Some(more) = amount.checked_sub(self.amount).filter(|more| *more > 0) else { return Ok(()) };
        let asked = self.seat.account.shares.ask(|ledger, now| ledger.ask_more(self.id, more, now));
        wait(&self.seat, asked).await?;
        self.amount = amount;
        Ok(())
    }

    /// Gives back what is beyond `amount`.
    pub(super) fn shrink_to(&mut self, amount: usize) {
        if amount < self.amount {
            self.seat.account.shares.give_back(|ledger| ledger.shrink(self.id, amount));
            self.amount = amount;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let shares = &self.seat.account.shares;
        shares.give_back(|ledger| ledger.release(self.id));
        shares.given_back.notify_waiters();
    }
}
