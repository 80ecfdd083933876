//! What a gateway asserts about a request, in headers that begin with `Masker-Gateway-`.
//!
//! Nobody but a gateway of the configuration may send them, and each needs a scope of its own. So a header that an
//! application passes on by mistake is refused and not ignored.

use std::net::IpAddr;

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

use super::problem::Problem;
use masker_access::{Caller, Certificate};
use masker_types::{
    certificate::CertificateIdentity,
    error_code::Code,
    grant::GatewayAssertion,
    limits::{CERTIFICATE_IDENTITIES_MAX, IDENTITY_BYTES_MAX},
};

/// The beginning of the names of these headers.
const PREFIX: &str = "masker-gateway-";
const ADDRESS: HeaderName = HeaderName::from_static("masker-gateway-address");
const CERTIFICATE: HeaderName = HeaderName::from_static("masker-gateway-certificate");
/// Longest escaped identity, in bytes: each byte of the name can take three.
const ESCAPED_BYTES_MAX: usize = 3 * (IDENTITY_BYTES_MAX + 16);

/// The assertions of a request.
#[derive(Debug, Default)]
pub(super) struct Assertions {
    /// The address that it comes from.
    pub(super) address: Option<IpAddr>,
    /// The certificate that its caller has shown.
    pub(super) certificate: Option<Certificate>,
}

impl Assertions {
    /// Reads the assertions of a request. `caller` is known by its process alone.
    ///
    /// # Errors
    /// `gateway.denied` if the process may not assert this, or `gateway.invalid` if a header is malformed. No message has any
    /// part of a header.
    pub(super) fn of(headers: &HeaderMap, caller: &Caller) -> Result<Self, Problem> {
        let mut names = headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).peekable();
        if names.peek().is_none() {
            return Ok(Assertions::default());
        }
        if caller.gateway().is_none() {
            let detail = "headers that begin with `Masker-Gateway-` are for gateways, and no client with `gateway = true` in \
                          masker.toml matches this process: leave them out";
            return Err(Problem::new(Code::GatewayDenied, detail));
        }
        for name in names {
            let assertion = match name {
                name if *name == ADDRESS => GatewayAssertion::Address,
                name if *name == CERTIFICATE => GatewayAssertion::Certificate,
                _ => {
                    let detail = "a header that begins with `Masker-Gateway-` is neither `Masker-Gateway-Address` nor \
                                  `Masker-Gateway-Certificate`, and this release knows no other";
                    return Err(invalid(detail));
                }
            };
            if !caller.may_assert(assertion) {
                let detail = format!(
                    "this gateway lacks `{assertion}`, so it may not send this header: leave it out, or add the scope to its \
                     client in masker.toml"
                );
                return Err(Problem::new(Code::GatewayDenied, detail));
            }
        }
        Ok(Assertions {
            address: single(headers, &ADDRESS)?.map(parse_address).transpose()?,
            certificate: single(headers, &CERTIFICATE)?.map(parse_certificate).transpose()?,
        })
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::GatewayInvalid, detail)
}

/// Returns the header of this name. Of two, the caller of the gateway could have sent one.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, Problem> {
    let mut found = headers.get_all(name).into_iter();
    match (found.next(), found.next()) {
        (header, None) => Ok(header),
        (_, Some(_)) => Err(invalid("a header that begins with `Masker-Gateway-` occurs twice: send it once")),
    }
}

fn parse_address(value: &HeaderValue) -> Result<IpAddr, Problem> {
    let address = value.to_str().ok().and_then(|text| text.parse().ok());
    address.ok_or_else(|| {
        invalid("`Masker-Gateway-Address` is not one IPv4 or IPv6 address, without a port, brackets or a zone")
    })
}

fn parse_certificate(value: &HeaderValue) -> Result<Certificate, Problem> {
    let text = value.to_str().map_err(|_| invalid("`Masker-Gateway-Certificate` is not ASCII"))?;
    if text.split(',').count() > CERTIFICATE_IDENTITIES_MAX {
        return Err(invalid(format!(
            "`Masker-Gateway-Certificate` has more than {CERTIFICATE_IDENTITIES_MAX} identities: the certificate has too many \
             names"
        )));
    }
    let identities = text.split(',').map(|part| {
        let identity = unescape(part.trim_matches([' ', '\t'])).ok_or_else(|| {
            invalid(
                "an identity in `Masker-Gateway-Certificate` is not escaped as it must be: every byte but letters, digits and \
                 `-._~:/@*` is `%` and two hex digits",
            )
        })?;
        CertificateIdentity::parse(&identity)
            .map_err(|error| invalid(format!("an identity in `Masker-Gateway-Certificate` is malformed: {error}")))
    });
    let identities = identities.collect::<Result<Vec<CertificateIdentity>, Problem>>()?;
    Certificate::new(identities)
        .ok_or_else(|| invalid("`Masker-Gateway-Certificate` needs exactly one identity that begins with `sha256:`"))
}

/// Decodes percent-encoding (RFC 3986 section 2.1). Each text has one escaped form at most but for the case of hex digits.
fn unescape(text: &str) -> Option<String> {
    if text.len() > ESCAPED_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                let byte = u8::try_from(high << 4 | low).ok()?;
                if is_plain(byte) {
                    return None;
                }
                bytes.push(byte);
            }
            byte if is_plain(byte) => bytes.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/@*".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(text: &str) -> Result<Certificate, String> {
        parse_certificate(&HeaderValue::from_bytes(text.as_bytes()).unwrap()).map_err(|problem| {
            assert_eq!(problem.code, Code::GatewayInvalid);
            problem.detail
        })
    }

    #[test]
    fn reads_the_identities_of_a_certificate() {
        let key = format!("sha256:{}", "ab".repeat(32));
        let identity = |text: &str| CertificateIdentity::parse(text).unwrap();
        let expected = Certificate::new(vec![
            identity(&key),
            identity("san:dns:*.ci.example"),
            identity("san:uri:spiffe://a/b?c=%20,d"),
            identity("san:email:a+b@c.example"),
        ]);
        let text =
            format!("{key}, san:dns:*.CI.example,san:uri:spiffe://a/b%3Fc%3D%2520%2Cd ,\tsan:email:a%2bb@c.example");
        assert_eq!(certificate(&text).ok(), expected);
    }

    #[test]
    fn refuses_what_is_not_an_identity() {
        let key = format!("sha256:{}", "ab".repeat(32));
        let many = vec![&*key; CERTIFICATE_IDENTITIES_MAX + 1].join(",");
        for (text, part) in [
            ("", "begins with `sha256:`"),
            ("san:dns:ci.example", "exactly one identity that begins with `sha256:`"),
            (&format!("{key}, {key}"), "exactly one identity"),
            (&format!("{key},"), "begins with `sha256:`"),
            (&format!("{key}, san:dns:a b"), "not escaped"),
            (&format!("{key}, san:dns:a%2"), "not escaped"),
            (&format!("{key}, san:dns:%61"), "not escaped"),
            (&format!("{key}, san:dns:a%0Ab"), "visible ASCII"),
            (&format!("{key}, san:dns:%ff"), "not escaped"),
            (&format!("{key}, san:dns:{}", "x".repeat(ESCAPED_BYTES_MAX)), "not escaped"),
            (&many, "too many names"),
        ] {
            let problem = certificate(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }

    #[test]
    fn an_address_is_an_address_alone() {
        let parsed =
            |text: &str| parse_address(&HeaderValue::from_str(text).unwrap()).ok().map(|address| address.to_string());
        assert_eq!(parsed("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(parsed("2001:DB8::1").as_deref(), Some("2001:db8::1"));
        for text in ["", "192.0.2.1:80", "[::1]", "fe80::1%eth0", "192.0.2.1, 192.0.2.2", "localhost", "192.0.2.01"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_gateway_asserts() {
        let caller = Caller::for_tests(masker_types::grant::Grant::all());
        let mut headers = HeaderMap::new();
        assert!(Assertions::of(&headers, &caller).is_ok());
        headers.insert("masker-gateway-anything", HeaderValue::from_static("x"));
        assert_eq!(Assertions::of(&headers, &caller).unwrap_err().code, Code::GatewayDenied);
    }

    #[test]
    fn no_message_repeats_a_header() {
        for text in ["\u{1}secret", "secret,secret", "sha256:secret", "san:dns:se cret", "%zzsecret", "secret%", "%"] {
            let Ok(value) = HeaderValue::from_str(text) else { continue };
            assert!(!parse_certificate(&value).unwrap_err().detail.contains("secret"), "{text}");
            assert!(!parse_address(&value).unwrap_err().detail.contains("secret"), "{text}");
        }
    }
}
