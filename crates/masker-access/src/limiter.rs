//! How fast a caller may go: tokens-per-second buckets with bursts, hour windows, and a number for each day.
//!
//! All or nothing: what is refused takes nothing from any of them.

use std::{
    cmp::Reverse,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use masker_types::grant::{Limit, Limits};

#[cfg(test)]
mod tests;

/// A request in a bucket's own unit, so that a bucket that refills by parts of one needs no fractions.
const WHOLE: u64 = 1_000_000_000;
const HOUR: Duration = Duration::from_secs(3_600);
const DAY_SECONDS: u64 = 86_400;

/// When something happens, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamps {
    /// Since some start, by a clock that never goes back.
    pub elapsed: Duration,
    /// Seconds of Unix time, which tell the day.
    pub unix_seconds: u64,
}

/// How much of a limit is left: what `X-RateLimit-Limit`, `-Remaining` and `-Reset` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// Which limit this is about.
    pub which: Limit,
    /// The most that there can be at once.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// Until all of it is there again, in seconds, rounded up.
    pub reset_seconds: u64,
}

/// What a limit is for, and so by which code a caller that is past it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// `rate.limited`: how fast.
    Rate,
    /// `quota.exceeded`: how much in a day.
    Quota,
}

/// A caller is past a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    /// What the limit is for.
    pub kind: LimitKind,
    /// The limit; where several are passed, the one that must be waited for longest.
    pub which: Limit,
    /// The least time after which the same request can be admitted, in seconds, rounded up; at least 1.
    pub retry_after_seconds: u64,
    /// The most values that this limit ever admits in one request, where the request has more: waiting is no help.
    pub at_most: Option<u64>,
    /// What [`Limiter::admit`] would have said.
    pub rate_limit: Option<RateLimitStatus>,
}

/// What counts towards a limit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CostBasis {
    Requests,
    Values,
    /// A request without values is one operation, too.
    Operations,
}

/// A limit of a time, and the limit that says how much can be there at once.
struct RateRule {
    limit: Limit,
    most: Limit,
    by: CostBasis,
}

/// In the order in which callers are told of them: how many requests are left is what a client can plan by.
const RULES: [RateRule; 5] = [
    RateRule { limit: Limit::RequestsPerSecond, most: Limit::RequestsBurst, by: CostBasis::Requests },
    RateRule { limit: Limit::RequestsPerHour, most: Limit::RequestsPerHour, by: CostBasis::Requests },
    RateRule { limit: Limit::ValuesPerSecond, most: Limit::ValuesBurst, by: CostBasis::Values },
    RateRule { limit: Limit::ValuesPerHour, most: Limit::ValuesPerHour, by: CostBasis::Values },
    RateRule { limit: Limit::OperationsPerDay, most: Limit::OperationsPerDay, by: CostBasis::Operations },
];

/// What was taken from one limit. None holds the limit's numbers, so that those can change.
#[derive(Clone, Copy)]
enum LimitUsage {
    /// What is missing from a full bucket, in parts of [`WHOLE`], and as of when.
    Bucket { missing: u64, at: Duration },
    /// What was taken since the window began.
    Hour { taken: u64, began: Duration },
    /// What was taken on a day, counted since 1970.
    Day(DailyUsage),
}

/// The limits of one caller, and what it has taken from them.
pub struct Limiter {
    limits: Limits,
    accounts: Arc<Mutex<[LimitUsage; RULES.len()]>>,
}

impl Limiter {
    /// Limits from which nothing is taken yet.
    pub fn new(limits: &Limits) -> Self {
        let accounts = RULES.map(|rule| match rule.limit {
            Limit::RequestsPerSecond | Limit::ValuesPerSecond => LimitUsage::Bucket { missing: 0, at: Duration::ZERO },
            Limit::OperationsPerDay => LimitUsage::Day(DailyUsage::default()),
            _ => LimitUsage::Hour { taken: 0, began: Duration::ZERO },
        });
        Limiter { limits: *limits, accounts: Arc::new(Mutex::new(accounts)) }
    }

    /// Other limits for the same caller. What it has taken stays taken, also by requests that began before: loading
    /// limits again gives nobody a fresh start.
    #[must_use]
    pub fn succeed(&self, limits: &Limits) -> Self {
        Limiter { limits: *limits, accounts: Arc::clone(&self.accounts) }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes a request with so many values or tokens from every limit, if it is within all of them, and says how much
    /// is left of the tightest: of those by requests, else of those by values, else of the day's. `None` where there is
    /// no limit.
    ///
    /// # Errors
    /// [`LimitExceeded`] if it is past one; then nothing is taken.
    pub fn admit(&self, now: Timestamps, values: u64) -> Result<Option<RateLimitStatus>, LimitExceeded> {
        // Most callers are on this way, and share no lock.
        if self.limits.is_unlimited() {
            return Ok(None);
        }
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_accounts(&mut accounts, now, values)?;
        for (rule, account) in RULES.iter().zip(accounts.iter_mut()) {
            if self.numbers(rule).is_some() {
                account.take(rule.by.cost(values), now);
            }
        }
        Ok(self.tightest(&accounts, now))
    }

    /// Checks that a request without values would be admitted. Takes nothing.
    ///
    /// # Errors
    /// [`LimitExceeded`] if it is past a limit.
    pub fn check(&self, now: Timestamps) -> Result<(), LimitExceeded> {
        if self.limits.is_unlimited() {
            return Ok(());
        }
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_accounts(&mut accounts, now, 0)
    }

    /// Checks that a request is within every limit, each brought up to `now`.
    fn check_accounts(
        &self,
        accounts: &mut [LimitUsage; RULES.len()],
        now: Timestamps,
        values: u64,
    ) -> Result<(), LimitExceeded> {
        let mut longest: Option<(Duration, &RateRule)> = None;
        for (rule, account) in RULES.iter().zip(accounts.iter_mut()) {
            let Some((rate, most)) = self.numbers(rule) else { continue };
            account.catch_up(rate, now);
            let wait = account.wait(rule.by.cost(values), rate, most, now);
            if longest.is_none_or(|(longest, _)| wait > longest) {
                longest = Some((wait, rule));
            }
        }
        let Some((wait, rule)) = longest.filter(|(wait, _)| !wait.is_zero()) else { return Ok(()) };
        let at_most = self.numbers(rule).map(|(_, most)| most).filter(|_| wait == Duration::MAX);
        let kind = if rule.by == CostBasis::Operations { LimitKind::Quota } else { LimitKind::Rate };
        let wait = if at_most.is_some() { Duration::ZERO } else { wait };
        Err(LimitExceeded {
            kind,
            which: rule.limit,
            retry_after_seconds: whole_seconds(wait).max(1),
            at_most,
            rate_limit: self.tightest(accounts, now),
        })
    }

    /// What is left of every limit that there is.
    pub fn rate_limit_statuses(&self, now: Timestamps) -> Vec<RateLimitStatus> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let rate_limit_statuses = RULES.iter().zip(accounts.iter_mut()).filter_map(|(rule, account)| {
            account.catch_up(self.numbers(rule)?.0, now);
            self.rate_limit(rule, account, now)
        });
        rate_limit_statuses.collect()
    }

    /// The number of a rule's limit, and the most that can be there at once.
    fn numbers(&self, rule: &RateRule) -> Option<(u64, u64)> {
        Some((self.limits.get(rule.limit)?, self.limits.get(rule.most)?))
    }

    fn tightest(&self, accounts: &[LimitUsage; RULES.len()], now: Timestamps) -> Option<RateLimitStatus> {
        [CostBasis::Requests, CostBasis::Values, CostBasis::Operations].into_iter().find_map(|by| {
            let rules = RULES.iter().zip(accounts).filter(|(rule, _)| rule.by == by);
            let rate_limit_statuses = rules.filter_map(|(rule, account)| self.rate_limit(rule, account, now));
            // Of two with as little left, the one that takes longer to be full again.
            rate_limit_statuses.min_by_key(|rate_limit| (rate_limit.remaining, Reverse(rate_limit.reset_seconds)))
        })
    }

    fn rate_limit(&self, rule: &RateRule, account: &LimitUsage, now: Timestamps) -> Option<RateLimitStatus> {
        let (rate, limit) = self.numbers(rule)?;
        let remaining = limit.saturating_sub(account.taken());
        Some(RateLimitStatus {
            which: rule.limit,
            limit,
            remaining,
            reset_seconds: whole_seconds(account.reset(rate, now)),
        })
    }
}

impl CostBasis {
    /// What a request with so many values costs.
    fn cost(self, values: u64) -> u64 {
        match self {
            CostBasis::Requests => 1,
            CostBasis::Values => values,
            CostBasis::Operations => values.max(1),
        }
    }
}

impl LimitUsage {
    /// Gives back what time has given back.
    fn catch_up(&mut self, rate: u64, now: Timestamps) {
        match self {
            LimitUsage::Bucket { missing, at } => {
                let nanoseconds = now.elapsed.saturating_sub(*at).as_nanos();
                // A rate for each second is as many billionths for each billionth of one.
                let refilled = nanoseconds.saturating_mul(u128::from(rate));
                *missing = missing.saturating_sub(u64::try_from(refilled).unwrap_or(u64::MAX));
                *at = now.elapsed.max(*at);
            }
            LimitUsage::Hour { taken, began } => {
                if now.elapsed.saturating_sub(*began) >= HOUR {
                    *taken = 0;
                }
            }
            LimitUsage::Day(daily) => {
                daily.catch_up(now.unix_seconds);
            }
        }
    }

    /// How long until `cost` can be taken; [`Duration::MAX`] if it never can.
    fn wait(&self, cost: u64, rate: u64, most: u64, now: Timestamps) -> Duration {
        // What takes nothing need not wait for what another request has taken, even if that is too much by now.
        if cost == 0 {
            return Duration::ZERO;
        }
        if cost > most {
            return Duration::MAX;
        }
        match *self {
            LimitUsage::Bucket { missing, .. } => {
                let short = (missing + cost * WHOLE).saturating_sub(most * WHOLE);
                Duration::from_nanos(short.div_ceil(rate))
            }
            LimitUsage::Hour { taken, .. } | LimitUsage::Day(DailyUsage { taken, .. }) => {
                if taken.saturating_add(cost) <= most { Duration::ZERO } else { self.reset(rate, now) }
            }
        }
    }

    /// Takes what there is no wait for.
    fn take(&mut self, cost: u64, now: Timestamps) {
        match self {
            LimitUsage::Bucket { missing, .. } => *missing += cost * WHOLE,
            LimitUsage::Hour { taken, began } => {
                if *taken == 0 {
                    *began = now.elapsed;
                }
                *taken += cost;
            }
            LimitUsage::Day(daily) => daily.taken += cost,
        }
    }

    /// What was taken and is not back, rounded up.
    fn taken(&self) -> u64 {
        match *self {
            LimitUsage::Bucket { missing, .. } => missing.div_ceil(WHOLE),
            LimitUsage::Hour { taken, .. } | LimitUsage::Day(DailyUsage { taken, .. }) => taken,
        }
    }

    /// How long until all of it is back.
    fn reset(&self, rate: u64, now: Timestamps) -> Duration {
        match *self {
            _ if self.taken() == 0 => Duration::ZERO,
            LimitUsage::Bucket { missing, .. } => Duration::from_nanos(missing.div_ceil(rate)),
            LimitUsage::Hour { began, .. } => (began + HOUR).saturating_sub(now.elapsed),
            LimitUsage::Day(_) => DailyUsage::left(now.unix_seconds),
        }
    }
}

/// What was taken on a day of UTC.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DailyUsage {
    /// Counted since 1970.
    day: u64,
    pub(super) taken: u64,
}

impl DailyUsage {
    /// Begins a new day, if it is one, and says so. A clock that is set back begins none, and one that wavers around
    /// midnight begins each but once; one that was far ahead holds nobody up for longer than until the next midnight.
    pub(super) fn catch_up(&mut self, unix_seconds: u64) -> bool {
        let day = unix_seconds / DAY_SECONDS;
        let begins = day > self.day;
        if begins {
            self.taken = 0;
        }
        if begins || self.day - day > 1 {
            self.day = day;
        }
        begins
    }

    /// How much is left of a limit by days.
    pub(super) fn rate_limit(self, which: Limit, limit: u64, now: Timestamps) -> RateLimitStatus {
        let reset = if self.taken == 0 { Duration::ZERO } else { DailyUsage::left(now.unix_seconds) };
        let remaining = limit.saturating_sub(self.taken);
        RateLimitStatus { which, limit, remaining, reset_seconds: whole_seconds(reset) }
    }

    /// How long the day lasts.
    pub(super) fn left(unix_seconds: u64) -> Duration {
        Duration::from_secs(DAY_SECONDS - unix_seconds % DAY_SECONDS)
    }
}

/// Rounded up: what is told to a caller must be over by then.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
