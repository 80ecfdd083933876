//! A key generation as the ledger knows it: two rows of the store, because only one of them is a control row.

use masker_store::record::{GenerationCountsRow, GenerationRow};

/// A key generation that the vault has seen, and how much of the vault needs it. Times are milliseconds of Unix time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KnownGeneration {
    /// When it was first loaded.
    pub(super) first_seen_ms: u64,
    /// Since when it is retired, if it is: another generation is the active one of its kid.
    pub(super) old_since_ms: Option<u64>,
    /// When a full pass over the vault found nothing that needs it, unless something has needed it since.
    pub(super) proven_at_ms: Option<u64>,
    /// When it last decrypted a value; 0 for never.
    pub(super) last_used_ms: u64,
    /// Records sealed under it.
    pub(super) records: u64,
    /// Index rows under it.
    pub(super) index_rows: u64,
}

impl KnownGeneration {
    /// Creates a generation that is first seen now.
    pub(super) fn first_seen(now_ms: u64) -> Self {
        KnownGeneration { first_seen_ms: now_ms, ..Self::default() }
    }

    /// Returns whether a record or an index row is under it.
    pub(super) fn is_needed(&self) -> bool {
        self.records > 0 || self.index_rows > 0
    }

    /// Returns the control row.
    pub(super) fn control_row(&self) -> GenerationRow {
        let KnownGeneration { first_seen_ms, old_since_ms, proven_at_ms, .. } = *self;
        GenerationRow { first_seen_ms, old_since_ms, proven_at_ms }
    }

    /// Returns the row of the counts.
    pub(super) fn counts_row(&self) -> GenerationCountsRow {
        let KnownGeneration { last_used_ms, records, index_rows, .. } = *self;
        GenerationCountsRow { last_used_ms, records, index_rows }
    }

    /// Adopts what the control row has.
    pub(super) fn set_control_row(&mut self, row: GenerationRow) {
        let GenerationRow { first_seen_ms, old_since_ms, proven_at_ms } = row;
        *self = KnownGeneration { first_seen_ms, old_since_ms, proven_at_ms, ..*self };
    }

    /// Adopts what the row of the counts has.
    pub(super) fn set_counts_row(&mut self, row: GenerationCountsRow) {
        let GenerationCountsRow { last_used_ms, records, index_rows } = row;
        *self = KnownGeneration { last_used_ms, records, index_rows, ..*self };
    }
}
