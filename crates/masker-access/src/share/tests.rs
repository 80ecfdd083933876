use std::{cell::Cell, rc::Rc};

use super::*;

const MIB: usize = 1024 * 1024;

/// A connection of a test.
struct TestSeat {
    activity: Cell<Activity>,
    displaced: Cell<bool>,
}

fn seat(activity: Activity) -> Rc<TestSeat> {
    Rc::new(TestSeat { activity: Cell::new(activity), displaced: Cell::new(false) })
}

impl Displaceable for TestSeat {
    fn activity(&self, _now_ms: u64) -> Activity {
        self.activity.get()
    }

    fn displace(&self) -> bool {
        self.displaced.set(true);
        true
    }

    fn is_displaced(&self) -> bool {
        self.displaced.get()
    }
}

type Ledger = ShareLedger<Rc<TestSeat>>;

fn granted(answer: ShareDecision) -> HoldingId {
    match answer {
        ShareDecision::Granted(id) => id,
        other => panic!("{other:?}"),
    }
}

fn queued(answer: ShareDecision) -> TicketId {
    match answer {
        ShareDecision::Queued(id) => id,
        other => panic!("{other:?}"),
    }
}

/// Takes connections until none is free. The n-th is idle since the n-th millisecond.
fn fill(ledger: &mut Ledger, account: AccountId) -> Vec<(HoldingId, Rc<TestSeat>)> {
    let mut taken = Vec::new();
    for number in 0..2 * CONNECTIONS_MAX as u64 {
        let one = seat(Activity::Idle(number));
        match ledger.ask(Resource::Connections, account, 1, Rc::clone(&one), 0) {
            ShareDecision::Granted(id) => taken.push((id, one)),
            ShareDecision::Queued(ticket) => {
                assert_eq!(ledger.cancel(ticket), None);
                one.displaced.set(true);
                break;
            }
            ShareDecision::Refused => panic!("the queue is not full"),
        }
    }
    for (_, seat) in &taken {
        seat.displaced.set(false);
    }
    taken
}

fn ask(ledger: &mut Ledger, account: AccountId, seat: &Rc<TestSeat>) -> ShareDecision {
    ledger.ask(Resource::Connections, account, 1, Rc::clone(seat), 0)
}

#[test]
fn an_account_takes_all_that_is_free_but_the_reserve() {
    let mut ledger = Ledger::default();
    let (greedy, owner) = (ledger.open_account(false, Share::default()), ledger.open_account(true, Share::default()));
    let taken = fill(&mut ledger, greedy);
    assert_eq!(taken.len(), CONNECTIONS_MAX - OWNER_CONNECTIONS);
    for (_, seat) in &taken {
        seat.activity.set(Activity::Working);
    }
    for _ in 0..OWNER_CONNECTIONS {
        granted(ask(&mut ledger, owner, &seat(Activity::Working)));
    }
    queued(ask(&mut ledger, owner, &seat(Activity::Working)));
    assert!(taken.iter().all(|(_, seat)| !seat.is_displaced()), "nothing that is at work is displaced");
}

#[test]
fn a_newcomer_displaces_the_longest_idle_connection_of_the_largest_holder() {
    let mut ledger = Ledger::default();
    let [greedy, modest, newcomer] = [(); 3].map(|()| ledger.open_account(false, Share::default()));
    let mine: Vec<Rc<TestSeat>> = (0..10).map(|_| seat(Activity::Idle(0))).collect();
    for seat in &mine {
        granted(ask(&mut ledger, modest, seat));
    }
    let taken = fill(&mut ledger, greedy);
    taken[0].1.activity.set(Activity::Working);
    taken[1].1.activity.set(Activity::Moving(1));
    let ticket = queued(ask(&mut ledger, newcomer, &seat(Activity::Working)));
    let displaced = |taken: &[(HoldingId, Rc<TestSeat>)]| {
        taken.iter().enumerate().filter(|(_, (_, seat))| seat.is_displaced()).map(|(n, _)| n).collect::<Vec<_>>()
    };
    assert_eq!(displaced(&taken), [2]);
    // It is on its way, so no other is displaced meanwhile.
    ledger.displace_more(ticket, 0);
    assert_eq!(displaced(&taken), [2]);
    let second = queued(ask(&mut ledger, newcomer, &seat(Activity::Working)));
    assert_eq!(displaced(&taken), [2, 3]);
    assert_eq!(ledger.collect(ticket), None);
    assert_eq!(ledger.release(taken[2].0), [ticket]);
    assert!(ledger.collect(ticket).is_some() && ledger.collect(ticket).is_none());
    assert_eq!(ledger.release(taken[3].0), [second]);
    assert!(mine.iter().all(|seat| !seat.is_displaced()));

    // Where nothing is idle, a connection whose request arrives is displaced; one at work is not.
    for (_, seat) in &taken[4..] {
        seat.activity.set(Activity::Working);
    }
    let third = queued(ask(&mut ledger, newcomer, &seat(Activity::Working)));
    assert_eq!(displaced(&taken), [1, 2, 3]);
    ledger.release(taken[1].0);
    assert!(ledger.collect(third).is_some());
    let waiting = queued(ask(&mut ledger, newcomer, &seat(Activity::Working)));
    assert!(
        mine.iter().filter(|seat| seat.is_displaced()).count() == 1,
        "the next largest is {:?}",
        ledger.collect(waiting)
    );
}

#[test]
fn a_smaller_holder_loses_nothing_to_a_larger_one() {
    let mut ledger = Ledger::default();
    let [modest, greedy] = [(); 2].map(|()| ledger.open_account(false, Share::default()));
    let mine = seat(Activity::Idle(0));
    granted(ask(&mut ledger, modest, &mine));
    let taken = fill(&mut ledger, greedy);
    queued(ask(&mut ledger, greedy, &seat(Activity::Working)));
    assert!(!mine.is_displaced() && taken[0].1.is_displaced(), "it displaces its own");
}

#[test]
fn those_who_hold_less_come_first() {
    let mut ledger = Ledger::default();
    let [greedy, modest] = [(); 2].map(|()| ledger.open_account(false, Share::default()));
    let taken = fill(&mut ledger, greedy);
    for (_, seat) in &taken {
        seat.activity.set(Activity::Working);
    }
    let first = queued(ask(&mut ledger, greedy, &seat(Activity::Working)));
    let second = queued(ask(&mut ledger, modest, &seat(Activity::Working)));
    assert_eq!(ledger.release(taken[0].0), [second]);
    // What was granted and not collected is given back.
    let granted = ledger.cancel(second).expect("it was granted");
    assert_eq!(ledger.release(granted), [first]);
    assert_eq!(ledger.used(Resource::Connections), taken.len());
}

#[test]
fn the_queue_is_bounded_and_has_a_place_for_everyone() {
    let mut ledger = Ledger::default();
    let [greedy, modest] = [(); 2].map(|()| ledger.open_account(false, Share::default()));
    for (_, seat) in fill(&mut ledger, greedy) {
        seat.activity.set(Activity::Working);
    }
    for _ in 0..SHARE_QUEUE_MAX {
        queued(ask(&mut ledger, greedy, &seat(Activity::Working)));
    }
    assert_eq!(ask(&mut ledger, greedy, &seat(Activity::Working)), ShareDecision::Refused);
    queued(ask(&mut ledger, modest, &seat(Activity::Working)));
    assert_eq!(ask(&mut ledger, modest, &seat(Activity::Working)), ShareDecision::Refused);
}

#[test]
fn a_guarantee_is_kept_free_and_a_maximum_is_kept() {
    let mut ledger = Ledger::default();
    ledger.set_guaranteed(20);
    let guaranteed = ledger.open_account(false, Share { guaranteed_percent: 20, max_percent: 100 });
    let capped = ledger.open_account(false, Share { guaranteed_percent: 0, max_percent: 10 });
    let greedy = ledger.open_account(false, Share::default());
    let own = CONNECTIONS_MAX * 20 / 100;
    assert_eq!(fill(&mut ledger, capped).len(), CONNECTIONS_MAX / 10);
    for (_, seat) in fill(&mut ledger, greedy) {
        seat.activity.set(Activity::Working);
    }
    let kept: Vec<Rc<TestSeat>> = (0..own).map(|_| seat(Activity::Idle(0))).collect();
    for seat in &kept {
        granted(ask(&mut ledger, guaranteed, seat));
    }
    // It displaces its own idle connection, and not one of the guaranteed.
    queued(ask(&mut ledger, greedy, &seat(Activity::Working)));
    assert!(kept.iter().all(|seat| !seat.is_displaced()));
}

#[test]
fn a_stalled_body_is_displaced_before_the_newest_one() {
    let mut ledger = Ledger::default();
    let [greedy, newcomer] = [(); 2].map(|()| ledger.open_account(false, Share::default()));
    let share = (BODIES_IN_FLIGHT_BYTES_MAX - OWNER_BODY_BYTES) * 3 / 4;
    let mut bodies = Vec::new();
    for _ in 0..share / MIB {
        let one = seat(Activity::Moving(9));
        bodies.push((granted(ledger.ask(Resource::Bodies, greedy, MIB, Rc::clone(&one), 9)), one));
    }
    // The account has three quarters, and displaces its own: the newest.
    let ticket = queued(ledger.ask_more(bodies[0].0, MIB, 9));
    assert!(bodies.last().unwrap().1.is_displaced());
    ledger.release(bodies.pop().unwrap().0);
    assert_eq!(ledger.collect(ticket), Some(bodies[0].0));
    bodies[7].1.activity.set(Activity::Idle(3));
    queued(ledger.ask_more(bodies[0].0, MIB, 9));
    assert!(bodies[7].1.is_displaced() && !bodies.last().unwrap().1.is_displaced());
    // Another finds room all the same.
    granted(ledger.ask(Resource::Bodies, newcomer, 16 * MIB, seat(Activity::Moving(9)), 9));
}

#[test]
fn what_is_given_back_counts_no_more() {
    let mut ledger = Ledger::default();
    let account = ledger.open_account(false, Share::default());
    let held = granted(ledger.ask(Resource::Answers, account, 140 * MIB, seat(Activity::Working), 0));
    assert!(ledger.shrink(held, 3 * MIB).is_empty());
    assert_eq!(ledger.used(Resource::Answers), 3 * MIB);
    assert!(matches!(ledger.ask_more(held, MIB, 0), ShareDecision::Granted(id) if id == held));
    assert_eq!(ledger.used(Resource::Answers), 4 * MIB);
    ledger.release(held);
    assert_eq!(ledger.used(Resource::Answers), 0);
    assert_eq!(ledger.common_used, [0; 3]);
}

#[test]
fn no_number_of_answers_of_one_account_leaves_others_without_room() {
    let mut ledger = Ledger::default();
    let accounts: Vec<AccountId> = (0..3).map(|_| ledger.open_account(false, Share::default())).collect();
    for account in &accounts[..2] {
        let busy = || seat(Activity::Working);
        while let ShareDecision::Granted(_) = ledger.ask(Resource::Answers, *account, MIB, busy(), 0) {}
        ledger.queue.clear();
    }
    granted(ledger.ask(Resource::Answers, accounts[2], 20 * MIB, seat(Activity::Working), 0));
}
