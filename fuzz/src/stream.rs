//! Texts that arrive in parts: every split has the findings of the whole text.

use masker_text::{Finding, Request, SEGMENT_BYTES_MAX, Stream};

use super::mask::{DEFAULT, EAGER};

/// Most bytes of a text.
const BYTES_MAX: usize = 3 * SEGMENT_BYTES_MAX;

/// Checks a text after two bytes: the first selects the detector and how often the text is repeated, so that it has several
/// segments, and the second how long the parts are. Bytes that are not UTF-8 are replaced.
pub fn check(bytes: &[u8]) {
    let [choice, step, rest @ ..] = bytes else { return };
    let once = String::from_utf8_lossy(rest);
    let repeats = match choice / 2 {
        0..64 => 1,
        more => usize::from(more) * 4,
    };
    let text = once.repeat(repeats.min(BYTES_MAX / once.len().max(1)).max(1));
    let detector = if choice % 2 == 0 { &*DEFAULT } else { &*EAGER };
    let request = Request { explain: true, stop: None };
    let whole = detector.find(&text, &request).expect("a short text and no deadline");
    let mut stream = Stream::new(detector);
    let mut found: Vec<Finding> = Vec::new();
    let (mut at, mut length) = (0, usize::from(*step));
    while at < text.len() {
        // Parts of several lengths, also empty ones.
        length = (length * 31 + usize::from(*step)) % (SEGMENT_BYTES_MAX + usize::from(*step));
        let mut end = (at + length).min(text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        let before = stream.settled();
        let new = stream.push(&text[at..end], &request).expect("no deadline");
        assert!(new.iter().all(|finding| finding.start >= before), "what was settled has a finding");
        found.extend(new);
        at = end.max(at);
        if length == 0 {
            length = 1;
        }
        let settled = stream.settled();
        assert!(settled <= at && at - settled <= SEGMENT_BYTES_MAX, "{settled} of {at} bytes are settled");
    }
    found.extend(stream.finish(&request).expect("no deadline"));
    assert_eq!(found, whole, "a text in parts of about {step} has other findings");
}
