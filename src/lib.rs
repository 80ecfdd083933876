//! masker: an embedded key-vault daemon that swaps personal data for tokens and back, over a Unix socket.
//!
//! The modules, in layers. A module uses only what stands above it in this list; a test holds the `use` lines
//! against it.

// -- pure: no I/O, no async; randomness and time are arguments
pub mod crypto;
pub mod document;
pub mod keyring;
pub mod kind;
pub mod limits;
pub mod normalize;
pub mod policy;
pub mod token;
// -- settings: files that operators write; what comes from the process is an argument
pub mod config;
// -- durable
pub mod store;
// -- authority
pub mod access;
// -- operations
pub mod vault;
// -- edges
pub mod api;
pub mod cli;
pub mod http;
// -- composition
pub mod daemon;
pub mod demo;
