use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

fn form(normalizer: Normalizer, text: &str) -> String {
    normalizer.form(Value::new(text).expect("1 to 4,096 bytes")).into_owned()
}

#[track_caller]
fn check(normalizer: Normalizer, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(form(normalizer, text), *expected, "{} of {text:?}", normalizer.name());
    }
}

/// Checks texts that a normalizer does not understand, trimmed.
#[track_caller]
fn check_not_understood(normalizer: Normalizer, texts: &[&str]) {
    for text in texts {
        assert_eq!(form(normalizer, text), *text, "{} of {text:?}", normalizer.name());
    }
}

#[test]
fn the_vectors_of_the_token_format() {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/vectors/tokens-v1.json")).unwrap();
    let vectors: Vec<_> = file["vectors"].as_array().unwrap().iter().filter(|v| v["kind_of"] == "normalize").collect();
    assert_eq!(vectors.len(), 80);
    for vector in vectors {
        let [name, value, result] = ["normalizer", "value", "result"].map(|field| vector[field].as_str().unwrap());
        assert_eq!(form(Normalizer::from_name(name).unwrap(), value), result, "{vector}");
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
fn email_lowers_the_case_of_addresses() {
    check(Normalizer::Email, &[(" Ann.Lee@Example.ORG\t", "ann.lee@example.org"), ("@", "@"), ("A\0@b", "a\0@b")]);
    check_not_understood(
        Normalizer::Email,
        &["Ann", "A@b@c", "A b@c", "A\u{b}b@c", "Ann <A@b>", "Ünal@Example.org", "A@b\u{a0}c"],
    );
}

#[test]
fn digits_understands_digits_and_separators() {
    check(
        Normalizer::Digits,
        &[(" 078-05-1120 ", "078051120"), ("1\u{a0}2\u{2010}3\u{2015}4 - 5", "12345"), ("007", "007")],
    );
    check_not_understood(
        Normalizer::Digits,
        &["1234.0", "12/3", "1\u{2003}2", "1\t2", "1\u{2212}2", "1\u{200b}2", "٤١٥", "1_2", "+1", "---", "–"],
    );
}

#[test]
fn alnum_understands_letters_digits_and_separators() {
    check(Normalizer::Alnum, &[("1hg-cm826 33a", "1HGCM82633A"), ("b\u{2011}1", "B1"), ("AB1", "AB1"), ("ab", "AB")]);
    check_not_understood(Normalizer::Alnum, &["mrn: 1", "1234.0", "a_b", "ä1", "a/b", "--", "ſ1", "ａ"]);
}

#[test]
fn phone_assumes_no_country() {
    check(
        Normalizer::Phone,
        &[
            (" +44 20 7946 0958", "+442079460958"),
            ("+1 (415) 555-2671", "+14155552671"),
            ("4155552671", "4155552671"),
            ("1/2.3", "123"),
            ("(+44) 20", "(+44) 20"),
            ("+44(0)20 7946 0958", "+442079460958"),
            ("(0)20 7946 0958", "02079460958"),
            ("+44 ( 0 )20 7946", "+440207946"),
            ("+49(0)(0)30", "+490030"),
            ("(0)12", "012"),
            ("+123456789012345", "+123456789012345"),
        ],
    );
    check_not_understood(
        Normalizer::Phone,
        &[
            "1-800-FLOWERS",
            "555-2671 x12",
            "12",
            "+12",
            "+",
            "+(0)12",
            "1234567890123456",
            "+1+234",
            "00\t123",
            "٤١٥",
            "tel:+14155552671",
            "415,555,2671",
            "415*5552671",
            "1+234",
        ],
    );
}

#[test]
fn phone_nanp_reads_numbers_as_dialled_in_north_america() {
    check(
        Normalizer::PhoneNanp,
        &[
            ("415-555-2671", "+14155552671"),
            ("1 415 555 2671", "+14155552671"),
            ("+4155552671", "+4155552671"),
            ("1155552671", "1155552671"),
            ("4151552671", "4151552671"),
            ("4150552671", "4150552671"),
            ("11155552671", "11155552671"),
            ("24155552671", "24155552671"),
            ("555-2671", "5552671"),
            ("011 44 20 7946 0958", "+442079460958"),
            ("011123456789", "+123456789"),
            ("01112345678", "01112345678"),
            ("011", "011"),
            ("0112345678", "0112345678"),
            ("00442079460958", "00442079460958"),
        ],
    );
    check_not_understood(Normalizer::PhoneNanp, &["1-800-CONTACTS", "415-555-2671 ext 1", "0114420794609581234", "12"]);
}

#[test]
fn date_accepts_only_existing_days() {
    for normalizer in [Normalizer::Date, Normalizer::DateMdy, Normalizer::DateDmy] {
        check(
            normalizer,
            &[
                (" 1990-04-12 ", "1990-04-12"),
                ("2000/02/29", "2000-02-29"),
                ("0001.01.01", "0001-01-01"),
                ("99991231", "9999-12-31"),
            ],
        );
        check_not_understood(
            normalizer,
            &[
                "1900/02/29",
                "0000/01/01",
                "00000101",
                "1990-4-12",
                "1990/04-12",
                "+990/04/12",
                "1990/+4/12",
                "1990/04/1é",
                "1990/04/12T",
                "990/04/12",
                "1990 04 12",
                "19901301",
                "1990-04-12-1",
                "1990/04/00",
                "1990/00/12",
                "٢٠٢٤0101",
                "04/12/90",
                "1/1/0000",
                "4//1990",
                "/4/1990",
                "4-12/1990",
                "4/12/19901",
                "004/12/1990",
                "4 12 1990",
                "+4/12/1990",
                "4/-2/1990",
                "12041990",
                "April 12, 1990",
            ],
        );
    }
}

#[test]
fn dates_that_end_in_a_year_need_an_order() {
    check_not_understood(Normalizer::Date, &["04/12/1990", "4.12.1990", "04-12-1990"]);
    check(
        Normalizer::DateMdy,
        &[
            ("04/12/1990", "1990-04-12"),
            ("4-12-1990", "1990-04-12"),
            ("12.4.0001", "0001-12-04"),
            ("31/12/1990", "31/12/1990"),
            ("02/29/1900", "02/29/1900"),
        ],
    );
    check(
        Normalizer::DateDmy,
        &[
            ("04/12/1990", "1990-12-04"),
            ("4-12-1990", "1990-12-04"),
            ("31.12.9999", "9999-12-31"),
            ("12/31/1990", "12/31/1990"),
            ("29/02/2000", "2000-02-29"),
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
            ("::1.2.3.4", "::102:304"),
            ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
            ("1::3:4:5:6:7:8", "1:0:3:4:5:6:7:8"),
            ("1:2:3:4:5:6:7:8::", "1:2:3:4:5:6:7:8::"),
            ("1.2.3.4::", "1.2.3.4::"),
            ("00001::", "00001::"),
            ("::ffff:192.0.2.01", "::ffff:192.0.2.01"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("192.0.2.1/32", "192.0.2.1/32"),
            ("192.0.2", "192.0.2"),
            ("0xC0.0.2.1", "0xC0.0.2.1"),
        ],
    );
}

#[test]
fn white_space_alone_is_its_own_form() {
    for normalizer in Normalizer::ALL {
        assert_eq!(form(normalizer, " \u{3000}"), " \u{3000}", "{}", normalizer.name());
    }
}

#[test]
fn a_form_that_would_be_too_long_is_that_of_trim() {
    // U+FDFA is 3 bytes; its NFKC is 33.
    let text = format!(" {}", "\u{fdfa}".repeat(1_000));
    assert_eq!(form(Normalizer::Casefold, &text), text.trim());
    let longest = "a".repeat(VALUE_BYTES_MAX);
    assert_eq!(form(Normalizer::Casefold, &longest), longest);
    // 124 times 33 bytes and 4 more are 4,096.
    let text = format!("{}ABCD", "\u{fdfa}".repeat(124));
    assert_eq!(form(Normalizer::Casefold, &text).len(), VALUE_BYTES_MAX);
    let text = format!("{text}E");
    assert_eq!(form(Normalizer::Casefold, &text), text);
}

#[test]
fn forms_are_not_copied() {
    let cases = [
        (Normalizer::Trim, " x "),
        (Normalizer::Casefold, " sarah chen"),
        (Normalizer::Email, "ann@example.org"),
        (Normalizer::Digits, "123"),
        (Normalizer::Alnum, "A1 "),
        (Normalizer::Phone, "+14155552671"),
        (Normalizer::Phone, "5552671"),
        (Normalizer::PhoneNanp, "+14155552671"),
        (Normalizer::Date, "1990-04-12"),
        (Normalizer::Ip, "192.0.2.1"),
    ];
    for (normalizer, text) in cases {
        assert!(matches!(normalizer.form(Value::new(text).unwrap()), Cow::Borrowed(_)), "{}", normalizer.name());
    }
}

/// Freezes the form of every character. A new version of the Unicode tables may fail this test: then check which
/// characters changed. Newly assigned characters do not affect known values; any other change needs a new normalizer.
#[test]
fn the_forms_of_single_characters_are_frozen() {
    let digest = |normalizer: Normalizer| {
        let mut hash = Sha256::new();
        for char in '\0'..=char::MAX {
            hash.update(form(normalizer, char.encode_utf8(&mut [0; 4])));
            hash.update([0xFF]);
        }
        data_encoding::HEXLOWER.encode(&hash.finalize()[..8])
    };
    let digests = Normalizer::ALL.map(|normalizer| (normalizer.name(), digest(normalizer)));
    let frozen = [
        ("exact", "b55b9db55c0dafca"),
        ("trim", "b55b9db55c0dafca"),
        ("casefold", "27d41907510ee970"),
        ("email", "b55b9db55c0dafca"),
        ("digits", "b55b9db55c0dafca"),
        ("alnum", "db5aa1a9c30bf3bc"),
        ("phone", "b55b9db55c0dafca"),
        ("phone_nanp", "b55b9db55c0dafca"),
        ("date", "b55b9db55c0dafca"),
        ("date_mdy", "b55b9db55c0dafca"),
        ("date_dmy", "b55b9db55c0dafca"),
        ("ip", "b55b9db55c0dafca"),
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

/// Returns what a normalizer may leave out, or add, beside letters whose case changes.
fn is_punctuation(normalizer: Normalizer, c: char) -> bool {
    match normalizer {
        Normalizer::Digits | Normalizer::Alnum => is_separator(c),
        Normalizer::Phone | Normalizer::PhoneNanp => is_separator(c) || "./()+".contains(c),
        Normalizer::Date | Normalizer::DateMdy | Normalizer::DateDmy => "-/.".contains(c),
        Normalizer::Exact | Normalizer::Trim | Normalizer::Casefold | Normalizer::Email | Normalizer::Ip => false,
    }
}

proptest! {
    #[test]
    fn normalizers_are_idempotent(text in texts()) {
        for normalizer in Normalizer::ALL {
            let once = form(normalizer, &text);
            prop_assert!((1..=VALUE_BYTES_MAX).contains(&once.len()));
            prop_assert_eq!(form(normalizer, &once), once, "{} of {:?}", normalizer.name(), text);
        }
    }

    #[test]
    fn nothing_that_is_not_understood_is_dropped(text in texts()) {
        for normalizer in Normalizer::ALL {
            let form = form(normalizer, &text);
            if form == text.trim() || matches!(normalizer, Normalizer::Casefold | Normalizer::Ip) {
                continue;
            }
            let is_understood = |c: char| c.is_ascii_alphanumeric() || is_punctuation(normalizer, c);
            match normalizer {
                Normalizer::Exact => prop_assert_eq!(form, &*text),
                // White space alone.
                _ if text.trim().is_empty() => prop_assert_eq!(form, &*text),
                Normalizer::Email => prop_assert_eq!(form, text.trim().to_ascii_lowercase()),
                Normalizer::Digits | Normalizer::Alnum => {
                    let kept: String = text.trim().chars().filter(|c| !is_separator(*c)).collect();
                    prop_assert_eq!(form, kept.to_ascii_uppercase());
                }
                _ => {
                    prop_assert!(text.trim().chars().all(is_understood), "{} of {:?}", normalizer.name(), text);
                    let digits = form.chars().filter(char::is_ascii_digit).count();
                    let given = text.chars().filter(char::is_ascii_digit).count();
                    // A country code, `011` and `(0)` come and go; leading zeros of a day and a month come.
                    prop_assert!(digits + 3 >= given && digits <= given + 2, "{} of {:?}", normalizer.name(), text);
                }
            }
        }
    }

    #[test]
    fn surrounding_white_space_is_ignored(text in texts(), space in "[ \t\u{2003}]{1,2}") {
        prop_assume!(!text.trim().is_empty());
        for normalizer in Normalizer::ALL.into_iter().filter(|n| *n != Normalizer::Exact) {
            let spaced = [&space, &text, &space].map(String::as_str).concat();
            prop_assert_eq!(form(normalizer, &spaced), form(normalizer, &text), "{}", normalizer.name());
        }
    }

    #[test]
    fn the_fast_path_for_ascii_equals_the_slow_one(text in "[ -~\t\n\u{b}\u{c}\r]{1,20}") {
        let slow = casefold::fold(&text);
        prop_assert_eq!(form(Normalizer::Casefold, &text), if slow.is_empty() { text } else { slow });
    }

    #[test]
    fn arbitrary_text_does_not_panic(text in any::<String>()) {
        if let Some(value) = Value::new(&text) {
            for normalizer in Normalizer::ALL {
                prop_assert!((1..=VALUE_BYTES_MAX).contains(&normalizer.form(value).len()));
            }
        }
    }

    #[test]
    fn spellings_of_a_phone_number_have_one_form(digits in "[2-9][0-9]{2}[2-9][0-9]{6}") {
        let (area, exchange, line) = (&digits[..3], &digits[3..6], &digits[6..]);
        let international = [format!("+1 {area}.{exchange}.{line}"), format!(" +1{digits}\n"), format!("+1 (0){digits}")];
        let national = [digits.clone(), format!("1{digits}"), format!("({area}) {exchange}-{line}"), format!("0111{digits}")];
        for spelling in &international {
            prop_assert_eq!(form(Normalizer::Phone, spelling), format!("+1{digits}"));
        }
        for spelling in international.iter().chain(&national) {
            prop_assert_eq!(form(Normalizer::PhoneNanp, spelling), format!("+1{digits}"));
        }
    }

    #[test]
    fn the_formats_of_a_day_have_one_form(year in 0i16..=9999, month in 0i8..=13, day in 0i8..=32) {
        let iso = format!("{year:04}-{month:02}-{day:02}");
        let year_first = [
            iso.clone(),
            format!("{year:04}/{month:02}/{day:02}"),
            format!("{year:04}.{month:02}.{day:02}"),
            format!("{year:04}{month:02}{day:02}"),
        ];
        let month_first = ['/', '-', '.'].map(|c| [format!("{month:02}{c}{day:02}{c}{year:04}"), format!("{month}{c}{day}{c}{year:04}")]);
        let day_first = ['/', '-', '.'].map(|c| [format!("{day:02}{c}{month:02}{c}{year:04}"), format!("{day}{c}{month}{c}{year:04}")]);
        let exists = year > 0 && jiff::civil::Date::new(year, month, day).is_ok();
        let expected = |way: &String| if exists { iso.clone() } else { way.clone() };
        for way in &year_first {
            for normalizer in [Normalizer::Date, Normalizer::DateMdy, Normalizer::DateDmy] {
                prop_assert_eq!(form(normalizer, way), expected(way));
            }
        }
        for (normalizer, ways) in [(Normalizer::DateMdy, month_first), (Normalizer::DateDmy, day_first)] {
            for way in ways.as_flattened() {
                prop_assert_eq!(form(normalizer, way), expected(way));
                prop_assert_eq!(form(Normalizer::Date, way), way.clone());
            }
        }
    }

    #[test]
    fn spellings_of_an_address_have_one_form(bits in any::<u128>()) {
        let address = std::net::Ipv6Addr::from(bits);
        let full = address.segments().map(|segment| format!("{segment:04X}")).join(":");
        prop_assert_eq!(form(Normalizer::Ip, &full), address.to_string());
    }
}
