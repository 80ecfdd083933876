//! Files beside keys, policies and the configuration that do not belong there.
//!
//! The daemon keeps access to these directories, because a reload finds files there that were replaced by renaming. So it
//! can read everything else in them, too: backups and swap files of editors, or other secrets.

use std::{
    collections::BTreeMap,
    fs,
    path::{self, Path, PathBuf},
};

use super::{
    finding::{Finding, look_as},
    finding_id::FindingId,
    keys::KeyFacts,
    units::InstalledUnits,
};
use crate::key_files::quoted;
use masker_config::{AcceptedStates, Config, is_policy_file, replaceable};

/// The most names in a finding.
const NAMES_MAX: usize = 5;

/// The names of the files that do not belong in a directory, by directory. `None` for a directory that this user cannot list.
pub(super) type Strays = BTreeMap<PathBuf, Option<Vec<String>>>;

/// Looks into the directories of keys, policies and the configuration.
pub(super) fn gather(config: &Config, keys: &KeyFacts, installed: &InstalledUnits) -> Strays {
    let files: Vec<PathBuf> = keys.files().chain(config.file.as_deref()).map(absolute).collect();
    let own = [&config.vault.data_dir, &config.audit.path, &config.server.socket].map(|path| absolute(path));
    let lock = absolute(&lock_path(&config.server.socket));
    // `masker init` makes the directory of keys beside the configuration.
    let made = config.file.iter().filter_map(|file| Some(absolute(file).parent()?.join("keys")));
    // Also those that this user cannot read.
    let provided = installed.credential_paths().into_iter().chain(keys.directories().map(absolute));
    let accepted = config.file.as_deref().map(|file| absolute(&AcceptedStates::path(file)));
    let own: Vec<PathBuf> = own.into_iter().chain([lock]).chain(made).chain(accepted).chain(provided).collect();
    look(&files, &absolute(&config.policy.path), &own)
}

/// Looks into the directories of these files and of the policies that the daemon keeps access to. The `own` paths of the
/// daemon belong where they are.
fn look(files: &[PathBuf], policies: &Path, own: &[PathBuf]) -> Strays {
    let known: Vec<PathBuf> = files.iter().chain(own).map(PathBuf::as_path).chain([policies]).flat_map(names).collect();
    let read = files.iter().map(PathBuf::as_path).chain(policies.exists().then_some(policies));
    // By their real paths, so that none is looked into twice.
    let mut directories = BTreeMap::new();
    for directory in read.flat_map(replaceable).filter(|path| path.parent().is_some() && path.is_dir()) {
        directories.entry(real(&directory)).or_insert(directory);
    }
    let strays = directories.into_iter().map(|(real_directory, directory)| {
        let holds_policies = policies.is_dir() && real(policies) == real_directory;
        let belongs = |path: &Path| {
            let is_policy = holds_policies && is_policy_file(path);
            let in_real_directory = path.file_name().map(|name| real_directory.join(name));
            let is_known = |path: &Path| known.iter().any(|known| known.starts_with(path));
            is_policy || is_projected(path) || is_known(path) || in_real_directory.as_deref().is_some_and(is_known)
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
fn names_of(directory: &Path, belongs: impl Fn(&Path) -> bool) -> Option<Vec<String>> {
    let entries = fs::read_dir(directory).ok()?;
    let strays = entries.filter_map(Result::ok).filter(|entry| !belongs(&entry.path()));
    let mut names: Vec<String> =
        strays.map(|entry| entry.file_name().to_string_lossy().escape_debug().to_string()).collect();
    names.sort();
    Some(names)
}

/// Returns the file by which the daemon keeps others from its socket.
fn lock_path(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn absolute(path: &Path) -> PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// `files.strays`: nothing else is in the directories of keys, policies and the configuration.
pub(super) fn judge(strays: &Strays) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (directory, names) in strays {
        let Some(names) = names else {
            let found = format!("{} cannot be listed by this user", directory.display());
            findings.push(Finding::not_checked("files.strays", found, look_as()));
            continue;
        };
        if names.is_empty() {
            continue;
        }
        let more = names.len().saturating_sub(NAMES_MAX);
        let shown = names[..names.len() - more].join(", ");
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let found = format!(
            "{} has {shown}{more}, which the daemon does not need and can read, if their modes allow it",
            directory.display()
        );
        let files: Vec<String> = names.iter().take(NAMES_MAX).map(|name| quoted(&directory.join(name))).collect();
        let remedy = format!(
            "look at each, then move what does not belong there to a directory that only root can read: `mv --no-clobber {} ~/`. A copy of \
             a key is a key",
            files.join(" ")
        );
        findings.push(Finding::warning("files.strays", FindingId::StrayFiles, found, remedy));
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

    /// Writes a file with its directories.
    fn put(root: &Path, name: &str, text: &str) -> PathBuf {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn names_what_does_not_belong() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| put(folder.path(), name, "");
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

    #[test]
    fn what_the_unit_names_belongs_also_if_this_user_cannot_read_it() {
        let root = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| put(root.path(), name, text);
        let unit = "[Service]\nLoadCredential=MASKER_KEY:/etc/masker/keys\nLoadCredential=MASKER_AUDIT_HMAC_KEY:/etc/masker/audit.key\n";
        put("usr/lib/systemd/system/masker.service", unit);
        put("etc/masker/audit.key", "");
        let (config, keys) = (put("etc/masker/masker.toml", ""), root.path().join("etc/masker/keys"));
        fs::create_dir(&keys).unwrap();
        let policies = root.path().join("etc/masker/policies");
        fs::create_dir(&policies).unwrap();
        // This user can read no key: none of their files is known but by the unit.
        let found = || {
            let strays =
                look(std::slice::from_ref(&config), &policies, &InstalledUnits::read(root.path()).credential_paths());
            strays.into_values().flatten().flatten().collect::<Vec<_>>()
        };
        assert_eq!(found(), [""; 0], "an empty directory of keys");
        put("etc/masker/keys/K_CARE", "");
        assert_eq!(found(), [""; 0]);
        put("etc/systemd/system/masker.service.d/own.conf", "[Service]\nLoadCredential=\n");
        assert_eq!(found(), ["audit.key"], "a copy that the unit no longer names");
    }

    #[test]
    fn looks_into_the_directories_that_the_daemon_keeps_access_to() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| put(folder.path(), name, "");
        put("own/key");
        put("own/key.bak");
        put("kept/key");
        let link = folder.path().join("kept/linked");
        std::os::unix::fs::symlink(folder.path().join("own/key"), &link).unwrap();
        let policy = put("policy/care.toml");
        put("policy/other.toml");
        let names = |strays: Strays| strays.into_values().flatten().flatten().collect::<Vec<_>>();
        assert_eq!(
            names(look(&[link, folder.path().join("kept/key")], &policy, &[])),
            ["key.bak", "other.toml"],
            "beside the target of a link, and beside a policy that is a file"
        );
        // What is not read as a policy.
        put("policies/.hidden.toml");
        put("policies/folder.toml/care.toml");
        put("policies/care.toml");
        assert_eq!(names(look(&[], &folder.path().join("policies"), &[])), [".hidden.toml", "folder.toml"]);
    }
}
