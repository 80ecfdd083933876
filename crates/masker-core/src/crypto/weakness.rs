//! What shows that 32 bytes were not drawn at random.

use std::fmt;

use masker_types::limits::KEY_BYTES;

/// Different bytes that a key has at least. Of random keys fewer than one in 2^60 has less.
const DISTINCT_MIN: usize = 16;

/// A sign that a key can be guessed. Each is found in fewer than one of 2^40 random keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weakness {
    /// Every byte is a printable character: a passphrase, or the hex digits of a shorter key.
    Text,
    /// Each byte is as far from the one before as that is from its own.
    Counting,
    /// A shorter text, again and again.
    Repeated,
    /// There are too few different bytes.
    Few,
}

impl fmt::Display for Weakness {
    /// Goes on from the name of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Weakness::Text => "is made of printable characters, so it is a passphrase or hex digits, and no random key",
            Weakness::Counting => "counts up or down, so it is a placeholder and no random key",
            Weakness::Repeated => "repeats a shorter text, so it is no random key",
            Weakness::Few => "has too few different bytes to be a random key",
        })
    }
}

/// What is weak about these bytes. How long it takes tells nothing but the answer.
pub(super) fn weakness_of(bytes: &[u8; KEY_BYTES]) -> Option<Weakness> {
    let counting = bytes.windows(3).all(|three| three[1].wrapping_sub(three[0]) == three[2].wrapping_sub(three[1]));
    let repeated = (1..=KEY_BYTES / 2).any(|period| bytes[period..] == bytes[..KEY_BYTES - period]);
    let mut seen = [false; 256];
    for byte in bytes {
        seen[usize::from(*byte)] = true;
    }
    let distinct = seen.iter().filter(|seen| **seen).count();
    if bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        Some(Weakness::Text)
    } else if counting {
        Some(Weakness::Counting)
    } else if repeated {
        Some(Weakness::Repeated)
    } else if distinct < DISTINCT_MIN {
        Some(Weakness::Few)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::ChaCha20Rng};

    use super::*;

    #[test]
    fn each_sign_is_seen() {
        let counting = |step: u8| std::array::from_fn(|place| 7u8.wrapping_add(step.wrapping_mul(place as u8)));
        let half: [u8; 16] = std::array::from_fn(|place| (place as u8).wrapping_mul(37) ^ 0x9C);
        let repeated: [u8; 32] = std::array::from_fn(|place| half[place % 16]);
        let few = std::array::from_fn(|place| [0x00, 0x80][(0x9E37_79B9_usize >> place) & 1]);
        for (bytes, weakness) in [
            (*b"correct horse battery staple !!!", Weakness::Text),
            (*b"00112233445566778899aabbccddeeff", Weakness::Text),
            (counting(1), Weakness::Counting),
            (counting(255), Weakness::Counting),
            (counting(37), Weakness::Counting),
            (repeated, Weakness::Repeated),
            (few, Weakness::Few),
        ] {
            assert_eq!(weakness_of(&bytes), Some(weakness));
        }
    }

    #[test]
    fn random_keys_have_none() {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        for _ in 0..10_000 {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            assert_eq!(weakness_of(&bytes), None);
        }
    }

    #[test]
    fn one_byte_that_differs_changes_nothing() {
        let mut bytes = *b"correct horse battery staple !!!";
        bytes[31] = 0x90;
        // No longer text, and still with few different bytes.
        assert_eq!(weakness_of(&bytes), Some(Weakness::Few));
    }
}
