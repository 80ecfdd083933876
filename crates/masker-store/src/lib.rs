//! What the vault asks of an engine: rows under short keys, changed in atomic, durable batches.
//!
//! The trait is narrow on purpose. Nothing above it assumes one process, a tree or a file: a networked engine can
//! stand behind it. Rows are opaque to the engine; [`record`] lays out what is in them.

/// Methods of [`Store`] that a decorator passes on, as they are, to its field `store`.
macro_rules! delegate_store {
    (@ apply) => {
        fn apply(&self, batch: $crate::RowBatch) -> $crate::StoreFuture<'_, $crate::ApplyOutcome> {
            self.store.apply(batch)
        }
    };
    (@ scan_after) => {
        fn scan_after(
            &self,
            space: u8,
            after: Option<$crate::RowKey>,
            limit: usize,
        ) -> $crate::StoreFuture<'_, $crate::RowPage> {
            self.store.scan_after(space, after, limit)
        }
    };
    (@ count) => {
        fn count(&self, space: u8) -> $crate::StoreFuture<'_, u64> {
            self.store.count(space)
        }
    };
    (@ check) => {
        fn check(&self) -> $crate::StoreFuture<'_, $crate::StoreCheck> {
            self.store.check()
        }
    };
    (@ bytes_on_disk) => {
        fn bytes_on_disk(&self) -> $crate::StoreFuture<'_, u64> {
            self.store.bytes_on_disk()
        }
    };
    (@ compact) => {
        fn compact(&self) -> $crate::StoreFuture<'_, $crate::CompactionSizes> {
            self.store.compact()
        }
    };
    (@ close) => {
        fn close(&self) -> $crate::StoreFuture<'_, ()> {
            self.store.close()
        }
    };
    ($($method:ident),+) => {
        $(delegate_store!(@ $method);)+
    };
}

pub mod embedded;
mod fjall;
pub mod memory;
pub mod record;
pub mod row_cache;
pub mod shared_reads;

use std::{collections::HashSet, fmt, future::Future, pin::Pin};

use masker_types::limits::ROW_BYTES_MAX;

/// A future as a trait object can return it.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The key of a row: 1 to 96 bytes. Keys order rows by their bytes; the first byte is the space a row lives in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(Box<[u8]>);

impl RowKey {
    /// Longest key, in bytes.
    pub const BYTES_MAX: usize = 96;

    /// A key of the given bytes; `None` if there are none of them, or more than [`RowKey::BYTES_MAX`].
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Option<Self> {
        let bytes = bytes.into();
        (1..=Self::BYTES_MAX).contains(&bytes.len()).then_some(RowKey(bytes))
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The space that the row lives in: the first byte of its key.
    pub fn space(&self) -> u8 {
        self.0[0]
    }
}

impl RowBatch {
    /// Holds the batch against the rules of [`Store::apply`] that depend on nothing but the batch.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misused`], as there.
    pub fn check_rules(&self) -> Result<(), StoreError> {
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

impl RowChange {
    /// The key whose row is changed.
    pub fn key(&self) -> &RowKey {
        match self {
            RowChange::Put(key, _) | RowChange::Remove(key) => key,
        }
    }
}

impl Precondition {
    /// The key whose row the precondition is about.
    pub fn key(&self) -> &RowKey {
        match self {
            Precondition::Absent(key) | Precondition::Equals(key, _) => key,
        }
    }

    /// Whether the precondition holds where `row` is what stands under its key.
    pub fn holds(&self, row: Option<&[u8]>) -> bool {
        match self {
            Precondition::Absent(_) => row.is_none(),
            Precondition::Equals(_, expected) => row == Some(expected.as_slice()),
        }
    }
}

impl fmt::Debug for RowKey {
    /// The space and the length alone: a token id is a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowKey({:?}, {} bytes)", char::from(self.space()), self.0.len())
    }
}

/// The bytes of a row: at most [`ROW_BYTES_MAX`].
pub type Row = Vec<u8>;

/// What must hold, at the moment a batch is applied, for it to be applied at all.
#[derive(Clone, PartialEq, Eq)]
pub enum Precondition {
    /// There is no row under this key.
    Absent(RowKey),
    /// There is a row under this key, and these are its bytes.
    Equals(RowKey, Row),
}

/// One change of a batch.
#[derive(Clone, PartialEq, Eq)]
pub enum RowChange {
    /// The row under this key becomes these bytes, whether or not there was one.
    Put(RowKey, Row),
    /// There is no row under this key any more, whether or not there was one.
    Remove(RowKey),
}

/// Changes that happen all together or not at all. A key may be changed once in a batch.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RowBatch {
    /// All must hold, or nothing is changed.
    pub preconditions: Vec<Precondition>,
    /// The changes; their order does not matter.
    pub changes: Vec<RowChange>,
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// Every change is in place and durable: it survives `kill -9` and a power cut.
    Durable,
    /// Nothing was changed: this precondition, by its place in the batch, did not hold.
    Refused(usize),
}

/// What reading every row found, held against the manifest that the store keeps of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreCheck {
    /// Rows that are there.
    pub rows: u64,
    /// Rows that should be there: the count that every batch keeps.
    pub rows_expected: u64,
    /// Whether the rows, keys and bytes, are exactly those that were applied: none lost, none stale, none added.
    pub sound: bool,
}

/// What a compaction came to, in bytes on disk; 0 both times for a store that has no disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionSizes {
    /// What the store took before.
    pub bytes_before: u64,
    /// What it takes now.
    pub bytes_after: u64,
}

/// A page of a scan.
pub struct RowPage {
    /// Rows in the order of their keys.
    pub rows: Vec<(RowKey, Row)>,
    /// Whether there is nothing after the last of them.
    pub end: bool,
}

/// An engine that keeps rows. One contract test suite runs on every implementation.
///
/// Reads may see a batch before [`Store::apply`] has made it durable; the vault's writer tells readers which rows
/// those are. Calls never block the thread that polls them.
pub trait Store: Send + Sync + 'static {
    /// The rows under these keys, in this order; `None` where there is none. Each row is whole: never part of one
    /// batch and part of another. Two rows may come from before and after a batch that is applied meanwhile.
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>>;

    /// Applies a batch whole or not at all; durable when it returns [`ApplyOutcome::Durable`].
    ///
    /// Preconditions are tried in their order, against the rows as they are before the batch. A batch that changes
    /// nothing tries them all the same.
    ///
    /// After an error nothing was acknowledged: the batch may or may not be there once the store serves again, but
    /// never a part of it. A future that is dropped leaves its batch in the same state of doubt.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misused`] for a row over [`ROW_BYTES_MAX`], or a key changed twice.
    fn apply(&self, batch: RowBatch) -> StoreFuture<'_, ApplyOutcome>;

    /// Up to `limit` rows of one space, in the order of their keys, from the first after `after` (or the first of all).
    ///
    /// Rows that are there all through a scan of several pages are seen once; rows that come or go meanwhile may be
    /// seen or not.
    fn scan_after(&self, space: u8, after: Option<RowKey>, limit: usize) -> StoreFuture<'_, RowPage>;

    /// How many rows a space holds, by counting them.
    fn count(&self, space: u8) -> StoreFuture<'_, u64>;

    /// Reads every row and holds what it finds against the store's own manifest. Batches go on meanwhile and are
    /// accounted for.
    fn check(&self) -> StoreFuture<'_, StoreCheck>;

    /// Bytes that the store takes on disk; 0 for one that has none.
    fn bytes_on_disk(&self) -> StoreFuture<'_, u64>;

    /// Rewrites the store's files, so that they hold what is there and nothing that was removed or replaced before the
    /// call. Reads and batches go on meanwhile; what they remove may stay in the files until the next compaction.
    ///
    /// After an error, and after a future that was dropped, rows and manifest are as if it had never been asked for. A crash
    /// at any moment loses nothing; the next start removes what it left.
    ///
    /// # Errors
    ///
    /// [`StoreError::Busy`] while another compaction is under way; [`StoreError::Uncompacted`] where there is no room, say.
    fn compact(&self) -> StoreFuture<'_, CompactionSizes>;

    /// Makes everything durable and lets go of files and locks. Later calls fail as [`StoreError::Unavailable`],
    /// but for `close` itself, which then has nothing to do.
    fn close(&self) -> StoreFuture<'_, ()>;
}

/// Why a store could not do what it was asked, by who can mend it. The texts are for operators, never for callers,
/// and hold no row's bytes.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot serve now; it tries by itself to serve again.
    #[error("the vault's store cannot be used now: {0}")]
    Unavailable(String),
    /// What is on disk is not what was written. Nothing was changed.
    #[error("the vault is damaged: {0}")]
    Damaged(String),
    /// The store does that already, for another caller.
    #[error("the vault's store is busy: {0}")]
    Busy(&'static str),
    /// A compaction came to nothing: for want of room, say. The store serves on.
    #[error("the vault's store could not be compacted: {0}")]
    Uncompacted(String),
    /// A call that breaks the trait's rules: a row that is too long, a key changed twice. A bug of the caller.
    #[error("the store was called wrongly: {0}")]
    Misused(&'static str),
}
