//! A daemon to which everything happens, one thing after the other and under load: what it cannot do it refuses, what it
//! answered is there, and of what it needed for that nothing stays with it.
//!
//! What befalls it is dealt from a deck that a seed shuffles, so that each thing comes as often as any other. Where this
//! machine lacks something that one of them takes, it is left out, and that is said.

mod around;
mod faults;
mod host;
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
    promises::{Extent, Promises, Told},
    rotation,
};
use crate::{
    harness::{Daemon, LIMIT, masker},
    powercut::disk::Seeded,
};

on_each_engine!(whatever_befalls_it_is_survived);

const CONNECTIONS: usize = 6;
/// How long a client waits before it looks for its answer: this sets the pace, not the machine.
const PACE: Duration = Duration::from_millis(15);
/// The load that a daemon has before what it holds is measured.
const WARM_UP: Duration = Duration::from_millis(1_500);
/// Older promises that are looked at after each fault; all of them are at the end.
const SAMPLE: u64 = 200;
/// Whose values those are that are minted when nobody else asks.
const LAST: u64 = 97;
/// In which a rotation of everything ends beside the load, and everything is looked at once: the vault may be large by then,
/// and the machine busy.
const END_LIMIT: Duration = Duration::from_secs(600);

fn whatever_befalls_it_is_survived(engine: &str) {
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

/// Writes a line that is shown by a test that passes, too.
fn tell(line: &str) {
    // Whoever runs the tests may not be listening.
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
    /// How often each was survived, and how often of those the daemon was ended by it and started again.
    survived: BTreeMap<Fault, [u64; 2]>,
    skipped: Vec<Fault>,
    starts: u64,
    /// The most that a daemon held beyond what it held at first, in KiB.
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

    /// All that can happen here, once each and in some order.
    fn shuffled(&mut self) -> Vec<Fault> {
        let mut deck: Vec<Fault> = Fault::ALL.to_vec();
        deck.retain(|fault| !self.skipped.contains(fault));
        for last in (1..deck.len()).rev() {
            deck.swap(last, self.random.below(last as u64 + 1) as usize);
        }
        deck
    }

    /// Starts a daemon with the current faults, and measures what it holds once it is warm.
    fn start(&mut self) -> Life {
        self.starts += 1;
        let daemon = self.around.launch().start();
        self.busy.during(&daemon, |_| thread::sleep(WARM_UP));
        Life::warm(daemon, self.around.place())
    }

    /// One thing happens to the daemon. Returns the daemon, or the one that was started after it.
    fn round(&mut self, life: Life, fault: Fault) -> Life {
        let began = self.began.elapsed();
        let when =
            format!("{}, seed {}, {:.0} s after the start, {fault}", self.engine, self.seed, began.as_secs_f32());
        let mut random = Seeded(self.random.number());
        let Life { daemon, at_first } = life;
        let outcome = self.busy.during(&daemon, |told| fault.strike(&self.around, &daemon, told, &mut random));
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
            Outcome::ToldToRotate(since) => {
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

    /// Everything that was answered is there, the books are exact, and the audit log is whole.
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

/// The load, and what it was answered.
struct Busy {
    load: Load,
    promises: Promises,
    answered: u64,
    refused: u64,
    /// Values that were minted when nobody else asked.
    last_words: u64,
}

impl Busy {
    /// What was asked by clients that are gone is done or will not be, once the one writer has done what came after it. It
    /// may be this that finds a store that has failed, and is refused until that is open again.
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
            self.promises.note(&Told::Tokenized { subject, answer });
            if done {
                return;
            }
            let of_audit = String::from_utf8_lossy(&response.body).contains("audit.unavailable");
            response.problem(503, if of_audit { "audit.unavailable" } else { "vault.unavailable" });
            assert!(began.elapsed() < LIMIT, "{when}: it does not write again");
            thread::sleep(around::PAUSE);
        }
    }

    /// Keeps the daemon busy while this goes on, and takes note of all that was answered, there too.
    fn during<T>(&mut self, daemon: &Daemon, meanwhile: impl FnOnce(&mut Vec<Told>) -> T) -> T {
        let (over, all_connected) = (AtomicBool::new(false), Once::new());
        let (connected, connecting) = mpsc::channel();
        let at = |moment| {
            // Whoever waits for it has given up, if it does not any more.
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
        let mut told = Vec::new();
        let (done, steps) = thread::scope(|scope| {
            let running = scope.spawn(move || load.run(daemon, promises, conduct));
            let over = Over(&over);
            connecting.recv_timeout(LIMIT).expect("the clients connect, and one of them asks");
            let done = meanwhile(&mut told);
            drop(over);
            (done, running.join().expect("what it saw stands above"))
        });
        told.extend(steps.into_iter().flatten().map(|step| step.told));
        for told in &told {
            *(if told.is_open() { &mut self.refused } else { &mut self.answered }) += 1;
            self.promises.note(told);
        }
        done
    }
}

/// Ends the load, however that has ended for which it went on.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
