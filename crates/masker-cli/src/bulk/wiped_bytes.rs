//! Memory for personal data.

use std::ops::{Deref, DerefMut};

use zeroize::optimization_barrier;

/// Bytes that are wiped when they are dropped: all at once, for `Zeroizing` goes byte by byte, which is a part of the
/// time that a file takes. What growing has left behind is not wiped.
#[derive(Default)]
pub(super) struct WipedBytes(Vec<u8>);

impl WipedBytes {
    fn wipe(&mut self) {
        self.0.fill(0);
        // Else nobody would look at the zeros, and they need not be written.
        optimization_barrier(self.0.as_slice());
    }
}

impl From<Vec<u8>> for WipedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        WipedBytes(bytes)
    }
}

impl AsRef<[u8]> for WipedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for WipedBytes {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for WipedBytes {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for WipedBytes {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_what_is_wiped() {
        let mut bytes = WipedBytes::from(b"415-555-2671".to_vec());
        bytes.wipe();
        assert_eq!(*bytes, [0; 12]);
    }
}
