//! What a check reports.

use nix::unistd::geteuid;
use serde::Serialize;

use super::finding_id::FindingId;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is wrong.
    Ok,
    /// The check could not look, so nothing is known.
    NotChecked,
    /// Should be repaired, but prevents nothing from working.
    Warning,
    /// Does not work, is about to fail, or is accessible to users who should not have access.
    Error,
}

impl Severity {
    /// Returns its name. `--json` has it with `_` in place of spaces.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::NotChecked => "not checked",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the check, which does not change between versions. A check can have several findings.
    pub id: &'static str,
    /// Its severity.
    pub status: Severity,
    /// What was found.
    pub found: String,
    /// What to do, with a command where there is one. Absent if nothing is wrong, as are the fields below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<FindingId>,
    /// The path of its page in the book's source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<&'static str>,
}

impl Finding {
    /// Returns a finding that nothing is wrong.
    pub fn ok(id: &'static str, found: impl Into<String>) -> Self {
        Finding { id, status: Severity::Ok, found: found.into(), remedy: None, finding: None, page: None }
    }

    /// Returns that a check could not look, with the reason and what to do about it.
    pub fn not_checked(id: &'static str, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::of(id, Severity::NotChecked, FindingId::NotChecked, why.into(), remedy.into())
    }

    /// Returns a warning.
    pub fn warning(id: &'static str, finding: FindingId, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::of(id, Severity::Warning, finding, found.into(), remedy.into())
    }

    /// Returns an error.
    pub fn error(id: &'static str, finding: FindingId, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::of(id, Severity::Error, finding, found.into(), remedy.into())
    }

    fn of(id: &'static str, status: Severity, finding: FindingId, found: String, remedy: String) -> Self {
        Finding { id, status, found, remedy: Some(remedy), finding: Some(finding), page: Some(finding.page()) }
    }
}

/// Returns who can look where this user cannot, as a remedy.
pub(super) fn look_as() -> &'static str {
    match geteuid().is_root() {
        false => "run doctor as root, or as the daemon's user",
        true => "root cannot read it here: run doctor on the host instead of in a container, or as the file's owner",
    }
}
