//! Summaries of a period, with and without rollups.

use std::{fs, path::Path, time::Duration};

use jiff::Timestamp;
use masker_core::{crypto::Fingerprint, keyring::Role};
use masker_types::kind::{EntityKind, Kid};

use super::super::{maintenance, segment, test_support::*};
use crate::{
    AuditEvent, AuditLog, AuditOperation, CallerIdentity, DetailValue, EncodedCaller, ItemKey, OutcomeCount,
    PeriodSummary, SummaryCaller, SummaryPeriod,
};

fn period(since: &str, until: &str) -> SummaryPeriod {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    SummaryPeriod { since: time(since), until: time(until) }
}

fn all() -> SummaryPeriod {
    period("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")
}

fn caller(name: &str) -> EncodedCaller {
    EncodedCaller::new(&CallerIdentity {
        address: None,
        certificate: None,
        gateway: None,
        gid: 7,
        key_id: Some("k1"),
        key_prefix: None,
        mode: "live",
        name,
        pid: Some(1),
        uid: 7,
        unit: None,
    })
}

fn count(kind: &str, outcome: &'static str, items: u64) -> OutcomeCount {
    OutcomeCount {
        fingerprint: Fingerprint::parse("00112233aabbccdd"),
        generation: Some(Role::Active),
        items,
        kid: Kid::parse("K_CARE"),
        kind: EntityKind::parse(kind),
        outcome,
    }
}

/// Records what happens on a day.
async fn one_day(log: &AuditLog) {
    let billing = caller("billing");
    let by_billing = |op, outcome| AuditEvent { caller: Some(&billing), ..AuditEvent::new(op, outcome) };
    let counts = [count("PHONE", "ok", 3), count("SSN", "token.not_found", 2)];
    log.record(&AuditEvent { counts: &counts, ..by_billing(AuditOperation::Rehydrate, "ok") }).await.unwrap();
    log.record(&by_billing(AuditOperation::Tokenize, "rate.limited")).await.unwrap();
    let repeated = [("repeated", DetailValue::Number(9))];
    log.record(&AuditEvent { detail: &repeated, ..by_billing(AuditOperation::Tokenize, "rate.limited") })
        .await
        .unwrap();
    let budget = [("limit", DetailValue::Number(500)), ("which", DetailValue::Text("values_per_day"))];
    log.record(&AuditEvent { detail: &budget, ..by_billing(AuditOperation::BudgetCrossed, "warning") }).await.unwrap();
    let key = [("api_key_id", DetailValue::Text("k2"))];
    log.record(&AuditEvent { detail: &key, ..by_billing(AuditOperation::ApiKeyCreate, "ok") }).await.unwrap();
    let keys = [count("PHONE", "loaded", 1_000)];
    log.record(&AuditEvent { counts: &keys, ..AuditEvent::new(AuditOperation::KeysReload, "ok") }).await.unwrap();
    // The parts of a text are what its first event began.
    let stream = |op| AuditEvent { request_id: Some("r1"), ..by_billing(op, "ok") };
    let (streamed, part) = ([("streamed", DetailValue::Flag(true))], [("part", DetailValue::Number(1))]);
    log.record(&AuditEvent { detail: &streamed, ..stream(AuditOperation::TextRestore) }).await.unwrap();
    let counts = [count("EMAIL", "ok", 4)];
    log.record(&AuditEvent { detail: &part, counts: &counts, ..stream(AuditOperation::TextStreamed) }).await.unwrap();
    log.record(&stream(AuditOperation::TextStreamed)).await.unwrap();
}

/// Returns a log of three days, of which the last is open, with the rollups of the others.
fn three_days(directory: &Path, clock: &ManualClock) -> AuditLog {
    let log = open(options(directory), None, clock).log;
    runtime().block_on(async {
        for day in 0..3 {
            if day > 0 {
                next_day(&log, clock);
            }
            one_day(&log).await;
        }
    });
    maintenance::summarize_closed(&log.state).unwrap();
    log
}

fn rollups(directory: &Path) -> usize {
    segment::list(directory).unwrap().rollups.len()
}

fn verified(log: &AuditLog, period: &SummaryPeriod, full: bool) -> PeriodSummary {
    let summary = log.summarize(period, full).unwrap();
    assert_eq!((&summary.failure, summary.failed_lines), (&None, 0));
    summary
}

#[test]
fn a_summary_counts_and_lists_what_happened() {
    let (folder, clock) = (scratch(), ManualClock::new());
    let log = three_days(folder.path(), &clock);
    let summary = verified(&log, &all(), false);
    assert_eq!((summary.segments, summary.segments_read, summary.rollups_missing), (3, 1, 0));
    assert_eq!(summary.head, log.durable_head());
    assert_eq!(summary.events, summary.total.events);
    let billing = SummaryCaller::Known {
        name: "billing".into(),
        uid: 7,
        key_id: Some("k1".into()),
        certificate: None,
        gateway: None,
    };
    let items = |op: &str, kind: &str, outcome: &str| {
        let key = ItemKey { op: op.into(), caller: billing.clone(), kind: Some(kind.into()), outcome: outcome.into() };
        summary.total.items.iter().find(|(found, _)| **found == key).map(|(_, items)| items)
    };
    assert_eq!(items("rehydrate", "PHONE", "ok"), Some(9));
    assert_eq!(items("rehydrate", "SSN", "token.not_found"), Some(6));
    assert_eq!(items("text.restore", "EMAIL", "ok"), Some(12));
    // The keys of a reload are not items.
    assert_eq!(items("keys.reload", "PHONE", "loaded"), None);
    let limited: Vec<u64> =
        summary.total.requests.iter().filter(|(key, _)| key.outcome == "rate.limited").map(|(_, n)| n).collect();
    assert_eq!(limited, [30]);
    let budgets: Vec<_> = summary.total.budgets.iter().map(|(key, times)| (&*key.which, key.limit, times)).collect();
    assert_eq!(budgets, [("values_per_day", 500, 3)]);
    let listed: Vec<_> = summary.total.listed.iter().map(|event| &*event.op).filter(|op| *op != "start").collect();
    assert_eq!(listed, ["api_key.create", "keys.reload"].repeat(3));
    let days: Vec<&String> = summary.days.keys().collect();
    assert_eq!(days, ["2026-03-01", "2026-03-02", "2026-03-03"]);
    // Three requests with nine repetitions, the new key, and the text with its end.
    assert_eq!(summary.days["2026-03-02"].requests, 1 + 1 + 9 + 1 + 3);
    assert_eq!(summary.days["2026-03-02"].failed, 10);
}

#[test]
fn rollups_and_all_segments_give_the_same_summary() {
    let (folder, clock) = (scratch(), ManualClock::new());
    let log = three_days(folder.path(), &clock);
    for (since, until, read) in [
        ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", 1),
        ("2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z", 1),
        // The period begins in the first segment and ends in the second.
        ("2026-03-01T12:00:00.001Z", "2026-03-02T12:00:00Z", 3),
        ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z", 1),
    ] {
        let period = period(since, until);
        let by_rollups = verified(&log, &period, false);
        let full = verified(&log, &period, true);
        assert_eq!((by_rollups.segments_read, full.segments_read), (read, 3), "{since}");
        assert_eq!(PeriodSummary { segments_read: 3, ..by_rollups }, full, "{since}");
    }
    let one_day = verified(&log, &period("2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"), false);
    assert_eq!(one_day.days.keys().collect::<Vec<_>>(), ["2026-03-02"]);
}

#[test]
fn a_damaged_or_missing_rollup_is_made_again_from_its_segment() {
    let (folder, clock) = (scratch(), ManualClock::new());
    let log = three_days(folder.path(), &clock);
    let expected = verified(&log, &all(), true);
    let name = segment::list(folder.path()).unwrap().segments[0].name;
    let path = name.rollup(folder.path());
    let whole = fs::read(&path).unwrap();
    let other = fs::read(segment::list(folder.path()).unwrap().segments[1].name.rollup(folder.path())).unwrap();
    let mut damaged: Vec<Option<Vec<u8>>> = vec![None, Some(Vec::new()), Some(other)];
    for at in [0, 20, whole.len() / 2, whole.len() - 10, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        damaged.push(Some(changed));
        damaged.push(Some(whole[..at].to_vec()));
    }
    for (case, content) in damaged.into_iter().enumerate() {
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let period = all();
        let found = crate::summary::summarize(&summarized(&log), &period, crate::summary::Rollups::Use).unwrap();
        assert_eq!((found.segments_read, found.rollups_missing), (2, 1), "case {case}");
        assert_eq!(found.total, expected.total, "case {case}");
        maintenance::summarize_closed(&log.state).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole, "case {case}");
    }
}

fn summarized(log: &AuditLog) -> crate::summary::SummarizedLog<'_> {
    crate::summary::SummarizedLog {
        directory: &log.state.directory,
        key: &log.state.key,
        expected: log.durable_head(),
        is_stopping: &|| false,
    }
}

#[test]
fn a_changed_line_is_reported_and_left_out() {
    let (folder, clock) = (scratch(), ManualClock::new());
    let log = three_days(folder.path(), &clock);
    let name = segment::list(folder.path()).unwrap().segments[1].name;
    let path = name.plain(folder.path());
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(_) => zstd::decode_all(fs::File::open(name.compressed(folder.path())).unwrap()).unwrap(),
    };
    let text = String::from_utf8(text).unwrap();
    fs::write(&path, text.replacen("\"items\":3", "\"items\":4", 1)).unwrap();
    // The rollup vouches for what it was made from.
    verified(&log, &all(), false);
    let found = log.summarize(&all(), true).unwrap();
    let failure = found.failure.unwrap();
    assert_eq!((failure.segment, failure.line, found.failed_lines), (name.to_string(), 2, 1));
    assert!(failure.why.starts_with("changed"), "{}", failure.why);
    // Without its rollup, it is read, and gets no other.
    fs::remove_file(name.rollup(folder.path())).unwrap();
    maintenance::summarize_closed(&log.state).unwrap();
    assert!(log.summarize(&all(), false).unwrap().failure.is_some());
    assert_eq!(rollups(folder.path()), 1);
}

#[test]
fn a_segment_that_is_gone_breaks_the_chain_of_rollups() {
    let (folder, clock) = (scratch(), ManualClock::new());
    let log = three_days(folder.path(), &clock);
    let name = segment::list(folder.path()).unwrap().segments[1].name;
    for path in [name.plain(folder.path()), name.compressed(folder.path())] {
        let _ = fs::remove_file(path);
    }
    let failure = log.summarize(&all(), false).unwrap().failure.unwrap();
    assert!(failure.why.contains("which is not the one before it"), "{}", failure.why);
    maintenance::summarize_closed(&log.state).unwrap();
    assert_eq!(rollups(folder.path()), 1);
}

#[test]
fn the_oldest_segment_may_be_missing_if_an_event_announces_its_removal() {
    let (folder, clock) = (scratch(), ManualClock::new());
    let log = three_days(folder.path(), &clock);
    drop(log);
    clock.advance(Duration::from_secs(24 * 60 * 60));
    let log = open(crate::AuditOptions { retention_days: 1, ..options(folder.path()) }, None, &clock).log;
    // The rollup goes with its segment.
    wait_until(|| {
        let left = segment::list(folder.path()).unwrap();
        let numbers: Vec<u64> = left.rollups.iter().map(|name| name.number).collect();
        left.segments.len() == 3 && numbers == [2, 3]
    });
    let summary = verified(&log, &all(), false);
    assert!(summary.removed_before.is_some());
    drop(log);
    // Nothing announces the removal of another.
    let gone = segment::list(folder.path()).unwrap().segments.swap_remove(0);
    fs::remove_file(gone.path).unwrap();
    let log = open(options(folder.path()), None, &clock).log;
    let failure = log.summarize(&all(), false).unwrap().failure.unwrap();
    assert!(failure.why.contains("whose removal no event announces"), "{}", failure.why);
}

/// Computed with Python: `hmac.digest(bytes(range(32)), enc(b"rollup", sha256(b"{}").digest()), "sha256")`.
#[test]
fn the_mac_of_a_rollup_is_as_specified() {
    let mac = key().rollup_mac(b"{}");
    let expected = "5627141c4053394acce7eb889ff67c27b873ce05a0a7251fbb1c5ebced70e29e";
    assert_eq!(data_encoding::HEXLOWER.encode(&mac), expected);
    assert!(key().accepts_rollup(b"{}", &mac) && !key().accepts_rollup(b"{ }", &mac));
}
