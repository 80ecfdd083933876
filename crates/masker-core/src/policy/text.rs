//! How a policy searches texts: `[text]`, `[[recognizer]]`, and what the sections of kinds say about texts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, OnceLock},
};

use masker_text::{
    Detector, Keep, Kind, LISTED_BYTES_MAX, LISTED_MAX, Language, Options, OptionsError, RECOGNIZERS_MAX, Recognizer,
    Region, Validator,
};

use crate::document::{Located, Section};
use masker_types::{
    kind::EntityKind,
    limits::TEXT_BYTES_MAX,
    quote::{quoted, suggestion},
};

/// Longest name of a recognizer, in bytes.
const RECOGNIZER_NAME_BYTES_MAX: usize = 64;
/// Most words in whose neighbourhood a recognizer is more confident.
const CONTEXT_WORDS_MAX: usize = 64;

/// The confidence of a recognizer that states none, in percent: without and with a word of its context.
const CONFIDENCE_DEFAULT: (u8, u8) = (60, 90);

/// How texts are searched. Holding it proves that the recognizers compile, and that the lists are within their bounds.
#[derive(Clone)]
pub struct TextRules {
    options: Options,
    /// The detectors, made when they are first used: one for the policy's languages in their order, and one for each
    /// language that a request puts first.
    detectors: Arc<[OnceLock<Result<Detector, OptionsError>>; 1 + Language::ALL.len()]>,
}

impl TextRules {
    fn new(options: Options) -> Self {
        TextRules { options, detectors: Arc::default() }
    }

    /// Returns the settings of the detector.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Returns the settings by the keys of a policy's file, such as `text.languages`, with all defaults filled in. Lists of
    /// values have only their length: they can hold personal data.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let Options {
            languages,
            min_confidence,
            min_confidence_of,
            regions,
            keep,
            recognizers,
            deny,
            allow,
            text_bytes_max: _,
        } = &self.options;
        let percent = |percent: u8| (f64::from(percent) / 100.0).to_string();
        let length = |count: usize| if count == 1 { "1 value".to_owned() } else { format!("{count} values") };
        let kept = [("year", keep.year), ("state", keep.state), ("age_under_90", keep.age_under_90)];
        let kept: Vec<&str> = kept.iter().filter(|(_, is_kept)| *is_kept).map(|(name, _)| *name).collect();
        let mut settings = BTreeMap::new();
        let mut set = |key: String, value: String| drop(settings.insert(key, value));
        let languages: Vec<&str> = languages.iter().map(|language| language.code()).collect();
        set("text.languages".to_owned(), languages.join(", "));
        let regions: Vec<&str> = regions.iter().map(Region::code).collect();
        set("text.regions".to_owned(), regions.join(", "));
        set("text.min_confidence".to_owned(), percent(*min_confidence));
        set("text.keep".to_owned(), kept.join(", "));
        set("text.allow".to_owned(), length(allow.len()));
        for (kind, least) in min_confidence_of {
            set(format!("entities.{kind}.min_confidence"), percent(*least));
        }
        for (kind, values) in deny {
            set(format!("entities.{kind}.deny"), length(values.len()));
        }
        for recognizer in recognizers {
            let mut set = |key: &str, value: String| set(format!("recognizer.{}.{key}", recognizer.name), value);
            set("kind", recognizer.kind.to_string());
            set("regex", recognizer.regex.clone());
            set("confidence", percent(recognizer.confidence));
            if let Some(validator) = recognizer.validator {
                set("validator", validator.name().to_owned());
            }
            if !recognizer.context.is_empty() {
                set("context", recognizer.context.join(", "));
                set("confidence_with_context", percent(recognizer.confidence_with_context));
            }
        }
        settings
    }

    /// Returns the detector for texts of a language, or of the policy's first one. The first call takes some time.
    ///
    /// # Errors
    /// [`OptionsError`]; never for rules that a policy was read with.
    pub fn detector(&self, language: Option<Language>) -> Result<&Detector, OptionsError> {
        let position = language.and_then(|language| Language::ALL.iter().position(|known| *known == language));
        let detector = self.detectors[position.map_or(0, |position| 1 + position)].get_or_init(|| {
            let mut options = self.options.clone();
            if let Some(language) = language {
                options.languages.retain(|other| *other != language);
                options.languages.insert(0, language);
            }
            Detector::new(options)
        });
        detector.as_ref().map_err(OptionsError::clone)
    }
}

impl Default for TextRules {
    fn default() -> Self {
        TextRules::new(Options { text_bytes_max: TEXT_BYTES_MAX, ..Options::default() })
    }
}

impl fmt::Debug for TextRules {
    /// Shows no lists: they can hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextRules").field("languages", &self.options.languages).finish_non_exhaustive()
    }
}

impl PartialEq for TextRules {
    fn eq(&self, other: &Self) -> bool {
        let Options {
            languages,
            min_confidence,
            min_confidence_of,
            regions,
            keep,
            recognizers,
            deny,
            allow,
            text_bytes_max,
        } = &self.options;
        let others = &other.options;
        (languages, min_confidence, min_confidence_of, regions, keep)
            == (&others.languages, &others.min_confidence, &others.min_confidence_of, &others.regions, &others.keep)
            && (recognizers, deny, allow, text_bytes_max)
                == (&others.recognizers, &others.deny, &others.allow, &others.text_bytes_max)
    }
}

impl Eq for TextRules {}

/// What the section of a kind says about texts.
pub(super) struct KindTextRules<'d> {
    kind: &'d str,
    min_confidence: Option<Located<u8>>,
    deny: Option<Vec<Located<&'d str>>>,
}

/// Reads what the section of a kind says about texts.
pub(super) fn read_kind<'d>(kind: &'d str, section: &Section<'d>) -> KindTextRules<'d> {
    let min_confidence = section.percent("min_confidence");
    let deny = read_list(section, "deny");
    KindTextRules { kind, min_confidence, deny }
}

/// Reads the rules about texts. `kinds` are those of the sections of kinds.
pub(super) fn read(root: &Section<'_>, kinds: &[KindTextRules<'_>]) -> TextRules {
    let mut options = TextRules::default().options;
    if let Some(section) = root.section("text") {
        read_text_section(&section, &mut options);
        section.finish();
    }
    read_recognizers(root, &mut options);
    for rules in kinds {
        let kind = Kind::new(rules.kind);
        if let Some(deny) = &rules.deny {
            options.deny.push((kind.clone(), deny.iter().map(|value| value.value.to_owned()).collect()));
        }
    }
    for rules in kinds {
        let Some(min_confidence) = rules.min_confidence else { continue };
        let kind = Kind::new(rules.kind);
        let is_found = !matches!(kind, Kind::Custom(_))
            || options.recognizers.iter().any(|recognizer| recognizer.kind == kind)
            || options.deny.iter().any(|(listed, _)| *listed == kind);
        if !is_found {
            let message = format!(
                "`min_confidence` has no effect: texts are not searched for {}; add a [[recognizer]] with this `kind`",
                quoted(rules.kind)
            );
            root.report(min_confidence.line, message);
        }
        options.min_confidence_of.insert(kind, min_confidence.value);
    }
    let listed = options.deny.iter().map(|(_, values)| values.len()).sum::<usize>();
    if listed > LISTED_MAX {
        root.report(1, format!("the `deny` lists have {listed} values together; at most {LISTED_MAX} are allowed"));
    }
    TextRules::new(options)
}

fn read_text_section(section: &Section<'_>, options: &mut Options) {
    if let Some(min_confidence) = section.percent("min_confidence") {
        options.min_confidence = min_confidence.value;
    }
    let codes = Language::ALL.map(Language::code);
    let languages = read_names(section, "languages", &codes, |code| {
        Language::ALL.into_iter().find(|language| language.code() == code)
    });
    if let Some(languages) = languages {
        match languages.first() {
            Some(_) => options.languages = languages,
            None => report_empty(section, "languages", "write `languages = [\"en\"]`"),
        }
    }
    let regions = read_names(section, "regions", &["US", "GB", "DE"], |code| {
        Region::parse(code).filter(|_| code.bytes().all(|byte| byte.is_ascii_uppercase()))
    });
    if let Some(regions) = regions {
        options.regions = regions;
    }
    let parts = ["year", "state", "age_under_90"];
    let kept = read_names(section, "keep", &parts, |part| parts.into_iter().find(|known| *known == part));
    if let Some(kept) = kept {
        let [year, state, age_under_90] = parts.map(|part| kept.contains(&part));
        options.keep = Keep { year, state, age_under_90 };
    }
    if let Some(allow) = read_list(section, "allow") {
        if allow.len() > LISTED_MAX {
            section
                .report(allow[0].line, format!("`allow` has {} values; at most {LISTED_MAX} are allowed", allow.len()));
        }
        options.allow = allow.iter().map(|value| value.value.to_owned()).collect();
    }
}

/// Reads a list of names, each once. Reports those that are not known.
fn read_names<T: PartialEq>(
    section: &Section<'_>,
    name: &'static str,
    known: &[&str],
    parse: impl Fn(&str) -> Option<T>,
) -> Option<Vec<T>> {
    let mut names = Vec::new();
    for text in section.strings(name)? {
        match parse(text.value) {
            Some(parsed) if names.contains(&parsed) => {
                section.report(text.line, format!("`{name}` has {} twice", quoted(text.value)));
            }
            Some(parsed) => names.push(parsed),
            None => {
                let advice = suggestion(text.value, known);
                section.report(text.line, format!("`{name}` cannot have {}: {advice}", quoted(text.value)));
            }
        }
    }
    Some(names)
}

fn report_empty(section: &Section<'_>, name: &str, advice: &str) {
    section.report(section.line(), format!("`{name}` is empty: {advice}"));
}

/// Reads a list of values. Messages do not repeat them: they can be personal data.
fn read_list<'d>(section: &Section<'d>, name: &'static str) -> Option<Vec<Located<&'d str>>> {
    let values = section.strings(name)?;
    for value in values.iter().filter(|value| value.value.is_empty() || value.value.len() > LISTED_BYTES_MAX) {
        section.report(value.line, format!("a value of `{name}` is empty or longer than {LISTED_BYTES_MAX} bytes"));
    }
    Some(values)
}

fn read_recognizers(root: &Section<'_>, options: &mut Options) {
    let sections = root.list("recognizer");
    if sections.len() > RECOGNIZERS_MAX {
        let line = sections[RECOGNIZERS_MAX].line();
        root.report(line, format!("there are {} recognizers; at most {RECOGNIZERS_MAX} are allowed", sections.len()));
    }
    let mut names = BTreeSet::new();
    for section in &sections {
        if let Some(recognizer) = read_recognizer(section) {
            if !names.insert(recognizer.name.clone()) {
                section.report(section.line(), format!("two recognizers have the name {}", quoted(&recognizer.name)));
            }
            options.recognizers.push(recognizer);
        }
        section.finish();
    }
}

fn read_recognizer(section: &Section<'_>) -> Option<Recognizer> {
    for (name, advice) in [
        ("name", "findings show it as their rule"),
        ("kind", "the kind of what it finds, such as \"MRN\""),
        ("regex", "a regular expression; its first group is the value"),
    ] {
        if !section.has(name) {
            section.report_missing(name, advice);
        }
    }
    let name = section.string("name").filter(|name| {
        let is_valid = (1..=RECOGNIZER_NAME_BYTES_MAX).contains(&name.value.len())
            && name.value.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !is_valid {
            let message = format!(
                "`name` cannot be {}: it is made of a-z, 0-9 and `-`, and has at most {RECOGNIZER_NAME_BYTES_MAX} characters",
                quoted(name.value)
            );
            section.report(name.line, message);
        }
        is_valid
    });
    let kind = section.string("kind").and_then(|kind| {
        let parsed = EntityKind::parse(kind.value);
        if parsed.is_none() {
            section.report(kind.line, super::parse::kind_advice(kind.value));
        }
        parsed
    });
    let regex = section.string("regex");
    let names = ["luhn", "iban", "ssn", "vin", "npi", "dea"];
    let validators: Vec<_> = names.iter().filter_map(|name| Some((*name, Validator::parse(name)?))).collect();
    let validator = section.choice("validator", &validators);
    let context = read_list(section, "context").unwrap_or_default();
    if context.len() > CONTEXT_WORDS_MAX {
        section.report(context[0].line, format!("`context` has more than {CONTEXT_WORDS_MAX} words"));
    }
    let confidence = section.percent("confidence").map_or(CONFIDENCE_DEFAULT.0, |percent| percent.value);
    let with_context = section.percent("confidence_with_context");
    if let Some(with_context) = with_context
        && context.is_empty()
    {
        section.report(with_context.line, "`confidence_with_context` has no effect: there is no `context`");
    }
    let (name, kind, regex) = (name?, kind?, regex?);
    let recognizer = Recognizer {
        name: name.value.to_owned(),
        kind: Kind::new(kind.as_str()),
        regex: regex.value.to_owned(),
        validator: validator.map(|validator| validator.value),
        context: context.iter().map(|word| word.value.to_owned()).collect(),
        confidence,
        confidence_with_context: with_context.map_or(CONFIDENCE_DEFAULT.1.max(confidence), |percent| percent.value),
    };
    match recognizer.check() {
        Ok(()) => Some(recognizer),
        Err(problem) => {
            section.report(regex.line, problem.to_string());
            None
        }
    }
}
