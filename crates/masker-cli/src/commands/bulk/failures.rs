//! Failures by row.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::plan::BulkPlan;
use crate::{context::CommandError, output::Output};
use masker_csv::{Dialect, Quoting};

/// Number of failures that are reported one by one. Further ones are counted.
const SHOWN_MAX: usize = 20;

/// A value or a row that failed. Contains no data of the row.
#[derive(Debug)]
pub(super) struct RowFailure {
    /// The index of the row in its chunk. In the output of a chunk, the number of the row, from 1, not counting the header.
    pub(super) row: u64,
    /// The line that the row begins on, where that can differ from its number.
    pub(super) line: Option<u64>,
    /// The column, or `None` for the whole row.
    pub(super) column: Option<usize>,
    pub(super) code: Cow<'static, str>,
    pub(super) detail: Cow<'static, str>,
}

impl RowFailure {
    /// Returns a failure in the row with this index.
    pub(super) fn new(
        row: usize,
        column: Option<usize>,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        RowFailure { row: row as u64, line: None, column, code: code.into(), detail: detail.into() }
    }

    /// Returns the message of a run that it has ended.
    pub(super) fn stopped(&self) -> String {
        format!(
            "stopped at row {}, which has failed. To leave it out, skip it too; to go on, use --on-error keep-others or \
             keep-row-empty",
            self.row
        )
    }
}

/// The failures of a run: the first ones, and the number of each code.
pub(super) struct FailureLog {
    shown: Vec<String>,
    by_code: BTreeMap<String, u64>,
    file: Option<(PathBuf, File)>,
}

impl FailureLog {
    /// Creates the log, with the file of `--failures` if one is given. With `--skip-rows`, appends to that file.
    pub(super) fn open(plan: &BulkPlan) -> Result<Self, CommandError> {
        let mut failures = FailureLog { shown: Vec::new(), by_code: BTreeMap::new(), file: None };
        if let Some(path) = &plan.failures {
            let resumed = plan.skip_rows > 0;
            let mut options = OpenOptions::new();
            let options = options.create(true).mode(0o600);
            let options = if resumed { options.append(true) } else { options.write(true).truncate(true) };
            let mut file = options.open(path).map_err(|error| write_error(path, &error))?;
            let has_header = file.metadata().is_ok_and(|metadata| metadata.len() > 0);
            if !has_header {
                let mut header = Vec::new();
                add_record(&mut header, &["row", "column", "code", "detail"]);
                file.write_all(&header).map_err(|error| write_error(path, &error))?;
            }
            failures.file = Some((path.clone(), file));
        }
        Ok(failures)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_code.is_empty()
    }

    /// Records the failures of a chunk. They are in the file at once, also if a crash ends the run.
    pub(super) fn record(&mut self, failures: &[RowFailure], plan: &BulkPlan) -> Result<(), CommandError> {
        let mut records = Vec::new();
        for failure in failures {
            let column = failure.column.map(|column| plan.name(column));
            if self.shown.len() < SHOWN_MAX {
                let place = column.map(|column| format!(", {column}")).unwrap_or_default();
                let line = failure.line.map(|line| format!(" (line {line})")).unwrap_or_default();
                self.shown.push(format!("row {}{line}{place}: {}: {}", failure.row, failure.code, failure.detail));
            }
            add_record(
                &mut records,
                &[&failure.row.to_string(), column.unwrap_or_default(), &failure.code, &failure.detail],
            );
            *self.by_code.entry(failure.code.to_string()).or_default() += 1;
        }
        match &mut self.file {
            Some((path, file)) => file.write_all(&records).map_err(|error| write_error(path, &error)),
            None => Ok(()),
        }
    }

    /// Reports the failures on standard error.
    pub(super) fn report(&self, plan: &BulkPlan, output: &Output) {
        for line in &self.shown {
            output.error(line);
        }
        let failed: u64 = self.by_code.values().sum();
        if failed == 0 {
            return;
        }
        let codes: Vec<String> = self.by_code.iter().map(|(code, count)| format!("{code} {count}")).collect();
        let all = match &plan.failures {
            Some(path) => format!("; all are in {}", path.display()),
            None if failed > SHOWN_MAX as u64 => {
                format!("; these are the first {SHOWN_MAX}, use --failures FILE for all")
            }
            None => String::new(),
        };
        output.note(&format!("{failed} failed: {}{all}", codes.join(", ")));
    }
}

/// Appends a line of CSV.
fn add_record(to: &mut Vec<u8>, cells: &[&str]) {
    let dialect = Dialect { delimiter: b',', quoting: Quoting::Strict, escape: None };
    for (index, cell) in cells.iter().enumerate() {
        to.extend((index > 0).then_some(b','));
        // With quotes, every text can be written.
        let _ = dialect.encode(cell.as_bytes(), false, to);
    }
    to.push(b'\n');
}

fn write_error(path: &Path, error: &io::Error) -> CommandError {
    CommandError::Other(format!("failed to write --failures {}: {error}", path.display()))
}
