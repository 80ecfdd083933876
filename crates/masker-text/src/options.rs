//! What a policy can set.

use crate::{kind::Kind, pack::Language, recognizer::Recognizer, validate::Region};
use std::collections::BTreeMap;

/// Settings of a detector. Without `Debug`: the lists can hold personal data.
#[derive(Clone)]
pub struct Options {
    /// Languages whose labels, patterns and months are used. English should be among them: the tagger of names is English.
    pub languages: Vec<Language>,
    /// Findings of less confidence are dropped, in percent.
    pub min_confidence: u8,
    /// Other least confidences, by kind.
    pub min_confidence_of: BTreeMap<Kind, u8>,
    /// Regions of telephone numbers without a country code.
    pub regions: Vec<Region>,
    /// What stays in the text.
    pub keep: Keep,
    /// Further recognizers.
    pub recognizers: Vec<Recognizer>,
    /// Values that are found wherever they are words, in any case of their ASCII letters.
    pub deny: Vec<(Kind, Vec<String>)>,
    /// Values that are never found, in any case of their letters.
    pub allow: Vec<String>,
    /// A longer text is an error, in bytes.
    pub text_bytes_max: usize,
}

/// Parts of values that identify nobody by themselves, so that a policy can leave them in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The year of a date of four digits.
    pub year: bool,
    /// A state of the United States after a city.
    pub state: bool,
    /// Ages under 90.
    pub age_under_90: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Self { year: false, state: false, age_under_90: true }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            languages: vec![Language::English],
            min_confidence: 50,
            min_confidence_of: BTreeMap::new(),
            regions: vec![Region::US],
            keep: Keep::default(),
            recognizers: Vec::new(),
            deny: Vec::new(),
            allow: Vec::new(),
            text_bytes_max: 16 << 20,
        }
    }
}

impl Options {
    /// The least confidence of a kind.
    pub(crate) fn least(&self, kind: &Kind) -> u8 {
        self.min_confidence_of.get(kind).copied().unwrap_or(self.min_confidence)
    }
}

/// Why options are refused. No variant holds a value of a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The regular expression of this recognizer does not compile, for this reason.
    #[error("recognizer {0:?}: the regular expression does not compile: {1}")]
    Regex(String, String),
    /// The compiled regular expression is too large.
    #[error("recognizer {0:?}: the regular expression is too large; use smaller repetitions")]
    RegexSize(String),
    /// The regular expression matches the empty text.
    #[error("recognizer {0:?}: the regular expression matches the empty text; require at least one character")]
    RegexEmpty(String),
    /// There are too many recognizers or listed values.
    #[error("too many {0}; at most {1} are allowed")]
    TooMany(&'static str, usize),
    /// A listed value is empty or too long.
    #[error("a value in the {0} list is empty or longer than {1} bytes")]
    ListedValue(&'static str, usize),
    /// A confidence is above 100.
    #[error("a confidence is above 100 percent")]
    Confidence,
    /// No language is chosen.
    #[error("no language is chosen; add \"en\"")]
    NoLanguage,
}
