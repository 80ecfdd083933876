//! masker: an embedded key-vault daemon that swaps personal data for tokens and back, over a Unix socket.
//!
//! The modules, in layers. A module uses only what stands above it in this list; a test holds the `use` lines
//! against it.

#![warn(missing_docs)]

// -- pure: no I/O, no async; randomness and time are arguments
pub mod limits;
pub mod code;
pub mod kind;
pub mod crypto;
pub mod keyring;
pub mod token;
pub mod normalize;
pub mod document;
pub mod policy;
pub mod grant;
pub mod api_key;
pub mod export;
pub mod metrics;
// -- durable
pub mod directories;
pub mod store;
pub mod audit;
// -- configuration: files and the environment, read and checked
pub mod config;
// -- authority
pub mod access;
// -- operations
pub mod vault;
// -- edges
pub mod api;
pub mod http;
pub mod doctor;
pub mod cli;
// -- composition
pub mod daemon;
pub mod demo;
