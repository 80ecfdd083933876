//! The documents, and the files that come with them, agree with the program.

#[path = "../support/harness/mod.rs"]
pub mod harness; // public, because each test program uses only parts of it

mod benches;
mod blocks;
mod containers;
mod doctor;
mod examples;
mod fuzz_corpora;
mod links;
mod markdown;
mod monitoring;
mod reference;
mod vectors;
mod words;

use std::{
    fs,
    path::{Path, PathBuf},
};

use harness::{Daemon, Site, TestKey};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns a file of the repository.
fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the Markdown files below a directory of the repository, by name, without what was built.
fn markdown_files(directory: &str) -> Vec<String> {
    files(directory, &[".md"])
}

/// Returns the files below a directory of the repository with one of these endings, by name, without what was built.
fn files(directory: &str, endings: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![root().join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                let is_built = path.join("CACHEDIR.TAG").exists();
                if !name.starts_with('.') && name != "target" && !is_built {
                    directories.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Returns a site as `make run` sets it up: the three policies of the repository, and `healthcare-default` as the default.
fn shipped_site() -> Site {
    let mut site = Site::new();
    fs::remove_dir_all(site.path("policies")).unwrap();
    fs::create_dir(site.path("policies")).unwrap();
    for entry in fs::read_dir(root().join("policies")).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        site.policy(path.file_name().unwrap().to_str().unwrap(), &fs::read_to_string(&path).unwrap());
    }
    site.set("policy", "default", "\"healthcare-default\"");
    site
}

/// Starts a daemon with a key for each key id of the repository's policies, and with an audit log.
fn start_shipped(site: &Site) -> Daemon {
    let kids = ["K_HEALTHCARE", "K_PAYMENTS", "K_STATELESS"];
    let launch = site.launch().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64());
    kids.iter().fold(launch, |launch, kid| launch.key(kid, &TestKey::named(kid))).start()
}
