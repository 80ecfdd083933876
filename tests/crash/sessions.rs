//! Sessions whose retention ends, by a clock that the test sets.

use serde_json::{Value, json};

use super::scratch;
use crate::{
    harness::{Daemon, Site, TestKey, events_of},
    powercut::fault_schedule::FaultSchedule,
};

const DAY_SECONDS: i64 = 24 * 60 * 60;

#[test]
fn the_removal_of_expired_sessions_is_recorded_once_with_their_number() {
    let (mut site, beside) = (Site::new(), scratch());
    site.set("sessions", "retention_days", "1");
    let path = site.path("audit");
    site.set("audit", "path", format!("{path:?}"));
    let launch = || site.launch().care_keys().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64());
    let daemon = launch().start();
    close_session(&daemon);
    close_session(&daemon);
    daemon.stop();

    let faults = FaultSchedule::new(&site.vault(), beside.path()).unwrap_or_else(|reason| panic!("{reason}"));
    faults.clock(2 * DAY_SECONDS);
    let later = || faults.environment().into_iter().fold(launch(), |launch, (name, value)| launch.env(name, value));
    let daemon = later().start();
    daemon.log().wait_for(1, "removed expired sessions");
    close_session(&daemon);
    daemon.stop();
    let first = removals(&site);
    // The next removal ends visibly, because a session more has expired.
    faults.clock(4 * DAY_SECONDS);
    let daemon = later().start();
    daemon.log().wait_for(1, "removed expired sessions");
    daemon.stop();
    assert_eq!(first, [json!(2)]);
    // The segment of the first removal may be compressed by now.
    let both = removals(&site);
    assert_eq!(both.strip_prefix(&first[..]).unwrap_or(&both), [json!(1)]);
}

/// Returns how many sessions each removal removed, of those in segments that are not compressed.
fn removals(site: &Site) -> Vec<Value> {
    let purges = events_of(&site.audit_events(), "session.purge");
    let is_complete = |event: &Value| event["outcome"] == "ok" && event["detail"]["vault_sequence"].is_u64();
    assert!(purges.iter().all(is_complete), "{purges:?}");
    purges.into_iter().map(|mut event| event["detail"]["sessions"].take()).collect()
}

/// Opens a session and closes it.
fn close_session(daemon: &Daemon) {
    let mut client = daemon.client();
    let session = client.post("/api/v1/sessions", &json!({ "label": "run" })).json();
    let path = format!("/api/v1/sessions/{}", session["id"].as_str().expect("an id"));
    client.exchange("DELETE", &path, b"").ok();
}
