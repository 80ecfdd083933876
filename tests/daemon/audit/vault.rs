//! The vault compared with the log: older copies, missing vaults, and commits without an event.

use std::{fs, time::Instant};

use serde_json::Value;

use super::{KEY, assert_whole, events, launch, of, only, segments, site, text_of};
use crate::harness::{Client, LIMIT, Site, TestKey};

fn position(event: &Value) -> u64 {
    event["detail"]["vault_sequence"].as_u64().unwrap_or_else(|| panic!("no position: {event}"))
}

#[test]
fn an_older_copy_of_the_vault_is_refused_until_its_loss_is_accepted() {
    let site = site();
    let daemon = launch(&site).start();
    daemon.client().token("PHONE", "415-555-2671");
    daemon.stop();
    let before = position(only(&events(&site), "stop"));
    let older = site.copy_vault("older");

    let daemon = launch(&site).start();
    let token = daemon.client().token("PHONE", "415-555-2672");
    daemon.client().post("/api/v1/forget", &serde_json::json!({"tokens": [token]})).ok();
    daemon.stop();
    let all = events(&site);
    assert!(position(only(&all, "forget")) > before && of(&all, "unrecorded").is_empty());
    let last = position(of(&all, "stop")[1]);
    assert_whole(&site);

    fs::rename(site.vault(), site.path("newer")).unwrap();
    fs::rename(&older, site.vault()).unwrap();
    // The copy was made after a stop, which makes one commit after its event.
    let lost = last - (before + 1);
    let log = launch(&site).refused().code(1);
    assert!(log.contains(&format!("the audit log has recorded {lost} later commits")), "{log}");
    assert!(log.contains("masker recover"), "{log}");
    launch(&site).refused().code(1);

    launch(&site).accept("loss").start().stop();
    assert_eq!(only(&events(&site), "loss.accepted")["detail"]["commits"], lost);
    launch(&site).start().stop();
    let all = events(&site);
    assert!(of(&all, "loss.accepted").len() == 1 && of(&all, "unrecorded").is_empty());
    // The newer one is of an epoch that has ended.
    fs::remove_dir_all(site.vault()).unwrap();
    fs::rename(site.path("newer"), site.vault()).unwrap();
    launch(&site).refused().code(1);
}

#[test]
fn a_log_whose_key_is_missing_is_not_left_out() {
    let site = site();
    launch(&site).start().stop();
    let before = events(&site).len();
    let without = || site.launch().care_keys();
    let log = without().refused().code(1);
    assert!(log.contains("its key is missing: put MASKER_AUDIT_HMAC_KEY back"), "{log}");
    let (code, shown) = without().recover(&[]);
    assert!(code == Some(1) && shown.contains("its key is missing"), "{shown}");
    assert_eq!(events(&site).len(), before);
    fs::rename(site.path("audit"), site.path("ended")).unwrap();
    without().start().stop();
}

/// Another key verifies nothing, so that the log would hold nothing against any vault.
#[test]
fn a_log_of_another_key_is_not_left_out() {
    let site = site();
    launch(&site).start().stop();
    let before = text_of(&segments(&site)[0]);
    let other = || launch(&site).env(KEY, TestKey::named("another audit key").base64());
    fs::rename(site.vault(), site.path("elsewhere")).unwrap();
    let log = other().refused().code(1);
    assert!(log.contains("no line of the audit log") && log.contains("put the key of this log back"), "{log}");
    let (code, shown) = other().recover(&[]);
    assert!(code == Some(1) && shown.contains("no line of the audit log"), "{shown}");
    assert!(!site.vault().exists());
    fs::rename(site.path("elsewhere"), site.vault()).unwrap();
    assert_eq!(text_of(&segments(&site)[0]), before);
    launch(&site).start().stop();
}

#[test]
fn an_older_copy_of_an_earlier_vault_is_refused_as_such() {
    let site = site();
    launch(&site).start().stop();
    let older = site.copy_vault("older");
    let daemon = launch(&site).start();
    daemon.client().token("PHONE", "415-555-2671");
    daemon.stop();
    // Its disk was not mounted.
    fs::rename(site.vault(), site.path("elsewhere")).unwrap();
    launch(&site).accept("new-vault").start().stop();
    fs::rename(site.vault(), site.path("second")).unwrap();
    fs::rename(&older, site.vault()).unwrap();
    let (code, shown) = launch(&site).recover(&[]);
    assert!(code == Some(2) && shown.contains("new-vault: ") && shown.contains("loss: "), "{shown}");
    let (code, shown) = launch(&site).recover(&["--accept", "new-vault"]);
    assert!(code == Some(2) && shown.contains("loss: "), "{shown}");
    let log = launch(&site).refused().code(1);
    assert!(log.contains("later commit"), "{log}");
    fs::remove_dir_all(site.vault()).unwrap();
    // The first vault as it was left is not older.
    fs::rename(site.path("elsewhere"), site.vault()).unwrap();
    let launched = launch(&site).accept("new-vault");
    launched.start().stop();
    assert_eq!(of(&events(&site), "vault.accepted").len(), 2);
}

#[test]
fn a_vault_that_is_missing_is_not_replaced_by_a_new_one() {
    let site = site();
    let daemon = launch(&site).start();
    daemon.client().token("PHONE", "415-555-2671");
    daemon.stop();
    let id = only(&events(&site), "start")["detail"]["vault_id"].as_str().unwrap().to_owned();
    fs::rename(site.vault(), site.path("elsewhere")).unwrap();
    let (code, text) = launch(&site).recover(&["--accept", "loss"]);
    assert!(code == Some(1) && text.contains("nothing was accepted"), "{text}");
    let log = launch(&site).refused().code(1);
    assert!(log.contains(&id) && log.contains("masker recover"), "{log}");
    assert!(!site.vault().exists());
    launch(&site).accept("new-vault").start().stop();
    assert_eq!(only(&events(&site), "vault.accepted")["detail"]["previous"], id);
    launch(&site).start().stop();

    // Now the first vault is another one.
    fs::remove_dir_all(site.vault()).unwrap();
    fs::rename(site.path("elsewhere"), site.vault()).unwrap();
    let log = launch(&site).refused().code(1);
    assert!(log.contains(&id) && log.contains("masker recover"), "{log}");
}

#[test]
fn commits_without_an_event_are_counted_at_the_start() {
    let site = site();
    launch(&site).start().stop();
    // A daemon without the log makes commits that the log does not have.
    fs::rename(site.path("audit"), site.path("aside")).unwrap();
    let daemon = site.launch().care_keys().start();
    daemon.client().token("PHONE", "415-555-2671");
    daemon.stop();
    fs::rename(site.path("aside"), site.path("audit")).unwrap();
    let log = launch(&site).start().stop().log.text();
    let all = events(&site);
    let commits = only(&all, "unrecorded")["detail"]["commits"].as_u64().unwrap();
    assert!(commits >= 2, "{commits}");
    assert!(log.contains(&format!("the vault has {commits} commits after the last position")), "{log}");
    launch(&site).start().stop();
    assert_eq!(of(&events(&site), "unrecorded").len(), 1, "it is recorded once");
}

/// Waits until the running daemon has recorded a later position than this.
fn wait_for_position(client: &mut Client, after: u64) {
    let since = Instant::now();
    loop {
        let page = client.get("/api/v1/audit/events?op=vault.position").ok();
        if page["events"].as_array().unwrap().iter().any(|event| position(event) > after) {
            return;
        }
        assert!(since.elapsed() < LIMIT, "no later position");
    }
}

#[test]
fn the_position_is_recorded_while_commits_happen() {
    let site = site();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-2671");
    client.post("/api/v1/forget", &serde_json::json!({"tokens": [token]})).ok();
    client.token("PHONE", "415-555-2672");
    wait_for_position(&mut client, position(only(&events(&site), "forget")));
    daemon.kill();
    launch(&site).start().stop();
    assert!(of(&events(&site), "unrecorded").is_empty());
}

#[test]
fn a_data_directory_that_is_removed_degrades_health() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    assert_eq!(daemon.client().health().0, "ok");
    fs::remove_dir_all(site.vault()).unwrap();
    let (status, components) = daemon.client().health();
    let detail = components["vault"]["detail"].as_str().unwrap_or_default();
    assert!(status == "degraded" && detail.contains("removed or replaced"), "{components}");
}

#[test]
fn a_log_in_the_default_directory_of_earlier_releases_is_not_left_behind() {
    let mut site = site();
    let (path, earlier) = (site.path("audit"), site.vault().join("audit"));
    site.set("audit", "path", format!("{earlier:?}"));
    launch(&site).start().stop();
    site.set("audit", "path", format!("{path:?}"));
    let log = launch(&site).refused().code(1);
    assert!(log.contains(&*earlier.to_string_lossy()) && log.contains("move all files there"), "{log}");
    fs::rename(&earlier, &path).unwrap();
    launch(&site).start().stop();
    assert_eq!(of(&events(&site), "start").len(), 2);
}
