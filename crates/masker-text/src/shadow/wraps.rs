//! Soft wraps: line breaks that were put where a line was full, as in mails and exports of records. A value can go on after one.
//!
//! A line is full if the first word of the next line would have made it longer than the lines around it. Lines of forms, tables
//! and lists end before they are full, or begin with what begins such a line.

use super::Writer;

/// Least length of a full line, in characters. The next word did not fit.
const FULL_CHARS_MIN: usize = 40;
/// Least length of the longest of the lines around a soft wrap.
const WIDTH_CHARS_MIN: usize = 50;
/// Least length of a full line that has no other one beside it.
const LONE_CHARS_MIN: usize = 60;
/// The same where all lines of a paragraph are full.
const NARROW_CHARS_MIN: usize = 30;
/// Fewest lines of such a paragraph.
const NARROW_LINES_MIN: usize = 4;
/// Longest line of a text that is wrapped. Longer ones are paragraphs.
const WIDTH_CHARS_MAX: usize = 140;
/// Lines on each side of a line break that are looked at for the width.
const NEIGHBOURS: usize = 2;

/// A line of a text.
struct Line {
    /// Offset of the first byte after the indentation, and after marks that quote the line or make it a comment.
    start: usize,
    /// Offset after the last byte that is no white space.
    end: usize,
    /// Length in characters, with what is before `start`.
    chars: usize,
    /// The mark that quotes the line or makes it a comment, and how often it is there.
    mark: (u8, usize),
    /// Whether it has words with single spaces between, so that it is no row of columns.
    is_prose: bool,
}

/// Replaces each soft wrap, with the marks and the indentation after it, by a space, or by nothing after a hyphen.
pub fn replace(text: &str, writer: &mut Writer<'_>) {
    let mut lines = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        lines.push(Line::read(text, at, at + line.len()));
        at += line.len();
    }
    let lines = Lines { text, lines };
    for index in 1..lines.lines.len() {
        if lines.is_soft(index - 1) {
            let joint = if lines.is_open(index - 1) { "" } else { " " };
            writer.replace(lines.lines[index - 1].end, lines.lines[index].start, joint);
        }
    }
}

impl Line {
    fn read(text: &str, from: usize, to: usize) -> Self {
        let line = &text[from..to];
        let end = from + line.trim_ascii_end().len();
        let bytes = text.as_bytes();
        let mut start = from;
        let mut mark = (0, 0);
        while start < end {
            match bytes[start] {
                b' ' | b'\t' => {}
                byte @ (b'>' | b'#' | b'/') if mark.1 == 0 || mark.0 == byte => mark = (byte, mark.1 + 1),
                _ => break,
            }
            start += 1;
        }
        let start = start.min(end);
        let body = &text[start..end];
        let is_prose = body.contains(' ') && !body.contains('\t') && !body.contains("   ");
        Line { start, end, chars: text[from..end].chars().count(), mark, is_prose }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// The lines of a text.
struct Lines<'t> {
    text: &'t str,
    lines: Vec<Line>,
}

impl Lines<'_> {
    fn body(&self, index: usize) -> &str {
        &self.text[self.lines[index].start..self.lines[index].end]
    }

    /// Whether two lines that follow each other are in one paragraph.
    fn are_joined(&self, index: usize) -> bool {
        let Some(next) = self.lines.get(index + 1) else { return false };
        let own = &self.lines[index];
        !own.is_empty() && !next.is_empty() && own.mark == next.mark
    }

    /// Whether a line ends within a value that goes on without a space: `555-`, `Smith-`, `ann.lee@`.
    fn is_open(&self, index: usize) -> bool {
        let body = self.body(index);
        body.ends_with(['-', '/', '@', '_'])
            && body[..body.len() - 1].ends_with(|char: char| char.is_alphanumeric() || char == ')')
    }

    /// Whether the first word of the next line does not fit into a line of this width.
    fn is_full(&self, index: usize, width: usize) -> bool {
        let word = self.body(index + 1).split(' ').next().unwrap_or_default().chars().count();
        self.lines[index].chars + usize::from(!self.is_open(index)) + word > width
    }

    /// The length of the longest line around a line break.
    fn width(&self, index: usize) -> usize {
        let mut from = index;
        while from > 0 && index - from < NEIGHBOURS && self.are_joined(from - 1) {
            from -= 1;
        }
        // The first line can have more before its text, such as a key of JSON or the cells of a row.
        if from < index && (from == 0 || !self.are_joined(from - 1)) {
            from += 1;
        }
        let mut to = index + 1;
        while to < index + 1 + NEIGHBOURS && self.are_joined(to) {
            to += 1;
        }
        self.longest(from, to)
    }

    /// The length of the longest line of prose.
    fn longest(&self, from: usize, to: usize) -> usize {
        let lines = self.lines[from..=to].iter().filter(|line| line.is_prose && line.chars <= WIDTH_CHARS_MAX);
        lines.map(|line| line.chars).max().unwrap_or_default()
    }

    /// Whether a line is full, and the next one goes on with a word.
    fn goes_on(&self, index: usize) -> bool {
        if !self.are_joined(index) || !self.lines[index].is_prose {
            return false;
        }
        let own = &self.lines[index];
        let begins = |char: char| char.is_alphanumeric() || matches!(char, '(' | '+' | '#' | '\'');
        if own.chars > WIDTH_CHARS_MAX || !self.body(index + 1).starts_with(begins) {
            return false;
        }
        if own.chars >= FULL_CHARS_MIN {
            let width = self.width(index);
            if width >= WIDTH_CHARS_MIN {
                return self.is_full(index, width);
            }
        }
        own.chars >= NARROW_CHARS_MIN / 2 && self.is_narrow(index)
    }

    /// Whether a line break is in a paragraph of short lines that are all full, but for the last one.
    fn is_narrow(&self, index: usize) -> bool {
        let mut from = index;
        while from > 0 && index - from < NARROW_LINES_MIN && self.are_joined(from - 1) {
            from -= 1;
        }
        let mut to = index + 1;
        while to - index < NARROW_LINES_MIN && self.are_joined(to) {
            to += 1;
        }
        let width = self.longest(from, to);
        to - from + 1 >= NARROW_LINES_MIN
            && width >= NARROW_CHARS_MIN
            && (from..to).all(|line| self.lines[line].is_prose && self.is_full(line, width))
    }

    /// Whether the line break after a line is a soft wrap.
    fn is_soft(&self, index: usize) -> bool {
        if !self.goes_on(index) {
            return false;
        }
        let (own, next) = (self.body(index), self.body(index + 1));
        if ends_sentence(own) || begins_item(next) || self.is_table(index) {
            return false;
        }
        let after = index + 2 < self.lines.len() && self.goes_on(index + 1);
        // A short line with another one after it is a line of a block, such as that of an address.
        if !after && self.are_joined(index + 1) && !ends_part(next) {
            return false;
        }
        // Lines of forms can be as long as one another by chance.
        let firm = after || index > 0 && self.goes_on(index - 1);
        if begins_with_label(next) {
            firm && !begins_with_label(own)
        } else {
            firm || self.lines[index].chars >= LONE_CHARS_MIN
        }
    }

    /// Whether two lines are rows of cells.
    fn is_table(&self, index: usize) -> bool {
        let (own, next) = (self.body(index), self.body(index + 1));
        let count = |line: &str, separator: char| line.matches(separator).count();
        let even = |separator: char, least: usize| {
            let cells = count(own, separator);
            cells >= least && count(next, separator) == cells
        };
        // In prose, a space follows a comma.
        let tight = |line: &str| {
            let bytes = line.as_bytes();
            bytes.windows(2).filter(|pair| pair[0] == b',' && pair[1] != b' ').count() >= 2
        };
        let third = [index.checked_sub(1), Some(index + 2)].into_iter().flatten();
        let third = third.filter_map(|third| self.lines.get(third).map(|_| self.body(third)));
        even('|', 1)
            || even(';', 2)
            || tight(own) && tight(next)
            || even(',', 3) && third.into_iter().any(|line| count(line, ',') == count(own, ','))
    }
}

/// Whether a line ends with a sentence, and not with an abbreviation.
fn ends_sentence(line: &str) -> bool {
    if line.ends_with(['!', '?']) {
        return true;
    }
    let Some(rest) = line.strip_suffix('.') else { return false };
    let word = rest.rsplit(|char: char| !char.is_alphanumeric()).next().unwrap_or_default();
    !(1..=4).contains(&word.chars().count()) || !word.starts_with(char::is_uppercase)
}

/// Whether a line can be the last one of a paragraph that others follow without an empty line.
fn ends_part(line: &str) -> bool {
    line.ends_with(['.', '!', '?', ':', ';', ')'])
}

/// Whether a line begins an item of a list (`2. `, `b) `) or an entry of a log (`2024-05-01 …`).
fn begins_item(line: &str) -> bool {
    let is_date = |head: &[u8]| {
        head.iter().enumerate().all(|(at, byte)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() })
    };
    if line.as_bytes().get(..10).is_some_and(is_date) {
        return true;
    }
    let word = line.split(' ').next().unwrap_or_default();
    let Some(number) = word.strip_suffix(['.', ')']) else { return false };
    let number = number.strip_prefix('(').unwrap_or(number);
    let digits = !number.is_empty() && number.len() <= 2 && number.bytes().all(|byte| byte.is_ascii_digit());
    digits || number.len() == 1 && word.ends_with(')')
}

/// Whether a line begins with a label of a form or a key: `Date of birth: `, `PHONE:`, `name: `.
fn begins_with_label(line: &str) -> bool {
    let Some(colon) = line.find(':').filter(|&colon| colon <= 32) else { return false };
    let (label, rest) = (&line[..colon], &line[colon + 1..]);
    let is_label = |char: char| char.is_alphabetic() || " _-.'/#".contains(char);
    label.chars().all(is_label) && label.split(' ').count() <= 4 && (rest.is_empty() || rest.starts_with(' '))
}
