//! Clients of the gateway.

use std::{io, net::SocketAddr, sync::Arc};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    authority::{Authority, Identity},
    harness::LIMIT,
    site::{Gateway, GatewaySite, HOST},
};

/// How a client connects.
pub struct Connector<'a> {
    authority: &'a Authority,
    address: SocketAddr,
    identity: Option<&'a Identity>,
    versions: &'static [&'static SupportedProtocolVersion],
}

/// An answer of HTTP/1.1.
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl<'a> Connector<'a> {
    /// Connects to the listener for clients with a bearer.
    pub fn tls(site: &'a GatewaySite, gateway: &Gateway) -> Self {
        let address = gateway.address("tls");
        Connector { authority: &site.authority, address, identity: None, versions: rustls::DEFAULT_VERSIONS }
    }

    /// Connects to the listener for clients with a certificate.
    pub fn mtls(site: &'a GatewaySite, gateway: &Gateway, identity: &'a Identity) -> Self {
        Connector { address: gateway.address("mtls"), identity: Some(identity), ..Connector::tls(site, gateway) }
    }

    /// Leaves the certificate out.
    pub fn anonymous(self) -> Self {
        Connector { identity: None, ..self }
    }

    /// Trusts another authority.
    pub fn trusting(self, authority: &'a Authority) -> Self {
        Connector { authority, ..self }
    }

    /// Speaks one version of TLS only.
    pub fn versions(self, versions: &'static [&'static SupportedProtocolVersion]) -> Self {
        Connector { versions, ..self }
    }

    /// Connects, and speaks one of these protocols.
    pub async fn connect(&self, protocols: &[&str]) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.identity {
            Some(identity) => builder.with_client_auth_cert(vec![identity.certificate()], identity.key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(HOST).unwrap();
        timeout(LIMIT, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.expect("a handshake ends")
    }

    /// Sends these bytes, and returns everything that comes back until the connection ends.
    pub async fn raw(&self, request: &str) -> io::Result<String> {
        let mut stream = self.connect(&["http/1.1"]).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        let read = timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("the connection ends");
        // A connection that was cut off has no orderly end.
        match read {
            Err(error) if answer.is_empty() => Err(error),
            _ => Ok(String::from_utf8(answer).expect("text")),
        }
    }

    /// Sends a request line and headers over a connection of its own.
    pub async fn request(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let answer = self.raw(&format!("{text}\r\n{body}")).await.expect("an answer");
        Answer::parse(&answer)
    }

    /// Sends a request with the right host and a bearer.
    pub async fn get(&self, path: &str) -> Answer {
        self.request(&format!("GET {path}"), &[("host", HOST), ("authorization", "Bearer key")], "").await
    }

    /// Connects by HTTP/2.
    pub async fn http2<B>(&self) -> http2::SendRequest<B>
    where
        B: hyper::body::Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = self.connect(&["h2"]).await.expect("a connection");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        sender
    }
}

impl Answer {
    pub fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("an answer has a head: {text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Answer { status: status.expect("a status"), headers: lines.map(header).collect(), body: body.to_owned() }
    }

    /// Returns a header that occurs once at most.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(header, _)| header == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} occurs twice");
        value
    }

    /// Checks for a problem of the gateway, and returns its code.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{} {}", self.status, self.body);
        let problem: serde_json::Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(problem["status"].as_u64(), Some(u64::from(self.status)));
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        let code = problem["code"].as_str().expect("a code").to_owned();
        assert_eq!(problem["type"], format!("urn:masker:problem:{code}"));
        code
    }
}
