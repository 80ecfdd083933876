//! The headers that the gateway removes, adds and sets.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use masker_types::limits::GATEWAY_HSTS_SECONDS;

/// Begins the name of each header by which the gateway asserts something to the daemon.
const ASSERTION_PREFIX: &str = "masker-gateway-";
/// The address of the client.
pub(crate) const ADDRESS: HeaderName = HeaderName::from_static("masker-gateway-address");
/// The identity of the client's certificate.
pub(crate) const CERTIFICATE: HeaderName = HeaderName::from_static("masker-gateway-certificate");
/// The addresses of the clients of proxies.
pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The id of a request, in its answer.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static(masker_api::REQUEST_ID_HEADER);

/// Headers that are about one connection (RFC 9110 section 7.6.1), besides those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Headers of a request that say something to the gateway, and nothing to the daemon.
const FOR_THE_GATEWAY: [HeaderName; 5] =
    [header::HOST, header::ORIGIN, header::EXPECT, header::COOKIE, header::FORWARDED];

/// Removes from a request what the daemon must not get: headers of the connection, assertions, and what proxies say. An
/// underscore counts as a hyphen, because some programs treat both as the same.
pub(crate) fn strip_request(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    for name in FOR_THE_GATEWAY {
        headers.remove(name);
    }
    remove_where(headers, |name| {
        let name = name.replace('_', "-");
        name.starts_with(ASSERTION_PREFIX) || name.starts_with("x-forwarded-") || name == "x-real-ip"
    });
}

/// Removes the headers that are about the connection.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
        .collect();
    // The length frames the body, which a client cannot have left out.
    remove_where(headers, |name| name != header::CONTENT_LENGTH && named.iter().any(|named| named == name));
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn remove_where(headers: &mut HeaderMap, is_removed: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| is_removed(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Sets what each answer has: nothing of it is stored, framed, guessed or run, and the host is used over TLS only.
pub(crate) fn set_strict(headers: &mut HeaderMap) {
    let hsts = format!("max-age={GATEWAY_HSTS_SECONDS}");
    // Digits are a valid value.
    if let Ok(hsts) = HeaderValue::from_str(&hsts) {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts);
    }
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let parsed = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in lines.iter().map(parsed) {
            map.append(name, value);
        }
        map
    }

    #[test]
    fn a_request_keeps_its_content_and_its_credential_only() {
        let mut headers = map(&[
            ("authorization", "Bearer x"),
            ("content-type", "application/json"),
            ("content-length", "2"),
            ("x-masker-session", "s"),
            ("accept", "*/*"),
            ("masker-gateway-address", "192.0.2.1"),
            ("Masker-Gateway-Certificate", "sha256:0"),
            ("masker-gateway-anything", "x"),
            ("masker_gateway_address", "192.0.2.1"),
            ("masker-gateway_address", "192.0.2.1"),
            ("connection", "close, X-Listed, content-length"),
            ("connection", "authorizatio"),
            ("x-listed", "x"),
            ("keep-alive", "timeout=1"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("proxy-authorization", "Basic x"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "other"),
            ("forwarded", "for=192.0.2.1"),
            ("x-real-ip", "192.0.2.1"),
            ("cookie", "a=b"),
            ("origin", "https://masker.example"),
            ("host", "masker.example"),
            ("expect", "100-continue"),
        ]);
        strip_request(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "authorization", "content-length", "content-type", "x-masker-session"]);
    }

    #[test]
    fn a_strict_header_replaces_another() {
        let mut headers = map(&[("cache-control", "public"), ("content-security-policy", "default-src *")]);
        set_strict(&mut headers);
        assert_eq!(headers.len(), 5);
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers[header::STRICT_TRANSPORT_SECURITY], "max-age=31536000");
    }
}
