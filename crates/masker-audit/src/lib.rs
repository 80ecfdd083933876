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
mod write_group;
mod maintenance;
mod thread_batch;
mod idle;
mod log;
mod json;
mod read;
mod recovery;
mod segment;
mod state;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use chain::{ChainHead, InvalidHead, LineError, parse_hash};
pub use error::{AuditError, AuditOpenError};
pub use event::{AuditEvent, AuditOperation, CallerIdentity, DetailValue, EncodedCaller, OutcomeCount};
pub use log::{AuditLog, AuditOptions, OpenedLog};
pub use masker_types::audit::{OnFailure, SyncPolicy};
pub use metrics::AuditMetrics;
pub use read::{EventPage, EventQuery, ReadError, read};
pub use verify::{ExpectedHead, InvalidLine, LogSource, VerifiedLog, VerifyError, verify};
pub use writer::Clock;
