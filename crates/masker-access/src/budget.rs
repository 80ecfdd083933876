//! How much of the vault a caller may learn in a day.
//!
//! A caller that may tokenize or look up can try every phone number there is, and a caller that may rehydrate can submit
//! every token that it finds. Neither is slow, and no single request looks like an attack. A budget therefore counts how
//! many *distinct* values a caller tries, which stays small in honest use even if values repeat, and how many tokens it
//! opens.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    LimitExceeded, LimitKind, RateLimitStatus, Timestamps,
    limiter::{DailyUsage, whole_seconds},
};
use masker_types::{
    grant::{Limit, Limits},
    limits::BUDGET_WARNING_PERCENT,
};

/// A caller has just used [`BUDGET_WARNING_PERCENT`] of a daily limit or more. Reported once a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetWarning {
    /// The limit.
    pub which: Limit,
    /// The limit's number.
    pub limit: u64,
    /// How much of it is used.
    pub used: u64,
}

/// The daily budget of one caller, and what it has used of it.
pub struct Budget {
    limits: Limits,
    usage: Arc<Mutex<BudgetUsage>>,
    /// Keyed at random, so that a hash reveals nothing of its value once the process has ended, and nobody can choose
    /// values that collide. With 64 bits, two of a million values collide with a probability of 2^-25.
    hasher: RandomState,
}

#[derive(Default)]
struct BudgetUsage {
    /// The hashes of the day's values.
    seen: HashSet<u64>,
    values: DailyUsage,
    tokens: DailyUsage,
}

impl Budget {
    /// Returns an unused budget. `hasher` carries the random key.
    pub fn new(limits: &Limits, hasher: RandomState) -> Self {
        Budget { limits: *limits, usage: Arc::default(), hasher }
    }

    /// Returns a budget of the same caller with other limits. Both share one usage, so that requests which began under
    /// the former limits still count.
    #[must_use]
    pub fn with_limits(&self, limits: &Limits) -> Self {
        Budget { limits: *limits, usage: Arc::clone(&self.usage), hasher: self.hasher.clone() }
    }

    /// Charges a request that tokenizes or looks up these values, each given as its kind, context and value. Only values
    /// that the caller has not tried before on this day (UTC) cost anything.
    ///
    /// # Errors
    /// [`LimitExceeded`] if they are too many; then nothing is charged.
    pub fn charge_values<'v>(
        &self,
        now: Timestamps,
        values: impl IntoIterator<Item = [&'v [u8]; 3]>,
    ) -> Result<Option<BudgetWarning>, LimitExceeded> {
        let which = Limit::DistinctValuesPerDay;
        let Some(limit) = self.limits.get(which) else { return Ok(None) };
        let mut hashes: Vec<u64> = values.into_iter().map(|value| self.hasher.hash_one(value)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let mut usage = self.usage_today(now);
        hashes.retain(|hash| !usage.seen.contains(hash));
        let warning = charge(which, limit, &mut usage.values, hashes.len() as u64, now)?;
        usage.seen.extend(hashes);
        Ok(warning)
    }

    /// Charges a request that rehydrates this many tokens.
    ///
    /// # Errors
    /// [`LimitExceeded`] if they are too many; then nothing is charged.
    pub fn charge_tokens(&self, now: Timestamps, tokens: u64) -> Result<Option<BudgetWarning>, LimitExceeded> {
        let which = Limit::RehydrationsPerDay;
        let Some(limit) = self.limits.get(which) else { return Ok(None) };
        charge(which, limit, &mut self.usage_today(now).tokens, tokens, now)
    }

    /// Returns what is left of each limit that is set.
    pub fn statuses(&self, now: Timestamps) -> Vec<RateLimitStatus> {
        let usage = self.usage_today(now);
        let used = [(Limit::DistinctValuesPerDay, usage.values), (Limit::RehydrationsPerDay, usage.tokens)];
        let statuses = used.into_iter().filter_map(|(which, used)| {
            let limit = self.limits.get(which)?;
            Some(used.status(which, limit, now))
        });
        statuses.collect()
    }

    fn usage_today(&self, now: Timestamps) -> MutexGuard<'_, BudgetUsage> {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.tokens.catch_up(now.unix);
        if usage.values.catch_up(now.unix) {
            // Clearing the set would keep its memory.
            usage.seen = HashSet::new();
        }
        usage
    }
}

/// Takes `cost` from what is left of the day: all of it, or nothing if it does not fit.
fn charge(
    which: Limit,
    limit: u64,
    daily: &mut DailyUsage,
    cost: u64,
    now: Timestamps,
) -> Result<Option<BudgetWarning>, LimitExceeded> {
    let used = daily.taken.saturating_add(cost);
    if cost > 0 && used > limit {
        return Err(LimitExceeded {
            kind: LimitKind::Quota,
            which,
            retry_after_seconds: whole_seconds(DailyUsage::rest_of_day(now.unix)),
            max_values: (cost > limit).then_some(limit),
            rate_limit: Some(daily.status(which, limit, now)),
        });
    }
    let is_high = |used: u64| used.saturating_mul(100) >= limit * BUDGET_WARNING_PERCENT;
    let crossed = !is_high(daily.taken) && is_high(used);
    daily.taken = used;
    Ok(crossed.then_some(BudgetWarning { which, limit, used }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use std::time::Duration;

    const DAY: u64 = 86_400;
    /// Ten in the morning of some day.
    const MORNING: u64 = 20_000 * DAY + 36_000;

    fn at(unix: u64) -> Timestamps {
        Timestamps { monotonic: Duration::ZERO, unix }
    }

    fn budget(limit: Limit, number: u64) -> Budget {
        Budget::new(&Limits::new([(limit, number)]).unwrap(), RandomState::new())
    }

    /// Charges numbers as phone numbers.
    fn charge_numbers(
        budget: &Budget,
        now: Timestamps,
        numbers: &[u64],
    ) -> Result<Option<BudgetWarning>, LimitExceeded> {
        let texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
        budget.charge_values(now, texts.iter().map(|text| [b"PHONE".as_slice(), b"", text.as_bytes()]))
    }

    fn used(budget: &Budget, now: Timestamps) -> u64 {
        let [status] = budget.statuses(now).try_into().unwrap();
        status.limit - status.remaining
    }

    #[test]
    fn a_value_costs_once_a_day() {
        let budget = budget(Limit::DistinctValuesPerDay, 10);
        for _ in 0..3 {
            assert!(charge_numbers(&budget, at(MORNING), &[1, 2, 3, 2, 1]).is_ok());
            assert_eq!(used(&budget, at(MORNING)), 3);
        }
        // The same text of another kind or context is another value, and parts are never concatenated.
        let (a, b, ab) = (b"A".as_slice(), b"B".as_slice(), b"AB".as_slice());
        for parts in [[a, b, b""], [ab, b"", b""], [a, b"", b], [b"", a, b], [b"", ab, b""]] {
            assert!(budget.charge_values(at(MORNING), [parts]).is_ok());
        }
        assert_eq!(used(&budget, at(MORNING)), 8);
    }

    #[test]
    fn refuses_new_values_as_a_whole_and_still_admits_known_ones() {
        let budget = budget(Limit::DistinctValuesPerDay, 10);
        assert!(charge_numbers(&budget, at(MORNING), &[1, 2, 3, 4, 5, 6, 7]).is_ok());
        let refusal = charge_numbers(&budget, at(MORNING), &[7, 8, 9, 10, 11]).unwrap_err();
        assert_eq!((refusal.kind, refusal.which), (LimitKind::Quota, Limit::DistinctValuesPerDay));
        assert_eq!((refusal.retry_after_seconds, refusal.max_values), (DAY - 36_000, None));
        assert_eq!(refusal.rate_limit.unwrap().remaining, 3);
        assert!(charge_numbers(&budget, at(MORNING), &[8, 9, 10, 1]).is_ok());
        assert!(charge_numbers(&budget, at(MORNING), &[11]).is_err());
        assert!(charge_numbers(&budget, at(MORNING), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).is_ok());
        let many: Vec<u64> = (0..11).map(|i| 100 + i).collect();
        assert_eq!(charge_numbers(&budget, at(MORNING), &many).unwrap_err().max_values, Some(10));
        // The next day forgets the values.
        let midnight = MORNING - 36_000 + DAY;
        assert!(charge_numbers(&budget, at(midnight - 1), &[11]).is_err());
        assert!(charge_numbers(&budget, at(midnight), &many[..10]).is_ok());
        assert!(charge_numbers(&budget, at(midnight), &[1]).is_err());
    }

    #[test]
    fn warns_once_a_day() {
        let values = budget(Limit::DistinctValuesPerDay, 10);
        let warning = |used| Ok(Some(BudgetWarning { which: Limit::DistinctValuesPerDay, limit: 10, used }));
        assert_eq!(charge_numbers(&values, at(MORNING), &[1, 2, 3, 4, 5, 6, 7]), Ok(None));
        assert_eq!(charge_numbers(&values, at(MORNING), &[8]), warning(8));
        assert_eq!(charge_numbers(&values, at(MORNING), &[8, 9, 10]), Ok(None));
        assert_eq!(charge_numbers(&values, at(MORNING + DAY), &[1, 2, 3, 4, 5, 6, 7, 8, 9]), warning(9));
        // A refused request neither warns nor suppresses a warning.
        let tokens = budget(Limit::RehydrationsPerDay, 5);
        assert!(tokens.charge_tokens(at(MORNING), 6).is_err());
        assert_eq!(tokens.charge_tokens(at(MORNING), 3), Ok(None));
        let warning = BudgetWarning { which: Limit::RehydrationsPerDay, limit: 5, used: 4 };
        assert_eq!(tokens.charge_tokens(at(MORNING), 1), Ok(Some(warning)));
        assert_eq!(tokens.charge_tokens(at(MORNING), 1), Ok(None));
        assert_eq!(tokens.charge_tokens(at(MORNING), 1).unwrap_err().which, Limit::RehydrationsPerDay);
        assert_eq!(tokens.charge_tokens(at(MORNING), 0), Ok(None));
    }

    #[test]
    fn remembers_nothing_without_a_limit() {
        let budget = Budget::new(&Limits::standard(), RandomState::new());
        assert_eq!(charge_numbers(&budget, at(MORNING), &[1, 2, 3]), Ok(None));
        assert_eq!(budget.charge_tokens(at(MORNING), u64::MAX), Ok(None));
        assert!(budget.statuses(at(MORNING)).is_empty());
        assert!(budget.usage.lock().unwrap().seen.is_empty());
    }

    #[test]
    fn other_limits_keep_the_usage() {
        let before = budget(Limit::DistinctValuesPerDay, 10);
        assert!(charge_numbers(&before, at(MORNING), &[1, 2, 3, 4]).is_ok());
        let after = before.with_limits(&Limits::new([(Limit::DistinctValuesPerDay, 3)]).unwrap());
        assert_eq!(charge_numbers(&after, at(MORNING), &[1, 2, 3, 4]), Ok(None));
        assert!(charge_numbers(&after, at(MORNING), &[5]).is_err());
        // A request that began before still counts.
        assert!(charge_numbers(&before, at(MORNING), &[5]).is_ok());
        assert_eq!(charge_numbers(&after, at(MORNING), &[5]), Ok(None));
    }

    #[test]
    fn a_clock_that_is_set_back_refunds_nothing() {
        let budget = budget(Limit::RehydrationsPerDay, 5);
        let midnight = MORNING - 36_000;
        assert!(budget.charge_tokens(at(midnight), 5).is_ok());
        for now in [midnight - 1, midnight, midnight - DAY * 400] {
            assert!(budget.charge_tokens(at(now), 1).is_err());
        }
        // After a clock that was far ahead, callers need not wait for that day.
        assert!(budget.charge_tokens(at(midnight - DAY * 399), 5).is_ok());
    }

    proptest! {
        /// Compares the budget with a model that keeps the values themselves.
        #[test]
        fn counts_like_a_set(requests in proptest::collection::vec(
            (0..3u64, proptest::collection::vec(0..40u64, 0..12)), 1..30,
        )) {
            let budget = budget(Limit::DistinctValuesPerDay, 20);
            let (mut today, mut known) = (0, HashSet::new());
            for (days, numbers) in requests {
                if days == 2 {
                    today += 1;
                    known.clear();
                }
                let with: HashSet<u64> = known.iter().chain(&numbers).copied().collect();
                let fits = with.len() <= 20;
                let result = charge_numbers(&budget, at(MORNING + today * DAY), &numbers);
                prop_assert_eq!(result.is_ok(), fits);
                if fits {
                    prop_assert_eq!(result.unwrap().is_some(), known.len() < 16 && with.len() >= 16);
                    known = with;
                }
                prop_assert_eq!(used(&budget, at(MORNING + today * DAY)), known.len() as u64);
            }
        }
    }
}
