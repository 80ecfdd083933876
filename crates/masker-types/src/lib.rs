//! The types that every other crate speaks in.
//!
//! - [`kind`]: key ids, entity kinds, contexts and values. Holding one proves that it was checked.
//! - [`grant`]: scopes, context patterns and the limits of a caller.
//! - [`api_key`]: the text of API keys.
//! - [`code`]: the stable error codes.
//! - [`limits`]: every bound of the program, with the relations between them asserted at compile time.
//! - [`mode`], [`engine`], [`audit`]: settings that several crates share.
//! - [`quote`]: names in messages.
//!
//! Pure: no I/O and no clock. Every crate may use it, and it uses none of them.

#![warn(missing_docs)]

pub mod api_key;
pub mod audit;
pub mod error_code;
pub mod engine;
pub mod grant;
pub mod kind;
pub mod limits;
pub mod mode;
pub mod quote;
