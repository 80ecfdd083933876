//! The syntax of cells: decoding and encoding one.

use super::scan::Cell;

/// The byte around quoted cells.
pub(super) const QUOTE: u8 = b'"';

/// What quotes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoting {
    /// Quotes are around cells only. Inside a quoted cell, a quote is doubled.
    Strict,
    /// As [`Quoting::Strict`], but inside an unquoted cell a quote is an ordinary character.
    Lenient,
    /// Quotes are ordinary characters.
    None,
}

/// The syntax of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The byte between cells.
    pub delimiter: u8,
    /// What quotes mean.
    pub quoting: Quoting,
    /// The byte before a character that has no special meaning, such as `\` in files of MySQL. After it, `0`, `b`, `n`, `r`,
    /// `t` and `Z` mean control characters.
    pub escape: Option<u8>,
}

/// The error of a text that a table without quotes cannot contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text contains the delimiter or a line break, which a table without quotes cannot contain")]
pub struct Unrepresentable;

impl Dialect {
    /// Decodes a cell of this row. Appends to `decoded` only if the text differs from a part of the row, which is returned
    /// otherwise.
    pub fn decode<'t>(&self, row: &'t [u8], cell: &Cell, decoded: &'t mut Vec<u8>) -> &'t [u8] {
        let raw = &row[cell.start..cell.end];
        let text = if cell.quoted { &raw[1..raw.len() - 1] } else { raw };
        if cell.plain {
            return text;
        }
        decoded.clear();
        let mut bytes = text.iter();
        while let Some(byte) = bytes.next() {
            if Some(*byte) == self.escape {
                // A cell does not end in an escape.
                decoded.extend(bytes.next().map(|escaped| meaning(*escaped)));
            } else {
                decoded.push(*byte);
                // Inside a quoted cell, a quote is the first of two.
                if *byte == QUOTE && cell.quoted {
                    bytes.next();
                }
            }
        }
        decoded
    }

    /// Appends a cell with this text, in quotes if `quoted` is true or the text requires them. With an escape, line breaks and
    /// NUL bytes are escaped in quotes too, as MySQL writes them.
    ///
    /// # Errors
    /// Returns [`Unrepresentable`] if the table has neither quotes nor an escape for the text. Nothing is appended.
    pub fn encode(&self, text: &[u8], quoted: bool, to: &mut Vec<u8>) -> Result<(), Unrepresentable> {
        let is_structural = |byte: &u8| *byte == self.delimiter || matches!(byte, b'\n' | b'\r');
        let is_escape = |byte: &u8| Some(*byte) == self.escape;
        if self.quoting == Quoting::None {
            if self.escape.is_none() && text.iter().any(is_structural) {
                return Err(Unrepresentable);
            }
            text.iter().for_each(|byte| self.encode_byte(*byte, is_structural(byte), to));
            return Ok(());
        }
        let is_zero = |byte: &u8| *byte == 0 && self.escape.is_some();
        let is_special = |byte: &u8| is_structural(byte) || is_escape(byte) || is_zero(byte) || *byte == QUOTE;
        if !quoted && !text.iter().any(is_special) {
            to.extend_from_slice(text);
            return Ok(());
        }
        to.push(QUOTE);
        for byte in text {
            match (*byte, self.escape) {
                (QUOTE, None) => to.extend_from_slice(&[QUOTE, QUOTE]),
                _ => self.encode_byte(*byte, matches!(*byte, QUOTE | b'\n' | b'\r'), to),
            }
        }
        to.push(QUOTE);
        Ok(())
    }

    /// Appends a byte of a text, after an escape if the table has one and the byte is `special`, NUL or the escape.
    fn encode_byte(&self, byte: u8, special: bool, to: &mut Vec<u8>) {
        match self.escape {
            Some(escape) if byte == 0 => to.extend_from_slice(&[escape, b'0']),
            Some(escape) if special || byte == escape => to.extend_from_slice(&[escape, byte]),
            _ => to.push(byte),
        }
    }
}

/// Returns the meaning of an escaped byte.
fn meaning(escaped: u8) -> u8 {
    match escaped {
        b'0' => 0,
        b'b' => 8,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'Z' => 26,
        other => other,
    }
}
