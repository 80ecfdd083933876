//! The masker daemon: how it starts, closes itself in, reloads and ends, and the demonstration.
//!
//! Everything else is in the crates under `crates/`; this one puts them together.

#![warn(missing_docs)]

pub mod daemon;
pub mod demo;
