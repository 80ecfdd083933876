//! Lines and columns of offsets in a text.

use std::{collections::VecDeque, fmt};

use crate::file_kind::BYTE_ORDER_MARK;

/// Lines whose beginning is kept. More than the daemon holds back of a text, and what is on its way.
const LINES_MAX: usize = 1 << 17;

/// A place in a text: a line and a character of it, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    line: u64,
    column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Where the last lines of a text begin, in characters. Memory is bounded, so what is long past has no place.
pub(super) struct Places {
    starts: VecDeque<u64>,
    /// The number of the first line of `starts`.
    first: u64,
    characters: u64,
    /// Whether the text begins with a byte order mark, which is no part of its first line.
    is_marked: bool,
}

impl Default for Places {
    fn default() -> Self {
        Places { starts: VecDeque::from([0]), first: 1, characters: 0, is_marked: false }
    }
}

impl Places {
    /// Takes the next part of the text.
    pub(super) fn push(&mut self, part: &str) {
        self.is_marked |= self.characters == 0 && part.as_bytes().starts_with(BYTE_ORDER_MARK);
        let mut rest = part;
        while let Some(end) = memchr::memchr(b'\n', rest.as_bytes()) {
            let (line, others) = rest.split_at(end + 1);
            self.characters += line.chars().count() as u64;
            self.starts.push_back(self.characters);
            rest = others;
        }
        self.characters += rest.chars().count() as u64;
        while self.starts.len() > LINES_MAX {
            self.starts.pop_front();
            self.first += 1;
        }
    }

    /// Returns the place after the last character.
    pub(super) fn end(&self) -> Option<Place> {
        self.of(self.characters)
    }

    /// Returns the place of an offset in characters.
    pub(super) fn of(&self, offset: u64) -> Option<Place> {
        let index = self.starts.partition_point(|start| *start <= offset).checked_sub(1)?;
        let line = self.first + index as u64;
        let mark = u64::from(self.is_marked && line == 1);
        Some(Place { line, column: (offset - self.starts[index] + 1).saturating_sub(mark).max(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(parts: &[&str]) -> Places {
        let mut places = Places::default();
        parts.iter().for_each(|part| places.push(part));
        places
    }

    #[test]
    fn every_character_has_a_line_and_a_column() {
        let text = "Zoë\r\n\nAnn";
        for parts in [&[text][..], &["Zo", "ë\r", "\n\nA", "nn"], &["", "Zoë\r\n", "\n", "Ann"]] {
            let places = places(parts);
            let shown: Vec<String> = (0..=9).map(|offset| places.of(offset).unwrap().to_string()).collect();
            assert_eq!(shown, ["1:1", "1:2", "1:3", "1:4", "1:5", "2:1", "3:1", "3:2", "3:3", "3:4"]);
            assert_eq!(places.end(), places.of(9));
        }
        let marked = places(&["\u{feff}Ann\nBo"]);
        let shown = [0, 1, 4, 5].map(|offset| marked.of(offset).unwrap().to_string());
        assert_eq!(shown, ["1:1", "1:1", "1:4", "2:1"]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut places = Places::default();
        let lines = "\n".repeat(LINES_MAX);
        places.push(&lines);
        places.push(&lines);
        assert_eq!((places.starts.len(), places.of(5)), (LINES_MAX, None));
        assert_eq!(places.end().unwrap(), Place { line: 2 * LINES_MAX as u64 + 1, column: 1 });
    }
}
