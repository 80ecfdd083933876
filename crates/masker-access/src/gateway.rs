//! Gateways: clients that pass on the requests of others, with their credentials.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use masker_types::grant::{GatewayAssertion, Grant};

/// The bits of an IPv6 address that tell networks apart. The holder of a network can use all of its addresses.
const NETWORK_BITS: u32 = 64;

/// A gateway of the configuration. It has no rights of its own.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) name: String,
    /// What it may assert.
    pub(super) assertions: BTreeSet<GatewayAssertion>,
    /// What a credential may do at most that comes through it.
    pub(super) ceiling: Grant,
}

/// The way of a request that came through a gateway.
#[derive(Clone, Debug)]
pub(super) struct GatewayPath {
    pub(super) gateway: Arc<Gateway>,
    /// The address that the gateway has asserted.
    pub(super) address: Option<IpAddr>,
}

/// The part of an address by which strangers differ: all of an IPv4 address, and the network of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkAddress(IpAddr);

impl NetworkAddress {
    /// Returns the part of an address.
    pub fn of(address: IpAddr) -> Self {
        NetworkAddress(match address.to_canonical() {
            IpAddr::V6(address) => {
                let host_bits = u128::BITS - NETWORK_BITS;
                Ipv6Addr::from_bits(address.to_bits() >> host_bits << host_bits).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_an_address_or_a_network() {
        let of = |text: &str| NetworkAddress::of(text.parse().unwrap());
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}
