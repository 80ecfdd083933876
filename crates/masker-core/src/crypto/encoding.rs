//! `enc`: how several byte strings become one, so that no two different lists of them become the same one.
//!
//! `enc(a, b, …)` is, for each argument in turn, its length as a big-endian `u32` followed by its bytes. It can be
//! read back from the front, so it is injective; it is what every MAC and every associated data of this crate is
//! computed over.

/// Bytes that say how long an argument is.
const LENGTH_BYTES: usize = 4;

/// Gives `enc(parts)` to `sink`, piece by piece, without putting it together anywhere.
///
/// Every argument is bounded by [`masker_types::limits`], far below the 4 GiB that a length can say.
pub(super) fn enc(parts: &[&[u8]], mut sink: impl FnMut(&[u8])) {
    for part in parts {
        sink(&(part.len() as u32).to_be_bytes());
        sink(part);
    }
}

/// `enc(parts)` put together in place, for a cipher that wants its associated data as one slice.
pub(super) struct Encoded<const BYTES_MAX: usize> {
    bytes: [u8; BYTES_MAX],
    len: usize,
}

/// The length, in bytes, of `enc` of so many arguments of together so many bytes.
pub(super) const fn encoded_bytes(arguments: usize, bytes: usize) -> usize {
    arguments * LENGTH_BYTES + bytes
}

impl<const BYTES_MAX: usize> Encoded<BYTES_MAX> {
    /// `enc(parts)`. Whoever names `BYTES_MAX` takes it from [`encoded_bytes`] of the arguments' bounds, so they fit.
    pub(super) fn new(parts: &[&[u8]]) -> Self {
        let mut encoded = Encoded { bytes: [0; BYTES_MAX], len: 0 };
        enc(parts, |piece| {
            let end = encoded.len + piece.len();
            encoded.bytes[encoded.len..end].copy_from_slice(piece);
            encoded.len = end;
        });
        encoded
    }

    /// The encoding.
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

    /// The inverse, which shows that `enc` is injective.
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
    fn the_bytes_are_lengths_and_arguments() {
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
        fn put_together_or_in_pieces_is_the_same(parts in vec(vec(any::<u8>(), 0..60), 0..5)) {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let together = Encoded::<512>::new(&slices);
            prop_assert_eq!(together.as_slice(), enc_to_vec(&parts));
        }
    }
}
