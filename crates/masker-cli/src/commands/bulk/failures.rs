//! Failures by row.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::plan::BulkPlan;
use crate::{context::CommandError, format::io_error, output::Output};
use masker_csv::{Dialect, Quoting};

/// Number of failures that are reported one by one. Further ones are counted.
const SHOWN_MAX: usize = 20;

/// The first line of the file of `--failures`.
const HEADER: &[u8] = b"row,column,code,detail\n";

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
            "stopped at row {}, which has failed: correct it, or use --on-error keep-others or keep-row-empty to go on without it",
            self.row
        )
    }
}

/// The failures of a run: the first ones, and the number of each code.
pub(super) struct FailureLog {
    shown: Vec<String>,
    by_code: BTreeMap<String, u64>,
    file: Option<FailureFile>,
}

/// The file of `--failures`. Removed on drop if this run has created it and no failure is in it.
struct FailureFile {
    path: PathBuf,
    file: File,
    is_created: bool,
    is_empty: bool,
    /// Whether all failures so far are in it.
    is_complete: bool,
}

impl FailureLog {
    /// Creates the log, with the file of `--failures` if one is given. With `--skip-rows`, appends to that file.
    ///
    /// # Errors
    /// The file exists, and is not one to append to, or cannot be created.
    pub(super) fn open(plan: &BulkPlan) -> Result<Self, CommandError> {
        let open = |path: &PathBuf| FailureFile::open(path, plan.skip_rows);
        let file = plan.failures.as_ref().map(open).transpose()?;
        Ok(FailureLog { shown: Vec::new(), by_code: BTreeMap::new(), file })
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
            Some(file) => file.append(&records),
            None => Ok(()),
        }
    }

    /// Lists the row that a command ends with, if its error is one. That error is reported anyway.
    pub(super) fn list_end(&mut self, error: &CommandError, plan: &BulkPlan) -> Result<(), CommandError> {
        let (CommandError::BrokenRow { row, text, .. }, Some(file)) = (error, &mut self.file) else { return Ok(()) };
        let mut record = Vec::new();
        add_record(&mut record, &[&row.to_string(), "", plan.operation.invalid_code().as_str(), text]);
        file.append(&record)
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
            Some(path) if self.file.as_ref().is_some_and(|file| file.is_complete) => {
                format!("; all are in {}", path.display())
            }
            Some(path) => format!("; {} lacks the last ones", path.display()),
            None if failed > SHOWN_MAX as u64 => {
                format!("; these are the first {SHOWN_MAX}, use --failures FILE for all")
            }
            None => String::new(),
        };
        output.note(&format!("{failed} failed: {}{all}", codes.join(", ")));
    }
}

impl FailureFile {
    /// Creates a file, or continues one with the failures of the rows that are skipped.
    fn open(path: &Path, skip_rows: u64) -> Result<Self, CommandError> {
        let opened = |file, is_created, is_empty| FailureFile {
            path: path.to_owned(),
            file,
            is_created,
            is_empty,
            is_complete: true,
        };
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => return Ok(opened(file, true, true)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(write_error(path, &error)),
        }
        let exists = |advice| CommandError::Other(format!("--failures: {} exists already: {advice}", path.display()));
        if skip_rows == 0 {
            return Err(exists("use another name"));
        }
        // Anything else than a list of failures, such as the input, stays as it is.
        let mut options = OpenOptions::new();
        let options = options.read(true).append(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let list = options.open(path).and_then(|file| {
            let mut text = Vec::new();
            if file.metadata()?.is_file() {
                (&file).read_to_end(&mut text)?;
            }
            Ok((file.metadata()?.is_file(), text, file))
        });
        match list {
            Ok((true, text, file)) if text.is_empty() || text.starts_with(HEADER) => {
                // A run that ended early can have listed rows that it did not write, and a part of a line.
                let kept = length_up_to(&text, skip_rows) as u64;
                file.set_len(kept).map_err(|error| write_error(path, &error))?;
                Ok(opened(file, false, kept == 0))
            }
            _ => Err(exists("it is not a list of failures to append to; use another name")),
        }
    }

    /// Appends records, after the header if they are the first.
    fn append(&mut self, records: &[u8]) -> Result<(), CommandError> {
        if records.is_empty() {
            return Ok(());
        }
        let header = if std::mem::take(&mut self.is_empty) { HEADER } else { b"" };
        let written = self.file.write_all(&[header, records].concat());
        self.is_complete &= written.is_ok();
        written.map_err(|error| write_error(&self.path, &error))
    }
}

impl Drop for FailureFile {
    fn drop(&mut self) {
        if self.is_created && self.is_empty {
            // An empty file that is left says the same.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Returns the length of a list up to the first record that is of a later row, or not whole.
fn length_up_to(list: &[u8], row_max: u64) -> usize {
    let mut kept = 0;
    let mut is_quoted = false;
    for (at, byte) in list.iter().enumerate() {
        is_quoted ^= *byte == b'"';
        if *byte != b'\n' || is_quoted {
            continue;
        }
        let row = list[kept..at].split(|byte| *byte == b',').next().unwrap_or_default();
        let row = std::str::from_utf8(row).ok().and_then(|row| row.parse::<u64>().ok());
        if kept > 0 && row.is_none_or(|row| row > row_max) {
            break;
        }
        kept = at + 1;
    }
    kept
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
    CommandError::FailureList(format!("failed to write --failures {}: {}", path.display(), io_error(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_continued_after_the_rows_that_are_done() {
        let list = b"row,column,code,detail\n3,\"a\n7,b\",value.invalid,x\n5,c,value.invalid,\"y, z\"\n9,c,value.inv";
        let end =
            |text: &str| list.windows(text.len()).position(|window| window == text.as_bytes()).unwrap() + text.len();
        assert_eq!(length_up_to(list, 9), end("\"y, z\"\n"), "the last line is not whole");
        assert_eq!(length_up_to(list, 5), end("\"y, z\"\n"));
        assert_eq!(length_up_to(list, 4), end("value.invalid,x\n"));
        assert_eq!(length_up_to(list, 2), HEADER.len());
        assert_eq!((length_up_to(b"", 2), length_up_to(b"row,col", 2)), (0, 0));
    }
}
