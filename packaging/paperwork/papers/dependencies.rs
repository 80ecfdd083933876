//! The crates that the binary is made of, as cargo resolves them for this platform: those that are linked into it and
//! those that build them, without those of the tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    ffi::OsString,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use super::source;

/// A crate.
#[derive(Clone, Debug)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// An SPDX expression, as the crate gives it.
    pub licence: Option<String>,
    /// What it says of itself.
    pub description: Option<String>,
    /// Where its source is kept.
    pub repository: Option<String>,
    /// SHA-256 of the package that it came in, in hex; `None` for this one.
    pub checksum: Option<String>,
    /// What it is made with, by name and version.
    pub uses: BTreeSet<(String, String)>,
    directory: PathBuf,
}

/// This package and all that it is made of.
pub struct Dependencies {
    /// This package.
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
    /// Asks cargo. It takes no network where the crates are there already, which they are once the binary is built.
    ///
    /// # Errors
    /// What cargo said.
    pub fn of_this_package() -> Result<Self, Box<dyn Error>> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let output = Command::new(cargo)
            .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &platform])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
        let lock: Lock = toml::from_str(&source("Cargo.lock")?)?;
        let checksums: BTreeMap<(String, String), Option<String>> =
            lock.package.into_iter().map(|locked| ((locked.name, locked.version), locked.checksum)).collect();
        let packages: BTreeMap<&str, &Package> =
            metadata.packages.iter().map(|package| (&*package.id, package)).collect();
        let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|node| (&*node.id, node)).collect();

        let mut found: BTreeMap<&str, Crate> = BTreeMap::new();
        let mut waiting = vec![&*metadata.resolve.root];
        while let Some(id) = waiting.pop() {
            if found.contains_key(id) {
                continue;
            }
            let (package, node) = (packages[id], nodes[id]);
            let of_tests =
                |dependency: &&Dependency| dependency.dep_kinds.iter().all(|kind| kind.kind.as_deref() == Some("dev"));
            let used: Vec<&str> = node
                .deps
                .iter()
                .filter(|dependency| !of_tests(dependency))
                .map(|dependency| &*dependency.pkg)
                .collect();
            waiting.extend(&used);
            let name_of = |id: &str| (packages[id].name.clone(), packages[id].version.clone());
            let made = Crate {
                name: package.name.clone(),
                version: package.version.clone(),
                licence: package.license.clone(),
                description: package.description.clone(),
                repository: package.repository.clone(),
                checksum: checksums.get(&name_of(id)).cloned().flatten(),
                uses: used.into_iter().map(name_of).collect(),
                directory: package.manifest_path.parent().map(Path::to_owned).unwrap_or_default(),
            };
            found.insert(id, made);
        }
        let root = found.remove(&*metadata.resolve.root).ok_or("cargo names no package of this directory")?;
        let crates = found.into_values().map(|made| ((made.name.clone(), made.version.clone()), made)).collect();
        Ok(Dependencies { root, crates })
    }

    /// Every licence text that the crates come with, once, under the names of those that have it.
    ///
    /// # Errors
    /// What could not be read.
    pub fn licences(&self) -> Result<String, Box<dyn Error>> {
        let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for made in self.crates.values() {
            for path in licence_files(&made.directory)? {
                let text = String::from_utf8_lossy(&fs::read(&path)?).replace("\r\n", "\n");
                texts.entry(text.trim_matches('\n').to_owned()).or_default().insert(title(made));
            }
        }
        let mut out = String::from("The crates that masker is made of, and the licences that they come under.\n\n");
        for made in self.crates.values() {
            writeln!(out, "{}: {}", title(made), made.licence.as_deref().unwrap_or("see below"))?;
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

/// The licences of a crate, and of libraries in other languages that it carries in folders of its own.
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
        // One of the two: zstd leaves the choice between them, and its LICENSE is the one that its crate has chosen.
        let licence = named(&carried, &["LICENSE"]);
        found.extend(if licence.is_empty() { named(&carried, &["COPYING"]) } else { licence });
    }
    found.sort();
    Ok(found)
}

fn title(made: &Crate) -> String {
    format!("{} {}", made.name, made.version)
}
