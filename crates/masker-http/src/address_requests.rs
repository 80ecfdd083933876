//! Requests at work by the address beyond a gateway that they come from, so that one address does not take the places of all
//! callers of its gateway.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::problem::Problem;
use masker_access::{Caller, NetworkAddress};
use masker_types::{error_code::Code, limits::ADDRESS_REQUESTS_MAX};

/// The requests at work of each address. Its size is bounded by that of all connections.
#[derive(Default)]
pub(super) struct AddressRequests(Mutex<HashMap<Source, usize>>);

/// The user that a gateway runs as, and an address beyond it.
type Source = (u32, NetworkAddress);

/// Counts as a request at work until it is dropped.
pub(super) struct AddressSlot {
    requests: Arc<AddressRequests>,
    source: Source,
}

impl AddressRequests {
    fn lock(&self) -> MutexGuard<'_, HashMap<Source, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request; `None` if its caller has no address.
    ///
    /// # Errors
    /// `overloaded` if too many of its address are at work.
    pub(super) fn begin(self: &Arc<Self>, caller: &Caller) -> Result<Option<AddressSlot>, Problem> {
        let Some(address) = caller.network_address() else { return Ok(None) };
        self.begin_of((caller.peer().uid(), address)).map(Some)
    }

    fn begin_of(self: &Arc<Self>, source: Source) -> Result<AddressSlot, Problem> {
        let mut requests = self.lock();
        let count = requests.entry(source).or_default();
        if *count >= ADDRESS_REQUESTS_MAX {
            return Err(Problem::unread(Code::Overloaded, "too many requests of this address are at work; try again"));
        }
        *count += 1;
        drop(requests);
        Ok(AddressSlot { requests: Arc::clone(self), source })
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut requests = self.requests.lock();
        if let Some(count) = requests.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                requests.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_some_places_and_gives_them_back() {
        let requests = Arc::new(AddressRequests::default());
        let source = |uid, text: &str| (uid, NetworkAddress::of(text.parse().unwrap()));
        let begin = |uid, text| requests.begin_of(source(uid, text));
        let held: Vec<AddressSlot> = (0..ADDRESS_REQUESTS_MAX).map(|_| begin(7, "192.0.2.1").ok().unwrap()).collect();
        assert_eq!(begin(7, "192.0.2.1").err().map(|problem| problem.code), Some(Code::Overloaded));
        for (uid, other) in [(7, "192.0.2.2"), (8, "192.0.2.1"), (7, "2001:db8::1")] {
            assert!(begin(uid, other).is_ok(), "{other}");
        }
        drop(held);
        assert!(begin(7, "192.0.2.1").is_ok());
        assert!(requests.lock().is_empty());
    }
}
