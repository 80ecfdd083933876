//! An averaged structured perceptron.

use masker_text::names::{
    features::{FEATURES, ROWS, Sentence},
    tagger::{LABELS, Row, WIDTH, Weights, best_path},
};
use rand::{rngs::StdRng, seq::SliceRandom};

/// A sentence with its features and labels.
pub struct Instance {
    features: Vec<[u32; FEATURES]>,
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

struct Averaged {
    weights: Vec<[f32; WIDTH]>,
    totals: Vec<[f32; WIDTH]>,
}

impl Averaged {
    fn new(rows: usize) -> Self {
        Self { weights: vec![[0.0; WIDTH]; rows], totals: vec![[0.0; WIDTH]; rows] }
    }

    /// Adds to a weight. `step` counts the instances before: the average is `weight - total / steps`.
    fn add(&mut self, row: usize, label: usize, change: f32, step: f32) {
        self.weights[row][label] += change;
        self.totals[row][label] += change * step;
    }

    fn average(&self, steps: f32) -> Vec<[f32; WIDTH]> {
        let average = |weights: &[f32; WIDTH], totals: &[f32; WIDTH]| {
            std::array::from_fn(|label| weights[label] - totals[label] / steps)
        };
        self.weights.iter().zip(&self.totals).map(|(weights, totals)| average(weights, totals)).collect()
    }
}

/// Trains weights on all instances, a number of times each, in random order.
pub fn train(instances: &[Instance], passes: usize, random: &mut StdRng) -> Weights {
    let mut rows = Averaged::new(ROWS);
    let mut transitions = Averaged::new(WIDTH);
    let mut order: Vec<usize> = (0..instances.len()).collect();
    let mut step = 0.0f32;
    for pass in 0..passes {
        order.shuffle(random);
        let mut errors = 0;
        for &index in &order {
            let instance = &instances[index];
            step += 1.0;
            let emissions: Vec<[f32; WIDTH]> = instance.features.iter().map(|row| emit(&rows.weights, row)).collect();
            let matrix: [[f32; WIDTH]; WIDTH] = std::array::from_fn(|label| transitions.weights[label]);
            let guess = best_path(&emissions, instance.lines.iter().copied(), &matrix, -1e9);
            let (mut before, mut guess_before) = (0, 0);
            for (token, features) in instance.features.iter().enumerate() {
                let (gold, guessed) = (usize::from(instance.labels[token]), usize::from(guess[token]));
                if gold != guessed {
                    errors += 1;
                    for &feature in features {
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
        eprintln!("pass {}: {errors} wrong labels", pass + 1);
    }
    quantize(&rows.average(step), &transitions.average(step))
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
fn quantize(rows: &[[f32; WIDTH]], transitions: &[[f32; WIDTH]]) -> Weights {
    let mut sizes: Vec<f32> =
        rows.as_flattened().iter().map(|weight| weight.abs()).filter(|&size| size > 0.05).collect();
    sizes.sort_by(f32::total_cmp);
    let largest = sizes.get(sizes.len() * 9995 / 10000).copied().unwrap_or(1.0);
    let scale = largest / 127.0;
    eprintln!("{} weights, the largest {largest:.2}", sizes.len());
    let row =
        |weights: &[f32; WIDTH]| -> Row { weights.map(|weight| (weight / scale).round().clamp(-127.0, 127.0) as i8) };
    Weights {
        rows: rows.iter().map(row).collect(),
        transitions: std::array::from_fn(|before| {
            std::array::from_fn(|label| {
                if label < LABELS && before < LABELS { (transitions[before][label] / scale).round() as i16 } else { 0 }
            })
        }),
        scale: (scale * 65536.0) as u32,
    }
}
