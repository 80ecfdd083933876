//! Power cuts: whatever was answered is there, whenever the power goes.

use std::{path::Path, process::Command, time::Instant};

use masker::store::{
    Applied, Store,
    sled::{Options, SledStore},
};

use crate::{
    powercut::{
        Recorder,
        disk::{Cut, Disk, Event, Log, Seeded},
        mark,
    },
    runtime,
    workload::{Model, Workload, apply, contents},
};

const KEYS: u64 = 400;

/// What the recorded process does when the test binary is started again for it: opens the vault, applies batches, and
/// marks each when it was answered. Then it ends as told.
#[test]
fn child() {
    let Some(root) = std::env::var_os("STORE_CHILD_ROOT") else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (seed, from, to) = (number("STORE_CHILD_SEED"), number("STORE_CHILD_FROM"), number("STORE_CHILD_TO"));
    let store = SledStore::open(root, Options { cache_bytes: 1024 * 1024, accept_loss: false }).unwrap();
    mark("open\n");
    runtime().block_on(async {
        let mut workload = Workload::new(seed, KEYS, true);
        for number in 0..to {
            let batch = workload.batch();
            if number >= from {
                assert_eq!(store.apply(batch).await.unwrap(), Applied::Durable);
                mark(&format!("{number}\n"));
            }
        }
        if std::env::var_os("STORE_CHILD_CLOSES").is_some() {
            store.close().await.unwrap();
        }
    });
    // As `kill -9` would: nothing is dropped, nothing flushed.
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
}

fn run_child(recorder: Option<&Recorder>, root: &Path, seed: u64, from: u64, to: u64, closes: bool) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["power::child", "--exact", "--nocapture", "--test-threads=1"])
        .env("STORE_CHILD_ROOT", root)
        .env("STORE_CHILD_SEED", seed.to_string())
        .env("STORE_CHILD_FROM", from.to_string())
        .env("STORE_CHILD_TO", to.to_string())
        .stdout(std::process::Stdio::null());
    if closes {
        command.env("STORE_CHILD_CLOSES", "1");
    }
    if let Some(recorder) = recorder {
        recorder.record(&mut command);
    }
    let status = command.status().unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(status.signal(), Some(9), "the child ends by its own hand: {status}");
}

/// What the marks before a point say.
#[derive(Clone, Default)]
struct Answered {
    opened: bool,
    batches: u64,
}

impl Answered {
    fn note(&mut self, event: &Event) {
        if let Event::Marked(text) = event {
            match text.trim_end() {
                "open" => self.opened = true,
                number => self.batches = number.parse::<u64>().unwrap() + 1,
            }
        }
    }
}

/// Opens a rebuilt directory and holds it against the model: what was answered is there, and of the batch
/// after that either all or nothing.
fn verify(root: &Path, answered: &Answered, model: &Model, next: &Model) -> Result<(), String> {
    let store = SledStore::open(root, Options { cache_bytes: 1024 * 1024, accept_loss: false })
        .map_err(|error| error.to_string())?;
    runtime().block_on(async {
        let found = contents(&store).await;
        let checked = store.check().await.map_err(|error| error.to_string())?;
        store.close().await.map_err(|error| error.to_string())?;
        if found != *model && found != *next {
            let missing = model.keys().filter(|key| !found.contains_key(key)).count();
            return Err(format!(
                "{} rows instead of {}, {missing} missing after {} batches",
                found.len(),
                model.len(),
                answered.batches
            ));
        }
        if !checked.sound {
            return Err(format!("the books do not agree: {checked:?}"));
        }
        Ok(())
    })
}

struct Cuts {
    seed: u64,
    sessions: u64,
    batches_a_session: u64,
    cuts: u64,
}

/// Records a run of several sessions and cuts its power at many points.
fn cut_power(plan: &Cuts) -> Vec<String> {
    let seed = plan.seed;
    let scratch = scratch();
    let root = scratch.path().join("vault");
    make(&root);
    let recorder = match Recorder::new(&root, scratch.path()) {
        Ok(recorder) => recorder,
        Err(reason) => panic!("{reason}"),
    };
    let base = Disk::holding(&root);
    let begun = Instant::now();
    for session in 0..plan.sessions {
        let from = session * plan.batches_a_session;
        run_child(Some(&recorder), &root, seed, from, from + plan.batches_a_session, session % 2 == 1);
    }
    let log = recorder.log();
    describe(&log, begun.elapsed().as_secs_f32());

    let mut random = Seeded(seed ^ 0xC07);
    let mut points: Vec<usize> = (0..plan.cuts).map(|_| random.below(log.events.len() as u64 + 1) as usize).collect();
    points.sort_unstable();
    let mut disk = base;
    let mut answered = Answered::default();
    let mut workload = Workload::new(seed, KEYS, true);
    let (mut model, mut next) = (Model::new(), Model::new());
    apply(&mut next, &workload.batch());
    let (mut played, mut failures) = (0, Vec::new());
    for point in points {
        while played < point {
            let before = answered.batches;
            answered.note(&log.events[played]);
            if answered.batches > before {
                model = next.clone();
                apply(&mut next, &workload.batch());
            }
            played += 1;
        }
        disk.play(&log, point);
        let cut = Cut::ALL[random.below(Cut::ALL.len() as u64) as usize];
        let target = scratch.path().join("rebuilt");
        make(&target);
        let mut before_cut = random.clone();
        disk.rebuild(&log, cut, &mut random, &target);
        if let Err(what) = verify(&target, &answered, &model, &next) {
            failures.push(format!("seed {seed}, {cut:?} before event {point}: {what}"));
            if let Some(keep) = std::env::var_os("POWERCUT_KEEP") {
                let kept = Path::new(&keep).join(format!("{seed}-{point}"));
                make(&kept);
                disk.rebuild(&log, cut, &mut before_cut, &kept);
            }
        }
        std::fs::remove_dir_all(&target).unwrap();
    }
    println!("seed {seed}: {} cuts, {} failures, {:.1} s", plan.cuts, failures.len(), begun.elapsed().as_secs_f32());
    failures
}

fn make(folder: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(folder).unwrap();
}

/// Memory where there is some: the disk is on paper, and the test should not wait for a real one.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn describe(log: &Log, seconds: f32) {
    let count = |wanted: fn(&Event) -> bool| log.events.iter().filter(|event| wanted(event)).count();
    println!(
        "recorded {} events in {seconds:.1} s: {} writes, {} syncs, {} range syncs, {} renames, {} marks",
        log.events.len(),
        count(|event| matches!(event, Event::Wrote { .. })),
        count(|event| matches!(event, Event::SyncEnded { .. })),
        count(|event| matches!(event, Event::RangeSynced)),
        count(|event| matches!(event, Event::Renamed { .. })),
        count(|event| matches!(event, Event::Marked(_))),
    );
}

#[test]
fn what_was_answered_survives_power_cuts() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let plan = Cuts {
        seed: number("POWERCUT_SEED", 1),
        sessions: number("POWERCUT_SESSIONS", 4),
        batches_a_session: number("POWERCUT_BATCHES", 300),
        cuts: number("POWERCUT_CUTS", 100),
    };
    let failures = cut_power(&plan);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
