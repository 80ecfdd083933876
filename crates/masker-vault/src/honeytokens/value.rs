//! Generated values that look real and belong to nobody.

use rand::{Rng, RngExt};

use masker_core::normalize::Normalizer;
use masker_types::kind::EntityKind;

const SYLLABLES: [&str; 24] = [
    "bor", "cal", "dre", "fen", "gar", "hul", "jov", "kes", "lim", "mor", "nad", "oru", "pel", "quin", "ras", "sto",
    "tav", "ulm", "ver", "wis", "xan", "yor", "zel", "ash",
];

/// Returns a random value of a kind that is its own form, but for the case of names. Telephone numbers, addresses and domains are from the ranges
/// reserved for fiction and documentation (555-01XX; RFC 5737, RFC 3849, RFC 2606). Dates are in the 19th century. Numbers
/// are not valid card numbers. Names and texts are random.
pub(super) fn generate_value(kind: EntityKind, normalizer: Normalizer, rng: &mut impl Rng) -> String {
    if normalizer == Normalizer::Email || kind.as_str().contains("MAIL") {
        let domain = ["com", "net", "org"][rng.random_range(0..3)];
        return format!("{}.{}@example.{domain}", word(rng), word(rng));
    }
    match normalizer {
        Normalizer::Phone | Normalizer::PhoneNanp => {
            // An area code begins with 2 to 9 and has no 9 in its middle; N11 are services.
            let area = (rng.random_range(2..10), rng.random_range(2..9), rng.random_range(0..10));
            format!("+1{}{}{}55501{:02}", area.0, area.1, area.2, rng.random_range(0..100))
        }
        Normalizer::Ip if rng.random() => {
            let net = ["192.0.2", "198.51.100", "203.0.113"][rng.random_range(0..3)];
            format!("{net}.{}", rng.random_range(1..255))
        }
        Normalizer::Ip => {
            let mut segments: [u16; 8] = rng.random();
            (segments[0], segments[1]) = (0x2001, 0x0db8);
            std::net::Ipv6Addr::from(segments).to_string()
        }
        Normalizer::Date | Normalizer::DateMdy | Normalizer::DateDmy => {
            format!("{}-{:02}-{:02}", rng.random_range(1850..1900), rng.random_range(1..13), rng.random_range(1..29))
        }
        Normalizer::Digits => invalid_card_number(rng),
        Normalizer::Alnum => text(rng, b"ABCDEFGHJKLMNPQRSTUVWXYZ0123456789", 12),
        Normalizer::Casefold => format!("{} {}", capital(&word(rng)), capital(&word(rng))),
        Normalizer::Exact | Normalizer::Trim | Normalizer::Email => {
            text(rng, b"abcdefghijkmnpqrstuvwxyz0123456789", 20)
        }
    }
}

fn text(rng: &mut impl Rng, alphabet: &[u8], chars: usize) -> String {
    (0..chars).map(|_| char::from(alphabet[rng.random_range(0..alphabet.len())])).collect()
}

fn word(rng: &mut impl Rng) -> String {
    (0..rng.random_range(3..5)).map(|_| SYLLABLES[rng.random_range(0..SYLLABLES.len())]).collect()
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_ascii_uppercase() + rest
}

/// Returns 16 digits with a wrong Luhn check digit.
fn invalid_card_number(rng: &mut impl Rng) -> String {
    let mut digits: Vec<u32> = (0..15).map(|_| rng.random_range(0..10)).collect();
    let check = (10 - luhn_sum(&digits) % 10) % 10;
    digits.push((check + rng.random_range(1..10)) % 10);
    digits.into_iter().filter_map(|digit| char::from_digit(digit, 10)).collect()
}

/// Returns the Luhn sum of 15 digits without their check digit.
fn luhn_sum(digits: &[u32]) -> u32 {
    let weighted = digits.iter().enumerate().map(|(index, digit)| match index % 2 {
        0 => digit * 2 / 10 + digit * 2 % 10,
        _ => *digit,
    });
    weighted.sum()
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::HashSet};

    use rand::{SeedableRng, rngs::ChaCha8Rng};

    use super::*;
    use masker_types::kind::Value;

    #[test]
    fn values_are_their_own_forms() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let kind = EntityKind::parse("THING").unwrap();
        for normalizer in Normalizer::ALL {
            let values: HashSet<String> = (0..200).map(|_| generate_value(kind, normalizer, &mut rng)).collect();
            assert!(values.len() > 190, "{normalizer:?} gives {} of 200", values.len());
            for value in values {
                let normal = normalizer.form(Value::new(&value).unwrap());
                let is_own = match normalizer {
                    Normalizer::Casefold => normal == value.to_lowercase(),
                    _ => matches!(normal, Cow::Borrowed(_)) || normal == value.as_str(),
                };
                assert!(is_own, "{normalizer:?}: {value}");
            }
        }
    }

    #[test]
    fn values_are_from_reserved_ranges() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let kind = EntityKind::parse("THING").unwrap();
        for _ in 0..500 {
            let phone = generate_value(kind, Normalizer::Phone, &mut rng);
            assert!(phone.len() == 12 && phone.starts_with("+1") && &phone[5..10] == "55501", "{phone}");
            assert!(!matches!(&phone[2..3], "0" | "1") && !matches!(&phone[3..4], "1" | "9"), "{phone}");
            let ip = generate_value(kind, Normalizer::Ip, &mut rng);
            let nets = ["192.0.2.", "198.51.100.", "203.0.113.", "2001:db8:"];
            assert!(nets.iter().any(|net| ip.starts_with(net)), "{ip}");
            let date = generate_value(kind, Normalizer::Date, &mut rng);
            assert!(date.parse::<jiff::civil::Date>().is_ok_and(|date| (1850..1900).contains(&date.year())), "{date}");
            let mail = generate_value(EntityKind::parse("EMAIL").unwrap(), Normalizer::Trim, &mut rng);
            assert!(mail.contains("@example."), "{mail}");
            let number = generate_value(kind, Normalizer::Digits, &mut rng);
            let digits: Vec<u32> = number.chars().filter_map(|digit| digit.to_digit(10)).collect();
            assert_eq!(digits.len(), 16);
            assert_ne!((luhn_sum(&digits[..15]) + digits[15]) % 10, 0, "{number}");
        }
        // A number that is known to be valid, so that the formula is the one that cards have.
        let valid: Vec<u32> = "4111111111111111".chars().filter_map(|digit| digit.to_digit(10)).collect();
        assert_eq!((luhn_sum(&valid[..15]) + valid[15]) % 10, 0);
    }
}
