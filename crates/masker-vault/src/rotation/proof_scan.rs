//! The state of a proving pass, between its steps.

use super::key_move::KeyMove;
use crate::{paged_scan::PagedScan, record_count::CensusCount};
use masker_store::record::RowName;

/// What a proving pass found under the keys that records were moved from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProofFinding {
    Nothing,
    /// Records that came after the pass that moves them. They may be gone again.
    Rows,
    /// Damage, which could hide something.
    Damage,
}

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
    /// Returns what it found under the source keys.
    pub(super) fn finding(&self, key_move: &KeyMove) -> ProofFinding {
        let outcome = &self.count.outcome;
        let left = self.count.by_key.iter().any(|(name, counts)| key_move.has_source(*name) && *counts != (0, 0));
        match left {
            _ if outcome.damaged_records + outcome.damaged_index_rows > 0 => ProofFinding::Damage,
            true => ProofFinding::Rows,
            false => ProofFinding::Nothing,
        }
    }
}
