//! Exports, and backups of everything but the keys.

mod damage;
mod exports;
mod interrupted;
mod later;
mod missing_keys;
mod round_trip;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;

use super::harness::{Launch, Site, TestKey};

/// The name of the backup in the directory of a site.
const BACKUP: &str = "backup";

/// Prepares a start with an audit log.
fn launch(site: &Site) -> Launch<'_> {
    site.launch().care_keys().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64())
}

/// What a command left.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Checks the exit code and returns the JSON that it printed.
    fn json(&self, code: i32) -> Value {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        serde_json::from_str(&self.stdout).expect("JSON")
    }

    /// Checks for a failure with nothing but a message that has these texts.
    fn refused(&self, texts: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{}", self.stderr);
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is not in {}", self.stderr);
        }
    }
}

/// Runs a command with the settings of a start.
fn run(launch: &Launch<'_>, words: &[&str]) -> Ended {
    Ended::of(launch.command(words).output().expect("masker can be run"))
}

fn backup(launch: &Launch<'_>, command: &str, directory: &Path) -> Ended {
    run(launch, &["backup", command, "--json", text(directory)])
}

/// Makes the backup of a site's daemon.
fn create(site: &Site) -> PathBuf {
    let directory = site.path(BACKUP);
    backup(&launch(site), "create", &directory).json(0);
    directory
}

/// Restores the backup of a site in the place of its vault.
fn restore(site: &Site) -> Value {
    set_aside(site);
    backup(&launch(site), "restore", &site.path(BACKUP)).json(0)
}

/// Does what the documents say: moves the data directory away. Returns where it is.
fn set_aside(site: &Site) -> PathBuf {
    let (vault, mut number) = (site.vault(), 0);
    let kept = loop {
        let kept = site.path(&format!("vault.before-restore-{number}"));
        if !kept.exists() {
            break kept;
        }
        number += 1;
    };
    fs::rename(vault, &kept).unwrap();
    kept
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a name that is text")
}

/// Returns the paths of everything below a directory, sorted.
fn contained(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contained(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}
