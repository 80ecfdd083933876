//! The state of a proving pass, between its steps.

use super::key_move::KeyMove;
use crate::{paged_scan::PagedScan, record_count::CensusCount};
use masker_store::record::RowName;

/// The state of a proving pass. The pass starts over after a restart.
pub(super) struct ProofScan {
    pub(super) records: PagedScan,
    pub(super) value_indexes: PagedScan,
    pub(super) form_indexes: PagedScan,
    pub(super) count: CensusCount,
}

impl Default for ProofScan {
    fn default() -> Self {
        ProofScan {
            records: PagedScan::new(RowName::RECORDS),
            value_indexes: PagedScan::new(RowName::VALUE_INDEXES),
            form_indexes: PagedScan::new(RowName::FORM_INDEXES),
            count: CensusCount::default(),
        }
    }
}

impl ProofScan {
    /// Returns whether it found nothing under the source keys, and no damage that could hide something.
    pub(super) fn proves(&self, key_move: &KeyMove) -> bool {
        let outcome = &self.count.outcome;
        let left = self.count.by_key.iter().any(|(name, counts)| key_move.has_source(*name) && *counts != (0, 0));
        !left && outcome.damaged_records == 0 && outcome.damaged_index_rows == 0
    }
}
