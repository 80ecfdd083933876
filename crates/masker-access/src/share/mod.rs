//! Fair shares of what all callers use together: connections, and memory for bodies and answers.
//!
//! Each user has an account, and so has each client of the configuration with a share of its own. An account may take what
//! is free. When nothing is, a newcomer displaces what waits for its client in the account that holds the most, or waits in a
//! queue where accounts that hold less come first. What is at work is never displaced; therefore an account takes at most
//! three quarters of the memory that the others leave.
//!
//! This module has no clock, no lock and no I/O: `masker-http` provides them.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, ops::Deref};

use masker_types::{
    limits::{
        ANSWERS_IN_FLIGHT_BYTES_MAX, BODIES_IN_FLIGHT_BYTES_MAX, CONNECTIONS_MAX, OWNER_ANSWER_BYTES, OWNER_BODY_BYTES,
        OWNER_CONNECTIONS, SHARE_QUEUE_MAX,
    },
    share::Share,
};

/// What is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Connections.
    Connections,
    /// Bytes of bodies that have arrived.
    Bodies,
    /// Bytes of operations, and of their answers until they are sent.
    Answers,
}

impl Resource {
    const ALL: [Resource; 3] = [Resource::Connections, Resource::Bodies, Resource::Answers];

    /// Returns how much there is of it.
    const fn total(self) -> usize {
        match self {
            Resource::Connections => CONNECTIONS_MAX,
            Resource::Bodies => BODIES_IN_FLIGHT_BYTES_MAX,
            Resource::Answers => ANSWERS_IN_FLIGHT_BYTES_MAX,
        }
    }

    /// Returns how much of it is reserved for root and the daemon's own user.
    const fn reserve(self) -> usize {
        match self {
            Resource::Connections => OWNER_CONNECTIONS,
            Resource::Bodies => OWNER_BODY_BYTES,
            Resource::Answers => OWNER_ANSWER_BYTES,
        }
    }
}

/// Who has an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShareHolder {
    /// Root and the daemon's own user, together.
    Owner,
    /// Another user.
    User(u32),
    /// A client of the configuration with a share of its own.
    Client(String),
}

/// What a connection does at the moment, which decides whether it can be displaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It waits for its client, and nothing has arrived since this time, in milliseconds.
    Idle(u64),
    /// It exchanges bytes with its client, the last of them at this time, in milliseconds.
    Moving(u64),
    /// Its operation is at work.
    Working,
}

/// A connection that holds a part of a resource.
pub trait Displaceable {
    /// Returns what it does at a time in milliseconds.
    fn activity(&self, now_ms: u64) -> Activity;

    /// Ends it, if its operation is not at work. It gives back what it holds soon afterwards. Returns whether it is ended.
    fn displace(&self) -> bool;

    /// Returns whether it was ended by [`Displaceable::displace`].
    fn is_displaced(&self) -> bool;
}

/// The number of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountId(u64);

/// The number of a part that is held. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HoldingId(u64);

/// The number of a place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TicketId(u64);

/// The result of asking for a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareDecision {
    /// It is granted.
    Granted(HoldingId),
    /// It is queued.
    Queued(TicketId),
    /// The queue is full.
    Refused,
}

struct Account {
    share: Share,
    is_owner: bool,
    used: [usize; Resource::ALL.len()],
}

struct Holding<H> {
    resource: Resource,
    account: AccountId,
    amount: usize,
    holder: H,
}

struct Ticket<H> {
    resource: Resource,
    account: AccountId,
    amount: usize,
    holder: H,
    /// The holding that grows; `None` for a new one.
    grows: Option<HoldingId>,
    granted: Option<HoldingId>,
}

/// Who holds how much of each resource, and who waits for some. `H` is a pointer to a connection.
pub struct ShareLedger<H> {
    /// What clients are guaranteed together, in percent.
    guaranteed_percent: u64,
    accounts: BTreeMap<AccountId, Account>,
    holdings: BTreeMap<HoldingId, Holding<H>>,
    queue: BTreeMap<TicketId, Ticket<H>>,
    /// What is used beyond guarantees.
    common_used: [usize; Resource::ALL.len()],
    next_number: u64,
}

impl<H> Default for ShareLedger<H> {
    fn default() -> Self {
        ShareLedger {
            guaranteed_percent: 0,
            accounts: BTreeMap::new(),
            holdings: BTreeMap::new(),
            queue: BTreeMap::new(),
            common_used: [0; Resource::ALL.len()],
            next_number: 0,
        }
    }
}

impl Account {
    fn used(&self, resource: Resource) -> usize {
        self.used[resource as usize]
    }

    fn guaranteed(&self, resource: Resource) -> usize {
        if self.is_owner { resource.reserve() } else { percent(resource.total(), self.share.guaranteed_percent.into()) }
    }

    fn max(&self, resource: Resource) -> usize {
        percent(resource.total(), self.share.max_percent.into())
    }

    /// Returns what it uses beyond its guarantee, if it uses `used`.
    fn beyond_guarantee(&self, resource: Resource, used: usize) -> usize {
        used.saturating_sub(self.guaranteed(resource))
    }
}

fn percent(of: usize, percent: u64) -> usize {
    usize::try_from(of as u64 * percent / 100).unwrap_or(usize::MAX)
}

/// Why a part cannot be granted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shortage {
    /// The account has all that it may take.
    OfAccount,
    /// All accounts together have taken everything.
    OfAll,
}

impl<H: Clone + Deref<Target: Displaceable>> ShareLedger<H> {
    /// Sets what the clients of the configuration are guaranteed together, in percent.
    pub fn set_guaranteed(&mut self, percent: u64) {
        self.guaranteed_percent = percent;
    }

    /// Opens an account.
    pub fn open_account(&mut self, is_owner: bool, share: Share) -> AccountId {
        let id = AccountId(self.number());
        self.accounts.insert(id, Account { share, is_owner, used: [0; Resource::ALL.len()] });
        id
    }

    /// Closes an account that holds nothing and waits for nothing.
    pub fn close_account(&mut self, id: AccountId) {
        self.accounts.remove(&id);
    }

    /// Returns how much of a resource is held.
    pub fn used(&self, resource: Resource) -> usize {
        self.accounts.values().map(|account| account.used(resource)).sum()
    }

    /// Asks for a part of a resource. If there is none, displaces what waits for its client.
    pub fn ask(
        &mut self,
        resource: Resource,
        account: AccountId,
        amount: usize,
        holder: H,
        now_ms: u64,
    ) -> ShareDecision {
        self.ask_for(Ticket { resource, account, amount, holder, grows: None, granted: None }, now_ms)
    }

    /// Asks for more of what is held.
    pub fn ask_more(&mut self, id: HoldingId, amount: usize, now_ms: u64) -> ShareDecision {
        let Some(Holding { resource, account, holder, .. }) = self.holdings.get(&id) else {
            return ShareDecision::Refused;
        };
        let (resource, account, holder) = (*resource, *account, holder.clone());
        self.ask_for(Ticket { resource, account, amount, holder, grows: Some(id), granted: None }, now_ms)
    }

    fn ask_for(&mut self, ticket: Ticket<H>, now_ms: u64) -> ShareDecision {
        let waits_behind_others = self.waiting(ticket.resource).any(|(_, other)| self.shortage(other).is_none());
        if !waits_behind_others && self.shortage(&ticket).is_none() {
            return ShareDecision::Granted(self.grant(&ticket));
        }
        if self.queue.len() >= SHARE_QUEUE_MAX && !self.has_room_in_queue(ticket.account) {
            return ShareDecision::Refused;
        }
        let id = TicketId(self.number());
        self.queue.insert(id, ticket);
        self.displace_more(id, now_ms);
        ShareDecision::Queued(id)
    }

    /// Returns whether an account has fewer places in the queue than another, and may take one although it is full. Each
    /// account can exceed the queue's bound by one place.
    fn has_room_in_queue(&self, account: AccountId) -> bool {
        self.queue.values().all(|ticket| ticket.account != account)
    }

    /// Displaces what waits for its client, as much as a place in the queue needs. Call this again while it is waiting,
    /// because connections begin to wait for their clients later.
    pub fn displace_more(&mut self, id: TicketId, now_ms: u64) {
        while let Some(ticket) = self.queue.get(&id).filter(|ticket| ticket.granted.is_none()) {
            let Some(shortage) = self.shortage(ticket) else { return };
            if self.is_on_its_way(ticket, shortage) || !self.displace_for(ticket, shortage, now_ms) {
                return;
            }
        }
    }

    /// Takes a granted part out of the queue; `None` if it is not granted yet.
    pub fn collect(&mut self, id: TicketId) -> Option<HoldingId> {
        let granted = self.queue.get(&id)?.granted?;
        self.queue.remove(&id);
        Some(granted)
    }

    /// Gives up a place in the queue. Returns what was granted meanwhile, to be released; `None` for a holding that grew.
    pub fn cancel(&mut self, id: TicketId) -> Option<HoldingId> {
        let ticket = self.queue.remove(&id)?;
        ticket.granted.filter(|_| ticket.grows.is_none())
    }

    /// Gives back all but `amount` of a part. Returns the places in the queue that are granted now.
    pub fn shrink(&mut self, id: HoldingId, amount: usize) -> Vec<TicketId> {
        let Some(holding) = self.holdings.get_mut(&id).filter(|holding| holding.amount > amount) else {
            return Vec::new();
        };
        let (resource, account, before) = (holding.resource, holding.account, holding.amount);
        holding.amount = amount;
        self.change_used(resource, account, |used| used.saturating_sub(before - amount));
        self.grant_waiting(resource)
    }

    /// Gives back a part. Returns the places in the queue that are granted now.
    pub fn release(&mut self, id: HoldingId) -> Vec<TicketId> {
        let granted = self.shrink(id, 0);
        self.holdings.remove(&id);
        granted
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn waiting(&self, resource: Resource) -> impl Iterator<Item = (TicketId, &Ticket<H>)> {
        let waits = move |ticket: &Ticket<H>| ticket.resource == resource && ticket.granted.is_none();
        self.queue.iter().filter(move |(_, ticket)| waits(ticket)).map(|(id, ticket)| (*id, ticket))
    }

    /// Returns what accounts may use together beyond their guarantees.
    fn common_max(&self, resource: Resource) -> usize {
        let guaranteed = percent(resource.total(), self.guaranteed_percent) + resource.reserve();
        resource.total().saturating_sub(guaranteed)
    }

    /// Returns what an account holds beyond its guarantee.
    fn beyond_guarantee(&self, account: AccountId, resource: Resource) -> usize {
        self.accounts.get(&account).map_or(0, |account| account.beyond_guarantee(resource, account.used(resource)))
    }

    /// Returns why a part cannot be granted; `None` if it can.
    fn shortage(&self, ticket: &Ticket<H>) -> Option<Shortage> {
        let account = self.accounts.get(&ticket.account)?;
        let (resource, before) = (ticket.resource, account.used(ticket.resource));
        let after = before + ticket.amount;
        let beyond = account.beyond_guarantee(resource, after);
        let more = beyond - account.beyond_guarantee(resource, before);
        let free = self.common_max(resource).saturating_sub(self.common_used[resource as usize]);
        // A single request of an account is possible whenever there is room for it.
        let is_first = before == 0;
        if !is_first && after > account.max(resource) {
            return Some(Shortage::OfAccount);
        }
        if more > free {
            return Some(Shortage::OfAll);
        }
        let leaves_room = more == 0 || resource == Resource::Connections || beyond <= (free - more).saturating_mul(3);
        if is_first || leaves_room { None } else { Some(Shortage::OfAccount) }
    }

    /// Returns whether enough is displaced and not given back yet, for this part and for those that wait beside it.
    fn is_on_its_way(&self, ticket: &Ticket<H>, shortage: Shortage) -> bool {
        let counts = |account: AccountId| shortage == Shortage::OfAll || account == ticket.account;
        let displaced = self.holdings.values().filter(|holding| {
            holding.resource == ticket.resource && counts(holding.account) && holding.holder.is_displaced()
        });
        let displaced: usize = displaced.map(|holding| holding.amount).sum();
        let asked = self.waiting(ticket.resource).filter(|(_, other)| counts(other.account));
        displaced > 0 && displaced >= asked.map(|(_, other)| other.amount).sum()
    }

    /// Displaces a holding of the account that holds the most. Returns whether there was one.
    fn displace_for(&self, ticket: &Ticket<H>, shortage: Shortage, now_ms: u64) -> bool {
        let resource = ticket.resource;
        let own = self.beyond_guarantee(ticket.account, resource);
        let holds = |id: &AccountId| (self.beyond_guarantee(*id, resource), *id);
        let may_lose =
            |(beyond, id): &(usize, AccountId)| *id == ticket.account || (shortage == Shortage::OfAll && *beyond > own);
        let mut accounts: Vec<(usize, AccountId)> = self.accounts.keys().map(holds).filter(may_lose).collect();
        accounts.sort_unstable_by(|one, other| other.cmp(one));
        accounts.into_iter().any(|(_, account)| self.displace_one_of(account, resource, now_ms))
    }

    fn displace_one_of(&self, account: AccountId, resource: Resource, now_ms: u64) -> bool {
        let holdings = self.holdings.iter().filter(|(_, held)| held.account == account && held.resource == resource);
        let mut victims: Vec<((u8, u64), &H)> = holdings
            .filter(|(_, held)| !held.holder.is_displaced())
            .filter_map(|(id, held)| {
                Some((displacement_order(resource, held.holder.activity(now_ms), *id)?, &held.holder))
            })
            .collect();
        // Stable: of those that are alike, the oldest goes first.
        victims.sort_by_key(|(turn, _)| *turn);
        victims.into_iter().any(|(_, holder)| holder.displace())
    }

    fn grant(&mut self, ticket: &Ticket<H>) -> HoldingId {
        let Ticket { resource, account, amount, .. } = *ticket;
        self.change_used(resource, account, |used| used + amount);
        if let Some((id, holding)) = ticket.grows.and_then(|id| Some((id, self.holdings.get_mut(&id)?))) {
            holding.amount += amount;
            return id;
        }
        let id = HoldingId(self.number());
        self.holdings.insert(id, Holding { resource, account, amount, holder: ticket.holder.clone() });
        id
    }

    /// Grants what can be granted. Accounts that hold less come first.
    fn grant_waiting(&mut self, resource: Resource) -> Vec<TicketId> {
        let mut granted = Vec::new();
        loop {
            let possible = self.waiting(resource).filter(|(_, ticket)| self.shortage(ticket).is_none());
            let next = possible.min_by_key(|(id, ticket)| (self.beyond_guarantee(ticket.account, resource), *id));
            let Some((id, _)) = next else { return granted };
            let Some(mut ticket) = self.queue.remove(&id) else { return granted };
            ticket.granted = Some(self.grant(&ticket));
            self.queue.insert(id, ticket);
            granted.push(id);
        }
    }

    fn change_used(&mut self, resource: Resource, account: AccountId, change: impl FnOnce(usize) -> usize) {
        let Some(account) = self.accounts.get_mut(&account) else { return };
        let before = account.used(resource);
        let after = change(before);
        account.used[resource as usize] = after;
        let common = &mut self.common_used[resource as usize];
        *common = *common + account.beyond_guarantee(resource, after) - account.beyond_guarantee(resource, before);
    }
}

/// Returns when a holding is displaced among those of its account: the least first; `None` if it is not.
fn displacement_order(resource: Resource, activity: Activity, id: HoldingId) -> Option<(u8, u64)> {
    match (resource, activity) {
        (_, Activity::Working) => None,
        (_, Activity::Idle(since_ms)) => Some((0, since_ms)),
        (Resource::Connections, Activity::Moving(since_ms)) => Some((1, since_ms)),
        // The newest.
        (Resource::Bodies, Activity::Moving(_)) => Some((1, u64::MAX - id.0)),
        // A client that reads its answer has a moment more.
        (Resource::Answers, Activity::Moving(_)) => None,
    }
}
