//! The content of a report.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::rows;
use crate::api_keys::{state, time};
use masker_access::{ApiKey, Caller};
use masker_api::{
    KeyStatus, Report, ReportApiKey, ReportApiKeys, ReportCaller, ReportChainFailure, ReportErasures, ReportEvent,
    ReportHoneytokens, ReportKey, ReportLog, ReportPeriod, ReportVerification,
};
use masker_audit::{AuditOperation as Op, ListedEvent, PeriodSummary, SummaryPeriod};
use masker_types::limits::REPORT_ROWS_MAX;

/// What a report has beside the audit log.
pub(super) struct Circumstances {
    pub(super) now: Timestamp,
    pub(super) period: SummaryPeriod,
    /// Who asks for it.
    pub(super) caller: ReportCaller,
    pub(super) keys: Vec<KeyStatus>,
    pub(super) api_keys: Vec<ApiKey>,
    pub(super) honeytokens: u64,
}

/// Returns the caller of a request as reports write it.
pub(super) fn caller_of(caller: &Caller) -> ReportCaller {
    let principal = caller.principal();
    ReportCaller {
        name: principal.name.clone(),
        uid: Some(caller.peer().uid()),
        key_id: principal.credential.as_ref().map(|credential| credential.id.to_string()),
        certificate: caller.certificate().map(|key| key.to_string()),
        gateway: caller.gateway().map(str::to_owned),
    }
}

/// The part of a report that lists an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Rotations,
    ApiKeys,
    Honeytokens,
    Erasures,
    Configuration,
    Incidents,
}

fn section(op: &str) -> Section {
    match Op::ALL.iter().find(|known| known.as_str() == op) {
        Some(Op::RotationBegin | Op::RotationCancel | Op::RotationEnd | Op::KeysReload | Op::ControlKeyReplace) => {
            Section::Rotations
        }
        Some(Op::ApiKeyCreate | Op::ApiKeyChange | Op::ApiKeyRotate | Op::ApiKeyRevoke) => Section::ApiKeys,
        Some(Op::HoneytokenPlant | Op::HoneytokenRemove | Op::HoneytokenRehydrated) => Section::Honeytokens,
        Some(Op::VaultPurge | Op::SessionPurge) => Section::Erasures,
        Some(
            Op::AuthBlocked
            | Op::Unrecorded
            | Op::LossAccepted
            | Op::VaultAccepted
            | Op::LineCut
            | Op::ChainBroken
            | Op::BreakAccepted
            | Op::ClockJumped
            | Op::ClockAccepted
            | Op::Resumed
            | Op::ContinueChosen,
        ) => Section::Incidents,
        _ => Section::Configuration,
    }
}

/// Makes a report.
pub(super) fn report(summary: PeriodSummary, circumstances: &Circumstances) -> Report {
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generated_at: circumstances.now.to_string(),
        generated_for: circumstances.caller.clone(),
        period: ReportPeriod {
            since: circumstances.period.since.to_string(),
            until: circumstances.period.until.to_string(),
        },
        log: log(&summary, &circumstances.period),
        days: rows::days(&summary),
        operations: rows::operations(&summary.total),
        callers: rows::callers(&summary.total),
        kinds: rows::kinds(&summary.total),
        rehydrations: rows::items_of(&summary.total, &[Op::Rehydrate, Op::TextRestore]),
        failures: rows::failures(&summary.total),
        keys: circumstances.keys.iter().map(key).collect(),
        budgets: rows::budgets(&summary.total),
        api_keys: api_keys(&summary, circumstances),
        honeytokens: ReportHoneytokens {
            planted: circumstances.honeytokens,
            uses: rows::requests_of(&summary.total, Op::HoneytokenRehydrated),
            events: Vec::new(),
        },
        erasures: ReportErasures { forgotten: rows::items_of(&summary.total, &[Op::Forget]), events: Vec::new() },
        left_out: summary.total.unlisted,
        ..Report::default()
    };
    for listed in summary.total.listed {
        let events = match section(&listed.op) {
            Section::Rotations => &mut report.rotations,
            Section::ApiKeys => &mut report.api_keys.events,
            Section::Honeytokens => &mut report.honeytokens.events,
            Section::Erasures => &mut report.erasures.events,
            Section::Configuration => &mut report.configuration,
            Section::Incidents => &mut report.incidents,
        };
        events.push(event(listed));
    }
    report.left_out += [
        shorten(&mut report.callers),
        shorten(&mut report.rehydrations),
        shorten(&mut report.failures),
        shorten(&mut report.budgets),
        shorten(&mut report.erasures.forgotten),
        shorten(&mut report.api_keys.inactive),
    ]
    .iter()
    .sum::<u64>();
    report
}

/// Leaves out the rows beyond the first ones. Returns how many.
fn shorten<T>(rows: &mut Vec<T>) -> u64 {
    let left_out = rows.len().saturating_sub(REPORT_ROWS_MAX);
    rows.truncate(REPORT_ROWS_MAX);
    left_out as u64
}

fn log(summary: &PeriodSummary, period: &SummaryPeriod) -> ReportLog {
    let begins = summary.first.as_ref().and_then(|first| first.parse::<Timestamp>().ok());
    let verification =
        if summary.failure.is_none() { ReportVerification::Verified } else { ReportVerification::Failed };
    ReportLog {
        verification,
        failure: summary.failure.clone().map(|failed| ReportChainFailure {
            segment: failed.segment,
            line: failed.line,
            why: failed.why,
        }),
        failed_lines: summary.failed_lines,
        head: summary.head.to_string(),
        events: summary.events,
        events_in_period: summary.total.events,
        first: summary.first.clone(),
        last: summary.last.clone(),
        // A log that nothing was removed from has all that ever happened.
        covers_period: summary.removed_before.is_none() || begins.is_some_and(|begins| begins <= period.since),
        removed_before: summary.removed_before.map(|head| head.to_string()),
        segments: summary.segments,
        segments_read: summary.segments_read,
    }
}

fn event(listed: ListedEvent) -> ReportEvent {
    ReportEvent {
        seq: listed.sequence,
        time: listed.time,
        op: listed.op,
        outcome: listed.outcome,
        caller: rows::caller(&listed.caller),
        detail: listed.detail,
    }
}

fn key(status: &KeyStatus) -> ReportKey {
    ReportKey {
        kid: status.kid.clone(),
        fingerprint: status.fingerprint.clone(),
        generation: status.generation.clone(),
        loaded: status.loaded,
        first_seen: status.first_seen.clone(),
        old_since: status.old_since.clone(),
        grace_ends: status.grace_ends.clone(),
        vault_records: status.vault_records,
        last_used: status.last_used.clone(),
        removable: status.removable,
    }
}

fn api_keys(summary: &PeriodSummary, circumstances: &Circumstances) -> ReportApiKeys {
    let now_ms = u64::try_from(circumstances.now.as_millisecond()).unwrap_or(0);
    let mut keys = ReportApiKeys {
        created: rows::successes_of(&summary.total, Op::ApiKeyCreate),
        revoked: rows::successes_of(&summary.total, Op::ApiKeyRevoke),
        ..ReportApiKeys::default()
    };
    for key in &circumstances.api_keys {
        *keys.states.entry(state(key, now_ms).to_owned()).or_default() += 1;
        if key.is_inactive(now_ms) {
            keys.inactive.push(ReportApiKey {
                id: key.id().to_string(),
                name: key.name().to_owned(),
                prefix: key.prefix().as_str().to_owned(),
                owner: key.owner().to_owned(),
                created_at: time(key.created_at_ms()),
                last_used: key.last_use().and_then(|last| time(last.at_ms)),
            });
        }
    }
    keys
}

/// Returns a report for the OpenAPI document.
pub(super) fn example() -> Value {
    let caller = json!({"name": "auditor", "uid": 1001});
    json!({
        "version": "0.1.0",
        "generated_at": "2026-02-01T00:00:00Z",
        "generated_for": caller,
        "period": {"since": "2026-01-25T00:00:00Z", "until": "2026-02-01T00:00:00Z"},
        "log": {
            "verification": "verified", "failed_lines": 0,
            "head": "42:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "events": 42, "events_in_period": 12, "first": "2026-01-01T12:00:00.000Z", "last": "2026-01-31T12:00:00.000Z",
            "covers_period": true, "segments": 31, "segments_read": 1
        },
        "days": [{"day": "2026-01-31", "events": 12, "requests": 12, "failed": 0, "items": {"rehydrate": 40}}],
        "operations": [{"op": "rehydrate", "requests": 12, "failed": 0, "items": 40, "items_failed": 0}],
        "callers": [{"caller": caller, "requests": 12, "failed": 0, "items": 40}],
        "kinds": [{"kind": "PHONE", "op": "rehydrate", "items": 40, "failed": 0}],
        "rehydrations": [{"caller": caller, "op": "rehydrate", "kind": "PHONE", "items": 40, "failed": 0}],
        "failures": [],
        "keys": [{
            "kid": "K_HEALTHCARE", "fingerprint": "00112233aabbccdd", "generation": "active", "loaded": true,
            "first_seen": "2026-01-01T12:00:00Z", "old_since": null, "grace_ends": null, "vault_records": 1_000,
            "last_used": "2026-01-31T12:00:00Z", "removable": false
        }],
        "rotations": [],
        "api_keys": {"states": {"active": 1}, "created": 0, "revoked": 0, "inactive": [], "events": []},
        "honeytokens": {"planted": 1, "uses": 0, "events": []},
        "budgets": [],
        "erasures": {"forgotten": [], "events": []},
        "configuration": [],
        "incidents": [],
        "left_out": 0
    })
}
