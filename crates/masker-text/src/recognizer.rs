//! Recognizers that a policy adds.

use std::fmt::Display;

use crate::{
    candidate::{Candidate, Rank},
    kind::Kind,
    options::OptionsError,
    rules::Scan,
    validate,
};
use regex_automata::{
    Input,
    meta::Regex,
    util::syntax::{self, parse_with},
};

/// Largest compiled regular expression, in bytes.
pub const REGEX_BYTES_MAX: usize = 1 << 20;
/// Longest regular expression, in bytes.
pub const REGEX_SOURCE_BYTES_MAX: usize = 4096;
/// Longest match that becomes a finding, in bytes.
pub const MATCH_BYTES_MAX: usize = 4096;

/// A kind of value that a regular expression describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognizer {
    /// The name that findings show as their rule.
    pub name: String,
    /// The kind of the findings.
    pub kind: Kind,
    /// The regular expression. Classes such as `\d` and `\w` are ASCII. The first group is the value, if there is one.
    pub regex: String,
    /// A check that a value must pass.
    pub validator: Option<Validator>,
    /// Words in whose neighbourhood the confidence is higher.
    pub context: Vec<String>,
    /// Confidence without context, in percent.
    pub confidence: u8,
    /// Confidence with context, in percent.
    pub confidence_with_context: u8,
}

impl Recognizer {
    /// Checks that the recognizer can be used.
    ///
    /// # Errors
    ///
    /// Returns an error if the regular expression does not compile, is too large or matches the empty text, or if a confidence
    /// is above 100.
    pub fn check(&self) -> Result<(), OptionsError> {
        Compiled::new(self.clone()).map(drop)
    }
}

/// A check of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validator {
    /// The Luhn check digit of all digits of the value.
    Luhn,
    /// The check digits of an IBAN of its country's length.
    Iban,
    /// The areas of social security numbers.
    Ssn,
    /// The check digit of vehicle identification numbers.
    Vin,
    /// The check digit of national provider identifiers.
    Npi,
    /// The check digit of DEA registration numbers.
    Dea,
}

impl Validator {
    /// Returns the validator of a name: `luhn`, `iban`, `ssn`, `vin`, `npi` or `dea`.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "luhn" => Self::Luhn,
            "iban" => Self::Iban,
            "ssn" => Self::Ssn,
            "vin" => Self::Vin,
            "npi" => Self::Npi,
            "dea" => Self::Dea,
            _ => return None,
        })
    }

    /// Returns the name of the validator, as [`Validator::parse`] reads it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Luhn => "luhn",
            Self::Iban => "iban",
            Self::Ssn => "ssn",
            Self::Vin => "vin",
            Self::Npi => "npi",
            Self::Dea => "dea",
        }
    }

    fn accepts(self, value: &str) -> bool {
        let compact: Vec<u8> = value.bytes().filter(u8::is_ascii_alphanumeric).collect();
        let digits: Vec<u8> = compact.iter().copied().filter(u8::is_ascii_digit).collect();
        match self {
            Self::Luhn => digits.len() >= 2 && validate::luhn(&digits),
            Self::Iban => {
                compact.len() > 4
                    && validate::iban_len(&compact[..2]) == Some(compact.len())
                    && validate::is_iban(&compact)
            }
            Self::Ssn => validate::is_ssn(&digits),
            Self::Vin => validate::is_vin(&compact),
            Self::Npi => validate::is_npi(&digits),
            Self::Dea => validate::is_dea(&compact),
        }
    }
}

/// Returns the reason of an error of the parser, which shows the expression before it, and what to do.
fn compile_error(regex: &str, error: &dyn Display) -> String {
    let text = error.to_string();
    let reason = text.rsplit("error: ").next().unwrap_or_default();
    let is_of_characters = !regex.is_ascii() && reason.starts_with("Unicode");
    match is_of_characters {
        true => "a class cannot have characters beyond ASCII; write `(?:ä|ö)` instead of `[äö]`".to_owned(),
        false => reason.to_owned(),
    }
}

/// A recognizer with its compiled regular expression.
pub(crate) struct Compiled {
    recognizer: Recognizer,
    regex: Regex,
}

impl Compiled {
    /// Compiles a recognizer. A regular expression that is too large, or matches the empty text, is refused.
    pub fn new(recognizer: Recognizer) -> Result<Self, OptionsError> {
        let name = || recognizer.name.clone();
        if recognizer.regex.len() > REGEX_SOURCE_BYTES_MAX {
            return Err(OptionsError::RegexSize(name()));
        }
        if recognizer.confidence > 100 || recognizer.confidence_with_context > 100 {
            return Err(OptionsError::Confidence);
        }
        let syntax = syntax::Config::new().unicode(false).utf8(false).nest_limit(64);
        let invalid = |error: &dyn Display| OptionsError::Regex(name(), compile_error(&recognizer.regex, error));
        let hir = parse_with(&recognizer.regex, &syntax).map_err(|error| invalid(&error))?;
        if hir.properties().minimum_len() == Some(0) {
            return Err(OptionsError::RegexEmpty(name()));
        }
        let config = Regex::config()
            .nfa_size_limit(Some(REGEX_BYTES_MAX))
            .hybrid_cache_capacity(2 * REGEX_BYTES_MAX)
            .utf8_empty(false);
        let regex =
            Regex::builder().configure(config).build_from_hir(&hir).map_err(|_| OptionsError::RegexSize(name()))?;
        Ok(Self { recognizer, regex })
    }

    /// The words of the recognizer's context, as labels.
    pub fn context(&self) -> impl Iterator<Item = (Kind, String)> + '_ {
        self.recognizer.context.iter().map(|word| (self.context_kind(), word.clone()))
    }

    /// A kind that only this recognizer's context has, so that contexts of several recognizers do not mix.
    fn context_kind(&self) -> Kind {
        Kind::Custom(format!("context of {}", self.recognizer.name).into())
    }

    /// Proposes the matches in a text.
    pub fn find(&self, scan: &mut Scan<'_>) {
        let text = scan.text;
        let mut captures = self.regex.create_captures();
        let mut at = 0;
        while at < text.len() {
            self.regex.search_captures(&Input::new(text).range(at..), &mut captures);
            let Some(whole) = captures.get_match() else { break };
            at = whole.end().max(at + 1);
            let span = captures.get_group(1).unwrap_or(whole.span());
            // Expressions read bytes: a range inside a character is none.
            let Some(value) = text.get(span.start..span.end) else { continue };
            if value.is_empty()
                || value.len() > MATCH_BYTES_MAX
                || self.recognizer.validator.is_some_and(|validator| !validator.accepts(value))
            {
                continue;
            }
            let context = scan.labels.near(text, &self.context_kind(), span.start, span.end);
            let rank = match (self.recognizer.validator, context) {
                (Some(_), _) => Rank::Validated,
                (None, Some(_)) => Rank::Labelled,
                (None, None) => Rank::Pattern,
            };
            let confidence =
                if context.is_some() { self.recognizer.confidence_with_context } else { self.recognizer.confidence };
            let mut candidate =
                Candidate::new((span.start, span.end), self.recognizer.kind.clone(), rank, confidence, "");
            candidate.rule = self.recognizer.name.clone().into();
            candidate.label = context;
            scan.out.push(candidate);
        }
    }
}
