use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

fn normal(normalizer: Normalizer, text: &str) -> Result<String, NormalizeError> {
    normalizer.apply(Value::new(text).expect("1 to 4,096 bytes")).map(Cow::into_owned)
}

#[track_caller]
fn check(normalizer: Normalizer, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(normal(normalizer, text).as_deref(), Ok(*expected), "{} of {text:?}", normalizer.name());
    }
}

#[test]
fn names_and_normalizers_are_one_to_one() {
    for normalizer in Normalizer::ALL {
        assert_eq!(Normalizer::from_name(normalizer.name()), Some(normalizer));
    }
    for name in ["", "Trim", "lower", "trim "] {
        assert_eq!(Normalizer::from_name(name), None);
    }
}

#[test]
fn exact_keeps_every_byte() {
    check(Normalizer::Exact, &[(" x ", " x "), ("\u{a0}", "\u{a0}"), ("ﬁ", "ﬁ")]);
}

#[test]
fn trim_removes_the_white_space_of_unicode() {
    check(Normalizer::Trim, &[("\u{a0}\u{2003}x  y\u{3000}\u{85}", "x  y"), ("\u{b}a\u{c}", "a")]);
    // ZERO WIDTH SPACE and the byte order mark are not White_Space.
    check(Normalizer::Trim, &[("\u{200b}x\u{feff}", "\u{200b}x\u{feff}")]);
}

#[test]
fn casefold_folds_fully_and_composes() {
    check(
        Normalizer::Casefold,
        &[
            ("Straße", "strasse"),
            ("STRASSE", "strasse"),
            ("ẞ", "ss"),
            ("ΣΑΣ σας", "σασ σασ"),
            ("İ", "i\u{307}"),
            ("I", "i"),
            ("Mu\u{308}ller", "müller"),
            ("ＳＡＲＡＨ", "sarah"),
            ("a\u{a0}\u{2003}b", "a b"),
            ("a\tb\n\u{b}\u{c}c", "a b c"),
            ("  A  b ", "a b"),
            ("½", "1⁄2"),
            // Folding decomposes these; NFKC composes them again.
            ("ΐ", "ΐ"),
            ("ǰ", "ǰ"),
            ("already normal 7", "already normal 7"),
        ],
    );
}

#[test]
fn phone_assumes_north_america_without_a_country_code() {
    check(
        Normalizer::Phone,
        &[
            (" +44 20 7946 0958", "+442079460958"),
            ("+1 (415) 555-2671", "+14155552671"),
            ("4155552671", "+14155552671"),
            ("14155552671", "+14155552671"),
            ("24155552671", "24155552671"),
            ("+4155552671", "+4155552671"),
            ("1-800", "1800"),
            ("+ext", "+ext"),
            ("(+44) 20", "4420"),
            ("+1+2", "+12"),
            ("٤١٥", "٤١٥"),
        ],
    );
}

#[test]
fn date_accepts_only_existing_days() {
    check(
        Normalizer::Date,
        &[
            (" 04/12/1990 ", "1990-04-12"),
            ("04-12-1990", "1990-04-12"),
            ("1900/02/29", "1900/02/29"),
            ("2000/02/29", "2000-02-29"),
            ("12/31/9999", "9999-12-31"),
            ("01/01/0001", "0001-01-01"),
            ("00/01/1990", "00/01/1990"),
            ("01/00/1990", "01/00/1990"),
            ("31/12/1990", "31/12/1990"),
            ("1990-4-12", "1990-4-12"),
            ("1990/04-12", "1990/04-12"),
            ("+990/04/12", "+990/04/12"),
            ("1990/+4/12", "1990/+4/12"),
            ("1990/04/1é", "1990/04/1é"),
            ("1990/04/12T", "1990/04/12T"),
        ],
    );
}

#[test]
fn ip_gives_canonical_addresses() {
    check(
        Normalizer::Ip,
        &[
            (" 2001:DB8::A ", "2001:db8::a"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
            ("0:0:0:0:0:0:0:0", "::"),
            ("::FFFF:C000:0201", "::ffff:192.0.2.1"),
            ("::ffff:192.0.2.01", "::ffff:192.0.2.01"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("192.0.2.1/32", "192.0.2.1/32"),
            ("192.0.2", "192.0.2"),
            ("0xC0.0.2.1", "0xC0.0.2.1"),
        ],
    );
}

#[test]
fn normalizers_that_find_nothing_fall_back_to_trim() {
    for normalizer in [Normalizer::Digits, Normalizer::Alnum, Normalizer::Phone, Normalizer::Date, Normalizer::Ip] {
        check(normalizer, &[(" – ", "–"), ("\t…\u{3000}", "…")]);
    }
}

#[test]
fn only_exact_accepts_white_space_alone() {
    for normalizer in Normalizer::ALL {
        let expected =
            if normalizer == Normalizer::Exact { Ok(" \u{3000}".to_owned()) } else { Err(NormalizeError::Empty) };
        assert_eq!(normal(normalizer, " \u{3000}"), expected, "{}", normalizer.name());
    }
}

#[test]
fn a_normal_form_has_the_bounds_of_a_value() {
    // U+FDFA is 3 bytes; its NFKC is 33.
    let text = "\u{fdfa}".repeat(1_000);
    assert_eq!(normal(Normalizer::Casefold, &text), Err(NormalizeError::TooLong { bytes: 33_000 }));
    let longest = "a".repeat(VALUE_BYTES_MAX);
    assert_eq!(normal(Normalizer::Casefold, &longest).as_deref(), Ok(longest.as_str()));
}

#[test]
fn normal_forms_are_not_copied() {
    let cases = [
        (Normalizer::Trim, " x "),
        (Normalizer::Casefold, " sarah chen"),
        (Normalizer::Digits, "123"),
        (Normalizer::Alnum, "A1 "),
        (Normalizer::Phone, "+14155552671"),
        (Normalizer::Phone, "5552671"),
        (Normalizer::Date, "1990-04-12"),
        (Normalizer::Ip, "192.0.2.1"),
    ];
    for (normalizer, text) in cases {
        assert!(matches!(normalizer.apply(Value::new(text).unwrap()), Ok(Cow::Borrowed(_))), "{}", normalizer.name());
    }
}

/// Freezes the normal form of every character. A new version of the Unicode tables may fail this test: then check which
/// characters changed. Newly assigned characters do not affect known values; any other change needs a new normalizer.
#[test]
fn the_normal_forms_of_single_characters_are_frozen() {
    let digest = |normalizer: Normalizer| {
        let mut hash = Sha256::new();
        for char in '\0'..=char::MAX {
            hash.update(normal(normalizer, char.encode_utf8(&mut [0; 4])).as_deref().unwrap_or("refused"));
            hash.update([0xFF]);
        }
        data_encoding::HEXLOWER.encode(&hash.finalize()[..8])
    };
    let digests = Normalizer::ALL.map(|normalizer| (normalizer.name(), digest(normalizer)));
    let frozen = [
        ("exact", "b55b9db55c0dafca"),
        ("trim", "aa469115d1a12fa4"),
        ("casefold", "a3c325bcba190d1a"),
        ("digits", "aa469115d1a12fa4"),
        ("alnum", "1da65b50e264b106"),
        ("phone", "aa469115d1a12fa4"),
        ("date", "aa469115d1a12fa4"),
        ("ip", "aa469115d1a12fa4"),
    ];
    assert_eq!(digests, frozen.map(|(name, digest)| (name, digest.to_owned())));
}

/// Generates text in which relevant characters are frequent.
fn texts() -> impl Strategy<Value = String> {
    let interesting = prop_oneof![
        4 => "[0-9]{1,11}",
        2 => "[ \t\u{a0}\u{3000}]{0,3}",
        2 => "[a-zA-Z]{1,8}",
        1 => "[-+/.:()]",
        1 => "[ßẞİıΣςſﬁ\u{345}\u{308}\u{300}ᾳᾼŉǅꮿᏯㅏᄀ\u{1161}가ｱ㎒]",
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(interesting, 1..8)
        .prop_map(|parts| parts.concat())
        .prop_filter("empty", |t| !t.is_empty())
}

proptest! {
    #[test]
    fn normalizers_are_idempotent(text in texts()) {
        for normalizer in Normalizer::ALL {
            if let Ok(once) = normal(normalizer, &text) {
                prop_assert!((1..=VALUE_BYTES_MAX).contains(&once.len()));
                prop_assert_eq!(normal(normalizer, &once), Ok(once), "{} of {:?}", normalizer.name(), text);
            }
        }
    }

    #[test]
    fn surrounding_white_space_is_ignored(text in texts(), space in "[ \t\u{2003}]{1,2}") {
        for normalizer in Normalizer::ALL.into_iter().filter(|n| *n != Normalizer::Exact) {
            let spaced = [&space, &text, &space].map(String::as_str).concat();
            prop_assert_eq!(normal(normalizer, &spaced), normal(normalizer, &text), "{}", normalizer.name());
        }
    }

    #[test]
    fn the_fast_path_for_ascii_equals_the_slow_one(text in "[ -~\t\n\u{b}\u{c}\r]{1,20}") {
        let slow = with_single_spaces(text.nfkc().default_case_fold().nfkc(), 0);
        let slow = if slow.is_empty() { Err(NormalizeError::Empty) } else { Ok(slow) };
        prop_assert_eq!(normal(Normalizer::Casefold, &text), slow);
    }

    #[test]
    fn arbitrary_text_does_not_panic(text in any::<String>()) {
        if let Some(value) = Value::new(&text) {
            for normalizer in Normalizer::ALL {
                if let Ok(normal) = normalizer.apply(value) {
                    prop_assert!((1..=VALUE_BYTES_MAX).contains(&normal.len()));
                }
            }
        }
    }

    #[test]
    fn spellings_of_a_phone_number_have_one_normal_form(digits in "[2-9][0-9]{9}") {
        let (area, exchange, line) = (&digits[..3], &digits[3..6], &digits[6..]);
        let spellings = [
            digits.clone(),
            format!("1{digits}"),
            format!("({area}) {exchange}-{line}"),
            format!("+1 {area}.{exchange}.{line}"),
            format!(" +1{digits}\n"),
        ];
        for spelling in spellings {
            prop_assert_eq!(normal(Normalizer::Phone, &spelling), Ok(format!("+1{digits}")));
        }
    }

    #[test]
    fn the_four_formats_of_a_day_have_one_normal_form(year in 1i16..=9999, month in 1i8..=12, day in 1i8..=31) {
        let ways = [
            format!("{year:04}-{month:02}-{day:02}"),
            format!("{year:04}/{month:02}/{day:02}"),
            format!("{month:02}/{day:02}/{year:04}"),
            format!("{month:02}-{day:02}-{year:04}"),
        ];
        let exists = jiff::civil::Date::new(year, month, day).is_ok();
        for way in &ways {
            let expected = if exists { &ways[0] } else { way };
            prop_assert_eq!(normal(Normalizer::Date, way), Ok(expected.clone()));
        }
    }

    #[test]
    fn spellings_of_an_address_have_one_normal_form(bits in any::<u128>()) {
        let address = Ipv6Addr::from(bits);
        let full = address.segments().map(|segment| format!("{segment:04X}")).join(":");
        prop_assert_eq!(normal(Normalizer::Ip, &full), Ok(address.to_string()));
    }
}
