//! The events of a daemon's audit log.

use std::fs;

use serde_json::Value;

use super::Site;

impl Site {
    /// Returns the events of the audit log in order. While the daemon runs, the last ones may be missing.
    pub fn audit_events(&self) -> Vec<Value> {
        let files = fs::read_dir(self.path("audit")).expect("an audit log");
        let mut segments: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        segments.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
        segments.sort();
        let read = |path| fs::read_to_string(path).expect("a segment");
        let text: String = segments.iter().map(read).collect();
        let event = |line| serde_json::from_str::<Value>(line).expect("JSON")["event"].take();
        text.lines().map(event).collect()
    }
}

/// Returns the events of one operation.
pub fn events_of(events: &[Value], operation: &str) -> Vec<Value> {
    events.iter().filter(|event| event["op"] == operation).cloned().collect()
}
