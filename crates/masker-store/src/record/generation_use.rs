//! How often a key still opens tokens that carry their own value.

use super::{
    LAYOUT_VERSION, RecordError,
    bytes::{RowReader, RowWriter},
};
use crate::Row;

/// Days that are counted one by one: today and the 29 before it.
pub const USE_DAYS: u64 = 30;

/// How many tokens that carry their own value a key generation has opened lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenerationUseRow {
    /// When it last opened one.
    pub last_opened_ms: u64,
    /// Days since 1970-01-01 UTC, each with how many it opened: the latest at the end, at most [`USE_DAYS`].
    pub days: Vec<(u64, u64)>,
}

impl GenerationUseRow {
    /// Counts more of them, opened on `day`; days before the last [`USE_DAYS`] are forgotten.
    pub fn count(&mut self, day: u64, opened: u64) {
        match self.days.last_mut() {
            // A clock that went back counts for the latest day.
            Some((latest, count)) if *latest >= day => *count += opened,
            _ => self.days.push((day, opened)),
        }
        let today = self.days.last().map_or(day, |(latest, _)| *latest);
        self.days.retain(|(day, _)| day + USE_DAYS > today);
    }

    /// How many it opened on `today` and the days before it that are counted.
    pub fn since_days(&self, today: u64) -> u64 {
        self.days.iter().filter(|(day, _)| day + USE_DAYS > today).map(|(_, count)| count).sum()
    }

    /// The row of the counts.
    pub fn encode(&self) -> Row {
        let mut row = RowWriter::new(LAYOUT_VERSION, 8 + 16 * self.days.len());
        row.integer(self.last_opened_ms);
        for (day, count) in &self.days {
            row.integer(*day);
            row.integer(*count);
        }
        row.finish()
    }

    /// The counts of a row.
    ///
    /// # Errors
    ///
    /// [`RecordError`], as the module above says.
    pub fn decode(row: &[u8]) -> Result<Self, RecordError> {
        let mut row = RowReader::new(LAYOUT_VERSION, row)?;
        let mut uses = GenerationUseRow { last_opened_ms: row.integer()?, days: Vec::new() };
        while !row.is_empty() {
            uses.days.push((row.integer()?, row.integer()?));
        }
        let in_order = uses.days.is_sorted_by(|(one, _), (next, _)| one < next);
        if uses.days.len() as u64 > USE_DAYS || !in_order {
            return Err(RecordError::Damaged("its days are not as it counts them"));
        }
        Ok(uses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_days_are_counted_and_older_ones_forgotten() {
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
    fn what_is_encoded_is_decoded() {
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
