//! Reads policies from files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    error::{ConfigErrors, ErrorCollector},
    text_file,
};
use masker_core::policy::{Policy, PolicySet};

/// Reads the policies of a file, or of the `*.toml` files of a directory in the order of their names. Skips hidden files,
/// which editors leave behind. `default` is the policy of requests that name none.
///
/// # Errors
/// All errors of all files; if there are none, all conflicts between the policies.
pub fn load_policies(path: &Path, default: Option<&str>) -> Result<PolicySet, ConfigErrors> {
    let mut errors = ErrorCollector::default();
    let mut policies = Vec::new();
    for file in files_of(path, &mut errors) {
        if let Some(policy) = read_policy(&file, &mut errors) {
            policies.push((file.display().to_string(), policy));
        }
    }
    if !errors.is_empty() {
        return errors.into_result(None);
    }
    match PolicySet::build(policies, default) {
        Ok(set) => Ok(set),
        Err(conflicts) => {
            for error in conflicts {
                errors.add(path.display(), error.to_string());
            }
            errors.into_result(None)
        }
    }
}

/// Reads one policy.
///
/// # Errors
/// All errors of the file.
pub fn load_policy(file: &Path) -> Result<Policy, ConfigErrors> {
    let mut errors = ErrorCollector::default();
    let policy = read_policy(file, &mut errors);
    errors.into_result(policy)
}

fn read_policy(file: &Path, errors: &mut ErrorCollector) -> Option<Policy> {
    let text = text_file::read(file).map_err(|error| errors.add_text_file_error(file, error)).ok()?;
    Policy::parse(&text).map_err(|problems| errors.add_problems(file, problems)).ok()
}

/// Returns the files that [`load_policies`] reads.
///
/// # Errors
/// There is no such file or directory, or it cannot be listed.
pub fn policy_files(path: &Path) -> Result<Vec<PathBuf>, ConfigErrors> {
    let mut errors = ErrorCollector::default();
    let files = files_of(path, &mut errors);
    errors.into_result(Some(files))
}

/// Returns the files of the policies. A path that does not exist is an error.
fn files_of(path: &Path, errors: &mut ErrorCollector) -> Vec<PathBuf> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        // Reading the file finds whether it is a regular one.
        Ok(_) => return vec![path.to_owned()],
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            errors.add(path.display(), "there is no such file or directory");
            return Vec::new();
        }
        Err(error) => {
            errors.add(path.display(), format!("cannot be read: {error}"));
            return Vec::new();
        }
    }
    let entries = fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut files: Vec<PathBuf> = entries.unwrap_or_else(|error: io::Error| {
        errors.add(path.display(), format!("cannot be listed: {error}"));
        Vec::new()
    });
    files.retain(|file| is_policy_file(file));
    files.sort();
    files
}

/// Returns whether [`load_policies`] reads this entry of a directory of policies: a file `NAME.toml` that is not hidden.
pub fn is_policy_file(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "toml") && !path.is_dir()
}
