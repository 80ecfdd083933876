//! `iban`: international bank account numbers (ISO 13616).

/// The length of each country's IBAN, in characters, as the IBAN registry of SWIFT, the registration authority of ISO
/// 13616, lists them (release 99, December 2024). A country that joins the registry is added here.
const LENGTHS: [(&str, usize); 89] = [
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BI", 27),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DJ", 27),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FK", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HN", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MN", 20),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NI", 28),
    ("NL", 18),
    ("NO", 15),
    ("OM", 23),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("RU", 33),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("SO", 23),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
    ("YE", 30),
];

/// Returns whether a text of ASCII digits and upper-case letters is an IBAN.
pub(super) fn is_valid(iban: &str) -> bool {
    let (Some(country), Some(check_digits)) = (iban.get(..2), iban.get(2..4)) else { return false };
    let is_known = LENGTHS.iter().any(|(code, length)| *code == country && *length == iban.len());
    // Check digits are 98 minus a remainder of 0 to 96, so 00, 01 and 99 do not occur, though two of them can fit.
    let may_occur = check_digits.parse::<u8>().is_ok_and(|digits| (2..=98).contains(&digits));
    is_known && may_occur && remainder(iban) == 1
}

/// Returns the remainder by 97 of the number that is the text with its first four characters at its end, and with each
/// letter as two digits, from 10 for A to 35 for Z (ISO/IEC 7064, MOD 97-10).
fn remainder(iban: &str) -> u32 {
    let (begin, account) = iban.as_bytes().split_at(4);
    account.iter().chain(begin).fold(0, |remainder, byte| match byte {
        b'A'..=b'Z' => (remainder * 100 + u32::from(byte - b'A') + 10) % 97,
        digit => (remainder * 10 + u32::from(digit - b'0')) % 97,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_within_the_bounds_of_the_standard() {
        assert!(LENGTHS.is_sorted_by(|one, other| one.0 < other.0));
        assert!(LENGTHS.iter().all(|(code, length)| code.len() == 2 && (15..=34).contains(length)));
    }

    /// For each country, an account number with the check digits that the standard computes is valid, and no others are.
    #[test]
    fn one_pair_of_check_digits_is_valid() {
        for (country, length) in LENGTHS {
            let account = "7Q".repeat(length)[..length - 4].to_owned();
            let check = 98 - remainder(&format!("{country}00{account}"));
            let valid: Vec<u32> =
                (0..100).filter(|digits| is_valid(&format!("{country}{digits:02}{account}"))).collect();
            assert_eq!(valid, [check], "{country}");
        }
    }
}
