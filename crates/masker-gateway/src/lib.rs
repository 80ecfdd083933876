//! The gateway: a program that lets machines beyond the host reach the daemon, over TLS.
//!
//! It ends TLS, checks the head of each request, and forwards it to the daemon's Unix socket with the address of its client, and
//! with the identity of a client certificate. It holds no vault key and keeps nothing: what a caller may do is decided by
//! the daemon. Bodies pass through it piece by piece.
//!
//! - [`arguments`]: the command line.
//! - [`config`]: the file `gateway.toml`, with all errors reported at once.
//! - [`run()`]: the life of the program.
//!
//! The crate uses the wire types, and neither the keys, the vault nor the daemon. Nothing uses it but its own program and tools.

#![warn(missing_docs)]

mod address;
pub mod arguments;
mod body;
mod certificate;
mod check;
pub mod config;
mod connection;
mod counts;
mod forward;
mod gateway;
mod headers;
mod pace;
mod places;
mod problem;
mod process;
mod redirect;
mod reload;
mod run;
mod serve;
mod tls;
mod url;
mod validity;

pub use run::run;
