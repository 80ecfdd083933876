//! The file of the open segment is removed, renamed, replaced or truncated while the log runs.

use std::{
    fs::{self, OpenOptions},
    path::Path,
};

use super::super::{LineError, test_support::*};

/// Does something to the file of the open segment, and records on. Returns the operations after the first events.
fn tampered(tamper: impl FnOnce(&Path, &Path)) -> Vec<String> {
    let (folder, elsewhere) = (scratch(), scratch());
    let clock = ManualClock::new();
    let log = open(options(folder.path()), None, &clock).log;
    let first = files(folder.path()).remove(0);
    runtime().block_on(async {
        record(&log, 2).await;
        assert_eq!(log.health(), Ok(()));
        tamper(&first, elsewhere.path());
        // The sync of this event finds it.
        record(&log, 1).await;
        log.state.flusher.rotate();
        assert!(log.health().unwrap_err().contains("the chain is broken"));
        assert_eq!(log.ready(), Ok(()), "the log goes on");
        record(&log, 2).await;
        log.close().await;
    });
    drop(log);
    let second = files(folder.path()).pop().unwrap();
    assert_ne!(first, second);
    let text = fs::read_to_string(&second).unwrap();
    assert_eq!(text.matches("\"unresolved_break\":true").count(), 1);
    let _ = fs::remove_file(&first);
    verify_all(folder.path()).unwrap_err();
    let mut operations = operations(folder.path());
    let begun = operations.iter().rposition(|op| op == "segment.opened").unwrap();
    operations.drain(..begun);

    // The break stays until it is accepted, and no other is found.
    let log = open(options(folder.path()), None, &clock).log;
    assert!(log.health().is_err());
    drop(log);
    let mut accepting = options(folder.path());
    accepting.accept_break = true;
    let log = open(accepting, None, &clock).log;
    assert_eq!(log.health(), Ok(()));
    operations
}

#[test]
fn a_file_that_is_gone_or_shorter_is_noticed_with_the_next_sync() {
    let continued = ["segment.opened", "chain.broken", "tokenize", "tokenize"];
    assert_eq!(tampered(|path, _| fs::remove_file(path).unwrap()), continued);
    assert_eq!(tampered(|path, to| drop(fs::copy(path, to.join("x")).and_then(|_| fs::remove_file(path)))), continued);
    let replaced = tampered(|path, to| {
        fs::copy(path, to.join("copy")).unwrap();
        fs::remove_file(path).unwrap();
        fs::copy(to.join("copy"), path).unwrap();
    });
    assert_eq!(replaced, continued);
    for length in [0, 100] {
        let cut = |path: &Path, _: &Path| OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
        assert_eq!(tampered(cut), continued);
    }
    let longer = |path: &Path, _: &Path| {
        use std::io::Write;
        OpenOptions::new().append(true).open(path).unwrap().write_all(b"x\n").unwrap();
    };
    assert_eq!(tampered(longer), continued);
}

#[test]
fn a_log_whose_file_was_removed_misses_its_events() {
    let folder = scratch();
    let log = open(options(folder.path()), None, &ManualClock::new()).log;
    runtime().block_on(async {
        record(&log, 2).await;
        log.state.flusher.rotate();
        next_day(&log, &ManualClock::new());
        fs::remove_file(files(folder.path()).pop().unwrap()).unwrap();
        record(&log, 1).await;
        log.close().await;
    });
    assert!(matches!(failing(folder.path(), None).2, LineError::Beheaded { .. } | LineError::Missing { .. }));
}
