//! How fast a caller may go: token buckets with bursts, hourly windows, and a daily quota.
//!
//! A request is admitted by all limits or by none: a refused request takes nothing from any of them.

use std::{
    cmp::Reverse,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use masker_types::grant::{Limit, Limits};

#[cfg(test)]
mod tests;

/// One request or value in a bucket's unit, which is fine enough to refill a bucket without fractions.
const UNIT: u64 = 1_000_000_000;
const HOUR: Duration = Duration::from_secs(3_600);
const DAY_SECONDS: u64 = 86_400;

/// One moment by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamps {
    /// Time since an arbitrary start, by a monotonic clock.
    pub monotonic: Duration,
    /// Unix time in seconds, which determines the day.
    pub unix: u64,
}

/// How much of a limit is left: the content of `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// Which limit this is about.
    pub which: Limit,
    /// The most that is available at once.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// Time until all of it is available again, in seconds, rounded up.
    pub reset_seconds: u64,
}

/// The kind of a limit, which determines the error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// `rate.limited`: how fast.
    Rate,
    /// `quota.exceeded`: how much in a day.
    Quota,
}

/// A request exceeds a limit of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    /// The kind of the limit.
    pub kind: LimitKind,
    /// The limit. If a request exceeds several, the one with the longest wait.
    pub which: Limit,
    /// What the request takes of the limit.
    pub needed: u64,
    /// What is left of it.
    pub left: u64,
    /// The shortest time after which the same request can be admitted, in seconds, rounded up; at least 1.
    pub retry_after_seconds: u64,
    /// The most values that this limit ever admits in one request. `None` unless the request has more, so that waiting
    /// does not help.
    pub max_values: Option<u64>,
    /// The status that [`Limiter::admit`] would have returned.
    pub rate_limit: Option<RateLimitStatus>,
}

/// What counts towards a limit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CostBasis {
    Requests,
    Values,
    /// Like values, but a request without values counts as one.
    Operations,
}

/// A limit over time, and the limit on how much is available at once.
struct RateRule {
    limit: Limit,
    burst: Limit,
    by: CostBasis,
}

/// In the order in which callers see them: a client plans by the number of requests that are left.
const RULES: [RateRule; 5] = [
    RateRule { limit: Limit::RequestsPerSecond, burst: Limit::RequestsBurst, by: CostBasis::Requests },
    RateRule { limit: Limit::RequestsPerHour, burst: Limit::RequestsPerHour, by: CostBasis::Requests },
    RateRule { limit: Limit::ValuesPerSecond, burst: Limit::ValuesBurst, by: CostBasis::Values },
    RateRule { limit: Limit::ValuesPerHour, burst: Limit::ValuesPerHour, by: CostBasis::Values },
    RateRule { limit: Limit::OperationsPerDay, burst: Limit::OperationsPerDay, by: CostBasis::Operations },
];

/// What was taken from one limit. It does not contain the limit's numbers, so they can change.
#[derive(Clone, Copy)]
enum LimitUsage {
    /// What was missing from a full bucket, in parts of [`UNIT`], at some time.
    Bucket { missing: u64, at: Duration },
    /// What was taken since the window began.
    Hour { taken: u64, began: Duration },
    /// What was taken on a day.
    Day(DailyUsage),
}

/// The limits of one caller, and what was taken from them.
#[derive(Clone)]
struct Window {
    limits: Limits,
    /// Whether there are any. Known in advance, because every request asks.
    is_limited: bool,
    usages: Arc<Mutex<[LimitUsage; RULES.len()]>>,
}

/// The limits of one caller with what it has taken from them, and those of the callers on whose behalf it works: the
/// creator of its API key, the creator of that key, and so on. A request is taken from all of them.
pub struct Limiter {
    own: Window,
    /// Those of them that have limits.
    above: Vec<Window>,
}

/// The usage of a window while a request is admitted.
type LockedUsages<'w> = (&'w Window, MutexGuard<'w, [LimitUsage; RULES.len()]>);

impl Limiter {
    /// Returns an unused limiter.
    pub fn new(limits: &Limits) -> Self {
        let usages = RULES.map(|rule| match rule.limit {
            Limit::RequestsPerSecond | Limit::ValuesPerSecond => LimitUsage::Bucket { missing: 0, at: Duration::ZERO },
            Limit::OperationsPerDay => LimitUsage::Day(DailyUsage::default()),
            _ => LimitUsage::Hour { taken: 0, began: Duration::ZERO },
        });
        Limiter { own: Window::new(limits, Arc::new(Mutex::new(usages))), above: Vec::new() }
    }

    /// Returns a limiter of the same caller with other limits. Both share one usage, so that a reload gives nobody a
    /// fresh start and requests which began under the former limits still count.
    #[must_use]
    pub fn with_limits(&self, limits: &Limits) -> Self {
        let own = Window::new(limits, Arc::clone(&self.own.usages));
        Limiter { own, above: self.above.clone() }
    }

    /// Returns this limiter as the limiter of a caller that `creator` has created: requests are taken from both.
    #[must_use]
    pub(super) fn created_by(&self, creator: Option<&Limiter>) -> Self {
        let above = creator.map_or_else(Vec::new, |creator| {
            let windows = std::iter::once(&creator.own).chain(&creator.above);
            windows.filter(|window| window.is_limited).cloned().collect()
        });
        Limiter { own: self.own.clone(), above }
    }

    /// Returns the caller's own limits.
    pub fn limits(&self) -> &Limits {
        &self.own.limits
    }

    /// Takes a request with this many values or tokens from every limit if all of them admit it. Returns how much is
    /// left of the tightest limit by requests, else by values, else of the day; `None` if there is no limit.
    ///
    /// # Errors
    /// [`LimitExceeded`] if a limit does not admit it; then nothing is taken.
    pub fn admit(&self, now: Timestamps, values: u64) -> Result<Option<RateLimitStatus>, LimitExceeded> {
        self.with_locked(|locked| {
            check_usages(locked, now, |rule| rule.by.cost(values))?;
            take(locked, now, |rule| rule.by.cost(values));
            Ok(tightest(locked, now))
        })
    }

    /// Takes values of a request that was admitted without them, if every limit admits them. `before` is how many of its values
    /// were taken already. Returns what [`Limiter::admit`] returns.
    ///
    /// # Errors
    /// [`LimitExceeded`] if a limit does not admit them; then nothing is taken.
    pub fn admit_values(
        &self,
        now: Timestamps,
        before: u64,
        values: u64,
    ) -> Result<Option<RateLimitStatus>, LimitExceeded> {
        self.with_locked(|locked| {
            check_usages(locked, now, |rule| rule.by.cost_of_values(before, values))?;
            take(locked, now, |rule| rule.by.cost_of_values(before, values));
            Ok(tightest(locked, now))
        })
    }

    /// Takes a request that is no operation, as one that asks what is left: nothing of the day. Returns what
    /// [`Limiter::admit`] returns.
    ///
    /// # Errors
    /// [`LimitExceeded`] if a limit does not admit it; then nothing is taken.
    pub fn admit_free(&self, now: Timestamps) -> Result<Option<RateLimitStatus>, LimitExceeded> {
        self.with_locked(|locked| {
            check_usages(locked, now, |rule| rule.by.cost_of_request())?;
            take(locked, now, |rule| rule.by.cost_of_request());
            Ok(tightest(locked, now))
        })
    }

    /// Checks that a request without values would be admitted. Takes nothing.
    ///
    /// # Errors
    /// [`LimitExceeded`] if it is past a limit.
    pub fn check(&self, now: Timestamps) -> Result<(), LimitExceeded> {
        self.with_locked(|locked| check_usages(locked, now, |rule| rule.by.cost(0)))
    }

    /// Returns what is left of each limit that is set.
    pub fn statuses(&self, now: Timestamps) -> Vec<RateLimitStatus> {
        self.with_locked(|locked| {
            let statuses = RULES.iter().enumerate().filter_map(|(position, rule)| {
                let of_window = |(window, usages): &mut LockedUsages<'_>| {
                    usages[position].catch_up(window.numbers(rule)?.0, now);
                    window.status(rule, &usages[position], now)
                };
                locked.iter_mut().filter_map(of_window).min_by_key(|status| status.remaining)
            });
            statuses.collect()
        })
    }

    /// Locks the usages of the limits that are set. Every limiter locks its own before those above it, so no two wait for
    /// each other. Most callers have no limits, or none above their own: their requests share no lock and allocate nothing.
    fn with_locked<R>(&self, work: impl FnOnce(&mut [LockedUsages<'_>]) -> R) -> R {
        match (self.own.is_limited, self.above.as_slice()) {
            (false, []) => work(&mut []),
            (true, []) => work(&mut [self.own.lock()]),
            (false, above) => work(&mut above.iter().map(Window::lock).collect::<Vec<_>>()),
            (true, above) => work(&mut std::iter::once(&self.own).chain(above).map(Window::lock).collect::<Vec<_>>()),
        }
    }
}

/// Takes a cost from every limit.
fn take(locked: &mut [LockedUsages<'_>], now: Timestamps, cost: impl Fn(&RateRule) -> u64) {
    for (window, usages) in locked {
        for (rule, usage) in RULES.iter().zip(usages.iter_mut()) {
            if window.numbers(rule).is_some() {
                usage.take(cost(rule), now);
            }
        }
    }
}

/// Checks that a cost is within every limit, and refills each up to `now`.
fn check_usages(
    locked: &mut [LockedUsages<'_>],
    now: Timestamps,
    cost: impl Fn(&RateRule) -> u64,
) -> Result<(), LimitExceeded> {
    let mut longest: Option<(Duration, &RateRule, u64, LimitUsage)> = None;
    for (window, usages) in locked.iter_mut() {
        for (rule, usage) in RULES.iter().zip(usages.iter_mut()) {
            let Some((rate, burst)) = window.numbers(rule) else { continue };
            usage.catch_up(rate, now);
            let wait = usage.wait(cost(rule), rate, burst, now);
            if longest.is_none_or(|(longest, ..)| wait > longest) {
                longest = Some((wait, rule, burst, *usage));
            }
        }
    }
    let Some((wait, rule, burst, usage)) = longest.filter(|(wait, ..)| !wait.is_zero()) else { return Ok(()) };
    let max_values = (wait == Duration::MAX).then_some(burst);
    let kind = if rule.by == CostBasis::Operations { LimitKind::Quota } else { LimitKind::Rate };
    let wait = if max_values.is_some() { Duration::ZERO } else { wait };
    Err(LimitExceeded {
        kind,
        which: rule.limit,
        needed: cost(rule),
        left: burst.saturating_sub(usage.taken()),
        retry_after_seconds: whole_seconds(wait).max(1),
        max_values,
        rate_limit: tightest(locked, now),
    })
}

fn tightest(locked: &[LockedUsages<'_>], now: Timestamps) -> Option<RateLimitStatus> {
    [CostBasis::Requests, CostBasis::Values, CostBasis::Operations].into_iter().find_map(|by| {
        let statuses = locked.iter().flat_map(|(window, usages)| {
            let rules = RULES.iter().zip(usages.iter()).filter(|(rule, _)| rule.by == by);
            rules.filter_map(|(rule, usage)| window.status(rule, usage, now))
        });
        // On a tie, choose the one that takes longer to refill.
        statuses.min_by_key(|status| (status.remaining, Reverse(status.reset_seconds)))
    })
}

impl Window {
    fn new(limits: &Limits, usages: Arc<Mutex<[LimitUsage; RULES.len()]>>) -> Self {
        Window { limits: *limits, is_limited: !limits.is_unlimited(), usages }
    }

    fn lock(&self) -> LockedUsages<'_> {
        (self, self.usages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the numbers of a rule's limit and of its burst, if the limit is set.
    fn numbers(&self, rule: &RateRule) -> Option<(u64, u64)> {
        Some((self.limits.get(rule.limit)?, self.limits.get(rule.burst)?))
    }

    fn status(&self, rule: &RateRule, usage: &LimitUsage, now: Timestamps) -> Option<RateLimitStatus> {
        let (rate, limit) = self.numbers(rule)?;
        let remaining = limit.saturating_sub(usage.taken());
        Some(RateLimitStatus {
            which: rule.limit,
            limit,
            remaining,
            reset_seconds: whole_seconds(usage.reset(rate, now)),
        })
    }
}

impl CostBasis {
    /// Returns the cost of a request with this many values.
    fn cost(self, values: u64) -> u64 {
        match self {
            CostBasis::Requests => 1,
            CostBasis::Values => values,
            CostBasis::Operations => values.max(1),
        }
    }

    /// Returns the cost of a request that is no operation.
    fn cost_of_request(self) -> u64 {
        match self {
            CostBasis::Requests => 1,
            CostBasis::Values | CostBasis::Operations => 0,
        }
    }

    /// Returns the cost of values of a request that was admitted without them, and of which this many were taken `before`.
    fn cost_of_values(self, before: u64, values: u64) -> u64 {
        match self {
            CostBasis::Requests => 0,
            CostBasis::Values => values,
            // The request counted as one operation.
            CostBasis::Operations => self.cost(before.saturating_add(values)) - self.cost(before),
        }
    }
}

impl LimitUsage {
    /// Refills what has become available again by now.
    fn catch_up(&mut self, rate: u64, now: Timestamps) {
        match self {
            LimitUsage::Bucket { missing, at } => {
                let nanoseconds = now.monotonic.saturating_sub(*at).as_nanos();
                // A rate per second is the same number of billionths per nanosecond.
                let refilled = nanoseconds.saturating_mul(u128::from(rate));
                *missing = missing.saturating_sub(u64::try_from(refilled).unwrap_or(u64::MAX));
                *at = now.monotonic.max(*at);
            }
            LimitUsage::Hour { taken, began } => {
                if now.monotonic.saturating_sub(*began) >= HOUR {
                    *taken = 0;
                }
            }
            LimitUsage::Day(daily) => {
                daily.catch_up(now.unix);
            }
        }
    }

    /// Returns how long until `cost` can be taken; [`Duration::MAX`] if it never can.
    fn wait(&self, cost: u64, rate: u64, burst: u64, now: Timestamps) -> Duration {
        // A request that takes nothing need not wait, even if others have taken more than a lowered limit allows.
        if cost == 0 {
            return Duration::ZERO;
        }
        if cost > burst {
            return Duration::MAX;
        }
        match *self {
            LimitUsage::Bucket { missing, .. } => {
                let short = (missing + cost * UNIT).saturating_sub(burst * UNIT);
                Duration::from_nanos(short.div_ceil(rate))
            }
            LimitUsage::Hour { taken, .. } | LimitUsage::Day(DailyUsage { taken, .. }) => {
                if taken.saturating_add(cost) <= burst { Duration::ZERO } else { self.reset(rate, now) }
            }
        }
    }

    /// Takes a cost for which [`wait`](Self::wait) is zero.
    fn take(&mut self, cost: u64, now: Timestamps) {
        match self {
            LimitUsage::Bucket { missing, .. } => *missing += cost * UNIT,
            LimitUsage::Hour { taken, began } => {
                if *taken == 0 {
                    *began = now.monotonic;
                }
                *taken += cost;
            }
            LimitUsage::Day(daily) => daily.taken += cost,
        }
    }

    /// Returns what was taken and is not available again, rounded up.
    fn taken(&self) -> u64 {
        match *self {
            LimitUsage::Bucket { missing, .. } => missing.div_ceil(UNIT),
            LimitUsage::Hour { taken, .. } | LimitUsage::Day(DailyUsage { taken, .. }) => taken,
        }
    }

    /// Returns how long until all of it is available again.
    fn reset(&self, rate: u64, now: Timestamps) -> Duration {
        match *self {
            _ if self.taken() == 0 => Duration::ZERO,
            LimitUsage::Bucket { missing, .. } => Duration::from_nanos(missing.div_ceil(rate)),
            LimitUsage::Hour { began, .. } => (began + HOUR).saturating_sub(now.monotonic),
            LimitUsage::Day(_) => DailyUsage::rest_of_day(now.unix),
        }
    }
}

/// What was taken on one day (UTC).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DailyUsage {
    /// Days since 1970.
    day: u64,
    pub(super) taken: u64,
}

impl DailyUsage {
    /// Begins a new day if `unix` is one, and returns whether it is. A clock that is set back begins none, and a clock
    /// that wavers around midnight begins each day once. After a clock that was far ahead, callers wait at most until
    /// the next midnight.
    pub(super) fn catch_up(&mut self, unix: u64) -> bool {
        let day = unix / DAY_SECONDS;
        let begins = day > self.day;
        if begins {
            self.taken = 0;
        }
        if begins || self.day - day > 1 {
            self.day = day;
        }
        begins
    }

    /// Returns how much is left of a daily limit.
    pub(super) fn status(self, which: Limit, limit: u64, now: Timestamps) -> RateLimitStatus {
        let reset = if self.taken == 0 { Duration::ZERO } else { DailyUsage::rest_of_day(now.unix) };
        let remaining = limit.saturating_sub(self.taken);
        RateLimitStatus { which, limit, remaining, reset_seconds: whole_seconds(reset) }
    }

    /// Returns how long the day still lasts.
    pub(super) fn rest_of_day(unix: u64) -> Duration {
        Duration::from_secs(DAY_SECONDS - unix % DAY_SECONDS)
    }
}

/// Rounds up, so that the wait is over when a caller comes back.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
