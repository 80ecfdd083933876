//! From which kid records are moved, and to which key.

use crate::ledger::Ledger;
use masker_core::crypto::Fingerprint;
use masker_store::record::{GenerationRow, Record, RotationRow};
use masker_types::kind::Kid;

/// From which kid records are moved, and to which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyMove {
    pub(super) source_kid: Kid,
    pub(super) target: (Kid, Fingerprint),
}

impl KeyMove {
    pub(super) fn of(row: &RotationRow) -> Self {
        KeyMove { source_kid: row.source_kid, target: (row.target_kid, Fingerprint::from_bytes(row.target)) }
    }

    /// Returns whether records under this generation must be moved.
    pub(super) fn has_source(&self, name: (Kid, Fingerprint)) -> bool {
        name.0 == self.source_kid && name != self.target
    }

    /// Returns whether this record must be moved.
    pub(super) fn moves(&self, record: &Record) -> bool {
        self.has_source((record.sealing_kid, Fingerprint::from_bytes(record.fingerprint)))
    }

    /// Returns the generations from which records are moved.
    pub(super) fn sources<'l>(
        &self,
        ledger: &'l Ledger,
    ) -> impl Iterator<Item = ((Kid, Fingerprint), &'l GenerationRow)> {
        let key_move = *self;
        ledger
            .generations_of(self.source_kid)
            .map(|(name, row)| (*name, row))
            .filter(move |(name, _)| key_move.has_source(*name))
    }

    /// Counts the records that are still to be moved, and the index rows under the keys that they are moved from.
    pub(super) fn remaining(&self, ledger: &Ledger) -> (u64, u64) {
        self.sources(ledger).fold((0, 0), |(records, rows), (_, row)| (records + row.records, rows + row.index_rows))
    }
}
