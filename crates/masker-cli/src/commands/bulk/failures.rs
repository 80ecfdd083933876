//! Failures by row.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use super::plan::BulkPlan;
use crate::{context::CommandError, output::Output};

/// Number of failures that are reported one by one. Further ones are counted.
const SHOWN_MAX: usize = 20;

/// A value or a row that failed. Contains no data of the row.
pub(super) struct RowFailure {
    /// The row, from 1, not counting the header.
    pub(super) row: u64,
    /// The column, or `None` for the whole row.
    pub(super) column: Option<usize>,
    pub(super) code: Cow<'static, str>,
    pub(super) detail: Cow<'static, str>,
}

/// The failures of a run: the first ones, and the number of each code.
pub(super) struct FailureLog {
    shown: Vec<String>,
    by_code: BTreeMap<String, u64>,
    file: Option<(PathBuf, csv::Writer<File>)>,
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
            let file = options.open(path).map_err(|error| write_error(path, &error.into()))?;
            let has_header = file.metadata().is_ok_and(|metadata| metadata.len() > 0);
            let mut file = csv::Writer::from_writer(file);
            if !has_header {
                file.write_record(["row", "column", "code", "detail"]).map_err(|error| write_error(path, &error))?;
            }
            failures.file = Some((path.clone(), file));
        }
        failures.flush()?;
        Ok(failures)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_code.is_empty()
    }

    /// Records the failures of a chunk that was written. They are flushed to the file, so that they are there if a crash
    /// ends the run.
    pub(super) fn record(&mut self, failures: &[RowFailure], plan: &BulkPlan) -> Result<(), CommandError> {
        for failure in failures {
            let column = failure.column.map(|column| plan.name(column));
            if self.shown.len() < SHOWN_MAX {
                let place = column.map(|column| format!(", {column}")).unwrap_or_default();
                self.shown.push(format!("row {}{place}: {}: {}", failure.row, failure.code, failure.detail));
            }
            if let Some((path, file)) = &mut self.file {
                let cells = [&failure.row.to_string(), column.unwrap_or_default(), &failure.code, &failure.detail];
                file.write_record(cells).map_err(|error| write_error(path, &error))?;
            }
            *self.by_code.entry(failure.code.to_string()).or_default() += 1;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), CommandError> {
        match &mut self.file {
            Some((path, file)) => file.flush().map_err(|error| write_error(path, &error.into())),
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

fn write_error(path: &std::path::Path, error: &csv::Error) -> CommandError {
    let error: &dyn std::fmt::Display = match error.kind() {
        csv::ErrorKind::Io(error) => error,
        _ => &io::ErrorKind::InvalidData,
    };
    CommandError::Other(format!("failed to write --failures {}: {error}", path.display()))
}
