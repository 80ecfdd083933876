//! Files beside keys, policies and the configuration that do not belong there.
//!
//! The daemon keeps access to these directories, because a reload finds files there that were replaced by renaming. So it
//! can read everything else in them, too: backups and swap files of editors, or other secrets.

use std::{
    collections::BTreeMap,
    fs,
    path::{self, Path, PathBuf},
};

use super::{finding::Finding, keys::KeyFacts, units::InstalledUnits};
use masker_config::{Config, is_policy_file, replaceable};

/// The most names in a finding.
const NAMES_MAX: usize = 5;

/// The names of the files that do not belong in a directory, by directory. Without those that this user cannot list.
pub(super) type Strays = BTreeMap<PathBuf, Vec<String>>;

/// Looks into the directories of keys, policies and the configuration.
pub(super) fn gather(config: &Config, keys: &KeyFacts, installed: &InstalledUnits) -> Strays {
    let files: Vec<PathBuf> = keys.files().chain(config.file.as_deref()).map(absolute).collect();
    let own = [&config.vault.data_dir, &config.audit.path, &config.server.socket].map(|path| absolute(path));
    // Also those that this user cannot read.
    let own: Vec<PathBuf> = own.into_iter().chain(installed.credential_paths()).collect();
    look(&files, &absolute(&config.policy.path), &own)
}

/// Looks into the directories of these files and of the policies that the daemon keeps access to. The `own` paths of the
/// daemon belong where they are.
fn look(files: &[PathBuf], policies: &Path, own: &[PathBuf]) -> Strays {
    let known: Vec<PathBuf> = files.iter().chain(own).map(PathBuf::as_path).chain([policies]).flat_map(names).collect();
    let read = files.iter().map(PathBuf::as_path).chain([policies]);
    // By their real paths, so that none is looked into twice.
    let mut directories = BTreeMap::new();
    for directory in read.flat_map(replaceable).filter(|path| path.parent().is_some() && path.is_dir()) {
        directories.entry(real(&directory)).or_insert(directory);
    }
    let strays = directories.into_iter().map(|(real_directory, directory)| {
        let holds_policies = policies.is_dir() && real(policies) == real_directory;
        let belongs = |path: &Path| {
            let is_policy = holds_policies && is_policy_file(path);
            let spellings = names(path);
            is_policy
                || is_projected(path)
                || known.iter().any(|known| spellings.iter().any(|path| known.starts_with(path)))
        };
        let strays = names_of(&directory, belongs);
        (directory, strays)
    });
    strays.collect()
}

/// Returns a path as it is given, and with the links in its directory resolved, and with its own.
fn names(path: &Path) -> [PathBuf; 3] {
    let in_real_directory = path.parent().zip(path.file_name()).map(|(parent, name)| real(parent).join(name));
    [path.to_owned(), in_real_directory.unwrap_or_else(|| path.to_owned()), real(path)]
}

fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Returns whether Kubernetes has made this entry: it replaces the files of a volume all at once by a link `..data`.
fn is_projected(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."))
}

/// Returns the names of the entries that do not belong in a directory, sorted.
fn names_of(directory: &Path, belongs: impl Fn(&Path) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let strays = entries.filter_map(Result::ok).filter(|entry| !belongs(&entry.path()));
    let mut names: Vec<String> =
        strays.map(|entry| entry.file_name().to_string_lossy().escape_debug().to_string()).collect();
    names.sort();
    names
}

fn absolute(path: &Path) -> PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// `files.strays`: nothing else is in the directories of keys, policies and the configuration.
pub(super) fn judge(strays: &Strays) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (directory, names) in strays.iter().filter(|(_, names)| !names.is_empty()) {
        let more = names.len().saturating_sub(NAMES_MAX);
        let shown = names[..names.len() - more].join(", ");
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let found = format!(
            "{} has {shown}{more}, which the daemon does not need and can read, if their modes allow it",
            directory.display()
        );
        let remedy = "move it to another directory, or delete it; a copy of a key is a key";
        findings.push(Finding::warning("files.strays", found, remedy));
    }
    if findings.is_empty() && !strays.is_empty() {
        let found = "the directories of keys, policies and the configuration hold nothing else";
        findings.push(Finding::ok("files.strays", found));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn names_what_does_not_belong() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path
        };
        let files = ["masker.toml", "keys/K_CARE", "audit.key"].map(put);
        put("policies/care.toml");
        put("policies/..data/care.toml");
        put("vault/witness");
        let (policies, own) = (folder.path().join("policies"), [folder.path().join("vault")]);
        let findings = || judge(&look(&files, &policies, &own));
        assert_eq!(findings().iter().map(|finding| finding.status).collect::<Vec<_>>(), [Severity::Ok]);

        put("masker.toml.bak");
        put("policies/.care.toml.swp");
        for name in ["K_CARE~", "a", "b", "c", "d", "e\n"] {
            put(&format!("keys/{name}"));
        }
        let findings = findings();
        assert!(findings.iter().all(|finding| finding.status == Severity::Warning), "{findings:?}");
        for (finding, names) in findings.iter().zip([
            "has masker.toml.bak, which",
            "/keys has K_CARE~, a, b, c, d and 1 more, which",
            "/policies has .care.toml.swp, which",
        ]) {
            assert!(finding.found.contains(names), "{findings:?}");
        }
        assert_eq!(findings.len(), 3);
    }
}
