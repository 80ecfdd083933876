//! How the audit log trades availability and durability.

use std::time::Duration;

/// When events become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before the answer that they describe leaves. Requests that wait at the same time share a sync.
    Always,
    /// At most this long after they were written: a power cut can lose the events of that time.
    Every(Duration),
}

/// What the daemon does while events cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Refuses every request that needs an event.
    Refuse,
    /// Serves requests without recording them.
    Continue,
}
