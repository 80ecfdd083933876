//! A daemon under load and a series of faults: it refuses what it cannot do, keeps what it answered, and releases all
//! resources.
//!
//! The faults come from a deck that a seed shuffles, so that each occurs equally often. Faults that this machine does
//! not support are left out, with a message.

mod around;
mod faults;
pub mod host;
mod strikes;

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use self::{
    around::{Around, Life},
    faults::{Fault, Outcome},
};
use super::{
    kill::check_vault,
    load::{self, Conduct, Load, Moment, Next, Refusals},
    number,
    promises::{Exchange, Extent, Promises},
    rotation,
};
use crate::{
    harness::{Daemon, LIMIT, masker},
    powercut::disk::Seeded,
};

on_each_engine!(survives_faults_under_load);

const CONNECTIONS: usize = 6;
/// How long a client waits before it reads its answer. This determines the rate, independent of the machine.
const PACE: Duration = Duration::from_millis(15);
/// The duration of the load before the daemon's resources are measured.
const WARM_UP: Duration = Duration::from_millis(1_500);
/// Older promises to check after each fault; at the end all of them are checked.
const SAMPLE: u64 = 200;
/// The owner of the values that are minted without other load.
const LAST: u64 = 97;
/// The limit for a rotation of all records under load, and for a check of everything. The vault may be large by then,
/// and the machine busy.
const END_LIMIT: Duration = Duration::from_secs(600);

fn survives_faults_under_load(engine: &str) {
    let (seed, seconds) = (number("SOAK_SEED", 1), number("SOAK_SECONDS", 60));
    tell(&format!("{engine}: seed {seed}, {seconds} s, {}", masker().display()));
    let mut soak = Soak::new(engine, seed);
    let mut life = soak.start();
    let (mut deck, mut dealt_once) = (Vec::new(), false);
    while soak.began.elapsed().as_secs() < seconds || !dealt_once {
        if deck.is_empty() {
            deck = soak.shuffled();
        }
        let fault = deck.pop().expect("it was dealt");
        dealt_once |= deck.is_empty();
        life = soak.round(life, fault);
    }
    soak.end(life);
}

/// Writes a line that is shown even if the test passes.
fn tell(line: &str) {
    // Standard error may be closed.
    let _ = writeln!(std::io::stderr(), "soak: {line}");
}

/// One run.
struct Soak {
    engine: String,
    seed: u64,
    began: Instant,
    random: Seeded,
    around: Around,
    busy: Busy,
    /// How often each fault was survived, and how often the daemon ended by it and was started again.
    survived: BTreeMap<Fault, [u64; 2]>,
    skipped: Vec<Fault>,
    starts: u64,
    /// The largest growth of a daemon's memory, in KiB.
    grown: u64,
}

impl Soak {
    fn new(engine: &str, seed: u64) -> Self {
        let (around, skipped) = Around::new(engine);
        for (fault, why) in &skipped {
            tell(&format!("{engine}: SKIPPED: {fault}: {why}"));
        }
        Soak {
            engine: engine.to_owned(),
            seed,
            began: Instant::now(),
            random: Seeded(seed),
            around,
            busy: Busy {
                load: Load::new(seed, CONNECTIONS),
                promises: Promises::default(),
                answered: 0,
                refused: 0,
                last_words: 0,
            },
            survived: BTreeMap::new(),
            skipped: skipped.into_iter().map(|(fault, _)| fault).collect(),
            starts: 0,
            grown: 0,
        }
    }

    /// Returns each supported fault once, in random order.
    fn shuffled(&mut self) -> Vec<Fault> {
        let mut deck: Vec<Fault> = Fault::ALL.to_vec();
        deck.retain(|fault| !self.skipped.contains(fault));
        for last in (1..deck.len()).rev() {
            deck.swap(last, self.random.below(last as u64 + 1) as usize);
        }
        deck
    }

    /// Starts a daemon with the current fault schedule, and measures it after its warm-up.
    fn start(&mut self) -> Life {
        self.starts += 1;
        let daemon = self.around.launch().start();
        self.busy.during(&daemon, |_| thread::sleep(WARM_UP));
        Life::warm(daemon, self.around.place())
    }

    /// Causes one fault. Returns the daemon, or its successor.
    fn round(&mut self, life: Life, fault: Fault) -> Life {
        let began = self.began.elapsed();
        let when =
            format!("{}, seed {}, {:.0} s after the start, {fault}", self.engine, self.seed, began.as_secs_f32());
        let mut random = Seeded(self.random.number());
        let Life { daemon, at_first } = life;
        let outcome =
            self.busy.during(&daemon, |exchanges| fault.strike(&self.around, &daemon, exchanges, &mut random));
        let counts = self.survived.entry(fault).or_default();
        counts[0] += 1;
        let life = match outcome {
            Outcome::Serves => Life { daemon, at_first },
            Outcome::MayHaveEnded => match daemon.ended_within(Duration::ZERO) {
                Ok(ended) => {
                    assert!(ended.status.code().is_none(), "{when}: {}\n{}", ended.status, ended.log.text());
                    counts[1] += 1;
                    self.start()
                }
                Err(daemon) => Life { daemon, at_first },
            },
            Outcome::Killed => {
                assert!(daemon.ended_within(LIMIT).is_ok(), "{when}: it was killed");
                counts[1] += 1;
                self.start()
            }
            Outcome::Rotating(since) => {
                daemon.stopped(since);
                self.around.assert_audit_whole(&when);
                self.around.generation += 1;
                let life = self.start();
                rotation::begin(&mut life.daemon.client());
                life
            }
        };
        self.around.calm();
        life.wait_until_well(&when);
        self.busy.wait_for_the_writer(&life.daemon, &when);
        let log = life.daemon.log().text();
        assert!(!log.contains("a bug") && !log.contains("panicked"), "{when}:\n{log}");
        self.busy.promises.check(&mut life.daemon.client(), Extent::Sample(SAMPLE), &mut random);
        self.busy.promises.assert_kept(&when);
        self.grown = self.grown.max(life.assert_nothing_stays(self.around.place(), &when));
        println!("{when}: survived in {:.1} s", (self.began.elapsed() - began).as_secs_f32());
        life
    }

    /// Checks that all answers are kept, the counts are exact, and the audit log is whole.
    fn end(mut self, life: Life) {
        let when = format!("{}, seed {}, at the end", self.engine, self.seed);
        let mut client = life.daemon.client().patient(END_LIMIT);
        if self.around.generation > 1 {
            let rotation = rotation::wait_within(&mut client, END_LIMIT);
            assert!(rotation["state"] == "done" && rotation["rows_failed"] == 0, "{when}: {rotation}");
        }
        self.busy.promises.check(&mut client, Extent::All, &mut self.random);
        let records = check_vault(&mut client);
        self.busy.promises.check_count(records);
        self.busy.promises.assert_kept(&when);
        if self.around.generation > 1 {
            rotation::assert_register_exact(&mut client, records);
        }
        drop(client);
        self.grown = self.grown.max(life.assert_nothing_stays(self.around.place(), &when));
        let since = Instant::now();
        life.tell_to_stop();
        life.daemon.stopped(since);
        self.around.assert_audit_whole(&when);
        self.tell_all(records);
    }

    fn tell_all(&self, records: u64) {
        let (engine, busy) = (&self.engine, &self.busy);
        for (fault, [times, ended]) in &self.survived {
            let ended = if *ended > 0 { format!(", {ended} of them by a new start") } else { String::new() };
            tell(&format!("{engine}: {fault}: {times} survived{ended}"));
        }
        tell(&format!(
            "{engine}: {} faults in {:.0} s, {} starts, {} key generations; {} items answered, {} refused or not answered; {} \
             records at the end, all as answered, {} promises looked at; the audit log whole; memory grew by {} MiB at most",
            self.survived.values().map(|[times, _]| times).sum::<u64>(),
            self.began.elapsed().as_secs_f32(),
            self.starts,
            self.around.generation,
            busy.answered,
            busy.refused,
            records,
            busy.promises.looked_at(),
            self.grown / 1_024,
        ));
    }
}

/// The load, and its answers.
struct Busy {
    load: Load,
    promises: Promises,
    answered: u64,
    refused: u64,
    /// Values that were minted without other load.
    last_words: u64,
}

impl Busy {
    /// Waits for the single writer, so that requests of clients that are gone are either done or never will be. This
    /// request may be the one that finds a failed store; it is repeated until the store is open again.
    fn wait_for_the_writer(&mut self, daemon: &Daemon, when: &str) {
        let (mut client, began) = (around::alone(daemon), Instant::now());
        loop {
            self.last_words += 1;
            let subject = load::subject(LAST, self.last_words);
            let response = client.post("/api/v1/tokenize", &json!({ "items": [load::item(&subject)] }));
            let answer = (response.status == 200).then(|| {
                let result = response.results(1).remove(0);
                let token = result["token"].as_str().unwrap_or_else(|| panic!("{when}: no token: {result}"));
                (token.to_owned(), true)
            });
            let done = answer.is_some();
            self.promises.note(&Exchange::Tokenized { subject, answer });
            if done {
                return;
            }
            let of_audit = String::from_utf8_lossy(&response.body).contains("audit.unavailable");
            response.problem(503, if of_audit { "audit.unavailable" } else { "vault.unavailable" });
            assert!(began.elapsed() < LIMIT, "{when}: it does not write again");
            thread::sleep(around::PAUSE);
        }
    }

    /// Puts load on the daemon while `meanwhile` runs, and records all answers.
    fn during<T>(&mut self, daemon: &Daemon, meanwhile: impl FnOnce(&mut Vec<Exchange>) -> T) -> T {
        let (over, all_connected) = (AtomicBool::new(false), Once::new());
        let (connected, connecting) = mpsc::channel();
        let at = |moment| {
            // A client that failed to connect no longer waits.
            all_connected.call_once(|| {
                let _ = connected.send(());
            });
            if let Moment::Sent(_) = moment {
                thread::sleep(PACE);
            }
            if over.load(Ordering::Relaxed) { Next::Stop } else { Next::GoOn }
        };
        let conduct = Conduct { at: &at, clock: &|| 0, refusals: Refusals::GoOn };
        let (load, promises) = (&mut self.load, &self.promises);
        let mut exchanges = Vec::new();
        let (done, steps) = thread::scope(|scope| {
            let running = scope.spawn(move || load.run(daemon, promises, conduct));
            let over = Over(&over);
            connecting.recv_timeout(LIMIT).expect("the clients connect, and one of them asks");
            let done = meanwhile(&mut exchanges);
            drop(over);
            (done, running.join().expect("the output above has the cause"))
        });
        exchanges.extend(steps.into_iter().flatten().map(|step| step.exchange));
        for exchange in &exchanges {
            *(if exchange.is_open() { &mut self.refused } else { &mut self.answered }) += 1;
            self.promises.note(exchange);
        }
        done
    }
}

/// Ends the load in any case.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
