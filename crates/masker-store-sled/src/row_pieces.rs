//! The layout of rows in sled: complete under one key, or in pieces under several.
//!
//! sled moves a leaf of more than 128 KiB to a file under `blobs/`, which it never makes durable. A leaf has 16 rows and a
//! few more, so rows are cut into pieces small enough that no leaf comes near. The first piece has the row's key; the
//! others are in a part of the key space that scans do not read.
//!
//! | key | value |
//! |---|---|
//! | `00` | the manifest (see `embedded::manifest`) |
//! | `01` key | `00` row, or `01` sequence (8) length (4) first piece |
//! | `02` length of the key (1) key number of the piece (1) | sequence (8) piece |
//!
//! The sequence is that of the batch that wrote the row. It is in every piece, so that a reader can tell pieces of two
//! batches apart.

use masker_store::{Row, RowKey, embedded::EngineError};
use masker_types::limits::ROW_BYTES_MAX;

/// The key of the manifest.
pub(super) const MANIFEST_KEY: [u8; 1] = [0];
const HEAD: u8 = 1;
const PIECE: u8 = 2;

/// Most bytes of a row under one key: the 17 rows of a leaf then have less than half of the size that sled moves out.
const PIECE_BYTES_MAX: usize = 3 * 1024;

const _: () = assert!(ROW_BYTES_MAX.div_ceil(PIECE_BYTES_MAX) <= u8::MAX as usize);
const _: () = assert!(17 * (PIECE_BYTES_MAX + 256) <= 64 * 1024);

/// Returns the key of a row's head.
pub(super) fn head_key(key: &RowKey) -> Vec<u8> {
    [&[HEAD], key.as_bytes()].concat()
}

/// Returns the key of a row's piece after the first, counted from 1.
pub(super) fn piece_key(key: &RowKey, number: u8) -> Vec<u8> {
    [&[PIECE, key.as_bytes().len() as u8], key.as_bytes(), &[number]].concat()
}

/// Returns the prefix of the keys of all heads, or of those of one space.
pub(super) fn head_prefix(space: Option<u8>) -> Vec<u8> {
    [HEAD].into_iter().chain(space).collect()
}

/// Returns the key of the row whose head has the key `physical`.
pub(super) fn logical_key(physical: &[u8]) -> Result<RowKey, EngineError> {
    match physical.split_first() {
        Some((&HEAD, rest)) => RowKey::new(rest).ok_or(EngineError::Damaged("a key has an invalid length")),
        _ => Err(EngineError::Damaged("the key of a row is invalid")),
    }
}

/// Returns how many pieces a row of this length has after the first.
pub(super) fn extra_pieces(row_length: usize) -> u8 {
    // The bound asserted above keeps this under 256.
    row_length.div_ceil(PIECE_BYTES_MAX).saturating_sub(1) as u8
}

/// Cuts a row: returns the value of its head, and the values of its further pieces.
pub(super) fn cut(row: &[u8], sequence: u64) -> (Vec<u8>, impl Iterator<Item = Vec<u8>>) {
    let mut pieces = row.chunks(PIECE_BYTES_MAX);
    let first = pieces.next().unwrap_or_default();
    let head = if first.len() == row.len() {
        [&[0], row].concat()
    } else {
        [&[1][..], &sequence.to_be_bytes(), &(row.len() as u32).to_be_bytes(), first].concat()
    };
    (head, pieces.map(move |piece| [&sequence.to_be_bytes(), piece].concat()))
}

/// The content of a head.
#[derive(PartialEq, Eq)]
pub(super) enum RowHead<'a> {
    /// The complete row.
    Whole(&'a [u8]),
    /// The row continues in further pieces of the same sequence.
    Cut { sequence: u64, length: usize, first: &'a [u8] },
}

/// Decodes a head.
pub(super) fn head(value: &[u8]) -> Result<RowHead<'_>, EngineError> {
    const DAMAGED: EngineError = EngineError::Damaged("the head of a row is invalid");
    let (&form, rest) = value.split_first().ok_or(DAMAGED)?;
    match form {
        0 if rest.len() <= PIECE_BYTES_MAX => Ok(RowHead::Whole(rest)),
        1 => {
            let (sequence, rest) = rest.split_first_chunk().ok_or(DAMAGED)?;
            let (length, first) = rest.split_first_chunk().ok_or(DAMAGED)?;
            let length = u32::from_be_bytes(*length) as usize;
            if first.len() != PIECE_BYTES_MAX || !(PIECE_BYTES_MAX + 1..=ROW_BYTES_MAX).contains(&length) {
                return Err(DAMAGED);
            }
            Ok(RowHead::Cut { sequence: u64::from_be_bytes(*sequence), length, first })
        }
        _ => Err(DAMAGED),
    }
}

/// Joins the pieces of a row. Returns `None` if a piece is missing or of another sequence: the row was changed meanwhile, or
/// is damaged.
pub(super) fn join<E>(
    (sequence, length, first): (u64, usize, &[u8]),
    mut piece: impl FnMut(u8) -> Result<Option<::sled::IVec>, E>,
) -> Result<Option<Row>, E> {
    let mut row = Row::with_capacity(length);
    row.extend_from_slice(first);
    for number in 1..=extra_pieces(length) {
        match piece(number)?.as_deref().and_then(<[u8]>::split_first_chunk) {
            Some((written, bytes)) if u64::from_be_bytes(*written) == sequence => row.extend_from_slice(bytes),
            _ => return Ok(None),
        }
    }
    Ok((row.len() == length).then_some(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_and_join(row: &[u8]) -> Option<Row> {
        let (head_value, pieces) = cut(row, 7);
        let pieces: Vec<_> = pieces.collect();
        assert_eq!(pieces.len(), usize::from(extra_pieces(row.len())));
        assert!(head_value.len() <= PIECE_BYTES_MAX + 13);
        match head(&head_value).unwrap() {
            RowHead::Whole(whole) => Some(whole.to_vec()),
            RowHead::Cut { sequence, length, first } => join((sequence, length, first), |number| {
                Ok::<_, ()>(pieces.get(usize::from(number) - 1).map(|piece| ::sled::IVec::from(piece.as_slice())))
            })
            .unwrap(),
        }
    }

    #[test]
    fn joins_rows_of_every_length_around_the_cuts() {
        for around in [0, 1, PIECE_BYTES_MAX, 2 * PIECE_BYTES_MAX, 3 * PIECE_BYTES_MAX, ROW_BYTES_MAX] {
            for length in around.saturating_sub(2)..=(around + 2).min(ROW_BYTES_MAX) {
                let row: Row = (0..length).map(|i| i as u8).collect();
                assert_eq!(cut_and_join(&row).as_deref(), Some(row.as_slice()), "{length} bytes");
            }
        }
    }

    #[test]
    fn does_not_join_pieces_of_another_batch() {
        let row = vec![1; ROW_BYTES_MAX];
        let (head_value, _) = cut(&row, 7);
        let others: Vec<_> = cut(&row, 8).1.collect();
        let RowHead::Cut { sequence, length, first } = head(&head_value).unwrap() else { panic!("the row is not cut") };
        let joined = join((sequence, length, first), |number| {
            Ok::<_, ()>(others.get(usize::from(number) - 1).map(|piece| ::sled::IVec::from(piece.as_slice())))
        });
        assert_eq!(joined, Ok(None));
        assert_eq!(join((sequence, length, first), |_| Ok::<_, ()>(None)), Ok(None));
    }

    #[test]
    fn rejects_invalid_heads() {
        for value in [&[][..], &[2], &[1], &[1; 12], &[0; PIECE_BYTES_MAX + 2]] {
            assert!(matches!(head(value), Err(EngineError::Damaged(_))), "{} bytes", value.len());
        }
        assert!(logical_key(&[]).is_err() && logical_key(&[HEAD]).is_err() && logical_key(b"\x02x").is_err());
    }

    #[test]
    fn heads_have_the_order_of_their_keys_and_pieces_follow() {
        let keys: Vec<_> = [&b"a"[..], b"a\0", b"a\x01", b"aa", b"b"].map(|key| RowKey::new(key).unwrap()).into();
        assert!(keys.windows(2).all(|pair| head_key(&pair[0]) < head_key(&pair[1])));
        for key in &keys {
            assert!(piece_key(key, 1) > head_key(&keys[4]));
            assert!(keys.iter().all(|other| other == key || piece_key(other, 1) != piece_key(key, 1)));
        }
    }
}
