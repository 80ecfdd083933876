//! Output of commands: results on standard output, everything else on standard error.
//!
//! On a terminal, results are tables that fit its width. Otherwise they are lines of cells separated by tabs, for other
//! programs. With `--json` they are the daemon's responses.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use comfy_table::{ContentArrangement, Table, presets};
use ratatui::crossterm::terminal;
use serde::Serialize;

use super::{args::Global, closed_output, context::CommandError};

/// Width of a terminal whose width is unknown, in columns.
const COLUMNS_DEFAULT: u16 = 80;

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

    /// Writes a part of a text. On a terminal, control characters except tabs and line ends are escaped.
    pub(super) fn text(&mut self, text: &str) -> Result<(), CommandError> {
        if self.terminal { self.bytes(printable(text, "\t\r\n").as_bytes()) } else { self.bytes(text.as_bytes()) }
    }

    /// Writes bytes unchanged.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        self.results.write_all(bytes).map_err(CommandError::Output)
    }

    /// Writes rows under a header. Tabs and line breaks in cells are escaped. In a pipe, rows of names and values have no header,
    /// and other rows have theirs on the first line.
    pub(super) fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>) -> Result<(), CommandError> {
        let rows: Vec<Vec<String>> =
            rows.into_iter().map(|row| row.iter().map(|cell| printable(cell, "")).collect()).collect();
        if self.terminal {
            let columns = terminal::size().map(|(columns, _)| columns).ok().filter(|columns| *columns > 0);
            let columns = columns.unwrap_or(COLUMNS_DEFAULT);
            return self.bytes(terminal_table(header, &rows, columns).as_bytes());
        }
        if header.iter().filter(|name| !name.is_empty()).count() > 1 {
            self.bytes(format!("{}\n", header.join("\t")).as_bytes())?;
        }
        for row in rows {
            self.bytes(format!("{}\n", row.join("\t")).as_bytes())?;
        }
        Ok(())
    }

    /// Writes a result that cannot be shown again: as JSON, or its text. `lost` says what to do if it was not written, also
    /// where the reader has closed its end.
    pub(super) fn once<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        text: &str,
        lost: impl FnOnce() -> String,
    ) -> Result<(), CommandError> {
        let written = if self.is_json() { self.json(value) } else { self.line(text) };
        written.and_then(|()| self.flush()).map_err(|failed| CommandError::Other(format!("{failed}; {}", lost())))
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

    /// Writes a line with colors to standard error. Names in it are [`printable`].
    pub(super) fn colored_line(&self, text: &str) {
        // As with an error, there is no other place to report a failure.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Writes an error to standard error. Control characters are escaped, because a name in it may come from an attacker.
    pub(super) fn error(&self, text: &str) {
        // If standard error is closed, the exit code still reports the error.
        let _ = writeln!(io::stderr(), "{}", printable(text, "\n\t"));
    }
}

/// Returns a table of at most this many columns. If the rows are too wide, each becomes a table of names and values: wrapped ids
/// could not be copied.
fn terminal_table(header: &[&str], rows: &[Vec<String>], columns: u16) -> String {
    let format = |header: Option<&[&str]>, rows: &[Vec<String>]| {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).add_rows(rows.iter().map(|row| row.iter()));
        if let Some(header) = header {
            table.set_header(header);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table
    };
    let text = |table: &Table| format!("{}\n", table.trim_fmt());
    let mut whole = format(Some(header), rows);
    if whole.lines().all(|line| line.trim_end().chars().count() <= columns.into()) {
        return text(&whole);
    }
    let wrap = |table: &mut Table| {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
    };
    if header.len() <= 2 {
        wrap(&mut whole);
        return text(&whole);
    }
    let each = rows.iter().map(|row| {
        let cells = header.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
        let pairs: Vec<Vec<String>> = cells.map(|(name, cell)| vec![(*name).to_owned(), cell.clone()]).collect();
        let mut table = format(None, &pairs);
        wrap(&mut table);
        text(&table)
    });
    each.collect::<Vec<_>>().join("\n")
}

/// Returns `yes` or `no`.
pub(super) fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// Escapes the control characters of a text, except those in `kept`.
pub(super) fn printable(text: &str, kept: &str) -> String {
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
    use super::{printable, terminal_table};

    #[test]
    fn a_table_fits_the_terminal() {
        let row = |id: char, name: &str| vec![id.to_string().repeat(32), name.to_owned(), "tokenize".repeat(3)];
        let (header, rows) = (["ID", "NAME", "SCOPES"], [row('a', "app"), row('b', "")]);
        let wide = terminal_table(&header, &rows, 80);
        assert_eq!(wide.lines().next().map(str::trim_end), Some(&*format!("{:<34}NAME  SCOPES", "ID")));
        let narrow = terminal_table(&header, &rows, 60);
        let expected = format!(
            "ID      {}\nNAME    app\nSCOPES  {scopes}\n\nID      {}\nSCOPES  {scopes}\n",
            "a".repeat(32),
            "b".repeat(32),
            scopes = "tokenize".repeat(3)
        );
        assert_eq!(narrow, expected);
        let pairs = [vec!["scopes".to_owned(), "tokenize, ".repeat(20)]];
        let wrapped = terminal_table(&["API KEY", ""], &pairs, 40);
        assert!(wrapped.lines().count() > 3 && wrapped.lines().all(|line| line.chars().count() <= 40), "{wrapped}");
    }

    #[test]
    fn escapes_control_characters_only() {
        assert_eq!(printable("Zoë\t\x1b[2J\u{9b}1m\n", ""), "Zoë\\t\\u{1b}[2J\\u{9b}1m\\n");
        assert_eq!(printable("a\tb\n", "\t"), "a\tb\\n");
    }
}
