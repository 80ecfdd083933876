//! Repeated refusals, counted: a caller that is refused over and over must not fill the audit log.
//!
//! The first refusal of a caller, route and code has an event of its own, and so has the first after a second. Those between
//! them are counted, and have one event together when the second is over, or when the daemon stops.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{honeytoken_uses::HoneytokenUses, request_id::RequestId};
use masker_access::NetworkAddress;
use masker_audit::{AuditOperation, EncodedCaller};
use masker_types::{certificate::PublicKeyDigest, limits::REFUSALS_COUNTED_MAX};

/// The time in which repeated refusals are counted together.
const WINDOW: Duration = Duration::from_secs(1);

/// What refusals that are counted together have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RefusalKind {
    pub(super) uid: u32,
    /// The name of the client or of the API key.
    pub(super) name: String,
    /// The secret that was presented, by its public part.
    pub(super) key_prefix: Option<String>,
    /// The certificate that was presented.
    pub(super) certificate: Option<PublicKeyDigest>,
    /// Where a caller comes from that came through a gateway.
    pub(super) address: Option<NetworkAddress>,
    /// The position of the route; `None` if there is none.
    pub(super) route: Option<usize>,
    pub(super) op: AuditOperation,
    /// The code.
    pub(super) outcome: &'static str,
    /// Whether it showed honeytokens. The first that does has an event of its own, also after other refusals.
    pub(super) shows_honeytokens: bool,
}

/// The last of several refusals, which their event names.
#[derive(Clone)]
pub(super) struct LastRefusal {
    pub(super) caller: Arc<EncodedCaller>,
    pub(super) request_id: RequestId,
    pub(super) status: u16,
    /// Why its caller is not known: a fact by name.
    pub(super) fact: Option<(&'static str, String)>,
    /// The honeytokens that it and those before it showed.
    pub(super) honeytokens: HoneytokenUses,
}

/// Refusals after the first of their kind.
pub(super) struct CountedRefusals {
    pub(super) uid: u32,
    /// The name of the client or of the API key.
    pub(super) name: String,
    pub(super) op: AuditOperation,
    pub(super) outcome: &'static str,
    pub(super) last: LastRefusal,
    /// How many there were.
    pub(super) repeated: u64,
    /// Whether the daemon's log has the honeytokens that they showed.
    pub(super) is_logged: bool,
}

/// The counts of the current second.
#[derive(Default)]
pub(super) struct RefusalCounts(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    current: HashMap<RefusalKind, Current>,
    /// Those whose second is over and that have no event yet.
    ended: Vec<CountedRefusals>,
}

struct Current {
    began: Instant,
    /// The refusals after the first.
    repeated: Option<(LastRefusal, u64)>,
}

impl Counts {
    /// Counts a refusal. Returns whether it needs an event of its own.
    fn note(&mut self, kind: RefusalKind, mut last: LastRefusal, now: Instant) -> bool {
        if let Some(current) = self.current.get_mut(&kind) {
            if now.saturating_duration_since(current.began) < WINDOW {
                let mut repeated = 1;
                if let Some((before, count)) = current.repeated.take() {
                    repeated += count;
                    last.honeytokens = before.honeytokens.merged_with(&last.honeytokens);
                }
                current.repeated = Some((last, repeated));
                return false;
            }
            let repeated = current.repeated.take();
            current.began = now;
            self.ended.extend(repeated.map(|repeated| counted(&kind, repeated)));
        } else if self.current.len() < REFUSALS_COUNTED_MAX {
            self.current.insert(kind, Current { began: now, repeated: None });
        }
        true
    }

    /// Takes the counts whose second is over at `now`, or all of them if there is none.
    fn take(&mut self, now: Option<Instant>) -> Vec<CountedRefusals> {
        let mut taken = mem::take(&mut self.ended);
        self.current.retain(|kind, current| {
            let goes_on = now.is_some_and(|now| now.saturating_duration_since(current.began) < WINDOW);
            if !goes_on {
                taken.extend(current.repeated.take().map(|repeated| counted(kind, repeated)));
            }
            goes_on
        });
        taken
    }
}

fn counted(kind: &RefusalKind, (last, repeated): (LastRefusal, u64)) -> CountedRefusals {
    let (uid, name) = (kind.uid, kind.name.clone());
    CountedRefusals { uid, name, op: kind.op, outcome: kind.outcome, last, repeated, is_logged: false }
}

impl RefusalCounts {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a refusal. Returns whether it needs an event of its own.
    pub(super) fn note(&self, kind: RefusalKind, last: LastRefusal) -> bool {
        self.lock().note(kind, last, Instant::now())
    }

    /// Takes the counts whose second is over.
    pub(super) fn take_ended(&self) -> Vec<CountedRefusals> {
        self.lock().take(Some(Instant::now()))
    }

    /// Takes all counts.
    pub(super) fn take_all(&self) -> Vec<CountedRefusals> {
        self.lock().take(None)
    }

    /// Keeps counts that could not be recorded.
    pub(super) fn put_back(&self, counts: Vec<CountedRefusals>) {
        self.lock().ended.extend(counts);
    }
}

#[cfg(test)]
mod tests {
    use masker_audit::CallerIdentity;

    use super::*;
    use crate::request_id::RequestIds;

    fn kind(uid: u32, outcome: &'static str) -> RefusalKind {
        let op = AuditOperation::Tokenize;
        RefusalKind {
            uid,
            name: "x".to_owned(),
            key_prefix: None,
            certificate: None,
            address: None,
            route: Some(1),
            op,
            outcome,
            shows_honeytokens: false,
        }
    }

    fn last(ids: &RequestIds) -> LastRefusal {
        let caller = CallerIdentity {
            address: None,
            certificate: None,
            gateway: None,
            gid: 0,
            key_id: None,
            key_prefix: None,
            mode: "live",
            name: "x",
            pid: None,
            uid: 7,
            unit: None,
        };
        LastRefusal {
            caller: Arc::new(EncodedCaller::new(&caller)),
            request_id: ids.next(),
            status: 403,
            fact: None,
            honeytokens: HoneytokenUses::default(),
        }
    }

    fn sums(counts: Vec<CountedRefusals>) -> Vec<(&'static str, u64)> {
        counts.into_iter().map(|counted| (counted.outcome, counted.repeated)).collect()
    }

    #[test]
    fn the_first_of_each_second_is_written_and_the_others_are_counted() {
        let (ids, start) = (RequestIds::new(), Instant::now());
        let mut counts = Counts::default();
        let at = |ms| start + Duration::from_millis(ms);
        let mut written = 0;
        for ms in 0..2_500 {
            written += u64::from(counts.note(kind(7, "perm.denied"), last(&ids), at(ms)));
        }
        assert_eq!(written, 3);
        assert!(counts.note(kind(8, "perm.denied"), last(&ids), at(2_500)), "another caller");
        assert!(counts.note(kind(7, "rate.limited"), last(&ids), at(2_500)), "another code");
        assert_eq!(sums(counts.take(Some(at(2_999)))), [("perm.denied", 999), ("perm.denied", 999)]);
        assert_eq!(sums(counts.take(Some(at(3_000)))), [("perm.denied", 499)]);
        assert_eq!(sums(counts.take(Some(at(9_000)))), [], "a first one alone is not counted");
        assert!(counts.current.is_empty());
    }

    #[test]
    fn a_stop_takes_all_and_what_was_not_recorded_is_kept() {
        let (ids, counts) = (RequestIds::new(), RefusalCounts::default());
        let noted: Vec<bool> = (0..5).map(|_| counts.note(kind(7, "perm.denied"), last(&ids))).collect();
        assert_eq!(noted, [true, false, false, false, false]);
        let taken = counts.take_all();
        counts.put_back(taken);
        assert_eq!(sums(counts.take_all()), [("perm.denied", 4)]);
        assert_eq!(sums(counts.take_all()), []);
    }

    #[test]
    fn the_kinds_are_bounded() {
        let (ids, now) = (RequestIds::new(), Instant::now());
        let mut counts = Counts::default();
        for uid in 0..2 * REFUSALS_COUNTED_MAX as u32 {
            assert!(counts.note(kind(uid, "perm.denied"), last(&ids), now));
        }
        assert_eq!(counts.current.len(), REFUSALS_COUNTED_MAX);
    }
}
