//! The user as whom root works on the daemon's files.

use std::{ffi::CString, fs, os::unix::fs::MetadataExt, path::Path};

use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgrouplist, getgroups, setegid, seteuid, setgroups};

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

    /// Returns the user of this uid and its own group, if this is root and there is such a user.
    pub(super) fn of_service(uid: Option<u32>) -> Option<Self> {
        let user = User::from_uid(Uid::from_raw(uid.filter(|_| geteuid().is_root())?)).ok().flatten()?;
        Some(FileOwner { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
    }

    /// Returns its groups: those of a user that the host knows, else the one alone.
    fn groups(self) -> Vec<Gid> {
        let gid = Gid::from_raw(self.gid);
        let user = User::from_uid(Uid::from_raw(self.uid)).ok().flatten();
        let groups = user.and_then(|user| getgrouplist(&CString::new(user.name).ok()?, gid).ok());
        groups.unwrap_or_else(|| vec![gid])
    }
}

/// The effective user of this process while it works on files of the daemon. Dropping it ends that.
pub(super) struct EffectiveUser {
    before: Option<(Uid, Gid, Vec<Gid>)>,
}

impl EffectiveUser {
    /// Becomes this user, if this is root and the user is another one.
    pub(super) fn take(owner: Option<FileOwner>) -> Result<Self, String> {
        let (uid, gid) = (geteuid(), getegid());
        let Some(owner) = owner.filter(|owner| uid.is_root() && owner.uid != 0) else {
            return Ok(EffectiveUser { before: None });
        };
        // Also root's groups give way: files of root's group are not the daemon's.
        let groups = owner.groups();
        let become_owner = || {
            setgroups(&groups)?;
            setegid(Gid::from_raw(owner.gid))?;
            seteuid(Uid::from_raw(owner.uid))
        };
        let before = getgroups().map_err(|error| format!("failed to read this user's groups: {error}"))?;
        let user = EffectiveUser { before: Some((uid, gid, before)) };
        become_owner().map_err(|error| format!("failed to become the daemon's user: {error}"))?;
        Ok(user)
    }
}

impl Drop for EffectiveUser {
    fn drop(&mut self) {
        let Some((uid, gid, groups)) = &self.before else { return };
        // Root may take its ids back. If that failed, the acceptance could not be written, which is reported.
        let _ = seteuid(*uid).and_then(|()| setegid(*gid)).and_then(|()| setgroups(groups));
    }
}
