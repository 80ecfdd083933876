//! What can be told of a file without opening it.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use jiff::Timestamp;
use nix::unistd::{Gid, Group, Uid, User};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    Regular,
    /// A socket.
    Socket,
    /// Anything else.
    Other,
}

/// What is told of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileFacts {
    pub(super) kind: FileKind,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// When it was last changed, where the clock can tell that.
    pub(super) modified: Option<Timestamp>,
}

impl FileFacts {
    pub(super) fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }
}

/// What came of a look at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathStatus {
    /// It is there.
    There(FileFacts),
    /// It is not.
    Missing,
    /// The system does not say, for this reason.
    Hidden(String),
}

impl PathStatus {
    /// Looks at what a path leads to.
    pub(super) fn at(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(found) => {
                let kind = match found.file_type() {
                    kind if kind.is_dir() => FileKind::Directory,
                    kind if kind.is_file() => FileKind::Regular,
                    kind if kind.is_socket() => FileKind::Socket,
                    _ => FileKind::Other,
                };
                PathStatus::There(FileFacts {
                    kind,
                    mode: found.mode() & 0o7777,
                    uid: found.uid(),
                    gid: found.gid(),
                    modified: found.modified().ok().and_then(|time| Timestamp::try_from(time).ok()),
                })
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => PathStatus::Missing,
            Err(error) => PathStatus::Hidden(error.to_string()),
        }
    }

    /// What was told, if anything was.
    pub(super) fn facts(&self) -> Option<&FileFacts> {
        match self {
            PathStatus::There(facts) => Some(facts),
            PathStatus::Missing | PathStatus::Hidden(_) => None,
        }
    }
}

/// A user's name, or the number where it has none.
pub(super) fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| format!("uid {uid}"), |user| user.name)
}

/// A group's name, or the number where it has none.
pub(super) fn group_name(gid: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    group.map_or_else(|| format!("gid {gid}"), |group| group.name)
}

/// A number of bytes, as people read it.
pub fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut amount, mut unit) = (count as f64, "bytes");
    for larger in units {
        if amount < 1_024.0 {
            break;
        }
        (amount, unit) = (amount / 1_024.0, larger);
    }
    if unit == "bytes" { format!("{count} bytes") } else { format!("{amount:.1} {unit}") }
}
