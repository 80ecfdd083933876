//! ISO/IEC 7816-4 padding: `0x80`, then zeros up to a multiple of 16 bytes. It hides the length within a block of 16
//! bytes. It is always added, so that it can always be removed.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Padded lengths are multiples of this many bytes.
pub(super) const BLOCK_BYTES: usize = 16;
const MARK: u8 = 0x80;

/// Returns the length of `length` bytes with their padding: 1 to 16 bytes more.
pub(super) const fn padded_bytes(length: usize) -> usize {
    (length / BLOCK_BYTES + 1) * BLOCK_BYTES
}

/// Appends the padding for the last `length` bytes of `buffer`.
pub(super) fn pad(buffer: &mut Vec<u8>, length: usize) {
    let end = buffer.len() + padded_bytes(length) - length;
    buffer.push(MARK);
    buffer.resize(end, 0);
}

/// Returns the length without padding. Returns `None` if [`pad`] did not produce the bytes: if there are no whole
/// blocks, there is no mark in the last block, or the bytes after it are not zeros.
///
/// It reads the whole last block in constant time, so that only the result reveals the position of the mark.
pub(super) fn unpadded_bytes(padded: &[u8]) -> Option<usize> {
    if !padded.len().is_multiple_of(BLOCK_BYTES) {
        return None;
    }
    let last = padded.last_chunk::<BLOCK_BYTES>()?;
    let mut marked = Choice::from(0);
    let mut valid = Choice::from(1);
    let mut padding = 0u8;
    for byte in last.iter().rev() {
        let (is_mark, is_zero) = (byte.ct_eq(&MARK), byte.ct_eq(&0));
        // From the end up to the mark, all bytes must be zeros. Bytes before the mark are ignored.
        valid &= marked | is_mark | is_zero;
        padding = u8::conditional_select(&(padding + 1), &padding, marked);
        marked |= is_mark;
    }
    bool::from(valid & marked).then(|| padded.len() - usize::from(padding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpadding_restores_every_length() {
        for length in 0..=64 {
            // The end of such a value looks like padding.
            for byte in [0x00, 0x80, 0x01, 0xFF] {
                let mut buffer = vec![byte; length];
                pad(&mut buffer, length);
                assert_eq!(buffer.len(), padded_bytes(length));
                assert!(buffer.len() > length && buffer.len() - length <= BLOCK_BYTES);
                assert_eq!(unpadded_bytes(&buffer), Some(length), "{length} bytes of {byte:#04x}");
            }
        }
    }

    #[test]
    fn padding_follows_earlier_bytes() {
        let mut buffer = b"headervalue".to_vec();
        pad(&mut buffer, 5);
        assert_eq!(buffer, b"headervalue\x80\0\0\0\0\0\0\0\0\0\0");
    }

    /// Compares the result of every change of one byte in the last block with a simple implementation of the rule.
    #[test]
    fn rejects_everything_else() {
        for length in 0..=32 {
            let mut padded = vec![0x41; length];
            pad(&mut padded, length);
            for at in padded.len() - BLOCK_BYTES..padded.len() {
                for byte in 0..=u8::MAX {
                    let mut changed = padded.clone();
                    changed[at] = byte;
                    let zeros = changed.iter().rev().take_while(|b| **b == 0).count();
                    let mark = changed.len().checked_sub(zeros + 1);
                    let expected = mark.filter(|at| changed[*at] == MARK && zeros < BLOCK_BYTES);
                    assert_eq!(unpadded_bytes(&changed), expected, "{changed:02x?}");
                }
            }
        }
    }

    #[test]
    fn rejects_partial_blocks_and_a_mark_before_the_last_block() {
        assert_eq!(unpadded_bytes(b""), None);
        assert_eq!(unpadded_bytes(&[0; 16]), None);
        assert_eq!(unpadded_bytes(b"\x80"), None);
        assert_eq!(unpadded_bytes(&[&[0x80], &[0u8; 14][..]].concat()), None, "15 bytes");
        assert_eq!(unpadded_bytes(&[&[0x80], &[0u8; 16][..]].concat()), None, "17 bytes");
        assert_eq!(unpadded_bytes(&[&[0x80], &[0u8; 31][..]].concat()), None, "a whole block of zeros after the mark");
        assert_eq!(unpadded_bytes(&[&[0x80], &[0u8; 15][..]].concat()), Some(0));
    }
}
