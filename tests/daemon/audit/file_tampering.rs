//! The file of the open segment is removed, renamed or truncated while the daemon runs.

use std::{fs, path::Path, time::Instant};

use super::{complaint, launch, segments, site};
use crate::harness::LIMIT;

#[test]
fn a_segment_that_is_tampered_with_degrades_health_and_a_new_one_begins() {
    let tampering: [fn(&Path, &Path); 3] = [
        |path, _| fs::remove_file(path).unwrap(),
        |path, elsewhere| fs::rename(path, elsewhere).unwrap(),
        |path, _| fs::File::options().write(true).open(path).unwrap().set_len(10).unwrap(),
    ];
    for tamper in tampering {
        let site = site();
        let daemon = launch(&site).start();
        let mut client = daemon.client();
        client.token("PHONE", "415-555-2671");
        assert_eq!(complaint(&daemon), None);
        let first = segments(&site).remove(0);
        tamper(&first, &site.path("elsewhere"));
        let since = Instant::now();
        let complaint = loop {
            client.token("PHONE", "415-555-2672");
            match complaint(&daemon) {
                Some(complaint) => break complaint,
                None => assert!(since.elapsed() < LIMIT, "it is not noticed"),
            }
        };
        assert!(complaint.contains("chain is broken"), "{complaint}");
        client.token("PHONE", "415-555-2673");
        let second = segments(&site).pop().unwrap();
        assert_ne!(first, second);
        let text = fs::read_to_string(&second).unwrap();
        let why = ["missing: the file was removed", "changed: the file has "];
        assert!(text.contains("\"chain.broken\"") && why.iter().any(|why| text.contains(why)), "{text}");
        daemon.stop();
        let daemon = launch(&site).start();
        assert!(super::complaint(&daemon).is_some(), "until it is accepted");
        daemon.stop();
    }
}
