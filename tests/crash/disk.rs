//! A disk that fills up or fails: requests are refused, nothing is lost, and service resumes without a restart.

use std::{
    fs,
    io::Write,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{errno::Errno, sys::statvfs::statvfs};
use rustix::process::Resource;
use serde_json::json;

use super::{
    kill::check_vault,
    load::{Conduct, Load, Moment, Next, Refusals},
    promises::{Extent, Promises},
    scratch,
    soak::host::Limited,
};
use crate::{
    harness::{Client, Daemon, Site},
    powercut::{Fault, Recorder, disk::Seeded},
};

on_each_engine!(
    recovers_from_a_full_disk_without_loss,
    refuses_to_start_on_a_full_disk,
    refuses_to_start_on_a_read_only_disk,
    import_on_a_full_disk_leaves_nothing_and_can_be_repeated,
    recovers_from_a_failing_disk_without_loss,
    recovers_from_a_limit_of_file_sizes_without_loss,
    a_revocation_holds_while_the_disk_fails,
);

const CONNECTIONS: usize = 4;
const SEED: u64 = 7;

const FAILED: &str = "the store failed; opening it again";
const SERVES: &str = "the store serves again";

/// A file system of a few megabytes, unmounted when dropped.
pub struct SmallDisk(pub PathBuf);

impl SmallDisk {
    /// Mounts it in a new directory. Needs root; otherwise prints that the test is skipped and returns `None`.
    pub fn mount(path: PathBuf, megabytes: u32) -> Option<Self> {
        fs::create_dir(&path).expect("a folder can be made");
        let options = format!("size={megabytes}m,mode=0700");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).output();
        match output {
            Ok(output) if output.status.success() => Some(SmallDisk(path)),
            Ok(output) => {
                println!("skipped: no small file system here: {}", String::from_utf8_lossy(&output.stderr).trim_end());
                None
            }
            Err(error) => {
                println!("skipped: no small file system here: mount: {error}");
                None
            }
        }
    }

    /// Remounts it with other options.
    pub fn remount(&self, how: &str) {
        self.try_remount(how).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Remounts it if possible: its size cannot be less than what is in use.
    pub fn try_remount(&self, how: &str) -> Result<(), String> {
        let output = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).output();
        let output = output.expect("mount was there before");
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// Creates or replaces this file so that `bytes` bytes are left.
    pub fn leave(&self, path: &Path, bytes: u64) -> PathBuf {
        let mut file = fs::File::create(path).expect("a file without bytes takes no room");
        let found = statvfs(&self.0).expect("it is mounted");
        let free = found.blocks_available() * found.fragment_size();
        let mut take = |bytes: u64| file.write_all(&vec![1; bytes as usize]);
        if bytes > 0 {
            take(free.saturating_sub(bytes)).expect("there was room for it");
        } else {
            // The daemon may use some of it meanwhile.
            while take(found.fragment_size()).is_ok() {}
        }
        path.to_owned()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Requests that may be answered by a store that should have failed, before the test fails.
const ANSWERS_MAX: u64 = 50_000;

/// Mints until the failed store refuses every client. `promises` receives all answers until then.
fn mint_until_refused(load: &mut Load, daemon: &Daemon, promises: &mut Promises) {
    run(load, daemon, promises, &|moment| if moment < Moment::Answered(ANSWERS_MAX) { Next::GoOn } else { Next::Stop });
}

fn run(load: &mut Load, daemon: &Daemon, promises: &mut Promises, at: &(dyn Fn(Moment) -> Next + Sync)) {
    let conduct = Conduct { at, clock: &|| 0, refusals: Refusals::Stop };
    for step in load.run(daemon, promises, conduct).iter().flatten() {
        promises.note(&step.exchange);
    }
    promises.assert_kept("until the disk failed");
}

/// Checks that a token gives its value or the whole request is refused while the store cannot be written.
fn ask_while_down(client: &mut Client, promises: &Promises) {
    let tokens: Vec<_> = promises.held().take(500).collect();
    let items: Vec<_> =
        tokens.iter().map(|(subject, token)| json!({ "token": token, "context": subject.context })).collect();
    let response = client.post("/api/v1/rehydrate", &json!({ "tokens": items }));
    if response.status == 503 {
        response.problem(503, "vault.unavailable");
        return;
    }
    for ((subject, _), result) in tokens.iter().zip(response.results(items.len())) {
        assert_eq!(result["value"], subject.value);
    }
}

/// The reason of an unusable vault until its store was opened again for the first time.
const NOT_OPENED_YET: &str = "a write or a thread of the engine has failed";

/// Returns the reason that health gives for an unusable vault, after an attempt to open it; `None` if it is usable.
fn why_degraded(client: &mut Client) -> Option<String> {
    let mut reasons = (0..ANSWERS_MAX).map(|_| {
        let (status, components) = client.health();
        let vault = &components["vault"];
        assert_eq!(status, vault["status"].as_str().expect("a status"), "{components}");
        (status == "degraded").then(|| vault["detail"].as_str().expect("a reason").to_owned())
    });
    let is_final = |why: &Option<String>| why.as_ref().is_none_or(|why| !why.contains(NOT_OPENED_YET));
    reasons.find(is_final).expect("the store is opened again")
}

/// Waits until the store has recovered as often as it failed. No client may write meanwhile.
pub fn wait_for_service(daemon: &Daemon) {
    let request = daemon.client().get("/health").request_id;
    // The log is a pipe, so the line of this request follows those of all requests before it.
    let mut answers = daemon.log().wait_for(1, "answered");
    while !answers.iter().any(|line| line["request_id"] == *request) {
        answers = daemon.log().wait_for(answers.len() + 1, "answered");
    }
    let failures = daemon.log().lines().iter().filter(|line| line["message"] == FAILED).count();
    assert!(failures > 0, "it did not fail");
    daemon.log().wait_for(failures, SERVES);
}

/// Checks that all answers are kept, and that the vault is consistent.
fn check_all(client: &mut Client, promises: &mut Promises, when: &str) {
    promises.check(client, Extent::All, &mut Seeded(SEED));
    promises.check_count(check_vault(client));
    promises.assert_kept(when);
}

/// Checks that the daemon refuses to start, gives the reason, and changes nothing.
fn assert_refused(site: &Site, why: &str) {
    let log = site.launch().care_keys().refused().code(1);
    let errors = log.lines().filter(|line| {
        line.contains("\"ERROR\"") && (line.contains("the vault") || line.contains("the data directory"))
    });
    assert!(errors.clone().count() == 1 && errors.clone().all(|line| line.contains(why)), "{log}");
}

const NO_ROOM: &str = "No space left on device";

fn recovers_from_a_full_disk_without_loss(engine: &str) {
    let mut site = Site::of(engine);
    let Some(disk) = SmallDisk::mount(site.path("disk"), 24) else { return };
    site.set("vault", "data_dir", format!("{:?}", disk.0.join("vault")));
    let ballast = disk.0.join("ballast");
    let (mut load, mut promises) = (Load::new(SEED, CONNECTIONS), Promises::default());
    for start in 0..2 {
        let daemon = site.launch().care_keys().start();
        let mut client = daemon.client();
        promises.check(&mut client, Extent::All, &mut Seeded(SEED));
        for filling in 0..3 {
            disk.leave(&ballast, 1 << 20);
            // The rest is too small for a commit, but can be enough to open again.
            let (rest, why) = loop {
                mint_until_refused(&mut load, &daemon, &mut promises);
                let rest = disk.leave(&disk.0.join("rest"), 0);
                match why_degraded(&mut client) {
                    Some(why) => break (rest, why),
                    None => fs::remove_file(rest).expect("it was made"),
                }
            };
            assert!(why.contains(NO_ROOM), "{why}");
            ask_while_down(&mut client, &promises);
            fs::remove_file(&ballast).and_then(|()| fs::remove_file(rest)).expect("they were made");
            wait_for_service(&daemon);
            promises.check(&mut client, Extent::All, &mut Seeded(SEED));
            promises.assert_kept(&format!("with room again, start {start}, filling {filling}"));
        }
        check_all(&mut client, &mut promises, &format!("with room again, start {start}"));
        daemon.kill();
    }
    let daemon = site.launch().care_keys().start();
    check_all(&mut daemon.client(), &mut promises, "after the last kill");
    println!("{} records, {} promises looked at", promises.held().count(), promises.looked_at());
    daemon.stop();
}

fn refuses_to_start_on_a_full_disk(engine: &str) {
    let mut site = Site::of(engine);
    let Some(disk) = SmallDisk::mount(site.path("disk"), 24) else { return };
    site.set("vault", "data_dir", format!("{:?}", disk.0.join("vault")));
    let ballast = disk.leave(&disk.0.join("ballast"), 0);
    assert_refused(&site, NO_ROOM);
    // A part of the space that a new vault needs is not enough, and its remains do not prevent a later start.
    for pages in 1.. {
        disk.leave(&ballast, pages << 12);
        match site.launch().care_keys().attempt() {
            Ok(daemon) => {
                daemon.stop();
                break;
            }
            Err(ended) => assert!(ended.code(1).contains(NO_ROOM), "{pages} pages: {}", ended.log.text()),
        }
    }
    fs::remove_file(&ballast).expect("it was made");

    let (mut load, mut promises) = (Load::new(SEED, CONNECTIONS), Promises::default());
    let daemon = site.launch().care_keys().start();
    disk.leave(&ballast, 4 << 20);
    mint_until_refused(&mut load, &daemon, &mut promises);
    daemon.kill();
    disk.leave(&ballast, 0);
    assert_refused(&site, NO_ROOM);
    fs::remove_file(&ballast).expect("it was made");
    let daemon = site.launch().care_keys().start();
    check_all(&mut daemon.client(), &mut promises, "with room again");
    daemon.stop();
}

fn refuses_to_start_on_a_read_only_disk(engine: &str) {
    let mut site = Site::of(engine);
    let Some(disk) = SmallDisk::mount(site.path("disk"), 24) else { return };
    site.set("vault", "data_dir", format!("{:?}", disk.0.join("vault")));
    const WHY: &str = "Read-only file system";
    disk.remount("ro");
    assert_refused(&site, WHY);
    disk.remount("rw");

    let (mut load, mut promises) = (Load::new(SEED, CONNECTIONS), Promises::default());
    let daemon = site.launch().care_keys().start();
    disk.leave(&disk.0.join("ballast"), 2 << 20);
    mint_until_refused(&mut load, &daemon, &mut promises);
    daemon.kill();
    fs::remove_file(disk.0.join("ballast")).expect("it was made");
    disk.remount("ro");
    assert_refused(&site, WHY);
    disk.remount("rw");
    let daemon = site.launch().care_keys().start();
    check_all(&mut daemon.client(), &mut promises, "writable again");
    daemon.stop();
}

/// Checks that an import that does not fit writes nothing and leaves no file.
fn import_on_a_full_disk_leaves_nothing_and_can_be_repeated(engine: &str) {
    let (here, mut there) = (Site::of(engine), Site::of(engine));
    let Some(disk) = SmallDisk::mount(there.path("disk"), 24) else { return };
    there.set("vault", "data_dir", format!("{:?}", disk.0.join("vault")));
    let daemon = here.launch().care_keys().start();
    let mut client = daemon.client();
    let phones: Vec<String> = (0..10_000).map(|number| format!("+1415{number:07}")).collect();
    let tokens = client.tokens("PHONE", &phones);
    let export = client.exchange("POST", "/api/v1/vault/export", b"").body;
    assert!(export.len() > 1 << 20, "{} bytes", export.len());
    daemon.stop();

    let daemon = there.launch().care_keys().start();
    let mut client = daemon.client();
    let free = || statvfs(&disk.0).expect("it is mounted").blocks_available();
    let ballast = disk.leave(&disk.0.join("ballast"), 1 << 20);
    let before = free();
    for _ in 0..3 {
        let refused = client.exchange("POST", "/api/v1/vault/import", &export);
        let detail = refused.problem(503, "vault.unavailable");
        assert!(detail.contains("nothing was imported"), "{detail}");
        assert_eq!(free(), before, "what came of it is gone");
    }
    let log = daemon.log().text();
    assert!(log.contains(NO_ROOM), "{log}");
    assert_eq!(client.health().0, "ok", "the store has not failed");
    assert_eq!(check_vault(&mut client), 0);
    fs::remove_file(ballast).expect("it was made");
    assert_eq!(client.exchange("POST", "/api/v1/vault/import", &export).ok()["imported"], 10_000);
    assert_eq!(check_vault(&mut client), 10_000);
    assert_eq!(client.value(&tokens[4_711]), phones[4_711]);
    daemon.stop();
}

/// A daemon's site whose vault is on a disk that fails when the test wants it to.
struct FailingDisk {
    site: Site,
    recorder: Recorder,
    folder: tempfile::TempDir,
}

impl FailingDisk {
    fn new(engine: &str) -> Self {
        let folder = scratch();
        let vault = folder.path().join("vault");
        fs::DirBuilder::new().mode(0o700).create(&vault).expect("a folder can be made");
        let recorder = Recorder::new(&vault, folder.path()).unwrap_or_else(|reason| panic!("{reason}"));
        FailingDisk { site: Site::of(engine), recorder, folder }
    }

    fn start(&self) -> Daemon {
        let launch = self.site.launch().care_keys().env("MASKER_DATA_DIR", self.folder.path().join("vault"));
        let environment = self.recorder.environment();
        environment.into_iter().fold(launch, |launch, (name, path)| launch.env(name, path)).start()
    }
}

/// Makes the disk fail under load, in each way and several times.
fn recovers_from_a_failing_disk_without_loss(engine: &str) {
    let disk = FailingDisk::new(engine);
    let faults = [Fault::Growth(Errno::ENOSPC), Fault::Changes(Errno::EROFS), Fault::Syncs(Errno::EIO)];
    let (mut load, mut promises, mut random) = (Load::new(SEED, CONNECTIONS), Promises::default(), Seeded(SEED));
    for round in 0..3 {
        let daemon = disk.start();
        let mut client = daemon.client();
        check_all(&mut client, &mut promises, &format!("after kill {round}"));
        for fault in faults {
            let answers = 20 + random.below(100);
            let at = |moment| {
                if let Moment::Answered(answered) = moment
                    && answered == answers
                {
                    disk.recorder.fail(Some(fault));
                }
                if moment < Moment::Answered(ANSWERS_MAX) { Next::GoOn } else { Next::Stop }
            };
            run(&mut load, &daemon, &mut promises, &at);
            let why = why_degraded(&mut client).expect("it cannot open again");
            let (Fault::Growth(errno) | Fault::Changes(errno) | Fault::Syncs(errno)) = fault;
            let reason = std::io::Error::from(errno).to_string();
            let reason = reason.split(" (os error").next().expect("a text");
            assert!(why.contains(reason), "{reason} is not in: {why}");
            ask_while_down(&mut client, &promises);
            disk.recorder.fail(None);
            wait_for_service(&daemon);
            check_all(&mut client, &mut promises, &format!("round {round}, after {fault:?}"));
        }
        daemon.kill();
    }
    let daemon = disk.start();
    check_all(&mut daemon.client(), &mut promises, "after the last kill");
    println!("{} records, {} promises looked at", promises.held().count(), promises.looked_at());
    daemon.stop();
}

fn recovers_from_a_limit_of_file_sizes_without_loss(engine: &str) {
    let site = Site::of(engine);
    let daemon = site.launch().care_keys().start();
    let (mut load, mut promises) = (Load::new(SEED, CONNECTIONS), Promises::default());
    let mut client = daemon.client();
    let limited = Limited::to(daemon.pid(), Resource::Fsize, 4_096);
    mint_until_refused(&mut load, &daemon, &mut promises);
    let why = why_degraded(&mut client).expect("the limit is in force");
    assert!(why.contains("File too large"), "{why}");
    ask_while_down(&mut client, &promises);
    drop(limited);
    wait_for_service(&daemon);
    check_all(&mut client, &mut promises, "without the limit");
    daemon.stop();
}

/// Checks that a key is refused although its revocation cannot be stored, and that the revocation can be repeated.
fn a_revocation_holds_while_the_disk_fails(engine: &str) {
    let disk = FailingDisk::new(engine);
    let daemon = disk.start();
    let mut client = daemon.client();
    let key = json!({"name": "leaked", "scopes": ["tokenize"], "limits": "none"});
    let issued = client.post("/api/v1/api-keys", &key).json();
    let path = format!("/api/v1/api-keys/{}", issued["api_key"]["id"].as_str().expect("an id"));
    let secret = issued["key"].as_str().expect("a secret");
    // The caller's connection is there before, and stays.
    let mut leaked = daemon.client().show(secret);
    let items = json!({"items": [{"kind": "CITY", "value": "x"}]});
    leaked.post("/api/v1/tokenize", &items).results(1);

    disk.recorder.fail(Some(Fault::Syncs(Errno::EIO)));
    for _ in 0..2 {
        let detail = client.exchange("DELETE", &path, b"").problem(503, "vault.unavailable");
        assert!(detail.contains("only until the daemon starts again"), "{detail}");
        leaked.post("/api/v1/tokenize", &items).problem(401, "auth.revoked");
    }
    disk.recorder.fail(None);
    wait_for_service(&daemon);
    leaked.post("/api/v1/tokenize", &items).problem(401, "auth.revoked");
    assert_eq!(client.exchange("DELETE", &path, b"").ok()["state"], "revoked");
    daemon.kill();
    let daemon = disk.start();
    daemon.client().show(secret).post("/api/v1/tokenize", &items).problem(401, "auth.revoked");
    daemon.stop();
}
