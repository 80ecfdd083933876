//! Readers of fields that several sections have.

use std::path::{Path, PathBuf};

use super::host::absolute;
use masker_core::document::{Located, Section};

/// Reads a path, relative to `base`.
pub(super) fn path(section: &Section<'_>, name: &'static str, base: &Path) -> Option<PathBuf> {
    let Located { value, line } = section.string(name)?;
    let problem = if value.is_empty() {
        "is empty; leave it out for the default"
    } else if value.contains('\0') {
        "contains a zero byte, which paths cannot contain"
    } else if value == "~" || value.starts_with("~/") {
        "begins with `~`, which only shells expand: write the whole path"
    } else {
        return Some(absolute(base, value));
    };
    section.report(line, format!("`{name}` {problem}"));
    None
}

/// Reads a text that must not be empty.
pub(super) fn name(section: &Section<'_>, name: &'static str) -> Option<String> {
    let Located { value, line } = section.string(name)?;
    if value.is_empty() {
        section.report(line, format!("`{name}` is empty; leave it out for the default"));
        return None;
    }
    Some(value.to_owned())
}
