//! A log that cannot be written, and one whose daemon was killed while writing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

use super::{assert_whole, complaint, events, launch, of, only, site};
use crate::{
    harness::{Client, Site, item},
    text::{MASK_STREAM, RESTORE_STREAM, open_stream::OpenStream},
};

/// A file system of a megabyte, unmounted when dropped. Needs root.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"])
            .arg(&path)
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("skipped: a small file system cannot be mounted here");
        }
        mounted.then_some(SmallDisk(path))
    }

    /// Fills it completely.
    fn fill(&self) {
        let free = nix::sys::statvfs::statvfs(&self.0).unwrap();
        let bytes = free.blocks_available() as u64 * free.fragment_size() as u64;
        match fs::write(self.ballast(), vec![1; bytes as usize]) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            written => written.unwrap(),
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Returns a site whose log is on a small disk.
fn on_small_disk() -> Option<(Site, SmallDisk)> {
    let mut site = site();
    let disk = SmallDisk::mount(site.path("disk"))?;
    let log = disk.0.join("audit");
    site.set("audit", "path", format!("{log:?}"));
    Some((site, disk))
}

/// Copies the log of such a site to where the helpers look for it.
fn bring(site: &Site, disk: &Path) {
    fs::create_dir(site.path("audit")).unwrap();
    for entry in fs::read_dir(disk.join("audit")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), site.path("audit").join(entry.file_name())).unwrap();
    }
}

/// Sends requests until the log has no room for another line: the last page of the file still has some.
fn ask_until_refused(client: &mut Client) {
    for number in 0..10_000 {
        let answer = client.post("/api/v1/tokenize", &json!({"items": [item("PHONE", &number.to_string())]}));
        if answer.status != 200 {
            answer.problem(503, "audit.unavailable");
            assert!(!String::from_utf8_lossy(&answer.body).contains("MSKV1"), "no token leaves");
            return;
        }
    }
    panic!("the disk is not full");
}

fn times_resumed(client: &mut Client) -> f64 {
    client.metric("masker_audit_events_total{op=\"log.resumed\"}").unwrap_or_default()
}

#[test]
fn refuses_requests_while_the_disk_is_full() {
    let Some((site, disk)) = on_small_disk() else { return };
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let token = client.token("NAME", "Ada");
    disk.fill();
    // The line that says that the daemon continues is short, and can fit into the last page of the file. Then repeat.
    loop {
        ask_until_refused(&mut client);
        let before = times_resumed(&mut client);
        if complaint(&daemon).is_none() {
            continue;
        }
        let records = client.metric("masker_vault_records").unwrap();
        client.post("/api/v1/tokenize", &json!({"items": [item("NAME", "Grace")]})).problem(503, "audit.unavailable");
        let refused = client.post("/api/v1/rehydrate", &json!({"tokens": [token]}));
        refused.problem(503, "audit.unavailable");
        assert!(!String::from_utf8_lossy(&refused.body).contains("Ada"), "no value leaves");
        for (method, path) in
            [("GET", "/api/v1/keys"), ("POST", "/api/v1/vault/export"), ("POST", "/api/v1/policies/reload")]
        {
            client.exchange(method, path, b"").problem(503, "audit.unavailable");
        }
        let (why, records_now) = (complaint(&daemon), client.metric("masker_vault_records").unwrap());
        if times_resumed(&mut client) == before {
            let why = why.expect("health says so");
            assert!(why.contains("cannot be written") && why.contains("No space left"), "{why}");
            assert_eq!(records_now, records, "nothing was minted");
            break;
        }
    }
    assert_eq!(client.metric("masker_audit_failures_total"), Some(0.0));

    let resumed = times_resumed(&mut client);
    disk.make_room();
    daemon.log().wait_for(resumed as usize + 1, "the audit log is written again");
    assert_eq!(complaint(&daemon), None);
    assert_eq!(client.value(&token), "Ada");
    daemon.stop();
    bring(&site, &disk.0);
    let resumed = events(&site);
    assert!(of(&resumed, "log.resumed").iter().all(|event| event["detail"]["lost"] == 0));
    // Of the records that the vault has, the log has each.
    let minted = |event: &&Value| event["outcome"] == "ok" && event["op"] == "tokenize";
    assert!(resumed.iter().filter(minted).count() > 1, "{resumed:?}");
    drop(disk);
}

#[test]
fn a_stream_ends_where_its_parts_cannot_be_recorded() {
    let Some((site, disk)) = on_small_disk() else { return };
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let token = client.token("PHONE", "212-555-0147");
    let mut restoring = OpenStream::open(&daemon, RESTORE_STREAM, "", &json!({}));
    restoring.say(&token);
    assert!(restoring.hear().text.contains("0147"));
    let mut masking = OpenStream::open(&daemon, MASK_STREAM, "", &json!({"context": "clinic-7"}));
    disk.fill();
    ask_until_refused(&mut client);
    let records = client.metric("masker_vault_records").unwrap();
    restoring.say(&token);
    masking.say("call (212) 555-0148");
    for (stream, values) in [(restoring, 1), (masking, 0)] {
        let heard = stream.end();
        assert_eq!((heard.code(), heard.text.matches("0147").count()), ("audit.unavailable", values));
        assert!(!heard.text.contains("MSKV1") && !heard.text.contains("0148"), "{}", heard.text);
    }
    assert_eq!(client.metric("masker_vault_records").unwrap(), records, "nothing was minted");
    disk.make_room();
    daemon.stop();
    drop(disk);
}

#[test]
fn continues_without_audit_if_configured() {
    let Some((mut site, disk)) = on_small_disk() else { return };
    site.set("audit", "on_failure", "\"continue\"");
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    disk.fill();
    let mut asked = 0;
    while complaint(&daemon).is_none() {
        asked += 1;
        assert!(asked < 10_000, "the disk is not full");
        client.token("PHONE", &asked.to_string());
    }
    let token = client.token("NAME", "Grace");
    assert_eq!(client.value(&token), "Grace");
    disk.make_room();
    daemon.log().wait_for(1, "the audit log is written again");
    daemon.stop();
    bring(&site, &disk.0);
    let events = events(&site);
    only(&events, "continue.chosen");
    assert!(of(&events, "log.resumed").iter().all(|event| event["detail"]["lost"] == 0), "{events:?}");
    assert_eq!(of(&events, "tokenize").len(), asked + 1);
    drop(disk);
}

#[test]
fn the_log_is_complete_after_a_kill_under_load() {
    const CONNECTIONS: usize = 4;
    let site = site();
    let mut answered: Vec<String> = Vec::new();
    for round in 0..3 {
        let daemon = launch(&site).start();
        let (ids, count) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
        thread::scope(|scope| {
            for connection in 0..CONNECTIONS {
                let (mut client, ids, count) = (daemon.client(), &ids, &count);
                scope.spawn(move || {
                    for number in 0.. {
                        let value = format!("{round}{connection}{number:06}");
                        let body = json!({"items": [item("PHONE", &value)]}).to_string();
                        if client
                            .send_raw(&crate::harness::request("POST", "/api/v1/tokenize", body.as_bytes()))
                            .is_err()
                        {
                            return;
                        }
                        let Some(answer) = client.receive_if_whole() else { return };
                        assert_eq!(answer.status, 200);
                        ids.lock().unwrap().push(answer.request_id);
                        count.fetch_add(1, Ordering::Release);
                    }
                });
            }
            while count.load(Ordering::Acquire) < 100 * (round + 1) {
                thread::yield_now();
            }
            daemon.kill();
        });
        answered.extend(ids.into_inner().unwrap());
    }
    let daemon = launch(&site).start();
    assert_eq!(complaint(&daemon), None);
    daemon.stop();
    assert_whole(&site);
    let recorded: Vec<Value> = events(&site);
    let recorded: std::collections::HashSet<&str> =
        of(&recorded, "tokenize").into_iter().map(|event| event["request_id"].as_str().unwrap()).collect();
    assert!(answered.len() >= 600 && answered.iter().all(|id| recorded.contains(&**id)), "an answer is not recorded");
}
