//! A client of the daemon, over its Unix socket or through a gateway.
//!
//! - [`Client`]: one connection, kept alive from request to request.
//! - [`Endpoint`]: the socket, or a [`Server`]: a gateway, reached over TLS, and through a proxy if need be.
//! - [`upload`]: request bodies that are read while they are sent.
//!
//! It repeats a request only if the daemon cannot have received all of it, or if repeating it is harmless. It also
//! returns a response that the daemon sent before it had read the whole request.
//!
//! It knows the wire types and no keys, so it uses only `masker-api` and `masker-types`. The command line and the
//! programs that measure and test the daemon use it; the daemon does not.

#![warn(missing_docs)]

mod client;
mod connection;
mod endpoint;
mod server;
pub mod upload;

pub use client::{Client, ClientError, ClientReply, Download, RequestBody};
pub use endpoint::Endpoint;
pub use server::{FileError, ProxyError, Server, ServerError, ServerOptions, TlsError, TlsProblem, UrlError};
