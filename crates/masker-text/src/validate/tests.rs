//! Tests of checks.

use super::*;

#[test]
fn cards() {
    for (number, issuer) in [
        ("4242424242424242", Some("Visa")),
        ("5555555555554444", Some("Mastercard")),
        ("2223003122003222", Some("Mastercard")),
        ("378282246310005", Some("American Express")),
        ("6011111111111117", Some("Discover")),
        ("3530111333300000", Some("JCB")),
        ("30569309025904", Some("Diners Club")),
        ("9999999999999995", None),
    ] {
        assert_eq!(card_issuer(number.as_bytes()), issuer, "{number}");
        assert!(luhn(number.as_bytes()), "{number}");
    }
    assert!(!luhn(b"4242424242424241"));
}

#[test]
fn ibans() {
    for iban in ["GB82WEST12345698765432", "DE89370400440532013000", "nl91abna0417164300", "NO9386011117947"] {
        assert!(is_iban(iban.as_bytes()) && iban_len(&iban.as_bytes()[..2]) == Some(iban.len()), "{iban}");
    }
    assert!(!is_iban(b"GB82WEST12345698765431"));
    assert_eq!(iban_len(b"ZZ"), None);
}

#[test]
fn numbers_of_people() {
    assert!(is_ssn(b"123456789"));
    for ssn in ["000123456", "666123456", "900123456", "987654321", "123006789", "123450000", "078051120"] {
        assert!(!is_ssn(ssn.as_bytes()), "{ssn}");
    }
    assert!(is_npi(b"1234567893") && !is_npi(b"1234567890"));
    assert!(is_dea(b"AB1234563") && !is_dea(b"AB1234560") && !is_dea(b"12"));
    assert!(is_vin(b"1HGCM82633A004352") && is_vin(b"1M8GDM9AXKP042788") && !is_vin(b"1HGCM82633A004353"));
}

#[test]
fn networks() {
    assert!(is_ipv4("203.0.113.7") && !is_ipv4("203.0.113.256") && !is_ipv4("1.02.3.4") && !is_ipv4("1.2.3"));
    assert!(is_ipv6("2001:db8::1") && !is_ipv6("::") && !is_ipv6("12:30:45"));
    assert!(is_tld("org") && is_tld("DE") && is_tld("example") && !is_tld("sql"));
    assert!(
        is_reserved_domain("www.example.com") && is_reserved_domain("x.test") && !is_reserved_domain("myexample.com")
    );
}

#[test]
fn the_table_of_telephone_numbers_is_in_order() {
    let lines: Vec<&str> =
        include_str!("../../packs/phones.txt").lines().filter(|line| !line.starts_with('#')).collect();
    assert!(lines.len() >= 240 && lines.is_sorted(), "{} lines", lines.len());
    for line in lines {
        let fields: Vec<&str> = line.split(' ').collect();
        assert!(fields.len() == 4 && Region::parse(fields[0]).is_some(), "{line}");
        assert!(fields[1].parse::<u16>().is_ok_and(|code| (1..1_000).contains(&code)), "{line}");
        // E.164 allows 15 digits with the calling code.
        let longest: usize = fields[3].rsplit([',', '-']).next().unwrap().parse().unwrap();
        assert!((4..=15 - fields[1].len()).contains(&longest), "{line}");
    }
}

#[test]
fn phones() {
    assert!(is_nanp(b"2125550147") && is_nanp(b"12125550147"));
    for number in ["1125550147", "2121550147", "9115550147", "2129110147", "212555014"] {
        assert!(!is_nanp(number.as_bytes()), "{number}");
    }
    assert!(is_international(b"442079460958") && is_international(b"4930901820") && is_international(b"12125550147"));
    assert!(!is_international(b"11125550147") && !is_international(b"999123456789"));
    let german = Region::parse("de").unwrap();
    assert!(german.accepts(b"030901820") && !german.accepts(b"12345"));
    assert_eq!(Region::parse("XX"), None);
    assert!(Region::US.accepts(b"2125550147"));
    let region = |code: &str| Region::parse(code).unwrap();
    assert!(region("RU").accepts(b"84955550147") && region("RU").accepts(b"4955550147"));
    assert!(!region("RU").accepts(b"04955550147"), "the trunk prefix is 8");
    assert!(region("HU").accepts(b"0615550147") && region("UY").accepts(b"24100147"));
    // National numbers of Italy begin with 0.
    assert!(region("IT").accepts(b"0655501470") && is_international(b"390655501470"));
    assert!(
        is_international(b"37410550147") && is_international(b"4402079460958") && !is_international(b"371055501470")
    );
    assert!(!is_international(b"112125550147"), "one digit too many");
}
