//! Settings of the audit log that trade availability for durability.

use std::time::Duration;

/// The name of the audit log's directory in a data directory: the default of earlier releases.
pub const AUDIT_DIRECTORY: &str = "audit";

/// When events become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before the response to the request is sent. Requests that wait at the same time share a sync.
    Always,
    /// At most this long after they were written. A power cut can lose the events of this period.
    Every(Duration),
}

/// The daemon's behaviour while events cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Refuses every request that needs an event.
    Refuse,
    /// Serves requests without recording them.
    Continue,
}
