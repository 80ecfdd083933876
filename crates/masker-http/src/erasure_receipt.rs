//! Receipts of erasures in the daemon's log: how many records, under which keys, for which caller. Never which records.

use std::{collections::BTreeMap, fmt::Display};

use tracing::info;

use super::context::RequestContext;

/// The records that one request erased, by the key that sealed them.
#[derive(Default)]
pub(super) struct ErasureReceipt(BTreeMap<String, u64>);

impl ErasureReceipt {
    /// Counts records that were sealed under this key.
    pub(super) fn add(&mut self, kid: impl Display, fingerprint: impl Display, records: u64) {
        *self.0.entry(format!("{kid} {fingerprint}")).or_default() += records;
    }

    /// Logs the receipt. A request that erased nothing has one, too: it shows that the request was made.
    pub(super) fn log(&self, ctx: &RequestContext, message: &'static str) {
        let keys: Vec<String> = self.0.iter().map(|(key, records)| format!("{key}: {records}")).collect();
        let (records, keys) = (self.0.values().sum::<u64>(), keys.join(", "));
        info!(request_id = ctx.id.as_str(), uid = ctx.caller.peer().uid(), records, keys, "{message}");
    }
}
