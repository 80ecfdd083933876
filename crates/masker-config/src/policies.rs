//! Policies from files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    error::{ConfigErrors, ErrorCollector},
    text_file,
};
use masker_core::policy::{Policy, PolicySet};

/// Reads the policies of a file, or of the `*.toml` files of a directory in the order of their names, hidden ones
/// left out: editors leave such files behind. `default` is what requests use that name no policy.
///
/// # Errors
/// Every problem of every file, and each reason why sound policies cannot be in force together.
pub fn load_policies(path: &Path, default: Option<&str>) -> Result<PolicySet, ConfigErrors> {
    let mut faults = ErrorCollector::default();
    let mut policies = Vec::new();
    for file in policy_files(path, &mut faults) {
        if let Some(policy) = read_policy(&file, &mut faults) {
            policies.push((file.display().to_string(), policy));
        }
    }
    if !faults.is_empty() {
        return faults.or(None);
    }
    match PolicySet::build(policies, default) {
        Ok(set) => Ok(set),
        Err(errors) => {
            for error in errors {
                faults.add(path.display(), error.to_string());
            }
            faults.or(None)
        }
    }
}

/// Reads one policy.
///
/// # Errors
/// Every problem of the file.
pub fn load_policy(file: &Path) -> Result<Policy, ConfigErrors> {
    let mut faults = ErrorCollector::default();
    let policy = read_policy(file, &mut faults);
    faults.or(policy)
}

fn read_policy(file: &Path, faults: &mut ErrorCollector) -> Option<Policy> {
    let text = text_file::read(file).map_err(|error| faults.add_text_file_error(file, error)).ok()?;
    Policy::parse(&text).map_err(|problems| faults.add_problems(file, problems)).ok()
}

/// The files that hold policies. Nothing is there is noted as a fault.
fn policy_files(path: &Path, faults: &mut ErrorCollector) -> Vec<PathBuf> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        // That it is not there, or not regular, is found where it is read.
        Ok(_) => return vec![path.to_owned()],
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            faults.add(path.display(), "there is no such file or directory: say where the policies are");
            return Vec::new();
        }
        Err(error) => {
            faults.add(path.display(), format!("cannot be read: {error}"));
            return Vec::new();
        }
    }
    let entries = fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut files: Vec<PathBuf> = entries.unwrap_or_else(|error: io::Error| {
        faults.add(path.display(), format!("cannot be listed: {error}"));
        Vec::new()
    });
    files.retain(|file| {
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && file.extension().is_some_and(|extension| extension == "toml") && !file.is_dir()
    });
    files.sort();
    files
}
