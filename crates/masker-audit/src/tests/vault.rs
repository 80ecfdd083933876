//! The vault's positions in the log, and what a start makes of them.

use std::{fs, path::Path, sync::Mutex};

use serde_json::Value;

use super::super::{
    AuditEvent, AuditLog, AuditOperation, EventQuery, RecordedVault, read, recorded_position, segment, test_support::*,
};
use masker_types::{
    limits::AUDIT_LINE_BYTES_MAX,
    vault_position::{ControlPosition, VaultPosition},
};

const ID: [u8; 16] = [7; 16];

fn at(epoch: u64, sequence: u64) -> VaultPosition {
    VaultPosition { vault_id: ID, epoch, sequence, control: ControlPosition::default() }
}

/// A vault that tests move on.
#[derive(Clone)]
struct TestVault(std::sync::Arc<Mutex<VaultPosition>>);

impl TestVault {
    fn new(position: VaultPosition) -> Self {
        TestVault(std::sync::Arc::new(Mutex::new(position)))
    }

    fn commit(&self) {
        self.0.lock().unwrap().sequence += 1;
    }

    fn position(&self) -> VaultPosition {
        *self.0.lock().unwrap()
    }

    /// Opens the log of this vault, as a start does.
    fn open(&self, directory: &Path, accepted_loss: Option<u64>) -> (AuditLog, Vec<String>) {
        let recorded = recorded_position(directory, &secret()).unwrap();
        let vault = self.clone();
        let current: super::super::CurrentPosition = std::sync::Arc::new(move || vault.position());
        let vault = RecordedVault { recorded, found: self.position(), accepted_loss, current };
        let opened = AuditLog::open(options(directory), None, Some(vault), ManualClock::new().clock()).unwrap();
        (opened.log, opened.notes)
    }
}

async fn event(log: &AuditLog, op: AuditOperation) {
    log.record(&AuditEvent::new(op, "ok")).await.unwrap();
}

fn events(directory: &Path, op: AuditOperation) -> Vec<Value> {
    let query = EventQuery { limit: usize::MAX, op: Some(op.as_str().into()), ..EventQuery::default() };
    read(directory, &query).unwrap().events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

#[test]
fn events_have_the_position_that_their_operation_calls_for() {
    let folder = scratch();
    let vault = TestVault::new(at(1, 41));
    let (log, _) = vault.open(folder.path(), None);
    runtime().block_on(async {
        for op in AuditOperation::ALL {
            vault.commit();
            event(&log, *op).await;
        }
    });
    for op in AuditOperation::ALL {
        let event = events(folder.path(), *op).pop().unwrap();
        let expected = if op.has_vault_position() { Value::from("07".repeat(16)) } else { Value::Null };
        assert_eq!(event["detail"]["vault_id"], expected, "{event}");
    }
    assert_eq!(events(folder.path(), AuditOperation::SegmentOpened)[0]["detail"]["vault_sequence"], 41);
    assert_eq!(events(folder.path(), AuditOperation::Stop)[0]["detail"]["vault_sequence"], 43);
    verify_all(folder.path()).unwrap();
}

#[test]
fn the_position_is_recorded_once_for_each_commit_at_most() {
    let folder = scratch();
    let vault = TestVault::new(at(1, 1));
    let (log, _) = vault.open(folder.path(), None);
    let positions = || events(folder.path(), AuditOperation::VaultPosition).len();
    runtime().block_on(async {
        event(&log, AuditOperation::Start).await;
        log.record_vault_position().await.unwrap();
        assert_eq!(positions(), 0, "the start has it");
        let before = log.last_operation();
        vault.commit();
        vault.commit();
        log.record_vault_position().await.unwrap();
        log.record_vault_position().await.unwrap();
        assert_eq!((positions(), log.last_operation()), (1, before));
        vault.commit();
        event(&log, AuditOperation::Forget).await;
        log.record_vault_position().await.unwrap();
        assert_eq!((positions(), log.last_operation()), (1, before + 2));
    });
    drop(log);
    assert_eq!(recorded_position(folder.path(), &secret()).unwrap(), Some(at(1, 4)));
}

#[test]
fn the_recorded_position_is_the_latest_that_verifies() {
    let folder = scratch();
    assert_eq!(recorded_position(&folder.path().join("none"), &secret()).unwrap(), None);
    assert_eq!(recorded_position(folder.path(), &secret()).unwrap(), None);
    let vault = TestVault::new(at(1, 5));
    let (log, _) = vault.open(folder.path(), None);
    runtime().block_on(async {
        vault.commit();
        event(&log, AuditOperation::Start).await;
        vault.commit();
        event(&log, AuditOperation::Forget).await;
    });
    drop(log);
    let recorded = || recorded_position(folder.path(), &secret()).unwrap();
    assert_eq!(recorded(), Some(at(1, 7)));
    let path = files(folder.path()).remove(0);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"vault_sequence\":7", "\"vault_sequence\":9", 1)).unwrap();
    assert_eq!(recorded(), Some(at(1, 6)), "the line does not verify");
    let long = "x".repeat(AUDIT_LINE_BYTES_MAX + 2);
    fs::write(&path, text.replacen('\n', &format!("\n{long}\n"), 1)).unwrap();
    assert_eq!(recorded(), Some(at(1, 7)), "a long line hides no line after it");
    fs::write(&path, &text).unwrap();
    segment::compress(&segment::list(folder.path()).unwrap().segments[0].name, folder.path()).unwrap();
    assert_eq!(recorded(), Some(at(1, 7)));
}

/// Runs a daemon's life: opens the log, records the start, a commit with its event, and the stop if it is orderly.
fn live(vault: &TestVault, directory: &Path, accepted_loss: Option<u64>, orderly: bool) -> Vec<String> {
    let (log, notes) = vault.open(directory, accepted_loss);
    runtime().block_on(async {
        event(&log, AuditOperation::Start).await;
        vault.commit();
        event(&log, AuditOperation::Forget).await;
        if orderly {
            event(&log, AuditOperation::Stop).await;
            // Closing the vault notes the stop.
            vault.commit();
        }
        log.close().await;
    });
    notes
}

#[test]
fn a_start_records_commits_that_no_event_tells_of() {
    let folder = scratch();
    let vault = TestVault::new(at(1, 3));
    let unrecorded = || {
        let events = events(folder.path(), AuditOperation::Unrecorded);
        events.iter().map(|event| event["detail"]["commits"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    for orderly in [true, false, true] {
        assert!(live(&vault, folder.path(), None, orderly).is_empty());
        assert!(unrecorded().is_empty(), "all commits are known");
    }
    vault.commit();
    let notes = live(&vault, folder.path(), None, false);
    assert!(unrecorded() == [2] && notes.len() == 1, "one more than an orderly stop makes: {notes:?}");
    vault.commit();
    live(&vault, folder.path(), None, true);
    assert_eq!(unrecorded(), [2, 1], "after a kill, each commit counts");
    live(&vault, folder.path(), None, true);
    assert_eq!(unrecorded(), [2, 1]);
    verify_all(folder.path()).unwrap();
}

#[test]
fn a_start_records_an_accepted_loss_and_another_vault() {
    let folder = scratch();
    live(&TestVault::new(at(1, 30)), folder.path(), None, false);
    let older = TestVault::new(at(2, 12));
    live(&older, folder.path(), Some(19), false);
    assert_eq!(events(folder.path(), AuditOperation::LossAccepted)[0]["detail"]["commits"], 19);
    assert_eq!(recorded_position(folder.path(), &secret()).unwrap(), Some(at(2, 13)));
    let other =
        TestVault::new(VaultPosition { vault_id: [8; 16], epoch: 1, sequence: 1, control: ControlPosition::default() });
    live(&other, folder.path(), None, false);
    assert_eq!(events(folder.path(), AuditOperation::VaultAccepted)[0]["detail"]["previous"], "07".repeat(16));
    assert_eq!(recorded_position(folder.path(), &secret()).unwrap(), Some(other.position()));
    live(&other, folder.path(), None, false);
    assert_eq!(events(folder.path(), AuditOperation::VaultAccepted).len(), 1);
    assert!(events(folder.path(), AuditOperation::Unrecorded).is_empty());
}
