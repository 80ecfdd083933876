//! Sessions whose retention ends, by a clock that the test sets.

use serde_json::json;

use super::scratch;
use crate::{
    harness::{Site, TestKey, events_of},
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
    let mut client = daemon.client();
    for label in ["one", "two"] {
        let session = client.post("/api/v1/sessions", &json!({ "label": label })).json();
        let path = format!("/api/v1/sessions/{}", session["id"].as_str().expect("an id"));
        client.exchange("DELETE", &path, b"").ok();
    }
    daemon.stop();

    let faults = FaultSchedule::new(&site.vault(), beside.path()).unwrap_or_else(|reason| panic!("{reason}"));
    faults.clock(2 * DAY_SECONDS);
    let later = || faults.environment().into_iter().fold(launch(), |launch, (name, value)| launch.env(name, value));
    let daemon = later().start();
    daemon.log().wait_for(1, "removed expired sessions");
    daemon.stop();
    later().start().stop();
    let events = site.audit_events();
    let purges = events_of(&events, "session.purge");
    assert_eq!(purges.len(), 1, "{events:?}");
    assert_eq!((&purges[0]["outcome"], &purges[0]["detail"]["sessions"]), (&json!("ok"), &json!(2)), "{purges:?}");
    assert!(purges[0]["detail"]["vault_sequence"].is_u64(), "{purges:?}");
}
