//! The audit log: its chain, its files and its verification.
//!
//! - [`AuditLog`] records events. Each event is a line that carries an HMAC over itself and all earlier events, so that no
//!   event can be changed, inserted or removed without the key.
//! - [`AuditLog::record`] returns after the event is written and, if so configured, synced. Threads share one writer; one
//!   thread of the log syncs, and another one exists while closed segments are compressed or removed.
//! - [`verify()`] checks a log offline; [`read()`] queries it; [`copy()`] copies it while it is written.
//! - [`AuditLog::summarize`] counts and lists what the events of a period say, for reports;
//! - [`verified_events()`] reads what is to be repeated after the restore of a backup.
//!
//! The chain cannot show that its last lines were removed. [`AuditLog::durable_head`] is therefore noted outside of the
//! log, and [`AuditLog::open`] compares the log with it.
//!
//! This crate uses `masker-core`, `masker-types` and `masker-files`. `masker-vault`, `masker-http`, `masker-cli` and the
//! daemon use it.

mod accepted_breaks;
mod background;
mod chain;
mod condition;
mod copy;
mod directory;
mod error;
mod event;
mod file;
mod flush;
mod json;
mod log;
mod maintenance;
mod metrics;
mod options;
mod read;
mod recovery;
mod segment;
mod state;
mod summary;
mod sync;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
mod thread_batch;
mod threads;
mod trusted_time;
mod vault;
mod verified_events;
mod verify;
mod write_group;
mod writer;

pub use accepted_breaks::AcceptedBreak;
pub use chain::{ChainHead, InvalidHead, LineError, parse_hash};
pub use condition::{BreakPlace, LogCondition, condition};
pub use copy::{CopyError, copy, states_head};
pub use directory::check_directory;
pub use error::{AuditError, AuditOpenError};
pub use event::{AuditEvent, AuditOperation, CallerIdentity, DetailValue, EncodedCaller, OutcomeCount};
pub use log::{AuditLog, OpenedLog};
pub use masker_types::audit::{OnFailure, SyncPolicy};
pub use metrics::AuditMetrics;
pub use options::AuditOptions;
pub use read::{EventPage, EventQuery, ReadError, read};
pub use recovery::{TornTail, torn_tail};
pub use summary::{
    BudgetKey, ChainFailure, DayTotals, ItemKey, ListedEvent, PeriodSummary, RequestKey, SummarizeError, Summary,
    SummaryCaller, SummaryPeriod, Tally,
};
pub use vault::{CurrentPosition, RecordedVault, recorded_position, recorded_position_of};
pub use verified_events::{VerifiedEvent, verified_events};
pub use verify::{ExpectedHead, InvalidLine, LogSource, RecordedKey, VerifiedLog, VerifyError, verify};
pub use writer::Clock;
