//! The format of the output.

use std::borrow::Cow;

use zeroize::Zeroize;

use super::{
    encoding::{CellEncoding, to_utf16},
    wiped_bytes::WipedBytes,
};
use crate::file_kind::ByteOrder;
use masker_api::Text;
use masker_csv::{Cell, Dialect, Quoting};

/// The format of a chunk's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OutputLayout {
    /// A row of cells on each line.
    Table(TableLayout),
    /// A JSON value on each line.
    JsonLines,
}

/// The format of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableLayout {
    pub(super) dialect: Dialect,
    pub(super) encoding: CellEncoding,
    /// The order of bytes if the file is UTF-16.
    pub(super) utf16: Option<ByteOrder>,
    /// Unquoted cells that mean that there is no value.
    pub(super) nulls: Vec<Vec<u8>>,
    /// Number of cells in a row.
    pub(super) width: usize,
}

impl OutputLayout {
    /// Appends a result in place of a value.
    ///
    /// # Errors
    /// The file cannot contain it. Nothing is appended.
    pub(super) fn write(&self, text: &str, quoted: bool, to: &mut Vec<u8>) -> Result<(), &'static str> {
        match self {
            OutputLayout::JsonLines => {
                write_json(to, text);
                Ok(())
            }
            OutputLayout::Table(table) => {
                let bytes =
                    table.encoding.encode(text).ok_or("the encoding of the file lacks a character of the value")?;
                let quoted = quoted || table.nulls.iter().any(|null| **null == *bytes);
                let start = to.len();
                let written = table.dialect.encode(&bytes, quoted, to);
                if let Cow::Owned(bytes) = bytes {
                    drop(WipedBytes::from(bytes));
                }
                written.map_err(|_| {
                    "the value contains the delimiter or a line break, which a table without quotes or --escape cannot contain"
                })?;
                if table.nulls.iter().any(|null| **null == to[start..]) {
                    to.truncate(start);
                    return Err(
                        "the value is the text of --null, which a table without quotes cannot contain as a value",
                    );
                }
                Ok(())
            }
        }
    }

    /// Returns whether this cell or string of the file has this text.
    pub(super) fn has_text(&self, row: &[u8], cell: &Cell, text: &str) -> bool {
        match self {
            OutputLayout::JsonLines => {
                serde_json::from_slice::<Text<'_>>(&row[cell.start..cell.end]).is_ok_and(|string| *string == *text)
            }
            OutputLayout::Table(table) => {
                let mut scratch = WipedBytes::default();
                let decoded = table.encoding.decode(table.dialect.decode(row, cell, &mut scratch));
                let is_same = decoded.as_deref() == Ok(text);
                if let Ok(Cow::Owned(mut decoded)) = decoded {
                    decoded.zeroize();
                }
                is_same
            }
        }
    }

    /// Returns the bytes in place of a value that failed.
    pub(super) fn empty_value(&self) -> &'static [u8] {
        match self {
            OutputLayout::JsonLines => b"null",
            // Otherwise the row would be an empty line, which other programs skip.
            OutputLayout::Table(table) if table.width == 1 && table.dialect.quoting != Quoting::None => b"\"\"",
            OutputLayout::Table(_) => b"",
        }
    }

    /// Returns the bytes in place of a row that failed, without its line end.
    pub(super) fn empty_row(&self) -> Vec<u8> {
        match self {
            OutputLayout::Table(table) if table.width > 1 => vec![table.dialect.delimiter; table.width - 1],
            _ => self.empty_value().to_vec(),
        }
    }

    /// Returns the text as it is in the file.
    pub(super) fn finish(&self, text: Vec<u8>) -> WipedBytes {
        match self {
            OutputLayout::Table(TableLayout { utf16: Some(order), .. }) => {
                let converted = to_utf16(&text, *order);
                drop(WipedBytes::from(text));
                converted.into()
            }
            _ => text.into(),
        }
    }
}

/// Appends a JSON string.
pub(super) fn write_json(to: &mut Vec<u8>, text: &str) {
    // Writing a string to memory cannot fail.
    let _ = serde_json::to_writer(to, text);
}
