//! Sessions whose retention ends, by a clock that the test sets.

use serde_json::json;

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
    // The next removal ends visibly, because a session more has expired.
    faults.clock(4 * DAY_SECONDS);
    let daemon = later().start();
    daemon.log().wait_for(1, "removed expired sessions");
    daemon.stop();
    let events = site.audit_events();
    let purges = events_of(&events, "session.purge");
    let removed: Vec<_> = purges.iter().map(|event| (&event["outcome"], &event["detail"]["sessions"])).collect();
    assert_eq!(removed, [(&json!("ok"), &json!(2)), (&json!("ok"), &json!(1))], "{purges:?}");
    assert!(purges.iter().all(|event| event["detail"]["vault_sequence"].is_u64()), "{purges:?}");
}

/// Opens a session and closes it.
fn close_session(daemon: &Daemon) {
    let mut client = daemon.client();
    let session = client.post("/api/v1/sessions", &json!({ "label": "run" })).json();
    let path = format!("/api/v1/sessions/{}", session["id"].as_str().expect("an id"));
    client.exchange("DELETE", &path, b"").ok();
}
