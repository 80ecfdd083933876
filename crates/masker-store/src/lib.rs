//! Storage of a vault's rows: the [`Store`] trait and its implementations.
//!
//! A store keeps rows under short keys and changes them in atomic, durable batches. The trait is narrow: nothing above it
//! assumes one process, a tree or a file, so a networked engine can implement it too. Rows are opaque to stores;
//! [`record`] defines their layouts for the vault.
//!
//! - [`embedded`]: rows in a directory, kept by fjall or by another engine that implements
//!   [`embedded::EngineDriver`];
//! - [`memory`]: the model that the engines are compared with, and that other crates test on;
//! - [`row_cache`], [`shared_reads`]: stores in front of another store.
//!
//! This crate uses `masker-types` and `masker-files`. Used by engines in crates of their own, by `masker-vault`, and by
//! the program.

#![warn(missing_docs)]

/// Implements methods of [`Store`] by passing them on to the field `store`.
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
    (@ scan_prefixes) => {
        fn scan_prefixes(
            &self,
            prefixes: Vec<$crate::RowKey>,
            limit: usize,
        ) -> $crate::StoreFuture<'_, Vec<Vec<($crate::RowKey, $crate::Row)>>> {
            self.store.scan_prefixes(prefixes, limit)
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
    (@ position) => {
        fn position(&self) -> masker_types::vault_position::VaultPosition {
            self.store.position()
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
pub mod memory;
pub mod record;
pub mod row_cache;
mod prefix_scan;
mod rows;
pub mod shared_reads;

use std::{future::Future, pin::Pin};

use masker_types::vault_position::VaultPosition;
use prefix_scan::PrefixScan;

pub use rows::{ApplyOutcome, CompactionSizes, Precondition, Row, RowBatch, RowChange, RowKey, RowPage, StoreCheck};

/// The future that the methods of [`Store`] return.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A store of rows. One suite of contract tests runs on every implementation.
///
/// Reads may see a batch before [`Store::apply`] has made it durable; the vault's writer keeps track of such rows. Calls
/// never block the thread that polls them.
pub trait Store: Send + Sync + 'static {
    /// Returns the rows under these keys, in this order; `None` where there is no row.
    ///
    /// Each row is from one batch. Two rows may be from before and after a batch that is applied meanwhile.
    fn get_many(&self, keys: Vec<RowKey>) -> StoreFuture<'_, Vec<Option<Row>>>;

    /// Applies a batch completely or not at all. The batch is durable when this returns [`ApplyOutcome::Durable`].
    ///
    /// Preconditions are evaluated in order, against the rows before the batch. They are evaluated even if the batch has
    /// no changes.
    ///
    /// After an error, nothing was acknowledged: the batch may or may not be there once the store serves again, but never
    /// a part of it. The same is true if the future is dropped.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misused`] for a row over [`ROW_BYTES_MAX`](masker_types::limits::ROW_BYTES_MAX), or a key that is
    /// changed twice.
    fn apply(&self, batch: RowBatch) -> StoreFuture<'_, ApplyOutcome>;

    /// Returns up to `limit` rows of a space, in the order of their keys, after the key `after` or from the first.
    ///
    /// A scan of several pages returns rows once that exist all the time. Rows that are added or removed meanwhile may be
    /// returned or not.
    fn scan_after(&self, space: u8, after: Option<RowKey>, limit: usize) -> StoreFuture<'_, RowPage>;

    /// Returns, for each prefix, the rows whose keys begin with it and are longer: up to `limit`, in the order of their
    /// keys.
    fn scan_prefixes(&self, prefixes: Vec<RowKey>, limit: usize) -> StoreFuture<'_, Vec<Vec<(RowKey, Row)>>> {
        Box::pin(async move {
            let mut found = Vec::with_capacity(prefixes.len());
            for prefix in prefixes {
                let space = prefix.space();
                let mut scan = PrefixScan::new(prefix, limit);
                while let Some((after, page_rows)) = scan.next_page() {
                    scan.add(self.scan_after(space, Some(after), page_rows).await?);
                }
                found.push(scan.rows);
            }
            Ok(found)
        })
    }

    /// Counts the rows of a space, by reading their keys.
    fn count(&self, space: u8) -> StoreFuture<'_, u64>;

    /// Reads every row and compares the rows with the store's manifest. Batches are applied meanwhile, and accounted for.
    fn check(&self) -> StoreFuture<'_, StoreCheck>;

    /// Returns the size of the store on disk, in bytes; 0 for a store without a disk.
    fn bytes_on_disk(&self) -> StoreFuture<'_, u64>;

    /// Rewrites the store's files, so that they contain the current rows and none that were removed or replaced before the
    /// call. Reads and batches continue meanwhile; rows that these remove may stay in the files until the next compaction.
    ///
    /// After an error, or if the future is dropped, the rows are unchanged. A crash at any time loses nothing; the next
    /// start removes the remnants.
    ///
    /// # Errors
    ///
    /// [`StoreError::Busy`] while another compaction runs; [`StoreError::Uncompacted`] if there is no room, for example.
    fn compact(&self) -> StoreFuture<'_, CompactionSizes>;

    /// Returns the vault's id and the position of the last durable commit. It advances before [`Store::apply`] returns.
    fn position(&self) -> VaultPosition;

    /// Makes everything durable and releases files and locks. Later calls fail with [`StoreError::Unavailable`], except
    /// `close`, which does nothing.
    fn close(&self) -> StoreFuture<'_, ()>;
}

/// Why a call of a store failed. The texts are for operators, not for callers, and contain no bytes of rows.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot serve now, and tries to serve again.
    #[error("the vault's store is unavailable: {0}")]
    Unavailable(String),
    /// The files do not contain what was written. Nothing was changed.
    #[error("the vault is damaged: {0}")]
    Damaged(String),
    /// The same work is already running for another caller.
    #[error("the vault's store is busy: {0}")]
    Busy(&'static str),
    /// A compaction failed, for lack of room, for example. The store still serves.
    #[error("failed to compact the vault's store: {0}")]
    Uncompacted(String),
    /// The call breaks a rule of the trait: a row that is too long, or a key that is changed twice. A bug of the caller.
    #[error("invalid call to the vault's store: {0}")]
    Misused(&'static str),
}
