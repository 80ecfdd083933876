use proptest::prelude::*;

use super::*;

/// A midnight of UTC.
const MIDNIGHT: u64 = 20_000 * DAY_SECONDS;

/// So many milliseconds after some start, which was at midnight.
fn at(milliseconds: u64) -> Timestamps {
    Timestamps { elapsed: Duration::from_millis(5_000 + milliseconds), unix_seconds: MIDNIGHT + milliseconds / 1_000 }
}

fn limiter(numbers: &[(Limit, u64)]) -> Limiter {
    Limiter::new(&Limits::new(numbers.iter().copied()).unwrap())
}

/// How many requests of so many values are admitted in a row.
fn admitted(limiter: &Limiter, now: Timestamps, values: u64) -> u64 {
    (0..100_000).take_while(|_| limiter.admit(now, values).is_ok()).count() as u64
}

fn left(rate_limit: RateLimitStatus) -> (Limit, u64, u64, u64) {
    (rate_limit.which, rate_limit.limit, rate_limit.remaining, rate_limit.reset_seconds)
}

#[test]
fn a_bucket_gives_its_burst_and_then_its_rate() {
    let limiter = limiter(&[(Limit::RequestsPerSecond, 2), (Limit::RequestsBurst, 5)]);
    assert_eq!(left(limiter.admit(at(0), 0).unwrap().unwrap()), (Limit::RequestsPerSecond, 5, 4, 1));
    assert_eq!(admitted(&limiter, at(0), 0), 4);
    let refusal = limiter.admit(at(0), 0).unwrap_err();
    assert_eq!((refusal.kind, refusal.which), (LimitKind::Rate, Limit::RequestsPerSecond));
    assert_eq!((refusal.retry_after_seconds, refusal.at_most), (1, None));
    assert_eq!(left(refusal.rate_limit.unwrap()), (Limit::RequestsPerSecond, 5, 0, 3));
    // A part of a request is none.
    assert_eq!(
        limiter.rate_limit_statuses(at(499)).into_iter().map(left).collect::<Vec<_>>(),
        [(Limit::RequestsPerSecond, 5, 0, 3)]
    );
    for (milliseconds, expected) in [(499, 0), (500, 1), (999, 0), (1_000, 1), (2_500, 3), (100_000, 5)] {
        assert_eq!(admitted(&limiter, at(milliseconds), 0), expected, "{milliseconds}");
    }
}

#[test]
fn the_standard_limits_are_60_a_minute_and_1000_an_hour() {
    let limiter = Limiter::new(&Limits::standard());
    assert_eq!(left(limiter.admit(at(0), 1).unwrap().unwrap()), (Limit::RequestsPerSecond, 60, 59, 1));
    assert_eq!(admitted(&limiter, at(0), 1), 59);
    let mut total = 60;
    for second in 1..3_600 {
        let now = admitted(&limiter, at(1_000 * second), 10_000);
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
    assert_eq!(left(limiter.admit(at(1_800_000), 0).unwrap().unwrap()), (Limit::RequestsPerHour, 3, 2, 3_600));
    assert_eq!(admitted(&limiter, at(5_399_999), 0), 2);
    let refusal = limiter.admit(at(4_800_000), 0).unwrap_err();
    assert_eq!((refusal.kind, refusal.retry_after_seconds), (LimitKind::Rate, 600));
    assert_eq!(admitted(&limiter, at(5_400_000), 0), 3);
}

#[test]
fn values_count_each_and_are_taken_all_or_not_at_all() {
    let limiter = limiter(&[(Limit::ValuesPerSecond, 10), (Limit::ValuesBurst, 100), (Limit::ValuesPerHour, 150)]);
    assert!(limiter.admit(at(0), 60).is_ok());
    let refusal = limiter.admit(at(0), 50).unwrap_err();
    assert_eq!((refusal.which, refusal.retry_after_seconds, refusal.at_most), (Limit::ValuesPerSecond, 1, None));
    assert_eq!(limiter.admit(at(0), 61).unwrap_err().retry_after_seconds, 3);
    assert!(limiter.admit(at(0), 40).is_ok());
    // Both are passed: what must be waited for longest is told.
    let refusal = limiter.admit(at(0), 51).unwrap_err();
    assert_eq!((refusal.which, refusal.retry_after_seconds), (Limit::ValuesPerHour, 3_600));
    // A request without values takes none, and is never refused for them.
    assert_eq!(left(limiter.admit(at(0), 0).unwrap().unwrap()), (Limit::ValuesPerSecond, 100, 0, 10));
    assert!(limiter.admit(at(5_000), 50).is_ok());
    let rate_limit_statuses = limiter.rate_limit_statuses(at(5_000)).into_iter().map(left).collect::<Vec<_>>();
    assert_eq!(rate_limit_statuses, [(Limit::ValuesPerSecond, 100, 0, 10), (Limit::ValuesPerHour, 150, 0, 3_595)]);
}

#[test]
fn a_request_that_can_never_be_admitted_is_told_so() {
    let limiter = limiter(&[(Limit::ValuesPerSecond, 10), (Limit::ValuesPerHour, 5)]);
    let refusal = limiter.admit(at(0), 8).unwrap_err();
    assert_eq!((refusal.which, refusal.at_most, refusal.retry_after_seconds), (Limit::ValuesPerHour, Some(5), 1));
    assert_eq!(limiter.admit(at(0), u64::MAX).unwrap_err().at_most, Some(10));
    assert!(limiter.admit(at(0), 5).is_ok());
}

#[test]
fn a_day_of_utc_has_its_quota() {
    let limiter = limiter(&[(Limit::OperationsPerDay, 10)]);
    assert_eq!(left(limiter.admit(at(0), 7).unwrap().unwrap()), (Limit::OperationsPerDay, 10, 3, 86_400));
    // A request without values is an operation.
    assert_eq!(limiter.admit(at(1_000), 0).unwrap().unwrap().remaining, 2);
    let refusal = limiter.admit(at(86_399_000), 3).unwrap_err();
    assert_eq!((refusal.kind, refusal.which), (LimitKind::Quota, Limit::OperationsPerDay));
    assert_eq!((refusal.retry_after_seconds, refusal.at_most), (1, None));
    assert_eq!(limiter.admit(at(86_400_000), 3).unwrap().unwrap().remaining, 7);
    // A clock that wavers around midnight gives nothing back.
    assert_eq!(limiter.admit(at(86_399_000), 3).unwrap().unwrap().remaining, 4);
    assert_eq!(limiter.admit(at(86_400_000), 3).unwrap().unwrap().remaining, 1);
}

#[test]
fn what_is_told_is_the_tightest_limit_by_requests() {
    let numbers = [(Limit::RequestsPerSecond, 1), (Limit::RequestsBurst, 3), (Limit::RequestsPerHour, 4)];
    let limiter = limiter(&[numbers.as_slice(), &[(Limit::ValuesPerHour, 1)]].concat());
    let told = |now| limiter.admit(now, 0).unwrap().map(|rate_limit| (rate_limit.which, rate_limit.remaining));
    assert_eq!(told(at(0)), Some((Limit::RequestsPerSecond, 2)));
    assert_eq!(told(at(0)), Some((Limit::RequestsPerSecond, 1)));
    // As little is left of both: the one that takes longer.
    assert_eq!(told(at(1_000)), Some((Limit::RequestsPerHour, 1)));
    assert_eq!(told(at(9_000)), Some((Limit::RequestsPerHour, 0)));
}

#[test]
fn without_limits_there_is_nothing_to_tell() {
    let limiter = Limiter::new(&Limits::none());
    for _ in 0..1_000 {
        assert_eq!(limiter.admit(at(0), u64::MAX), Ok(None));
    }
    assert!(limiter.rate_limit_statuses(at(0)).is_empty());
}

#[test]
fn other_limits_find_what_was_taken() {
    let before = limiter(&[(Limit::RequestsPerSecond, 1), (Limit::RequestsBurst, 10), (Limit::RequestsPerHour, 20)]);
    assert_eq!(admitted(&before, at(0), 0), 10);
    let more = Limits::new([(Limit::RequestsPerSecond, 1), (Limit::RequestsBurst, 12), (Limit::RequestsPerHour, 30)]);
    let after = before.succeed(&more.unwrap());
    assert_eq!(admitted(&after, at(0), 0), 2);
    let fewer = after.succeed(&Limits::new([(Limit::RequestsPerHour, 11)]).unwrap());
    assert!(fewer.admit(at(60_000), 0).is_err());
    assert_eq!(fewer.limits().get(Limit::RequestsPerHour), Some(11));
    // A request that began before still counts.
    assert_eq!(admitted(&before, at(3_000), 0), 1);
    assert_eq!(after.rate_limit_statuses(at(3_000))[1].remaining, 30 - 13);
}

#[test]
fn what_takes_nothing_is_not_held_up_by_what_others_took() {
    for limit in [Limit::ValuesPerSecond, Limit::ValuesPerHour] {
        let before = limiter(&[(limit, 100)]);
        assert!(before.admit(at(0), 100).is_ok());
        let after = before.succeed(&Limits::new([(limit, 50)]).unwrap());
        assert!(after.admit(at(0), 1).is_err());
        assert_eq!(after.admit(at(0), 0).unwrap().unwrap().remaining, 0);
    }
}

#[test]
fn a_time_out_of_order_neither_gives_nor_takes() {
    for limit in [Limit::RequestsPerSecond, Limit::RequestsPerHour] {
        let limiter = limiter(&[(limit, 5)]);
        assert_eq!(admitted(&limiter, at(10_000), 0), 5);
        assert_eq!(admitted(&limiter, at(0), 0), 0);
        assert_eq!(admitted(&limiter, at(10_199), 0), 0);
    }
}

#[test]
fn threads_together_get_no_more_than_one_would() {
    let limiter = limiter(&[(Limit::RequestsPerHour, 1_000), (Limit::ValuesPerHour, 700)]);
    let admitted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| (0..500).filter(|_| limiter.admit(at(0), 1).is_ok()).count())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(admitted, 700);
}

proptest! {
    /// In no window of time does a bucket give more than its burst and what comes in within the window, and what it
    /// tells a caller to wait is enough and hardly more.
    #[test]
    fn a_bucket_never_gives_too_much(
        rate in 1..20u64,
        burst in 1..50u64,
        steps in proptest::collection::vec((0..3_000u64, 0..12u64), 1..60),
    ) {
        let limiter = limiter(&[(Limit::ValuesPerSecond, rate), (Limit::ValuesBurst, burst)]);
        let mut now = 0;
        let mut given: Vec<(u64, u64)> = Vec::new();
        for (pause, values) in steps {
            now += pause;
            match limiter.admit(at(now), values) {
                Ok(_) => given.push((now, values)),
                Err(refusal) => {
                    prop_assert_eq!(refusal.at_most, (values > burst).then_some(burst));
                    if refusal.at_most.is_none() {
                        let fresh = |wait: u64| {
                            let twin = Limiter::new(limiter.limits());
                            for (at_time, values) in &given {
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
        for (first, (from, _)) in given.iter().enumerate() {
            let mut sum = 0;
            for (until, values) in &given[first..] {
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
    assert_eq!(left(exceeded.rate_limit.unwrap()), (Limit::RequestsPerHour, 2, 0, 3_600));
}
