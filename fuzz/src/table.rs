//! Tables: text that the strict reader accepts is read as the csv crate reads it, and its bytes are those of its rows.

use masker_csv::{Dialect, Quoting, RowError, RowScanner};

/// Cells of the rows of a text that are not empty lines, decoded.
type Rows = Vec<Vec<Vec<u8>>>;

/// Checks a text after a byte that selects the delimiter and where the text is cut in two pieces.
pub fn check(bytes: &[u8]) {
    let Some((&choice, text)) = bytes.split_first() else { return };
    let delimiter = b",;\t|"[usize::from(choice % 4)];
    let dialect = Dialect { delimiter, quoting: Quoting::Strict, escape: None };
    let cut = usize::from(choice / 4).min(text.len());
    let read = rows(dialect, text, cut);
    assert_eq!(read, rows(dialect, text, 0), "pieces of a text are read as the whole");
    // The csv crate takes a byte order mark off.
    if let (Ok(read), false) = (read, text.starts_with("\u{feff}".as_bytes())) {
        let mut reader = csv::ReaderBuilder::new();
        let reader = reader.has_headers(false).flexible(true).delimiter(delimiter).from_reader(text);
        let expected: Rows = reader
            .into_byte_records()
            .map(|row| row.expect("memory can be read").iter().map(<[u8]>::to_vec).collect())
            .collect();
        assert_eq!(read, expected);
    }
    for quoting in [Quoting::Strict, Quoting::Lenient, Quoting::None] {
        for escape in [None, Some(b'\\')] {
            round_trips(Dialect { delimiter, quoting, escape }, text);
        }
    }
}

/// Reads a text of which the first `cut` bytes arrive first.
fn rows(dialect: Dialect, text: &[u8], cut: usize) -> Result<Rows, RowError> {
    let mut scanner = RowScanner::new(dialect);
    let (mut rows, mut start) = (Vec::new(), 0);
    while start < text.len() {
        scanner.begin();
        let early = if start < cut { scanner.scan(&text[start..cut], false)? } else { None };
        let end = match early {
            Some(end) => end,
            None => scanner.scan(&text[start..], true)?.expect("the text ends"),
        };
        let row = &text[start..start + end.total];
        assert!(end.content <= end.total && end.total > 0);
        if end.content > 0 {
            let mut scratch = Vec::new();
            let cells = scanner.cells().iter();
            rows.push(cells.map(|cell| dialect.decode(row, cell, &mut scratch).to_vec()).collect());
        }
        start += end.total;
    }
    Ok(rows)
}

/// Checks that a cell with this text is read as it was written.
fn round_trips(dialect: Dialect, text: &[u8]) {
    let mut row = Vec::new();
    if dialect.encode(text, false, &mut row).is_err() {
        assert!(dialect.quoting == Quoting::None && dialect.escape.is_none() && row.is_empty());
        return;
    }
    row.push(dialect.delimiter);
    let mut scanner = RowScanner::new(dialect);
    let end = scanner.scan(&row, true).expect("a row that was written").expect("the text ends");
    assert_eq!((end.total, scanner.cells().len()), (row.len(), 2));
    assert_eq!(dialect.decode(&row, &scanner.cells()[0], &mut Vec::new()), text);
}
