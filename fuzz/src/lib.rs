//! What must hold for whatever bytes come: one module for each fuzz target, each with a function `holds` that panics where
//! it does not.
//!
//! `make fuzz` looks for bytes for which it does not hold; `tests/documents/fuzz_corpora.rs` compiles these files too, and shows
//! them every file of `fuzz/corpus/` with each run of the tests.

pub mod audit;
mod bench;
pub mod configuration;
mod edits;
pub mod export;
pub mod policy;
pub mod request;
pub mod row;
pub mod token;
