//! The user as whom root works on the daemon's files.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use nix::unistd::{Gid, Uid, getegid, geteuid, setegid, seteuid};

/// A user and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileOwner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl FileOwner {
    /// Returns the owner of the first of these paths that exists.
    pub(super) fn of<const N: usize>(paths: [&Path; N]) -> Option<Self> {
        let owner = paths.into_iter().find_map(|path| fs::metadata(path).ok())?;
        Some(FileOwner { uid: owner.uid(), gid: owner.gid() })
    }
}

/// The effective user of this process while it works on files of the daemon. Dropping it ends that.
pub(super) struct EffectiveUser {
    before: Option<(Uid, Gid)>,
}

impl EffectiveUser {
    /// Becomes the owner of the first of these paths that exists, if this is root.
    pub(super) fn owner_of<const N: usize>(paths: [&Path; N]) -> Result<Self, String> {
        Self::take(FileOwner::of(paths))
    }

    /// Becomes this user, if this is root and the user is another one.
    pub(super) fn take(owner: Option<FileOwner>) -> Result<Self, String> {
        let (uid, gid) = (geteuid(), getegid());
        let Some(owner) = owner.filter(|owner| uid.is_root() && owner.uid != 0) else {
            return Ok(EffectiveUser { before: None });
        };
        let become_owner = || setegid(Gid::from_raw(owner.gid)).and_then(|()| seteuid(Uid::from_raw(owner.uid)));
        let user = EffectiveUser { before: Some((uid, gid)) };
        become_owner().map_err(|error| format!("failed to become the daemon's user: {error}"))?;
        Ok(user)
    }
}

impl Drop for EffectiveUser {
    fn drop(&mut self) {
        let Some((uid, gid)) = self.before else { return };
        // Root may take its ids back. If that failed, the acceptance could not be written, which is reported.
        let _ = seteuid(uid).and_then(|()| setegid(gid));
    }
}
