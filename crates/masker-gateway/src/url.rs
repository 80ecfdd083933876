//! The URL under which clients know the gateway.

use std::fmt;

use axum::http::{
    Uri,
    uri::{Authority, PathAndQuery},
};

/// The port of `https`.
const HTTPS_PORT: u16 = 443;

/// A URL `https://HOST` or `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// In lower case.
    host: String,
    port: u16,
}

impl PublicUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// What is wrong with it, to be read after its name.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let Ok(url) = text.parse::<Uri>() else { return Err("is not a URL") };
        if url.scheme_str() != Some("https") {
            return Err("must begin with `https://`");
        }
        if url.query().is_some() || !matches!(url.path(), "" | "/") {
            return Err("must end after the host and the port: the daemon's paths begin with `/`");
        }
        let Some((host, port)) = url.authority().and_then(host_and_port) else {
            return Err("must name a host, and no user");
        };
        Ok(PublicUrl { host, port })
    }

    /// Returns whether an authority names this host. Its port counts if `with_port` says so.
    pub(crate) fn is_host(&self, authority: &Authority, with_port: bool) -> bool {
        host_and_port(authority).is_some_and(|(host, port)| host == self.host && (!with_port || port == self.port))
    }

    /// Returns the host as a certificate names it: an IPv6 address without brackets.
    pub(crate) fn host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }

    /// Returns the origin of pages of this URL, as browsers write it.
    pub(crate) fn origin(&self) -> String {
        self.to_string()
    }

    /// Returns the URL of a path and a query.
    pub(crate) fn of_path(&self, path: Option<&PathAndQuery>) -> String {
        let path = path.map(PathAndQuery::as_str).filter(|path| path.starts_with('/')).unwrap_or("/");
        format!("{self}{path}")
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.host)?;
        if self.port == HTTPS_PORT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// Returns the host in lower case, and the port. `None` if it has a user, a malformed port or no host.
fn host_and_port(authority: &Authority) -> Option<(String, u16)> {
    let (host, text) = (authority.host(), authority.as_str());
    let rest = text.strip_prefix(host)?;
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => HTTPS_PORT,
        Some(port) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
        _ => return None,
    };
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_and_no_path() {
        for (text, shown) in [
            ("https://masker.example", "https://masker.example"),
            ("https://Masker.Example:443/", "https://masker.example"),
            ("https://masker.example:8443", "https://masker.example:8443"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "http://masker.example",
            "masker.example",
            "https://",
            "https://masker.example/path",
            "https://masker.example?query",
            "https://user@masker.example",
            "https://masker.example:",
            "https://masker.example:99999",
            "",
        ] {
            assert!(PublicUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_is_compared_with_its_port() {
        let url = PublicUrl::parse("https://masker.example:8443").unwrap();
        for (authority, same, same_host) in [
            ("masker.example:8443", true, true),
            ("MASKER.example:8443", true, true),
            ("masker.example", false, true),
            ("masker.example:443", false, true),
            ("masker.example.:8443", false, false),
            ("user@masker.example:8443", false, false),
            ("other.example:8443", false, false),
        ] {
            let authority = authority.parse().unwrap();
            assert_eq!(
                (url.is_host(&authority, true), url.is_host(&authority, false)),
                (same, same_host),
                "{authority}"
            );
        }
    }

    #[test]
    fn a_redirect_keeps_the_path_and_no_other_host() {
        let url = PublicUrl::parse("https://masker.example").unwrap();
        let path = |text: &str| text.parse::<Uri>().unwrap().path_and_query().cloned();
        assert_eq!(url.of_path(path("/a?b=c").as_ref()), "https://masker.example/a?b=c");
        assert_eq!(url.of_path(path("http://other.example/x").as_ref()), "https://masker.example/x");
        assert_eq!(url.of_path(path("//other.example/x").as_ref()), "https://masker.example//other.example/x");
        assert_eq!(url.of_path(None), "https://masker.example/");
    }
}
