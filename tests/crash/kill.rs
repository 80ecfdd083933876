//! `kill -9`, a hundred times, at any point: what was answered is kept.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use nix::sys::signal::Signal;
use serde_json::json;

use super::{
    load::{Conduct, Load, Moment, Next, Refusals, Step},
    number,
    promises::{Extent, Promises},
};
use crate::{
    harness::{Client, Daemon, Launch, Site, TestKey},
    powercut::disk::Seeded,
};

on_each_engine!(answers_survive_a_hundred_kills);

const CONNECTIONS: usize = 8;

/// Older promises to check after each kill; at the end all of them are checked.
const SAMPLE: u64 = 400;

/// A message that a daemon logs while it opens its vault.
const OPENING: &str = "inspected the database";

/// The second half of the kills is under another key. Values keep their tokens.
fn launch(site: &Site, second_half: bool) -> Launch<'_> {
    let launch = site.launch().care_keys();
    if !second_half {
        return launch;
    }
    launch.key("K_CARE", &TestKey::named("new care")).old_key("K_CARE", &TestKey::named("care"))
}

fn answers_survive_a_hundred_kills(engine: &str) {
    let (seed, kills) = (number("CRASH_SEED", 1), number("CRASH_KILLS", 100));
    println!("seed {seed}");
    let began = Instant::now();
    let site = Site::of(engine);
    let mut random = Seeded(seed);
    let (mut load, mut promises) = (Load::new(seed, CONNECTIONS), Promises::default());
    let (mut steps, mut open, mut opening) = (0, 0, 0);
    for kill in 0..kills {
        // Sometimes it is killed while it opens what the last kill left.
        if kill > 0 && random.chance(15) {
            launch(&site, kill >= kills / 2).killed_at(OPENING);
            opening += 1;
        }
        let daemon = launch(&site, kill >= kills / 2).start();
        let extent = if kill == kills / 2 { Extent::All } else { Extent::Sample(SAMPLE) };
        promises.check(&mut daemon.client(), extent, &mut random);
        promises.assert_kept(&format!("seed {seed}, after kill {kill}"));

        for step in load_until_killed(&daemon, &mut load, &promises, 160, &mut random) {
            steps += 1;
            open += u64::from(step.exchange.is_open());
            promises.note(&step.exchange);
        }
        promises.assert_kept(&format!("seed {seed}, before kill {kill}"));
        daemon.kill();
    }

    let daemon = launch(&site, true).start();
    let mut client = daemon.client();
    promises.check(&mut client, Extent::All, &mut random);
    let records = check_vault(&mut client);
    promises.check_count(records);
    promises.assert_kept(&format!("seed {seed}, after the last kill"));
    daemon.stop();
    println!(
        "{kills} kills under load and {opening} while opening: {steps} items asked, {open} of them not answered; \
         {records} records at the end, {} promises looked at; {:.1} s",
        promises.looked_at(),
        began.elapsed().as_secs_f32()
    );
}

/// Puts load on a daemon and kills it before a random number of answers: right after one, or right after it received
/// a request.
pub fn load_until_killed(
    daemon: &Daemon,
    load: &mut Load,
    promises: &Promises,
    answers_max: u64,
    random: &mut Seeded,
) -> Vec<Step> {
    let (answers, while_sent) = (1 + random.below(answers_max), random.chance(50));
    let killed = AtomicBool::new(false);
    let at = |moment| {
        let now = match moment {
            Moment::Sent(answered) => while_sent && answered >= answers,
            Moment::Answered(answered) => !while_sent && answered >= answers,
        };
        if now && !killed.swap(true, Ordering::SeqCst) {
            daemon.signal(Signal::SIGKILL);
        }
        Next::GoOn
    };
    let steps = load.run(daemon, promises, Conduct { at: &at, clock: &|| 0, refusals: Refusals::Never });
    steps.into_iter().flatten().collect()
}

/// Checks that `masker vault check` finds no fault and agrees with the vault's counts. Returns the number of records.
pub fn check_vault(client: &mut Client) -> u64 {
    let report = client.post("/api/v1/vault/check", &json!({})).ok();
    let stats = client.get("/api/v1/vault/stats").ok();
    assert!(report["ok"] == true && report["counts_agree"] == true, "{report}");
    assert_eq!(report["problems"], json!([]));
    assert_eq!(report["opened"], report["records"], "{report}");
    assert_eq!(stats["records"], report["records"], "{stats}");
    report["records"].as_u64().expect("a count")
}
