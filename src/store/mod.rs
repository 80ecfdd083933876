//! What the vault asks of an engine: rows under short keys, changed in atomic, durable batches.
//!
//! The trait is narrow on purpose. Nothing above it assumes one process, a tree or a file: a networked engine can
//! stand behind it. Rows are opaque to the engine; [`record`] lays out what is in them.

pub mod memory;
pub mod sled;

use std::{fmt, future::Future, pin::Pin};

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
}

impl fmt::Debug for RowKey {
    /// The space and the length alone: a token id is a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowKey({:?}, {} bytes)", char::from(self.0[0]), self.0.len())
    }
}

/// The bytes of a row: at most [`crate::limits::ROW_BYTES_MAX`].
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
pub enum Change {
    /// The row under this key becomes these bytes, whether or not there was one.
    Put(RowKey, Row),
    /// There is no row under this key any more, whether or not there was one.
    Remove(RowKey),
}

/// Changes that happen all together or not at all. A key may be changed once in a batch.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// All must hold, or nothing is changed.
    pub preconditions: Vec<Precondition>,
    /// The changes; their order does not matter.
    pub changes: Vec<Change>,
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Every change is in place and durable: it survives `kill -9` and a power cut.
    Durable,
    /// Nothing was changed: this precondition, by its place in the batch, did not hold.
    Refused(usize),
}

/// A page of a scan.
pub struct Page {
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
    /// The rows under these keys, in this order; `None` where there is none.
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>>;

    /// Applies a batch whole or not at all; durable when it returns [`Applied::Durable`].
    ///
    /// After an error nothing was acknowledged: the batch may or may not be there once the store serves again.
    fn apply(&self, batch: Batch) -> StoreFuture<'_, Applied>;

    /// Up to `limit` rows of one space, in the order of their keys, from the first after `after` (or the first of all).
    fn scan_after(&self, space: u8, after: Option<RowKey>, limit: usize) -> StoreFuture<'_, Page>;

    /// How many rows a space holds, by counting them.
    fn count(&self, space: u8) -> StoreFuture<'_, u64>;

    /// Bytes that the store takes on disk; 0 for one that has none.
    fn bytes_on_disk(&self) -> StoreFuture<'_, u64>;

    /// Makes everything durable and lets go of files and locks. Later calls fail as [`StoreError::Unavailable`].
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
    /// A call that breaks the trait's rules: a row that is too long, a key changed twice. A bug of the caller.
    #[error("the store was called wrongly: {0}")]
    Misused(&'static str),
}
