//! How a vault is opened.

use super::{database::EngineDriver, fjall::FJALL};

/// How a vault is opened.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// The engine that keeps the rows.
    pub engine: &'static dyn EngineDriver,
    /// Size of the engine's cache in bytes. Engines count differently: see [`EngineDriver::open`].
    pub cache_bytes: u64,
    /// Whether to continue with the rows that are left, although acknowledged commits or the witness are lost. It applies
    /// to this opening only, not to later reopening.
    pub accept_loss: bool,
}

impl StoreOptions {
    /// Default of [`StoreOptions::cache_bytes`]: 64 MiB.
    pub const CACHE_BYTES: u64 = 64 * 1024 * 1024;
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions { engine: FJALL, cache_bytes: Self::CACHE_BYTES, accept_loss: false }
    }
}
