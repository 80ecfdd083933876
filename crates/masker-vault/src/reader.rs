//! Reads of the store whose answers are durable.

use std::sync::Arc;

use super::{
    ItemFailure, VaultError,
    in_flight::InFlightRecords,
    metrics::VaultMetrics,
    records,
    search::{self, MatchedRecord, ValueQuery},
    spelling_scan::read_spellings,
};
use masker_audit::CurrentPosition;
use masker_core::crypto::{Fingerprint, MatchPart, TokenId};
use masker_store::{Row, RowKey, Store, record::Record};
use masker_types::kind::Kid;

/// The store as operations see it. A record that is being written is read only once it is durable.
pub(crate) struct Reader {
    store: Arc<dyn Store>,
    in_flight: Arc<InFlightRecords>,
    metrics: Arc<VaultMetrics>,
}

impl Reader {
    pub(crate) fn new(store: Arc<dyn Store>, in_flight: Arc<InFlightRecords>, metrics: Arc<VaultMetrics>) -> Self {
        Reader { store, in_flight, metrics }
    }

    /// Returns the store, for scans and for rows that are not records.
    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// Returns a function that returns the store's position.
    pub(crate) fn position(&self) -> CurrentPosition {
        let store = Arc::clone(&self.store);
        Arc::new(move || store.position())
    }

    /// Returns the records that are being written, for readers that scan.
    pub(crate) fn in_flight(&self) -> &InFlightRecords {
        &self.in_flight
    }

    /// Returns the first record that each search finds. `moving_to` is the key that a rotation moves records to now.
    pub(crate) async fn find_first(
        &self,
        queries: &[&ValueQuery<'_>],
        moving_to: Option<(Kid, Fingerprint)>,
    ) -> Result<Vec<Result<Option<MatchedRecord>, ItemFailure>>, VaultError> {
        loop {
            let marker = self.in_flight.read_marker();
            let found = search::find_first(self.store(), queries, moving_to, &|| self.count_damage()).await?;
            let ids = found.iter().filter_map(|found| found.as_ref().ok().copied().flatten()).map(|found| found.id);
            if !self.in_flight.must_reread(&marker, ids).await {
                return Ok(found);
            }
        }
    }

    /// Returns every record that each search finds.
    pub(crate) async fn find_all(
        &self,
        queries: &[&ValueQuery<'_>],
        moving_to: Option<(Kid, Fingerprint)>,
    ) -> Result<Vec<Result<Vec<MatchedRecord>, ItemFailure>>, VaultError> {
        loop {
            let marker = self.in_flight.read_marker();
            let found = search::find_all(self.store(), queries, moving_to, &|| self.count_damage()).await?;
            let ids = found.iter().flatten().flatten().map(|found| found.id);
            if !self.in_flight.must_reread(&marker, ids).await {
                return Ok(found);
            }
        }
    }

    /// Returns the rows of records, in the order of their ids.
    pub(crate) async fn record_rows(&self, ids: &[TokenId]) -> Result<Vec<Option<Row>>, VaultError> {
        loop {
            let marker = self.in_flight.read_marker();
            let keys = ids.iter().map(|id| RowKey::record(id.as_bytes())).collect();
            let rows = self.store.get_many(keys).await?;
            if !self.in_flight.must_reread(&marker, ids.iter().copied()).await {
                return Ok(rows);
            }
        }
    }

    /// Returns the records with each of these match parts, up to `limit` for each, in the order of their ids.
    pub(crate) async fn records_with(
        &self,
        match_parts: &[MatchPart],
        limit: usize,
    ) -> Result<Vec<Vec<(TokenId, Row)>>, VaultError> {
        loop {
            let marker = self.in_flight.read_marker();
            let found = read_spellings(self.store(), match_parts, limit).await?;
            let found: Vec<Vec<(TokenId, Row)>> = found.into_iter().map(|found| found.records).collect();
            let ids = found.iter().flatten().map(|(id, _)| *id);
            if !self.in_flight.must_reread(&marker, ids).await {
                return Ok(found);
            }
        }
    }

    /// Decodes a record's row; one that does not decode is counted as damage.
    pub(crate) fn decode(&self, row: &[u8]) -> Result<Record, ItemFailure> {
        records::decode(row, &self.metrics)
    }

    /// Counts a row that is not what was written.
    pub(crate) fn count_damage(&self) {
        self.metrics.damaged.inc();
    }
}
