//! The last start of the installed unit: whether it failed, and what the daemon has said.
//!
//! After a failed start systemd still listens on the socket, so that a connection looks like a daemon that does not answer, and
//! asks for one more start.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde::Deserialize;

use super::{finding::Finding, finding_id::FindingId};

/// What is asked of systemd.
const PROPERTIES: &str = "--property=ActiveState,SubState,Result,ExecMainStatus,MainPID";
/// How many lines of the journal are read.
const JOURNAL_LINES: &str = "--lines=200";
/// The last message of a start that fails. The errors are before it.
const FAILED: &str = "masker failed to start";
/// The most errors that are shown.
const ERRORS_MAX: usize = 5;

/// The state of the daemon's unit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UnitState {
    /// A daemon runs, or is starting or stopping.
    Running,
    /// No daemon runs, and the last one has not failed.
    Stopped,
    /// The last start or the last daemon has failed.
    Failed(UnitFailure),
}

/// Why the daemon of a unit does not run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnitFailure {
    /// What systemd calls it, such as `exit-code`.
    result: String,
    /// The exit code or the signal of the daemon.
    status: String,
    /// The errors of the last start that the journal has, the first one first. Empty if the journal cannot be read.
    errors: Vec<String>,
}

/// Asks systemd for the state of the unit. `None` without systemd or without an answer. Blocks.
pub(super) fn gather(root: &Path, service: &str) -> Option<UnitState> {
    if !root.join("run/systemd/system").is_dir() {
        return None;
    }
    let shown = output(Command::new("systemctl").args(["show", service, PROPERTIES]))?;
    let journal = || {
        let read = ["--unit", service, "--output=cat", "--quiet", "--no-pager", JOURNAL_LINES];
        output(Command::new("journalctl").args(read)).unwrap_or_default()
    };
    state(&shown, journal)
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the state of a unit from what `systemctl show` writes.
fn state(shown: &str, journal: impl FnOnce() -> String) -> Option<UnitState> {
    let properties: BTreeMap<&str, &str> = shown.lines().filter_map(|line| line.split_once('=')).collect();
    let property = |name: &str| properties.get(name).copied().unwrap_or_default();
    let failed = || {
        UnitState::Failed(UnitFailure {
            result: property("Result").to_owned(),
            status: property("ExecMainStatus").to_owned(),
            errors: last_errors(&journal()),
        })
    };
    Some(match (property("ActiveState"), property("SubState")) {
        ("failed", _) | ("activating", "auto-restart" | "auto-restart-queued") => failed(),
        ("inactive", _) if !["", "success"].contains(&property("Result")) => failed(),
        ("inactive", _) => UnitState::Stopped,
        ("", _) => return None,
        _ => UnitState::Running,
    })
}

/// Returns the errors of the last start that has failed, from the lines of a journal.
fn last_errors(journal: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct LogLine {
        level: String,
        message: String,
    }
    let error = |line: &str| {
        let line: LogLine = serde_json::from_str(line).ok()?;
        line.level.eq_ignore_ascii_case("error").then_some(line.message)
    };
    let mut later = journal.lines().rev().skip_while(|line| error(line).is_none_or(|message| message != FAILED));
    later.next();
    let mut errors: Vec<String> =
        later.map_while(error).take_while(|message| message != FAILED).take(ERRORS_MAX).collect();
    errors.reverse();
    errors
}

/// `daemon.start`: the last start of the unit has not failed.
pub(super) fn judge(failure: &UnitFailure, service: &str) -> Finding {
    let UnitFailure { result, status, errors } = failure;
    let found = format!("the last start of {service} failed (systemd: {result}, exit code or signal {status})");
    let start = "`systemctl reset-failed 'masker.*'; systemctl start masker.socket masker.service`";
    let (found, remedy) = match errors.is_empty() {
        true => (
            format!("{found}; this user does not see why"),
            format!("`journalctl --unit {service} --lines 30` as root says why. Put that right, then {start}"),
        ),
        false => {
            let (last, others) = (errors.join("; "), "put right what it says, if the findings below still have it");
            (format!("{found}: {last}"), format!("{others}, then {start}"))
        }
    };
    Finding::error("daemon.start", FindingId::StartRefused, found, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(active: &str, sub: &str, result: &str) -> Option<UnitState> {
        let shown = format!("ActiveState={active}\nSubState={sub}\nResult={result}\nExecMainStatus=1\nMainPID=0\n");
        state(&shown, String::new)
    }

    #[test]
    fn tells_a_failed_start_from_a_stopped_and_a_running_daemon() {
        let failed = |result: &str| {
            Some(UnitState::Failed(UnitFailure { result: result.into(), status: "1".into(), errors: Vec::new() }))
        };
        assert_eq!(of("failed", "failed", "exit-code"), failed("exit-code"));
        assert_eq!(of("activating", "auto-restart", "exit-code"), failed("exit-code"));
        assert_eq!(of("inactive", "dead", "start-limit-hit"), failed("start-limit-hit"));
        assert_eq!(of("inactive", "dead", "success"), Some(UnitState::Stopped));
        assert_eq!(of("active", "running", "success"), Some(UnitState::Running));
        assert_eq!(of("activating", "start", "success"), Some(UnitState::Running));
        assert_eq!(state("", String::new), None);
    }

    #[test]
    fn shows_the_errors_of_the_last_start_only() {
        let line = |level: &str, message: &str| format!("{{\"level\":\"{level}\",\"message\":\"{message}\"}}\n");
        let start = |errors: &[&str]| {
            let errors: String = errors.iter().map(|error| line("ERROR", error)).collect();
            format!("{}{errors}{}", line("WARN", "a warning"), line("ERROR", FAILED))
        };
        let journal = format!("{}{}masker.service: Failed.\n", start(&["earlier"]), start(&["one", "two"]));
        assert_eq!(last_errors(&journal), ["one", "two"]);
        assert_eq!(last_errors("no JSON\n"), [""; 0]);
        let failure = UnitFailure { result: "exit-code".into(), status: "3".into(), errors: last_errors(&journal) };
        let finding = judge(&failure, "masker.service");
        assert!(finding.found.ends_with("exit code or signal 3): one; two"), "{finding:?}");
        let unseen = judge(&UnitFailure { errors: Vec::new(), ..failure }, "masker.service");
        assert!(unseen.remedy.unwrap().starts_with("`journalctl --unit masker.service"));
    }
}
