//! `ip`: addresses of the Internet Protocol.

use std::{
    borrow::Cow,
    net::{Ipv4Addr, Ipv6Addr},
};

/// Returns the canonical text of an address: RFC 5952 for IPv6, with a mapped IPv4 address in decimal and all others in
/// hexadecimal.
pub(super) fn form(text: &str) -> Option<Cow<'_, str>> {
    // An IPv4 address has a single text, because the parser rejects leading zeros.
    if text.parse::<Ipv4Addr>().is_ok() {
        return Some(Cow::Borrowed(text));
    }
    text.parse::<Ipv6Addr>().ok().map(|address| Cow::Owned(address.to_string()))
}
