//! The engines that this build includes.

use std::path::Path;

use masker_store::embedded::{EngineDriver, FJALL, StoreOpenError, engine_of, find_driver};
use masker_types::engine::EngineKind;

/// All engines of this build.
pub const ENGINES: &[&dyn EngineDriver] = &[
    FJALL,
    #[cfg(feature = "sled")]
    masker_store_sled::SLED,
];

/// Returns the driver of the configured engine. If none is configured, returns that of the engine that created the vault in
/// this directory, or of the default engine for a new vault.
///
/// # Errors
///
/// This build does not include the engine, or none is configured and the directory has databases of several.
pub fn driver(configured: Option<EngineKind>, data_dir: &Path) -> Result<&'static dyn EngineDriver, StoreOpenError> {
    select(ENGINES, configured, data_dir)
}

fn select(
    engines: &[&'static dyn EngineDriver],
    configured: Option<EngineKind>,
    data_dir: &Path,
) -> Result<&'static dyn EngineDriver, StoreOpenError> {
    let kind = match configured {
        Some(kind) => kind,
        None => engine_of(data_dir)?.unwrap_or_default(),
    };
    find_driver(engines, kind, data_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_sled_rejects_a_vault_of_sled() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sled")).unwrap();
        let without_sled: &[&dyn EngineDriver] = &[FJALL];
        for configured in [None, Some(EngineKind::Sled)] {
            let error = select(without_sled, configured, folder.path()).unwrap_err();
            assert!(matches!(error, StoreOpenError::EngineNotBuilt { engine: EngineKind::Sled, .. }));
            let text = error.to_string();
            assert!(text.contains("does not include") && text.contains("cargo feature `sled`"), "{text}");
            assert!(text.contains(&folder.path().display().to_string()), "{text}");
        }
    }

    #[test]
    fn selects_fjall_for_a_new_vault_and_the_engine_of_an_existing_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(driver(None, folder.path()).unwrap().kind(), EngineKind::Fjall);
        std::fs::create_dir(folder.path().join("sled")).unwrap();
        let found = driver(None, folder.path());
        assert_eq!(found.is_ok_and(|driver| driver.kind() == EngineKind::Sled), cfg!(feature = "sled"));
        // Of two, only an operator knows which one is the vault's.
        std::fs::create_dir(folder.path().join("fjall")).unwrap();
        let refused = driver(None, folder.path()).unwrap_err();
        assert!(refused.to_string().contains("\"fjall\" and \"sled\""), "{refused}");
        assert_eq!(driver(Some(EngineKind::Fjall), folder.path()).unwrap().kind(), EngineKind::Fjall);
    }
}
