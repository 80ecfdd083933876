//! Properties of all findings: any text, any split.

use masker_text::{Detector, Finding, Options, Request, SEGMENT_BYTES_MAX, Stream};
use proptest::prelude::*;
use std::sync::LazyLock;

static DETECTOR: LazyLock<Detector> =
    LazyLock::new(|| Detector::new(Options { min_confidence: 0, ..Options::default() }).unwrap());

/// Parts of texts with everything that rules look at.
fn part() -> impl Strategy<Value = String> {
    let fixed = [
        "MRN: 00455-21 ",
        "call (212) 555-0147 x12",
        "DOB 03/04/61\n",
        "Dr. Ann Lee ",
        "O'Brien's ",
        "ann.lee@mail-host.net",
        "&#64;",
        "12 Elm St., Apt. 4\n Springfield, IL 62704",
        "IBAN DE89 3704 0044 0532 0130 00",
        "4111 1111 1111 1111",
        "http://a.b/c?d=e@f.gh",
        "-----BEGIN PRIVATE KEY-----\nabc\n",
        "-----END PRIVATE KEY-----",
        "password=x",
        "eyJhbGciOiJI.eyJzdWIiOi.x",
        "::1",
        "\u{200b}",
        "one two three four five six seven",
        " (at) ",
        " dot ",
        "李小龙",
        "\u{301}",
        "é",
        "İ",
        "ß",
        "\u{1f600}",
        "\\u00e9",
        "\\n",
        "\t",
        "\r\n",
        "a,b\n",
        "name,dob\n",
        "| x | y |\n",
        "2024-01-02T03:04:05Z",
        "94-year-old",
        "USS Nimitz\nFPO AP 96698",
        "Jan 5th, 2024",
        "%40",
        "#",
        "'",
        "\"",
    ];
    prop_oneof![
        4 => proptest::sample::select(fixed.to_vec()).prop_map(str::to_owned),
        2 => r"[a-zA-Z0-9 .,:@/\-+()']{1,12}",
        1 => r"\PC{1,6}",
        1 => any::<char>().prop_map(|char| char.to_string()),
    ]
}

fn text(parts: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    proptest::collection::vec(part(), parts).prop_map(|parts| parts.concat())
}

fn check(text: &str, findings: &[Finding]) -> Result<(), TestCaseError> {
    let mut last = 0;
    for finding in findings {
        prop_assert!(finding.start < finding.end && finding.end <= text.len(), "{finding:?}");
        prop_assert!(text.is_char_boundary(finding.start) && text.is_char_boundary(finding.end), "{finding:?}");
        prop_assert!(finding.start >= last, "findings overlap: {finding:?}");
        prop_assert!(finding.confidence <= 100);
        last = finding.end;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_has_disjoint_findings_of_whole_characters(text in text(0..40)) {
        let findings = DETECTOR.find(&text, &Request { explain: true, stop: None }).unwrap();
        check(&text, &findings)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_split_has_the_same_findings(text in text(300..3000), sizes in proptest::collection::vec(1usize..9000, 1..12)) {
        let whole = DETECTOR.find(&text, &Request::default()).unwrap();
        check(&text, &whole)?;
        let mut stream = Stream::new(&DETECTOR);
        let mut found = Vec::new();
        let mut at = 0;
        for size in sizes.iter().cycle() {
            let mut end = text.len().min(at + size);
            while !text.is_char_boundary(end) {
                end += 1;
            }
            found.extend(stream.push(&text[at..end], &Request::default()).unwrap());
            prop_assert_eq!(stream.settled(), DETECTOR.settled(&text[..end]));
            prop_assert!(end - stream.settled() <= SEGMENT_BYTES_MAX);
            at = end;
            if at == text.len() {
                break;
            }
        }
        found.extend(stream.finish(&Request::default()).unwrap());
        prop_assert_eq!(found, whole);
    }

    #[test]
    fn what_is_settled_stays(text in text(300..2000), more in text(0..200)) {
        let settled = DETECTOR.settled(&text);
        let before: Vec<Finding> = DETECTOR.find(&text, &Request::default()).unwrap();
        let after: Vec<Finding> = DETECTOR.find(&(text.clone() + &more), &Request::default()).unwrap();
        let early = |findings: Vec<Finding>| -> Vec<Finding> { findings.into_iter().filter(|finding| finding.start < settled).collect() };
        prop_assert_eq!(early(before), early(after));
    }
}
