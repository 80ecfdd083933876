//! The address of a client: that of its connection, or that which a trusted proxy names.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;
use ipnet::IpNet;

use crate::{headers::FORWARDED_FOR, problem::Problem};
use masker_types::error_code::Code;

/// The proxies whose `X-Forwarded-For` is believed.
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        TrustedProxies(networks)
    }

    /// Returns whether an address is that of a trusted proxy.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns the address of the client of a request that came over a connection from `peer`. The last address of
    /// `X-Forwarded-For` counts, which the proxy itself has added; those before it can be the client's invention.
    ///
    /// # Errors
    /// A trusted proxy sent something else than an address.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Result<IpAddr, Problem> {
        if !self.contains(peer) {
            return Ok(peer);
        }
        let Some(last) = headers.get_all(FORWARDED_FOR).iter().next_back() else { return Ok(peer) };
        let last = last.to_str().ok().and_then(|list| list.rsplit(',').next()).map(str::trim);
        let address = last.and_then(|last| last.parse::<IpAddr>().ok());
        let detail = "the last entry of `X-Forwarded-For`, which a trusted proxy adds, is not an IP address";
        address.map(|address| address.to_canonical()).ok_or_else(|| Problem::new(Code::RequestInvalid, detail))
    }
}

/// Returns the address under which a client is counted. A host has a whole network of IPv6 addresses, its /64.
pub(crate) fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_a_trusted_proxy_names_another_address() {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        let client = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().unwrap());
            }
            proxies.client(ip(peer), &headers).map_err(|problem| problem.code)
        };
        assert_eq!(client("192.0.2.1", &["198.51.100.7"]), Ok(ip("192.0.2.1")));
        assert_eq!(client("10.1.2.3", &[]), Ok(ip("10.1.2.3")));
        assert_eq!(client("10.1.2.3", &["198.51.100.7"]), Ok(ip("198.51.100.7")));
        assert_eq!(client("::1", &["203.0.113.1, 198.51.100.7"]), Ok(ip("198.51.100.7")));
        assert_eq!(client("10.1.2.3", &["203.0.113.1", "198.51.100.7"]), Ok(ip("198.51.100.7")));
        assert_eq!(client("10.1.2.3", &["::ffff:198.51.100.7"]), Ok(ip("198.51.100.7")));
        for malformed in ["", "unknown", "198.51.100.7:80", "198.51.100.7,", "[::1]"] {
            assert_eq!(client("10.1.2.3", &[malformed]), Err(Code::RequestInvalid), "{malformed}");
        }
    }

    #[test]
    fn a_network_of_a_host_counts_as_one() {
        assert_eq!(counted(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1:2::"));
        assert_eq!(counted(ip("2001:db8:1:2::9")), counted(ip("2001:db8:1:2:ffff::")));
        assert_ne!(counted(ip("2001:db8:1:3::9")), counted(ip("2001:db8:1:2::9")));
        assert_eq!(counted(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
        assert_ne!(counted(ip("192.0.2.1")), counted(ip("192.0.2.2")));
    }
}
