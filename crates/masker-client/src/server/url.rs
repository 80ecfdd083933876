//! The address of a server.

use std::{fmt, net::IpAddr};

use hyper::{Uri, header::HeaderValue};

const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;

/// An address that cannot be used. The text continues after the name of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// It is no URL of a server.
    #[error("expected https://HOST or https://HOST:PORT")]
    Malformed,
    /// It has more than a host and a port.
    #[error("expected https://HOST or https://HOST:PORT, without a user, a path or a query")]
    TooMuch,
    /// The host is neither a name nor an address.
    #[error("the host is neither a DNS name nor an IP address")]
    Host,
    /// The connection would not be encrypted.
    #[error(
        "http:// would send credentials and values unencrypted: use https://. Only for localhost and loopback addresses is \
         http:// possible"
    )]
    Plain,
}

/// `https://HOST[:PORT]`, or `http://` and a name of this host.
pub(super) struct ServerUrl {
    has_tls: bool,
    /// Without brackets.
    name: String,
    port: u16,
    host: HeaderValue,
}

impl ServerUrl {
    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let has_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(UrlError::Malformed),
        };
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        if authority.as_str().contains('@') || uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err(UrlError::TooMuch);
        }
        let rest = &authority.as_str()[authority.host().len()..];
        let port = match (authority.port_u16(), rest) {
            (Some(port), _) => port,
            (None, "") if has_tls => HTTPS_PORT,
            (None, "") => HTTP_PORT,
            (None, _) => return Err(UrlError::Malformed),
        };
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if name.is_empty() {
            return Err(UrlError::Malformed);
        }
        if !has_tls && !is_this_host(&name) {
            return Err(UrlError::Plain);
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| UrlError::Host)?;
        Ok(ServerUrl { has_tls, name, port, host })
    }

    pub(super) fn has_tls(&self) -> bool {
        self.has_tls
    }

    /// Returns the name or the address that the certificate of the server must have.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the host and the port, as the resolver takes them.
    pub(super) fn address(&self) -> (&str, u16) {
        (&self.name, self.port)
    }

    /// Returns the target of a proxy: the host, always with the port.
    pub(super) fn target(&self) -> String {
        match self.name.contains(':') {
            true => format!("[{}]:{}", self.name, self.port),
            false => format!("{}:{}", self.name, self.port),
        }
    }

    pub(super) fn host(&self) -> HeaderValue {
        self.host.clone()
    }
}

fn is_this_host(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.has_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host.to_str().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for (text, shown, name, target) in [
            ("https://masker.example", "https://masker.example", "masker.example", "masker.example:443"),
            ("https://masker.example:8443/", "https://masker.example:8443", "masker.example", "masker.example:8443"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]", "2001:db8::1", "[2001:db8::1]:443"),
            ("http://127.0.0.9:8080", "http://127.0.0.9:8080", "127.0.0.9", "127.0.0.9:8080"),
            ("http://[::1]", "http://[::1]", "::1", "[::1]:80"),
            ("http://Localhost", "http://Localhost", "Localhost", "Localhost:80"),
        ] {
            let url = ServerUrl::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.name(), url.target().as_str()), (shown, name, target));
            assert_eq!(url.has_tls(), text.starts_with("https"));
        }
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for (text, error) in [
            ("masker.example", UrlError::Malformed),
            ("", UrlError::Malformed),
            ("https://", UrlError::Malformed),
            ("tcp://masker.example:1", UrlError::Malformed),
            ("https://masker.example:", UrlError::Malformed),
            ("https://masker.example:99999", UrlError::Malformed),
            ("https://user:hunter2@masker.example", UrlError::TooMuch),
            ("https://masker.example/path", UrlError::TooMuch),
            ("https://masker.example?query", UrlError::TooMuch),
            ("http://masker.example", UrlError::Plain),
            ("http://192.0.2.1", UrlError::Plain),
            ("http://localhost.example", UrlError::Plain),
            ("http://127.0.0.1.example", UrlError::Plain),
        ] {
            assert_eq!(ServerUrl::parse(text).err(), Some(error), "{text}");
        }
    }
}
