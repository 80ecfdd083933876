//! Properties that hold for any input: one module per fuzz target, each with a function `check` that panics if the input
//! violates the property.
//!
//! `make fuzz` searches for such inputs. `tests/documents/fuzz_corpora.rs` compiles these files too, and runs the properties
//! on every file of `fuzz/corpus/`.

pub mod audit;
mod bench;
pub mod configuration;
mod edits;
pub mod export;
pub mod mask;
pub mod policy;
pub mod request;
pub mod restore;
pub mod row;
pub mod stream;
pub mod table;
pub mod token;
