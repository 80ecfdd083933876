use proptest::prelude::*;

use super::*;

/// A midnight (UTC).
const MIDNIGHT: u64 = 20_000 * DAY_SECONDS;

/// Returns a time in milliseconds since midnight.
fn at(milliseconds: u64) -> Timestamps {
    Timestamps { monotonic: Duration::from_millis(5_000 + milliseconds), unix: MIDNIGHT + milliseconds / 1_000 }
}

fn limiter(numbers: &[(Limit, u64)]) -> Limiter {
    Limiter::new(&Limits::new(numbers.iter().copied()).unwrap())
}

/// Returns how many requests with this many values are admitted in a row.
fn admitted(limiter: &Limiter, now: Timestamps, values: u64) -> u64 {
    (0..100_000).take_while(|_| limiter.admit(now, values).is_ok()).count() as u64
}

fn parts(status: RateLimitStatus) -> (Limit, u64, u64, u64) {
    (status.which, status.limit, status.remaining, status.reset_seconds)
}

#[test]
fn a_bucket_admits_its_burst_and_then_its_rate() {
    let limiter = limiter(&[(Limit::RequestsPerSecond, 2), (Limit::RequestsBurst, 5)]);
    assert_eq!(parts(limiter.admit(at(0), 0).unwrap().unwrap()), (Limit::RequestsPerSecond, 5, 4, 1));
    assert_eq!(admitted(&limiter, at(0), 0), 4);
    let refusal = limiter.admit(at(0), 0).unwrap_err();
    assert_eq!((refusal.kind, refusal.which), (LimitKind::Rate, Limit::RequestsPerSecond));
    assert_eq!((refusal.retry_after_seconds, refusal.max_values), (1, None));
    assert_eq!(parts(refusal.rate_limit.unwrap()), (Limit::RequestsPerSecond, 5, 0, 3));
    // Part of a request admits nothing.
    assert_eq!(
        limiter.statuses(at(499)).into_iter().map(parts).collect::<Vec<_>>(),
        [(Limit::RequestsPerSecond, 5, 0, 3)]
    );
    for (milliseconds, expected) in [(499, 0), (500, 1), (999, 0), (1_000, 1), (2_500, 3), (100_000, 5)] {
        assert_eq!(admitted(&limiter, at(milliseconds), 0), expected, "{milliseconds}");
    }
}

#[test]
fn the_standard_limits_are_60_a_minute_and_1000_an_hour() {
    let limiter = Limiter::new(&Limits::standard());
    assert_eq!(parts(limiter.admit(at(0), 1).unwrap().unwrap()), (Limit::RequestsPerSecond, 60, 59, 1));
    assert_eq!(admitted(&limiter, at(0), 1), 59);
    let mut total = 60;
    for second in 1..3_600 {
        let now = admitted(&limiter, at(1_000 * second), 100);
        assert_eq!(now, if total < 1_000 { 1 } else { 0 }, "{second}");
        total += now;
    }
    assert_eq!(total, 1_000);
    let refusal = limiter.admit(at(3_599_001), 1).unwrap_err();
    assert_eq!((refusal.which, refusal.retry_after_seconds), (Limit::RequestsPerHour, 1));
    assert_eq!(admitted(&limiter, at(3_600_000), 1), 60);
}

#[test]
fn an_hour_begins_with_its_first_request() {
    let limiter = limiter(&[(Limit::RequestsPerHour, 3)]);
    assert_eq!(parts(limiter.admit(at(1_800_000), 0).unwrap().unwrap()), (Limit::RequestsPerHour, 3, 2, 3_600));
    assert_eq!(admitted(&limiter, at(5_399_999), 0), 2);
    let refusal = limiter.admit(at(4_800_000), 0).unwrap_err();
    assert_eq!((refusal.kind, refusal.retry_after_seconds), (LimitKind::Rate, 600));
    assert_eq!(admitted(&limiter, at(5_400_000), 0), 3);
}

#[test]
fn takes_all_values_of_a_request_or_none() {
    let limiter = limiter(&[(Limit::ValuesPerSecond, 10), (Limit::ValuesBurst, 100), (Limit::ValuesPerHour, 150)]);
    assert!(limiter.admit(at(0), 60).is_ok());
    let refusal = limiter.admit(at(0), 50).unwrap_err();
    assert_eq!((refusal.which, refusal.retry_after_seconds, refusal.max_values), (Limit::ValuesPerSecond, 1, None));
    assert_eq!(limiter.admit(at(0), 61).unwrap_err().retry_after_seconds, 3);
    assert!(limiter.admit(at(0), 40).is_ok());
    // It exceeds two limits: the one with the longest wait is reported.
    let refusal = limiter.admit(at(0), 51).unwrap_err();
    assert_eq!((refusal.which, refusal.retry_after_seconds), (Limit::ValuesPerHour, 3_600));
    // A request without values is never refused for them.
    assert_eq!(parts(limiter.admit(at(0), 0).unwrap().unwrap()), (Limit::ValuesPerSecond, 100, 0, 10));
    assert!(limiter.admit(at(5_000), 50).is_ok());
    let statuses = limiter.statuses(at(5_000)).into_iter().map(parts).collect::<Vec<_>>();
    assert_eq!(statuses, [(Limit::ValuesPerSecond, 100, 0, 10), (Limit::ValuesPerHour, 150, 0, 3_595)]);
}

#[test]
fn reports_a_request_that_can_never_be_admitted() {
    let limiter = limiter(&[(Limit::ValuesPerSecond, 10), (Limit::ValuesPerHour, 5)]);
    let refusal = limiter.admit(at(0), 8).unwrap_err();
    assert_eq!((refusal.which, refusal.max_values, refusal.retry_after_seconds), (Limit::ValuesPerHour, Some(5), 1));
    assert_eq!(limiter.admit(at(0), u64::MAX).unwrap_err().max_values, Some(10));
    assert!(limiter.admit(at(0), 5).is_ok());
}

#[test]
fn the_daily_quota_resets_at_midnight_utc() {
    let limiter = limiter(&[(Limit::OperationsPerDay, 10)]);
    assert_eq!(parts(limiter.admit(at(0), 7).unwrap().unwrap()), (Limit::OperationsPerDay, 10, 3, 86_400));
    // A request without values counts as one operation.
    assert_eq!(limiter.admit(at(1_000), 0).unwrap().unwrap().remaining, 2);
    let refusal = limiter.admit(at(86_399_000), 3).unwrap_err();
    assert_eq!((refusal.kind, refusal.which), (LimitKind::Quota, Limit::OperationsPerDay));
    assert_eq!((refusal.retry_after_seconds, refusal.max_values), (1, None));
    assert_eq!(limiter.admit(at(86_400_000), 3).unwrap().unwrap().remaining, 7);
    // A clock that wavers around midnight refunds nothing.
    assert_eq!(limiter.admit(at(86_399_000), 3).unwrap().unwrap().remaining, 4);
    assert_eq!(limiter.admit(at(86_400_000), 3).unwrap().unwrap().remaining, 1);
}

#[test]
fn reports_the_tightest_limit_by_requests() {
    let numbers = [(Limit::RequestsPerSecond, 1), (Limit::RequestsBurst, 3), (Limit::RequestsPerHour, 4)];
    let limiter = limiter(&[numbers.as_slice(), &[(Limit::ValuesPerHour, 1)]].concat());
    let tightest = |now| limiter.admit(now, 0).unwrap().map(|status| (status.which, status.remaining));
    assert_eq!(tightest(at(0)), Some((Limit::RequestsPerSecond, 2)));
    assert_eq!(tightest(at(0)), Some((Limit::RequestsPerSecond, 1)));
    // As little is left of both: the one that takes longer to refill.
    assert_eq!(tightest(at(1_000)), Some((Limit::RequestsPerHour, 1)));
    assert_eq!(tightest(at(9_000)), Some((Limit::RequestsPerHour, 0)));
}

#[test]
fn reports_no_status_without_limits() {
    let limiter = Limiter::new(&Limits::none());
    for _ in 0..1_000 {
        assert_eq!(limiter.admit(at(0), u64::MAX), Ok(None));
    }
    assert!(limiter.statuses(at(0)).is_empty());
}

#[test]
fn other_limits_keep_the_usage() {
    let before = limiter(&[(Limit::RequestsPerSecond, 1), (Limit::RequestsBurst, 10), (Limit::RequestsPerHour, 20)]);
    assert_eq!(admitted(&before, at(0), 0), 10);
    let more = Limits::new([(Limit::RequestsPerSecond, 1), (Limit::RequestsBurst, 12), (Limit::RequestsPerHour, 30)]);
    let after = before.with_limits(&more.unwrap());
    assert_eq!(admitted(&after, at(0), 0), 2);
    let fewer = after.with_limits(&Limits::new([(Limit::RequestsPerHour, 11)]).unwrap());
    assert!(fewer.admit(at(60_000), 0).is_err());
    assert_eq!(fewer.limits().get(Limit::RequestsPerHour), Some(11));
    // A request that began before still counts.
    assert_eq!(admitted(&before, at(3_000), 0), 1);
    assert_eq!(after.statuses(at(3_000))[1].remaining, 30 - 13);
}

#[test]
fn admits_a_request_without_values_past_an_exhausted_limit_by_values() {
    for limit in [Limit::ValuesPerSecond, Limit::ValuesPerHour] {
        let before = limiter(&[(limit, 100)]);
        assert!(before.admit(at(0), 100).is_ok());
        let after = before.with_limits(&Limits::new([(limit, 50)]).unwrap());
        assert!(after.admit(at(0), 1).is_err());
        assert_eq!(after.admit(at(0), 0).unwrap().unwrap().remaining, 0);
    }
}

#[test]
fn a_time_out_of_order_changes_nothing() {
    for limit in [Limit::RequestsPerSecond, Limit::RequestsPerHour] {
        let limiter = limiter(&[(limit, 5)]);
        assert_eq!(admitted(&limiter, at(10_000), 0), 5);
        assert_eq!(admitted(&limiter, at(0), 0), 0);
        assert_eq!(admitted(&limiter, at(10_199), 0), 0);
    }
}

#[test]
fn threads_share_one_limit() {
    let limiter = limiter(&[(Limit::RequestsPerHour, 1_000), (Limit::ValuesPerHour, 700)]);
    let admitted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| (0..500).filter(|_| limiter.admit(at(0), 1).is_ok()).count())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(admitted, 700);
}

proptest! {
    /// In no window does a bucket admit more than its burst and its refill within the window, and the reported wait is
    /// sufficient and at most a second too long.
    #[test]
    fn a_bucket_never_admits_too_much(
        rate in 1..20u64,
        burst in 1..50u64,
        steps in proptest::collection::vec((0..3_000u64, 0..12u64), 1..60),
    ) {
        let limiter = limiter(&[(Limit::ValuesPerSecond, rate), (Limit::ValuesBurst, burst)]);
        let mut now = 0;
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        for (pause, values) in steps {
            now += pause;
            match limiter.admit(at(now), values) {
                Ok(_) => admitted.push((now, values)),
                Err(refusal) => {
                    prop_assert_eq!(refusal.max_values, (values > burst).then_some(burst));
                    if refusal.max_values.is_none() {
                        let fresh = |wait: u64| {
                            let twin = Limiter::new(limiter.limits());
                            for (at_time, values) in &admitted {
                                assert!(twin.admit(at(*at_time), *values).is_ok());
                            }
                            twin.admit(at(now + wait * 1_000), values).is_ok()
                        };
                        prop_assert!(fresh(refusal.retry_after_seconds));
                        prop_assert!(refusal.retry_after_seconds == 1 || !fresh(refusal.retry_after_seconds - 1));
                    }
                }
            }
        }
        for (first, (from, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for (until, values) in &admitted[first..] {
                sum += values;
                prop_assert!(sum * 1_000 <= burst * 1_000 + rate * (until - from), "{sum} from {from} to {until}");
            }
        }
    }
}

#[test]
fn a_check_takes_nothing_and_ends_with_the_last_request() {
    let limiter = limiter(&[(Limit::RequestsPerHour, 2), (Limit::ValuesPerHour, 5)]);
    for _ in 0..3 {
        assert_eq!(limiter.check(at(0)), Ok(()));
    }
    limiter.admit(at(0), 5).unwrap();
    assert_eq!(limiter.check(at(0)), Ok(()), "values are not its business");
    limiter.admit(at(0), 0).unwrap();
    let exceeded = limiter.check(at(0)).unwrap_err();
    assert_eq!((exceeded.kind, exceeded.which), (LimitKind::Rate, Limit::RequestsPerHour));
    assert_eq!(parts(exceeded.rate_limit.unwrap()), (Limit::RequestsPerHour, 2, 0, 3_600));
}

#[test]
fn values_that_come_later_cost_what_they_cost_with_their_request() {
    let limits = [(Limit::RequestsPerHour, 3), (Limit::ValuesPerHour, 10), (Limit::OperationsPerDay, 7)];
    let (together, later) = (limiter(&limits), limiter(&limits));
    for values in [0, 1, 4] {
        together.admit(at(0), values).unwrap();
        later.admit(at(0), 0).unwrap();
        later.admit_values(at(0), 0, values).unwrap();
        assert_eq!(together.statuses(at(0)), later.statuses(at(0)), "{values}");
    }
    let (whole, parts) = (limiter(&limits), limiter(&limits));
    whole.admit(at(0), 4).unwrap();
    parts.admit(at(0), 0).unwrap();
    for (before, values) in [(0, 0), (0, 1), (1, 0), (1, 2), (3, 1)] {
        parts.admit_values(at(0), before, values).unwrap();
    }
    assert_eq!(whole.statuses(at(0)), parts.statuses(at(0)), "in parts");
    assert_eq!(later.admit_values(at(0), 0, 1).ok().map(|_| ()), Some(()), "no request is taken");
    let exceeded = later.admit_values(at(0), 0, 5).unwrap_err();
    assert_eq!((exceeded.which, exceeded.max_values), (Limit::OperationsPerDay, None));
    assert_eq!(later.admit_values(at(0), 0, 11).unwrap_err().max_values, Some(10));
}

#[test]
fn a_created_key_draws_on_the_limits_of_its_creator() {
    let creator = limiter(&[(Limit::RequestsPerHour, 10), (Limit::ValuesPerHour, 100)]);
    let child = |numbers: &[(Limit, u64)]| limiter(numbers).created_by(Some(&creator));
    let (one, other) = (child(&[(Limit::RequestsPerHour, 4)]), child(&[]));
    let grandchild = limiter(&[(Limit::RequestsPerHour, 10)]).created_by(Some(&other));
    assert_eq!(admitted(&one, at(0), 0), 4, "its own limit");
    assert_eq!(one.check(at(0)).unwrap_err().which, Limit::RequestsPerHour);
    assert_eq!(admitted(&grandchild, at(0), 0), 6, "what is left of the creator's");
    assert_eq!((admitted(&other, at(0), 0), admitted(&creator, at(0), 0)), (0, 0));
    assert_eq!(other.limits(), &Limits::none());
    let left = |limiter: &Limiter| limiter.statuses(at(0)).into_iter().map(parts).collect::<Vec<_>>();
    let expected = [(Limit::RequestsPerHour, 10, 0, 3_600), (Limit::ValuesPerHour, 100, 100, 0)];
    assert_eq!((left(&other), left(&creator)), (expected.to_vec(), expected.to_vec()));

    // A request that one of them refuses is taken from none.
    assert_eq!(one.admit(at(3_600_000), 101).unwrap_err().max_values, Some(100));
    assert_eq!(admitted(&one, at(3_600_000), 30), 3);
    assert_eq!(creator.statuses(at(3_600_000)).into_iter().map(parts).collect::<Vec<_>>()[1].2, 10);
    // Other limits of the creator apply to what it has created, with what was used.
    let lowered = creator.with_limits(&Limits::new([(Limit::RequestsPerHour, 5)]).unwrap());
    assert_eq!(admitted(&limiter(&[]).created_by(Some(&lowered)), at(3_600_000), 0), 2);
}
