//! The ids of vault tokens, and the indexes under which the vault finds them again.

use std::fmt;

use rand::CryptoRng;

/// The half of a vault token that spellings of one form share: 10 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatchPart([u8; MatchPart::BYTES]);

impl MatchPart {
    /// Length of a match part, in bytes: 80 bits.
    pub const BYTES: usize = 10;

    /// Creates a match part from its bytes.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        MatchPart(bytes)
    }

    /// Draws a match part.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; Self::BYTES];
        rng.fill_bytes(&mut bytes);
        MatchPart(bytes)
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Debug for MatchPart {
    /// Hides the bytes, because they are half of a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MatchPart(…)")
    }
}

/// The id of a vault token, under which the vault stores its record: a match part, then the spelling's own part. It is as
/// secret as the token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; TokenId::BYTES]);

impl TokenId {
    /// Length of an id, in bytes: 160 bits.
    pub const BYTES: usize = 20;

    /// Creates an id from its bytes.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        TokenId(bytes)
    }

    /// Draws the id of a new spelling. Nothing is derived from the value or from a key, so neither can be tested against
    /// a token.
    pub fn random(match_part: MatchPart, rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; Self::BYTES];
        let (matching, spelling) = bytes.split_at_mut(MatchPart::BYTES);
        matching.copy_from_slice(match_part.as_bytes());
        rng.fill_bytes(spelling);
        TokenId(bytes)
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Returns the half that spellings of one form share.
    pub fn match_part(&self) -> MatchPart {
        let mut bytes = [0; MatchPart::BYTES];
        bytes.copy_from_slice(&self.0[..MatchPart::BYTES]);
        MatchPart(bytes)
    }
}

impl fmt::Debug for TokenId {
    /// Hides the bytes, because an id is a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenId(…)")
    }
}

/// The name of an index row: a PRF of a value or of a form, under one key generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index([u8; Index::BYTES]);

impl Index {
    /// Length of an index, in bytes: 160 bits.
    pub const BYTES: usize = 20;

    /// Creates an index from its bytes.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Index(bytes)
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Debug for Index {
    /// Hides the bytes, which tell equal values apart from others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Index(…)")
    }
}

/// Which of the two indexes a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexName {
    /// From a value to the ids of its tokens.
    Value,
    /// From a form to the match parts of its tokens.
    Form,
}

impl IndexName {
    /// Returns the name in the inputs of the PRF and of tags.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            IndexName::Value => "value",
            IndexName::Form => "form",
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn an_id_begins_with_its_match_part() {
        let mut rng = StdRng::seed_from_u64(1);
        let matching = MatchPart::random(&mut rng);
        let (one, other) = (TokenId::random(matching, &mut rng), TokenId::random(matching, &mut rng));
        assert_eq!((one.match_part(), other.match_part()), (matching, matching));
        assert_ne!(one, other);
        assert_ne!(MatchPart::random(&mut rng), matching);
    }

    #[test]
    fn debug_hides_the_bytes() {
        let shown = (MatchPart([7; 10]), TokenId([7; 20]), Index([7; 20]));
        assert_eq!(format!("{shown:?}"), "(MatchPart(…), TokenId(…), Index(…))");
    }
}
