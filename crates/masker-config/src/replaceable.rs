//! Paths that stay readable when files are replaced by renaming, as editors and deployments do.

use std::{
    fs,
    path::{self, Path, PathBuf},
};

/// Returns the paths that the daemon must be able to read so that `path` stays readable after it was replaced: a directory
/// itself; for a file its directory, and the directory that a link leads to. A file directly below `/` is returned itself.
pub fn replaceable(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        return vec![path.to_owned()];
    }
    let directory = |path: PathBuf| match path.parent() {
        Some(parent) if parent.parent().is_some() => parent.to_owned(),
        _ => path,
    };
    let absolute = path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let real = fs::canonicalize(path).unwrap_or_else(|_| absolute.clone());
    vec![directory(absolute), directory(real)]
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn returns_the_directory_of_a_file_and_of_its_link_target() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(root.join("elsewhere")).unwrap();
        fs::write(root.join("elsewhere/key"), "").unwrap();
        symlink(root.join("elsewhere/key"), root.join("key")).unwrap();
        assert_eq!(replaceable(&root), std::slice::from_ref(&root));
        assert_eq!(replaceable(&root.join("key")), [root.clone(), root.join("elsewhere")]);
        // A file that does not exist yet.
        assert_eq!(replaceable(&root.join("old")), [root.clone(), root.clone()]);
        // For one file, the root directory is too much.
        let top = Path::new("/masker-no-such-file.toml");
        assert_eq!(replaceable(top), [top, top]);
    }
}
