//! What options change, and what they refuse.

use masker_text::{
    Detector, FindError, Finding, Keep, Kind, Language, Options, OptionsError, Recognizer, Region, Request, Stream,
    Validator,
};

fn find(options: Options, text: &str) -> Vec<(String, String)> {
    let findings = Detector::new(options).unwrap().find(text, &Request::default()).unwrap();
    findings
        .iter()
        .map(|finding: &Finding| (finding.kind.to_string(), text[finding.start..finding.end].to_owned()))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(kind, value)| ((*kind).to_owned(), (*value).to_owned())).collect()
}

fn recognizer(regex: &str) -> Recognizer {
    Recognizer {
        name: "badge".to_owned(),
        kind: Kind::new("BADGE"),
        regex: regex.to_owned(),
        validator: None,
        context: Vec::new(),
        confidence: 80,
        confidence_with_context: 95,
    }
}

#[test]
fn confidence_bounds_findings_by_kind() {
    let text = "we meet on Monday, call 212-555-0147";
    assert_eq!(find(Options::default(), text), pairs(&[("DATE", "Monday"), ("PHONE", "212-555-0147")]));
    let strict = Options { min_confidence: 60, ..Options::default() };
    assert_eq!(find(strict, text), pairs(&[("PHONE", "212-555-0147")]));
    let options = Options { min_confidence_of: [(Kind::Phone, 99)].into(), ..Options::default() };
    assert_eq!(find(options, text), pairs(&[("DATE", "Monday")]));
}

#[test]
fn years_states_and_ages_can_stay() {
    let keep = |keep| Options { keep, ..Options::default() };
    let text = "aged 45, seen 03/04/1961 and 2024-05-06 in Chicago, IL";
    let all = Keep { year: false, state: false, age_under_90: false };
    assert_eq!(
        find(keep(all), text),
        pairs(&[
            ("AGE", "45"),
            ("DATE", "03/04/1961"),
            ("DATE", "2024-05-06"),
            ("LOCATION", "Chicago"),
            ("LOCATION", "IL")
        ])
    );
    let most = Keep { year: true, state: true, age_under_90: true };
    assert_eq!(find(keep(most), text), pairs(&[("DATE", "03/04"), ("DATE", "05-06"), ("LOCATION", "Chicago")]));
    assert_eq!(find(keep(most), "ship to 12 Elm Street, Boston, MA"), pairs(&[("ADDRESS", "12 Elm Street, Boston")]));
}

#[test]
fn lists_decide_first() {
    let deny = Options { deny: vec![(Kind::new("PROJECT"), vec!["Blue Heron".to_owned()])], ..Options::default() };
    assert_eq!(find(deny, "the blue heron plan, not blueheron or Blue Herons"), pairs(&[("PROJECT", "blue heron")]));
    let listed = ["Zyx", "Zyx Wu", "Zöe-Ä", "i\u{307}"].map(str::to_owned).to_vec();
    let deny = Options { deny: vec![(Kind::new("PROJECT"), listed)], ..Options::default() };
    let found = [("zyx", "zyx Wung"), ("zyx wu", "zyx wu."), ("ZÖE-Ä", "ZÖE-Ä"), ("zöe-ä", "İ zöe-ä;")];
    for (value, text) in found {
        assert!(find(deny.clone(), text).contains(&("PROJECT".to_owned(), value.to_owned())), "{text}");
    }
    let allow = Options { allow: vec!["212-555-0100".to_owned()], ..Options::default() };
    assert_eq!(find(allow, "call 212-555-0100 or 212-555-0147"), pairs(&[("PHONE", "212-555-0147")]));
}

#[test]
fn recognizers_add_kinds() {
    let mut own = recognizer(r"\bB-(\d{6})\b");
    own.context = vec!["badge".to_owned()];
    own.confidence = 40;
    let options = || Options { recognizers: vec![own.clone()], ..Options::default() };
    assert_eq!(find(options(), "his badge is B-123456"), pairs(&[("BADGE", "123456")]));
    assert_eq!(find(options(), "part B-123456"), []);
    let mut checked = recognizer(r"\b\d{8}\b");
    checked.validator = Some(Validator::Luhn);
    let options = Options { recognizers: vec![checked], ..Options::default() };
    assert_eq!(find(options, "12345674 and 12345675"), pairs(&[("BADGE", "12345674")]));
}

#[test]
fn bad_options_are_refused() {
    let error = |regex: &str| {
        let options = Options { recognizers: vec![recognizer(regex)], ..Options::default() };
        Detector::new(options).err().unwrap()
    };
    for empty in ["a*", "", "(?:x|)", r"\b", "^"] {
        assert_eq!(error(empty), OptionsError::RegexEmpty("badge".to_owned()), "{empty}");
    }
    for (broken, reason) in [
        ("(", "unclosed group"),
        (r"(a)\1", "backreferences are not supported"),
        ("(?=x)x", "look-around, including look-ahead and look-behind, is not supported"),
        ("[äö]x", "a class cannot have characters beyond ASCII; write `(?:ä|ö)` instead of `[äö]`"),
    ] {
        assert_eq!(error(broken), OptionsError::Regex("badge".to_owned(), reason.to_owned()), "{broken}");
    }
    let beyond = Options { recognizers: vec![recognizer("Z(?:ä|ö)[0-9]")], ..Options::default() };
    assert_eq!(find(beyond, "at Zö7"), pairs(&[("BADGE", "Zö7")]));
    for large in ["(?:[a-z]{500}){500}", &"x".repeat(5000)] {
        assert_eq!(error(large), OptionsError::RegexSize("badge".to_owned()));
    }
    let none = Options { languages: Vec::new(), ..Options::default() };
    assert_eq!(Detector::new(none).err(), Some(OptionsError::NoLanguage));
    let list = Options { allow: vec![String::new()], ..Options::default() };
    assert!(matches!(Detector::new(list).err(), Some(OptionsError::ListedValue("allow", _))));
    let high = Options { min_confidence: 101, ..Options::default() };
    assert_eq!(Detector::new(high).err(), Some(OptionsError::Confidence));
}

#[test]
fn regions_decide_on_national_numbers() {
    let text = "Sie erreichen mich unter 030 901820";
    let german = Options {
        languages: vec![Language::English, Language::German],
        regions: vec![Region::parse("DE").unwrap()],
        ..Options::default()
    };
    assert_eq!(find(german, text), pairs(&[("PHONE", "030 901820")]));
    assert_eq!(find(Options::default(), text), []);
    let of = |region: &str| Options { regions: vec![Region::parse(region).unwrap()], ..Options::default() };
    for (region, number) in
        [("RU", "8 (495) 555-01-47"), ("BO", "2 2123456"), ("HU", "06 1 555 0147"), ("UY", "2410 0147")]
    {
        assert_eq!(
            find(of(region), &format!("Please call {number} tomorrow.")),
            pairs(&[("PHONE", number)]),
            "{region}"
        );
    }
}

#[test]
fn languages_have_labels_and_months() {
    let german = || Options { languages: vec![Language::English, Language::German], ..Options::default() };
    assert_eq!(find(german(), "geboren am 4. März 1961"), pairs(&[("DOB", "4. März 1961")]));
    assert_eq!(find(german(), "Versichertennummer: A123456789"), pairs(&[("HEALTH_PLAN", "A123456789")]));
    let spanish = || Options { languages: vec![Language::English, Language::Spanish], ..Options::default() };
    assert_eq!(find(spanish(), "fecha de nacimiento: 4 de marzo de 1961"), pairs(&[("DOB", "4 de marzo de 1961")]));
    assert_eq!(find(spanish(), "DNI: 12345678Z"), pairs(&[("OTHER_ID", "12345678Z")]));
}

#[test]
fn long_texts_and_stops_are_errors() {
    let detector = Detector::new(Options { text_bytes_max: 10, ..Options::default() }).unwrap();
    assert_eq!(detector.find("01234567890", &Request::default()), Err(FindError::TooLong(10)));
    let detector = Detector::new(Options::default()).unwrap();
    let calls = std::cell::Cell::new(0);
    let stop = || {
        calls.set(calls.get() + 1);
        calls.get() > 2
    };
    let request = Request { explain: false, stop: Some(&stop) };
    assert_eq!(detector.find(&"a few words ".repeat(5000), &request), Err(FindError::Stopped));
    let mut stream = Stream::new(&detector);
    assert_eq!(stream.push(&"a few words ".repeat(5000), &request), Err(FindError::Stopped));
    assert_eq!(stream.push("", &Request::default()), Err(FindError::Stopped));
}

#[test]
fn explanations_have_no_text() {
    let detector = Detector::new(Options::default()).unwrap();
    let text = "Fax: (212) 555-0148, card 4111&#32;1111 1111 1111";
    let findings = detector.find(text, &Request { explain: true, stop: None }).unwrap();
    let fax = findings[0].why.as_ref().unwrap();
    assert_eq!((fax.evidence, fax.label, fax.check), ("validated", Some((0, 3)), Some("numbering plan")));
    let card = findings[1].why.as_ref().unwrap();
    assert_eq!((card.check, card.rewritten), (Some("Visa"), true));
    assert!(!card.sentence(&findings[1]).contains("1111"));
    assert!(detector.find(text, &Request::default()).unwrap().iter().all(|finding| finding.why.is_none()));
}

#[test]
fn names_carry_over_segments() {
    let detector = Detector::new(Options::default()).unwrap();
    let filler = "The weather was fine and the road was dry.\n".repeat(300);
    let text = format!("My name is Ottilie Szymborska.\n{filler}Then Szymborska left.");
    let findings = detector.find(&text, &Request::default()).unwrap();
    assert_eq!(&text[findings.last().unwrap().start..findings.last().unwrap().end], "Szymborska");
}
