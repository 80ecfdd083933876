//! What commands write: results on standard output, everything else on standard error.
//!
//! On a terminal results are tables; elsewhere they are lines with tabs, without a header, for other programs; with
//! `--json` they are the daemon's own answers.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use super::args::Global;

/// Where results and remarks go, and in which form.
pub(super) struct Output {
    results: BufWriter<Stdout>,
    terminal: bool,
    json: bool,
    quiet: bool,
    verbose: bool,
}

impl Output {
    pub(super) fn new(global: &Global) -> Self {
        let stdout = io::stdout();
        Output {
            terminal: stdout.is_terminal(),
            results: BufWriter::new(stdout),
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose > 0,
        }
    }

    /// Whether JSON was asked for.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether nothing but results and errors is wanted.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether somebody may be reading this on a screen.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// One JSON value on a line of its own.
    pub(super) fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> io::Result<()> {
        serde_json::to_writer(&mut self.results, value)?;
        self.results.write_all(b"\n")
    }

    /// One line. On a terminal, control characters but the tab are escaped: a value may hold what moves the cursor.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        if self.terminal {
            self.results.write_all(printable(text, "\t").as_bytes())?;
        } else {
            self.results.write_all(text.as_bytes())?;
        }
        self.results.write_all(b"\n")
    }

    /// Something as it is.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.results.write_all(bytes)
    }

    /// Rows under a header. Cells hold no tabs or line breaks in either form.
    pub(super) fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
        let rows = rows.into_iter().map(|row| row.iter().map(|cell| printable(cell, "")).collect::<Vec<_>>());
        if self.terminal {
            let mut table = Table::new();
            table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
            for column in table.column_iter_mut() {
                column.set_padding((0, 2));
            }
            return writeln!(self.results, "{}", table.trim_fmt());
        }
        for row in rows {
            writeln!(self.results, "{}", row.join("\t"))?;
        }
        Ok(())
    }

    /// Writes out what was gathered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.results.flush()
    }

    /// A remark, unless they are unwanted.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            self.error(text);
        }
    }

    /// A remark for those who asked for more.
    pub(super) fn detail(&self, text: &str) {
        if self.verbose {
            self.note(text);
        }
    }

    /// Something that went wrong.
    pub(super) fn error(&self, text: &str) {
        // Where standard error is closed, nobody wants to know; the exit code still tells.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// `yes` or `no`.
pub(super) fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// A text without control characters, but for those in `kept`.
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
    fn control_characters_are_escaped_and_letters_are_not() {
        assert_eq!(printable("Zoë\t\x1b[2J\u{9b}1m\n", ""), "Zoë\\t\\u{1b}[2J\\u{9b}1m\\n");
        assert_eq!(printable("a\tb\n", "\t"), "a\tb\\n");
    }
}
