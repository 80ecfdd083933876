//! Reports for tests.

use std::collections::BTreeMap;

use masker_api::{
    Report, ReportApiKey, ReportApiKeys, ReportBudget, ReportCaller, ReportCallerTotals, ReportChainFailure, ReportDay,
    ReportErasures, ReportEvent, ReportFailure, ReportHoneytokens, ReportItems, ReportKey, ReportLog, ReportOperation,
    ReportPeriod, ReportVerification,
};
use serde_json::Value;

fn billing() -> ReportCaller {
    ReportCaller {
        name: "billing".into(),
        uid: Some(1001),
        key_id: Some("0198b2c4d5e6f708192a3b4c5d6e7f80".into()),
        ..ReportCaller::default()
    }
}

fn event(seq: u64, op: &str, details: &[(&str, &str)]) -> ReportEvent {
    let detail = details.iter().map(|(name, text)| ((*name).to_owned(), Value::from(*text)));
    ReportEvent {
        seq,
        time: "2026-03-03T10:15:00.000Z".into(),
        op: op.into(),
        outcome: "ok".into(),
        caller: billing(),
        detail: detail.collect(),
    }
}

fn items(kind: &str, items: u64) -> ReportItems {
    ReportItems { caller: billing(), op: "rehydrate".into(), kind: Some(kind.into()), items, failed: 3 }
}

/// Returns a report of a week in which something of each kind happened.
pub(crate) fn week() -> Report {
    let day = |day: u64| ReportDay {
        day: format!("2026-03-0{day}"),
        events: 100 * day,
        requests: 90 * day,
        failed: 4 * day,
        items: BTreeMap::from([("rehydrate".to_owned(), 10 * day)]),
    };
    Report {
        version: "0.1.0".into(),
        generated_at: "2026-03-08T00:00:05Z".into(),
        generated_for: ReportCaller { name: "auditor".into(), uid: Some(1002), ..ReportCaller::default() },
        period: ReportPeriod { since: "2026-03-01T00:00:00Z".into(), until: "2026-03-08T00:00:00Z".into() },
        log: ReportLog {
            verification: ReportVerification::Verified,
            failure: None,
            failed_lines: 0,
            head: "81274:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
            events: 81_274,
            events_in_period: 2_800,
            first: Some("2026-01-01T09:00:00.000Z".into()),
            last: Some("2026-03-08T00:00:04.000Z".into()),
            covers_period: true,
            removed_before: None,
            segments: 67,
            segments_read: 1,
        },
        days: (1..=7).filter(|number| *number != 4).map(day).collect(),
        operations: vec![
            ReportOperation { op: "rehydrate".into(), requests: 900, failed: 12, items: 1_234, items_failed: 3 },
            ReportOperation { op: "tokenize".into(), requests: 1_500, failed: 88, items: 45_678, items_failed: 0 },
        ],
        callers: vec![ReportCallerTotals { caller: billing(), requests: 2_400, failed: 100, items: 46_912 }],
        kinds: Vec::new(),
        rehydrations: vec![items("PHONE", 1_000), items("EMAIL", 200), items("SSN", 34)],
        failures: vec![ReportFailure {
            op: "tokenize".into(),
            code: "rate.limited".into(),
            caller: billing(),
            requests: 88,
        }],
        keys: vec![key("K_CARE", "active", None, 1_000), key("K_CARE", "old", Some("2026-03-20T12:00:00Z"), 17)],
        rotations: vec![event(70_001, "rotation.begin", &[("new_kid", "K_CARE"), ("old_kid", "K_CARE")])],
        api_keys: ReportApiKeys {
            states: BTreeMap::from([("active".to_owned(), 4), ("revoked".to_owned(), 2)]),
            created: 1,
            revoked: 1,
            inactive: vec![ReportApiKey {
                id: "0198b2c4d5e6f708192a3b4c5d6e7f81".into(),
                name: "old import".into(),
                prefix: "masker_live_5Q2M".into(),
                owner: "ops".into(),
                created_at: Some("2025-10-01T00:00:00Z".into()),
                last_used: None,
            }],
            events: vec![event(70_050, "api_key.create", &[("api_key_id", "0198b2c4d5e6f708192a3b4c5d6e7f82")])],
        },
        honeytokens: ReportHoneytokens {
            planted: 3,
            uses: 1,
            events: vec![event(
                70_100,
                "honeytoken.rehydrated",
                &[("honeytoken_id", "0198b2c4d5e6f708192a3b4c5d6e7f83")],
            )],
        },
        budgets: vec![ReportBudget { caller: billing(), which: "values_per_day".into(), limit: 50_000, times: 2 }],
        erasures: ReportErasures {
            forgotten: vec![ReportItems { op: "forget".into(), ..items("PHONE", 12) }],
            events: vec![event(70_200, "vault.purge", &[("key", "00112233aabbccdd")])],
        },
        configuration: vec![event(70_300, "policies.reload", &[])],
        incidents: Vec::new(),
        left_out: 0,
    }
}

fn key(kid: &str, generation: &str, grace_ends: Option<&str>, vault_records: u64) -> ReportKey {
    ReportKey {
        kid: kid.into(),
        fingerprint: "00112233aabbccdd".into(),
        generation: generation.into(),
        loaded: true,
        first_seen: Some("2026-01-01T09:00:00Z".into()),
        old_since: None,
        grace_ends: grace_ends.map(str::to_owned),
        vault_records,
        last_used: None,
        removable: false,
    }
}

/// Returns a report with texts that are not plain ones.
pub(crate) fn hostile() -> Report {
    let mut report = week();
    let name = "\"><img src=x onerror=alert(1)> 名前 \u{202e}\u{0}";
    for row in &mut report.rehydrations {
        row.caller.name = name.to_owned();
        row.kind = Some(name.to_owned());
    }
    report.generated_for.name = name.repeat(20);
    report.version = name.to_owned();
    report.configuration = (0..500).map(|seq| event(seq, name, &[(name, name)])).collect();
    report
}

/// Returns a report of a log that does not verify.
pub(crate) fn broken() -> Report {
    let mut report = week();
    report.log.verification = ReportVerification::Failed;
    report.log.failed_lines = 1;
    report.log.failure = Some(ReportChainFailure {
        segment: "audit-20260301T000000Z-000001".into(),
        line: 7,
        why: "changed: its hash does not match".into(),
    });
    report
}
