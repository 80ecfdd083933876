//! Bytes that are wiped on drop.

use std::ops::{Deref, DerefMut};

use zeroize::optimization_barrier;

/// Bytes that are wiped on drop, with one fill: `Zeroizing` wipes byte by byte, which takes a measurable part of a file's
/// time. Buffers that were abandoned when the bytes grew are not wiped.
#[derive(Default)]
pub(super) struct WipedBytes(Vec<u8>);

impl WipedBytes {
    fn wipe(&mut self) {
        self.0.fill(0);
        // Otherwise the compiler could remove the fill, because the zeros are never read.
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
    fn wiping_clears_all_bytes() {
        let mut bytes = WipedBytes::from(b"415-555-2671".to_vec());
        bytes.wipe();
        assert_eq!(*bytes, [0; 12]);
    }
}
