//! How many connections or requests each address has.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::address::counted;

/// Counts of addresses, each up to a bound.
pub(crate) struct AddressCounts {
    max: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

impl AddressCounts {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(AddressCounts { max, counts: Mutex::default() })
    }

    /// Counts one more for an address; `None` if it has as many as it may.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<AddressSlot> {
        let address = counted(address);
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count == self.max {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(AddressSlot { counts: Arc::clone(self), address })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing panics while it holds the lock.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of an address, counted until it is dropped.
pub(crate) struct AddressSlot {
    counts: Arc<AddressCounts>,
    address: IpAddr,
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut counts = self.counts.counts();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            // Addresses that have none take no memory.
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_as_many_as_it_may() {
        let counts = AddressCounts::new(2);
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = counts.take(one);
        let second = counts.take(one);
        assert!(first.is_some() && second.is_some() && counts.take(one).is_none());
        assert!(counts.take(other).is_some(), "another address has its own");
        drop(first);
        assert!(counts.take(one).is_some());
        drop(second);
        assert!(counts.counts().is_empty(), "nothing is left of addresses that are gone");
    }
}
