//! A gateway, reached over TLS.
//!
//! - `url`: its address.
//! - `files`: the authorities that are trusted, and the client certificate.
//! - `tls`: why TLS failed, and what to do.
//! - `proxy`: the way through an HTTP proxy.

mod files;
mod proxy;
mod tls;
mod url;

use std::{fmt, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use hyper::header::HeaderValue;
use rustls::{ClientConfig, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

pub use self::{
    files::FileError,
    proxy::ProxyError,
    tls::{TlsError, TlsProblem},
    url::UrlError,
};
use self::{proxy::Proxy, url::ServerUrl};
use crate::client::ClientError;

/// Time in which a connection with TLS is made, in seconds.
const CONNECT_SECONDS_MAX: u64 = 30;

/// What to connect with.
#[derive(Default)]
pub struct ServerOptions<'a> {
    /// The address: `https://HOST[:PORT]`, or `http://` and a name of this host.
    pub url: &'a str,
    /// A file with the authorities that may issue the certificate of the server. Without it, those that this host trusts.
    pub ca: Option<&'a Path>,
    /// The files of the client certificate and its key.
    pub client_certificate: Option<(&'a Path, &'a Path)>,
    /// The proxy of `https://` addresses, as the variable `HTTPS_PROXY` names it. Empty for none.
    pub proxy: &'a str,
    /// The hosts that are reached without the proxy, as the variable `NO_PROXY` names them.
    pub no_proxy: &'a str,
}

/// A server that cannot be used as the options say. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address is invalid.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The address of the proxy is invalid, or of a kind that is not supported.
    #[error("the proxy of HTTPS_PROXY cannot be used: expected http://HOST:PORT")]
    Proxy,
}

/// A connection, below HTTP.
pub(crate) type Stream = Box<dyn Duplex>;

/// Reads and writes.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A gateway, and all that is needed to connect to it.
pub struct Server {
    url: ServerUrl,
    tls: Option<Tls>,
    proxy: Option<Proxy>,
}

/// TLS with a server.
struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Server {
    /// Reads the files that the options name.
    ///
    /// # Errors
    /// The address, a file or the proxy cannot be used.
    pub fn new(options: &ServerOptions<'_>) -> Result<Self, ServerError> {
        let url = ServerUrl::parse(options.url)?;
        if !url.has_tls() {
            return Ok(Server { url, tls: None, proxy: None });
        }
        let name = ServerName::try_from(url.name().to_owned()).map_err(|_| UrlError::Host)?;
        let proxy = Proxy::find(&url, options.proxy, options.no_proxy)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(FileError::Tls)?
            .with_root_certificates(files::authorities(options.ca)?);
        let mut config = match options.client_certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let (chain, secret) = (files::certificates(certificate)?, files::private_key(key)?);
                builder
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| FileError::certificate(certificate, &error))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Server { url, tls: Some(Tls { config: Arc::new(config), name }), proxy })
    }

    /// Returns the `Host` of requests.
    pub(crate) fn host(&self) -> HeaderValue {
        self.url.host()
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> Result<Stream, ClientError> {
        let limit = Duration::from_secs(CONNECT_SECONDS_MAX);
        match timeout(limit, self.try_connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(self.unreachable(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection within {CONNECT_SECONDS_MAX} s"),
            ))),
        }
    }

    async fn try_connect(&self) -> Result<Stream, ClientError> {
        let stream: Stream = match &self.proxy {
            Some(proxy) => proxy.connect(&self.url).await?,
            None => Box::new(self.connect_directly().await.map_err(|source| self.unreachable(source))?),
        };
        let Some(tls) = &self.tls else { return Ok(stream) };
        match TlsConnector::from(Arc::clone(&tls.config)).connect(tls.name.clone(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(self.tls_error(&error).unwrap_or_else(|| self.unreachable(error))),
        }
    }

    async fn connect_directly(&self) -> io::Result<TcpStream> {
        let mut found: Vec<SocketAddr> = lookup_host(self.url.address()).await?.collect();
        if self.tls.is_none() {
            // A name of this host can have another address.
            found.retain(|address| address.ip().is_loopback());
        }
        let stream = TcpStream::connect(found.as_slice()).await?;
        // A request is written as a whole, so waiting for more of it is of no use.
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        ClientError::Unreachable { server: self.to_string(), source }
    }

    /// Returns the error of a connection that TLS has ended, or `None` if the cause is another one.
    pub(crate) fn tls_error(&self, error: &io::Error) -> Option<ClientError> {
        let problem = TlsProblem::of(error)?;
        Some(ClientError::Tls(Box::new(TlsError { server: self.to_string(), problem })))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}
