//! Addresses in networks.

use std::{collections::HashSet, net::Ipv6Addr, sync::LazyLock};

/// Top-level domains, as the Public Suffix List has them (ICANN section).
static TLDS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("../../packs/tlds.txt").split_ascii_whitespace().collect());

/// Whether a domain's last part is a top-level domain, or one that is reserved for examples and tests.
pub(crate) fn is_tld(tld: &str) -> bool {
    let lower = tld.to_ascii_lowercase();
    TLDS.contains(lower.as_str())
        || matches!(
            lower.as_str(),
            "example" | "test" | "invalid" | "local" | "localhost" | "internal" | "lan" | "onion"
        )
        || lower.starts_with("xn--")
}

/// Whether a domain is reserved for documentation (RFC 2606): it belongs to nobody.
pub(crate) fn is_reserved_domain(domain: &str) -> bool {
    let lower = domain.to_ascii_lowercase();
    let under = |suffix: &str| lower.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    ["example", "test", "invalid", "localhost", "example.com", "example.org", "example.net"].into_iter().any(under)
}

/// Whether a text is an IPv4 address: four numbers up to 255, without leading zeros.
pub(crate) fn is_ipv4(text: &str) -> bool {
    text.split('.').count() == 4
        && text.split('.').all(|part| {
            part.len() <= 3
                && part.bytes().all(|byte| byte.is_ascii_digit())
                && (part.len() == 1 || !part.starts_with('0'))
                && part.parse::<u8>().is_ok()
        })
}

/// Whether a text is an IPv6 address that is not only colons.
pub(crate) fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok_and(|address| !address.is_unspecified())
        && text.bytes().filter(|&byte| byte == b':').count() >= 2
        && (text.bytes().any(|byte| byte.is_ascii_digit()) || text.matches(':').count() >= 4)
}
