//! The text of a policy.
//!
//! `kid`, `tokenization`, `cipher`, `deterministic` and `context` can be at the top, for all kinds, and in the section
//! of a kind, which takes precedence. A setting without effect is an error, because its author believes that it has
//! one: for example a cipher for a kind with vault tokens, or a key for a kind that is redacted. At the top, `cipher`
//! and `deterministic` are allowed beside vault tokens with their default values, as documentation.

use std::collections::BTreeMap;

use super::{Action, EntityRule, Policy, PolicyCipher, Scheme, TokenizeRule, text};
use crate::{
    document::{Document, DocumentError, Located, Section},
    normalize::Normalizer,
    validate::Validation,
};
use masker_types::{
    kind::{EntityKind, Kid},
    limits::KIND_BYTES_MAX,
    quote::{listed, quoted, suggestion},
};

/// Longest name of a policy, in bytes (it is ASCII).
const NAME_BYTES_MAX: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tokenization {
    VaultDeterministic,
    ReversibleAead,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ActionName {
    Tokenize,
    Redact,
    Passthrough,
}

/// The settings that are allowed both at the top and in the section of a kind.
struct RuleSettings {
    kid: Setting<Kid>,
    tokenization: Setting<Tokenization>,
    cipher: Setting<PolicyCipher>,
    deterministic: Setting<bool>,
    context_required: Setting<bool>,
}

/// The settings that are allowed only in the section of a kind.
struct KindSettings {
    normalizer: Setting<Normalizer>,
    validation: Setting<Validation>,
}

/// A setting as found. `Wrong` is a setting that was reported, so that it is not reported as missing too.
#[derive(Clone, Copy)]
enum Setting<T> {
    Absent,
    Wrong,
    Given(Located<T>),
}

impl<T: Copy> Setting<T> {
    fn read(section: &Section<'_>, name: &'static str, value: Option<Located<T>>) -> Self {
        match value {
            Some(located) => Setting::Given(located),
            None if section.has(name) => Setting::Wrong,
            None => Setting::Absent,
        }
    }

    fn or(self, default: Self) -> Self {
        if matches!(self, Setting::Absent) { default } else { self }
    }

    fn line(self) -> Option<usize> {
        match self {
            Setting::Given(located) => Some(located.line),
            Setting::Absent | Setting::Wrong => None,
        }
    }

    fn value(self) -> Option<T> {
        match self {
            Setting::Given(located) => Some(located.value),
            Setting::Absent | Setting::Wrong => None,
        }
    }

    fn value_or(self, default: T) -> T {
        self.value().unwrap_or(default)
    }
}

/// Kinds without a setting that is allowed at the top. They are reported together.
#[derive(Default)]
struct MissingSettings<'d> {
    kid: Vec<&'d str>,
    tokenization: Vec<&'d str>,
}

impl Policy {
    /// Parses a policy.
    ///
    /// # Errors
    /// Returns all problems of the text, in the order of lines.
    pub fn parse(text: &str) -> Result<Policy, Vec<DocumentError>> {
        let document = Document::parse(text);
        let policy = read_policy(&document.root());
        let problems = document.into_problems();
        match policy {
            Some(policy) if problems.is_empty() => Ok(policy),
            _ => Err(problems),
        }
    }
}

/// Returns `None` if a field is missing or wrong. Each such field is reported.
fn read_policy(root: &Section<'_>) -> Option<Policy> {
    let name = root.string("name");
    match name {
        Some(name) if !is_name(name.value) => root.report(
            name.line,
            format!(
                "`name` cannot be {}: it is made of a-z, 0-9 and `-`, does not begin with `-`, and has at most \
                 {NAME_BYTES_MAX} characters",
                quoted(name.value)
            ),
        ),
        None if !root.has("name") => root.report_missing("name", "requests choose the policy by it"),
        _ => {}
    }
    let version = root.integer("version", 1..=u64::from(u32::MAX));
    if !root.has("version") {
        root.report_missing("version", "begin with `version = 1` and count up with each change");
    }
    let description = root.string("description");
    let defaults = read_settings(root);
    let mut kinds = Vec::new();
    let entities = read_entities(root, &defaults, &mut kinds);
    let text = text::read(root, &kinds);
    root.finish();
    Some(Policy {
        name: name?.value.to_owned(),
        version: u32::try_from(version?.value).ok()?,
        description: description.map_or("", |description| description.value).to_owned(),
        entities: entities?,
        text,
    })
}

fn is_name(text: &str) -> bool {
    let character = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(character) && !text.starts_with('-')
}

fn read_entities<'d>(
    root: &Section<'d>,
    defaults: &RuleSettings,
    kinds: &mut Vec<text::KindTextRules<'d>>,
) -> Option<BTreeMap<EntityKind, EntityRule>> {
    let advice = "give each kind its own section, such as [entities.PHONE]";
    let Some(section) = root.section("entities") else {
        if !root.has("entities") {
            root.report_missing("entities", advice);
        }
        return None;
    };
    if section.is_empty() {
        section.report(section.line(), format!("[entities] is empty: {advice}"));
    }
    let mut rules = BTreeMap::new();
    let mut missing = MissingSettings::default();
    let mut aead_is_possible = false;
    for (name, section) in section.sections() {
        let kind = EntityKind::parse(name);
        if kind.is_none() {
            section.report(section.line(), kind_advice(name));
        }
        let settings = read_settings(&section);
        kinds.push(text::read_kind(name, &section));
        let rule = read_rule(name, &section, &settings, defaults, &mut missing);
        section.finish();
        // An unreadable scheme may be meant as reversible.
        aead_is_possible |= match settings.tokenization.or(defaults.tokenization) {
            Setting::Given(scheme) => scheme.value == Tokenization::ReversibleAead,
            Setting::Absent | Setting::Wrong => true,
        };
        rules.extend(kind.zip(rule));
    }
    report_missing_settings(root, &missing);
    if !aead_is_possible {
        report_unused_defaults(root, defaults);
    }
    Some(rules)
}

fn read_settings(section: &Section<'_>) -> RuleSettings {
    let kid = section.string("kid").and_then(|text| {
        let kid = Kid::parse(&text.value.to_ascii_uppercase());
        if kid.is_none() {
            let message = format!(
                "`kid` cannot be {}: a key id is a letter and then at most 47 letters, digits and `_`; it does not \
                 end in `_OLD` or `_FILE`, and is not `ROTATION_GRACE_DAYS`",
                quoted(text.value)
            );
            section.report(text.line, message);
        }
        Some(Located { value: kid?, line: text.line })
    });
    let tokenization = section.choice(
        "tokenization",
        &[("vault-deterministic", Tokenization::VaultDeterministic), ("reversible-aead", Tokenization::ReversibleAead)],
    );
    let cipher = section.choice("cipher", &PolicyCipher::ALL.map(|cipher| (cipher.name(), cipher)));
    let deterministic = section.boolean("deterministic");
    let context = section.choice("context", &[("optional", false), ("required", true)]);
    RuleSettings {
        kid: Setting::read(section, "kid", kid),
        tokenization: Setting::read(section, "tokenization", tokenization),
        cipher: Setting::read(section, "cipher", cipher),
        deterministic: Setting::read(section, "deterministic", deterministic),
        context_required: Setting::read(section, "context", context),
    }
}

fn read_rule<'d>(
    kind: &'d str,
    section: &Section<'d>,
    own: &RuleSettings,
    defaults: &RuleSettings,
    missing: &mut MissingSettings<'d>,
) -> Option<EntityRule> {
    let own_only = read_kind_settings(section);
    let action = section.choice(
        "action",
        &[("tokenize", ActionName::Tokenize), ("redact", ActionName::Redact), ("passthrough", ActionName::Passthrough)],
    );
    if action.is_none() && section.has("action") {
        return None;
    }
    let without_token = |action, done: &str| {
        report_ineffective(section, own, &own_only, &format!("has no effect: {kind} is {done}, not tokenized"));
        Some(EntityRule { action, context_required: false })
    };
    match action.map_or(ActionName::Tokenize, |action| action.value) {
        ActionName::Redact => return without_token(Action::Redact, "redacted"),
        ActionName::Passthrough => return without_token(Action::Passthrough, "passed through"),
        ActionName::Tokenize => {}
    }

    let kid = own.kid.or(defaults.kid);
    if matches!(kid, Setting::Absent) {
        missing.kid.push(kind);
    }
    let scheme = match own.tokenization.or(defaults.tokenization) {
        Setting::Absent => {
            missing.tokenization.push(kind);
            None
        }
        Setting::Wrong => None,
        Setting::Given(Located { value: Tokenization::VaultDeterministic, .. }) => {
            let unused = [("cipher", own.cipher.line()), ("deterministic", own.deterministic.line())];
            for (name, line) in unused.iter().filter_map(|(name, line)| Some((name, (*line)?))) {
                section.report(
                    line,
                    format!("`{name}` is for `tokenization = \"reversible-aead\"`, but {kind} has vault tokens"),
                );
            }
            Some(Scheme::VaultDeterministic)
        }
        Setting::Given(Located { value: Tokenization::ReversibleAead, .. }) => {
            let cipher = own.cipher.or(defaults.cipher).value_or(PolicyCipher::Aes256Gcm);
            let deterministic = own.deterministic.or(defaults.deterministic).value_or(true);
            Some(Scheme::ReversibleAead(cipher.suite(deterministic)))
        }
    };
    let Setting::Given(kid) = kid else { return None };
    let rule = TokenizeRule {
        kid: kid.value,
        scheme: scheme?,
        normalizer: own_only.normalizer.value_or(Normalizer::Exact),
        validation: own_only.validation.value(),
    };
    let context_required = own.context_required.or(defaults.context_required).value_or(false);
    Some(EntityRule { action: Action::Tokenize(rule), context_required })
}

fn read_kind_settings(section: &Section<'_>) -> KindSettings {
    let normalizer = section.choice("normalize", &Normalizer::ALL.map(|normalizer| (normalizer.name(), normalizer)));
    let validation = section.choice("validate", &Validation::ALL.map(|validation| (validation.name(), validation)));
    KindSettings {
        normalizer: Setting::read(section, "normalize", normalizer),
        validation: Setting::read(section, "validate", validation),
    }
}

/// Reports each setting of a kind that is not tokenized.
fn report_ineffective(section: &Section<'_>, own: &RuleSettings, own_only: &KindSettings, why: &str) {
    let settings = [
        ("kid", own.kid.line()),
        ("tokenization", own.tokenization.line()),
        ("cipher", own.cipher.line()),
        ("deterministic", own.deterministic.line()),
        ("context", own.context_required.line()),
        ("normalize", own_only.normalizer.line()),
        ("validate", own_only.validation.line()),
    ];
    for (name, line) in settings {
        if let Some(line) = line {
            section.report(line, format!("`{name}` {why}"));
        }
    }
}

fn report_missing_settings(root: &Section<'_>, missing: &MissingSettings<'_>) {
    for (name, kinds, example) in [
        ("kid", &missing.kid, "kid = \"K_HEALTHCARE\""),
        ("tokenization", &missing.tokenization, "tokenization = \"vault-deterministic\""),
    ] {
        if !kinds.is_empty() {
            let advice = format!("needed by {}; write `{example}` above the sections, or in each", listed(kinds));
            root.report_missing(name, &advice);
        }
    }
}

/// Reports settings for reversible tokens at the top that differ from the default, if no kind has such tokens.
fn report_unused_defaults(root: &Section<'_>, defaults: &RuleSettings) {
    let unused = |name: &str, line| {
        root.report(line, format!("`{name}` has no effect: no kind here has `tokenization = \"reversible-aead\"`"));
    };
    match defaults.cipher {
        Setting::Given(cipher) if cipher.value != PolicyCipher::Aes256Gcm => unused("cipher", cipher.line),
        _ => {}
    }
    match defaults.deterministic {
        Setting::Given(deterministic) if !deterministic.value => unused("deterministic", deterministic.line),
        _ => {}
    }
}

pub(super) fn kind_advice(name: &str) -> String {
    let upper = name.to_ascii_uppercase().replace(['-', ' ', '.'], "_");
    let advice = if EntityKind::parse(&upper).is_some() {
        suggestion(name, &[&upper])
    } else {
        "choose another name".to_owned()
    };
    format!(
        "{} cannot be a kind: a kind is a letter from A to Z and then at most {} of A to Z, 0 to 9 and `_`; {advice}",
        quoted(name),
        KIND_BYTES_MAX - 1
    )
}
