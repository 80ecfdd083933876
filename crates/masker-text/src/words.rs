//! Classes of words that rules look at.

use crate::{
    names::{
        hash::mix,
        token::{Token, TokenKind, hash_word},
    },
    pack::Pack,
};
use std::collections::HashSet;

/// The classes of a word, as bits. The lowest four bits are a month's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Class(u32);

impl Class {
    /// May stand between a label and its value.
    pub const FILLER: Self = Self(1 << 4);
    /// A day of the week.
    pub const WEEKDAY: Self = Self(1 << 5);
    /// Stands after a street's name: `Street`.
    pub const STREET: Self = Self(1 << 6);
    /// Stands before a street's name: `Rue`.
    pub const STREET_FIRST: Self = Self(1 << 7);
    /// Stands before a flat's number.
    pub const UNIT: Self = Self(1 << 8);
    /// Makes a facility's name.
    pub const FACILITY: Self = Self(1 << 9);
    /// Ends a facility's name.
    pub const FACILITY_END: Self = Self(1 << 10);
    /// A state's code, if it is in capitals.
    pub const STATE: Self = Self(1 << 11);
    /// No name without a cue.
    pub const NO_NAME: Self = Self(1 << 12);
    /// Comes from a name, and is no name of a person alone.
    pub const EPONYM: Self = Self(1 << 13);
    /// Names a program or a drug.
    pub const THING: Self = Self(1 << 14);
    /// Ends the name of a species or of a laboratory test, after an initial: `E. coli`.
    pub const EPITHET: Self = Self(1 << 15);
    /// Begins a sentence, and no name.
    pub const OPENER: Self = Self(1 << 16);
    /// Has grades that follow it: `Weber B`, `Garden III`.
    pub const GRADED: Self = Self(1 << 17);
    /// Follows a name that is no person there: `Epstein-Barr virus`.
    pub const THING_AFTER: Self = Self(1 << 18);

    /// Whether the word has one of these classes.
    pub fn is(self, class: Self) -> bool {
        self.0 & class.0 != 0
    }

    /// The number of the month that the word names.
    pub fn month(self) -> Option<u32> {
        Some(self.0 & 15).filter(|&month| month != 0)
    }
}

/// Classes by word, and endings of streets' names.
pub struct WordClasses {
    slots: Vec<(u64, Class)>,
    street_endings: Vec<String>,
    large_places: HashSet<String>,
    state_names: HashSet<String>,
}

impl WordClasses {
    /// Collects the words of language packs.
    pub fn new(packs: &[Pack]) -> Self {
        let mut rows: Vec<(u64, Class)> = Vec::new();
        let mut street_endings = Vec::new();
        let mut large_places = HashSet::new();
        let mut state_names = HashSet::new();
        for pack in packs {
            let words = &pack.words;
            let lists = [
                (&words.filler, Class::FILLER),
                (&words.weekday, Class::WEEKDAY),
                (&words.street, Class::STREET),
                (&words.street_first, Class::STREET_FIRST),
                (&words.unit, Class::UNIT),
                (&words.facility, Class::FACILITY),
                (&words.facility_end, Class::FACILITY_END),
                (&words.state, Class::STATE),
                (&words.no_name, Class::NO_NAME),
                (&words.eponym, Class::EPONYM),
                (&words.software, Class::THING),
                (&words.drug, Class::THING),
                (&words.epithet, Class::EPITHET),
                (&words.opener, Class::OPENER),
                (&words.graded, Class::GRADED),
                (&words.thing_after, Class::THING_AFTER),
            ];
            for (list, class) in lists {
                rows.extend(list.split_whitespace().map(|word| (hash_word(word), class)));
            }
            for (number, names) in &pack.months {
                let month = Class(number.parse().unwrap_or_default());
                rows.extend(names.split_whitespace().map(|word| (hash_word(word), month)));
            }
            large_places.extend(words.large_place.split(';').map(|place| place.trim().to_owned()));
            state_names.extend(words.state_name.split(';').map(|state| state.trim().to_owned()));
            street_endings.extend(words.street_ending.split_whitespace().map(str::to_owned));
        }
        let mut classes = Self {
            slots: vec![(0, Class(0)); (rows.len() * 3).next_power_of_two().max(64)],
            street_endings,
            large_places,
            state_names,
        };
        for (hash, class) in rows {
            let slot = classes.find(hash);
            let before = classes.slots[slot].1;
            classes.slots[slot] = (hash, Class(before.0 | class.0));
        }
        classes
    }

    fn find(&self, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = mix(hash, 3, 9) as usize >> 40 & mask;
        while self.slots[slot].0 != hash && self.slots[slot].0 != 0 {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// Returns the classes of a token.
    pub fn of(&self, token: &Token) -> Class {
        if token.kind == TokenKind::Word { self.slots[self.find(token.word)].1 } else { Class(0) }
    }

    /// Whether a word ends like a street's name in one word: `Lozerlaan`.
    pub fn ends_like_street(&self, word: &str) -> bool {
        if word.len() < 6 {
            return false;
        }
        let lower = word.to_lowercase();
        self.street_endings.iter().any(|ending| lower.len() > ending.len() + 2 && lower.ends_with(ending.as_str()))
    }

    /// Whether a name is that of a country or state.
    pub fn is_large_place(&self, name: &str) -> bool {
        name.len() < 40 && self.large_places.contains(&name.to_lowercase())
    }

    /// Whether a name is that of a state of the United States.
    pub fn is_state_name(&self, name: &str) -> bool {
        name.len() < 24 && self.state_names.contains(&name.to_lowercase())
    }

    /// Whether a word is one of the endings of streets' names.
    pub fn is_street_ending(&self, word: &str) -> bool {
        let lower = word.to_lowercase();
        self.street_endings.contains(&lower)
    }
}
