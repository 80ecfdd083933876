//! The audit log: a chain of events, of which none can be changed, taken out or put in without the key.
//!
//! An event is written before the answer that it tells of leaves ([`AuditLog::record`]), by whoever comes first for all
//! who have come meanwhile. Syncs, new segments and second attempts are a thread's business, compression and removal
//! another's.
//!
//! What the chain cannot show by itself is that its end was cut off at a line's end, so the end is noted outside of it
//! ([`AuditLog::durable_head`]) and held against the log at the next start ([`AuditLog::open`]).

mod metrics;
mod chain;
mod directory;
mod error;
mod event;
mod file;
mod group;
mod keeper;
mod lane;
mod leisure;
mod log;
mod members;
mod read;
mod recovery;
mod segment;
mod shared;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use chain::{Head, NoHead, Why, parse_hash};
pub use error::{AuditError, OpenError};
pub use event::{Caller, CallerText, Count, Detail, Event, Operation};
pub use log::{AuditLog, Opened, Options};
pub use masker_types::audit::{OnFailure, Sync};
pub use metrics::AuditMetrics;
pub use read::{Page, Query, ReadError, read};
pub use verify::{ExpectedHead, Failing, Source, Verified, VerifyError, verify};
pub use writer::Clock;
