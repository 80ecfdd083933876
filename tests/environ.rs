//! Secrets are wiped from `/proc/PID/environ`.
//!
//! There is no test harness: its threads would prevent the wipe. The program starts itself again with secrets in its
//! environment, and the child looks for them.

use std::{fs, process::Command, sync::Barrier, thread};

use masker::daemon::wipe_environment;
use masker_config::is_secret_name;

const SECRETS: [(&str, &str); 5] = [
    ("MASKER_KEY_K_TEST", "c2VjcmV0LW9uZS1zZWNyZXQtb25lLXNlY3JldC1vbmU"),
    ("MASKER_KEY_K_TEST_OLD", "c2VjcmV0LXR3by1zZWNyZXQtdHdvLXNlY3JldC10d28"),
    ("MASKER_AUDIT_HMAC_KEY", "c2VjcmV0LXRocmVlLXNlY3JldC10aHJlZS1zZWNyZXQ"),
    ("MASKER_API_KEY", "secret-four"),
    ("MASKER_APP_SESSION", ""),
];
const OTHER: (&str, &str) = ("MASKER_KEY_ROTATION_GRACE_DAYS", "12345");
const CHILD: &str = "--child";
const CHILD_WITH_THREADS: &str = "--child-with-threads";

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some(CHILD) => child(),
        Some(CHILD_WITH_THREADS) => child_with_threads(),
        _ => {
            run(CHILD);
            run(CHILD_WITH_THREADS);
            println!("secrets are wiped from /proc/PID/environ: ok");
        }
    }
}

fn run(child: &str) {
    let this = std::env::current_exe().expect("the path of this program");
    let status = Command::new(this).arg(child).envs(SECRETS).envs([OTHER]).status().expect("the child starts");
    assert!(status.success(), "{child} failed: {status}");
}

fn environ() -> String {
    String::from_utf8_lossy(&fs::read("/proc/self/environ").expect("/proc is mounted")).into_owned()
}

fn child_with_threads() {
    let before = environ();
    let waiting = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| waiting.wait());
        assert!(wipe_environment::wipe(is_secret_name).is_err(), "another thread may read the environment");
        waiting.wait();
    });
    assert_eq!(environ(), before, "a refusal changes nothing");
}

fn child() {
    let before = environ();
    assert!(SECRETS.iter().all(|(_, secret)| before.contains(secret)), "the test sees the secrets before");
    wipe_environment::wipe(is_secret_name).expect("this is the only thread");
    let after = environ();
    for (name, secret) in SECRETS {
        assert!(secret.is_empty() || !after.contains(secret), "{name} is still there");
        assert!(std::env::var_os(name).is_none(), "{name} is still set");
    }
    assert!(after.contains(OTHER.1) && std::env::var(OTHER.0).as_deref() == Ok(OTHER.1), "other settings stay");
    assert_eq!(after.len(), before.len(), "the layout is unchanged");
    wipe_environment::wipe(is_secret_name).expect("a second wipe is harmless");
}
