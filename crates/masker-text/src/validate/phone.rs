//! Telephone numbers: plans of numbers by country.

use std::sync::LazyLock;

/// A country of telephone numbers without a country code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region([u8; 2]);

impl Region {
    /// The United States, and the countries that share their numbering plan.
    pub const US: Self = Self(*b"US");

    /// Returns the region of a two-letter country code of [ISO 3166-1](https://www.iso.org/iso-3166-country-codes.html), if the
    /// detector knows its numbers.
    pub fn parse(code: &str) -> Option<Self> {
        let code: [u8; 2] = code.to_ascii_uppercase().into_bytes().try_into().ok()?;
        PLANS.iter().any(|plan| plan.region.as_bytes() == code).then_some(Self(code))
    }

    /// Returns the two-letter code.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Whether a national number, with or without its trunk prefix, has a length of this region.
    pub(crate) fn accepts(self, digits: &[u8]) -> bool {
        PLANS.iter().filter(|plan| plan.region.as_bytes() == self.0).any(|plan| {
            if plan.code == NANP {
                is_nanp(digits)
            } else {
                plan.accepts(digits)
                    || digits.strip_prefix(plan.trunk.as_bytes()).is_some_and(|rest| plan.accepts(rest))
            }
        })
    }
}

/// The calling code of the North American numbering plan.
const NANP: u16 = 1;

/// How a country writes its telephone numbers.
struct Plan {
    region: &'static str,
    /// The calling code.
    code: u16,
    /// What precedes a national number in the country itself. Empty if nothing does.
    trunk: &'static str,
    /// The lengths of national numbers without the trunk prefix: bit 5 for five digits.
    lengths: u32,
}

static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
    let lines = include_str!("../../packs/phones.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| Plan::read(line).expect("the tests read the table")).collect()
});

impl Plan {
    /// Reads a line of the table: country, calling code, trunk prefix, lengths such as `7,9-11`.
    fn read(line: &'static str) -> Option<Self> {
        let mut fields = line.split(' ');
        let (region, code, trunk, lengths) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let mut set = 0;
        for range in lengths.split(',') {
            let (shortest, longest) = range.split_once('-').unwrap_or((range, range));
            for length in shortest.parse::<u32>().ok()?..=longest.parse().ok()? {
                set |= 1u32.checked_shl(length)?;
            }
        }
        Some(Self { region, code: code.parse().ok()?, trunk: trunk.trim_start_matches('-'), lengths: set })
    }

    /// Whether a national number without trunk prefix has a length of this country.
    fn accepts(&self, national: &[u8]) -> bool {
        u32::try_from(national.len()).is_ok_and(|len| len < u32::BITS && self.lengths >> len & 1 == 1)
    }
}

/// Whether digits are a number of the North American numbering plan: neither area nor exchange begins with 0 or 1, or ends
/// in 11.
pub(crate) fn is_nanp(digits: &[u8]) -> bool {
    let digits = digits.strip_prefix(b"1").filter(|rest| rest.len() == 10).unwrap_or(digits);
    let code = |code: &[u8]| matches!(code[0], b'2'..=b'9') && &code[1..3] != b"11";
    digits.len() == 10 && code(&digits[..3]) && code(&digits[3..6])
}

/// Whether digits after `+` or `00` are a country's calling code and a national number of its length.
pub(crate) fn is_international(digits: &[u8]) -> bool {
    (1..=3).any(|len| {
        let Some((code, national)) = digits.split_at_checked(len) else { return false };
        let code = code.iter().fold(0u16, |number, digit| number * 10 + u16::from(digit - b'0'));
        PLANS.iter().filter(|plan| plan.code == code).any(|plan| match code {
            NANP => national.len() == 10 && is_nanp(national),
            // `+44 (0) 20 …` has the trunk prefix too.
            _ => plan.accepts(national.strip_prefix(b"0").filter(|_| plan.trunk == "0").unwrap_or(national)),
        })
    })
}
