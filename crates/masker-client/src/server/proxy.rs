//! The way through an HTTP proxy, with `CONNECT`. The proxy sees the name of the server, and nothing of what is inside TLS.

use std::{io, net::IpAddr};

use data_encoding::BASE64;
use http_body_util::Empty;
use hyper::{
    Method, Request, Uri,
    body::Bytes,
    client::conn::http1,
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::{ServerError, Stream, url::ServerUrl};
use crate::client::ClientError;

/// The port of a proxy that names none.
const HTTP_PORT: u16 = 80;

/// A proxy that does not connect to a gateway.
#[derive(Debug, thiserror::Error)]
#[error(
    "{server} cannot be reached through the proxy {proxy}: {problem}. The variables HTTPS_PROXY and NO_PROXY say which hosts have a \
     proxy"
)]
pub struct ProxyError {
    /// The host and the port of the proxy.
    pub proxy: String,
    /// The address of the gateway.
    pub server: String,
    /// What is wrong.
    pub problem: String,
}

/// A proxy.
pub(super) struct Proxy {
    /// Without brackets.
    host: String,
    port: u16,
    /// The user and the password of its address.
    authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Returns the proxy of a server. `proxy` and `no_proxy` have the forms of the variables `HTTPS_PROXY` and `NO_PROXY`.
    pub(super) fn find(server: &ServerUrl, proxy: &str, no_proxy: &str) -> Result<Option<Self>, ServerError> {
        if proxy.is_empty() || is_without_proxy(server.name(), no_proxy) {
            return Ok(None);
        }
        Proxy::parse(proxy).map(Some).ok_or(ServerError::Proxy)
    }

    /// Parses `http://USER:PASSWORD@HOST:PORT`, of which only the host is needed.
    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        if !matches!(uri.scheme_str(), None | Some("http")) {
            return None;
        }
        let authority = uri.authority()?;
        let authorization = match authority.as_str().rsplit_once('@') {
            Some((user, _)) => Some(basic(user)?),
            None => None,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(HTTP_PORT);
        (!host.is_empty()).then_some(Proxy { host, port, authorization })
    }

    /// Connects to a server.
    pub(super) async fn connect(&self, server: &ServerUrl) -> Result<Stream, ClientError> {
        let failed = |problem: String| {
            let proxy = format!("{}:{}", self.host, self.port);
            ClientError::Proxy(Box::new(ProxyError { proxy, server: server.to_string(), problem }))
        };
        let stream = self.reach().await.map_err(|error| failed(format!("it cannot be reached: {error}")))?;
        let no_answer = |error: hyper::Error| failed(format!("it gave no answer: {error}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(no_answer)?;
        // The task ends with the tunnel.
        tokio::spawn(connection.with_upgrades());
        let target = server.target();
        let uri = Uri::builder().authority(target.as_str()).build();
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = uri.map_err(|error| failed(error.to_string()))?;
        let host = HeaderValue::from_str(&target).map_err(|error| failed(error.to_string()))?;
        request.headers_mut().insert(header::HOST, host);
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
        }
        let answer = sender.send_request(request).await.map_err(no_answer)?;
        if !answer.status().is_success() {
            return Err(failed(format!("it refuses the connection with status {}", answer.status().as_u16())));
        }
        let tunnel = hyper::upgrade::on(answer).await.map_err(no_answer)?;
        Ok(Box::new(TokioIo::new(tunnel)))
    }

    async fn reach(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Returns the header of a user and a password, which the address has percent-encoded.
fn basic(user: &str) -> Option<HeaderValue> {
    let decoded: Zeroizing<Vec<u8>> = Zeroizing::new(percent_decode_str(user).collect());
    let has_password = decoded.contains(&b':');
    let separator: &[u8] = if has_password { b"" } else { b":" };
    let credentials = Zeroizing::new([decoded.as_slice(), separator].concat());
    let mut header = HeaderValue::from_str(&format!("Basic {}", BASE64.encode(&credentials))).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Returns whether a host is in a list such as `localhost, .example, 10.0.0.0/8`. A name includes its subdomains, and `*` all
/// hosts, as curl has it.
fn is_without_proxy(host: &str, no_proxy: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    no_proxy.split(',').map(str::trim).any(|entry| {
        let name = entry.trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase();
        let network: Option<IpNet> = entry.parse().ok().or_else(|| entry.parse().map(IpAddr::into).ok());
        match (address, network) {
            _ if entry == "*" => true,
            (Some(address), Some(network)) => network.contains(&address),
            (None, None) if !name.is_empty() => {
                host.strip_suffix(&name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(proxy: &str, no_proxy: &str) -> Result<Option<(String, u16, bool)>, String> {
        let server = ServerUrl::parse("https://masker.example:8443").unwrap();
        let found = Proxy::find(&server, proxy, no_proxy).map_err(|error| error.to_string())?;
        Ok(found.map(|proxy| (proxy.host, proxy.port, proxy.authorization.is_some())))
    }

    #[test]
    fn a_proxy_has_a_host_and_a_port() {
        let proxy = |host: &str, port, has_password| Ok(Some((host.to_owned(), port, has_password)));
        assert_eq!(find("http://proxy.example:3128", ""), proxy("proxy.example", 3128, false));
        assert_eq!(find("proxy.example:3128", "other.example"), proxy("proxy.example", 3128, false));
        assert_eq!(find("http://user:hunter2@[::1]", ""), proxy("::1", 80, true));
    }

    #[test]
    fn a_password_is_sent_as_it_was_before_it_was_encoded() {
        let server = ServerUrl::parse("https://masker.example").unwrap();
        for (proxy, credentials) in [("http://a:b%40c@p", "Basic YTpiQGM="), ("http://a@p", "Basic YTo=")] {
            let header = Proxy::find(&server, proxy, "").unwrap().unwrap().authorization.unwrap();
            assert_eq!((header.to_str().unwrap(), header.is_sensitive()), (credentials, true));
        }
    }

    #[test]
    fn hosts_of_no_proxy_are_reached_directly() {
        for no_proxy in ["masker.example", ".Example", "*", "a.example, masker.example.", "10.0.0.0/8,example"] {
            assert_eq!(find("http://proxy.example:3128", no_proxy), Ok(None), "{no_proxy}");
        }
        for no_proxy in ["", ",", ".", "asker.example", "masker.example.org", "sub.masker.example", "10.0.0.0/8"] {
            assert!(find("http://proxy.example:3128", no_proxy).unwrap().is_some(), "{no_proxy}");
        }
        assert_eq!(find("", ""), Ok(None));
        for (host, entry, is_direct) in [
            ("10.1.2.3", "10.0.0.0/8", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("2001:db8::1", "2001:db8::/32", true),
            ("10.1.2.3", "2.3", false),
        ] {
            assert_eq!(is_without_proxy(host, entry), is_direct, "{host} {entry}");
        }
    }

    #[test]
    fn a_proxy_of_another_kind_is_refused() {
        for proxy in ["socks5://user:hunter2@proxy.example", "https://proxy.example", "http://", "http://a b"] {
            let message = find(proxy, "").unwrap_err();
            assert!(message.contains("expected http://HOST:PORT") && !message.contains("hunter2"), "{message}");
        }
    }
}
