use super::{AttemptSource::User, *};

fn prefix(number: usize) -> Option<KeyPrefix> {
    KeyPrefix::parse(&format!("masker_live_{number:04}"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn answered(milliseconds: u64) -> AttemptOutcome {
    AttemptOutcome::Answered { delay: Duration::from_millis(milliseconds) }
}

fn blocked(retry_after_seconds: u64) -> AttemptOutcome {
    AttemptOutcome::Blocked { retry_after_seconds }
}

/// Makes ten attempts, each after the answer to the one before, and advances the time.
fn ten_attempts(
    attempts: &FailedAttempts,
    uid: u32,
    prefix: Option<KeyPrefix>,
    now: &mut Duration,
) -> Vec<AttemptOutcome> {
    let mut outcomes = Vec::new();
    for _ in 0..10 {
        let outcome = attempts.record(User(uid), prefix, *now);
        if let AttemptOutcome::Answered { delay } = outcome {
            *now += delay;
        }
        outcomes.push(outcome);
    }
    outcomes
}

#[test]
fn delays_double_and_the_tenth_attempt_blocks() {
    let attempts = FailedAttempts::default();
    let mut now = seconds(1_000);
    let expected = [0, 0, 100, 200, 400, 800, 1_600, 2_000, 2_000, 2_000].map(answered);
    assert_eq!(ten_attempts(&attempts, 7, prefix(1), &mut now), expected);
    // The block began with the tenth attempt, whose answer took 2 s.
    assert_eq!(attempts.record(User(7), prefix(1), now), blocked(298));
    assert_eq!(attempts.record(User(7), prefix(1), now + seconds(297)), blocked(1));
    assert_eq!(attempts.record(User(7), prefix(1), now + seconds(298)), answered(0));
}

#[test]
fn blocks_double_and_are_forgotten_after_an_hour_without_attempts() {
    let attempts = FailedAttempts::default();
    let mut now = seconds(1_000);
    for minutes in [5, 10, 20, 40, 60, 60] {
        for attempt in 1..=10 {
            assert!(matches!(attempts.record(User(7), prefix(1), now), AttemptOutcome::Answered { .. }), "{attempt}");
            now += seconds(10);
        }
        now -= seconds(10);
        assert_eq!(attempts.record(User(7), prefix(1), now), blocked(60 * minutes));
        // An attempt during a block does not prolong it, and a block is not a rest.
        if minutes < 60 {
            assert_eq!(attempts.record(User(7), prefix(1), now + seconds(60 * minutes - 1)), blocked(1));
        }
        now += seconds(60 * minutes);
    }
    now += seconds(3_600);
    ten_attempts(&attempts, 7, prefix(1), &mut now);
    assert_eq!(attempts.record(User(7), prefix(1), now), blocked(298));
}

#[test]
fn attempts_count_together_for_ten_minutes() {
    let attempts = FailedAttempts::default();
    // Nine in ten minutes never block.
    let mut now = seconds(0);
    for attempt in 0..100 {
        assert!(matches!(attempts.record(User(7), prefix(1), now), AttemptOutcome::Answered { .. }), "{attempt}");
        now += seconds(67);
    }
    // Ten do.
    let (attempts, mut now) = (FailedAttempts::default(), seconds(0));
    for _ in 0..10 {
        attempts.record(User(7), prefix(1), now);
        now += seconds(66);
    }
    assert!(matches!(attempts.record(User(7), prefix(1), now), AttemptOutcome::Blocked { .. }));
}

#[test]
fn a_block_holds_for_one_uid_and_one_prefix() {
    let attempts = FailedAttempts::default();
    let mut now = seconds(1_000);
    ten_attempts(&attempts, 7, prefix(1), &mut now);
    assert!(matches!(attempts.record(User(7), prefix(1), now), AttemptOutcome::Blocked { .. }));
    assert_eq!(attempts.record(User(8), prefix(1), now), answered(0));
    assert_eq!(attempts.record(User(7), prefix(2), now), answered(0));
    assert_eq!(attempts.record(User(7), None, now), answered(0));
}

#[test]
fn many_prefixes_from_one_uid_are_delayed() {
    let attempts = FailedAttempts::default();
    let now = seconds(1_000);
    for number in 0..20 {
        assert_eq!(attempts.record(User(7), prefix(number), now), answered(0), "{number}");
    }
    let delays = [100, 200, 400, 800].map(answered);
    assert_eq!([20, 21, 22, 23].map(|number| attempts.record(User(7), prefix(number), now)), delays);
    assert_eq!(attempts.record(User(7), prefix(24), now), blocked(1));
    assert_eq!(attempts.record(User(8), prefix(24), now), answered(0));
    assert_eq!(attempts.record(User(7), prefix(25), now + WINDOW), answered(0));
}

#[test]
fn few_answers_are_delayed_at_once() {
    let attempts = FailedAttempts::default();
    let now = seconds(1_000);
    let outcomes: Vec<AttemptOutcome> =
        (0..1_000).map(|number| attempts.record(User(7), prefix(number % 500), now)).collect();
    let delayed =
        outcomes.iter().filter(|outcome| matches!(outcome, AttemptOutcome::Answered { delay } if !delay.is_zero()));
    assert_eq!(delayed.count(), ATTEMPTS_DELAYED_MAX);
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, AttemptOutcome::Blocked { .. })).count();
    assert_eq!(refused, 1_000 - ATTEMPTS_OF_UID_UNDELAYED_MAX - ATTEMPTS_DELAYED_MAX);
    // The answers wait 100, 200, 400 and 800 ms: after the first there is room for one more.
    assert_eq!(attempts.record(User(7), prefix(0), now + Duration::from_millis(99)), blocked(1));
    assert_eq!(attempts.record(User(7), prefix(0), now + Duration::from_millis(100)), answered(2_000));
    assert_eq!(attempts.record(User(7), prefix(0), now + Duration::from_millis(100)), blocked(1));
}

#[test]
fn memory_is_bounded_and_the_least_recent_are_forgotten() {
    let attempts = FailedAttempts::default();
    let mut now = seconds(1_000);
    ten_attempts(&attempts, 7, prefix(0), &mut now);
    for number in 1..2_000 {
        now += seconds(1);
        attempts.record(User(7), prefix(number), now);
    }
    {
        let uids = attempts.of_users.lock().unwrap();
        assert_eq!(uids[&User(7)].by_prefix.len(), ATTEMPTS_PREFIXES_MAX);
        assert!(uids[&User(7)].recent.0.len() <= OF_UID_MAX && uids[&User(7)].due.len() <= ATTEMPTS_DELAYED_MAX);
        assert!([1_999, 1_968].iter().all(|number| uids[&User(7)].by_prefix.contains_key(&prefix(*number))));
        assert!(!uids[&User(7)].by_prefix.contains_key(&prefix(1_967)));
    }
    for uid in 8..2_000 {
        now += seconds(1);
        attempts.record(User(uid), None, now);
    }
    let uids = attempts.of_users.lock().unwrap();
    assert_eq!(uids.len(), ATTEMPTS_UIDS_MAX);
    assert!(uids.contains_key(&User(1_999)) && !uids.contains_key(&User(7)));
}

#[test]
fn a_time_out_of_order_is_harmless() {
    let attempts = FailedAttempts::default();
    let mut now = seconds(1_000);
    ten_attempts(&attempts, 7, prefix(1), &mut now);
    assert!(matches!(attempts.record(User(7), prefix(1), seconds(0)), AttemptOutcome::Blocked { .. }));
    assert_eq!(attempts.record(User(7), prefix(2), seconds(0)), answered(0));
}

#[test]
fn addresses_beyond_a_gateway_do_not_block_each_other_or_its_user() {
    let of = |uid, text: &str| AttemptSource::Address(uid, NetworkAddress::of(text.parse().unwrap()));
    let attempts = FailedAttempts::default();
    let mut now = seconds(0);
    for _ in 0..10 {
        attempts.record(of(7, "192.0.2.1"), prefix(1), now);
        now += seconds(10);
    }
    assert!(matches!(attempts.record(of(7, "192.0.2.1"), prefix(1), now), AttemptOutcome::Blocked { .. }));
    for other in [of(7, "192.0.2.2"), of(8, "192.0.2.1"), User(7)] {
        assert_eq!(attempts.record(other, prefix(1), now), answered(0), "{other:?}");
    }
}

#[test]
fn attempts_of_addresses_displace_none_of_users() {
    let attempts = FailedAttempts::default();
    let mut now = seconds(0);
    ten_attempts(&attempts, 7, prefix(1), &mut now);
    for number in 0..2 * ATTEMPTS_ADDRESSES_MAX as u32 {
        let address = NetworkAddress::of(std::net::Ipv4Addr::from_bits(number).into());
        attempts.record(AttemptSource::Address(7, address), None, now);
    }
    assert!(matches!(attempts.record(User(7), prefix(1), now), AttemptOutcome::Blocked { .. }));
    assert_eq!(attempts.of_addresses.lock().unwrap().len(), ATTEMPTS_ADDRESSES_MAX);
}
