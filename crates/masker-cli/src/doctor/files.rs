//! The facts about a file that need not open it.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use jiff::Timestamp;
use nix::unistd::{Gid, Group, Uid, User};

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileType {
    /// A directory.
    Directory,
    /// A regular file.
    Regular,
    /// A socket.
    Socket,
    /// Anything else.
    Other,
}

/// The metadata of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileFacts {
    pub(super) kind: FileType,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Its modification time, if it can be represented.
    pub(super) modified: Option<Timestamp>,
}

impl FileFacts {
    pub(super) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }
}

/// The result of examining a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathStatus {
    /// The path exists.
    Present(FileFacts),
    /// The path does not exist.
    Missing,
    /// The path cannot be examined, for this reason.
    Hidden(String),
}

impl PathStatus {
    /// Examines a path. Follows symbolic links.
    pub(super) fn at(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(found) => {
                let kind = match found.file_type() {
                    kind if kind.is_dir() => FileType::Directory,
                    kind if kind.is_file() => FileType::Regular,
                    kind if kind.is_socket() => FileType::Socket,
                    _ => FileType::Other,
                };
                PathStatus::Present(FileFacts {
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

    /// Returns whether the path cannot be examined.
    pub(super) fn is_hidden(&self) -> bool {
        matches!(self, PathStatus::Hidden(_))
    }

    /// Returns the metadata, if there is any.
    pub(super) fn facts(&self) -> Option<&FileFacts> {
        match self {
            PathStatus::Present(facts) => Some(facts),
            PathStatus::Missing | PathStatus::Hidden(_) => None,
        }
    }
}

/// Returns a user's name, or its number.
pub(super) fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| format!("uid {uid}"), |user| user.name)
}

/// Returns a group's name, or its number.
pub(super) fn group_name(gid: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    group.map_or_else(|| format!("gid {gid}"), |group| group.name)
}
