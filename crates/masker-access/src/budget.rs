//! How much of the vault a caller may learn in a day.
//!
//! Who may tokenize or look up can try every phone number there is, and who may rehydrate can ask for every token that
//! it comes by: neither is slow, and neither looks like an attack in a single request. So what counts is how many
//! *different* values a caller tries, which stays small in honest use however often they come again, and how many
//! tokens it opens.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::limiter::{DailyUsage, LimitExceeded, LimitKind, RateLimitStatus, Timestamps, whole_seconds};
use masker_types::{
    grant::{Limit, Limits},
    limits::BUDGET_WARNING_PERCENT,
};

/// A caller has just used most of what it may: [`BUDGET_WARNING_PERCENT`] or more. Said once in a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetWarning {
    /// The limit.
    pub which: Limit,
    /// Its number.
    pub limit: u64,
    /// How much of it is used.
    pub used: u64,
}

/// The daily budget of one caller, and what it has used of it.
pub struct Budget {
    limits: Limits,
    spent: Arc<Mutex<BudgetUsage>>,
    /// Keyed at random, so that what is remembered of a value says nothing about it once the process has ended, and
    /// nobody can choose values that are taken for each other. At 64 bits, a million values take one of themselves for
    /// another with a probability of 2^-25.
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
    /// A budget of which nothing is used yet. `hasher` is where the randomness comes from.
    pub fn new(limits: &Limits, hasher: RandomState) -> Self {
        Budget { limits: *limits, spent: Arc::default(), hasher }
    }

    /// Other limits for the same caller. What it has used stays used, also by requests that began before.
    #[must_use]
    pub fn succeed(&self, limits: &Limits) -> Self {
        Budget { limits: *limits, spent: Arc::clone(&self.spent), hasher: self.hasher.clone() }
    }

    /// Pays for a request that tokenizes or looks up these values, each given as its kind, context and value: for those
    /// that the caller has not tried before on this day of UTC.
    ///
    /// # Errors
    /// [`LimitExceeded`] if they are too many; then none is paid for.
    pub fn try_values<'v>(
        &self,
        now: Timestamps,
        values: impl IntoIterator<Item = [&'v [u8]; 3]>,
    ) -> Result<Option<BudgetWarning>, LimitExceeded> {
        let which = Limit::DistinctValuesPerDay;
        let Some(limit) = self.limits.get(which) else { return Ok(None) };
        let mut hashes: Vec<u64> = values.into_iter().map(|value| self.hasher.hash_one(value)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let mut spent = self.at_current_day(now);
        hashes.retain(|hash| !spent.seen.contains(hash));
        let budget_warning = spend(which, limit, &mut spent.values, hashes.len() as u64, now)?;
        spent.seen.extend(hashes);
        Ok(budget_warning)
    }

    /// Pays for a request that rehydrates so many tokens.
    ///
    /// # Errors
    /// [`LimitExceeded`] if they are too many; then none is paid for.
    pub fn rehydrate(&self, now: Timestamps, tokens: u64) -> Result<Option<BudgetWarning>, LimitExceeded> {
        let which = Limit::RehydrationsPerDay;
        let Some(limit) = self.limits.get(which) else { return Ok(None) };
        spend(which, limit, &mut self.at_current_day(now).tokens, tokens, now)
    }

    /// What is left of every limit that there is.
    pub fn rate_limit_statuses(&self, now: Timestamps) -> Vec<RateLimitStatus> {
        let spent = self.at_current_day(now);
        let used = [(Limit::DistinctValuesPerDay, spent.values), (Limit::RehydrationsPerDay, spent.tokens)];
        let rate_limit_statuses = used.into_iter().filter_map(|(which, used)| {
            let limit = self.limits.get(which)?;
            Some(used.rate_limit(which, limit, now))
        });
        rate_limit_statuses.collect()
    }

    fn at_current_day(&self, now: Timestamps) -> MutexGuard<'_, BudgetUsage> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.tokens.catch_up(now.unix_seconds);
        if spent.values.catch_up(now.unix_seconds) {
            // A new set, because clearing one keeps its memory.
            spent.seen = HashSet::new();
        }
        spent
    }
}

/// Pays `cost` from what is left of the day, or nothing.
fn spend(
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
            retry_after_seconds: whole_seconds(DailyUsage::left(now.unix_seconds)),
            at_most: (cost > limit).then_some(limit),
            rate_limit: Some(daily.rate_limit(which, limit, now)),
        });
    }
    let past = |used: u64| used.saturating_mul(100) >= limit * BUDGET_WARNING_PERCENT;
    let budget_warning = !past(daily.taken) && past(used);
    daily.taken = used;
    Ok(budget_warning.then_some(BudgetWarning { which, limit, used }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use std::time::Duration;

    const DAY: u64 = 86_400;
    /// Ten in the morning of some day.
    const MORNING: u64 = 20_000 * DAY + 36_000;

    fn at(unix_seconds: u64) -> Timestamps {
        Timestamps { elapsed: Duration::ZERO, unix_seconds }
    }

    fn budget(limit: Limit, number: u64) -> Budget {
        Budget::new(&Limits::new([(limit, number)]).unwrap(), RandomState::new())
    }

    /// Tries numbers as phone numbers.
    fn try_numbers(budget: &Budget, now: Timestamps, numbers: &[u64]) -> Result<Option<BudgetWarning>, LimitExceeded> {
        let texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
        budget.try_values(now, texts.iter().map(|text| [b"PHONE".as_slice(), b"", text.as_bytes()]))
    }

    fn used(budget: &Budget, now: Timestamps) -> u64 {
        let [rate_limit] = budget.rate_limit_statuses(now).try_into().unwrap();
        rate_limit.limit - rate_limit.remaining
    }

    #[test]
    fn a_value_costs_once_a_day() {
        let budget = budget(Limit::DistinctValuesPerDay, 10);
        for _ in 0..3 {
            assert!(try_numbers(&budget, at(MORNING), &[1, 2, 3, 2, 1]).is_ok());
            assert_eq!(used(&budget, at(MORNING)), 3);
        }
        // Another kind or context is another value, and no two of them run into each other.
        let (a, b, ab) = (b"A".as_slice(), b"B".as_slice(), b"AB".as_slice());
        for parts in [[a, b, b""], [ab, b"", b""], [a, b"", b], [b"", a, b], [b"", ab, b""]] {
            assert!(budget.try_values(at(MORNING), [parts]).is_ok());
        }
        assert_eq!(used(&budget, at(MORNING)), 8);
    }

    #[test]
    fn new_values_are_refused_as_a_whole_and_known_ones_go_on() {
        let budget = budget(Limit::DistinctValuesPerDay, 10);
        assert!(try_numbers(&budget, at(MORNING), &[1, 2, 3, 4, 5, 6, 7]).is_ok());
        let refusal = try_numbers(&budget, at(MORNING), &[7, 8, 9, 10, 11]).unwrap_err();
        assert_eq!((refusal.kind, refusal.which), (LimitKind::Quota, Limit::DistinctValuesPerDay));
        assert_eq!((refusal.retry_after_seconds, refusal.at_most), (DAY - 36_000, None));
        assert_eq!(refusal.rate_limit.unwrap().remaining, 3);
        assert!(try_numbers(&budget, at(MORNING), &[8, 9, 10, 1]).is_ok());
        assert!(try_numbers(&budget, at(MORNING), &[11]).is_err());
        assert!(try_numbers(&budget, at(MORNING), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).is_ok());
        let many: Vec<u64> = (0..11).map(|i| 100 + i).collect();
        assert_eq!(try_numbers(&budget, at(MORNING), &many).unwrap_err().at_most, Some(10));
        // The next day is a new one, and forgets the values.
        let midnight = MORNING - 36_000 + DAY;
        assert!(try_numbers(&budget, at(midnight - 1), &[11]).is_err());
        assert!(try_numbers(&budget, at(midnight), &many[..10]).is_ok());
        assert!(try_numbers(&budget, at(midnight), &[1]).is_err());
    }

    #[test]
    fn most_of_a_budget_is_reported_once() {
        let values = budget(Limit::DistinctValuesPerDay, 10);
        let budget_warning = |used| Ok(Some(BudgetWarning { which: Limit::DistinctValuesPerDay, limit: 10, used }));
        assert_eq!(try_numbers(&values, at(MORNING), &[1, 2, 3, 4, 5, 6, 7]), Ok(None));
        assert_eq!(try_numbers(&values, at(MORNING), &[8]), budget_warning(8));
        assert_eq!(try_numbers(&values, at(MORNING), &[8, 9, 10]), Ok(None));
        assert_eq!(try_numbers(&values, at(MORNING + DAY), &[1, 2, 3, 4, 5, 6, 7, 8, 9]), budget_warning(9));
        // What is refused reports nothing, and takes no report away.
        let tokens = budget(Limit::RehydrationsPerDay, 5);
        assert!(tokens.rehydrate(at(MORNING), 6).is_err());
        assert_eq!(tokens.rehydrate(at(MORNING), 3), Ok(None));
        let budget_warning = BudgetWarning { which: Limit::RehydrationsPerDay, limit: 5, used: 4 };
        assert_eq!(tokens.rehydrate(at(MORNING), 1), Ok(Some(budget_warning)));
        assert_eq!(tokens.rehydrate(at(MORNING), 1), Ok(None));
        assert_eq!(tokens.rehydrate(at(MORNING), 1).unwrap_err().which, Limit::RehydrationsPerDay);
        assert_eq!(tokens.rehydrate(at(MORNING), 0), Ok(None));
    }

    #[test]
    fn without_a_limit_nothing_is_remembered() {
        let budget = Budget::new(&Limits::standard(), RandomState::new());
        assert_eq!(try_numbers(&budget, at(MORNING), &[1, 2, 3]), Ok(None));
        assert_eq!(budget.rehydrate(at(MORNING), u64::MAX), Ok(None));
        assert!(budget.rate_limit_statuses(at(MORNING)).is_empty());
        assert!(budget.spent.lock().unwrap().seen.is_empty());
    }

    #[test]
    fn other_limits_find_what_was_used() {
        let before = budget(Limit::DistinctValuesPerDay, 10);
        assert!(try_numbers(&before, at(MORNING), &[1, 2, 3, 4]).is_ok());
        let after = before.succeed(&Limits::new([(Limit::DistinctValuesPerDay, 3)]).unwrap());
        assert_eq!(try_numbers(&after, at(MORNING), &[1, 2, 3, 4]), Ok(None));
        assert!(try_numbers(&after, at(MORNING), &[5]).is_err());
        // A request that began before still counts.
        assert!(try_numbers(&before, at(MORNING), &[5]).is_ok());
        assert_eq!(try_numbers(&after, at(MORNING), &[5]), Ok(None));
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing_back() {
        let budget = budget(Limit::RehydrationsPerDay, 5);
        let midnight = MORNING - 36_000;
        assert!(budget.rehydrate(at(midnight), 5).is_ok());
        for now in [midnight - 1, midnight, midnight - DAY * 400] {
            assert!(budget.rehydrate(at(now), 1).is_err());
        }
        // One that was far ahead holds nobody up until that day comes.
        assert!(budget.rehydrate(at(midnight - DAY * 399), 5).is_ok());
    }

    proptest! {
        /// Against a model that keeps the values themselves.
        #[test]
        fn it_counts_as_a_set_does(requests in proptest::collection::vec(
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
                let result = try_numbers(&budget, at(MORNING + today * DAY), &numbers);
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
