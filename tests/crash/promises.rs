//! What a daemon has promised by its answers, and whether it keeps it.
//!
//! [`Promises`] records all requests and answers, in the order of each client. After a crash it queries the vault,
//! settles open requests, and reports each difference. It accesses the vault through three queries only ([`Vault`]),
//! so that tests can give it a vault that breaks its promises and verify that it notices.

use std::collections::{BTreeMap, BTreeSet};

use crate::powercut::disk::Seeded;

/// The code of a token that has no value.
pub const NOT_FOUND: &str = "token.not_found";

/// A value with its kind and context: the unit that has one token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub kind: &'static str,
    pub value: String,
    pub context: String,
}

/// One request of a client, with its answer. The answer is `None` if there was none, or if it promises nothing.
#[derive(Clone, Debug)]
pub enum Exchange {
    /// The value's token, and whether it is new.
    Tokenized { subject: Subject, answer: Option<(String, bool)> },
    /// The token's value, or an error code.
    Rehydrated { subject: Subject, token: String, answer: Option<Result<String, String>> },
    /// The token's record was erased.
    Forgot { subject: Subject, token: String, answer: Option<()> },
}

impl Exchange {
    /// Whether there was no answer.
    pub fn is_open(&self) -> bool {
        match self {
            Exchange::Tokenized { answer, .. } => answer.is_none(),
            Exchange::Rehydrated { answer, .. } => answer.is_none(),
            Exchange::Forgot { answer, .. } => answer.is_none(),
        }
    }

    /// Returns the same request without an answer.
    pub fn unanswered(self) -> Self {
        match self {
            Exchange::Tokenized { subject, .. } => Exchange::Tokenized { subject, answer: None },
            Exchange::Rehydrated { subject, token, .. } => Exchange::Rehydrated { subject, token, answer: None },
            Exchange::Forgot { subject, token, .. } => Exchange::Forgot { subject, token, answer: None },
        }
    }
}

/// The queries that a vault answers.
pub trait Vault {
    /// Returns the values of tokens, each with its context, or error codes.
    fn rehydrate(&mut self, tokens: &[(&str, &str)]) -> Vec<Result<String, String>>;
    /// Returns all tokens of each value. Mints nothing.
    fn lookup(&mut self, subjects: &[&Subject]) -> Vec<Vec<String>>;
}

/// How much of what is settled to check again. What is open is always checked.
#[derive(Clone, Copy, Debug)]
pub enum Extent {
    All,
    /// About this many.
    Sample(u64),
}

/// The state of a value in the vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    /// It has no token.
    #[default]
    Absent,
    /// It was to be tokenized, and there was no answer.
    Asked,
    /// It has this token.
    Held(String),
    /// Its token was to be erased, and there was no answer.
    Leaving(String),
}

#[derive(Clone, Debug, Default)]
struct Promise {
    state: State,
    /// Erased tokens.
    erased: BTreeSet<String>,
    /// An answer said that the token is new.
    created: bool,
    /// The vault was queried since.
    settled: bool,
}

impl Promise {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Asked | State::Leaving(_))
    }
}

/// The promises of a daemon.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    promises: BTreeMap<Subject, Promise>,
    broken: Vec<String>,
    looked_at: u64,
}

impl Promises {
    /// Records an answer.
    pub fn note(&mut self, exchange: &Exchange) {
        match exchange {
            Exchange::Tokenized { subject, answer: None } => {
                let promise = self.promise(subject);
                if promise.state == State::Absent {
                    promise.state = State::Asked;
                    promise.settled = false;
                }
            }
            Exchange::Tokenized { subject, answer: Some((token, created)) } => self.tokenized(subject, token, *created),
            Exchange::Rehydrated { answer: None, .. } => {}
            Exchange::Rehydrated { subject, token, answer: Some(answer) } => self.rehydrated(subject, token, answer),
            Exchange::Forgot { subject, token, answer } => {
                let promise = self.promise(subject);
                promise.settled = false;
                match answer {
                    Some(()) => {
                        promise.erased.insert(token.clone());
                        promise.state = State::Absent;
                        promise.created = false;
                    }
                    None => promise.state = State::Leaving(token.clone()),
                }
            }
        }
    }

    fn promise(&mut self, subject: &Subject) -> &mut Promise {
        if !self.promises.contains_key(subject) {
            self.promises.insert(subject.clone(), Promise::default());
        }
        self.promises.get_mut(subject).expect("it was put there")
    }

    fn tokenized(&mut self, subject: &Subject, token: &str, created: bool) {
        let promise = self.promise(subject);
        let mut wrong = None;
        match &promise.state {
            State::Held(known) if known != token => wrong = Some(format!("has the tokens {known} and {token}")),
            // If several clients mint one value at once, one of them gets `created`, and any of them can be recorded
            // first.
            State::Held(_) if created && (promise.created || promise.settled) => {
                wrong = Some(format!("was minted again, though it had {token}"));
            }
            State::Absent if !created && promise.erased.contains(token) => {
                wrong = Some(format!("has its erased token {token} again"));
            }
            State::Leaving(known) if known != token => {
                let known = known.clone();
                promise.erased.insert(known);
            }
            State::Absent | State::Asked | State::Held(_) | State::Leaving(_) => {}
        }
        if !matches!(&promise.state, State::Held(_)) {
            promise.settled = false;
        }
        promise.state = State::Held(token.to_owned());
        promise.created |= created;
        promise.erased.remove(token);
        self.broken.extend(wrong.map(|wrong| format!("{}: {wrong}", name(subject))));
    }

    fn rehydrated(&mut self, subject: &Subject, token: &str, answer: &Result<String, String>) {
        let promise = self.promise(subject);
        let expected = match &promise.state {
            State::Held(held) if held == token => Ok(subject.value.clone()),
            // The token may or may not have been minted again.
            State::Absent | State::Held(_) if promise.erased.contains(token) => Err(NOT_FOUND.to_owned()),
            _ => return,
        };
        if *answer != expected {
            let wrong = format!("{}: {token} {}", name(subject), difference(&expected, answer));
            self.broken.push(wrong);
        }
    }

    /// Queries the vault: settles open requests, and checks all promises since the last check and a part of the older
    /// ones.
    pub fn check(&mut self, vault: &mut impl Vault, extent: Extent, random: &mut Seeded) {
        self.settle(vault);
        let chosen = self.choose(extent, random);
        let of = |subject: &Subject| &self.promises[subject];

        let held: Vec<(&Subject, &String)> = chosen
            .iter()
            .filter_map(|subject| match &of(subject).state {
                State::Held(token) => Some((subject, token)),
                _ => None,
            })
            .collect();
        let erased: Vec<(&Subject, &String)> =
            chosen.iter().flat_map(|subject| of(subject).erased.iter().map(move |token| (subject, token))).collect();
        let absent: Vec<&Subject> = chosen.iter().filter(|subject| of(subject).state == State::Absent).collect();

        let mut broken = Vec::new();
        let asked: Vec<_> =
            held.iter().chain(&erased).map(|(subject, token)| (token.as_str(), subject.context.as_str())).collect();
        let answers = vault.rehydrate(&asked);
        assert_eq!(answers.len(), asked.len(), "one answer for each token");
        for (number, (subject, token)) in held.iter().chain(&erased).enumerate() {
            let expected = if number < held.len() { Ok(subject.value.clone()) } else { Err(NOT_FOUND.to_owned()) };
            if answers[number] != expected {
                broken.push(format!("{}: {token} {}", name(subject), difference(&expected, &answers[number])));
            }
        }
        let subjects: Vec<&Subject> = held.iter().map(|(subject, _)| *subject).chain(absent.iter().copied()).collect();
        let answers = vault.lookup(&subjects);
        assert_eq!(answers.len(), subjects.len(), "one answer for each value");
        for (number, (subject, tokens)) in subjects.iter().zip(&answers).enumerate() {
            let expected = held.get(number).map(|(_, token)| *token);
            if !tokens.iter().eq(expected) {
                broken.push(format!("{}: has the tokens {tokens:?} instead of {expected:?}", name(subject)));
            }
        }

        self.looked_at += (held.len() + erased.len() + absent.len()) as u64;
        self.broken.extend(broken);
        for subject in chosen {
            self.promise(&subject).settled = true;
        }
    }

    /// Settles the requests without an answer.
    fn settle(&mut self, vault: &mut impl Vault) {
        let open = self.open();
        let answers = vault.lookup(&open.iter().collect::<Vec<_>>());
        for (subject, tokens) in open.iter().zip(answers) {
            let promise = self.promise(subject);
            let mut wrong = None;
            let (mut tokens, before) = (tokens.into_iter(), std::mem::take(&mut promise.state));
            let (found, second) = (tokens.next(), tokens.next());
            if let Some(second) = second {
                wrong = Some(format!("has the tokens {} and {second}", found.as_deref().unwrap_or_default()));
            }
            match (before, found) {
                (State::Leaving(left), None) => {
                    promise.erased.insert(left);
                    promise.created = false;
                }
                (_, None) => {}
                (State::Leaving(left), Some(token)) if left != token => {
                    wrong = Some(format!("has the token {token} instead of {left}"));
                    promise.state = State::Held(token);
                }
                (_, Some(token)) => {
                    promise.erased.remove(&token);
                    promise.state = State::Held(token);
                }
            }
            self.broken.extend(wrong.map(|wrong| format!("{}: {wrong}", name(subject))));
        }
    }

    fn choose(&self, extent: Extent, random: &mut Seeded) -> Vec<Subject> {
        let settled = self.promises.values().filter(|promise| promise.settled).count() as u64;
        let chosen = |promise: &Promise, random: &mut Seeded| match extent {
            Extent::All => true,
            Extent::Sample(about) => !promise.settled || random.below(settled) < about,
        };
        let chosen = self.promises.iter().filter(|(_, promise)| chosen(promise, random));
        chosen.map(|(subject, _)| subject.clone()).collect()
    }

    /// Compares the vault's own count with the promises. Everything must be settled.
    pub fn check_count(&mut self, records: u64) {
        let held = self.held().count() as u64;
        if held != records {
            self.broken.push(format!("the vault counts {records} records, and {held} values have a token"));
        }
    }

    /// Returns the values that have a token.
    pub fn held(&self) -> impl Iterator<Item = (&Subject, &str)> {
        self.promises.iter().filter_map(|(subject, promise)| match &promise.state {
            State::Held(token) => Some((subject, token.as_str())),
            _ => None,
        })
    }

    /// Returns the token of a value, if it certainly has one.
    pub fn token(&self, subject: &Subject) -> Option<&str> {
        match &self.promises.get(subject)?.state {
            State::Held(token) => Some(token),
            _ => None,
        }
    }

    /// Returns the values with a request that has no answer.
    pub fn open(&self) -> Vec<Subject> {
        let open = self.promises.iter().filter(|(_, promise)| promise.is_open());
        open.map(|(subject, _)| subject.clone()).collect()
    }

    /// Returns the erased tokens with their values.
    pub fn erased(&self) -> impl Iterator<Item = (&Subject, &str)> {
        self.promises.iter().flat_map(|(subject, promise)| promise.erased.iter().map(move |t| (subject, t.as_str())))
    }

    /// Returns the broken promises.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// Returns the number of promises compared with the vault, in all checks.
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Fails the test if a promise is broken.
    pub fn assert_kept(&self, when: &str) {
        let broken = &self.broken;
        assert!(
            broken.is_empty(),
            "{when}: {} broken promises:\n{}",
            broken.len(),
            broken[..broken.len().min(20)].join("\n")
        );
    }
}

/// Formats a subject for a failure message; large values are shortened.
fn name(subject: &Subject) -> String {
    let value: String = subject.value.chars().take(40).collect();
    format!("{} {value:?} in {:?}", subject.kind, subject.context)
}

fn difference(expected: &Result<String, String>, found: &Result<String, String>) -> String {
    let short = |answer: &Result<String, String>| match answer {
        Ok(value) => format!("the value {:?}", value.chars().take(40).collect::<String>()),
        Err(code) => code.clone(),
    };
    format!("gives {} instead of {}", short(found), short(expected))
}
