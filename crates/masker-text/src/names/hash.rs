//! Hashes of words and features. Trained weights depend on them: a change needs a new training.

/// A hash of a word's characters.
#[derive(Clone, Copy)]
pub struct WordHash(u64);

impl WordHash {
    /// Begins a word.
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Appends a character.
    pub fn push(&mut self, char: char) {
        self.0 = (self.0 ^ u64::from(u32::from(char))).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// Returns a short hash of the characters so far.
    pub fn short(self) -> u32 {
        (self.finish() >> 32) as u32
    }

    /// Returns the hash of the characters so far.
    pub fn finish(self) -> u64 {
        mix(self.0, 1, 0)
    }
}

impl Default for WordHash {
    fn default() -> Self {
        Self::new()
    }
}

/// Mixes three numbers. The high bits of the result depend on all bits.
#[inline]
pub fn mix(a: u64, b: u64, c: u64) -> u64 {
    let x = a
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(b.wrapping_mul(0xc2b2_ae3d_27d4_eb4f))
        .wrapping_add(c.wrapping_mul(0x1656_67b1_9e37_79f9));
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
