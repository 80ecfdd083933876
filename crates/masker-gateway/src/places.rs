//! The places of connections: how many there are at once, and which connection ends so that another gets its place.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::pace::Activity;

/// Each listener has a part of the places that the other one cannot take: one of so many.
const RESERVED_PART: usize = 4;

/// A listener for TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    /// For clients with a bearer.
    Bearer,
    /// For clients with a certificate.
    Mtls,
}

/// The places of all connections.
pub(crate) struct Places {
    max: usize,
    /// The most that one listener has.
    max_of_listener: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    taken: HashMap<u64, (Listener, Arc<Activity>)>,
}

impl Places {
    pub(crate) fn new(max: usize, has_mtls: bool) -> Arc<Self> {
        let reserved = if has_mtls { max / RESERVED_PART } else { 0 };
        Arc::new(Places { max, max_of_listener: max - reserved, table: Mutex::default() })
    }

    /// Gives a connection a place. If all are taken, the connection ends that had no admitted request for the longest time. `None` if
    /// all of them are at work for callers who have shown a credential.
    pub(crate) fn take(self: &Arc<Self>, listener: Listener, activity: &Arc<Activity>) -> Option<Place> {
        let mut table = self.table();
        let of_listener = table.taken.values().filter(|(other, _)| *other == listener).count();
        let is_listener_full = of_listener >= self.max_of_listener;
        if is_listener_full || table.taken.len() >= self.max {
            let ranks = table.taken.iter().filter_map(|(id, (other, activity))| {
                let is_candidate = !is_listener_full || *other == listener;
                is_candidate.then(|| activity.rank()).flatten().map(|rank| (rank, *id))
            });
            let (_, id) = ranks.min()?;
            if let Some((_, displaced)) = table.taken.remove(&id) {
                displaced.displace();
            }
        }
        let id = table.next;
        table.next += 1;
        table.taken.insert(id, (listener, Arc::clone(activity)));
        drop(table);
        Some(Place { places: Arc::clone(self), id })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it holds the lock.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a connection, until it is dropped or displaced.
pub(crate) struct Place {
    places: Arc<Places>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.table().taken.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    fn is_displaced(activity: &Activity) -> bool {
        activity.displaced().now_or_never().is_some()
    }

    fn activity() -> Arc<Activity> {
        Activity::new(Duration::from_secs(1))
    }

    #[test]
    fn the_connection_without_an_admitted_request_is_displaced() {
        let places = Places::new(2, false);
        let (admitted, silent, third) = (activity(), activity(), activity());
        admitted.note_answered(true);
        let first = places.take(Listener::Bearer, &admitted).unwrap();
        let _second = places.take(Listener::Bearer, &silent).unwrap();
        let _third = places.take(Listener::Bearer, &third).unwrap();
        assert_eq!((is_displaced(&admitted), is_displaced(&silent)), (false, true));
        // At work for a caller, a connection keeps its place.
        let request = admitted.begin();
        third.note_answered(true);
        let other = third.begin();
        assert!(places.take(Listener::Bearer, &activity()).is_none());
        drop((request, other));
        assert!(places.take(Listener::Bearer, &activity()).is_some());
        assert!(is_displaced(&admitted), "it was idle for longer");
        drop(first);
        assert!(!is_displaced(&third));
    }

    #[test]
    fn a_listener_has_places_that_the_other_cannot_take() {
        let places = Places::new(4, true);
        let bearer: Vec<_> = (0..3).map(|_| activity()).collect();
        let taken: Vec<_> = bearer.iter().map(|activity| places.take(Listener::Bearer, activity)).collect();
        assert!(taken.iter().all(Option::is_some));
        let mtls = activity();
        let _place = places.take(Listener::Mtls, &mtls).unwrap();
        let _fourth = places.take(Listener::Bearer, &activity()).unwrap();
        assert!(!is_displaced(&mtls) && bearer.iter().filter(|activity| is_displaced(activity)).count() == 1);
    }
}
