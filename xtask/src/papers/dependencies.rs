//! The crates that a binary is built from, as cargo resolves them for this platform: normal and build dependencies,
//! without those of tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use crate::{Error, read_source, root};

/// A crate.
#[derive(Clone, Debug)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, as an SPDX expression.
    pub licence: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// The address of its repository.
    pub repository: Option<String>,
    /// SHA-256 of its package, in hex. `None` for crates of this workspace.
    pub checksum: Option<String>,
    /// The name and version of each crate that it uses.
    pub uses: BTreeSet<(String, String)>,
    directory: PathBuf,
}

/// A program of the workspace, and the crates that it is built from.
pub struct Dependencies {
    /// The package of the program.
    pub root: Crate,
    /// The others, by name and version.
    pub crates: BTreeMap<(String, String), Crate>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    description: Option<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
    root: String,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Dependencies {
    /// Reads them from `cargo metadata` in the directory of the package. That needs no network once the binary is built.
    ///
    /// # Errors
    /// `cargo metadata` fails or its output is invalid.
    pub fn of(package: &str) -> Result<Self, Error> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let output = Command::new(cargo)
            .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &platform])
            .current_dir(root().join(package))
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
        let lock: Lock = toml::from_str(&read_source("Cargo.lock")?)?;
        let checksums: BTreeMap<(String, String), Option<String>> =
            lock.package.into_iter().map(|locked| ((locked.name, locked.version), locked.checksum)).collect();
        let packages: BTreeMap<&str, &Package> =
            metadata.packages.iter().map(|package| (&*package.id, package)).collect();
        let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|node| (&*node.id, node)).collect();

        let mut found: BTreeMap<&str, Crate> = BTreeMap::new();
        let mut pending = vec![&*metadata.resolve.root];
        while let Some(id) = pending.pop() {
            if found.contains_key(id) {
                continue;
            }
            let (package, node) = (packages[id], nodes[id]);
            let is_dev =
                |dependency: &&Dependency| dependency.dep_kinds.iter().all(|kind| kind.kind.as_deref() == Some("dev"));
            let used: Vec<&str> =
                node.deps.iter().filter(|dependency| !is_dev(dependency)).map(|dependency| &*dependency.pkg).collect();
            pending.extend(&used);
            let name_of = |id: &str| (packages[id].name.clone(), packages[id].version.clone());
            let entry = Crate {
                name: package.name.clone(),
                version: package.version.clone(),
                licence: package.license.clone(),
                description: package.description.clone(),
                repository: package.repository.clone(),
                checksum: checksums.get(&name_of(id)).cloned().flatten(),
                uses: used.into_iter().map(name_of).collect(),
                directory: package.manifest_path.parent().map(Path::to_owned).unwrap_or_default(),
            };
            found.insert(id, entry);
        }
        let root = found.remove(&*metadata.resolve.root).ok_or("cargo metadata names no package of this directory")?;
        let crates = found.into_values().map(|entry| ((entry.name.clone(), entry.version.clone()), entry)).collect();
        Ok(Dependencies { root, crates })
    }

    /// Returns every licence text of the crates once, with the names of the crates that have it.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn licences(&self) -> Result<String, Error> {
        let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for entry in self.crates.values() {
            for path in licence_files(&entry.directory)? {
                let text = String::from_utf8_lossy(&fs::read(&path)?).replace("\r\n", "\n");
                texts.entry(text.trim_matches('\n').to_owned()).or_default().insert(title(entry));
            }
        }
        let mut out = format!("The crates that {} is built from, and their licences.\n\n", self.root.name);
        for entry in self.crates.values() {
            writeln!(out, "{}: {}", title(entry), entry.licence.as_deref().unwrap_or("see below"))?;
        }
        let mut texts: Vec<(BTreeSet<String>, String)> = texts.into_iter().map(|(text, of)| (of, text)).collect();
        texts.sort();
        for (of, text) in texts {
            let names: Vec<String> = of.into_iter().collect();
            write!(out, "\n{}\n{}\n\n{text}\n", "=".repeat(80), names.join(", "))?;
        }
        Ok(out)
    }
}

/// Returns the licence files of a crate, and of the libraries in other languages in its subdirectories.
fn licence_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = |directory: &Path| -> io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let named = |paths: &[PathBuf], begins: &[&str]| -> Vec<PathBuf> {
        let begin = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().to_ascii_uppercase();
        let matches = |path: &&PathBuf| {
            let sourceless = path.extension().is_none_or(|extension| extension != "rs");
            sourceless && begins.iter().any(|name| begin(path).starts_with(name)) && path.is_file()
        };
        paths.iter().filter(matches).cloned().collect()
    };
    let own = entries(directory)?;
    let mut found = named(&own, &["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"]);
    for folder in own.iter().filter(|path| path.is_dir()) {
        let carried = entries(folder)?;
        // Not both: zstd offers a choice, and its crate has chosen LICENSE.
        let licence = named(&carried, &["LICENSE"]);
        found.extend(if licence.is_empty() { named(&carried, &["COPYING"]) } else { licence });
    }
    found.sort();
    Ok(found)
}

fn title(entry: &Crate) -> String {
    format!("{} {}", entry.name, entry.version)
}
