//! Figures that must not fall, on texts of the project's own making.

mod support;

use masker_text::{Detector, Options};
use std::collections::BTreeMap;
use support::{cases, find};

/// Right, wrong and missed findings of a kind.
type Counts = BTreeMap<String, [usize; 3]>;

fn count(texts: &str) -> Counts {
    let detector = Detector::new(Options::default()).unwrap();
    let mut counts = Counts::new();
    for (_, (text, expected)) in cases(texts) {
        let found = find(&detector, &text);
        for one in &found {
            counts.entry(one.2.clone()).or_default()[usize::from(!expected.contains(one))] += 1;
            if !expected.contains(one) {
                println!("wrong: {} {:?} in {text:?}", one.2, &text[one.0..one.1]);
            }
        }
        for one in expected.iter().filter(|one| !found.contains(one)) {
            counts.entry(one.2.clone()).or_default()[2] += 1;
            println!("missed: {} {:?} in {text:?}", one.2, &text[one.0..one.1]);
        }
    }
    counts
}

fn f1([right, wrong, missed]: [usize; 3]) -> f64 {
    2.0 * right as f64 / (2 * right + wrong + missed) as f64
}

#[test]
fn labelled_values_have_their_kind() {
    let counts = count(include_str!("labelled.txt"));
    for kind in ["MRN", "HEALTH_PLAN", "FAX", "DOB"] {
        let figure = f1(counts[kind]);
        println!("{kind}: {figure:.3}");
        assert!(figure >= 0.95, "F1 of {kind} is {figure:.3}");
    }
}

#[test]
fn notes_and_mails() {
    let counts = count(include_str!("notes.txt"));
    let all = counts.values().fold([0; 3], |sum, one| std::array::from_fn(|index| sum[index] + one[index]));
    println!("all: {:.3} {all:?}, names: {:.3}", f1(all), f1(counts["NAME"]));
    assert!(f1(all) >= 0.92, "F1 is {:.3}", f1(all));
    assert!(f1(counts["NAME"]) >= 0.85, "F1 of names is {:.3}", f1(counts["NAME"]));
}
