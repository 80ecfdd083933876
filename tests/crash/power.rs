//! Power cuts under the whole daemon: a token in an answer survives, at any moment after it.
//!
//! The real daemon serves clients while each change of its files is recorded ([`crate::powercut`]). For each answer
//! the test knows the length of that record before the request was sent and after the answer was read. Then it
//! rebuilds the files as a power cut could have left them, at many points, and starts a daemon on them. What was
//! answered before that point must be there. What was not yet requested must not. Anything between may be either, but
//! whole.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use nix::sys::signal::Signal;

use super::{
    disk::wait_for_service,
    kill::check_vault,
    load::{Conduct, Load, Moment, Next, Refusals, SHARED, Step, owner},
    number,
    promises::{Exchange, Extent, Promises},
    scratch,
};
use crate::{
    harness::{Client, Daemon, Site},
    powercut::{
        Recorder,
        disk::{Cut, Disk, Event, Log, Seeded},
    },
};

const CONNECTIONS: usize = 6;

/// A run of several sessions of the daemon on one vault, as recorded by the disk and by the clients.
struct Recorded {
    disk: Disk,
    log: Log,
    steps: Vec<Step>,
}

struct Plan {
    seed: u64,
    sessions: u64,
    /// Requests that are answered in a session.
    answers: u64,
    /// In the last session, one sync in this many fails.
    failing_syncs: Option<u64>,
}

/// How long a sync takes: long enough for clients to see data that is written but not durable yet.
const SYNC_MICROSECONDS: &str = "1500";

/// How often clients start again in a session with failing syncs.
const FAILURES: usize = 6;

fn start(site: &Site, vault: &Path, recorder: &Recorder, failing_syncs: Option<u64>) -> Daemon {
    let mut launch = site.launch().care_keys().env("MASKER_DATA_DIR", vault);
    launch = launch.env("POWERCUT_SYNC_MICROSECONDS", SYNC_MICROSECONDS);
    for (name, path) in recorder.environment() {
        launch = launch.env(name, path);
    }
    if let Some(every) = failing_syncs {
        launch = launch.env("POWERCUT_FAIL_SYNCS", every.to_string());
    }
    launch.start()
}

/// Sessions end alternately by `kill -9` and by a clean stop.
fn record(plan: &Plan, site: &Site, folder: &Path) -> Recorded {
    let vault = folder.join("vault");
    make(&vault);
    let recorder = Recorder::new(&vault, folder).unwrap_or_else(|reason| panic!("{reason}"));
    let disk = Disk::holding(&vault);
    let mut random = Seeded(plan.seed);
    let (mut load, mut promises) = (Load::new(plan.seed, CONNECTIONS), Promises::default());
    let mut steps = Vec::new();
    for session in 0..plan.sessions {
        let failing_syncs = plan.failing_syncs.filter(|_| session + 1 == plan.sessions);
        let daemon = start(site, &vault, &recorder, failing_syncs);
        steps.extend(settle(&mut promises, &mut daemon.client(), &recorder, &mut random));
        let kills = session % 2 == 0;
        let killed = AtomicBool::new(false);
        let at = |moment| match moment {
            Moment::Answered(answered) if answered >= plan.answers && !kills => Next::Stop,
            Moment::Answered(answered) if answered >= plan.answers => {
                if !killed.swap(true, Ordering::SeqCst) {
                    // After the signal no thread returns from a system call.
                    let _still = recorder.hold_still();
                    daemon.signal(Signal::SIGKILL);
                }
                Next::GoOn
            }
            _ => Next::GoOn,
        };
        let clock = || recorder.length();
        let refusals = if failing_syncs.is_some() { Refusals::Stop } else { Refusals::Never };
        let conduct = Conduct { at: &at, clock: &clock, refusals };
        for _ in 0..failing_syncs.map_or(1, |_| FAILURES) {
            let answered: Vec<Step> = load.run(&daemon, &promises, conduct).into_iter().flatten().collect();
            answered.iter().for_each(|step| promises.note(&step.exchange));
            let refused = answered.iter().any(|step| step.exchange.is_open());
            steps.extend(answered);
            promises.assert_kept("while the power is on");
            if !refused || killed.load(Ordering::SeqCst) {
                break;
            }
            wait_for_service(&daemon);
        }
        if kills {
            daemon.kill()
        } else {
            daemon.stop()
        };
    }
    Recorded { disk, log: recorder.log(), steps }
}

/// Checks everything after a restart. Unanswered requests that took effect become promises.
fn settle(promises: &mut Promises, client: &mut Client, recorder: &Recorder, random: &mut Seeded) -> Vec<Step> {
    let began = recorder.length();
    let open = promises.open();
    promises.check(client, Extent::All, random);
    promises.assert_kept("after a restart");
    let ended = recorder.length();
    let found = open.into_iter().filter_map(|subject| {
        let token = promises.token(&subject)?.to_owned();
        Some(Step { began, ended, exchange: Exchange::Tokenized { subject, answer: Some((token, false)) } })
    });
    found.collect()
}

/// Returns the promises at this length of the log.
fn promised(steps: &[Step], length: u64) -> Promises {
    let mut promises = Promises::default();
    for step in steps.iter().filter(|step| step.began <= length) {
        match &step.exchange {
            Exchange::Rehydrated { .. } => {}
            exchange if step.ended <= length => promises.note(exchange),
            exchange => promises.note(&exchange.clone().unanswered()),
        }
    }
    promises
}

/// Chooses the moments of the power cuts: anywhere, right after an answer, or right after an answer with a token that
/// another client's request has just minted.
fn points(recorded: &Recorded, cuts: u64, random: &mut Seeded) -> Vec<usize> {
    let log = &recorded.log;
    let answered: Vec<&Step> = recorded.steps.iter().filter(|step| step.ended < u64::MAX).collect();
    let of_others = |step: &&&Step| matches!(&step.exchange, Exchange::Tokenized { subject, answer: Some((_, false)) } if owner(subject) == SHARED);
    let of_others: Vec<&Step> = answered.iter().filter(of_others).copied().collect();
    let after = |steps: &[&Step], random: &mut Seeded| {
        let step = steps[random.below(steps.len() as u64) as usize];
        log.events_within(step.ended)
    };
    let point = |number| match number % 3 {
        0 => random.below(log.events.len() as u64 + 1) as usize,
        1 => after(&answered, random),
        _ => after(&of_others, random),
    };
    let mut points: Vec<usize> = (0..cuts).map(point).collect();
    points.sort_unstable();
    points
}

/// Cuts the power at many points. Returns the faults, and the number of promises checked.
fn cut_power(recorded: Recorded, cuts: u64, seed: u64, site: &Site, folder: &Path) -> (Vec<String>, u64) {
    let mut random = Seeded(seed ^ 0xC07);
    let points = points(&recorded, cuts, &mut random);
    let Recorded { mut disk, log, steps } = recorded;
    let (mut failures, mut looked_at) = (Vec::new(), 0);
    let target = folder.join("rebuilt");
    for point in points {
        disk.play(&log, point);
        let cut = Cut::any(&mut random);
        make(&target);
        let mut again = random.clone();
        disk.rebuild(&log, cut, &mut random, &target);
        let mut promises = promised(&steps, log.length_before(point));
        if let Err(what) = verify(site, &target, &mut promises, &mut random) {
            failures.push(format!("seed {seed}, {cut:?} before event {point}: {what}"));
            if let Some(keep) = std::env::var_os("POWERCUT_KEEP") {
                let kept = PathBuf::from(keep).join(format!("daemon-{seed}-{point}"));
                make(&kept);
                disk.rebuild(&log, cut, &mut again, &kept);
            }
        }
        looked_at += promises.looked_at();
        fs::remove_dir_all(&target).expect("the folder can be removed");
    }
    (failures, looked_at)
}

/// Starts a daemon on what is left, and compares it with the promises.
fn verify(site: &Site, vault: &Path, promises: &mut Promises, random: &mut Seeded) -> Result<(), String> {
    let launch = site.launch().care_keys().env("MASKER_DATA_DIR", vault);
    let daemon = launch.attempt().map_err(|ended| format!("{}: {}", ended.status, ended.log.text()))?;
    let mut client = daemon.client();
    promises.check(&mut client, Extent::All, random);
    promises.check_count(check_vault(&mut client));
    daemon.kill();
    match promises.broken() {
        [] => Ok(()),
        broken => Err(format!("{} broken promises, such as {}", broken.len(), broken[0])),
    }
}

fn make(folder: &Path) {
    fs::DirBuilder::new().mode(0o700).create(folder).expect("a folder can be made");
}

on_each_engine!(answers_survive_power_cuts, answers_survive_power_cuts_on_a_disk_whose_syncs_fail,);

/// Records a run of this plan and cuts its power `cuts` times.
fn survives(engine: &str, plan: &Plan, cuts: u64) {
    println!("seed {}", plan.seed);
    let began = Instant::now();
    let (site, folder) = (Site::of(engine), scratch());
    let recorded = record(plan, &site, folder.path());
    println!(
        "recorded {} changes and syncs, {} of them failed, and {} items asked, in {:.1} s",
        recorded.log.events.len(),
        recorded.log.count(|event| matches!(event, Event::SyncFailed { .. })),
        recorded.steps.len(),
        began.elapsed().as_secs_f32()
    );
    let (failures, looked_at) = cut_power(recorded, cuts, plan.seed, &site, folder.path());
    println!(
        "{cuts} cuts: {} failures, {looked_at} promises looked at, {:.1} s",
        failures.len(),
        began.elapsed().as_secs_f32()
    );
    assert!(failures.is_empty(), "{} of {cuts} cuts:\n{}", failures.len(), failures.join("\n"));
}

fn answers_survive_power_cuts(engine: &str) {
    let plan = Plan {
        seed: number("CRASH_SEED", 1),
        sessions: number("CRASH_SESSIONS", 4),
        answers: number("CRASH_ANSWERS", 400),
        failing_syncs: None,
    };
    survives(engine, &plan, number("CRASH_CUTS", 200));
}

fn answers_survive_power_cuts_on_a_disk_whose_syncs_fail(engine: &str) {
    let plan = Plan { seed: number("CRASH_SEED", 2), sessions: 2, answers: 200, failing_syncs: Some(97) };
    survives(engine, &plan, number("CRASH_CUTS", 60));
}
