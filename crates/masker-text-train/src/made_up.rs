//! Sentences that the trainer makes up, with labels.

use crate::{Example, lists::Lists, words::*};
use masker_text::names::tagger::Label;
use rand::{Rng, RngExt, rngs::StdRng, seq::IndexedRandom};

/// A span of a made-up sentence: bytes, and the label of its first token.
pub type Span = (usize, usize, Label);

/// Makes up sentences.
pub struct Generator<'l> {
    lists: &'l Lists,
    random: StdRng,
}

impl<'l> Generator<'l> {
    /// Creates a generator with a seeded source of randomness.
    pub fn new(lists: &'l Lists, random: StdRng) -> Self {
        Self { lists, random }
    }

    /// Makes up a sentence of one of these patterns.
    pub fn sentence(&mut self, patterns: &[&str]) -> Example {
        let pattern = *patterns.choose(&mut self.random).expect("there are patterns");
        let mut text = String::new();
        let mut spans = Vec::new();
        let mut rest = pattern;
        while let Some(open) = rest.find('{') {
            let Some(close) = rest[open..]
                .find('}')
                .filter(|&close| rest[open + 1..open + close].bytes().all(|byte| byte.is_ascii_lowercase()))
            else {
                text.push_str(&rest[..=open]);
                rest = &rest[open + 1..];
                continue;
            };
            text.push_str(&rest[..open]);
            self.fill(&rest[open + 1..open + close], &mut text, &mut spans);
            rest = &rest[open + close + 1..];
        }
        text.push_str(rest);
        self.vary_case(text, spans)
    }

    /// Changes the case of a whole sentence, or drops its last full stop, in some of the sentences.
    fn vary_case(&mut self, mut text: String, spans: Vec<Span>) -> Example {
        let choice = self.random.random_range(0..100);
        // Only changes that keep the byte offsets.
        if choice < 14 {
            let lower: String = text.chars().map(|char| same_len(char, char.to_lowercase().next())).collect();
            text = lower;
        } else if choice < 19 {
            let upper: String = text.chars().map(|char| same_len(char, char.to_uppercase().next())).collect();
            text = upper;
        } else if choice < 35 && text.ends_with('.') && spans.iter().all(|span| span.1 < text.len()) {
            text.pop();
        }
        Example { text, spans }
    }

    fn fill(&mut self, name: &str, text: &mut String, spans: &mut Vec<Span>) {
        let start = text.len();
        let mut label = None;
        match name {
            "full" | "first" | "last" | "fi" | "lf" | "il" => {
                label = Some(Label::BPerson);
                let person = self.person(name);
                text.push_str(&person);
            }
            "tl" => {
                let title = self.pick(TITLES);
                let form = if self.chance(60) { "last" } else { "full" };
                let person = self.person(form);
                text.push_str(title);
                text.push(' ');
                let start = text.len();
                text.push_str(&person);
                spans.push((start, text.len(), Label::BPerson));
            }
            "city" | "country" => {
                label = Some(Label::BPlace);
                let place =
                    if name == "city" { self.city() } else { self.lists.countries.choose(&mut self.random).cloned() };
                text.push_str(&place.unwrap_or_default());
            }
            "state" => {
                label = Some(Label::BPlace);
                let state = self.lists.states.choose(&mut self.random).expect("there are states");
                text.push_str(state);
            }
            "fac" => {
                label = Some(Label::BPlace);
                let facility = self.facility();
                text.push_str(&facility);
            }
            "org" => {
                label = Some(Label::BOrganization);
                let organization = self.organization();
                text.push_str(&organization);
            }
            "street" => {
                let number = self.random.random_range(1..300);
                let street = match self.random.random_range(0..3) {
                    0 => format!("{} {}", self.person("last"), self.pick(STREETS)),
                    1 => format!("{} {} {number}", self.person("first"), self.pick(STREETS)),
                    _ => format!("{}{} {number}", self.person("last"), self.pick(&["weg", "straat", "gatan", "gasse"])),
                };
                text.push_str(&street);
            }
            "num" => {
                let digits = self.random.random_range(1..8);
                for _ in 0..digits {
                    text.push(char::from(b'0' + self.random.random_range(0..10u8)));
                }
            }
            "age" => text.push_str(&self.random.random_range(1..100).to_string()),
            "date" => {
                let (day, month, year) = (
                    self.random.random_range(1..29),
                    self.random.random_range(1..13),
                    self.random.random_range(1930..2027),
                );
                let date = match self.random.random_range(0..3) {
                    0 => format!("{month}/{day}/{year}"),
                    1 => format!("{year}-{month:02}-{day:02}"),
                    _ => format!("{} {day}, {year}", self.pick(MONTHS)),
                };
                text.push_str(&date);
            }
            "cond" => text.push_str(self.pick(CONDITIONS)),
            "abbr" => text.push_str(self.pick(ABBREVIATIONS)),
            "drug" => text.push_str(self.pick(DRUGS)),
            "eponym" => text.push_str(self.pick(EPONYMS)),
            "acro" => text.push_str(self.pick(ACRONYMS)),
            "font" => text.push_str(self.pick(FONTS)),
            "job" => text.push_str(self.pick(JOBS)),
            "kin" => text.push_str(self.pick(KIN)),
            "mon" => text.push_str(self.pick(MONTHS)),
            "day" => text.push_str(self.pick(DAYS)),
            other => panic!("patterns name {other:?}, which the generator does not know"),
        }
        if let Some(label) = label {
            spans.push((start, text.len(), label));
        }
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list.choose(&mut self.random).expect("lists are not empty")
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    /// Makes up a person's name in a form: `full`, `first`, `last`, `fi` (Ann L.), `lf` (Lee, Ann), `il` (A. Lee).
    fn person(&mut self, form: &str) -> String {
        let (mut first, mut last, east) = self.names();
        if self.chance(4) {
            first = format!("{first}-{}", self.names().0);
        } else if self.chance(6) && form == "full" {
            first = format!("{first} {}", self.names().0);
        } else if self.chance(8) && form == "full" {
            first = format!("{first} {}.", self.initial());
        }
        if self.chance(6) {
            last = format!("{last}-{}", self.names().1);
        } else if self.chance(3) {
            last = format!(
                "{}{last}",
                self.pick(&["O'", "Mc", "Mac", "D'", "van ", "van der ", "de ", "von ", "de la ", "Al-", "El "])
            );
        } else if self.chance(4) && form == "full" {
            last = format!("{last} {}", self.names().1);
        }
        let mut person = match form {
            "first" => first,
            "last" => last,
            "fi" => {
                let initial = self.initial();
                format!("{first} {initial}{}", if self.chance(85) { "." } else { "" })
            }
            "lf" => format!("{last}, {first}"),
            "il" => {
                let initial = self.initial();
                format!("{initial}. {last}")
            }
            _ if east => format!("{last}{first}"),
            _ => format!("{first} {last}"),
        };
        let choice = self.random.random_range(0..100);
        if choice < 6 {
            person = person.to_lowercase();
        } else if choice < 13 {
            person = person.to_uppercase();
        } else if choice < 15 && form == "full" {
            person.push_str(self.pick(&[" Jr.", " III", " PhD", " MD", " Sr."]));
        }
        person
    }

    fn initial(&mut self) -> char {
        char::from(b'A' + self.random.random_range(0..26u8))
    }

    /// Picks a first and a last name of one country, and says whether they are written without a space, last name first.
    fn names(&mut self) -> (String, String, bool) {
        let lists = self.lists;
        if self.chance(45) {
            let first = lists.first.pick(&mut self.random);
            let last = lists.last.pick(&mut self.random);
            return (first.to_owned(), last.to_owned(), false);
        }
        let locale = lists.locales.choose(&mut self.random).expect("there are locales");
        let mut first = locale.first.choose(&mut self.random).expect("locales have first names");
        let last = locale.last.choose(&mut self.random).expect("locales have last names");
        if locale.east && !self.chance(30) {
            // Mostly names in Latin letters: few texts in English have others.
            first = lists.locales[0].first.choose(&mut self.random).expect("locales have first names");
            return (
                first.clone(),
                lists.locales[0].last.choose(&mut self.random).expect("and last names").clone(),
                false,
            );
        }
        (first.clone(), last.clone(), locale.east)
    }

    fn city(&mut self) -> Option<String> {
        let lists = self.lists;
        // Large cities occur more often than small ones.
        if self.chance(50) {
            lists.large_cities.choose(&mut self.random).cloned()
        } else {
            lists.cities.choose(&mut self.random).cloned()
        }
    }

    fn facility(&mut self) -> String {
        let head = match self.random.random_range(0..10) {
            0 | 1 => self.city().unwrap_or_default(),
            2 => self.person("last"),
            3 => format!(
                "{} {}",
                self.city().unwrap_or_default(),
                self.pick(&["General", "Memorial", "Methodist", "Presbyterian"])
            ),
            _ => self.pick(FACILITY_HEADS).to_owned(),
        };
        if self.chance(22) { head } else { format!("{head} {}", self.pick(FACILITY_TAILS)) }
    }

    fn organization(&mut self) -> String {
        match self.random.random_range(0..6) {
            0 => format!("{} {}", self.person("last"), self.pick(ORGANIZATION_TAILS)),
            1 => format!("{}-{}", self.person("last"), self.person("last")),
            2 => format!("{}, {} and {}", self.person("last"), self.person("last"), self.person("last")),
            3 => format!("{}{}", self.pick(ORGANIZATION_HEADS), self.pick(ORGANIZATION_JOINS)),
            4 => format!("{} {}", self.city().unwrap_or_default(), self.pick(ORGANIZATION_TAILS)),
            _ => format!("{} {}", self.pick(ORGANIZATION_HEADS), self.pick(ORGANIZATION_TAILS)),
        }
    }
}

/// A changed character if it has the length of the original, or the original.
fn same_len(original: char, changed: Option<char>) -> char {
    changed.filter(|changed| changed.len_utf8() == original.len_utf8()).unwrap_or(original)
}

/// Names with weights.
pub struct Weighted {
    names: Vec<String>,
    sums: Vec<f64>,
}

impl Weighted {
    /// Builds a list. A name's weight is the square root of its frequency, so that rare names occur.
    pub fn new(rows: &[(String, f64)]) -> Self {
        let mut sum = 0.0;
        let sums = rows
            .iter()
            .map(|(_, frequency)| {
                sum += frequency.max(0.0005).sqrt();
                sum
            })
            .collect();
        Self { names: rows.iter().map(|row| row.0.clone()).collect(), sums }
    }

    /// Picks a name.
    pub fn pick(&self, random: &mut impl Rng) -> &str {
        let at = random.random::<f64>() * self.sums.last().copied().unwrap_or(0.0);
        &self.names[self.sums.partition_point(|&sum| sum < at).min(self.names.len() - 1)]
    }
}
