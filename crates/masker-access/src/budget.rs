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

/// The daily budget of one caller, and what was used of it.
#[derive(Clone)]
struct DailyBudget {
    limits: Limits,
    usage: Arc<Mutex<BudgetUsage>>,
    /// Keyed at random, so that a hash reveals nothing of its value once the process has ended, and nobody can choose
    /// values that collide. With 64 bits, two of a million values collide with a probability of 2^-25.
    hasher: RandomState,
}

/// The daily budget of one caller with what it has used of it, and those of the callers on whose behalf it works: the
/// creator of its API key, the creator of that key, and so on. A request is charged to all of them.
pub struct Budget {
    own: DailyBudget,
    /// Those of them that have limits.
    above: Vec<DailyBudget>,
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
        Budget { own: DailyBudget { limits: *limits, usage: Arc::default(), hasher }, above: Vec::new() }
    }

    /// Returns a budget of the same caller with other limits. Both share one usage, so that requests which began under
    /// the former limits still count.
    #[must_use]
    pub fn with_limits(&self, limits: &Limits) -> Self {
        Budget { own: DailyBudget { limits: *limits, ..self.own.clone() }, above: self.above.clone() }
    }

    /// Returns this budget as the budget of a caller that `creator` has created: requests are charged to both.
    #[must_use]
    pub(super) fn created_by(&self, creator: Option<&Budget>) -> Self {
        let above = creator.map_or_else(Vec::new, |creator| {
            creator.all().filter(|budget| !budget.limits.is_unlimited()).cloned().collect()
        });
        Budget { own: self.own.clone(), above }
    }

    /// Charges a request that tokenizes or looks up these values, each given as its kind, context and value, by any
    /// policy. Only values that the caller has not tried before on this day (UTC) cost anything.
    ///
    /// # Errors
    /// [`LimitExceeded`] if they are too many; then nothing is charged.
    pub fn charge_values<'v>(
        &self,
        now: Timestamps,
        values: impl IntoIterator<Item = [&'v [u8]; 3]> + Clone,
    ) -> Result<Vec<BudgetWarning>, LimitExceeded> {
        let which = Limit::DistinctValuesPerDay;
        let mut charges = Vec::new();
        for (budget, limit) in self.limited(which) {
            let mut hashes: Vec<u64> = values.clone().into_iter().map(|value| budget.hasher.hash_one(value)).collect();
            hashes.sort_unstable();
            hashes.dedup();
            let usage = budget.usage_today(now);
            hashes.retain(|hash| !usage.seen.contains(hash));
            check(which, limit, usage.values, hashes.len() as u64, now)?;
            charges.push((limit, usage, hashes));
        }
        let charged = charges.into_iter().filter_map(|(limit, mut usage, hashes)| {
            let warning = take(which, limit, &mut usage.values, hashes.len() as u64);
            usage.seen.extend(hashes);
            warning
        });
        Ok(charged.collect())
    }

    /// Charges a request that rehydrates this many tokens.
    ///
    /// # Errors
    /// [`LimitExceeded`] if they are too many; then nothing is charged.
    pub fn charge_tokens(&self, now: Timestamps, tokens: u64) -> Result<Vec<BudgetWarning>, LimitExceeded> {
        let which = Limit::RehydrationsPerDay;
        let mut charges = Vec::new();
        for (budget, limit) in self.limited(which) {
            let usage = budget.usage_today(now);
            check(which, limit, usage.tokens, tokens, now)?;
            charges.push((limit, usage));
        }
        let charged =
            charges.into_iter().filter_map(|(limit, mut usage)| take(which, limit, &mut usage.tokens, tokens));
        Ok(charged.collect())
    }

    /// Returns what is left of each limit that is set.
    pub fn statuses(&self, now: Timestamps) -> Vec<RateLimitStatus> {
        let statuses = [Limit::DistinctValuesPerDay, Limit::RehydrationsPerDay].into_iter().filter_map(|which| {
            let statuses = self.limited(which).map(|(budget, limit)| {
                let usage = budget.usage_today(now);
                let used = if which == Limit::DistinctValuesPerDay { usage.values } else { usage.tokens };
                used.status(which, limit, now)
            });
            statuses.min_by_key(|status| status.remaining)
        });
        statuses.collect()
    }

    fn all(&self) -> impl Iterator<Item = &DailyBudget> {
        std::iter::once(&self.own).chain(&self.above)
    }

    /// Returns the budgets that have this limit. Every caller's own comes before those above it, so locking them in this
    /// order never makes two requests wait for each other.
    fn limited(&self, which: Limit) -> impl Iterator<Item = (&DailyBudget, u64)> {
        self.all().filter_map(move |budget| Some((budget, budget.limits.get(which)?)))
    }
}

impl DailyBudget {
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

/// Checks that what is left of the day covers `cost`.
fn check(which: Limit, limit: u64, daily: DailyUsage, cost: u64, now: Timestamps) -> Result<(), LimitExceeded> {
    if cost == 0 || daily.taken.saturating_add(cost) <= limit {
        return Ok(());
    }
    Err(LimitExceeded {
        kind: LimitKind::Quota,
        which,
        needed: cost,
        left: limit.saturating_sub(daily.taken),
        retry_after_seconds: whole_seconds(DailyUsage::rest_of_day(now.unix)),
        max_values: (cost > limit).then_some(limit),
        rate_limit: Some(daily.status(which, limit, now)),
    })
}

/// Takes `cost`, which the day covers.
fn take(which: Limit, limit: u64, daily: &mut DailyUsage, cost: u64) -> Option<BudgetWarning> {
    let used = daily.taken.saturating_add(cost);
    let is_high = |used: u64| used.saturating_mul(100) >= limit * BUDGET_WARNING_PERCENT;
    let crossed = !is_high(daily.taken) && is_high(used);
    daily.taken = used;
    crossed.then_some(BudgetWarning { which, limit, used })
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
        let charged = budget.charge_values(now, texts.iter().map(|text| [b"PHONE".as_slice(), b"", text.as_bytes()]));
        charged.map(|warnings| warnings.into_iter().next())
    }

    fn charge_tokens(budget: &Budget, now: Timestamps, tokens: u64) -> Result<Option<BudgetWarning>, LimitExceeded> {
        budget.charge_tokens(now, tokens).map(|warnings| warnings.into_iter().next())
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
        assert_eq!((refusal.needed, refusal.left), (4, 3));
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
        assert_eq!(charge_tokens(&tokens, at(MORNING), 3), Ok(None));
        let warning = BudgetWarning { which: Limit::RehydrationsPerDay, limit: 5, used: 4 };
        assert_eq!(charge_tokens(&tokens, at(MORNING), 1), Ok(Some(warning)));
        assert_eq!(charge_tokens(&tokens, at(MORNING), 1), Ok(None));
        assert_eq!(tokens.charge_tokens(at(MORNING), 1).unwrap_err().which, Limit::RehydrationsPerDay);
        assert_eq!(charge_tokens(&tokens, at(MORNING), 0), Ok(None));
    }

    #[test]
    fn remembers_nothing_without_a_limit() {
        let budget = Budget::new(&Limits::standard(), RandomState::new());
        assert_eq!(charge_numbers(&budget, at(MORNING), &[1, 2, 3]), Ok(None));
        assert_eq!(charge_tokens(&budget, at(MORNING), u64::MAX), Ok(None));
        assert!(budget.statuses(at(MORNING)).is_empty());
        assert!(budget.own.usage.lock().unwrap().seen.is_empty());
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

    #[test]
    fn a_created_key_shares_the_budget_of_its_creator() {
        let number = |number: u64| {
            Limits::new([(Limit::DistinctValuesPerDay, number), (Limit::RehydrationsPerDay, number)]).unwrap()
        };
        let creator = Budget::new(&number(5), RandomState::new());
        let child = |limits: &Limits| Budget::new(limits, RandomState::new()).created_by(Some(&creator));
        let (one, other) = (child(&number(4)), child(&Limits::none()));
        let grandchild = Budget::new(&number(5), RandomState::new()).created_by(Some(&other));
        assert!(charge_numbers(&creator, at(MORNING), &[1, 2]).is_ok());
        assert!(charge_numbers(&one, at(MORNING), &[1, 2, 3]).is_ok(), "two of them were tried before");
        // What one of them does not cover is charged to none.
        assert_eq!(charge_numbers(&one, at(MORNING), &[4, 5]).unwrap_err().rate_limit.unwrap().limit, 4);
        assert_eq!(charge_numbers(&grandchild, at(MORNING), &[4, 5, 6]).unwrap_err().rate_limit.unwrap().limit, 5);
        let warning = BudgetWarning { which: Limit::DistinctValuesPerDay, limit: 5, used: 5 };
        assert_eq!(charge_numbers(&grandchild, at(MORNING), &[4, 5]), Ok(Some(warning)));
        assert!(charge_numbers(&other, at(MORNING), &[6]).is_err());
        assert_eq!(charge_numbers(&other, at(MORNING), &[5, 3]), Ok(None));
        assert!(charge_tokens(&one, at(MORNING), 3).is_ok() && charge_tokens(&other, at(MORNING), 3).is_err());
        assert!(charge_tokens(&grandchild, at(MORNING), 2).is_ok() && charge_tokens(&one, at(MORNING), 1).is_err());
        let left: Vec<u64> = one.statuses(at(MORNING)).iter().map(|status| status.remaining).collect();
        assert_eq!(left, [0, 0], "what is left is the least of all");
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
