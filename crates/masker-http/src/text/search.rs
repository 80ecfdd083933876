//! The search of texts for personal data, on threads that no connection waits for.

use std::{
    collections::BTreeSet,
    ops::Range,
    time::{Duration, Instant},
};

use rayon::prelude::*;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::json_spans::JsonSpans;
use crate::problem::Problem;
use masker_api::TextFormat;
use masker_core::token::tokens_in;
use masker_text::{Detector, FindError, Finding, Request};
use masker_types::{
    error_code::Code,
    limits::{TEXT_BYTES_MAX, TEXT_SECONDS_MAX},
};

/// Texts to search.
pub(super) struct TextSearch<'r> {
    pub(super) detector: &'r Detector,
    pub(super) format: TextFormat,
    pub(super) explain: bool,
}

/// What a text has.
pub(super) struct SearchedText {
    /// What was found outside of masker's own tokens and placeholders, in the order of the text.
    pub(super) findings: Vec<Finding>,
    /// Tokens and placeholders, in the order of the text.
    pub(super) existing: Vec<Existing>,
    /// What was found in numbers of a JSON document. No token can take the place of a number.
    pub(super) in_numbers: Vec<Finding>,
}

/// A token or a placeholder that is in a text already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Existing {
    pub(super) range: Range<usize>,
    pub(super) is_token: bool,
}

/// Why one text cannot be searched or restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TextFailure {
    TooLong,
    NotJson,
    /// Personal data in JSON numbers.
    Numbers {
        /// The pointers of the first ones.
        pointers: Vec<String>,
        /// How many there are.
        count: usize,
        /// The kinds of all.
        kinds: BTreeSet<String>,
    },
}

/// Most numbers that a message points to.
pub(super) const NUMBERS_NAMED_MAX: usize = 10;

impl TextFailure {
    pub(super) fn code(&self) -> Code {
        match self {
            TextFailure::TooLong => Code::TextTooLong,
            TextFailure::NotJson => Code::TextNotJson,
            TextFailure::Numbers { .. } => Code::ValueInvalid,
        }
    }

    pub(super) fn detail(&self) -> String {
        match self {
            TextFailure::TooLong => format!("a text is at most {} MiB; split it", TEXT_BYTES_MAX >> 20),
            TextFailure::NotJson => {
                "with `\"format\": \"json\"`, a text is one JSON document without a byte order mark, and no \
                                     string of it has half of a surrogate pair"
                    .to_owned()
            }
            TextFailure::Numbers { pointers, count, kinds } => {
                let places: Vec<String> = pointers
                    .iter()
                    .map(|pointer| match pointer.as_str() {
                        "" => "the top level".to_owned(),
                        pointer => format!("`{pointer}`"),
                    })
                    .collect();
                let more = match count - pointers.len() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
                format!(
                    "the JSON numbers at {}{more} look like personal data ({}), and no token can take the place of a number; write \
                     them as strings, or let the policy pass the kind through",
                    places.join(", "),
                    kinds.join(", ")
                )
            }
        }
    }
}

/// Checks the length of a text, and finds its string values if it is JSON.
pub(super) fn read_format(text: &str, format: TextFormat) -> Result<Option<JsonSpans>, TextFailure> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(TextFailure::TooLong);
    }
    match format {
        TextFormat::Plain => Ok(None),
        TextFormat::Json => JsonSpans::read(text).map(Some).ok_or(TextFailure::NotJson),
    }
}

impl TextSearch<'_> {
    /// Searches texts. `placeholders` are those that each text has, in its order.
    ///
    /// # Errors
    /// `text.timeout` if the texts take longer than [`TEXT_SECONDS_MAX`]. A text that cannot be searched fails alone.
    pub(super) fn run(
        &self,
        texts: &[&str],
        placeholders: &[Vec<Range<usize>>],
    ) -> Result<Vec<Result<SearchedText, TextFailure>>, Problem> {
        self.run_until(texts, placeholders, Instant::now() + Duration::from_secs(TEXT_SECONDS_MAX))
    }

    fn run_until(
        &self,
        texts: &[&str],
        placeholders: &[Vec<Range<usize>>],
        deadline: Instant,
    ) -> Result<Vec<Result<SearchedText, TextFailure>>, Problem> {
        off_async_threads(|| {
            let one = |(text, placeholders): (&&str, &Vec<Range<usize>>)| self.one(text, placeholders, deadline);
            match texts {
                [_] => texts.iter().zip(placeholders).map(one).collect(),
                _ => texts.par_iter().zip(placeholders).map(one).collect(),
            }
        })
    }

    fn one(
        &self,
        text: &str,
        placeholders: &[Range<usize>],
        deadline: Instant,
    ) -> Result<Result<SearchedText, TextFailure>, Problem> {
        let spans = match read_format(text, self.format) {
            Ok(spans) => spans,
            Err(failure) => return Ok(Err(failure)),
        };
        let stop = || Instant::now() >= deadline;
        let found = match self.detector.find(text, &Request { explain: self.explain, stop: Some(&stop) }) {
            Ok(found) => found,
            Err(FindError::TooLong(_)) => return Ok(Err(TextFailure::TooLong)),
            Err(FindError::Stopped) => return Err(timed_out()),
        };
        let in_numbers = spans.as_ref().map_or_else(Vec::new, |spans| {
            found.iter().filter(|found| spans.is_in_number(text, found.start..found.end)).cloned().collect()
        });
        let existing = existing(text, placeholders, spans.as_ref());
        let findings = outside(text, found, &existing, spans.as_ref());
        Ok(Ok(SearchedText { findings, existing, in_numbers }))
    }
}

fn timed_out() -> Problem {
    let detail = format!(
        "the texts took longer than {TEXT_SECONDS_MAX} s to search, and none of them is answered; send fewer or shorter ones"
    );
    Problem::new(Code::TextTimeout, detail)
}

/// Runs work that takes long, while the runtime moves this thread's other tasks to another.
pub(super) fn off_async_threads<R>(work: impl FnOnce() -> R) -> R {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Returns the tokens and placeholders of a text, in its order. A placeholder within a token is none.
pub(super) fn existing(text: &str, placeholders: &[Range<usize>], spans: Option<&JsonSpans>) -> Vec<Existing> {
    let mut existing: Vec<Existing> =
        tokens_in(text).into_iter().map(|range| Existing { range, is_token: true }).collect();
    let tokens = existing.len();
    for range in placeholders {
        let position = existing[..tokens].partition_point(|token| token.range.end <= range.start);
        if existing[..tokens].get(position).is_none_or(|token| token.range.start >= range.end) {
            existing.push(Existing { range: range.clone(), is_token: false });
        }
    }
    existing.sort_by_key(|one| one.range.start);
    if let Some(spans) = spans {
        existing.retain(|one| spans.parts(one.range.clone()).eq([one.range.clone()]));
    }
    existing
}

/// Returns the parts of findings that are outside of tokens and placeholders, and in JSON inside of string values.
pub(super) fn outside(
    text: &str,
    found: Vec<Finding>,
    existing: &[Existing],
    spans: Option<&JsonSpans>,
) -> Vec<Finding> {
    let mut findings = Vec::with_capacity(found.len());
    let mut rest = existing;
    let mut settled = 0;
    for finding in found {
        while let [first, others @ ..] = rest
            && first.range.end <= finding.start
        {
            rest = others;
        }
        let mut parts = Vec::new();
        let mut start = finding.start;
        for one in rest.iter().take_while(|one| one.range.start < finding.end) {
            parts.push(start..one.range.start.max(start));
            start = start.max(one.range.end);
        }
        parts.push(start..finding.end.max(start));
        if let Some(spans) = spans {
            parts = parts.into_iter().flat_map(|part| spans.parts(part)).collect();
        }
        let is_whole = parts.len() == 1 && parts[0] == (finding.start..finding.end);
        for part in parts {
            // Escapes at the edges may belong to the finding before.
            let part = part.start.max(settled)..part.end;
            let has_content = || text[part.clone()].chars().any(char::is_alphanumeric);
            if part.is_empty() || !is_whole && !has_content() {
                continue;
            }
            settled = part.end;
            findings.push(Finding { start: part.start, end: part.end, ..finding.clone() });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use masker_text::{Kind, Options};
    use std::sync::LazyLock;

    static DETECTOR: LazyLock<Detector> = LazyLock::new(|| Detector::new(Options::default()).unwrap());

    const TOKEN: &str = "MSKV1.PHONE.K_A.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ";

    fn search(format: TextFormat) -> TextSearch<'static> {
        TextSearch { detector: &DETECTOR, format, explain: false }
    }

    #[test]
    fn a_search_out_of_time_fails_as_a_whole() {
        let texts = ["no data", "call (212) 555-0147"];
        let problem = search(TextFormat::Plain).run_until(&texts, &vec![Vec::new(); 2], Instant::now()).err().unwrap();
        assert_eq!(problem.code, Code::TextTimeout);
        assert!(!problem.detail.contains("555"), "{}", problem.detail);
    }

    #[test]
    fn a_text_that_cannot_be_searched_fails_alone() {
        let long = "a".repeat(TEXT_BYTES_MAX + 1);
        let texts = [long.as_str(), "{\"a\": \"(212) 555-0147\"}", "{"];
        let results = search(TextFormat::Json).run(&texts, &vec![Vec::new(); 3]).ok().unwrap();
        let failures: Vec<_> = results.iter().map(|result| result.as_ref().err().cloned()).collect();
        assert_eq!(failures, [Some(TextFailure::TooLong), None, Some(TextFailure::NotJson)]);
        assert_eq!(results[1].as_ref().ok().unwrap().findings.len(), 1);
    }

    fn finding(start: usize, end: usize) -> Finding {
        Finding { start, end, kind: Kind::Address, confidence: 90, rule: "r".into(), why: None }
    }

    #[test]
    fn findings_do_not_touch_tokens_and_placeholders() {
        let text = format!("12 Elm St {TOKEN}, [NAME_7F3KQ2XA] Springfield");
        let placeholder = text.find('[').unwrap()..text.find(']').unwrap() + 1;
        let existing = existing(&text, std::slice::from_ref(&placeholder), None);
        assert_eq!(existing.iter().map(|one| one.is_token).collect::<Vec<_>>(), [true, false]);
        let parts = |range: Range<usize>| -> Vec<String> {
            let found = outside(&text, vec![finding(range.start, range.end)], &existing, None);
            found.iter().map(|finding| text[finding.start..finding.end].to_owned()).collect()
        };
        assert_eq!(parts(0..text.len()), ["12 Elm St ", " Springfield"]);
        assert_eq!(parts(12..20), Vec::<String>::new());
        assert_eq!(parts(placeholder.start - 2..placeholder.end), Vec::<String>::new());
        assert_eq!(parts(9..10), [" "], "a whole finding stays");
    }

    #[test]
    fn a_finding_across_values_is_replaced_in_each() {
        let text = r#"["12 Elm St", {"city": "Springfield"}]"#;
        let spans = JsonSpans::read(text).unwrap();
        let found = outside(text, vec![finding(0, text.len())], &[], Some(&spans));
        let parts: Vec<&str> = found.iter().map(|finding| &text[finding.start..finding.end]).collect();
        assert_eq!(parts, ["12 Elm St", "Springfield"]);
    }
}
