//! How often a key generation opens tokens that carry their value.

use super::{
    bytes::{RowReader, RowWriter},
    layout::{LAYOUT_VERSION, RecordError},
};
use crate::Row;

/// Number of days that are counted: today and the 29 before.
pub const USE_DAYS: u64 = 30;

/// How many tokens that carry their value a key generation opened recently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenerationUseRow {
    /// When it last opened such a token.
    pub last_opened_ms: u64,
    /// Days, as days since 1970-01-01 UTC, and the number of tokens opened on each: the latest at the end, at most
    /// [`USE_DAYS`].
    pub days: Vec<(u64, u64)>,
}

impl GenerationUseRow {
    /// Counts tokens that were opened on `day`. Days before the last [`USE_DAYS`] are removed.
    pub fn count(&mut self, day: u64, opened: u64) {
        match self.days.last_mut() {
            // If the clock went back, the latest day is counted.
            Some((latest, count)) if *latest >= day => *count += opened,
            _ => self.days.push((day, opened)),
        }
        let today = self.days.last().map_or(day, |(latest, _)| *latest);
        self.days.retain(|(day, _)| day + USE_DAYS > today);
    }

    /// Returns how many tokens were opened on the last [`USE_DAYS`] days up to `today`.
    pub fn since_days(&self, today: u64) -> u64 {
        self.days.iter().filter(|(day, _)| day + USE_DAYS > today).map(|(_, count)| count).sum()
    }

    /// Encodes the counts as a row.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 8 + 16 * self.days.len());
        row.integer(self.last_opened_ms);
        for (day, count) in &self.days {
            row.integer(*day);
            row.integer(*count);
        }
        row.finish()
    }

    /// Decodes a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; see the module [`record`](super).
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let mut uses = GenerationUseRow { last_opened_ms: row.integer()?, days: Vec::new() };
        while !row.is_empty() {
            uses.days.push((row.integer()?, row.integer()?));
        }
        let in_order = uses.days.is_sorted_by(|(one, _), (next, _)| one < next);
        if uses.days.len() as u64 > USE_DAYS || !in_order {
            return Err(RecordError::Damaged("its days are out of order or too many"));
        }
        Ok(uses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_thirty_days_and_removes_older_ones() {
        let mut uses = GenerationUseRow::default();
        for day in 100..200 {
            uses.count(day, 2);
            uses.count(day, 1);
        }
        assert_eq!((uses.days.len(), uses.since_days(199)), (30, 90));
        assert_eq!((uses.since_days(200), uses.since_days(228), uses.since_days(229)), (87, 3, 0));
        uses.count(150, 5);
        assert_eq!((uses.days.len(), uses.since_days(199)), (30, 95), "a clock that went back loses nothing");
        uses.count(1_000, 1);
        assert_eq!(uses.days, [(1_000, 1)]);
    }

    #[test]
    fn decodes_what_it_encodes() {
        let uses = GenerationUseRow { last_opened_ms: 7, days: vec![(1, 2), (3, 4)] };
        assert_eq!(GenerationUseRow::decode(&uses.encode()), Ok(uses.clone()));
        let disordered = GenerationUseRow { days: vec![(3, 4), (1, 2)], ..uses.clone() };
        assert!(GenerationUseRow::decode(&disordered.encode()).is_err());
        let row = uses.encode();
        for length in (0..row.len()).filter(|length| ![9, 25].contains(length)) {
            assert!(GenerationUseRow::decode(&row[..length]).is_err(), "{length}");
        }
    }
}
