//! What the log keeps of every erasure: how many records, of which keys, at whose request. Never which.

use std::{collections::BTreeMap, fmt::Display};

use tracing::info;

use super::exchange::RequestContext;

/// The records that one request erased, by what sealed them.
#[derive(Default)]
pub(super) struct ErasureReceipt(BTreeMap<String, u64>);

impl ErasureReceipt {
    /// Counts records that were sealed under this key.
    pub(super) fn add(&mut self, kid: impl Display, fingerprint: impl Display, records: u64) {
        *self.0.entry(format!("{kid} {fingerprint}")).or_default() += records;
    }

    /// Writes it down. A request that erased nothing leaves a receipt, too: it shows that it was made.
    pub(super) fn log(&self, on: &RequestContext, what: &'static str) {
        let keys: Vec<String> = self.0.iter().map(|(key, records)| format!("{key}: {records}")).collect();
        let (records, keys) = (self.0.values().sum::<u64>(), keys.join(", "));
        info!(request_id = on.id.as_str(), uid = on.caller.peer().uid(), records, keys, "{what}");
    }
}
