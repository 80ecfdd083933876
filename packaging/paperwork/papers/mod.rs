//! The papers themselves. The same source gives the same bytes: there is no date and no chance in them.

mod commands;
mod dependencies;
mod files;
mod markdown;
mod materials;

use std::{error::Error, fs, path::Path};

use dependencies::Dependencies;

/// What lies below the root of the source.
pub fn source(name: &str) -> Result<String, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Writes all papers: `man/`, `masker.cdx.json`, `licences-of-dependencies`.
///
/// # Errors
/// What could not be read, understood or written.
pub fn write(directory: &Path) -> Result<(), Box<dyn Error>> {
    let man = directory.join("man");
    fs::create_dir_all(&man)?;
    commands::write(&man)?;
    fs::write(man.join("masker.toml.5"), files::configuration()?)?;
    fs::write(man.join("masker-policy.5"), files::policy()?)?;
    let dependencies = Dependencies::of_this_package()?;
    let materials = serde_json::to_string_pretty(&materials::bill(&dependencies))?;
    fs::write(directory.join("masker.cdx.json"), materials + "\n")?;
    fs::write(directory.join("licences-of-dependencies"), dependencies.licences()?)?;
    Ok(())
}
