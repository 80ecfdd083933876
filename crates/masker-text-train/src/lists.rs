//! The name lists that `lists.py` writes.

use crate::made_up::Weighted;
use masker_text::names::{
    features::phrase,
    lexicon::{Entry, Lexicon},
    token::hash_word,
};
use std::{collections::BTreeMap, fs, path::Path};

/// Names of one locale.
#[derive(Default)]
pub struct Locale {
    /// First names.
    pub first: Vec<String>,
    /// Last names.
    pub last: Vec<String>,
    /// Whether the last name comes first, without a space.
    pub east: bool,
}

/// All lists.
pub struct Lists {
    /// First names of the United States.
    pub first: Weighted,
    /// Last names of the United States.
    pub last: Weighted,
    /// Names of other countries. The first entry has Latin letters.
    pub locales: Vec<Locale>,
    /// Cities of 15,000 inhabitants and more.
    pub cities: Vec<String>,
    /// Cities of 300,000 inhabitants and more.
    pub large_cities: Vec<String>,
    /// Countries.
    pub countries: Vec<String>,
    /// States of the United States, and their codes.
    pub states: Vec<String>,
    entries: Vec<(String, u8)>,
}

const STATE_CODES: &str = "AL AK AZ AR CA CO CT DC DE FL GA HI IA ID IL IN KS KY LA MA MD ME MI MN MO MS MT NC ND NE NH NJ NM NV NY \
                           OH OK OR PA RI SC SD TN TX UT VA VT WA WI WV WY";

impl Lists {
    /// Reads the lists.
    ///
    /// # Panics
    ///
    /// Panics if a file is missing or malformed.
    pub fn read(folder: &Path) -> Self {
        let read = |file: &str| {
            let path = folder.join(file);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()))
        };
        let table = |text: &str| -> Vec<(String, f64)> {
            text.lines()
                .filter_map(|line| line.split_once('\t'))
                .map(|(name, value)| (name.to_owned(), value.parse().expect("a number follows the tab")))
                .collect()
        };
        let (first, last) = (table(&read("first.tsv")), table(&read("last.tsv")));
        let mut entries: Vec<(String, u8)> = Vec::new();
        entries.extend(first.iter().map(|(name, percent)| (name.clone(), bucket(*percent, 0.1, 0.01))));
        entries.extend(last.iter().map(|(name, percent)| (name.clone(), bucket(*percent, 0.02, 0.001) << 2)));
        let mut locales: BTreeMap<String, Locale> = BTreeMap::new();
        for line in read("intl.tsv").lines() {
            let mut cells = line.split('\t');
            let (Some(locale), Some(kind), Some(name)) = (cells.next(), cells.next(), cells.next()) else { continue };
            if name.split(' ').count() > 2 {
                continue;
            }
            let list = locales.entry(locale.to_owned()).or_default();
            list.east = matches!(locale, "zh_CN" | "ja_JP" | "ko_KR");
            let flag = if kind == "F" { Entry::FOREIGN_FIRST } else { Entry::FOREIGN_LAST };
            if list.east {
                // Names of one or two characters, which are also ordinary words, are only for made-up sentences.
            } else {
                entries.extend(
                    name.split([' ', '-']).filter(|part| part.chars().count() > 2).map(|part| (part.to_owned(), flag)),
                );
            }
            if kind == "F" { &mut list.first } else { &mut list.last }.push(name.to_owned());
        }
        locales.retain(|_, locale| !locale.first.is_empty() && !locale.last.is_empty());
        let mut locales: Vec<Locale> = locales.into_values().collect();
        locales.sort_by_key(|locale| locale.east);
        entries.extend(read("words.txt").lines().map(|word| (word.to_owned(), Entry::COMMON)));
        let places = table(&read("places.tsv"));
        entries.extend(
            places.iter().filter(|(name, _)| !name.contains(' ')).map(|(name, _)| (name.clone(), Entry::PLACE)),
        );
        let mut states: Vec<String> = STATE_CODES.split(' ').map(str::to_owned).collect();
        states.extend(STATE_CODES.split(' ').map(str::to_owned));
        Self {
            first: Weighted::new(&first),
            last: Weighted::new(&last),
            locales,
            cities: places.iter().filter(|row| row.1 > 0.0).map(|row| row.0.clone()).collect(),
            large_cities: places.iter().filter(|row| row.1 >= 300_000.0).map(|row| row.0.clone()).collect(),
            countries: places.iter().filter(|row| row.1 == 0.0).map(|row| row.0.clone()).collect(),
            states,
            entries: entries.into_iter().chain(phrases(&places)).collect(),
        }
    }

    /// Builds the lexicon that the detector embeds.
    pub fn lexicon(&self) -> Lexicon {
        Lexicon::build(self.entries.iter().map(|(word, entry)| (hash(word), *entry)))
    }
}

/// Places of two or three words.
fn phrases(places: &[(String, f64)]) -> impl Iterator<Item = (String, u8)> {
    places
        .iter()
        .filter(|(name, people)| (2..=3).contains(&name.split(' ').count()) && (*people == 0.0 || *people >= 50_000.0))
        .map(|(name, _)| (name.clone(), Entry::PLACE))
}

/// The hash of a word, or of a phrase as features see it.
fn hash(name: &str) -> u64 {
    name.split(' ').map(hash_word).reduce(phrase).unwrap_or_default()
}

/// 3 for the most frequent names, 1 for the rarest.
fn bucket(percent: f64, high: f64, middle: f64) -> u8 {
    if percent >= high {
        3
    } else if percent >= middle {
        2
    } else {
        1
    }
}
