//! What a check reports.

use serde::Serialize;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is wrong.
    Ok,
    /// Should be repaired, but prevents nothing from working.
    Warning,
    /// Does not work, is about to fail, or is accessible to users who should not have access.
    Error,
}

impl Severity {
    /// Returns its name, as in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
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
    /// What to do, with a command where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// Returns a finding that nothing is wrong.
    pub fn ok(id: &'static str, found: impl Into<String>) -> Self {
        Finding { id, status: Severity::Ok, found: found.into(), remedy: None }
    }

    /// Returns a warning.
    pub fn warning(id: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { id, status: Severity::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// Returns an error.
    pub fn error(id: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { id, status: Severity::Error, found: found.into(), remedy: Some(remedy.into()) }
    }
}
