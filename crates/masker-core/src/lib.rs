//! Keys, tokens, normalizers and policies: what an application embeds that needs no daemon.
//!
//! - [`crypto`]: the primitives, each with its formula, source and nonce argument.
//! - [`keyring`]: the loaded generations of each key id.
//! - [`token`]: the text of tokens.
//! - [`normalize`]: how values are matched.
//! - [`policy`]: what happens to each kind of value, read from [`document`]s.
//! - [`export`]: the format of exports.
//!
//! Pure: no I/O, no async. Time and randomness are arguments. It may use `masker-types` alone.

#![warn(missing_docs)]

pub mod crypto;
pub mod document;
pub mod export;
pub mod keyring;
pub mod normalize;
pub mod policy;
pub mod token;
