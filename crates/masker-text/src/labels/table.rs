//! Tables in text: lines of cells under a line of labels.

use super::{Label, LabelSet, Says};

/// A cell under a head that is a label.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
    /// Index in [`LabelSet::says`].
    pub says: u16,
    /// The range of the head.
    pub head: (usize, usize),
}

/// A column: what its head says, and the range of the head. `None` if the head is no label.
type Column = Option<(u16, (usize, usize))>;

/// The separators that a table can have.
const SEPARATORS: [char; 4] = ['\t', '|', ',', ';'];
/// Longest head of a table, in bytes.
const HEAD_MAX: usize = 40;
/// Most cells in a line of a table.
const CELLS_MAX: usize = 64;

/// Finds the cells of all tables. A table's first line has two labels or more as whole cells, and the lines after it have as
/// many cells.
pub(crate) fn cells(text: &str, labels: &[Label], set: &LabelSet) -> Vec<Cell> {
    let mut cells = Vec::new();
    if labels.len() < 2 || !text.contains('\n') {
        return cells;
    }
    let mut head: Option<(char, Vec<Column>)> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let line = line.trim_end_matches(['\n', '\r']);
        if let Some((separator, columns)) = &head {
            let ranges = split(line, start, *separator);
            if ranges.len() == columns.len() {
                for (range, column) in ranges.iter().zip(columns) {
                    if let Some((says, head)) = column
                        && range.0 < range.1
                    {
                        cells.push(Cell { start: range.0, end: range.1, says: *says, head: *head });
                    }
                }
                continue;
            }
            // Rules between head and rows consist of marks only.
            if !line.is_empty() && line.bytes().all(|byte| matches!(byte, b'-' | b'|' | b'+' | b'=' | b':' | b' ')) {
                continue;
            }
        }
        head = read_head(line, start, labels, set);
    }
    cells
}

fn read_head(line: &str, start: usize, labels: &[Label], set: &LabelSet) -> Option<(char, Vec<Column>)> {
    let first = labels.partition_point(|label| label.start < start);
    let last = labels.partition_point(|label| label.end <= start + line.len());
    let labels = labels.get(first..last).filter(|labels| labels.len() >= 2)?;
    for separator in SEPARATORS {
        if !line.contains(separator) {
            continue;
        }
        let ranges = split(line, start, separator);
        if ranges.len() < 2 || ranges.len() > CELLS_MAX || ranges.iter().any(|range| range.1 - range.0 > HEAD_MAX) {
            continue;
        }
        let columns: Vec<_> = ranges
            .iter()
            .map(|&(from, to)| {
                let label = labels.iter().find(|label| !label.hint && label.start >= from && label.end == to)?;
                // Of `patient_mrn`, only the last part can be a label. `order id` is none of a person.
                (label.start <= from + 12 && set.says[usize::from(label.says)] != Says::Nothing)
                    .then_some((label.says, (label.start, label.end)))
            })
            .collect();
        if columns.iter().flatten().count() >= 2 {
            return Some((separator, columns));
        }
    }
    None
}

/// The trimmed ranges of a line's cells.
fn split(line: &str, start: usize, separator: char) -> Vec<(usize, usize)> {
    let inner = if separator == '|' { line.trim().trim_matches('|') } else { line };
    let offset = start + (inner.as_ptr() as usize - line.as_ptr() as usize);
    let mut ranges = Vec::new();
    let mut at = 0;
    let mut quoted = false;
    let mut from = 0;
    let push = |from: usize, to: usize, ranges: &mut Vec<(usize, usize)>| {
        let cell = &inner[from..to];
        let left = cell.trim_start_matches([' ', '"']);
        let trimmed = left.trim_end_matches([' ', '"']);
        let begin = offset + from + (cell.len() - left.len());
        ranges.push((begin, begin + trimmed.len()));
    };
    for char in inner.chars() {
        if char == '"' {
            quoted = !quoted;
        } else if char == separator && !quoted {
            push(from, at, &mut ranges);
            from = at + char.len_utf8();
        }
        at += char.len_utf8();
    }
    push(from, inner.len(), &mut ranges);
    ranges
}
