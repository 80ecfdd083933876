//! The owner of a vault's files.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};

/// Becomes the owner of a vault and stays so, if this process is root's: the files that an engine creates must be the
/// owner's.
///
/// # Errors
/// The directory cannot be read, or the kernel refused the change.
pub(super) fn become_owner(data_dir: &Path) -> Result<(), String> {
    change(data_dir).map_err(|failed| format!("failed to become the owner of {}: {failed}", data_dir.display()))
}

fn change(data_dir: &Path) -> io::Result<()> {
    let found = fs::metadata(data_dir)?;
    if geteuid().is_root() && found.uid() != 0 {
        let group = Gid::from_raw(found.gid());
        setgroups(&[group])?;
        setgid(group)?;
        setuid(Uid::from_raw(found.uid()))?;
    }
    Ok(())
}
