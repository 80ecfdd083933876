//! Telephone numbers: plans of numbers by country.

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
        PLANS.iter().any(|plan| plan.0.as_bytes() == code).then_some(Self(code))
    }

    fn plan(self) -> Option<&'static Plan> {
        PLANS.iter().find(|plan| plan.0.as_bytes() == self.0)
    }

    /// Whether a national number, with or without its trunk prefix 0, has a length of this region.
    pub(crate) fn accepts(self, digits: &[u8]) -> bool {
        match self.plan() {
            Some(Plan("US" | "CA", ..)) => is_nanp(digits),
            Some(Plan(_, _, shortest, longest)) => {
                let national = digits.strip_prefix(b"0").unwrap_or(digits);
                (usize::from(*shortest)..=usize::from(*longest)).contains(&national.len())
            }
            None => false,
        }
    }
}

/// Country, calling code, and the length of national numbers without trunk prefix, from the ITU's national numbering plans
/// (ITU-T E.164).
struct Plan(&'static str, u16, u8, u8);

const PLANS: &[Plan] = &[
    Plan("US", 1, 10, 10),
    Plan("CA", 1, 10, 10),
    Plan("RU", 7, 10, 10),
    Plan("EG", 20, 8, 10),
    Plan("ZA", 27, 9, 9),
    Plan("GR", 30, 10, 10),
    Plan("NL", 31, 9, 9),
    Plan("BE", 32, 8, 9),
    Plan("FR", 33, 9, 9),
    Plan("ES", 34, 9, 9),
    Plan("HU", 36, 8, 9),
    Plan("IT", 39, 8, 11),
    Plan("RO", 40, 9, 9),
    Plan("CH", 41, 9, 9),
    Plan("AT", 43, 7, 13),
    Plan("GB", 44, 9, 10),
    Plan("DK", 45, 8, 8),
    Plan("SE", 46, 7, 10),
    Plan("NO", 47, 8, 8),
    Plan("PL", 48, 9, 9),
    Plan("DE", 49, 7, 11),
    Plan("PE", 51, 8, 9),
    Plan("MX", 52, 10, 10),
    Plan("AR", 54, 10, 11),
    Plan("BR", 55, 10, 11),
    Plan("CL", 56, 9, 9),
    Plan("CO", 57, 8, 10),
    Plan("VE", 58, 10, 10),
    Plan("MY", 60, 8, 10),
    Plan("AU", 61, 9, 9),
    Plan("ID", 62, 8, 12),
    Plan("PH", 63, 8, 10),
    Plan("NZ", 64, 8, 10),
    Plan("SG", 65, 8, 8),
    Plan("TH", 66, 8, 9),
    Plan("JP", 81, 9, 10),
    Plan("KR", 82, 8, 10),
    Plan("VN", 84, 9, 10),
    Plan("CN", 86, 10, 11),
    Plan("TR", 90, 10, 10),
    Plan("IN", 91, 10, 10),
    Plan("PK", 92, 9, 10),
    Plan("LK", 94, 9, 9),
    Plan("MA", 212, 9, 9),
    Plan("DZ", 213, 8, 9),
    Plan("TN", 216, 8, 8),
    Plan("GH", 233, 9, 9),
    Plan("NG", 234, 8, 10),
    Plan("KE", 254, 9, 9),
    Plan("UG", 256, 9, 9),
    Plan("TZ", 255, 9, 9),
    Plan("PT", 351, 9, 9),
    Plan("LU", 352, 6, 9),
    Plan("IE", 353, 7, 9),
    Plan("IS", 354, 7, 7),
    Plan("CY", 357, 8, 8),
    Plan("FI", 358, 7, 10),
    Plan("BG", 359, 8, 9),
    Plan("LT", 370, 8, 8),
    Plan("LV", 371, 8, 8),
    Plan("EE", 372, 7, 8),
    Plan("UA", 380, 9, 9),
    Plan("RS", 381, 8, 9),
    Plan("HR", 385, 8, 9),
    Plan("SI", 386, 8, 8),
    Plan("BA", 387, 8, 8),
    Plan("MK", 389, 8, 8),
    Plan("CZ", 420, 9, 9),
    Plan("SK", 421, 9, 9),
    Plan("LI", 423, 7, 9),
    Plan("HK", 852, 8, 8),
    Plan("TW", 886, 8, 9),
    Plan("BD", 880, 9, 10),
    Plan("AE", 971, 8, 9),
    Plan("IL", 972, 8, 9),
    Plan("SA", 966, 9, 9),
    Plan("QA", 974, 8, 8),
    Plan("KW", 965, 8, 8),
];

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
        // `+44 (0) 20 …` has the trunk prefix too.
        let national = national.strip_prefix(b"0").filter(|_| code != 39).unwrap_or(national);
        PLANS.iter().any(|plan| {
            plan.1 == code
                && (usize::from(plan.2)..=usize::from(plan.3)).contains(&national.len())
                && (code != 1 || is_nanp(national))
        })
    })
}
