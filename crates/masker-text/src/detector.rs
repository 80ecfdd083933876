//! The detector.

use crate::{
    blobs,
    candidate::{Candidate, Rank},
    finding::{Finding, Why},
    kind::Kind,
    labels::{LabelSet, Labels},
    names::{features::Knowledge, lexicon::Lexicon, tagger::Weights},
    options::{Options, OptionsError},
    pack::{Pack, cue_table},
    recognizer::Compiled,
    resolve::resolve,
    rules::{Scan, ages, dates, ids, numbers, patterns::Patterns, people, places, secrets::OpenSecret, streets},
    segment,
    shadow::Shadow,
    words::WordClasses,
};
use aho_corasick::AhoCorasick;
use std::sync::{Arc, LazyLock};

/// Name lists and weights, trained by `masker-text-train`.
static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let bytes = include_bytes!("../packs/model.bin");
    let model = Lexicon::read(bytes)
        .and_then(|(lexicon, rest)| Some(Model { lexicon: Arc::new(lexicon), weights: Weights::read(rest)? }));
    model.expect("the tests read the model")
});

/// What the crate embeds.
struct Model {
    lexicon: Arc<Lexicon>,
    weights: Weights,
}

/// Most recognizers of options.
pub const RECOGNIZERS_MAX: usize = 64;
/// Most values in the deny lists together, and in the allow list.
pub const LISTED_MAX: usize = 10_000;
/// Longest value of a list, in bytes.
pub const LISTED_BYTES_MAX: usize = 256;

/// A request to find personal data.
#[derive(Clone, Copy, Default)]
pub struct Request<'a> {
    /// Whether findings have an explanation.
    pub explain: bool,
    /// Asked before each segment of at most [`segment::SEGMENT_BYTES_MAX`] bytes: `true` stops the search. The crate has no
    /// clock, so a caller with a time budget reads its own.
    pub stop: Option<&'a dyn Fn() -> bool>,
}

/// Why a text was not searched to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// The text is longer than the options allow.
    #[error("the text is longer than {0} bytes; split it")]
    TooLong(usize),
    /// The request stopped the search.
    #[error("the search was stopped before the end of the text; send a shorter text or allow more time")]
    Stopped,
}

/// Finds personal data in texts. A detector is immutable, and threads can share it.
pub struct Detector {
    options: Options,
    knowledge: Knowledge,
    words: WordClasses,
    labels: LabelSet,
    patterns: Patterns,
    recognizers: Vec<Compiled>,
    deny: Option<(AhoCorasick, Vec<Kind>)>,
    allow: Vec<String>,
}

impl Detector {
    /// Creates a detector.
    ///
    /// # Errors
    ///
    /// Returns an error if a recognizer, a list or a confidence is not valid.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        if options.languages.is_empty() {
            return Err(OptionsError::NoLanguage);
        }
        if options.min_confidence > 100 || options.min_confidence_of.values().any(|&confidence| confidence > 100) {
            return Err(OptionsError::Confidence);
        }
        if options.recognizers.len() > RECOGNIZERS_MAX {
            return Err(OptionsError::TooMany("recognizers", RECOGNIZERS_MAX));
        }
        let recognizers = options.recognizers.iter().cloned().map(Compiled::new).collect::<Result<Vec<_>, _>>()?;
        let packs: Vec<Pack> = options.languages.iter().map(|language| language.pack()).collect();
        let contexts: Vec<(Kind, String)> = recognizers.iter().flat_map(Compiled::context).collect();
        check_list("deny", options.deny.iter().flat_map(|(_, values)| values))?;
        check_list("allow", &options.allow)?;
        let deny_values: Vec<(&String, &Kind)> =
            options.deny.iter().flat_map(|(kind, values)| values.iter().map(move |value| (value, kind))).collect();
        let deny = (!deny_values.is_empty()).then(|| {
            // All matches, because one inside a word must not hide another one.
            let automaton = AhoCorasick::new(deny_values.iter().map(|(value, _)| Lowercase::new(value).text))
                .expect("lists are short");
            (automaton, deny_values.iter().map(|(_, kind)| (*kind).clone()).collect())
        });
        let mut allow: Vec<String> = options.allow.iter().map(|value| value.to_lowercase()).collect();
        allow.sort();
        Ok(Self {
            knowledge: Knowledge { lexicon: MODEL.lexicon.clone(), cues: cue_table(&packs) },
            words: WordClasses::new(&packs),
            labels: LabelSet::new(&packs, &contexts),
            patterns: Patterns::new(),
            recognizers,
            deny,
            allow,
            options,
        })
    }

    /// The detector's options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Finds personal data. Findings come in the order of the text, and do not overlap.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is too long, or if the request stops the search. A caller must not take the text for
    /// clean then.
    pub fn find(&self, text: &str, request: &Request<'_>) -> Result<Vec<Finding>, FindError> {
        if text.len() > self.options.text_bytes_max {
            return Err(FindError::TooLong(self.options.text_bytes_max));
        }
        let mut findings = Vec::new();
        let mut state = State::default();
        let mut at = 0;
        while at < text.len() {
            let end = at + segment::end(&text[at..], true).unwrap_or(text.len() - at);
            self.find_segment(&text[at..end], at, &mut state, request, &mut findings)?;
            at = end;
        }
        Ok(findings)
    }

    /// Returns how many bytes of a text that is still growing have their final findings: the findings that end there stay the
    /// same with any text that follows. At most [`segment::SEGMENT_BYTES_MAX`] bytes at the end are not final.
    pub fn settled(&self, prefix: &str) -> usize {
        let mut at = 0;
        while let Some(len) = segment::end(&prefix[at..], false) {
            at += len;
        }
        at
    }

    /// Finds personal data in the next segment of a text.
    pub(crate) fn find_segment(
        &self,
        segment: &str,
        offset: usize,
        state: &mut State,
        request: &Request<'_>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), FindError> {
        if request.stop.is_some_and(|stop| stop()) {
            return Err(FindError::Stopped);
        }
        let shadow = Shadow::new(segment);
        let candidates = self.candidates(shadow.text(), state);
        for candidate in candidates {
            let (start, end) = shadow.original(candidate.start, candidate.end);
            // Two ranges of the shadow can lie in one replacement: the first one covers it.
            if findings.last().is_some_and(|last| last.end > offset + start)
                || start >= end
                || self.is_allowed(&segment[start..end])
            {
                continue;
            }
            let why = request.explain.then(|| Box::new(explain(&candidate, &shadow, segment, (start, end), offset)));
            findings.push(Finding {
                start: offset + start,
                end: offset + end,
                kind: candidate.kind,
                confidence: candidate.confidence,
                rule: candidate.rule,
                why,
            });
        }
        Ok(())
    }

    /// Applies all rules to a shadow. Returns what is left after overlaps are settled, in the order of the text.
    fn candidates(&self, text: &str, state: &mut State) -> Vec<Candidate> {
        let blobs = blobs::find(text);
        let sentence = crate::names::features::Sentence::read_around(text, &blobs, &self.knowledge);
        let tags = MODEL.weights.tag(&sentence);
        let classes = sentence.tokens.iter().map(|token| self.words.of(token)).collect();
        let mut scan = Scan {
            text,
            sentence: &sentence,
            classes,
            words: &self.words,
            tags: &tags,
            labels: Labels::new(&self.labels, text),
            regions: &self.options.regions,
            keep_ages: self.options.keep.age_under_90,
            out: Vec::new(),
        };
        numbers::find(&mut scan);
        dates::find(&mut scan);
        ids::find(&mut scan);
        ages::find(&mut scan);
        self.patterns.find(&mut scan, &blobs::joined(text, &blobs), &mut state.secret);
        streets::find(&mut scan);
        places::find(&mut scan);
        people::find(&mut scan);
        people::repeats(&mut scan, &mut state.names);
        for recognizer in &self.recognizers {
            recognizer.find(&mut scan);
        }
        self.listed(&mut scan);
        let mut candidates = std::mem::take(&mut scan.out);
        candidates.retain(|candidate| {
            candidate.rank != Rank::Model || !scan.labels.covers(text, candidate.start, candidate.end)
        });
        candidates.retain(|candidate| candidate.confidence >= self.options.least(&candidate.kind));
        let mut kept = resolve(candidates);
        kept.retain_mut(|candidate| keep(candidate, text, &self.options));
        kept
    }

    /// Proposes the values of the deny list.
    fn listed(&self, scan: &mut Scan<'_>) {
        let Some((automaton, kinds)) = &self.deny else { return };
        let bytes = scan.text.as_bytes();
        let word = |index: usize| bytes.get(index).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80);
        let lower = Lowercase::new(scan.text);
        for found in automaton.find_overlapping_iter(&lower.text) {
            let (start, end) = (lower.original(found.start()), lower.original(found.end()));
            // A match can lie within the lower case of one character.
            if start >= end {
                continue;
            }
            let inside = word(start) && start > 0 && word(start - 1) || word(end - 1) && word(end);
            if !inside {
                let kind = kinds[found.pattern().as_usize()].clone();
                scan.out.push(Candidate::new((start, end), kind, Rank::Listed, 100, "deny-list"));
            }
        }
    }

    fn is_allowed(&self, value: &str) -> bool {
        !self.allow.is_empty() && self.allow.binary_search(&value.to_lowercase()).is_ok()
    }
}

/// A text in lower case, character by character, so that offsets can be mapped back.
struct Lowercase {
    text: String,
    /// For each byte, and for the end, the offset of its character in the original; `None` if they are the same.
    offsets: Option<Vec<usize>>,
}

impl Lowercase {
    fn new(original: &str) -> Self {
        if original.is_ascii() {
            return Lowercase { text: original.to_ascii_lowercase(), offsets: None };
        }
        let mut text = String::with_capacity(original.len());
        let mut offsets = Vec::with_capacity(original.len() + 1);
        for (at, character) in original.char_indices() {
            text.extend(character.to_lowercase());
            offsets.resize(text.len(), at);
        }
        offsets.push(original.len());
        Lowercase { text, offsets: Some(offsets) }
    }

    fn original(&self, offset: usize) -> usize {
        self.offsets.as_ref().map_or(offset, |offsets| offsets[offset])
    }
}

/// What the segments of a text before the current one leave behind.
#[derive(Clone, Default)]
pub(crate) struct State {
    names: people::KnownNames,
    /// The secret that the end of the last segment has cut.
    secret: Option<OpenSecret>,
}

fn check_list<'v>(name: &'static str, values: impl IntoIterator<Item = &'v String>) -> Result<(), OptionsError> {
    let mut count = 0;
    for value in values {
        count += 1;
        if value.is_empty() || value.len() > LISTED_BYTES_MAX {
            return Err(OptionsError::ListedValue(name, LISTED_BYTES_MAX));
        }
    }
    if count > LISTED_MAX { Err(OptionsError::TooMany("listed values", LISTED_MAX)) } else { Ok(()) }
}

/// Applies what the options keep to a candidate. Returns whether anything of it is left.
fn keep(candidate: &mut Candidate, text: &str, options: &Options) -> bool {
    let value = &text[candidate.start..candidate.end];
    if options.keep.year && matches!(candidate.kind, Kind::Date | Kind::Dob) {
        let is_year = |part: &str| part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_digit());
        if value.get(value.len().saturating_sub(4)..).is_some_and(is_year) {
            let rest = value[..value.len() - 4].trim_end_matches(|char: char| !char.is_alphanumeric());
            candidate.end = candidate.start + rest.len();
        } else if value.get(..4).is_some_and(is_year) {
            let rest = value[4..].trim_start_matches(|char: char| !char.is_alphanumeric());
            candidate.start = candidate.end - rest.len();
        }
    }
    if options.keep.state {
        if candidate.rule == "state" {
            return false;
        }
        if matches!(candidate.kind, Kind::Address | Kind::Location)
            && let Some((rest, state)) = value.rsplit_once(", ")
            && state.len() == 2
            && state.bytes().all(|byte| byte.is_ascii_uppercase())
        {
            candidate.end = candidate.start + rest.len();
        }
    }
    candidate.start < candidate.end
}

fn explain(candidate: &Candidate, shadow: &Shadow<'_>, segment: &str, original: (usize, usize), offset: usize) -> Why {
    Why {
        evidence: match candidate.rank {
            Rank::Listed => "listed",
            Rank::Validated => "validated",
            Rank::Labelled => "labelled",
            Rank::Pattern => "pattern",
            Rank::Model => "model",
        },
        label: candidate.label.map(|(start, end)| {
            let (start, end) = shadow.original(start, end);
            (offset + start, offset + end)
        }),
        check: candidate.check,
        rewritten: shadow.text()[candidate.start..candidate.end] != segment[original.0..original.1],
    }
}
