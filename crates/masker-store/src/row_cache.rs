//! A cache of rows in front of a store.
//!
//! The cache holds rows as the store returned them. A row is removed before a batch that changes it is applied, and again
//! when the batch has ended. A row that was read from the store meanwhile is kept only if no batch has begun or ended
//! since the read began. So after a batch has ended, no read that begins later returns a row from before it. `model_check`
//! verifies this for a few threads in all interleavings with up to three preemptions.

mod cache;
#[cfg(test)]
mod model_check;
#[cfg(test)]
mod tests;

pub use cache::RowCache;

/// What the cache synchronizes with. The model check compiles `cache` a second time, with primitives of its own.
mod primitives {
    pub(super) use std::{
        hash::RandomState as ShardHasher,
        sync::{
            Mutex, MutexGuard,
            atomic::{AtomicBool, Ordering},
        },
    };

    /// Parts of the cache with locks of their own.
    pub(super) const SHARDS: usize = 64;
}
