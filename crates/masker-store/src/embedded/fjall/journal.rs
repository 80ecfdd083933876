//! Finds the end of a journal before fjall looks for it.
//!
//! A power cut can tear the last batch in the middle and still leave its end in place. fjall cuts off a batch without an
//! end, but takes one with an end and a wrong checksum for damage, because it does not know what was acknowledged. Here
//! the witness knows. So the newest journal is cut after its last complete batch, and the manifest then shows whether an
//! acknowledged batch is missing.
//!
//! The format is that of fjall 3 (its `journal::entry`), integers little-endian. A batch is a start: `01`, number of items
//! (4), number of the batch (8); items: `02`, kind (1), compression (1), keyspace (8), length of the key (2), of the value
//! (4), of the stored value (4), key, value; and an end: `03`, XXH3 of all items (8), `FJL` and `03`. Nothing is
//! compressed here.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

use masker_types::limits::ROW_BYTES_MAX;

use crate::RowKey;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const MAGIC: &[u8; 4] = b"FJL\x03";

/// Cuts the newest journal in a folder after its last complete batch, durably.
pub(super) fn cut(folder: &Path) -> io::Result<()> {
    let Some(newest) = newest(folder)? else { return Ok(()) };
    let file = OpenOptions::new().read(true).write(true).open(newest)?;
    let length = end_of_complete_batches(&mut BufReader::with_capacity(64 * 1024, &file))?;
    if length < file.metadata()?.len() {
        file.set_len(length)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Returns the journal with the highest number, which is the one that is written to.
fn newest(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        newest = newest.max(number.map(|number| (number, path)));
    }
    Ok(newest.map(|(_, path)| path))
}

fn end_of_complete_batches(journal: &mut BufReader<&File>) -> io::Result<u64> {
    let mut end = 0;
    loop {
        match batch_length(journal) {
            Ok(Some(length)) => end += length,
            Ok(None) => return Ok(end),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(end),
            Err(error) => return Err(error),
        }
    }
}

/// Returns the length of the next batch, or `None` if it is incomplete.
fn batch_length(journal: &mut impl Read) -> io::Result<Option<u64>> {
    let [START, count @ .., _, _, _, _, _, _, _, _] = take::<13>(journal)? else { return Ok(None) };
    let (mut hash, mut length) = (Xxh3::new(), 13);
    let mut content = Vec::new();
    for _ in 0..u32::from_le_bytes(count) {
        let head = take::<21>(journal)?;
        let [ITEM, _, 0, _, _, _, _, _, _, _, _, k0, k1, v0, v1, v2, v3, stored @ ..] = head else { return Ok(None) };
        let (key, value) = (u16::from_le_bytes([k0, k1]), u32::from_le_bytes([v0, v1, v2, v3]));
        if value != u32::from_le_bytes(stored)
            || value as usize > ROW_BYTES_MAX
            || usize::from(key) > RowKey::BYTES_MAX + 1
        {
            return Ok(None);
        }
        content.resize(usize::from(key) + value as usize, 0);
        journal.read_exact(&mut content)?;
        hash.update(&head);
        hash.update(&content);
        length += (head.len() + content.len()) as u64;
    }
    let [END, sum @ .., m0, m1, m2, m3] = take::<13>(journal)? else { return Ok(None) };
    let complete = u64::from_le_bytes(sum) == hash.digest() && [m0, m1, m2, m3] == *MAGIC;
    Ok(complete.then_some(length + 13))
}

fn take<const N: usize>(journal: &mut impl Read) -> io::Result<[u8; N]> {
    let mut taken = [0; N];
    journal.read_exact(&mut taken)?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        RowBatch, RowChange, Store,
        embedded::{EmbeddedStore, StoreOptions},
    };

    #[test]
    fn keeps_complete_batches_and_cuts_off_a_torn_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault");
        let options = StoreOptions::default();
        let store = EmbeddedStore::open(&path, options).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let journal = path.join("fjall/0.jnl");
        let end = || end_of_complete_batches(&mut BufReader::new(&File::open(&journal).unwrap())).unwrap();
        let mut ends = vec![end()];
        runtime.block_on(async {
            for number in 0..5 {
                let put = |row: usize| RowChange::Put(RowKey::new([b'r', number]).unwrap(), vec![number; row]);
                let remove = RowChange::Remove(RowKey::new([b's', number]).unwrap());
                let batch = RowBatch { preconditions: Vec::new(), changes: vec![put(700), remove] };
                store.apply(batch).await.unwrap();
                ends.push(end());
            }
            store.close().await.unwrap();
        });
        assert!(ends[0] > 0 && ends.windows(2).all(|pair| pair[0] + 700 < pair[1]), "{ends:?}");
        let (before, last) = (ends[4], ends[5]);
        let mut whole = fs::read(&journal).unwrap();
        // Most of the journal is empty, and writing it takes long.
        whole.truncate(last as usize + 4_096);
        let cut_after = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut torn = whole.clone();
            change(&mut torn);
            fs::write(&journal, torn).unwrap();
            cut(&path.join("fjall")).unwrap();
            fs::metadata(&journal).unwrap().len()
        };
        assert_eq!(cut_after(&|_| ()), last);
        for at in before..last {
            // No checksum covers the number of a batch. The manifest in the batch has its own number.
            if !(before + 5..before + 13).contains(&at) {
                assert_eq!(cut_after(&|torn| torn[at as usize] ^= 0x10), before, "byte {at}");
            }
            assert_eq!(cut_after(&|torn| torn.truncate(at as usize)), before, "cut to {at}");
        }
    }
}
