//! Rows, their keys, and batches of changes.

use std::{collections::HashSet, fmt};

use masker_types::limits::ROW_BYTES_MAX;

use crate::StoreError;

/// The bytes of a row: at most [`ROW_BYTES_MAX`].
pub type Row = Vec<u8>;

/// The key of a row: 1 to 96 bytes. Keys are ordered by their bytes. The first byte is the row's space.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(Box<[u8]>);

impl RowKey {
    /// Longest key, in bytes.
    pub const BYTES_MAX: usize = 96;

    /// Creates a key of these bytes; `None` if there are no bytes, or more than [`RowKey::BYTES_MAX`].
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Option<Self> {
        let bytes = bytes.into();
        (1..=Self::BYTES_MAX).contains(&bytes.len()).then_some(RowKey(bytes))
    }

    /// Creates the key of these parts, which have at most [`RowKey::BYTES_MAX`] bytes together with the space.
    pub(crate) fn of_parts(space: u8, parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
        bytes.push(space);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        RowKey(bytes.into_boxed_slice())
    }

    /// Returns the bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether the key begins with the bytes of `prefix`.
    pub fn begins_with(&self, prefix: &RowKey) -> bool {
        self.0.starts_with(&prefix.0)
    }

    /// Returns the space of the row: the first byte of its key.
    pub fn space(&self) -> u8 {
        self.0[0]
    }

    /// Returns the rest of the key, after its space.
    pub fn rest(&self) -> &[u8] {
        &self.0[1..]
    }
}

impl fmt::Debug for RowKey {
    /// Prints the space and the length only: a token id is a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowKey({:?}, {} bytes)", char::from(self.space()), self.0.len())
    }
}

/// A condition for a batch to be applied.
#[derive(Clone, PartialEq, Eq)]
pub enum Precondition {
    /// There is no row under this key.
    Absent(RowKey),
    /// The row under this key has these bytes.
    Equals(RowKey, Row),
}

impl Precondition {
    /// Returns the key that the precondition is about.
    pub fn key(&self) -> &RowKey {
        match self {
            Precondition::Absent(key) | Precondition::Equals(key, _) => key,
        }
    }

    /// Returns whether the precondition holds if `row` is the row under its key.
    pub fn holds(&self, row: Option<&[u8]>) -> bool {
        match self {
            Precondition::Absent(_) => row.is_none(),
            Precondition::Equals(_, expected) => row == Some(expected.as_slice()),
        }
    }
}

/// A change of a batch.
#[derive(Clone, PartialEq, Eq)]
pub enum RowChange {
    /// Adds or replaces the row under this key.
    Put(RowKey, Row),
    /// Removes the row under this key, if there is one.
    Remove(RowKey),
}

impl RowChange {
    /// Returns the key whose row is changed.
    pub fn key(&self) -> &RowKey {
        match self {
            RowChange::Put(key, _) | RowChange::Remove(key) => key,
        }
    }
}

/// Changes that are applied together or not at all. A batch changes a key at most once.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RowBatch {
    /// Conditions that must all hold.
    pub preconditions: Vec<Precondition>,
    /// The changes, in any order.
    pub changes: Vec<RowChange>,
}

impl RowBatch {
    /// Checks the rules of [`Store::apply`](crate::Store::apply) that depend on the batch alone.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misused`], as there.
    pub fn validate(&self) -> Result<(), StoreError> {
        let mut keys = HashSet::with_capacity(self.changes.len());
        for change in &self.changes {
            if matches!(change, RowChange::Put(_, row) if row.len() > ROW_BYTES_MAX) {
                return Err(StoreError::Misused("a row is longer than ROW_BYTES_MAX"));
            }
            if !keys.insert(change.key()) {
                return Err(StoreError::Misused("a batch changes one key twice"));
            }
        }
        Ok(())
    }
}

/// The outcome of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// Every change was made and is durable: it survives `kill -9` and a power cut.
    Durable,
    /// Nothing was changed: the precondition with this index did not hold.
    Refused(usize),
}

/// The result of reading every row and comparing the rows with the store's manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreCheck {
    /// Number of rows that were read.
    pub rows: u64,
    /// Number of rows in the manifest.
    pub rows_expected: u64,
    /// Whether keys and rows are exactly those that were applied: none lost, none stale, none added.
    pub sound: bool,
}

/// The size of a store on disk before and after a compaction, in bytes; 0 for a store without a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionSizes {
    /// Size before.
    pub bytes_before: u64,
    /// Size after.
    pub bytes_after: u64,
}

/// A page of a scan.
pub struct RowPage {
    /// Rows in the order of their keys.
    pub rows: Vec<(RowKey, Row)>,
    /// Whether no rows follow.
    pub is_last: bool,
}
