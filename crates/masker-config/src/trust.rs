//! Whether other users can change what a command finds in its working directory.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// The mode bits that let a file's group, and every user, change it.
const GROUP_WRITE: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
/// The mode bit of a directory in which a user can replace only their own files.
const STICKY: u32 = 0o1000;

/// Returns whether only this user and root can change a file, or what is in a directory.
pub(super) fn is_trusted(found: &Metadata, uid: u32) -> bool {
    // Many distributions give each user a group of the same number, and let it write.
    let is_own_group = found.gid() == found.uid();
    let writable = if is_own_group { OTHERS_WRITE } else { OTHERS_WRITE | GROUP_WRITE };
    belongs_to(found, uid) && found.mode() & writable == 0
}

/// Returns whether only this user and root can change what is in a directory, or put another one in its place.
pub(super) fn is_trusted_directory(directory: &Path, uid: u32) -> bool {
    let keeps_entries =
        |found: Metadata| is_trusted(&found, uid) || belongs_to(&found, uid) && found.mode() & STICKY != 0;
    let mut path = directory.ancestors();
    path.next().is_some_and(|own| fs::metadata(own).is_ok_and(|found| is_trusted(&found, uid)))
        && path.all(|parent| fs::metadata(parent).is_ok_and(keeps_entries))
}

fn belongs_to(found: &Metadata, uid: u32) -> bool {
    [0, uid].contains(&found.uid())
}

/// Returns whether every user of the host can change a file, or what is in a directory.
pub fn is_open_to_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.mode() & OTHERS_WRITE != 0)
}
