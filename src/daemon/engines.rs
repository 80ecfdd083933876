//! The engines that this build has.

use std::path::Path;

use masker_store::embedded::{EngineDriver, FJALL, engine_of};
use masker_types::engine::EngineKind;

/// Every engine of this build.
pub const ENGINES: &[&dyn EngineDriver] = &[
    FJALL,
    #[cfg(feature = "sled")]
    masker_store_sled::SLED,
];

/// Returns the driver of the configured engine. Without one, it is the engine that made the vault in this directory, or
/// fjall for a new vault.
///
/// # Errors
/// This build lacks the engine.
pub fn driver(configured: Option<EngineKind>, data_dir: &Path) -> Result<&'static dyn EngineDriver, String> {
    let kind = configured.or_else(|| engine_of(data_dir)).unwrap_or_default();
    ENGINES
        .iter()
        .copied()
        .find(|driver| driver.kind() == kind)
        .ok_or_else(|| format!("this build of masker lacks the engine {kind}; build it with `--features {kind}`"))
}
