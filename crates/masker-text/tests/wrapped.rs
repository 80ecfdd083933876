//! Texts that are wrapped: a value that a line break divides is found whole.

use masker_text::{Detector, Options, Request};
use std::sync::LazyLock;

static DETECTOR: LazyLock<Detector> = LazyLock::new(|| Detector::new(Options::default()).unwrap());

/// Values with what is before and after them in a sentence.
const VALUES: &[(&str, &str, &str)] = &[
    ("The plan was discussed with", "Ottilie Szymborska", "and she agreed to it."),
    ("The letter was written by Dr.", "Harold Lindqvist", "after the visit."),
    ("Her sister,", "Mary Anne Kowalski", ", was at the bedside."),
    ("Please forward the report to", "Theodore J. Blackwood", "as soon as possible."),
    ("She now lives at", "1482 Birchwood Avenue, Springfield", "with her two cats."),
    ("The package was sent to", "77 Old Mill Road, Apt. 12", "by mistake."),
    ("He can be reached at", "(617) 555-0188", "during the day."),
    ("The number of the office is", "+1 415 555 0173", "and it is always open."),
    ("The family asked us to call", "312 555 0142", "after the surgery."),
    ("She was born on", "March 14, 1957", "in a small town."),
    ("The wound was closed on", "12 January 2024", "without any trouble."),
    ("His social security number is", "219 09 9998", "on the form."),
    ("The old card, number", "4111 1111 1111 1111", ", was declined."),
    ("Her account is", "DE89 3704 0044 0532 0130 00", "at that bank."),
];

/// Pairs of a label and its value, which a line break can divide.
const LABELLED: &[(&str, &str)] = &[
    ("her medical record number is", "00455-21"),
    ("date of birth", "03/14/1957"),
    ("the member ID is", "XQH123456789"),
    ("by phone at", "617-555-0188"),
    ("by fax at", "617-555-0189"),
    ("with the account number", "0012345678"),
    ("social security number", "219-09-9998"),
    ("serial number", "SN-0012345-A"),
];

const FILLER: &str = "the wound is dry and the edges are close together while the rest of the exam shows no change since the \
     last visit and all of the questions were answered in full before the end of it";

/// Wraps a text at a width, as mail programs do.
fn wrapped(text: &str, width: usize, prefix: &str, end: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().unwrap();
        if !line.is_empty() && prefix.len() + line.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.iter().map(|line| format!("{prefix}{line}{end}")).collect()
}

/// Returns what is left of a text without its findings.
fn left(text: &str) -> String {
    let mut left = String::new();
    let mut at = 0;
    for finding in DETECTOR.find(text, &Request::default()).unwrap() {
        left.push_str(&text[at..finding.start]);
        left.push('#');
        at = finding.end;
    }
    left + &text[at..]
}

/// The words of a value that would say something of it alone.
fn telling(value: &str) -> impl Iterator<Item = &str> {
    let words = value.split([' ', ',', '.', '(', ')']);
    words.filter(|word| word.len() >= 2 && !["Apt", "Road", "Old", "March", "January"].contains(word))
}

/// Texts in which a line break divides a sentence with a value, at each place, with the value.
fn texts(sentence: impl Fn(&str) -> String, value: &str, width: usize, prefix: &str, end: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let filler: Vec<&str> = FILLER.split(' ').collect();
    for words in 4..filler.len() {
        let before = filler[..words].join(" ");
        let text = wrapped(&sentence(&before), width, prefix, end);
        if !text.contains(value) {
            texts.push(text);
        }
    }
    texts
}

#[test]
fn values_are_found_over_soft_wraps() {
    let (mut total, mut leaks) = (0, Vec::new());
    for (width, prefix, end) in [(72, "", "\n"), (78, "> ", "\n"), (64, "", "\r\n"), (80, "  ", "\n"), (72, "# ", "\n")]
    {
        for (before, value, after) in VALUES {
            let sentence = |filler: &str| {
                let after = after.strip_prefix(',').map_or(format!(" {after}"), |after| format!(",{after}"));
                format!("In short, {filler}. {before} {value}{after} Nothing else is of interest here, and {FILLER}.")
            };
            for text in texts(sentence, value, width, prefix, end) {
                total += 1;
                let left = left(&text);
                if telling(value).any(|word| left.contains(word)) {
                    leaks.push(format!("{value:?} in {text:?}: {left:?}"));
                }
            }
        }
    }
    println!("{} of {total}:\n{}", leaks.len(), leaks.join("\n"));
    assert!(total > 400, "only {total} texts have a value with a line break");
    assert!(leaks.len() * 100 <= total * 3, "{} of {total} values are not found whole", leaks.len());
}

#[test]
fn labels_reach_over_soft_wraps() {
    let (mut total, mut leaks) = (0, Vec::new());
    for (label, value) in LABELLED {
        let pair = format!("{label} {value}");
        let sentence =
            |filler: &str| format!("As {filler}, we have {pair} on file. Nothing else is of interest, and {FILLER}.");
        for text in texts(sentence, &pair, 72, "", "\n") {
            total += 1;
            let left = left(&text);
            if left.contains(value) {
                leaks.push(format!("{pair:?} in {text:?}: {left:?}"));
            }
        }
    }
    println!("{} of {total}:\n{}", leaks.len(), leaks.join("\n"));
    assert!(total > 60, "only {total} texts have a pair with a line break");
    assert!(leaks.len() * 100 <= total * 3, "{} of {total} values are not found", leaks.len());
}

#[test]
fn a_finding_covers_the_line_break() {
    let text =
        "> The plan for the next weeks was discussed yesterday with Ottilie\r\n> Szymborska, and she agreed to it.\r\n";
    let findings = DETECTOR.find(text, &Request { explain: true, stop: None }).unwrap();
    let name = &findings[0];
    assert_eq!(&text[name.start..name.end], "Ottilie\r\n> Szymborska");
    assert!(name.why.as_ref().unwrap().rewritten);
}

#[test]
fn strings_of_json_are_wrapped_too() {
    let note = "The plan for the next weeks was discussed at length with all of them.\\nAfter that, the nurse of the ward had a \
                long talk alone with Ottilie\\nSzymborska, and she agreed with all of it, which is good to hear for us.\\nBye.";
    let left = left(&format!("{{\"number\": 4, \"note of the nurse\": \"{note}\"}}"));
    assert!(!left.contains("Ottilie") && !left.contains("Szymborska"), "{left}");
}

#[test]
fn other_line_breaks_stay() {
    for text in [
        // A form.
        "Name of the patient and of the person to be called first: Maria Lopez\nWard: 4",
        "Attending physician of this stay, as it is on file: Maria Lopez\nReferring physician: John Smith",
        // A table.
        "id,name,phone,ssn,dob,note of the nurse who was on duty\n1,Ann Lee,415-555-2671,219-09-9998,03/14/1957,no change",
        // An address, and a list.
        "Please send it to the following address: Maria Lopez, care of\n12 Elm Street\nSpringfield, IL 62704",
        "1. The first of all of the points on this list is for Maria Lopez\n2. John Smith is for the second one",
    ] {
        let findings = DETECTOR.find(text, &Request::default()).unwrap();
        assert!(
            findings.iter().all(|finding| !text[finding.start..finding.end].contains('\n')),
            "{text:?}: {findings:?}"
        );
    }
}

#[test]
fn addresses_are_found_on_several_lines() {
    for text in [
        "Maria Lopez\n1482 Birchwood Avenue\nSpringfield, IL 62704\n",
        "Maria Lopez\n77 Old Mill Road\nApt. 12\nDallas, Texas 75201\n",
        "Address: 1482 Birchwood Avenue\n         Springfield, IL 62704\n",
        "She moved to 1482 Birchwood Avenue,\nSpringfield, Illinois 62704 last year.",
        "P.O. Box 101\nSpringfield IL 62704-1234",
    ] {
        let left = left(text);
        for word in ["Lopez", "1482", "Birchwood", "Springfield", "62704", "Mill", "Dallas", "75201", "101"] {
            assert!(!left.contains(word), "{text:?}: {left:?}");
        }
    }
}
