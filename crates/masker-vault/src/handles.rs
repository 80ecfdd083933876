//! The handles that services are made of.

use std::sync::Arc;

use super::{
    keys::CurrentKeys, ledger::CurrentLedger, outcomes::RequestCounters, reader::Reader, time::Clock,
    writer::WriterHandle,
};

/// What the services are made of. Each keeps the handles that it needs.
pub(crate) struct Handles {
    pub(crate) keys: Arc<CurrentKeys>,
    pub(crate) ledger: Arc<CurrentLedger>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) writer: Arc<WriterHandle>,
    pub(crate) counters: Arc<RequestCounters>,
    pub(crate) clock: Clock,
}
