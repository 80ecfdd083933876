//! The detector: what it finds in any text are parts of that text, in its order.

use std::sync::LazyLock;

use masker_core::policy::Policy;
use masker_text::{Detector, Finding, Language, Options, Region, Request};
use masker_types::kind::EntityKind;

/// A detector that finds as much as it can.
pub static EAGER: LazyLock<Detector> = LazyLock::new(|| {
    let policy = Policy::parse(
        "name = \"eager\"\nversion = 1\nkid = \"K\"\ntokenization = \"vault-deterministic\"\n\
         [entities.NAME]\ndeny = [\"Blue Heron\", \"é\"]\n[entities.TICKET]\n\
         [text]\nmin_confidence = 0.0\nallow = [\"Springfield\"]\n\
         [[recognizer]]\nname = \"ticket\"\nkind = \"TICKET\"\nregex = 'T-?([0-9a-f]+)'\ncontext = [\"ticket\"]\n\
         [[recognizer]]\nname = \"bytes\"\nkind = \"TICKET\"\nregex = '[\\x80-\\xff]+x'\n",
    );
    let policy = policy.expect("a policy");
    let regions = ["US", "GB", "DE", "ES"].iter().filter_map(|code| Region::parse(code)).collect();
    let options = Options { languages: Language::ALL.to_vec(), regions, ..policy.text.options().clone() };
    Detector::new(options).expect("valid options")
});

/// The detector of a policy that says nothing about texts.
pub static DEFAULT: LazyLock<Detector> = LazyLock::new(|| Detector::new(Options::default()).expect("valid options"));

/// Checks what is found in a text. Bytes that are not UTF-8 are replaced.
pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for detector in [&*DEFAULT, &*EAGER] {
        let explained = Request { explain: true, stop: None };
        let found = detector.find(&text, &explained).expect("a short text and no deadline");
        check_findings(&text, &found);
        assert_eq!(detector.find(&text, &explained).as_ref(), Ok(&found), "the detector is deterministic");
        let plain: Vec<Finding> = found.into_iter().map(|finding| Finding { why: None, ..finding }).collect();
        let unexplained = detector.find(&text, &Request::default());
        assert_eq!(unexplained, Ok(plain), "explanations change nothing else");
    }
}

/// Checks that findings are parts of a text, in its order.
fn check_findings(text: &str, found: &[Finding]) {
    let mut last = 0;
    for finding in found {
        let Finding { start, end, kind, confidence, rule, why } = finding;
        assert!(last <= *start && start < end, "{finding:?} begins before {last}, or is empty");
        assert!(text.get(*start..*end).is_some(), "{finding:?} is no part of the text");
        assert!(*confidence <= 100 && !rule.is_empty(), "{finding:?}");
        assert!(EntityKind::parse(kind.as_str()).is_some(), "{kind} is no kind of a policy");
        let why = why.as_ref().expect("an explanation");
        if let Some((start, end)) = why.label {
            assert!(text.get(start..end).is_some_and(|label| !label.is_empty()), "{finding:?}: the label is no part");
        }
        last = *end;
    }
}
