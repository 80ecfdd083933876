//! A client of the daemon over its Unix socket.
//!
//! [`Client`] is one connection, kept alive from request to request. It knows the wire types and no keys: it may use
//! `masker-api` and `masker-types` alone.

#![warn(missing_docs)]

mod client;
mod early_answer;
pub mod upload;

pub use client::{Client, ClientError, ClientReply, Download, RequestBody};
