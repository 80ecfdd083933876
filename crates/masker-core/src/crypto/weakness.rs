//! Signs that the bytes of a key were not generated at random.

use std::fmt;

use masker_types::limits::KEY_BYTES;

/// Fewest distinct bytes of a key. Fewer than one in 2^60 random keys has less.
const DISTINCT_MIN: usize = 16;

/// A sign that a key can be guessed. Each occurs in fewer than one of 2^40 random keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weakness {
    /// Every byte is a printable character: a passphrase, or the hex digits of a shorter key.
    Text,
    /// All neighbouring bytes have the same difference.
    Counting,
    /// A shorter sequence is repeated.
    Repeated,
    /// There are too few distinct bytes.
    Few,
}

impl fmt::Display for Weakness {
    /// Continues a sentence that begins with the name of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Weakness::Text => "is made of printable characters, so it is a passphrase or hex digits, not a random key",
            Weakness::Counting => "counts up or down, so it is a placeholder, not a random key",
            Weakness::Repeated => "repeats a shorter sequence, so it is not a random key",
            Weakness::Few => "has too few distinct bytes to be a random key",
        })
    }
}

/// Returns a weakness of the bytes. The time depends only on the result.
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
    fn finds_each_weakness() {
        let counting = |step: u8| std::array::from_fn(|i| 7u8.wrapping_add(step.wrapping_mul(i as u8)));
        let half: [u8; 16] = std::array::from_fn(|i| (i as u8).wrapping_mul(37) ^ 0x9C);
        let repeated: [u8; 32] = std::array::from_fn(|i| half[i % 16]);
        let few = std::array::from_fn(|i| [0x00, 0x80][(0x9E37_79B9_usize >> i) & 1]);
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
    fn random_keys_have_no_weakness() {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        for _ in 0..10_000 {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            assert_eq!(weakness_of(&bytes), None);
        }
    }

    #[test]
    fn one_different_byte_does_not_hide_a_weakness() {
        let mut bytes = *b"correct horse battery staple !!!";
        bytes[31] = 0x90;
        // It is no longer text, but still has few distinct bytes.
        assert_eq!(weakness_of(&bytes), Some(Weakness::Few));
    }
}
