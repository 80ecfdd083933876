//! `enc`, an injective encoding of a list of byte strings as one.
//!
//! `enc(a, b, …)` is, for each argument in turn, its length as a big-endian `u32`, followed by its bytes. It can be
//! decoded from the front, so it is injective. All MACs and associated data of this crate use it.

/// Bytes of the length of an argument.
const LENGTH_BYTES: usize = 4;

/// Passes `enc(parts)` to `sink`, piece by piece and without a buffer.
///
/// [`masker_types::limits`] bounds every argument far below the 4 GiB that a length can express.
pub(super) fn enc(parts: &[&[u8]], mut sink: impl FnMut(&[u8])) {
    for part in parts {
        sink(&(part.len() as u32).to_be_bytes());
        sink(part);
    }
}

/// Returns `enc(parts)`.
pub(super) fn enc_to_vec(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    enc(parts, |piece| bytes.extend_from_slice(piece));
    bytes
}

/// `enc(parts)` in an inline buffer, for a cipher that takes its associated data as one slice.
pub(super) struct Encoded<const BYTES_MAX: usize> {
    bytes: [u8; BYTES_MAX],
    len: usize,
}

/// Returns the length of `enc` in bytes, for a number of arguments and their total length.
pub(super) const fn encoded_bytes(arguments: usize, bytes: usize) -> usize {
    arguments * LENGTH_BYTES + bytes
}

impl<const BYTES_MAX: usize> Encoded<BYTES_MAX> {
    /// Computes `enc(parts)`. The caller computes `BYTES_MAX` with [`encoded_bytes`] from the bounds of the arguments.
    pub(super) fn new(parts: &[&[u8]]) -> Self {
        let mut encoded = Encoded { bytes: [0; BYTES_MAX], len: 0 };
        enc(parts, |piece| {
            let end = encoded.len + piece.len();
            encoded.bytes[encoded.len..end].copy_from_slice(piece);
            encoded.len = end;
        });
        encoded
    }

    /// Returns the encoding.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn enc_to_vec(parts: &[Vec<u8>]) -> Vec<u8> {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let mut all = Vec::new();
        enc(&parts, |piece| all.extend_from_slice(piece));
        all
    }

    /// Decodes `enc`. That this is possible shows that `enc` is injective.
    fn dec(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
            let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            parts.push(part.to_vec());
            bytes = rest;
        }
        Some(parts)
    }

    #[test]
    fn encodes_lengths_and_arguments() {
        assert_eq!(enc_to_vec(&[]), b"");
        assert_eq!(enc_to_vec(&[b"".to_vec()]), b"\0\0\0\0");
        assert_eq!(enc_to_vec(&[b"ab".to_vec(), b"c".to_vec()]), b"\0\0\0\x02ab\0\0\0\x01c");
        assert_ne!(enc_to_vec(&[b"ab".to_vec(), b"c".to_vec()]), enc_to_vec(&[b"a".to_vec(), b"bc".to_vec()]));
    }

    proptest! {
        #[test]
        fn enc_is_injective(parts in vec(vec(any::<u8>(), 0..300), 0..6), others in vec(vec(0u8..3, 0..4), 0..4)) {
            let encoded = enc_to_vec(&parts);
            prop_assert_eq!(dec(&encoded), Some(parts.clone()));
            prop_assert_eq!(enc_to_vec(&others) == encoded, others == parts);
        }

        #[test]
        fn buffered_and_streamed_encodings_are_equal(parts in vec(vec(any::<u8>(), 0..60), 0..5)) {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let buffered = Encoded::<512>::new(&slices);
            prop_assert_eq!(buffered.as_slice(), enc_to_vec(&parts));
        }
    }
}
