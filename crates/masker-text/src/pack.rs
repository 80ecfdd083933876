//! Language packs: words of a language, as data.

use crate::names::cue::{Cue, CueTable};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A language with a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    /// English: labels, patterns, months, and a trained tagger of names.
    English,
    /// German: labels, patterns and months.
    German,
    /// Spanish: labels, patterns and months.
    Spanish,
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 3] = [Self::English, Self::German, Self::Spanish];

    /// Returns the two-letter code.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::Spanish => "es",
        }
    }

    /// Returns the language of a code, such as `de` or `de-AT`.
    pub fn parse(code: &str) -> Option<Self> {
        let primary = code.split(['-', '_']).next()?;
        Self::ALL.into_iter().find(|language| primary.eq_ignore_ascii_case(language.code()))
    }

    /// Returns the language's words.
    pub fn pack(self) -> Pack {
        let source = match self {
            Self::English => include_str!("../packs/en.toml"),
            Self::German => include_str!("../packs/de.toml"),
            Self::Spanish => include_str!("../packs/es.toml"),
        };
        toml::from_str(source).expect("the tests parse every pack")
    }
}

/// The words of a language. Lists in one string are separated by spaces.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// The language's code.
    pub language: String,
    /// Cue words by their class.
    #[serde(default)]
    pub cues: BTreeMap<String, String>,
    /// Labels by the kind of their values. `NONE` has labels of values that identify nobody.
    #[serde(default)]
    pub labels: BTreeMap<String, Vec<String>>,
    /// Words that make a kind more likely.
    #[serde(default)]
    pub hints: BTreeMap<String, Vec<String>>,
    /// Names of months, by the month's number.
    #[serde(default)]
    pub months: BTreeMap<String, String>,
    /// Classes of other words.
    #[serde(default)]
    pub words: Words,
}

/// Classes of words.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Words {
    /// Words between a label and its value.
    pub filler: String,
    /// Days of the week.
    pub weekday: String,
    /// Words after a street's name.
    pub street: String,
    /// Words before a street's name.
    pub street_first: String,
    /// Endings of streets' names.
    pub street_ending: String,
    /// Words before the number of a flat.
    pub unit: String,
    /// Words that make a facility's name.
    pub facility: String,
    /// Words that end a facility's name after a capitalized word.
    pub facility_end: String,
    /// Codes of states.
    pub state: String,
    /// Words that are no name without a cue.
    pub no_name: String,
    /// Words that come from names, and are no names of people alone.
    pub eponym: String,
    /// Programs: databases, servers, tools of developers.
    pub software: String,
    /// Brands of drugs.
    pub drug: String,
    /// Words after an initial in names of species and of laboratory tests.
    pub epithet: String,
    /// Words that begin a sentence, and no name.
    pub opener: String,
    /// Names of classifications that a grade follows.
    pub graded: String,
    /// Words after a name that is no person there.
    pub thing_after: String,
    /// Names of the states of the United States, separated by semicolons.
    pub state_name: String,
    /// Places that are not smaller than a state of the United States, separated by semicolons.
    pub large_place: String,
}

/// Collects the cue words of languages. The first language's classes count.
pub fn cue_table(packs: &[Pack]) -> CueTable {
    let words = packs.iter().flat_map(|pack| {
        pack.cues.iter().flat_map(|(class, words)| {
            let cue = Cue::parse(class).unwrap_or_default();
            words.split_whitespace().map(move |word| (word, cue))
        })
    });
    CueTable::build(words)
}
