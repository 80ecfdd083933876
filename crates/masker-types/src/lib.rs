//! The types that all other crates share.
//!
//! - [`kind`]: key ids, entity kinds, contexts and values. Holding one proves that it was checked.
//! - [`grant`]: scopes, context patterns and limits of a caller.
//! - [`api_key`]: the text of API keys.
//! - [`error_code`]: the stable error codes.
//! - [`limits`]: every bound of the program. The relations between them are asserted at compile time.
//! - [`mode`], [`engine`], [`audit`], [`log`]: settings that several crates share.
//! - [`certificate`]: the identities of client certificates.
//! - [`pace`]: how fast a client reads its answer.
//! - [`quote`]: names in messages.
//! - [`share`]: the part of a client in what all callers use together.
//! - [`vault_position`]: how far a vault's commits have come.
//!
//! The crate has no I/O and no clock. All crates may use it, and it uses none of them.

#![warn(missing_docs)]

pub mod api_key;
pub mod audit;
pub mod certificate;
pub mod error_code;
pub mod engine;
pub mod grant;
pub mod kind;
pub mod limits;
pub mod log;
pub mod mode;
pub mod pace;
pub mod quote;
pub mod share;
pub mod vault_position;
