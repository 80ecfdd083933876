//! What the next opening of a vault would refuse, as far as it can be seen while another process has the vault open.

use std::{fs::File, io, path::Path};

use super::{
    manifest::VERSION,
    open_error::StoreOpenError,
    paths::{VaultPaths, vault_exists},
    witness::{Witness, WitnessFile},
};
use masker_types::engine::EngineKind;

/// Checks the directory, the engine, the witness, and that this user can read the files. Takes no lock and changes nothing. Blocks.
///
/// # Errors
/// The error of an opening with this engine.
pub fn check_served(data_dir: &Path, kind: EngineKind) -> Result<(), StoreOpenError> {
    if !vault_exists(data_dir) {
        return Ok(());
    }
    let paths = VaultPaths { root: data_dir.to_owned(), kind };
    let path = || paths.root.clone();
    let failed = |doing| move |source| StoreOpenError::Io { path: data_dir.to_owned(), doing, source };
    paths.prepare()?;
    if let Some(found) = paths.existing_engine().filter(|found| *found != kind) {
        return Err(StoreOpenError::OtherEngine { path: path(), found, configured: kind });
    }
    match Witness::open(&paths.witness()).map_err(failed("read the witness file"))? {
        WitnessFile::Witness(_) => {}
        WitnessFile::Missing => return Err(StoreOpenError::WitnessMissing { path: path() }),
        WitnessFile::Damaged => return Err(StoreOpenError::WitnessDamaged { path: path() }),
        WitnessFile::OtherVersion(version) => {
            return Err(StoreOpenError::OtherVersion { path: path(), version, known: VERSION });
        }
    }
    for file in paths.files().map_err(failed("look at the files"))? {
        match File::open(&file) {
            // The other process removes files that it has replaced.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let error = io::Error::new(error.kind(), format!("{}: {error}", file.display()));
                return Err(failed("read the files")(error));
            }
            _ => {}
        }
    }
    Ok(())
}
