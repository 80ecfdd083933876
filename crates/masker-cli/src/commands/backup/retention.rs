//! The backups of a directory that have a time as their name: which are kept.

use std::{fs, path::Path};

use jiff::{Timestamp, civil::DateTime};

use super::{directory::remove_unfinished, failed, manifest::BackupManifest};
use crate::context::CommandError;

/// The form of the names, in UTC.
const NAME: &str = "masker-%Y%m%dT%H%M%SZ";

/// Returns the name of a backup that begins now.
pub(super) fn name_of(began: Timestamp) -> String {
    began.strftime(NAME).to_string()
}

fn is_name(name: &str) -> bool {
    DateTime::strptime(NAME, name).is_ok()
}

/// The backups of a directory after the oldest ones were removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Retained {
    /// The names of those that were removed.
    pub(super) removed: Vec<String>,
    /// The names of those that seem to be later than the newest: a clock was wrong. They are not counted, and stay.
    pub(super) later: Vec<String>,
}

/// Removes the oldest complete backups of a directory beyond a number, but never the newest, which was made last. Only those are
/// counted and removed that `masker backup create --into` has made.
pub(super) fn keep(parent: &Path, newest: &str, count: usize) -> Result<Retained, CommandError> {
    let (mut names, mut later) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(parent).map_err(|error| failed("list", parent, &error))? {
        let name = entry.map_err(|error| failed("list", parent, &error))?.file_name();
        let Some(name) = name.to_str().filter(|name| is_name(name)) else { continue };
        // The name in the manifest keeps a directory that somebody has renamed or copied.
        if BackupManifest::read(&parent.join(name)).is_ok_and(|manifest| manifest.name.as_deref() == Some(name)) {
            if name > newest { &mut later } else { &mut names }.push(name.to_owned());
        }
    }
    names.sort();
    later.sort();
    names.truncate(names.len().saturating_sub(count.max(1)));
    for name in &names {
        let (path, hidden) = (parent.join(name), parent.join(format!(".{name}.partial")));
        // So that a backup that is removed in part does not look like a complete one.
        fs::rename(&path, &hidden).map_err(|error| failed("remove", &path, &error))?;
        fs::remove_dir_all(&hidden).map_err(|error| failed("remove", &hidden, &error))?;
    }
    Ok(Retained { removed: names, later })
}

/// Removes what killed commands have left in a directory. What another command writes stays.
pub(super) fn remove_remnants(parent: &Path) -> Result<(), CommandError> {
    for entry in fs::read_dir(parent).map_err(|error| failed("list", parent, &error))? {
        let entry = entry.map_err(|error| failed("list", parent, &error))?;
        let name = entry.file_name();
        let of_backup = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(".partial"));
        if of_backup.is_some_and(is_name) {
            // A command that still writes it has locked it.
            let _ = remove_unfinished(&entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_complete_backups_are_counted_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let make = |directory: &str, name: Option<&str>| {
            let path = folder.path().join(directory);
            fs::create_dir(&path).unwrap();
            let manifest = BackupManifest::new(name.map(str::to_owned), String::new());
            fs::write(path.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
        };
        let own = [1, 2, 3].map(|day| format!("masker-2026030{day}T000000Z"));
        own.iter().for_each(|name| make(name, Some(name)));
        make("masker-20250101T000000Z", None);
        make("masker-20250102T000000Z", Some("another"));
        make("before-upgrade", None);
        fs::create_dir(folder.path().join("masker-20250103T000000Z")).unwrap();
        fs::create_dir(folder.path().join(".masker-20250104T000000Z.partial")).unwrap();
        fs::create_dir(folder.path().join(".other.partial")).unwrap();
        let keep = |newest: &str, count| keep(folder.path(), newest, count).unwrap();
        // A clock that was ahead has made backups whose names are later.
        let later = Retained { removed: Vec::new(), later: own[1..].to_vec() };
        assert_eq!(keep(&own[0], 1), later);
        assert_eq!(keep(&own[2], 2), Retained { removed: own[..1].to_vec(), later: Vec::new() });
        assert_eq!(keep(&own[2], 2), Retained::default());
        remove_remnants(folder.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let expected = [
            ".other.partial",
            "before-upgrade",
            "masker-20250101T000000Z",
            "masker-20250102T000000Z",
            "masker-20250103T000000Z",
            &own[1],
            &own[2],
        ];
        assert_eq!(left, expected);
    }
}
