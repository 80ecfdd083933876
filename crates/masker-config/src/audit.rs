//! `[audit]`: how the audit log is written and kept.

use std::{path::PathBuf, time::Duration};

use super::fields::path;
use masker_core::document::{Located, Section};
use masker_types::audit::{OnFailure, SyncPolicy};

/// The default retention of closed segments, in days: seven years.
const RETENTION_DAYS_DEFAULT: u32 = 2_555;
/// The longest retention, in days: a century.
const RETENTION_DAYS_MAX: u64 = 36_525;
/// The default size at which a segment is closed, in MiB.
const SEGMENT_MB_DEFAULT: u64 = 128;
/// The greatest such size, in MiB.
const SEGMENT_MB_MAX: u64 = 4_096;
/// The longest time between the write of an event and its sync, in milliseconds.
const SYNC_MS_MAX: u64 = 10_000;
/// The default of that time, in milliseconds.
const SYNC_MS_DEFAULT: u64 = 100;

/// How the audit log is written and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// The directory of the log, which contains nothing else: an absolute path.
    pub path: PathBuf,
    /// When events are made durable.
    pub sync: SyncPolicy,
    /// What happens while events cannot be written.
    pub on_failure: OnFailure,
    /// Days for which a segment is kept after its end.
    pub retention_days: u32,
    /// The size at which a segment is closed, in MiB.
    pub segment_mb: u64,
}

impl AuditConfig {
    /// Returns the size at which a segment is closed, in bytes.
    pub fn segment_bytes_max(&self) -> u64 {
        self.segment_mb * 1_024 * 1_024
    }
}

/// The settings of a file, without defaults.
#[derive(Default)]
pub(super) struct AuditSettings {
    pub(super) path: Option<PathBuf>,
    sync: Option<SyncPolicy>,
    on_failure: Option<OnFailure>,
    retention_days: Option<u32>,
    segment_mb: Option<u64>,
}

impl AuditSettings {
    /// Reads the section.
    pub(super) fn read(root: &Section<'_>, base: &std::path::Path) -> Self {
        let Some(section) = root.section("audit") else { return AuditSettings::default() };
        let days = section.integer("retention_days", 1..=RETENTION_DAYS_MAX);
        let choices = [("refuse", OnFailure::Refuse), ("continue", OnFailure::Continue)];
        let settings = AuditSettings {
            path: path(&section, "path", base),
            sync: sync(&section),
            on_failure: section.choice("on_failure", &choices).map(|choice| choice.value),
            retention_days: days.and_then(|days| u32::try_from(days.value).ok()),
            segment_mb: section.integer("segment_mb", 1..=SEGMENT_MB_MAX).map(|size| size.value),
        };
        section.finish();
        settings
    }

    /// Applies the defaults.
    pub(super) fn resolve(self, path: PathBuf) -> AuditConfig {
        AuditConfig {
            path,
            sync: self.sync.unwrap_or(SyncPolicy::Every(Duration::from_millis(SYNC_MS_DEFAULT))),
            on_failure: self.on_failure.unwrap_or(OnFailure::Refuse),
            retention_days: self.retention_days.unwrap_or(RETENTION_DAYS_DEFAULT),
            segment_mb: self.segment_mb.unwrap_or(SEGMENT_MB_DEFAULT),
        }
    }
}

/// Reads `sync`: `always`, or a time in milliseconds such as `100ms`.
fn sync(section: &Section<'_>) -> Option<SyncPolicy> {
    let Located { value, line } = section.string("sync")?;
    if value == "always" {
        return Some(SyncPolicy::Always);
    }
    let milliseconds = value.strip_suffix("ms").and_then(|number| number.parse().ok());
    match milliseconds.filter(|ms| (1..=SYNC_MS_MAX).contains(ms)) {
        Some(ms) => Some(SyncPolicy::Every(Duration::from_millis(ms))),
        None => {
            section.report(
                line,
                format!("`sync` must be \"always\", or milliseconds such as \"100ms\", at most {SYNC_MS_MAX}"),
            );
            None
        }
    }
}
