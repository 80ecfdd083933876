//! Clients that put load on a daemon, each over its own connection, and record all answers.
//!
//! A seed determines what each client sends; the daemon decides which one it serves first. Each client forgets only
//! its own values, so it always knows the correct answer. Other values are tokenized by all clients at about the same
//! time and are never forgotten.

use std::{
    io::ErrorKind,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use serde_json::{Value, json};

use super::promises::{Exchange, Promises, Subject, Vault};
use crate::{
    harness::{Client, Daemon, error_code, request},
    powercut::disk::Seeded,
};

/// Items of one request, for tests with many values.
const ITEMS_MAX: usize = 2_000;

/// The owner of the values that all clients share. No client has this number.
pub const SHARED: u64 = 99;

/// A moment at which a test can act on the daemon, with the number of requests answered so far on all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// A request was sent, and its answer was not read yet.
    Sent(u64),
    /// A request was answered.
    Answered(u64),
}

/// What a client does after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    GoOn,
    Stop,
}

/// What a test does to a daemon under load, and how the clients behave.
#[derive(Clone, Copy)]
pub struct Conduct<'a> {
    /// Called at each moment, by the client concerned.
    pub at: &'a (dyn Fn(Moment) -> Next + Sync),
    /// The time on the test's own clock.
    pub clock: &'a (dyn Fn() -> u64 + Sync),
    pub refusals: Refusals,
}

/// Whether the daemon may refuse a request (503), and what the client does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusals {
    /// No refusals.
    Never,
    /// The vault may refuse, and the client stops.
    Stop,
    /// The vault or the audit log may refuse, and the client continues.
    GoOn,
}

/// An answer to a client, with times of the test's clock.
#[derive(Clone, Debug)]
pub struct Step {
    /// Before the request.
    pub began: u64,
    /// After the answer.
    pub ended: u64,
    pub exchange: Exchange,
}

/// The clients.
pub struct Load {
    seed: u64,
    /// The number of its own values that each client has requested.
    asked: Vec<u64>,
    rounds: u64,
}

impl Load {
    pub fn new(seed: u64, connections: usize) -> Self {
        Load { seed, asked: vec![0; connections], rounds: 0 }
    }

    /// Keeps the daemon busy until each client has stopped or lost its connection. Returns the answers of each.
    pub fn run(&mut self, daemon: &Daemon, promises: &Promises, conduct: Conduct<'_>) -> Vec<Vec<Step>> {
        let answered = AtomicU64::new(0);
        let mut known: Vec<Known> = self.asked.iter().map(|_| Known::default()).collect();
        let clients = known.len() as u64;
        for (subject, token) in promises.held() {
            match owner(subject) {
                SHARED => known.iter_mut().for_each(|known| known.shared.push((subject.clone(), token.to_owned()))),
                owner => known[(owner % clients) as usize].own.push((subject.clone(), token.to_owned())),
            }
        }
        for (subject, token) in promises.erased() {
            known[(owner(subject) % clients) as usize].erased.push((subject.clone(), token.to_owned()));
        }
        let seed = self.seed ^ (self.rounds << 32);
        self.rounds += 1;
        let rounds = self.rounds;
        // All clients connect before the first request, because the daemon may be killed at that request.
        let busy = known.into_iter().zip(&mut self.asked).zip(0..).map(|((known, asked), number)| Busy {
            client: daemon.client(),
            random: Seeded(Seeded(seed ^ number).number()),
            number,
            round: rounds,
            known,
            asked,
            answered: &answered,
            conduct,
            steps: Vec::new(),
        });
        let busy: Vec<_> = busy.collect();
        thread::scope(|scope| {
            let clients: Vec<_> = busy.into_iter().map(|client| scope.spawn(move || client.run())).collect();
            clients.into_iter().map(|client| client.join().expect("the output above has the cause")).collect()
        })
    }
}

/// What a client can send requests about.
#[derive(Default)]
struct Known {
    own: Vec<(Subject, String)>,
    shared: Vec<(Subject, String)>,
    erased: Vec<(Subject, String)>,
}

/// One client.
struct Busy<'a> {
    client: Client,
    random: Seeded,
    number: u64,
    round: u64,
    known: Known,
    asked: &'a mut u64,
    answered: &'a AtomicU64,
    conduct: Conduct<'a>,
    steps: Vec<Step>,
}

/// The answer to a request.
enum Reply {
    Results(Vec<Value>),
    /// No answer, or a refusal: nothing is promised.
    Nothing,
}

impl Busy<'_> {
    fn run(mut self) -> Vec<Step> {
        loop {
            let next = match self.random.below(100) {
                0..32 => self.tokenize_new(1),
                32..46 => {
                    let items = 2 + self.random.below(30);
                    self.tokenize_new(items)
                }
                46..60 => self.tokenize_shared(),
                60..70 => self.tokenize_known(),
                70..76 => self.look_up(),
                76..88 => self.rehydrate(),
                _ => self.forget(),
            };
            if next == Next::Stop {
                return self.steps;
            }
        }
    }

    fn tokenize_new(&mut self, items: u64) -> Next {
        let first = *self.asked;
        *self.asked += items;
        self.tokenize((first..first + items).map(|number| subject(self.number, number)).collect())
    }

    /// Tokenizes values that the other clients tokenize at the same time.
    fn tokenize_shared(&mut self) -> Next {
        let first = (self.round << 32) + self.answered.load(Ordering::Relaxed) / 16 * 4;
        let last = first + self.random.below(4);
        self.tokenize((first..=last).map(|number| subject(SHARED, number)).collect())
    }

    fn tokenize_known(&mut self) -> Next {
        let mut subjects: Vec<Subject> = self.some_known(8).into_iter().map(|(subject, _)| subject).collect();
        // Mint forgotten values again.
        if self.random.chance(20) && !self.known.erased.is_empty() {
            let place = self.random.below(self.known.erased.len() as u64) as usize;
            subjects.push(self.known.erased.swap_remove(place).0);
        }
        subjects.sort();
        subjects.dedup();
        if subjects.is_empty() { self.tokenize_new(1) } else { self.tokenize(subjects) }
    }

    fn tokenize(&mut self, subjects: Vec<Subject>) -> Next {
        let items: Vec<Value> = subjects.iter().map(item).collect();
        let (times, reply, next) = self.ask("/api/v1/tokenize", &json!({ "items": items }), items.len());
        let answers = reply.each(subjects.len(), |result| {
            let (Some(token), Some(created)) = (result["token"].as_str(), result["created"].as_bool()) else {
                panic!("no token: {result}");
            };
            (token.to_owned(), created)
        });
        for (subject, answer) in subjects.into_iter().zip(answers) {
            if let Some((token, _)) = &answer {
                self.known.erased.retain(|(_, erased)| erased != token);
                let known = if owner(&subject) == SHARED { &mut self.known.shared } else { &mut self.known.own };
                if !known.iter().rev().any(|(_, known)| known == token) {
                    known.push((subject.clone(), token.clone()));
                }
            }
            self.note(times, Exchange::Tokenized { subject, answer });
        }
        next
    }

    /// Checks that a value that is not forgotten meanwhile has exactly the token that was answered.
    fn look_up(&mut self) -> Next {
        let known = self.some_known(8);
        if known.is_empty() {
            return self.tokenize_new(1);
        }
        let items: Vec<Value> = known.iter().map(|(subject, _)| item(subject)).collect();
        let (times, reply, next) = self.ask("/api/v1/lookup", &json!({ "items": items }), items.len());
        let answers = reply.each(items.len(), |result| result["tokens"].clone());
        for ((subject, token), answer) in known.into_iter().zip(answers) {
            if let Some(tokens) = answer {
                assert_eq!(tokens, json!([token]), "{subject:?}");
                self.note(times, Exchange::Tokenized { subject, answer: Some((token, false)) });
            }
        }
        next
    }

    fn rehydrate(&mut self) -> Next {
        let mut tokens = self.some_known(24);
        if !self.known.erased.is_empty() {
            let place = self.random.below(self.known.erased.len() as u64) as usize;
            tokens.push(self.known.erased[place].clone());
        }
        if tokens.is_empty() {
            return self.tokenize_new(1);
        }
        let items: Vec<Value> = tokens.iter().map(token_item).collect();
        let (times, reply, next) = self.ask("/api/v1/rehydrate", &json!({ "tokens": items }), items.len());
        for ((subject, token), answer) in tokens.into_iter().zip(reply.each(items.len(), value_or_code)) {
            self.note(times, Exchange::Rehydrated { subject, token, answer });
        }
        next
    }

    fn forget(&mut self) -> Next {
        let mut tokens = Vec::new();
        for _ in 0..=self.random.below(3) {
            if self.known.own.len() > 4 {
                let place = self.random.below(self.known.own.len() as u64) as usize;
                tokens.push(self.known.own.swap_remove(place));
            }
        }
        if tokens.is_empty() {
            return self.tokenize_new(2);
        }
        let items: Vec<Value> = tokens.iter().map(token_item).collect();
        let (times, reply, next) = self.ask("/api/v1/forget", &json!({ "tokens": items }), items.len());
        let answers = reply.each(items.len(), |result| assert_eq!(*result, json!({ "forgotten": true })));
        for ((subject, token), answer) in tokens.into_iter().zip(answers) {
            if answer.is_some() {
                self.known.erased.push((subject.clone(), token.clone()));
            }
            self.note(times, Exchange::Forgot { subject, token, answer });
        }
        next
    }

    /// Returns at most `most` values that have a token.
    fn some_known(&mut self, most: u64) -> Vec<(Subject, String)> {
        let mut some = Vec::new();
        for _ in 0..=self.random.below(most) {
            let known = if self.random.chance(25) { &self.known.shared } else { &self.known.own };
            if !known.is_empty() {
                some.push(known[self.random.below(known.len() as u64) as usize].clone());
            }
        }
        some
    }

    fn note(&mut self, (began, ended): (u64, u64), exchange: Exchange) {
        self.steps.push(Step { began, ended, exchange });
    }

    /// Sends a request and reads the answer, if there is one.
    fn ask(&mut self, path: &str, body: &Value, items: usize) -> ((u64, u64), Reply, Next) {
        let began = (self.conduct.clock)();
        let sent = self.client.send_raw(&request("POST", path, body.to_string().as_bytes()));
        let next = (self.conduct.at)(Moment::Sent(self.answered.load(Ordering::SeqCst)));
        let response = match sent {
            Ok(()) => self.client.receive_if_whole(),
            Err(gone) => (gone.kind() != ErrorKind::BrokenPipe).then(|| panic!("{gone}")),
        };
        let Some(response) = response else { return ((began, u64::MAX), Reply::Nothing, Next::Stop) };
        let ended = (self.conduct.clock)();
        if response.status == 503 && self.conduct.refusals != Refusals::Never {
            let goes_on = self.conduct.refusals == Refusals::GoOn;
            let of_audit = goes_on && String::from_utf8_lossy(&response.body).contains("audit.unavailable");
            response.problem(503, if of_audit { "audit.unavailable" } else { "vault.unavailable" });
            assert!(response.retry_after.is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|s| s > 0)));
            return ((began, u64::MAX), Reply::Nothing, if goes_on { next } else { Next::Stop });
        }
        let results = response.results(items);
        let answered = self.answered.fetch_add(1, Ordering::SeqCst) + 1;
        let asked_to_stop = [next, (self.conduct.at)(Moment::Answered(answered))].contains(&Next::Stop);
        ((began, ended), Reply::Results(results), if asked_to_stop { Next::Stop } else { Next::GoOn })
    }
}

impl Reply {
    /// Returns the answer of each item.
    fn each<T>(self, items: usize, read: impl Fn(&Value) -> T) -> Vec<Option<T>> {
        match self {
            Reply::Results(results) => results.iter().map(|result| Some(read(result))).collect(),
            Reply::Nothing => (0..items).map(|_| None).collect(),
        }
    }
}

/// Returns a value of a client. Kinds, sizes and contexts vary with the number.
pub fn subject(owner: u64, number: u64) -> Subject {
    let plain = |kind, value| Subject { kind, value, context: String::new() };
    match number % 16 {
        0..3 => plain("PHONE", format!("+{owner:02}{number:016}")),
        3..6 => {
            Subject { kind: "SSN", value: format!("{owner:02}{number:016}"), context: format!("clinic {}", number % 5) }
        }
        // The largest values: their normal form differs, and the record is split into pieces.
        15 if number.is_multiple_of(5) => plain("NAME", format!("{owner:02} {number:016} {}", "LARGE ".repeat(650))),
        _ => plain("NAME", format!("{owner:02} {number:016} patient")),
    }
}

/// Returns the client that may forget a value.
pub fn owner(subject: &Subject) -> u64 {
    let digits = subject.value.trim_start_matches('+').get(..2).expect("as it was made");
    digits.parse().expect("as it was made")
}

pub fn item(subject: &Subject) -> Value {
    json!({ "kind": subject.kind, "value": subject.value, "context": subject.context })
}

fn token_item((subject, token): &(Subject, String)) -> Value {
    json!({ "token": token, "context": subject.context })
}

fn value_or_code(result: &Value) -> Result<String, String> {
    match result["value"].as_str() {
        Some(value) => Ok(value.to_owned()),
        None => Err(error_code(result).to_owned()),
    }
}

impl Vault for Client {
    fn rehydrate(&mut self, tokens: &[(&str, &str)]) -> Vec<Result<String, String>> {
        let ask = |tokens: &[(&str, &str)]| {
            let items: Vec<Value> =
                tokens.iter().map(|(token, context)| json!({ "token": token, "context": context })).collect();
            Client::rehydrate(self, &items).iter().map(value_or_code).collect::<Vec<_>>()
        };
        tokens.chunks(ITEMS_MAX).flat_map(ask).collect()
    }

    fn lookup(&mut self, subjects: &[&Subject]) -> Vec<Vec<String>> {
        let tokens = |result: &Value| {
            let tokens = result["tokens"].as_array().unwrap_or_else(|| panic!("no tokens: {result}"));
            tokens.iter().map(|token| token.as_str().expect("a token is text").to_owned()).collect()
        };
        let ask = |subjects: &[&Subject]| {
            let items: Vec<Value> = subjects.iter().map(|subject| item(subject)).collect();
            self.ask_items("/api/v1/lookup", &items).iter().map(tokens).collect::<Vec<_>>()
        };
        subjects.chunks(ITEMS_MAX).flat_map(ask).collect()
    }
}
