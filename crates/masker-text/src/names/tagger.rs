//! A linear-chain tagger: quantized weights of hashed features, and the best sequence of labels.

use super::features::{FEATURES, Sentence};

/// Number of labels.
pub const LABELS: usize = 7;
/// Number of bytes of a row: the weights of the labels, and a check byte.
pub const WIDTH: usize = 8;
/// Number of rows of a bucket.
pub const BUCKET_ROWS: usize = 4;
/// Number of buckets.
pub const BUCKETS: usize = 40_000;

/// What a token is part of. `B` begins a name, `I` continues it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the comment above explains them")]
pub enum Label {
    O = 0,
    BPerson = 1,
    IPerson = 2,
    BPlace = 3,
    IPlace = 4,
    BOrganization = 5,
    IOrganization = 6,
}

/// All labels, by their number.
pub const ALL_LABELS: [Label; LABELS] = [
    Label::O,
    Label::BPerson,
    Label::IPerson,
    Label::BPlace,
    Label::IPlace,
    Label::BOrganization,
    Label::IOrganization,
];

/// Added to the score of a person's name, in units before quantization: a name that is missed costs more than a word that is
/// taken for one, and the confidence of such names is low.
const PERSON_BIAS: f32 = 6.0;

/// The scores of a token that is surely no part of a name.
const OUTSIDE: [i32; WIDTH] = [0, -20_000, -20_000, -20_000, -20_000, -20_000, -20_000, 0];

/// Whether a label can follow another one. A name does not continue on the next line.
pub fn can_follow(before: usize, label: usize, line: bool) -> bool {
    let continues = label != 0 && label.is_multiple_of(2);
    !continues || !line && (before == label || before + 1 == label)
}

/// The rows of a bucket, within one cache line. A row is a number: the lowest byte is the first weight plus 128, so that sums of
/// several weights need no signs; the highest byte is the check byte.
#[derive(Clone, Copy)]
#[repr(align(32))]
pub struct Bucket([u64; BUCKET_ROWS]);

/// What is added to each weight of a row.
const BIASES: u64 = 0x0080_8080_8080_8080;
/// Every second byte.
const BYTES: u64 = 0x00ff_00ff_00ff_00ff;

impl Bucket {
    /// Creates a bucket.
    pub fn new(rows: [Row; BUCKET_ROWS]) -> Self {
        Self(rows.map(|row| u64::from_le_bytes(row.map(|weight| weight as u8)) ^ BIASES))
    }

    fn rows(&self) -> [Row; BUCKET_ROWS] {
        self.0.map(|row| (row ^ BIASES).to_le_bytes().map(|byte| byte as i8))
    }
}

/// A row: the weights of a feature, and its check byte. The check byte of an empty row is zero.
pub type Row = [i8; WIDTH];

/// Where a feature's row is, if it has one: the bucket, and the check byte.
pub fn place(feature: u64) -> (usize, u8) {
    let bucket = ((feature >> 32) * BUCKETS as u64) >> 32;
    (bucket as usize, ((feature >> 24) as u8).max(1))
}

/// The weights.
pub struct Weights {
    /// The rows of all buckets. A feature has a row in its bucket, or none. Check bytes keep the features that have none, which
    /// are most of a text's rare words, from taking the weights of others.
    pub rows: Vec<Bucket>,
    /// The weight of a label (second) after another (first).
    pub transitions: [[i16; WIDTH]; WIDTH],
    /// What a weight of 1 was before quantization, times 2^16.
    pub scale: u32,
}

/// A token's label with its lead over `O`, in units before quantization.
#[derive(Clone, Copy, Debug)]
pub struct Tag {
    /// The label.
    pub label: Label,
    /// By how much the label's own score exceeds that of `O`.
    pub lead: f32,
}

impl Weights {
    /// Writes the weights.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.scale.to_le_bytes());
        for weight in self.transitions.as_flattened() {
            out.extend_from_slice(&weight.to_le_bytes());
        }
        out.extend(self.rows.iter().flat_map(Bucket::rows).flatten().map(|weight| weight as u8));
    }

    /// Reads what [`Weights::write`] wrote.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (scale, bytes) = bytes.split_first_chunk::<4>()?;
        let (matrix, bytes) = bytes.split_at_checked(WIDTH * WIDTH * 2)?;
        let mut transitions = [[0; WIDTH]; WIDTH];
        for (weight, bytes) in transitions.as_flattened_mut().iter_mut().zip(matrix.as_chunks::<2>().0) {
            *weight = i16::from_le_bytes(*bytes);
        }
        let (rows, rest) = bytes.as_chunks::<WIDTH>();
        let rows: Vec<Row> = rows.iter().map(|row| row.map(|weight| weight as i8)).collect();
        let (buckets, odd) = rows.as_chunks::<BUCKET_ROWS>();
        (rest.is_empty() && odd.is_empty() && buckets.len() == BUCKETS).then(|| Self {
            rows: buckets.iter().map(|rows| Bucket::new(*rows)).collect(),
            transitions,
            scale: u32::from_le_bytes(*scale),
        })
    }

    #[inline]
    fn emit(&self, features: &[u64; FEATURES]) -> [i32; WIDTH] {
        let places = features.each_ref().map(|feature| place(*feature));
        // The rows are far apart in memory. Reading one byte of each first lets the processor fetch all of them at once.
        let touched = places.iter().fold(0, |touched, (bucket, _)| touched ^ self.rows[*bucket].0[0]);
        std::hint::black_box(touched);
        // Sums of the bytes at even and at odd places, in 16 bits each.
        let (mut even, mut odd, mut count) = (0u64, 0u64, 0i32);
        for (bucket, check) in places {
            // At most one row of the bucket has the check byte. Without a branch, the processor has nothing to guess.
            let found = self.rows[bucket]
                .0
                .iter()
                .fold(0, |found, row| found | row & u64::from((row >> 56) as u8 == check).wrapping_neg());
            count += i32::from(found != 0);
            even += found & BYTES;
            odd += found >> 8 & BYTES;
        }
        std::array::from_fn(|label| {
            let sums = if label % 2 == 0 { even } else { odd };
            i32::from((sums >> (label / 2 * 16)) as u16) - 128 * count
        })
    }

    /// Returns the most probable tags of a sentence.
    pub fn tag(&self, sentence: &Sentence) -> Vec<Tag> {
        let scale = self.scale as f32 / 65536.0;
        let bias = (PERSON_BIAS / scale) as i32;
        let emissions: Vec<[i32; WIDTH]> = (0..sentence.tokens.len())
            .map(|index| {
                if sentence.is_outside(index) {
                    return OUTSIDE;
                }
                let mut emission = self.emit(&sentence.features(index));
                emission[Label::BPerson as usize] += bias;
                emission[Label::IPerson as usize] += bias;
                emission
            })
            .collect();
        let transitions = self.transitions.map(|row| row.map(i32::from));
        let lines = sentence.tokens.iter().map(|token| token.line);
        let labels = best_path(&emissions, lines, &transitions, i32::MIN / 2);
        labels
            .iter()
            .zip(&emissions)
            .map(|(&label, emission)| Tag {
                label: ALL_LABELS[usize::from(label)],
                lead: (emission[usize::from(label)] - emission[0]) as f32 * scale,
            })
            .collect()
    }
}

/// Finds the sequence of labels with the highest sum of emissions and transitions (Viterbi).
pub fn best_path<T: Copy + PartialOrd + std::ops::Add<Output = T> + Default>(
    emissions: &[[T; WIDTH]],
    lines: impl Iterator<Item = bool>,
    transitions: &[[T; WIDTH]; WIDTH],
    never: T,
) -> Vec<u8> {
    let mut back: Vec<[u8; WIDTH]> = Vec::with_capacity(emissions.len());
    // Nothing precedes the first token, which is as if `O` did.
    let mut scores = [never; WIDTH];
    scores[0] = T::default();
    for (emission, line) in emissions.iter().zip(lines) {
        let mut next = [never; WIDTH];
        let mut from = [0u8; WIDTH];
        for label in 0..LABELS {
            let continues = label != 0 && label.is_multiple_of(2);
            let (mut top, mut source) = (never, 0);
            let candidates = if !continues {
                0..LABELS
            } else if line {
                0..0
            } else {
                label - 1..label + 1
            };
            for before in candidates {
                let score = scores[before] + transitions[before][label];
                if score > top {
                    (top, source) = (score, before);
                }
            }
            if top > never {
                next[label] = top + emission[label];
                from[label] = source as u8;
            }
        }
        scores = next;
        back.push(from);
    }
    let mut label = 0;
    for other in 1..LABELS {
        if scores[other] > scores[label] {
            label = other;
        }
    }
    let mut labels = vec![0; emissions.len()];
    for (slot, from) in labels.iter_mut().zip(&back).rev() {
        *slot = label as u8;
        label = usize::from(from[label]);
    }
    labels
}
