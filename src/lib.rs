//! The masker daemon: its start, sandbox, reload and stop, and the demo.
//!
//! masker is a key vault: applications send it personal data and store the tokens that they get back. The crates under
//! `crates/` contain the parts. This package puts them together into the program `masker`:
//!
//! - `main.rs` reads the command line, takes the secrets out of the environment, and runs the command.
//! - [`daemon`] is `masker serve`. [`daemon::serve`] shows the order of a start: configuration, sandbox, store, vault,
//!   audit log, access, HTTP. A failure on the way leaves nothing behind.
//! - [`daemon::sandbox`] gives up what the daemon does not need: core dumps, tracing, capabilities, paths, system calls.
//! - [`demo`] is `masker demo`: the whole life of a vault in a minute, on throwaway keys.
//!
//! `masker serve` reports all problems of its configuration and keys at once, or of its keys and policies. A reload
//! replaces everything or nothing, and a stop loses nothing that was acknowledged. No crate may use this package.

#![warn(missing_docs)]

pub mod daemon;
pub mod demo;
