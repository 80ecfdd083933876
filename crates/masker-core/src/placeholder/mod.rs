//! Placeholders: short names of values in texts, such as `[PHONE_7F3KQ2XA]`.
//!
//! A placeholder has the kind of its value, a code and a check character. The code is the beginning of a keyed hash of the
//! value ([`PlaceholderKey`](crate::crypto::PlaceholderKey)), in Crockford's base32. It has [`CODE_CHARS_MIN`] characters, and
//! more if another value has the shorter one. A text that a model wrote may have it in other forms: see [`placeholders_in`].

mod scan;

use masker_types::kind::EntityKind;

pub use scan::{FoundPlaceholder, placeholders_in};

/// Characters of the shortest code, without its check character.
pub const CODE_CHARS_MIN: usize = 7;
/// Characters of the longest code, without its check character: 100 bits.
pub const CODE_CHARS_MAX: usize = 20;

/// The digits of Crockford's base32.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The code of a placeholder: digits from 0 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaceholderCode {
    digits: [u8; CODE_CHARS_MAX],
    length: u8,
}

impl PlaceholderCode {
    /// Returns the first characters of a hash, 5 bits each; `None` if a code cannot have this many.
    pub fn of_hash(hash: &[u8; 32], chars: usize) -> Option<Self> {
        let digit = |at: usize| {
            let bit = 5 * at;
            let pair = u16::from_be_bytes([hash[bit / 8], hash[bit / 8 + 1]]);
            (pair >> (11 - bit % 8)) as u8 & 0x1F
        };
        let digits: Vec<u8> = (0..chars.min(CODE_CHARS_MAX + 1)).map(digit).collect();
        Self::from_digits(&digits)
    }

    /// Returns the code of these digits; `None` if a code cannot have this many, or if one is above 31.
    pub fn from_digits(digits: &[u8]) -> Option<Self> {
        let is_code =
            (CODE_CHARS_MIN..=CODE_CHARS_MAX).contains(&digits.len()) && digits.iter().all(|digit| *digit < 32);
        is_code.then(|| {
            let mut code = PlaceholderCode { digits: [0; CODE_CHARS_MAX], length: digits.len() as u8 };
            code.digits[..digits.len()].copy_from_slice(digits);
            code
        })
    }

    /// Returns the digits, from 0 to 31.
    pub fn digits(&self) -> &[u8] {
        &self.digits[..usize::from(self.length)]
    }

    /// Computes the check character: `c = Σ αⁱ·vᵢ` for the digits `v₁ … vₙ`, with `α = x` in `GF(2)[x]/(x⁵+x²+1)`.
    ///
    /// `α` generates the 31 elements that are not zero. So every wrong digit changes the sum, and so does every swap of two
    /// neighbours: the check character finds both, also where it is one of the two itself.
    fn check(&self) -> u8 {
        self.digits().iter().rev().fold(0, |sum, digit| times_alpha(sum ^ digit))
    }
}

/// Multiplies an element of `GF(2)[x]/(x⁵+x²+1)` by `x`.
fn times_alpha(element: u8) -> u8 {
    let product = element << 1;
    if product & 0x20 == 0 { product } else { product ^ 0b10_0101 }
}

/// Returns the value of a digit, in either case. Crockford reads O as 0, and I and L as 1.
fn digit(character: u8) -> Option<u8> {
    let character = match character.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        character => character,
    };
    ALPHABET.iter().position(|known| *known == character).map(|position| position as u8)
}

/// The check character of a placeholder is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the check character of the placeholder is wrong")]
pub struct WrongCheck;

/// The name of a value in texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Placeholder {
    /// The kind of the value.
    pub kind: EntityKind,
    /// The code.
    pub code: PlaceholderCode,
}

impl Placeholder {
    /// Reads the characters of a code and their check character.
    fn parse(kind: EntityKind, characters: &[u8]) -> Result<Self, WrongCheck> {
        let digits: Option<Vec<u8>> = characters.iter().map(|character| digit(*character)).collect();
        let digits = digits.ok_or(WrongCheck)?;
        let (check, digits) = digits.split_last().ok_or(WrongCheck)?;
        let code = PlaceholderCode::from_digits(digits).ok_or(WrongCheck)?;
        if code.check() == *check { Ok(Placeholder { kind, code }) } else { Err(WrongCheck) }
    }

    /// Returns the placeholder as masker writes it.
    pub fn to_text(&self) -> String {
        let digits = self.code.digits().iter().chain(std::iter::once(&self.code.check())).copied().collect::<Vec<u8>>();
        let code: String = digits.iter().map(|digit| char::from(ALPHABET[usize::from(*digit)])).collect();
        format!("[{}_{code}]", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(text: &str) -> EntityKind {
        EntityKind::parse(text).unwrap()
    }

    fn code(digits: &[u8]) -> PlaceholderCode {
        PlaceholderCode::from_digits(digits).unwrap()
    }

    /// The digits of a code and its check character.
    fn checked(digits: &[u8]) -> Vec<u8> {
        [digits, &[code(digits).check()]].concat()
    }

    fn is_valid(digits: &[u8]) -> bool {
        let characters: Vec<u8> = digits.iter().map(|digit| ALPHABET[usize::from(*digit)]).collect();
        Placeholder::parse(kind("A"), &characters).is_ok()
    }

    #[test]
    fn alpha_generates_the_field() {
        let mut element = 1;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..31 {
            assert!(seen.insert(element));
            element = times_alpha(element);
        }
        assert_eq!((element, seen.len()), (1, 31));
    }

    /// Computed with Python: digits of the hash, and the sum of the formula.
    #[test]
    fn a_text_has_kind_code_and_check_character() {
        let hash = std::array::from_fn(|at| (at as u8).wrapping_mul(37).wrapping_add(11));
        let of = |chars| PlaceholderCode::of_hash(&hash, chars).map(|code| Placeholder { kind: kind("PHONE"), code });
        assert_eq!(of(7).unwrap().to_text(), PYTHON_7);
        assert_eq!(of(20).unwrap().to_text(), PYTHON_20);
        assert!(of(6).is_none() && of(21).is_none());
    }

    const PYTHON_7: &str = "[PHONE_1CR5AYMV]";
    const PYTHON_20: &str = "[PHONE_1CR5AYMZRKMGWCTRFPHC8]";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_wrong_character_and_every_swap_of_neighbours_is_found(
            digits in proptest::collection::vec(0..32u8, CODE_CHARS_MIN..=CODE_CHARS_MAX)
        ) {
            let right = checked(&digits);
            prop_assert!(is_valid(&right));
            for at in 0..right.len() {
                for wrong in (0..32).filter(|wrong| *wrong != right[at]) {
                    let mut changed = right.clone();
                    changed[at] = wrong;
                    prop_assert!(!is_valid(&changed), "{at}: {wrong}");
                }
                if at > 0 && right[at] != right[at - 1] {
                    let mut swapped = right.clone();
                    swapped.swap(at, at - 1);
                    prop_assert!(!is_valid(&swapped), "{at} swapped");
                }
            }
        }

        #[test]
        fn a_longer_code_begins_with_the_shorter_one(hash: [u8; 32], chars in CODE_CHARS_MIN..CODE_CHARS_MAX) {
            let [short, long] = [chars, chars + 1].map(|chars| PlaceholderCode::of_hash(&hash, chars).unwrap());
            prop_assert_eq!(&long.digits()[..chars], short.digits());
        }
    }
}
