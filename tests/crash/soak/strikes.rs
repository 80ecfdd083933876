//! How each fault is caused. If possible, each checks that it took effect.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{signal::Signal, statvfs::statvfs},
};
use rustix::process::Resource;
use serde_json::{Value, json};

use super::{
    super::{
        load,
        promises::Exchange,
        rotation::{latest, wait_within},
    },
    END_LIMIT,
    around::{Around, DISK_MB},
    faults::Outcome,
    host::{Footprint, Limited, address_space},
};
use crate::{
    harness::{CARE, Daemon, LIMIT, request},
    powercut::{Fault as DiskFault, disk::Seeded},
};

/// Messages of a daemon that cannot write.
const FAILED: [&str; 2] = ["the store failed; opening it again", "the audit log has failed"];
const NOT_ACCEPTED: &str = "failed to accept a connection";
const RELOADED: &str = "the policies were reloaded";
const REFUSED: &str = "failed to reload the keys and the policies; the previous ones stay in force";

/// The owner of the values of clients that do not wait for an answer.
const VANISHED: u64 = 98;

/// Lets the load continue for a random time.
fn dwell(random: &mut Seeded, least_ms: u64, most_ms: u64) {
    thread::sleep(Duration::from_millis(least_ms + random.below(most_ms - least_ms)));
}

pub fn kill(daemon: &Daemon, random: &mut Seeded) -> Outcome {
    dwell(random, 10, 600);
    daemon.signal(Signal::SIGKILL);
    Outcome::Killed
}

pub fn full_disk(around: &Around, daemon: &Daemon, random: &mut Seeded) -> Outcome {
    let disk = around.disk.as_ref().expect("it is skipped otherwise");
    let before = daemon.log().length();
    let (spare_kib, began) = (random.below(512), Instant::now());
    loop {
        let found = statvfs(&disk.0).expect("it is mounted");
        let used = (found.blocks() - found.blocks_free()) * found.fragment_size();
        // Meanwhile the daemon may write more than is spared.
        match disk.try_remount(&format!("size={}k", (used >> 10) + spare_kib)) {
            Ok(()) => break,
            Err(why) => assert!(began.elapsed() < LIMIT, "{why}"),
        }
    }
    assert_fails(daemon, before);
    dwell(random, 50, 1_000);
    disk.remount(&format!("size={DISK_MB}m"));
    Outcome::Serves
}

pub fn read_only_disk(around: &Around, daemon: &Daemon, random: &mut Seeded) -> Outcome {
    fail(around, daemon, DiskFault::Changes(Errno::EROFS), random)
}

pub fn failing_disk(around: &Around, daemon: &Daemon, random: &mut Seeded) -> Outcome {
    fail(around, daemon, DiskFault::Syncs(Errno::EIO), random)
}

fn fail(around: &Around, daemon: &Daemon, fault: DiskFault, random: &mut Seeded) -> Outcome {
    let before = daemon.log().length();
    around.faults.fail(Some(fault));
    assert_fails(daemon, before);
    dwell(random, 50, 1_000);
    around.faults.fail(None);
    Outcome::Serves
}

fn assert_fails(daemon: &Daemon, before: usize) {
    let log = daemon.log();
    assert!(log.find_after(before, &FAILED, LIMIT).is_some(), "the fault had no effect:\n{}", log.text_after(before));
}

pub fn slow_disk(around: &Around, random: &mut Seeded) -> Outcome {
    let (sync, write) = (5 + random.below(150), random.below(2_000));
    around.faults.slow(Duration::from_millis(sync), Duration::from_micros(write));
    dwell(random, 1_000, 2_500);
    Outcome::Serves
}

/// Moves the clock by a second to more than a year, sometimes with a restart in that time.
pub fn clock_jump(around: &Around, daemon: &Daemon, random: &mut Seeded) -> Outcome {
    let jumps = 1 + random.below(3);
    for _ in 0..jumps {
        let size = 1_i64 << random.below(26);
        let seconds = if random.chance(50) { size } else { -size };
        let right = jiff::Timestamp::now();
        around.faults.clock(seconds);
        let before = daemon.log().length();
        daemon.signal(Signal::SIGHUP);
        daemon.wait_for_notification("READY=1");
        let line = daemon.log().find_after(before, &[RELOADED], LIMIT);
        let line = line.unwrap_or_else(|| panic!("no reload:\n{}", daemon.log().text_after(before)));
        let logged: jiff::Timestamp = line["timestamp"].as_str().expect("a time").parse().expect("a time");
        let wrong = logged.as_second() - right.as_second() - seconds;
        assert!((-1..=LIMIT.as_secs() as i64).contains(&wrong), "by {seconds} s: {logged}, when it was {right}");
        dwell(random, 100, 500);
    }
    if random.chance(70) {
        around.faults.clock(0);
        return Outcome::Serves;
    }
    // It is started while the clock is wrong. Then the clock is corrected.
    daemon.signal(Signal::SIGKILL);
    Outcome::Killed
}

/// Returns a policy with a new version and the same content.
fn policy(version: u64) -> String {
    CARE.replace("version = 3", &format!("version = {version}"))
}

/// The last of several reloads counts.
fn wait_for_version(daemon: &Daemon, version: u64) {
    let (mut client, began) = (daemon.client(), Instant::now());
    while client.get("/api/v1/policies/care").ok()["version"] != version {
        assert!(began.elapsed() < LIMIT, "the last policies never came into force");
        daemon.take_notifications(Duration::from_millis(5));
    }
}

pub fn hangup_storm(around: &Around, daemon: &Daemon, random: &mut Seeded) -> Outcome {
    let first = 4 + random.below(1 << 20);
    for number in 0..100 {
        around.site.policy("care.toml", &policy(first + number));
        for _ in 0..=random.below(5) {
            daemon.signal(Signal::SIGHUP);
        }
        daemon.take_notifications(Duration::from_millis(1 + random.below(5)));
    }
    wait_for_version(daemon, first + 99);
    daemon.take_notifications(Duration::from_millis(50));
    Outcome::Serves
}

pub fn half_a_policy(around: &Around, daemon: &Daemon, random: &mut Seeded) -> Outcome {
    let path = around.site.path("policies/care.toml");
    let mut version = (1 << 21) + random.below(1 << 20);
    for _ in 0..10 {
        version += 1;
        let whole = policy(version);
        // Half of a file can be a valid policy, and then is no fault.
        let half = loop {
            let half = &whole[..random.below(whole.len() as u64) as usize];
            if half.parse::<toml::Table>().is_err() {
                break half;
            }
        };
        let before = daemon.log().length();
        let mut file = fs::File::create(&path).expect("a file of ours");
        file.write_all(half.as_bytes()).expect("a file of ours");
        daemon.signal(Signal::SIGHUP);
        let log = daemon.log();
        assert!(log.find_after(before, &[REFUSED], LIMIT).is_some(), "{half}\n{}", log.text_after(before));
        daemon.wait_for_notification("READY=1");
        file.write_all(&whole.as_bytes()[half.len()..]).expect("a file of ours");
        daemon.signal(Signal::SIGHUP);
        daemon.wait_for_notification("READY=1");
        wait_for_version(daemon, version);
    }
    Outcome::Serves
}

pub fn vanishing_clients(daemon: &Daemon, exchanges: &mut Vec<Exchange>, random: &mut Seeded) -> Outcome {
    for _ in 0..100 {
        let subject = load::subject(VANISHED, random.below(1 << 40));
        let body = json!({ "items": [load::item(&subject)] }).to_string();
        let whole = request("POST", "/api/v1/tokenize", body.as_bytes());
        let requests = 1 + random.below(4) as usize;
        let many = whole.repeat(requests);
        let sent = if random.chance(40) { many.len() } else { random.below(many.len() as u64) as usize };
        let mut stream = UnixStream::connect(daemon.socket()).expect("it listens");
        // The daemon may have rejected the first of several requests and closed the connection.
        let _ = stream.write_all(&many[..sent]);
        if sent >= whole.len() {
            exchanges.push(Exchange::Tokenized { subject, answer: None });
        }
        if random.chance(30) {
            dwell(random, 0, 10);
        }
    }
    Outcome::Serves
}

/// Descriptors that it may open.
const SPARE: u64 = 8;

pub fn no_descriptors(daemon: &Daemon, random: &mut Seeded) -> Outcome {
    let before = daemon.log().length();
    let held = Footprint::of(daemon.pid(), "/".as_ref());
    let limited = Limited::to(daemon.pid(), Resource::Nofile, (held.descriptors + held.files) as u64 + SPARE);
    let clients: Vec<_> = (0..SPARE * 4).map(|_| UnixStream::connect(daemon.socket()).expect("it listens")).collect();
    let log = daemon.log();
    assert!(
        log.find_after(before, &[NOT_ACCEPTED], LIMIT).is_some(),
        "the fault had no effect:\n{}",
        log.text_after(before)
    );
    dwell(random, 100, 1_000);
    drop(clients);
    drop(limited);
    Outcome::Serves
}

pub fn scarce_memory(around: &Around, daemon: &Daemon, random: &mut Seeded) -> Outcome {
    let group = around.group.as_ref().expect("it is skipped otherwise");
    let began = Instant::now();
    let squeezed = group.squeeze(daemon.pid(), (64 + random.below(2_048)) << 10);
    while !squeezed.was_hit() {
        assert!(began.elapsed() < LIMIT, "there was memory enough");
        dwell(random, 5, 20);
    }
    dwell(random, 50, 1_500);
    drop(squeezed);
    Outcome::MayHaveEnded
}

/// Values of a request for which memory may not suffice.
const MANY: u64 = 2_000;

pub fn scarce_addresses(daemon: &Daemon, exchanges: &mut Vec<Exchange>, random: &mut Seeded) -> Outcome {
    let limited = Limited::to(daemon.pid(), Resource::As, address_space(daemon.pid()) + (random.below(4) << 20));
    for _ in 0..4 {
        let first = random.below(1 << 40);
        let subjects: Vec<_> = (first..first + MANY).map(|number| load::subject(VANISHED, number)).collect();
        let items: Vec<Value> = subjects.iter().map(load::item).collect();
        let body = json!({ "items": items }).to_string();
        let asked = UnixStream::connect(daemon.socket()).and_then(|mut stream| {
            stream.set_read_timeout(Some(LIMIT))?;
            stream.write_all(&request("POST", "/api/v1/tokenize", body.as_bytes()))?;
            // An answer, or the end of the daemon.
            stream.read(&mut [0; 16])
        });
        exchanges.extend(subjects.into_iter().map(|subject| Exchange::Tokenized { subject, answer: None }));
        if asked.is_err() {
            break;
        }
        dwell(random, 50, 400);
    }
    drop(limited);
    Outcome::MayHaveEnded
}

/// The rotation before has ended.
pub fn rotation(daemon: &Daemon) -> Outcome {
    let mut client = daemon.client();
    if !latest(&mut client).is_null() {
        assert_eq!(wait_within(&mut client, END_LIMIT)["state"], "done");
    }
    drop(client);
    let since = Instant::now();
    daemon.signal(Signal::SIGTERM);
    daemon.wait_for_notification("STOPPING=1");
    Outcome::Rotating(since)
}
