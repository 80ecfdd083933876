//! A value that is found is found whole: secrets of any length, and values in cells beside others.

use masker_text::{Detector, Options, Request};

/// Returns what is left of a text without its findings.
fn left(text: &str) -> String {
    let findings = Detector::new(Options::default()).unwrap().find(text, &Request::default()).unwrap();
    let mut left = String::new();
    let mut at = 0;
    for finding in findings {
        left.push_str(&text[at..finding.start]);
        left.push('#');
        at = finding.end;
    }
    left + &text[at..]
}

/// Letters and digits that repeat late, so that a rest of them is recognized.
fn characters(count: usize) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..count).map(|index| char::from(alphabet[(index * index / 7 + index * 11) % alphabet.len()])).collect()
}

fn lines(text: &str, end: &str) -> String {
    text.as_bytes().chunks(64).map(|line| format!("{}{end}", String::from_utf8_lossy(line))).collect()
}

#[test]
fn no_part_of_a_private_key_is_left() {
    for length in [200, 1_600, 8_100, 12_000, 40_000] {
        let body = characters(length);
        let pem =
            |end: &str| format!("-----BEGIN PRIVATE KEY-----{end}{}-----END PRIVATE KEY-----{end}", lines(&body, end));
        let header = "Version: GnuPG v2\nComment: the key, of (somebody)\n\n";
        for text in [
            pem("\n"),
            pem("\r\n"),
            format!("{{\"private_key\": \"{}\"}}", pem("\\n")),
            format!("PRIVATE_KEY=\"{}\"", pem("\\n")),
            format!("private_key: {}", pem(" ")),
            format!("secret: '{}'", pem("\n")),
            format!(
                "-----BEGIN PGP PRIVATE KEY BLOCK-----\n{header}{}=AbCd\n-----END PGP PRIVATE KEY BLOCK-----\n",
                lines(&body, "\n")
            ),
            format!(
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00FF\n\n{}",
                lines(&body, "\n")
            ),
        ] {
            for before in
                ["", "The key of the host follows. ", &"Nothing else is of interest in this line.\n".repeat(180)]
            {
                let text = format!("{before}{text}");
                let left = left(&text);
                let parts = body.as_bytes().chunks(16).map(String::from_utf8_lossy);
                for part in parts.filter(|part| part.len() == 16) {
                    assert!(!left.contains(&*part), "{length} {:?}: {left:?}", &text[before.len()..before.len() + 40]);
                }
            }
        }
    }
}

#[test]
fn no_part_of_a_token_is_left() {
    for length in [100, 150, 200, 1_000, 9_000, 20_000] {
        let body = characters(length);
        for text in [
            format!("access_token: {body}"),
            format!("password={body}"),
            format!("api_key = \"{body}\", and more"),
            format!("Authorization: Bearer {body} and more"),
            format!("sk-{body}"),
            format!("ghp_{body}."),
            format!("glpat-{}.01.{body}", &body[..30]),
            format!("hf_{body}\nmore"),
            format!("whsec_{body}"),
            format!("eyJhbGciOiJIUzI1NiJ9.{body}.{body} more"),
            format!("eyJhbGciOiJIUzI1NiJ9.{body}.{body}.{body}.{body} more"),
            format!("eyJ{body}.{body}.{body}"),
        ] {
            for before in ["", "x: ", &"Nothing else is of interest in this line.\n".repeat(180)] {
                let text = format!("{before}{text}");
                let left = left(&text);
                for part in body.as_bytes().chunks(16).filter(|part| part.len() == 16) {
                    let part = String::from_utf8_lossy(part);
                    assert!(!left.contains(&*part), "{length} {:?}: {left:?}", &text[before.len()..before.len() + 20]);
                }
            }
        }
    }
}

#[test]
fn values_are_found_in_cells_without_spaces() {
    for delimiter in [",", ";", "\t", "|", ", "] {
        for cells in [
            ["45", "219-09-9998", "Dx E11.9"],
            ["1", "415-555-2671", "03/14/1957"],
            ["Ann Lee", "415-555-2671", "219-09-9998"],
            ["219-09-9998", "415-555-2671", "no"],
        ] {
            let text = format!("{}\n", cells.join(delimiter));
            let left = left(&text);
            for value in ["219-09-9998", "415-555-2671", "03/14/1957"] {
                assert!(!left.contains(value), "{text:?}: {left:?}");
            }
        }
    }
    let table = "id,name,phone,ssn,dob\n1,Ann Lee,415-555-2671,219-09-9998,03/14/1957\n";
    assert_eq!(left(table), "id,name,phone,ssn,dob\n1,#,#,#,#\n");
    for text in ["Call 415-555-2671,212-555-0147.", "415-555-2671/415-555-2672", "SSN 219-09-9998/219-09-9997"] {
        assert_eq!(left(text).matches('#').count(), 2, "{text}: {}", left(text));
    }
}

#[test]
fn thousands_are_no_values() {
    for text in ["1,234,567", "$12,345.67", "1,200-1,500 mL", "0,5/1,0", "pages 1,234-1,240", "3,14159", "1,000,000.00"]
    {
        assert_eq!(left(text), text);
    }
}
