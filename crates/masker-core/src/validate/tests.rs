use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(validation: Validation, good: &[&str], bad: &[&str]) {
    for (texts, expected) in [(good, true), (bad, false)] {
        for text in texts {
            let value = Value::new(text).expect("1 to 4,096 bytes");
            assert_eq!(validation.accepts(value), expected, "{} of {text:?}", validation.name());
        }
    }
}

#[test]
fn names_and_checks_are_one_to_one() {
    for validation in Validation::ALL {
        assert_eq!(Validation::from_name(validation.name()), Some(validation));
    }
    assert_eq!(Validation::from_name("Luhn"), None);
}

#[test]
fn only_the_text_of_a_token_is_a_token() {
    let bytes = [0; 61];
    let sealed = [&[1], &bytes[1..]].concat();
    let aead = format!("{AEAD_SCHEME}.PHONE.K_ANY.{}", data_encoding::BASE32_NOPAD.encode(&sealed));
    let vault = Token::Vault {
        kind: masker_types::kind::EntityKind::parse("PHONE").unwrap(),
        kid: masker_types::kind::Kid::parse("K_ANY").unwrap(),
        id: crate::token::TokenId::from_bytes([7; crate::token::TokenId::BYTES]),
    }
    .to_text();
    for token in [aead, vault] {
        assert!(is_token(&token), "{token}");
        let shorter = &token[..token.len() - 1];
        let changed = [
            shorter.to_owned(),
            format!("{token}A"),
            format!(" {token}"),
            format!("{token}\n"),
            token.to_ascii_lowercase(),
            token.replacen("PHONE", "", 1),
            token.replacen("K_ANY", "K_OLD", 1),
            token.replacen("MSK", "MSX", 1),
            token.replacen('.', " ", 1),
        ];
        for text in changed {
            assert!(!is_token(&text), "{text}");
        }
    }
    for text in ["", "MSKV1", "MSK1.", "MSKV1.PHONE.K_ANY.", "MSK1.PHONE.K_ANY", "415-555-2671"] {
        assert!(!is_token(text), "{text}");
    }
}

#[test]
fn the_vectors_of_the_token_format() {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/vectors/tokens-v1.json")).unwrap();
    let mut checked = 0;
    for vector in file["vectors"].as_array().unwrap() {
        let refused = match vector["kind_of"].as_str().unwrap() {
            "value-refused" => true,
            "value-taken" => false,
            _ => continue,
        };
        assert_eq!(is_token(vector["value"].as_str().unwrap()), refused, "{vector}");
        checked += 1;
    }
    assert_eq!(checked, 10);
}

#[test]
fn luhn_checks_the_last_digit() {
    check(
        Validation::Luhn,
        &["4111 1111 1111 1111", "79927398713", " 5500-0000-0000-0004 ", "490154203237518", "18"],
        &["4111 1111 1111 1112", "79927398710", "0", "4111_1111_1111_1111", "4111 1111 1111 111l", "card", "-"],
    );
}

#[test]
fn iban_checks_length_and_check_digits() {
    check(
        Validation::Iban,
        &[
            "GB29 NWBK 6016 1331 9268 19",
            "DE89370400440532013000",
            " no93 8601 1117 947 ",
            "MT84MALT011000012345MTLCAST001S",
        ],
        &[
            "GB28 NWBK 6016 1331 9268 19",
            "DE8937040044053201300",
            "DE893704004405320130000",
            "XX89370400440532013000",
            "89370400440532013000DE",
            "DE",
            "GB29.NWBK.6016.1331.9268.19",
            "GBÄÄ NWBK 6016 1331 9268 19",
        ],
    );
}

#[test]
fn ssn_excludes_numbers_that_are_never_issued() {
    check(
        Validation::Ssn,
        &["078-05-1120", "078051120", " 899 99 9999 ", "001-01-0001", "665\u{2011}01\u{a0}0001"],
        &[
            "000-05-1120",
            "666-05-1120",
            "900-05-1120",
            "999051120",
            "078-00-1120",
            "078-05-0000",
            "07-8051120",
            "078-051120",
            "12-3456789",
            "078-05-112",
            "078-05-11200",
            "078.05.1120",
            "078-05-112O",
            "٠٧٨٠٥١١٢٠",
            "ssn",
        ],
    );
}

#[test]
fn email_accepts_usual_addresses() {
    let (long_local, long_label) = ("l".repeat(64), "d".repeat(63));
    let (longest_local, longest_label) = (format!("{long_local}@a.org"), format!("a@{long_label}.org"));
    check(
        Validation::Email,
        &[
            "ann.lee@example.org",
            " A+b'c/d=e@sub.example-1.co.uk ",
            "ünal@bücher.example",
            "a@b.c",
            &longest_local,
            &longest_label,
        ],
        &[
            "ann",
            "@example.org",
            "ann@",
            "ann@example",
            "ann@example.",
            "ann@.org",
            "a@b@c.org",
            ".a@b.org",
            "a.@b.org",
            "a..b@c.org",
            "a b@c.org",
            "a@b c.org",
            "\"a\"@b.org",
            "a@[192.0.2.1]",
            "a@192.0.2.1",
            "a@-b.org",
            "a@b-.org",
            "Ann <a@b.org>",
            "a@b.org,c@d.org",
            "a@b_c.org",
            "a\0@b.org",
            "a@b..org",
            &format!("l{longest_local}"),
            &format!("a@d{long_label}.org"),
            &format!("a@{}org", format!("{long_label}.").repeat(4)),
        ],
    );
}

#[test]
fn phone_accepts_numbers_of_3_to_15_digits() {
    check(
        Validation::Phone,
        &["(415) 555-2671", "+44 (0)20 7946 0958", "112", "020 7946 0958", "123456789012345"],
        &["1-800-FLOWERS", "12", "1234567890123456", "+0 123 456", "415-555-2671 x1", "", "n/a"]
            .map(|t| if t.is_empty() { " " } else { t }),
    );
}

proptest! {
    /// The check digit finds every single wrong digit.
    #[test]
    fn luhn_finds_a_wrong_digit(digits in "[0-9]{1,18}", at in any::<prop::sample::Index>(), by in 1u8..10) {
        let valid: Vec<String> = (0..10).map(|check| format!("{digits}{check}")).filter(|number| luhn(number)).collect();
        prop_assert_eq!(valid.len(), 1);
        let mut wrong = valid[0].clone().into_bytes();
        let at = at.index(wrong.len());
        wrong[at] = b'0' + (wrong[at] - b'0' + by) % 10;
        prop_assert!(!luhn(std::str::from_utf8(&wrong).unwrap()));
    }

    #[test]
    fn arbitrary_text_does_not_panic(text in any::<String>()) {
        is_token(&text);
        if let Some(value) = Value::new(&text) {
            for validation in Validation::ALL {
                validation.accepts(value);
            }
        }
    }
}
