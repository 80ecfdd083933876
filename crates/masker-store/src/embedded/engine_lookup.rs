//! Finding the engine of a vault, and its driver.

use std::path::Path;

use masker_types::engine::EngineKind;

use super::{database::EngineDriver, open_error::StoreOpenError, paths::VaultPaths};

/// Returns the engine that created the vault in this directory, if there is a vault.
///
/// # Errors
///
/// [`StoreOpenError::SecondDatabase`] if there are databases of several engines.
pub fn engine_of(data_dir: &Path) -> Result<Option<EngineKind>, StoreOpenError> {
    let paths = VaultPaths { root: data_dir.to_owned(), kind: EngineKind::default() };
    match paths.existing_engine().map(|kind| VaultPaths { kind, ..paths }) {
        Some(paths) => match paths.second_database() {
            Some(second) => Err(StoreOpenError::SecondDatabase { path: paths.root, first: paths.kind, second }),
            None => Ok(Some(paths.kind)),
        },
        None => Ok(None),
    }
}

/// Returns the driver of an engine among those that a program includes.
///
/// # Errors
///
/// [`StoreOpenError::EngineNotBuilt`] if it is not among them. `data_dir` is the vault that the error names.
pub fn find_driver(
    engines: &[&'static dyn EngineDriver],
    kind: EngineKind,
    data_dir: &Path,
) -> Result<&'static dyn EngineDriver, StoreOpenError> {
    let found = engines.iter().copied().find(|driver| driver.kind() == kind);
    found.ok_or_else(|| StoreOpenError::EngineNotBuilt { path: data_dir.to_owned(), engine: kind })
}

#[cfg(test)]
mod tests {
    use super::{super::fjall::FJALL, *};

    #[test]
    fn names_the_engine_that_a_build_lacks() {
        assert!(find_driver(&[FJALL], EngineKind::Fjall, Path::new("/vault")).is_ok());
        let error = find_driver(&[], EngineKind::Fjall, Path::new("/vault")).unwrap_err();
        assert!(matches!(error, StoreOpenError::EngineNotBuilt { engine: EngineKind::Fjall, .. }));
        assert!(error.to_string().contains("/vault") && error.to_string().contains("`fjall`"), "{error}");
    }
}
