//! Finds the columns of a plan in the first row of a table.

use super::{
    encoding::CellEncoding,
    input::ROW_BYTES_MAX,
    plan::{BulkColumn, BulkPlan, TableFormat},
};
use crate::context::CommandError;
use masker_csv::{Dialect, RowEnd, RowError, RowScanner};
use masker_types::quote::nearest;

/// Delimiters that are suggested, with their spelling on a command line.
const DELIMITERS: [(u8, &str); 4] = [(b',', "','"), (b';', "';'"), (b'\t', "'\\t'"), (b'|', "'|'")];

/// Rows after the first in which a header is searched.
const HEADER_ROWS_SEARCHED: usize = 20;

/// What [`texts`] returns for a cell that is not text.
const NOT_TEXT: &str = "\u{fffd}";

/// Longest name of the input that a message contains, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Returns, for each cell of the first row, the index of its column in the plan. `rest` is the input as far as it was read, and
/// `end` the end of its first row.
///
/// # Errors
/// The row does not have the columns. The message says how to name them, or suggests the delimiter with which it has.
pub(super) fn find(
    plan: &BulkPlan,
    format: &TableFormat,
    rest: &[u8],
    end: &RowEnd,
    cells: &[String],
) -> Result<Vec<Option<usize>>, CommandError> {
    let row = &rest[..end.content];
    let found = if format.header { by_name(plan, cells) } else { by_number(plan, cells) };
    found.map_err(|error| match error {
        CommandError::Other(message) => {
            let advice = suggested_delimiter(plan, format, row).or_else(|| later_header(plan, format, rest, end));
            CommandError::Other(match advice {
                Some(advice) => format!("{message}; {advice}"),
                None => message,
            })
        }
        error => error,
    })
}

/// Names the line that has the header, if it comes after a title, say. `rest` is the input as far as it was read, and `first`
/// the end of its first row.
fn later_header(plan: &BulkPlan, format: &TableFormat, rest: &[u8], first: &RowEnd) -> Option<String> {
    let (mut rest, mut line) = (rest.get(first.total..)?, 2 + first.breaks);
    let mut scanner = RowScanner::new(format.dialect);
    for _ in 0..HEADER_ROWS_SEARCHED {
        scanner.begin();
        let end = scanner.scan(rest, true).ok()?.filter(|end| end.total > 0)?;
        let cells = texts(format.dialect, format.encoding.cells(), &rest[..end.content], &scanner);
        if format.header && by_name(plan, &cells).is_ok() {
            return Some(format!("line {line} has the names: remove the lines before it, as with `tail -n +{line}`"));
        }
        (rest, line) = (&rest[end.total..], line + 1 + end.breaks);
    }
    None
}

/// Returns the error of a first row that is malformed, where `rest` begins with it.
pub(super) fn malformed(plan: &BulkPlan, format: &TableFormat, rest: &[u8], error: RowError) -> CommandError {
    let line = rest.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let advice = match suggested_delimiter(plan, format, line) {
        Some(delimiter) => format!("; {delimiter}"),
        None => quote_advice(error).to_owned(),
    };
    CommandError::Row(format!("the first row (line 1): {error}{advice}"))
}

/// Returns the error of a first row that is too long.
pub(super) fn too_long() -> CommandError {
    let advice = "are its lines separated by line breaks, and is a quote not closed?";
    CommandError::Row(format!("the first row (line 1) is longer than {} MiB; {advice}", ROW_BYTES_MAX >> 20))
}

/// Returns what to do about a row that is malformed.
pub(super) fn quote_advice(error: RowError) -> &'static str {
    match error {
        RowError::QuoteInCell => ": correct it, or use --lenient-quotes, or --no-quotes if quotes have no meaning",
        RowError::TextAfterQuote => {
            ": correct it, or use --escape '\\' for files of MySQL, or --no-quotes if quotes have no meaning"
        }
        RowError::OpenQuote => ": the file is cut short or damaged; use --no-quotes if quotes have no meaning",
        _ => ": the file is cut short or damaged",
    }
}

/// Returns the cells of a row as text. Those that are not text are [`NOT_TEXT`].
pub(super) fn texts(dialect: Dialect, encoding: CellEncoding, row: &[u8], scanner: &RowScanner) -> Vec<String> {
    let mut scratch = Vec::new();
    let text = |bytes: &[u8]| encoding.decode(bytes).map_or_else(|_| NOT_TEXT.to_owned(), |text| text.into_owned());
    scanner.cells().iter().map(|cell| text(dialect.decode(row, cell, &mut scratch))).collect()
}

/// Suggests another delimiter with which the first row has all columns, or the removal of a line that names the delimiter.
fn suggested_delimiter(plan: &BulkPlan, format: &TableFormat, row: &[u8]) -> Option<String> {
    if row.len() == b"sep=,".len() && row.starts_with(b"sep=") {
        return Some("the first line names the delimiter for Excel and is no header: remove it".to_owned());
    }
    let encoding = format.encoding.cells();
    DELIMITERS.iter().filter(|(delimiter, _)| *delimiter != format.dialect.delimiter).find_map(
        |(delimiter, spelled)| {
            let dialect = Dialect { delimiter: *delimiter, ..format.dialect };
            let mut scanner = RowScanner::new(dialect);
            scanner.scan(row, true).ok()?;
            let cells = texts(dialect, encoding, row, &scanner);
            let found = if format.header { by_name(plan, &cells) } else { by_number(plan, &cells) };
            (cells.len() > 1 && found.is_ok())
                .then(|| format!("the cells are probably separated otherwise: use --delimiter {spelled}"))
        },
    )
}

/// Returns, for each cell of the header, the index of the column of the plan with its name.
fn by_name(plan: &BulkPlan, header: &[String]) -> Result<Vec<Option<usize>>, CommandError> {
    for BulkColumn { name, .. } in &plan.columns {
        match header.iter().filter(|cell| *cell == name).count() {
            0 => return Err(CommandError::Other(missing(name, header))),
            1 => {}
            // A row of values can contain one twice, and would be copied as the header.
            found => {
                let message = format!(
                    "{found} columns of the header have the name {name:?}: rename them, or use --no-header and column \
                     numbers if the first row is not a header"
                );
                return Err(CommandError::Other(message));
            }
        }
    }
    let of = |cell: &String| plan.columns.iter().position(|column| column.name == *cell);
    Ok(header.iter().map(of).collect())
}

/// Returns whether a name in the input can be shown in a message: it has the form of a name, and not of a value.
pub(super) fn is_plain(name: &str) -> bool {
    name.chars().count() <= NAME_CHARS_MAX
        && name.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && name.chars().all(|character| character.is_alphanumeric() || matches!(character, '_' | '-' | ' '))
}

/// Returns the message for a missing column. Of the header, which could be a row of values, it contains only a plain name that
/// differs in case, spaces and punctuation.
fn missing(name: &str, header: &[String]) -> String {
    if header.is_empty() {
        return "the input is empty, so it has no header: is it also the output?".to_owned();
    }
    if let Some(index) = header.iter().position(|cell| cell == NOT_TEXT) {
        let (cells, number) = (header.len(), index + 1);
        return format!(
            "the header ({cells} cells) has no column {name:?}, and its cell {number} is not text in the encoding of the \
             command: use --encoding, as in `--encoding windows-1252`"
        );
    }
    let plain_text = |text: &str| -> String {
        let letters = text.chars().filter(|character| character.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    let alike = |cell: &&String| plain_text(cell) == plain_text(name);
    let names: Vec<&str> = header.iter().map(String::as_str).collect();
    // Who gives a number has forgotten --no-header. A cell of one character is like any other, and may be a value.
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    let named_alike = header.iter().find(alike).map(String::as_str).or_else(|| nearest(name, &names));
    let named_alike = named_alike.filter(|alike| !is_number && alike.chars().count() > 1);
    let number = |cell: &str| header.iter().position(|other| other == cell).map_or(0, |index| index + 1);
    let advice = match (named_alike, name.rsplit_once('=')) {
        (_, Some((before, _))) if header.iter().any(|cell| cell == before) => {
            format!("the kind is in the token: use --column {before}")
        }
        // What differs in more may be a value.
        (Some(similar), _) if is_plain(similar) && plain_text(similar) == plain_text(name) => {
            format!("did you mean {similar:?}?")
        }
        (Some(similar), _) => format!("did you mean the name of column {}?", number(similar)),
        _ => "for a table without a header use --no-header and column numbers".to_owned(),
    };
    format!("the header ({} cells) has no column {name:?}; {advice}", header.len())
}

/// Returns, for each cell of the first row, the index of the column of the plan with its number.
fn by_number(plan: &BulkPlan, first: &[String]) -> Result<Vec<Option<usize>>, CommandError> {
    let mut columns = vec![None; first.len()];
    for (index, column) in plan.columns.iter().enumerate() {
        let number = column.name.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let number = number.ok_or_else(|| {
            CommandError::Usage(format!("{}: with --no-header, columns are numbers from 1", column.name))
        })?;
        match columns.get_mut(number) {
            Some(place @ None) => *place = Some(index),
            Some(Some(_)) => return Err(CommandError::Usage(format!("{}: given twice", column.name))),
            // An empty input has no columns, and no values either.
            None if first.is_empty() => {}
            None => {
                let message = format!("there is no column {}: the first row has {} cells", column.name, first.len());
                return Err(CommandError::Other(message));
            }
        }
    }
    Ok(columns)
}
