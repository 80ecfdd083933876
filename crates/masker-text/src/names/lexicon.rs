//! A compact set of known words: names with their frequency, common words, places.

/// What lists say about a word, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry(pub u8);

impl Entry {
    /// A name of other countries than the United States that people have as a first name.
    pub const FOREIGN_FIRST: u8 = 1 << 4;
    /// A last name of other countries.
    pub const FOREIGN_LAST: u8 = 1 << 5;
    /// A common English word.
    pub const COMMON: u8 = 1 << 6;
    /// A city, state or country.
    pub const PLACE: u8 = 1 << 7;

    /// Frequency as a first name in the United States: 0 (none) to 3.
    pub fn first(self) -> u8 {
        self.0 & 3
    }

    /// Frequency as a last name in the United States: 0 (none) to 3.
    pub fn last(self) -> u8 {
        self.0 >> 2 & 3
    }

    /// Whether the word is in a list of names.
    pub fn is_name(self) -> bool {
        self.0 & 0x3f != 0
    }

    /// Whether the word is in a list of first names.
    pub fn is_first(self) -> bool {
        self.0 & (3 | Self::FOREIGN_FIRST) != 0
    }

    /// Whether the word is a common English word.
    pub fn is_common(self) -> bool {
        self.0 & Self::COMMON != 0
    }

    /// Whether the word is a place.
    pub fn is_place(self) -> bool {
        self.0 & Self::PLACE != 0
    }
}

/// Words by the upper 32 bits of their hash: the upper half of these selects a bucket, the lower half an entry in it.
pub struct Lexicon {
    /// The index of each bucket's first entry.
    starts: Vec<u32>,
    keys: Vec<u16>,
    entries: Vec<u8>,
}

const BUCKETS: usize = 1 << 16;

impl Lexicon {
    /// Builds a lexicon of hashes of words. Entries of words with equal hashes are combined.
    pub fn build(words: impl IntoIterator<Item = (u64, u8)>) -> Self {
        let mut rows: Vec<(u32, u8)> = words.into_iter().map(|(hash, entry)| ((hash >> 32) as u32, entry)).collect();
        rows.sort_unstable();
        rows.dedup_by(|next, row| {
            let same = next.0 == row.0;
            if same {
                row.1 = combine(row.1, next.1);
            }
            same
        });
        let mut lexicon = Self { starts: vec![0; BUCKETS + 1], keys: Vec::new(), entries: Vec::new() };
        for (key, entry) in rows {
            lexicon.starts[(key >> 16) as usize + 1] += 1;
            lexicon.keys.push(key as u16);
            lexicon.entries.push(entry);
        }
        for bucket in 0..BUCKETS {
            lexicon.starts[bucket + 1] += lexicon.starts[bucket];
        }
        lexicon
    }

    /// Writes the lexicon: the number of entries of each bucket in one byte, all keys, all entries.
    ///
    /// # Panics
    ///
    /// Panics if a bucket has more than 255 entries, which means that the hash is broken.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.keys.len() as u32).to_le_bytes());
        for bucket in self.starts.windows(2) {
            out.push(u8::try_from(bucket[1] - bucket[0]).expect("buckets are small"));
        }
        for key in &self.keys {
            out.extend_from_slice(&key.to_le_bytes());
        }
        out.extend_from_slice(&self.entries);
    }

    /// Reads what [`Lexicon::write`] wrote, from the start of `bytes`. Returns the lexicon and the rest.
    pub fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (count, bytes) = bytes.split_first_chunk::<4>()?;
        let count = u32::from_le_bytes(*count) as usize;
        let (sizes, bytes) = bytes.split_at_checked(BUCKETS)?;
        let (keys, bytes) = bytes.split_at_checked(count * 2)?;
        let (entries, bytes) = bytes.split_at_checked(count)?;
        let mut starts = Vec::with_capacity(BUCKETS + 1);
        let mut start = 0;
        starts.push(0);
        for &size in sizes {
            start += u32::from(size);
            starts.push(start);
        }
        let keys = keys.as_chunks::<2>().0.iter().map(|key| u16::from_le_bytes(*key)).collect();
        (start as usize == count).then_some((Self { starts, keys, entries: entries.to_vec() }, bytes))
    }

    /// Returns what is known about a word by its hash; zero bits if nothing.
    #[inline]
    pub fn get(&self, hash: u64) -> Entry {
        let (bucket, key) = ((hash >> 48) as usize, (hash >> 32) as u16);
        let range = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
        let found = self.keys[range.clone()].iter().position(|&other| other == key);
        Entry(found.map_or(0, |index| self.entries[range.start + index]))
    }
}

/// Combines two entries: the higher frequencies, and all flags.
fn combine(a: u8, b: u8) -> u8 {
    (a & 3).max(b & 3) | (a & 12).max(b & 12) | (a | b) & 0xf0
}
