//! What a daemon has answered for, and whether it keeps it.
//!
//! [`Promises`] is told everything that clients asked and were answered, in the order in which each of them did. After a
//! crash it asks the vault, settles what was left open, and names whatever is not as it was promised. It knows the
//! vault by three questions alone ([`Vault`]), so that it can be shown a vault that breaks its promises: a checker that
//! finds nothing wrong there would find nothing anywhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::powercut::disk::Seeded;

/// The code of a token that stands for nothing.
pub const NOT_FOUND: &str = "token.not_found";

/// A value, of its kind and in its context: what has one token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub kind: &'static str,
    pub value: String,
    pub context: String,
}

/// One thing that a client asked for, with what it was answered; `None` where no answer came, or one that promises
/// nothing.
#[derive(Clone, Debug)]
pub enum Told {
    /// The value's token, and whether it was minted now.
    Tokenized { subject: Subject, answer: Option<(String, bool)> },
    /// The token's value, or the code of an error.
    Rehydrated { subject: Subject, token: String, answer: Option<Result<String, String>> },
    /// The token's record was erased.
    Forgot { subject: Subject, token: String, answer: Option<()> },
}

impl Told {
    /// Whether no answer came.
    pub fn is_open(&self) -> bool {
        match self {
            Told::Tokenized { answer, .. } => answer.is_none(),
            Told::Rehydrated { answer, .. } => answer.is_none(),
            Told::Forgot { answer, .. } => answer.is_none(),
        }
    }

    /// The same, as if no answer had come.
    pub fn unanswered(self) -> Self {
        match self {
            Told::Tokenized { subject, .. } => Told::Tokenized { subject, answer: None },
            Told::Rehydrated { subject, token, .. } => Told::Rehydrated { subject, token, answer: None },
            Told::Forgot { subject, token, .. } => Told::Forgot { subject, token, answer: None },
        }
    }
}

/// What a vault can be asked.
pub trait Vault {
    /// The values of tokens, each with its context, or the codes of errors.
    fn rehydrate(&mut self, tokens: &[(&str, &str)]) -> Vec<Result<String, String>>;
    /// Every token of each value. Mints nothing.
    fn lookup(&mut self, subjects: &[&Subject]) -> Vec<Vec<String>>;
}

/// How much of what is settled is looked at again. What is not is always looked at.
#[derive(Clone, Copy, Debug)]
pub enum Extent {
    All,
    /// About so many.
    Sample(u64),
}

/// How a value stands with the vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    /// It has no token.
    #[default]
    Absent,
    /// It was to be tokenized, and nobody was told what came of it.
    Asked,
    /// It has this token.
    Held(String),
    /// Its token was to be erased, and nobody was told what came of it.
    Leaving(String),
}

#[derive(Clone, Debug, Default)]
struct Promise {
    state: State,
    /// Tokens that stand for nothing any more.
    erased: BTreeSet<String>,
    /// Somebody was told that the token was minted now.
    created: bool,
    /// The vault was asked since.
    settled: bool,
}

impl Promise {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Asked | State::Leaving(_))
    }
}

/// What a daemon has answered for.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    promises: BTreeMap<Subject, Promise>,
    broken: Vec<String>,
    looked_at: u64,
}

impl Promises {
    /// Takes note of what a client was told.
    pub fn note(&mut self, told: &Told) {
        match told {
            Told::Tokenized { subject, answer: None } => {
                let promise = self.promise(subject);
                if promise.state == State::Absent {
                    promise.state = State::Asked;
                    promise.settled = false;
                }
            }
            Told::Tokenized { subject, answer: Some((token, created)) } => self.tokenized(subject, token, *created),
            Told::Rehydrated { answer: None, .. } => {}
            Told::Rehydrated { subject, token, answer: Some(answer) } => self.rehydrated(subject, token, answer),
            Told::Forgot { subject, token, answer } => {
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
            // Of several who mint one value at once, one is told so, and anybody may be the first to be heard.
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
            // Where a value was to be minted again, nobody knows.
            State::Absent | State::Held(_) if promise.erased.contains(token) => Err(NOT_FOUND.to_owned()),
            _ => return,
        };
        if *answer != expected {
            let wrong = format!("{}: {token} {}", name(subject), difference(&expected, answer));
            self.broken.push(wrong);
        }
    }

    /// Asks the vault: settles what is open, and looks at everything that was promised since it was last asked, and at as
    /// much of the rest as it is told to.
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

    /// Finds out what became of that which nobody was told.
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

    /// Holds the vault's own count against what must be there. Everything must be settled.
    pub fn check_count(&mut self, records: u64) {
        let held = self.held().count() as u64;
        if held != records {
            self.broken.push(format!("the vault counts {records} records, and {held} values have a token"));
        }
    }

    /// The values that have a token, with it.
    pub fn held(&self) -> impl Iterator<Item = (&Subject, &str)> {
        self.promises.iter().filter_map(|(subject, promise)| match &promise.state {
            State::Held(token) => Some((subject, token.as_str())),
            _ => None,
        })
    }

    /// The token of a value, if it has one for certain.
    pub fn token(&self, subject: &Subject) -> Option<&str> {
        match &self.promises.get(subject)?.state {
            State::Held(token) => Some(token),
            _ => None,
        }
    }

    /// The values with which something was begun, and nobody was told what came of it.
    pub fn open(&self) -> Vec<Subject> {
        let open = self.promises.iter().filter(|(_, promise)| promise.is_open());
        open.map(|(subject, _)| subject.clone()).collect()
    }

    /// The tokens that were erased, with what they stood for.
    pub fn erased(&self) -> impl Iterator<Item = (&Subject, &str)> {
        self.promises.iter().flat_map(|(subject, promise)| promise.erased.iter().map(move |t| (subject, t.as_str())))
    }

    /// What was not as it was promised.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// How many promises were held against the vault, all checks together.
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Fails the test if a promise was broken.
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

/// A subject as a failed test shows it: large values by their beginning.
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
