//! Power cuts: acknowledged batches survive them at any moment.
//!
//! `POWERCUT_SEED`, `POWERCUT_SESSIONS`, `POWERCUT_BATCHES` (per session) and `POWERCUT_CUTS` make longer runs.
//! `POWERCUT_KEEP` is a folder for the directories of failures.

use std::{path::Path, time::Instant};

use masker_store::embedded::EmbeddedStore;
use masker_types::engine::EngineKind;

use crate::{
    child::Child,
    powercut::{
        Recorder,
        disk::{Cut, Disk, Event, Log, Seeded},
    },
    runtime, scratch, small,
    workload::{Model, Workload, differences},
};

on_each_engine!(
    answers_survive_power_cuts,
    acknowledged_batches_survive_power_cuts_during_compactions,
    acknowledged_batches_survive_repeated_power_cuts,
    failing_syncs_lose_nothing,
    failing_syncs_of_compactions_lose_nothing,
    the_store_recovers_whichever_sync_fails,
);

/// Few enough that segments are reused, and enough that batches span several.
const KEYS: u64 = 2_000;

struct Plan {
    engine: EngineKind,
    seed: u64,
    sessions: u64,
    batches_a_session: u64,
    cuts: u64,
    fail_syncs: Option<u32>,
    compacts: bool,
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

impl Plan {
    fn from_environment(engine: EngineKind) -> Self {
        Plan {
            engine,
            seed: number("POWERCUT_SEED", 3),
            sessions: number("POWERCUT_SESSIONS", 4),
            batches_a_session: number("POWERCUT_BATCHES", 120),
            cuts: number("POWERCUT_CUTS", 160),
            fail_syncs: None,
            compacts: false,
        }
    }
}

/// What a recorded process had acknowledged by some point of its log, and its rows then.
struct Answered {
    engine: EngineKind,
    batches: u64,
    model: Model,
    /// The rows with the batch that may have been running.
    next: Model,
    workload: Workload,
}

impl Answered {
    fn nothing(engine: EngineKind, seed: u64) -> Self {
        let mut workload = Workload::new(seed, KEYS, true);
        let mut next = Model::default();
        next.apply(&workload.batch());
        Answered { engine, batches: 0, model: Model::default(), next, workload }
    }

    fn note(&mut self, event: &Event) {
        let Event::Marked(text) = event else { return };
        let text = text.trim_end();
        if ["open", "failed", "compacted"].contains(&text) {
            return;
        }
        assert_eq!(text.parse(), Ok(self.batches), "batches are acknowledged in order");
        self.batches += 1;
        self.model = self.next.clone();
        self.next.apply(&self.workload.batch());
    }

    /// Opens a rebuilt directory, and checks that the acknowledged batches are there, and of the next one all or nothing.
    fn check_in(&self, root: &Path) -> Result<(), String> {
        let store = EmbeddedStore::open(root, small(self.engine)).map_err(|error| error.to_string())?;
        runtime().block_on(async {
            if let (Err(old), Err(new)) =
                (differences(&store, &self.model).await, differences(&store, &self.next).await)
            {
                return Err(format!("after {} batches: {old}; with the running one: {new}", self.batches));
            }
            masker_store::Store::close(&store).await.map_err(|error| error.to_string())
        })
    }
}

/// A recorded run of several sessions. Some end by a kill, some cleanly.
struct Run {
    folder: tempfile::TempDir,
    base: Disk,
    log: Log,
}

fn record(plan: &Plan) -> Run {
    let folder = scratch();
    let root = folder.path().join("vault");
    make(&root);
    let recorder = Recorder::new(&root, folder.path()).unwrap_or_else(|reason| panic!("{reason}"));
    let base = Disk::holding(&root);
    for session in 0..plan.sessions {
        let from = session * plan.batches_a_session;
        let child = Child {
            engine: plan.engine,
            seed: plan.seed,
            keys: KEYS,
            from,
            to: from + plan.batches_a_session,
            closes: session % 2 == 1,
            compacts: plan.compacts,
        };
        child.run(&root, &recorder, plan.fail_syncs);
    }
    let log = recorder.log();
    let (written, longest) = log.volume();
    println!(
        "seed {}: {} events, {} writes of {written} bytes into {longest}, {} syncs, {} renames",
        plan.seed,
        log.events.len(),
        log.count(|event| matches!(event, Event::Wrote { .. })),
        log.count(|event| matches!(event, Event::SyncEnded { .. })),
        log.count(|event| matches!(event, Event::Renamed { .. })),
    );
    // sled renames its snapshots, and fjall its lists of tables.
    let replaced = match plan.engine {
        EngineKind::Sled => "sled/snap.",
        EngineKind::Fjall => "fjall/keyspaces/1/",
    };
    let replaced = log.count(|event| matches!(event, Event::Renamed { to, .. } if to.starts_with(replaced)));
    assert!(replaced as u64 >= plan.sessions - 1, "no snapshots or tables were written");
    assert_eq!(log.count(|event| matches!(event, Event::RangeSynced)), 0, "there is a weak barrier");
    Run { folder, base, log }
}

/// Cuts the power at `cuts` points of a run, half of them while several writes are unsynced.
fn cut_power(run: &Run, plan: &Plan, lying: bool) -> Vec<String> {
    let begun = Instant::now();
    let mut random = Seeded(plan.seed ^ 0xC07);
    let busy = run.log.busy_points();
    let mut points: Vec<usize> = (0..plan.cuts)
        .map(|number| match number % 2 {
            0 if !busy.is_empty() => busy[random.below(busy.len() as u64) as usize],
            _ => random.below(run.log.events.len() as u64 + 1) as usize,
        })
        .collect();
    points.sort_unstable();

    let mut disk = run.base.clone();
    disk.lying = lying;
    let mut answered = Answered::nothing(plan.engine, plan.seed);
    let (mut played, mut failures) = (0, Vec::new());
    for point in points {
        run.log.events[played..point].iter().for_each(|event| answered.note(event));
        played = point;
        disk.play(&run.log, point);
        if let Err(what) = cut_here(&disk, &run.log, &answered, &mut random, run.folder.path()) {
            failures.push(format!("seed {}, event {point}: {what}", plan.seed));
        }
    }
    println!("{} cuts, {} failures, {:.1} s", plan.cuts, failures.len(), begun.elapsed().as_secs_f32());
    failures
}

/// Cuts the power at the current point of the disk, and checks what is left.
fn cut_here(disk: &Disk, log: &Log, answered: &Answered, random: &mut Seeded, beside: &Path) -> Result<(), String> {
    let cut = Cut::any(random);
    let mut again = random.clone();
    let target = beside.join("rebuilt");
    make(&target);
    disk.rebuild(log, cut, random, &target);
    let checked = answered.check_in(&target).map_err(|what| format!("{cut:?}: {what}"));
    std::fs::remove_dir_all(&target).unwrap();
    if let (Err(_), Some(keep)) = (&checked, std::env::var_os("POWERCUT_KEEP")) {
        let kept = Path::new(&keep).join(format!("{cut:?}-{}", random.number()));
        make(&kept);
        disk.rebuild(log, cut, &mut again, &kept);
    }
    checked
}

fn make(folder: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(folder).unwrap();
}

fn answers_survive_power_cuts(engine: EngineKind) {
    let plan = Plan::from_environment(engine);
    let run = record(&plan);
    let (written, longest) = run.log.volume();
    assert!(engine != EngineKind::Sled || written > 2 * longest, "no segments were reused");
    let failures = cut_power(&run, &plan, false);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // On a disk whose syncs do nothing, rows must be missing. Otherwise the test would detect nothing.
    let few = Plan { cuts: 20, ..plan };
    assert!(!cut_power(&run, &few, true).is_empty(), "a disk whose syncs do nothing was not detected");
}

fn acknowledged_batches_survive_power_cuts_during_compactions(engine: EngineKind) {
    let plan = Plan { sessions: 3, batches_a_session: 60, compacts: true, ..Plan::from_environment(engine) };
    let run = record(&plan);
    let compactions = run.log.count(|event| matches!(event, Event::Marked(text) if text == "compacted\n"));
    println!("{compactions} compactions");
    assert!(compactions > 3);
    let failures = cut_power(&run, &plan, false);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // Every event near a rename.
    let mut random = Seeded(plan.seed ^ 0x4E);
    let (mut disk, mut answered, mut played) = (run.base.clone(), Answered::nothing(plan.engine, plan.seed), 0);
    for (number, event) in run.log.events.iter().enumerate() {
        if matches!(event, Event::Renamed { from, .. } if from.starts_with(engine.name()) && !from.contains('/')) {
            for point in number.saturating_sub(3)..=(number + 6).min(run.log.events.len()) {
                if point < played {
                    continue;
                }
                run.log.events[played..point].iter().for_each(|event| answered.note(event));
                played = point;
                disk.play(&run.log, point);
                let checked = cut_here(&disk, &run.log, &answered, &mut random, run.folder.path());
                assert_eq!(checked, Ok(()), "seed {}, event {point}", plan.seed);
            }
        }
    }
}

fn acknowledged_batches_survive_repeated_power_cuts(engine: EngineKind) {
    let (seed, rounds) = (number("POWERCUT_SEED", 3), number("POWERCUT_ROUNDS", 12));
    println!("seed {seed}, {rounds} rounds");
    let mut random = Seeded(seed ^ 0x2CD);
    let mut answered = Answered::nothing(engine, seed);
    let mut folder = scratch();
    make(&folder.path().join("vault"));
    for round in 0..rounds {
        // Recovers what the last cut left, and writes to it.
        let root = folder.path().join("vault");
        let recorder = Recorder::new(&root, folder.path()).unwrap_or_else(|reason| panic!("{reason}"));
        let mut disk = Disk::holding(&root);
        let (from, closes) = (answered.batches, round % 3 == 0);
        Child { engine, seed, keys: KEYS, from, to: from + 25, closes, compacts: round % 2 == 1 }
            .run(&root, &recorder, None);
        let log = recorder.log();
        let opened = log.events.iter().position(|event| matches!(event, Event::Marked(_))).unwrap();

        // The next round begins during recovery or after it, with equal probability.
        let last = if random.chance(50) { opened } else { log.events.len() };
        let next = random.below(last as u64 + 1) as usize;
        for point in 0..=next {
            disk.play(&log, point);
            if point > 0 {
                answered.note(&log.events[point - 1]);
            }
            if random.chance(if point <= opened { 25 } else { 3 }) {
                let checked = cut_here(&disk, &log, &answered, &mut random, folder.path());
                assert_eq!(checked, Ok(()), "seed {seed}, round {round}, event {point} of {}", log.events.len());
            }
        }
        let left = scratch();
        make(&left.path().join("vault"));
        disk.rebuild(&log, Cut::any(&mut random), &mut random, &left.path().join("vault"));
        folder = left;
    }
    println!("{} batches acknowledged", answered.batches);
    assert_eq!(answered.check_in(&folder.path().join("vault")), Ok(()), "seed {seed}");
}

fn failing_syncs_lose_nothing(engine: EngineKind) {
    // fjall syncs less often.
    let every = if engine == EngineKind::Sled { 101 } else { 31 };
    let plan = Plan {
        sessions: 2,
        batches_a_session: 60,
        cuts: 60,
        fail_syncs: Some(every),
        ..Plan::from_environment(engine)
    };
    let run = record(&plan);
    let failed = run.log.count(|event| matches!(event, Event::Marked(text) if text == "failed\n"));
    assert!(failed > 0, "no batch failed at first");
    let failures = cut_power(&run, &plan, false);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn failing_syncs_of_compactions_lose_nothing(engine: EngineKind) {
    let plan = Plan {
        sessions: 2,
        batches_a_session: 60,
        cuts: 60,
        fail_syncs: Some(101),
        compacts: true,
        ..Plan::from_environment(engine)
    };
    let run = record(&plan);
    let compactions = run.log.count(|event| matches!(event, Event::Marked(text) if text == "compacted\n"));
    println!("{compactions} compactions");
    let failures = cut_power(&run, &plan, false);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn the_store_recovers_whichever_sync_fails(engine: EngineKind) {
    // A commit has about three syncs. Each of them fails in some of these runs.
    let first = match engine {
        EngineKind::Sled => 13,
        // fjall needs more syncs to create a vault, which must succeed.
        EngineKind::Fjall => 41,
    };
    for every in first..first + 20 {
        let plan = Plan {
            engine,
            seed: 3,
            sessions: 1,
            batches_a_session: 40,
            fail_syncs: Some(every),
            cuts: 0,
            compacts: false,
        };
        let run = record(&plan);
        let answered = run.log.events.iter().fold(Answered::nothing(plan.engine, plan.seed), |mut answered, event| {
            answered.note(event);
            answered
        });
        assert_eq!(answered.batches, 40);
        assert_eq!(answered.check_in(&run.folder.path().join("vault")), Ok(()), "every {every}th sync failed");
    }
}
