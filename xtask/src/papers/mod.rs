//! `cargo xtask papers`: man pages, a bill of materials, and the licences of the dependencies.
//!
//! The same source gives the same bytes: the papers contain neither dates nor random values.

mod commands;
mod dependencies;
mod files;
mod markdown;
mod materials;

use std::{fs, path::Path};

use dependencies::Dependencies;

use crate::Error;

/// Writes all papers into a directory: `man/`, `masker.cdx.json`, `licences-of-dependencies`.
///
/// # Errors
/// A source cannot be read or parsed, or a paper cannot be written.
pub fn write(directory: &Path) -> Result<(), Error> {
    let man = directory.join("man");
    fs::create_dir_all(&man)?;
    commands::write(&man)?;
    fs::write(man.join("masker.toml.5"), files::configuration()?)?;
    fs::write(man.join("masker-policy.5"), files::policy()?)?;
    let dependencies = Dependencies::of_root_package()?;
    let materials = serde_json::to_string_pretty(&materials::bill(&dependencies))?;
    fs::write(directory.join("masker.cdx.json"), materials + "\n")?;
    fs::write(directory.join("licences-of-dependencies"), dependencies.licences()?)?;
    Ok(())
}
