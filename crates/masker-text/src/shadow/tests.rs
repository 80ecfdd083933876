//! Tests of shadows.

use super::Shadow;
use proptest::prelude::*;

fn shadow(text: &str) -> String {
    Shadow::new(text).text().to_owned()
}

#[test]
fn plain_text_is_borrowed() {
    assert!(matches!(Shadow::new("plain text, 100 %").text, std::borrow::Cow::Borrowed(_)));
}

#[test]
fn encodings_are_read() {
    for (text, expected) in [
        ("ann&#64;x.net &amp; co", "ann@x.net & co"),
        ("ann&#x40;x.net", "ann@x.net"),
        ("ann%40x.net 50%20", "ann@x.net 50%20"),
        (r#"{\"a\":\"\u0041\/b\"}"#, r#"{"a":"A/b"}"#),
        (r"line\nnext", "line\nnext"),
        (r"C:\new\u0041", "C:\\newA"),
        (r"\ud83d\ude00!", "\u{1f600}!"),
        ("４１１１ \u{ff21}", "4111 A"),
        ("4\u{200b}1\u{ad}1", "411"),
        ("e\u{301}t\u{e9}", "\u{e9}t\u{e9}"),
        ("\u{fb01}n", "fin"),
        ("555\u{2011}0142\u{a0}x", "555-0142 x"),
        ("\u{0661}\u{0662}", "12"),
        ("it\u{2019}s", "it's"),
        ("Привет Λ 李小龙", "Привет Λ 李小龙"),
    ] {
        assert_eq!(shadow(text), expected, "{text}");
    }
}

#[test]
fn spoken_digits_and_marks_are_read() {
    for (text, expected) in [
        ("at four one five five five five zero one", "at 41555501"),
        ("double five one two three four oh", "5512340"),
        ("one two three", "one two three"),
        ("ann (dot) lee (at) x (dot) net", "ann.lee@x.net"),
        ("mail ann at x dot net now", "mail ann@x.net now"),
        ("we meet at noon. dot the i", "we meet at noon. dot the i"),
    ] {
        assert_eq!(shadow(text), expected, "{text}");
    }
}

#[test]
fn ranges_lead_back() {
    let text = "a&amp;b 1\u{200b}2 x";
    let shadow = Shadow::new(text);
    assert_eq!(shadow.text(), "a&b 12 x");
    assert_eq!(shadow.original(1, 2), (1, 6));
    assert_eq!(shadow.original(0, 3), (0, 7));
    let (start, end) = shadow.original(4, 6);
    assert_eq!(&text[start..end], "1\u{200b}2");
    assert_eq!(shadow.original(7, 8), (text.len() - 1, text.len()));
    // Two steps: an entity inside a spoken address.
    let text = "x &amp; ann (at) y (dot) net!";
    let shadow = Shadow::new(text);
    let start = shadow.text().find("ann@y.net").unwrap();
    let (start, end) = shadow.original(start, start + 9);
    assert_eq!(&text[start..end], "ann (at) y (dot) net");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Every range of a shadow leads to a range of whole characters, and later ranges do not lead before earlier ones.
    #[test]
    fn every_range_leads_back(text in r"(\PC|&amp;|%40|\\u0041|\\n|\x{200b}|one |two |zero |three |four |five |six |\(at\)| dot ){0,40}") {
        let shadow = Shadow::new(&text);
        let offsets: Vec<usize> = shadow.text().char_indices().map(|(offset, _)| offset).chain([shadow.text().len()]).collect();
        let mut last = 0;
        for pair in offsets.windows(2) {
            let (start, end) = shadow.original(pair[0], pair[1]);
            prop_assert!(start <= end && end <= text.len());
            prop_assert!(text.is_char_boundary(start) && text.is_char_boundary(end));
            prop_assert!(start >= last || shadow.text() == text);
            last = start;
        }
    }
}
