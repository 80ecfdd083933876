//! Vaults that break their promises. The checker must report each of them.

use std::collections::BTreeMap;

use crate::{
    powercut::disk::Seeded,
    promises::{Exchange, Extent, NOT_FOUND, Promises, Subject, Vault},
};

/// A vault in memory: the value of each token.
#[derive(Clone, Default)]
struct Paper(BTreeMap<String, Subject>);

impl Vault for Paper {
    fn rehydrate(&mut self, tokens: &[(&str, &str)]) -> Vec<Result<String, String>> {
        let value = |(token, context): &(&str, &str)| match self.0.get(*token) {
            Some(subject) if subject.context == *context => Ok(subject.value.clone()),
            _ => Err(NOT_FOUND.to_owned()),
        };
        tokens.iter().map(value).collect()
    }

    fn lookup(&mut self, subjects: &[&Subject]) -> Vec<Vec<String>> {
        let tokens = |subject: &&Subject| {
            let standing = self.0.iter().filter(|(_, stands_for)| *stands_for == *subject);
            standing.map(|(token, _)| token.clone()).collect()
        };
        subjects.iter().map(tokens).collect()
    }
}

fn subject(number: u64) -> Subject {
    Subject { kind: "NAME", value: format!("value {number}"), context: format!("context {}", number % 3) }
}

fn token(number: u64) -> String {
    format!("token {number}")
}

fn minted(number: u64) -> Exchange {
    Exchange::Tokenized { subject: subject(number), answer: Some((token(number), true)) }
}

fn forgot(number: u64, answer: Option<()>) -> Exchange {
    Exchange::Forgot { subject: subject(number), token: token(number), answer }
}

/// Returns 300 values with a token, 50 of which were forgotten again; 10 values and 10 erasures without an answer,
/// half of which took place; and a vault that agrees.
fn kept() -> (Promises, Paper) {
    let (mut promises, mut paper) = (Promises::default(), Paper::default());
    for number in 0..300 {
        promises.note(&minted(number));
        paper.0.insert(token(number), subject(number));
    }
    for number in 0..50 {
        promises.note(&forgot(number, Some(())));
        paper.0.remove(&token(number));
    }
    for number in 300..310 {
        promises.note(&Exchange::Tokenized { subject: subject(number), answer: None });
        if number % 2 == 0 {
            paper.0.insert(token(number), subject(number));
        }
    }
    for number in 290..300 {
        promises.note(&forgot(number, None));
        if number % 2 == 0 {
            paper.0.remove(&token(number));
        }
    }
    (promises, paper)
}

fn broken(mut promises: Promises, mut paper: Paper, extent: Extent) -> Vec<String> {
    promises.check(&mut paper, extent, &mut Seeded(1));
    promises.check_count(paper.0.len() as u64);
    promises.broken().to_vec()
}

#[test]
fn accepts_a_vault_that_keeps_its_promises() {
    let (promises, paper) = kept();
    assert_eq!(broken(promises.clone(), paper.clone(), Extent::All), [""; 0]);
    assert_eq!(broken(promises.clone(), paper.clone(), Extent::Sample(0)), [""; 0]);

    // The open requests are settled now, and must stay as they are.
    let (mut settled, mut vault) = (promises, paper);
    settled.check(&mut vault, Extent::Sample(0), &mut Seeded(1));
    assert_eq!(broken(settled.clone(), vault.clone(), Extent::All), [""; 0]);
    vault.0.insert(token(301), subject(301));
    assert!(!broken(settled, vault, Extent::All).is_empty());
}

#[test]
fn reports_each_lost_record() {
    let (promises, paper) = kept();
    for lost in 50..290 {
        let mut without = paper.clone();
        without.0.remove(&token(lost));
        let broken = broken(promises.clone(), without, Extent::Sample(0));
        assert!(broken.iter().any(|wrong| wrong.contains(&format!("{:?}", subject(lost).value))), "{lost}: {broken:?}");
    }
}

#[test]
fn a_sample_of_everything_checks_everything() {
    let (mut promises, mut paper) = kept();
    promises.check(&mut paper, Extent::All, &mut Seeded(1));
    promises.assert_kept("before");
    paper.0.remove(&token(100));
    assert!(!broken(promises.clone(), paper.clone(), Extent::Sample(1_000)).is_empty());
    // No promise is checked, but the count differs.
    assert_eq!(broken(promises, paper, Extent::Sample(0)).len(), 1);
}

#[test]
fn reports_a_changed_value_and_a_moved_token() {
    let (promises, paper) = kept();
    let mut other = paper.clone();
    other.0.insert(token(77), subject(78));
    assert!(!broken(promises.clone(), other, Extent::Sample(0)).is_empty());
    let mut elsewhere = paper;
    elsewhere.0.insert(token(77), Subject { context: "another".to_owned(), ..subject(77) });
    assert!(!broken(promises, elsewhere, Extent::Sample(0)).is_empty());
}

#[test]
fn reports_a_forgotten_value_that_comes_back() {
    let (promises, paper) = kept();
    for back in 0..50 {
        let mut with = paper.clone();
        with.0.insert(token(back), subject(back));
        assert!(!broken(promises.clone(), with, Extent::Sample(0)).is_empty(), "{back}");
    }
}

#[test]
fn reports_a_second_token() {
    let (promises, paper) = kept();
    for number in [60, 300] {
        let mut with = paper.clone();
        with.0.insert("another token".to_owned(), subject(number));
        assert!(!broken(promises.clone(), with, Extent::Sample(0)).is_empty(), "{number}");
    }
    let mut second = promises.clone();
    second.note(&Exchange::Tokenized { subject: subject(60), answer: Some(("another token".to_owned(), false)) });
    assert_eq!(second.broken().len(), 1);
    let mut again = promises.clone();
    again.note(&minted(60));
    assert_eq!(again.broken().len(), 1, "minted twice");
    let mut back = promises;
    back.note(&Exchange::Tokenized { subject: subject(7), answer: Some((token(7), false)) });
    assert_eq!(back.broken().len(), 1, "forgotten and not minted again");
    // Minted again after it was forgotten: correct.
    back.note(&minted(8));
    assert_eq!(back.broken().len(), 1);
}

#[test]
fn reports_wrong_answers_under_load() {
    let (promises, _) = kept();
    let rehydrated = |number, answer: Result<&str, &str>| {
        let mut promises = promises.clone();
        let answer = Some(answer.map(str::to_owned).map_err(str::to_owned));
        promises.note(&Exchange::Rehydrated { subject: subject(number), token: token(number), answer });
        promises.broken().len()
    };
    assert_eq!(rehydrated(60, Ok("value 60")), 0);
    assert_eq!(rehydrated(60, Ok("value 61")), 1);
    assert_eq!(rehydrated(60, Err(NOT_FOUND)), 1);
    assert_eq!(rehydrated(7, Err(NOT_FOUND)), 0);
    assert_eq!(rehydrated(7, Err("vault.damaged")), 1);
    assert_eq!(rehydrated(7, Ok("value 7")), 1);

    // Minted again, as far as the checker can know.
    let mut open = promises.clone();
    open.note(&Exchange::Tokenized { subject: subject(7), answer: None });
    for answer in [Ok("value 7".to_owned()), Err(NOT_FOUND.to_owned())] {
        open.note(&Exchange::Rehydrated { subject: subject(7), token: token(7), answer: Some(answer) });
    }
    assert_eq!(open.broken(), [""; 0]);
}

#[test]
fn reports_a_wrong_count() {
    for records in [244, 246] {
        let (mut promises, mut paper) = kept();
        promises.check(&mut paper, Extent::All, &mut Seeded(1));
        assert_eq!(promises.held().count(), 250);
        promises.check_count(records);
        assert_eq!(promises.broken().len(), 1);
    }
}
