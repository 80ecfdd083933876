//! Numbers of people, providers and vehicles.

use super::bank::luhn;

/// Whether a social security number can have been issued: no area 000, 666 or 900 to 999, no group 00, no serial 0000 (SSA).
pub(crate) fn is_ssn(digits: &[u8]) -> bool {
    let [area @ .., g1, g2, s1, s2, s3, s4] = digits else { return false };
    area.len() == 3
        && !matches!(area, b"000" | b"666")
        && area[0] != b'9'
        && [*g1, *g2] != *b"00"
        && [*s1, *s2, *s3, *s4] != *b"0000"
        // Numbers of advertisements.
        && !matches!(digits, b"078051120" | b"219099999")
}

/// Whether the check character of a vehicle identification number is right (49 CFR 565.15, North America).
pub(crate) fn is_vin(vin: &[u8]) -> bool {
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    if vin.len() != 17 {
        return false;
    }
    let mut sum = 0;
    for (byte, weight) in vin.iter().zip(WEIGHTS) {
        let value = match byte.to_ascii_uppercase() {
            digit @ b'0'..=b'9' => u32::from(digit - b'0'),
            letter @ b'A'..=b'H' => u32::from(letter - b'A') + 1,
            letter @ b'J'..=b'N' => u32::from(letter - b'J') + 1,
            b'P' => 7,
            b'R' => 9,
            letter @ b'S'..=b'Z' => u32::from(letter - b'S') + 2,
            _ => return false,
        };
        sum += value * weight;
    }
    let check = match sum % 11 {
        10 => b'X',
        digit => b'0' + digit as u8,
    };
    vin[8].to_ascii_uppercase() == check
}

/// Whether the check digit of a national provider identifier is right (Luhn with the prefix 80840; 45 CFR 162.406).
pub(crate) fn is_npi(digits: &[u8]) -> bool {
    digits.len() == 10 && matches!(digits[0], b'1' | b'2') && luhn(&[b"80840", digits].concat())
}

/// Whether the check digit of a DEA registration number is right: two letters and seven digits.
pub(crate) fn is_dea(number: &[u8]) -> bool {
    let [a, b, digits @ ..] = number else { return false };
    if !a.is_ascii_alphabetic()
        || !(b.is_ascii_alphabetic() || *b == b'9')
        || digits.len() != 7
        || !digits.iter().all(u8::is_ascii_digit)
    {
        return false;
    }
    let digit = |index: usize| u32::from(digits[index] - b'0');
    (digit(0) + digit(2) + digit(4) + 2 * (digit(1) + digit(3) + digit(5))) % 10 == digit(6)
}
