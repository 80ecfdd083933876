//! Keys, tokens, normalizers and policies. An application can embed this crate and needs no daemon: see
//! `examples/rust/embed.rs`.
//!
//! - [`crypto`]: the cryptography, each construction with its formula, source and nonce argument.
//! - [`keyring`]: the loaded generations of each key id.
//! - [`token`]: the text of tokens.
//! - [`placeholder`]: short names of values in texts.
//! - [`normalize`]: the forms by which values match.
//! - [`validate`]: checks of values before they are tokenized.
//! - [`policy`]: the treatment of each kind of value, read from a [`document`].
//! - [`export`]: the format of exports.
//!
//! The crate has no I/O and no async code. Time and randomness are arguments. Key bytes never leave the `crypto`
//! module, except as an explicit secret text. It uses only `masker-types`, `masker-text` and `masker-document`; every crate but the wire types, the client
//! and the stores may use it.

#![warn(missing_docs)]

pub mod crypto;
pub mod export;
pub mod keyring;
pub mod normalize;
pub mod placeholder;
pub mod policy;
pub mod token;
pub mod validate;

pub use masker_document as document;
