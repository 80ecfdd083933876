//! Cue words: what stands before, after or in a name.

use super::token::hash_word;

/// Classes of cue words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Cue {
    /// No cue word.
    #[default]
    None = 0,
    /// `Dr`, `Mrs`
    Title = 1,
    /// `patient`, `nurse`
    Role = 2,
    /// `dear`, `hello`
    Greeting = 3,
    /// `named`, `call`
    Naming = 4,
    /// `in`, `at`, `from`
    Preposition = 5,
    /// `regards`, `sincerely`
    Closing = 6,
    /// `hospital`, `clinic`
    Facility = 7,
    /// `disease`, `syndrome`, `score`: what follows an eponym
    Eponymous = 8,
    /// `Inc`, `Ltd`, `bank`
    Organization = 9,
    /// `Monday`, `April`
    Calendar = 10,
    /// `Street`, `Avenue`
    Street = 11,
    /// `said`, `lives`: verbs with a person as their subject
    Verb = 12,
    /// `van`, `de`: particles of names
    Particle = 13,
    /// `brother`, `wife`
    Kin = 14,
    /// `PhD`, `Jr`
    Suffix = 15,
}

impl Cue {
    /// The class's name in a language pack.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "title" => Self::Title,
            "role" => Self::Role,
            "greeting" => Self::Greeting,
            "naming" => Self::Naming,
            "preposition" => Self::Preposition,
            "closing" => Self::Closing,
            "facility" => Self::Facility,
            "eponymous" => Self::Eponymous,
            "organization" => Self::Organization,
            "calendar" => Self::Calendar,
            "street" => Self::Street,
            "verb" => Self::Verb,
            "particle" => Self::Particle,
            "kin" => Self::Kin,
            "suffix" => Self::Suffix,
            _ => return None,
        })
    }
}

/// Cue words by the hash of the word.
pub struct CueTable {
    slots: Vec<(u64, Cue)>,
}

impl CueTable {
    /// Builds a table. Of two classes of one word, the first counts.
    pub fn build<'w>(words: impl IntoIterator<Item = (&'w str, Cue)>) -> Self {
        let words: Vec<_> = words.into_iter().collect();
        let mut table = Self { slots: vec![(0, Cue::None); (words.len() * 3).next_power_of_two().max(64)] };
        for (word, cue) in words {
            let hash = hash_word(word);
            let slot = table.find(hash);
            if table.slots[slot].1 == Cue::None {
                table.slots[slot] = (hash, cue);
            }
        }
        table
    }

    fn find(&self, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = (hash >> 40) as usize & mask;
        while self.slots[slot].1 != Cue::None && self.slots[slot].0 != hash {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// Returns the class of a word, by its hash.
    #[inline]
    pub fn get(&self, hash: u64) -> Cue {
        self.slots[self.find(hash)].1
    }
}
