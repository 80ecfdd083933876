//! An averaged structured perceptron, pruned to the features that the detector has room for.
//!
//! A first training uses all features that occur twice or more. The features with the largest weights get a row; a second
//! training uses these only.

use masker_text::names::{
    features::{FEATURES, Sentence},
    tagger::{BUCKET_ROWS, BUCKETS, Bucket, LABELS, WIDTH, Weights, best_path, place},
};
use rand::{rngs::StdRng, seq::SliceRandom};
use std::collections::HashMap;

/// A feature in so few tokens is left out.
const OCCURRENCES_MIN: u32 = 2;
/// The number of a feature that is left out.
const NONE: u32 = 0;

/// A sentence with its features and labels.
pub struct Instance {
    features: Vec<[u64; FEATURES]>,
    lines: Vec<bool>,
    labels: Vec<u8>,
}

impl Instance {
    /// Creates an instance. `labels` has one label for each token.
    pub fn new(sentence: &Sentence, labels: Vec<u8>) -> Self {
        Self {
            features: (0..sentence.tokens.len()).map(|index| sentence.features(index)).collect(),
            lines: sentence.tokens.iter().map(|token| token.line).collect(),
            labels,
        }
    }
}

/// Numbers of features, from 1.
type Numbers = HashMap<u64, u32>;

struct Averaged {
    weights: Vec<[f32; WIDTH]>,
    totals: Vec<[f64; WIDTH]>,
}

impl Averaged {
    fn new(rows: usize) -> Self {
        Self { weights: vec![[0.0; WIDTH]; rows], totals: vec![[0.0; WIDTH]; rows] }
    }

    /// Adds to a weight. `step` counts the instances before: the average is `weight - total / steps`.
    fn add(&mut self, row: usize, label: usize, change: f32, step: f64) {
        self.weights[row][label] += change;
        self.totals[row][label] += f64::from(change) * step;
    }

    fn average(&self, steps: f64) -> Vec<[f32; WIDTH]> {
        let average = |weights: &[f32; WIDTH], totals: &[f64; WIDTH]| {
            std::array::from_fn(|label| (f64::from(weights[label]) - totals[label] / steps) as f32)
        };
        self.weights.iter().zip(&self.totals).map(|(weights, totals)| average(weights, totals)).collect()
    }
}

/// Averaged weights by the numbers of features, and of transitions.
struct Trained {
    rows: Vec<[f32; WIDTH]>,
    transitions: Vec<[f32; WIDTH]>,
}

/// Trains weights on all instances, a number of times each, in random order.
pub fn train(instances: &[Instance], passes: usize, random: &mut StdRng) -> Weights {
    let mut counts: HashMap<u64, u32> = HashMap::new();
    for feature in instances.iter().flat_map(|instance| instance.features.as_flattened()) {
        *counts.entry(*feature).or_default() += 1;
    }
    let mut features: Vec<u64> =
        counts.iter().filter(|(_, count)| **count >= OCCURRENCES_MIN).map(|(feature, _)| *feature).collect();
    features.sort_unstable();
    println!("{} features, {} of them in {OCCURRENCES_MIN} tokens or more", counts.len(), features.len());
    let numbers: Numbers = features.iter().zip(1..).map(|(feature, number)| (*feature, number)).collect();
    let first = fit(instances, &numbers, passes / 2, random);

    // The largest weights get a row. A bucket that is full takes no more.
    let size = |feature: &u64| {
        let weights = &first.rows[numbers[feature] as usize][..LABELS];
        let spread =
            weights.iter().copied().fold(f32::MIN, f32::max) - weights.iter().copied().fold(f32::MAX, f32::min);
        spread * (counts[feature] as f32).ln()
    };
    features.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
    let mut used: Vec<Vec<u8>> = vec![Vec::new(); BUCKETS];
    features.retain(|feature| {
        let (bucket, check) = place(*feature);
        let free = used[bucket].len() < BUCKET_ROWS && !used[bucket].contains(&check) && size(feature) > 0.0;
        if free {
            used[bucket].push(check);
        }
        free
    });
    println!("{} features have a row", features.len());
    let numbers: Numbers = features.iter().zip(1..).map(|(feature, number)| (*feature, number)).collect();
    let second = fit(instances, &numbers, passes, random);
    quantize(&second, &features)
}

fn fit(instances: &[Instance], numbers: &Numbers, passes: usize, random: &mut StdRng) -> Trained {
    let number = |feature: &u64| numbers.get(feature).copied().unwrap_or(NONE);
    let numbered: Vec<Vec<[u32; FEATURES]>> = instances
        .iter()
        .map(|instance| instance.features.iter().map(|features| features.each_ref().map(number)).collect())
        .collect();
    let mut rows = Averaged::new(numbers.len() + 1);
    let mut transitions = Averaged::new(WIDTH);
    let mut order: Vec<usize> = (0..instances.len()).collect();
    let mut step = 0.0f64;
    for pass in 0..passes {
        order.shuffle(random);
        let mut errors = 0;
        for &index in &order {
            let instance = &instances[index];
            step += 1.0;
            let emissions: Vec<[f32; WIDTH]> = numbered[index].iter().map(|row| emit(&rows.weights, row)).collect();
            let matrix: [[f32; WIDTH]; WIDTH] = std::array::from_fn(|label| transitions.weights[label]);
            let guess = best_path(&emissions, instance.lines.iter().copied(), &matrix, -1e9);
            let (mut before, mut guess_before) = (0, 0);
            for (token, features) in numbered[index].iter().enumerate() {
                let (gold, guessed) = (usize::from(instance.labels[token]), usize::from(guess[token]));
                if gold != guessed {
                    errors += 1;
                    for &feature in features.iter().filter(|feature| **feature != NONE) {
                        rows.add(feature as usize, gold, 1.0, step);
                        rows.add(feature as usize, guessed, -1.0, step);
                    }
                }
                if (before, gold) != (guess_before, guessed) {
                    transitions.add(before, gold, 1.0, step);
                    transitions.add(guess_before, guessed, -1.0, step);
                }
                (before, guess_before) = (gold, guessed);
            }
        }
        println!("pass {}: {errors} wrong labels", pass + 1);
    }
    Trained { rows: rows.average(step), transitions: transitions.average(step) }
}

fn emit(weights: &[[f32; WIDTH]], features: &[u32; FEATURES]) -> [f32; WIDTH] {
    let mut sums = [0.0; WIDTH];
    for &feature in features {
        for (sum, weight) in sums.iter_mut().zip(&weights[feature as usize]) {
            *sum += weight;
        }
    }
    sums
}

/// Scales weights to 8 bits. The few that are larger than the scale allows are cut.
fn quantize(trained: &Trained, features: &[u64]) -> Weights {
    let mut sizes: Vec<f32> =
        trained.rows.as_flattened().iter().map(|weight| weight.abs()).filter(|&size| size > 0.05).collect();
    sizes.sort_by(f32::total_cmp);
    let largest = sizes.get(sizes.len() * 9995 / 10000).copied().unwrap_or(1.0);
    let scale = largest / 127.0;
    println!("{} weights, the largest {largest:.2}", sizes.len());
    let mut rows = vec![[[0i8; WIDTH]; BUCKET_ROWS]; BUCKETS];
    for (feature, weights) in features.iter().zip(&trained.rows[1..]) {
        let (bucket, check) = place(*feature);
        let row = rows[bucket].iter_mut().find(|row| row[WIDTH - 1] == 0).expect("the bucket has room");
        *row = weights.map(|weight| (weight / scale).round().clamp(-127.0, 127.0) as i8);
        row[WIDTH - 1] = check as i8;
    }
    Weights {
        rows: rows.into_iter().map(Bucket::new).collect(),
        transitions: std::array::from_fn(|before| {
            std::array::from_fn(|label| {
                let weight = trained.transitions[before][label] / scale;
                if label < LABELS && before < LABELS { weight.round() as i16 } else { 0 }
            })
        }),
        scale: (scale * 65536.0) as u32,
    }
}
