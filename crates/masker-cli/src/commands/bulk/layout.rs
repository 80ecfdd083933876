//! The format of the output.

use std::io;

use csv::{Terminator, WriterBuilder};
use masker_api::Text;

/// The format of a chunk's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputLayout {
    /// Cells of a table. An empty cell of the chunk is a gap.
    Table(TableDialect),
    /// Text with gaps, which JSON strings fill.
    Lines,
}

/// The CSV dialect of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableDialect {
    /// The byte between cells.
    pub(super) delimiter: u8,
    /// Whether lines end in a carriage return and a line feed.
    pub(super) crlf: bool,
    /// Number of cells in a row.
    pub(super) width: usize,
}

impl TableDialect {
    /// Writes cells as rows. Calls `filled` with the number of each empty cell for its text.
    pub(super) fn write<'a, 'c>(
        self,
        cells: impl Iterator<Item = &'c [u8]>,
        mut filled: impl FnMut(usize) -> Option<Text<'a>>,
    ) -> io::Result<Vec<u8>> {
        let terminator = if self.crlf { Terminator::CRLF } else { Terminator::Any(b'\n') };
        let mut writer = WriterBuilder::new().delimiter(self.delimiter).terminator(terminator).from_writer(Vec::new());
        for (number, cell) in cells.enumerate() {
            if cell.is_empty() {
                let text = filled(number);
                writer.write_field(text.as_deref().unwrap_or_default())?;
            } else {
                writer.write_field(cell)?;
            }
            if (number + 1) % self.width == 0 {
                writer.write_record(None::<&[u8]>)?;
            }
        }
        writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
    }
}
