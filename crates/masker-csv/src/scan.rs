//! Finding the cells of a row.

use memchr::{memchr, memchr2, memchr2_iter};

use super::dialect::{Dialect, QUOTE, Quoting};

/// A cell of a row, with its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The offset of its first byte in the row.
    pub start: usize,
    /// The offset after its last byte.
    pub end: usize,
    /// Whether it is in quotes.
    pub quoted: bool,
    /// Whether it contains neither doubled quotes nor escapes.
    pub plain: bool,
}

/// The end of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowEnd {
    /// Number of bytes without the line end.
    pub content: usize,
    /// Number of bytes with the line end. The last row of a file can have none.
    pub total: usize,
    /// Number of line breaks inside the cells.
    pub breaks: u64,
}

/// Why the bytes are not a row. Where the row ends is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// A quote is inside a cell that does not begin with one.
    #[error("a quote is inside a cell that does not begin with a quote")]
    QuoteInCell,
    /// Text is between the closing quote of a cell and the next delimiter.
    #[error("text follows a closing quote")]
    TextAfterQuote,
    /// The input ends inside a quoted cell.
    #[error("a quote is not closed")]
    OpenQuote,
    /// The input ends after an escape.
    #[error("an escape is at the end of the input")]
    OpenEscape,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    CellStart,
    Unquoted,
    Quoted,
    /// After a quote in a quoted cell: it closes the cell, or is the first of two.
    QuoteSeen,
    /// After an escape.
    Escaped {
        quoted: bool,
    },
    /// After a carriage return that ends a row: a line feed may belong to it.
    CarriageReturn,
}

/// Finds the cells of one row after the other. Lines end in a line feed, a carriage return, or both. The bytes of a row can
/// arrive in pieces.
pub struct RowScanner {
    dialect: Dialect,
    /// For each byte, whether it has a meaning in an unquoted cell.
    special: [bool; 256],
    state: State,
    /// Number of bytes of the row that were examined.
    at: usize,
    cell_start: usize,
    plain: bool,
    cells: Vec<Cell>,
    content: usize,
    breaks: u64,
    /// Whether the byte before was a carriage return inside a cell.
    after_return: bool,
}

impl RowScanner {
    /// Creates a scanner at the beginning of a row.
    pub fn new(dialect: Dialect) -> Self {
        let mut special = [false; 256];
        for byte in [Some(dialect.delimiter), Some(b'\n'), Some(b'\r'), dialect.escape].into_iter().flatten() {
            special[usize::from(byte)] = true;
        }
        special[usize::from(QUOTE)] |= dialect.quoting == Quoting::Strict;
        RowScanner {
            dialect,
            special,
            state: State::CellStart,
            at: 0,
            cell_start: 0,
            plain: true,
            cells: Vec::new(),
            content: 0,
            breaks: 0,
            after_return: false,
        }
    }

    /// Returns the syntax.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Starts the next row.
    pub fn begin(&mut self) {
        self.state = State::CellStart;
        (self.at, self.cell_start, self.plain, self.content) = (0, 0, true, 0);
        (self.breaks, self.after_return) = (0, false);
        self.cells.clear();
    }

    /// Returns the cells of the row that [`RowScanner::scan`] found.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Forgets the cells and the bytes that were examined, so that a row of any length can be skipped. Returns the number of
    /// these bytes: the next call of [`RowScanner::scan`] takes those after them.
    pub fn discard(&mut self) -> usize {
        self.cells.clear();
        (self.cell_start, self.content) = (0, 0);
        // The line end is reported whole.
        let kept = usize::from(self.state == State::CarriageReturn);
        std::mem::replace(&mut self.at, kept) - kept
    }

    /// Examines the bytes of a row, from its first byte. Returns `None` if they do not contain its end; the next call then
    /// takes the same bytes and more of them. `is_end` says whether the input ends after these bytes.
    ///
    /// # Errors
    /// The bytes are not a row.
    pub fn scan(&mut self, bytes: &[u8], is_end: bool) -> Result<Option<RowEnd>, RowError> {
        loop {
            let byte = bytes.get(self.at).copied();
            if byte.is_none() && !is_end {
                return Ok(None);
            }
            match self.state {
                State::CellStart => {
                    (self.cell_start, self.plain, self.state) = (self.at, true, State::Unquoted);
                    if byte == Some(QUOTE) && self.dialect.quoting != Quoting::None {
                        self.at += 1;
                        self.state = State::Quoted;
                    }
                }
                State::Unquoted => {
                    let rest = &bytes[self.at..];
                    let run = rest.iter().position(|byte| self.special[usize::from(*byte)]);
                    self.at += run.unwrap_or(rest.len());
                    match bytes.get(self.at).copied() {
                        None if !is_end => return Ok(None),
                        Some(byte) if Some(byte) == self.dialect.escape => self.escape(false),
                        Some(QUOTE) => return Err(RowError::QuoteInCell),
                        byte => {
                            if let Some(end) = self.end_cell(byte, false) {
                                return Ok(Some(end));
                            }
                        }
                    }
                }
                State::Quoted => {
                    let rest = &bytes[self.at..];
                    let found = match self.dialect.escape {
                        Some(escape) => memchr2(QUOTE, escape, rest),
                        None => memchr(QUOTE, rest),
                    };
                    let run = found.unwrap_or(rest.len());
                    self.count_breaks(&rest[..run]);
                    self.at += run;
                    match bytes.get(self.at) {
                        None if is_end => return Err(RowError::OpenQuote),
                        None => return Ok(None),
                        Some(&QUOTE) => {
                            self.at += 1;
                            (self.after_return, self.state) = (false, State::QuoteSeen);
                        }
                        Some(_) => self.escape(true),
                    }
                }
                State::QuoteSeen => match byte {
                    Some(QUOTE) => {
                        self.at += 1;
                        (self.plain, self.state) = (false, State::Quoted);
                    }
                    Some(byte) if byte != self.dialect.delimiter && !matches!(byte, b'\n' | b'\r') => {
                        return Err(RowError::TextAfterQuote);
                    }
                    byte => {
                        if let Some(end) = self.end_cell(byte, true) {
                            return Ok(Some(end));
                        }
                    }
                },
                State::Escaped { quoted } => {
                    let byte = byte.ok_or(RowError::OpenEscape)?;
                    self.count_breaks(&[byte]);
                    self.at += 1;
                    self.state = if quoted { State::Quoted } else { State::Unquoted };
                }
                State::CarriageReturn => {
                    self.at += usize::from(byte == Some(b'\n'));
                    return Ok(Some(self.row_end()));
                }
            }
        }
    }

    fn escape(&mut self, quoted: bool) {
        self.at += 1;
        self.after_return = false;
        (self.plain, self.state) = (false, State::Escaped { quoted });
    }

    /// Ends a cell before this byte, or at the end of the input. Returns the end of the row, if it is known.
    fn end_cell(&mut self, byte: Option<u8>, quoted: bool) -> Option<RowEnd> {
        self.cells.push(Cell { start: self.cell_start, end: self.at, quoted, plain: self.plain });
        self.content = self.at;
        self.at += usize::from(byte.is_some());
        match byte {
            Some(b'\r') => {
                self.state = State::CarriageReturn;
                None
            }
            Some(b'\n') | None => Some(self.row_end()),
            Some(_) => {
                self.state = State::CellStart;
                None
            }
        }
    }

    /// Counts the line breaks in these bytes of a cell. A carriage return and a line feed are one.
    fn count_breaks(&mut self, bytes: &[u8]) {
        for at in memchr2_iter(b'\n', b'\r', bytes) {
            let after_return = if at == 0 { self.after_return } else { bytes[at - 1] == b'\r' };
            self.breaks += u64::from(bytes[at] == b'\r' || !after_return);
        }
        if let Some(last) = bytes.last() {
            self.after_return = *last == b'\r';
        }
    }

    fn row_end(&self) -> RowEnd {
        RowEnd { content: self.content, total: self.at, breaks: self.breaks }
    }
}
