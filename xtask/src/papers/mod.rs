//! `cargo xtask papers`: man pages, a bill of materials, and the licences of the dependencies.
//!
//! The same source gives the same bytes: the papers contain neither dates nor random values.

mod commands;
mod dependencies;
mod files;
mod markdown;
mod materials;

use std::{fs, path::Path};

use clap::CommandFactory;
use dependencies::Dependencies;

use crate::Error;

/// Writes all papers into a directory: `man/`, `masker.cdx.json`, `licences-of-dependencies`, and in `gateway/` those of the
/// package masker-gateway.
///
/// # Errors
/// A source cannot be read or parsed, or a paper cannot be written.
pub fn write(directory: &Path) -> Result<(), Error> {
    let man = directory.join("man");
    fs::create_dir_all(&man)?;
    commands::write(masker_cli::args::Arguments::command(), &commands::MASKER, &man)?;
    fs::write(man.join("masker.toml.5"), files::configuration()?)?;
    fs::write(man.join("masker-policy.5"), files::policy()?)?;
    write_materials(directory, &Dependencies::of(".")?)?;

    let gateway = directory.join("gateway");
    let man = gateway.join("man");
    fs::create_dir_all(&man)?;
    commands::write(masker_gateway::arguments::Arguments::command(), &commands::GATEWAY, &man)?;
    fs::write(man.join("gateway.toml.5"), files::gateway()?)?;
    write_materials(&gateway, &Dependencies::of("crates/masker-gateway")?)
}

/// Writes the bill of materials and the licences of a program.
fn write_materials(directory: &Path, dependencies: &Dependencies) -> Result<(), Error> {
    let materials = serde_json::to_string_pretty(&materials::bill(dependencies))?;
    fs::write(directory.join(format!("{}.cdx.json", dependencies.root.name)), materials + "\n")?;
    fs::write(directory.join("licences-of-dependencies"), dependencies.licences()?)?;
    Ok(())
}
