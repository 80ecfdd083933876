//! Output of commands: results on standard output, everything else on standard error.
//!
//! On a terminal, results are tables. Otherwise they are lines of cells separated by tabs, without a header, for other
//! programs. With `--json` they are the daemon's responses.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use super::{args::Global, closed_output, context::CommandError};

/// The output of a command, in the format that the options select.
pub(super) struct Output {
    results: BufWriter<Results>,
    terminal: bool,
    json: bool,
    quiet: bool,
    verbose: bool,
}

/// Standard output, or the error that it was closed.
struct Results(Stdout);

impl Write for Results {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if closed_output::is_closed() {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Output {
    pub(super) fn new(global: &Global) -> Self {
        let stdout = io::stdout();
        Output {
            terminal: stdout.is_terminal(),
            results: BufWriter::new(Results(stdout)),
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose > 0,
        }
    }

    /// Returns whether results are JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Returns whether only results and errors are written.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Returns whether standard output is a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes a JSON value on a line.
    pub(super) fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CommandError> {
        serde_json::to_writer(&mut self.results, value).map_err(|error| CommandError::Output(error.into()))?;
        self.bytes(b"\n")
    }

    /// Writes a line. On a terminal, control characters except tabs are escaped, because a value could move the cursor.
    pub(super) fn line(&mut self, text: &str) -> Result<(), CommandError> {
        if self.terminal {
            self.bytes(printable(text, "\t").as_bytes())?;
        } else {
            self.bytes(text.as_bytes())?;
        }
        self.bytes(b"\n")
    }

    /// Writes bytes unchanged.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        self.results.write_all(bytes).map_err(CommandError::Output)
    }

    /// Writes rows under a header. Tabs and line breaks in cells are escaped.
    pub(super) fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>) -> Result<(), CommandError> {
        let rows = rows.into_iter().map(|row| row.iter().map(|cell| printable(cell, "")).collect::<Vec<_>>());
        if self.terminal {
            let mut table = Table::new();
            table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
            for column in table.column_iter_mut() {
                column.set_padding((0, 2));
            }
            return self.bytes(format!("{}\n", table.trim_fmt()).as_bytes());
        }
        for row in rows {
            self.bytes(row.join("\t").as_bytes())?;
            self.bytes(b"\n")?;
        }
        Ok(())
    }

    /// Writes the buffered results.
    pub(super) fn flush(&mut self) -> Result<(), CommandError> {
        self.results.flush().map_err(CommandError::Output)
    }

    /// Writes a note to standard error, unless `--quiet` is given.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            self.error(text);
        }
    }

    /// Writes a note to standard error if `--verbose` is given.
    pub(super) fn detail(&self, text: &str) {
        if self.verbose {
            self.note(text);
        }
    }

    /// Writes an error to standard error.
    pub(super) fn error(&self, text: &str) {
        // If standard error is closed, the exit code still reports the error.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// Returns `yes` or `no`.
pub(super) fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// Escapes the control characters of a text, except those in `kept`.
fn printable(text: &str, kept: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && !kept.contains(character) {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn escapes_control_characters_only() {
        assert_eq!(printable("Zoë\t\x1b[2J\u{9b}1m\n", ""), "Zoë\\t\\u{1b}[2J\\u{9b}1m\\n");
        assert_eq!(printable("a\tb\n", "\t"), "a\tb\\n");
    }
}
