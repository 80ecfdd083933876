//! Judges the health, the keys and the metrics of a running daemon.

use super::{finding::Finding, finding_id::FindingId};
use crate::scrape::{Scrape, Series};
use masker_api::{Component, Health, HealthStatus, KeyList, KeyStatus};

/// Where the daemon says more.
pub(super) const SEE_LOG: &str = "see the daemon's log: `journalctl --unit masker.service` for that of the package";

/// Returns who may ask what this caller may not.
pub(super) fn scope_remedy() -> &'static str {
    match nix::unistd::geteuid().is_root() {
        true => {
            "a client of the configuration names root, or MASKER_API_KEY is set: see `access.root`, and run doctor without the variable or as the \
             daemon's user"
        }
        false => "run doctor as root, or as a client with the scopes `keys:read` and `metrics:read`",
    }
}

/// `daemon.health` and `daemon.version`.
pub fn health(health: &Health, own_version: &str) -> Vec<Finding> {
    let (Some(version), Some(uptime), Some(parts)) = (&health.version, health.uptime_seconds, &health.components)
    else {
        let unknown = Finding::not_checked(
            "daemon.version",
            "the daemon tells its version to callers with the scope `keys:read`",
            scope_remedy(),
        );
        let health = match health.status {
            HealthStatus::Degraded => {
                Finding::error("daemon.health", FindingId::DaemonDegraded, "the daemon is degraded", scope_remedy())
            }
            _ => Finding::ok("daemon.health", "the daemon is healthy"),
        };
        return vec![health, unknown];
    };
    let mut findings: Vec<Finding> =
        parts.named().into_iter().filter_map(|(name, part)| component(name, part)).collect();
    if findings.is_empty() {
        let found = format!("the daemon is healthy and has been running for {uptime} s");
        findings.push(Finding::ok("daemon.health", found));
    }
    findings.push(if version == own_version {
        Finding::ok("daemon.version", format!("the daemon has this program's version, {own_version}"))
    } else {
        let found = format!("the daemon has version {version}, and this program {own_version}");
        let remedy = "restart the daemon, which ends requests in flight after at most 10 s: `systemctl restart masker.service` for that of the package";
        Finding::warning("daemon.version", FindingId::DaemonVersion, found, remedy)
    });
    findings
}

fn component(name: &str, part: &Component) -> Option<Finding> {
    let detail = part.detail.clone().unwrap_or_default();
    let found = format!("{name}: {detail}");
    match part.status {
        HealthStatus::Ok => None,
        HealthStatus::Degraded => Some(Finding::error("daemon.health", FindingId::DaemonDegraded, found, SEE_LOG)),
        HealthStatus::Off => {
            let remedy = "if there ever was an audit log, put its key back from its copy and restart the daemon. Otherwise the page describes how to \
                          begin one";
            Some(Finding::warning("daemon.health", FindingId::AuditLogOff, found, remedy))
        }
    }
}

/// `daemon.keys`: no key that records need is missing, and no old key is needed after its grace period.
pub fn keys(list: &KeyList) -> Vec<Finding> {
    let apply = |kid: &str| {
        let of_kid = list.advice.iter().find(|advice| advice.kid == kid);
        of_kid.map_or("restart the daemon", |advice| &advice.apply)
    };
    let mut findings: Vec<Finding> = list.keys.iter().filter_map(|status| key(status, apply(&status.kid))).collect();
    if findings.is_empty() {
        let loaded = list.keys.iter().filter(|key| key.loaded).count();
        findings.push(Finding::ok("daemon.keys", format!("{loaded} keys are loaded, and none is missing")));
    }
    findings
}

/// Returns what needs a key. Every record has index rows, so these are named only where no record does.
pub(super) fn needed_by(records: u64, index_rows: u64) -> String {
    match (records, index_rows) {
        (0, 1) => "1 index row needs it".to_owned(),
        (0, rows) => format!("{rows} index rows need it"),
        (1, _) => "1 record needs it".to_owned(),
        (records, _) => format!("{records} records need it"),
    }
}

/// `apply` is what makes changes of its key id take effect.
fn key(key: &KeyStatus, apply: &str) -> Option<Finding> {
    let name = format!("the key {} of {}", key.fingerprint, key.kid);
    if !key.loaded && key.vault_records + key.vault_index_rows > 0 {
        let found = format!("{name} is not loaded, and {}", needed_by(key.vault_records, key.vault_index_rows));
        let remedy = format!(
            "put this key back from its copy as the old key of {0} (MASKER_KEY_{0}_OLD), or as the active one if that is missing; then {apply}",
            key.kid
        );
        return Some(Finding::error("daemon.keys", FindingId::RecordsWithoutKey, found, remedy));
    }
    if key.removable && key.loaded {
        if key.tokens_opened_30_days > 0 {
            let opened = key.tokens_opened_30_days;
            let found =
                format!("nothing in the vault needs {name}, but it opened {opened} `MSK1` tokens in the last 30 days");
            let remedy = "rewrap these tokens before the key is removed: see the page \"Rotating a key\"".to_owned();
            return Some(Finding::warning("daemon.keys", FindingId::OldKeyRemovable, found, remedy));
        }
        let found = format!("nothing in the vault needs {name} any longer");
        let remedy = format!(
            "`masker keys remove-old --dir DIRECTORY --kid {}` with the directory of the keys: it says what else needs the key, and removes nothing \
             without --yes",
            key.kid
        );
        return Some(Finding::warning("daemon.keys", FindingId::OldKeyRemovable, found, remedy));
    }
    if key.loaded && key.grace_days_left.is_some_and(|days| days <= 0) {
        let needed = match key.vault_records + key.vault_index_rows {
            0 => "nothing in the vault needs it".to_owned(),
            _ => needed_by(key.vault_records, key.vault_index_rows),
        };
        let found = format!("the grace period of {name} is over, and {needed}");
        let remedy = format!("`masker vault rotate-key --new-kid {}`", key.kid);
        return Some(Finding::warning("daemon.keys", FindingId::OldKeyOverdue, found, remedy));
    }
    None
}

/// `daemon.counters`: no damage, no lost event and no honeytoken was counted.
pub fn counters(scrape: &Scrape) -> Vec<Finding> {
    let bad = [
        (
            "masker_vault_damaged_total",
            FindingId::VaultDamaged,
            "damaged rows of the vault were read",
            "`masker vault check`",
        ),
        (
            "masker_audit_failures_total",
            FindingId::AuditEventsLost,
            "events could not be written to the audit log",
            SEE_LOG,
        ),
        (
            "masker_honeytoken_rehydrated_total",
            FindingId::HoneytokenPresented,
            "honeytokens were presented",
            "`masker audit show --op honeytoken.rehydrated`",
        ),
    ];
    let judged = bad.into_iter().filter_map(|(name, finding, what, remedy)| match scrape.value(name) {
        Some(count) if count > 0.0 => Some(Finding::error(
            "daemon.counters",
            finding,
            format!("since the daemon started, {what}: {count}"),
            remedy,
        )),
        Some(_) => None,
        None => {
            let found = format!("the daemon does not count {name}: is it another version?");
            Some(Finding::not_checked("daemon.counters", found, "restart the daemon with this version"))
        }
    });
    let mut findings: Vec<Finding> = judged.collect();
    if findings.is_empty() {
        findings
            .push(Finding::ok("daemon.counters", "since the daemon started: no damage, no lost event, no honeytoken"));
    }
    findings
}

/// `daemon.sandbox`: each part of the daemon's sandbox is in force.
pub fn sandbox(scrape: &Scrape) -> Vec<Finding> {
    let part = |series: &Series| {
        let found = format!("{}: {}", series.label("part"), series.label("state"));
        if series.value == 1.0 {
            return Finding::ok("daemon.sandbox", found);
        }
        let remedy = "the daemon logs the reason when it starts: `journalctl --unit masker.service --grep sandbox`; `[sandbox]` in the \
                      configuration turns parts off";
        Finding::warning("daemon.sandbox", FindingId::SandboxOpen, found, remedy)
    };
    let parts: Vec<Finding> = scrape.of("masker_sandbox_in_force").map(part).collect();
    if parts.is_empty() {
        let found = "the daemon does not report its sandbox: is it another version?";
        return vec![Finding::not_checked("daemon.sandbox", found, "restart the daemon with this version")];
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;
    use masker_api::Components;

    fn of_health(vault: HealthStatus, audit_log: HealthStatus, version: &str) -> Vec<Severity> {
        let part = |status| Component { status, detail: Some("why".to_owned()) };
        let report = Health {
            status: vault,
            version: Some(version.to_owned()),
            uptime_seconds: Some(7),
            components: Some(Components {
                vault: part(vault),
                keys: part(HealthStatus::Ok),
                audit_log: part(audit_log),
                policies: part(HealthStatus::Ok),
            }),
            configuration: None,
        };
        health(&report, "1").iter().map(|finding| finding.status).collect()
    }

    #[test]
    fn a_degraded_part_is_an_error_and_a_disabled_part_a_warning() {
        use HealthStatus::{Degraded, Off};
        assert_eq!(of_health(HealthStatus::Ok, HealthStatus::Ok, "1"), [Severity::Ok, Severity::Ok]);
        assert_eq!(of_health(Degraded, Off, "1"), [Severity::Error, Severity::Warning, Severity::Ok]);
        assert_eq!(of_health(HealthStatus::Ok, HealthStatus::Ok, "0"), [Severity::Ok, Severity::Warning]);
        for (status, severity) in [(HealthStatus::Ok, Severity::Ok), (Degraded, Severity::Error)] {
            let report = Health { status, version: None, uptime_seconds: None, components: None, configuration: None };
            let found: Vec<Severity> = health(&report, "1").iter().map(|finding| finding.status).collect();
            assert_eq!(found, [severity, Severity::NotChecked], "the status alone");
        }
    }

    #[test]
    fn judges_keys_by_the_records_that_need_them() {
        let key = |loaded, records, days: Option<i64>, removable| KeyStatus {
            kid: "K_A".to_owned(),
            fingerprint: "f".to_owned(),
            generation: "old".to_owned(),
            loaded,
            first_seen: None,
            old_since: None,
            grace_ends: None,
            grace_days_left: days,
            vault_records: records,
            vault_index_rows: 0,
            last_used: None,
            tokens_last_opened: None,
            tokens_opened_30_days: 0,
            proven_at: None,
            open_sessions: None,
            removable,
            reason: String::new(),
        };
        let status = |key| keys(&KeyList { keys: vec![key], advice: Vec::new() })[0].status;
        assert_eq!(status(key(true, 7, None, false)), Severity::Ok);
        assert_eq!(status(key(true, 7, Some(1), false)), Severity::Ok);
        assert_eq!(status(key(true, 7, Some(0), false)), Severity::Warning);
        assert_eq!(status(key(true, 0, Some(9), true)), Severity::Warning);
        assert_eq!(status(key(false, 7, None, false)), Severity::Error);
        assert_eq!(status(key(false, 0, None, false)), Severity::Ok);
        let rows = KeyStatus { vault_index_rows: 2, ..key(false, 0, None, false) };
        let found = keys(&KeyList { keys: vec![rows], advice: Vec::new() });
        assert!(found[0].found.ends_with("is not loaded, and 2 index rows need it"), "{found:?}");
        let opened = KeyStatus { tokens_opened_30_days: 2, ..key(true, 0, Some(9), true) };
        let found = keys(&KeyList { keys: vec![opened], advice: Vec::new() });
        assert!(format!("{found:?}").contains("rewrap"), "{found:?}");
    }

    #[test]
    fn counted_damage_is_an_error() {
        let statuses = |text| counters(&Scrape::parse(text)).iter().map(|f| f.status).collect::<Vec<_>>();
        let zeros =
            "masker_vault_damaged_total 0\nmasker_audit_failures_total 0\nmasker_honeytoken_rehydrated_total 0\n";
        assert_eq!(statuses(zeros), [Severity::Ok]);
        assert_eq!(statuses(""), [Severity::NotChecked; 3]);
        assert_eq!(
            statuses(
                "masker_vault_damaged_total 1\nmasker_audit_failures_total 2\nmasker_honeytoken_rehydrated_total 3\n"
            ),
            [Severity::Error; 3]
        );
    }

    #[test]
    fn a_part_of_the_sandbox_that_is_not_in_force_is_a_warning() {
        let text = "masker_sandbox_in_force{part=\"landlock\",state=\"off\"} 0\n\
                    masker_sandbox_in_force{part=\"seccomp\",state=\"violations kill\"} 1\n";
        let findings = sandbox(&Scrape::parse(text));
        let found: Vec<_> = findings.iter().map(|finding| (finding.status, finding.found.as_str())).collect();
        assert_eq!(found, [(Severity::Warning, "landlock: off"), (Severity::Ok, "seccomp: violations kill")]);
    }
}
