//! Judges the health, the keys and the metrics of a running daemon.

use super::finding::Finding;
use crate::scrape::{Scrape, Series};
use masker_api::{Component, Health, HealthStatus, KeyList, KeyStatus};

/// `daemon.health` and `daemon.version`.
pub fn health(health: &Health, own_version: &str) -> Vec<Finding> {
    let (Some(version), Some(uptime), Some(parts)) = (&health.version, health.uptime_seconds, &health.components)
    else {
        let remedy = "run doctor as root, or as a client with the scope `keys:read`, to see the reason";
        return vec![match health.status {
            HealthStatus::Degraded => Finding::error("daemon.health", "the daemon is degraded", remedy),
            _ => Finding::ok("daemon.health", "the daemon is healthy"),
        }];
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
        Finding::warning("daemon.version", found, "systemctl restart masker")
    });
    findings
}

fn component(name: &str, part: &Component) -> Option<Finding> {
    let detail = part.detail.clone().unwrap_or_default();
    let found = format!("{name}: {detail}");
    match part.status {
        HealthStatus::Ok => None,
        HealthStatus::Degraded => {
            Some(Finding::error("daemon.health", found, "see the daemon's log: `journalctl --unit masker`"))
        }
        HealthStatus::Off => {
            let remedy = "provide a key for the audit log: `masker keys generate --kid AUDIT --output FILE` makes one";
            Some(Finding::warning("daemon.health", found, remedy))
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

/// `apply` is what makes changes of its key id take effect.
fn key(key: &KeyStatus, apply: &str) -> Option<Finding> {
    let name = format!("the key {} of {}", key.fingerprint, key.kid);
    if !key.loaded && key.vault_records + key.vault_index_rows > 0 {
        let found = format!("{name} is not loaded, and {} records need it", key.vault_records);
        let remedy =
            format!("provide it as MASKER_KEY_{}_OLD_FILE: see the page \"A lost key or vault\" of the book", key.kid);
        return Some(Finding::error("daemon.keys", found, remedy));
    }
    if key.removable && key.loaded {
        let found = format!("nothing needs {name} any longer");
        let remedy = format!("take MASKER_KEY_{}_OLD away with `masker keys remove-old`, then {apply}", key.kid);
        return Some(Finding::warning("daemon.keys", found, remedy));
    }
    if key.loaded && key.grace_days_left.is_some_and(|days| days <= 0) {
        let found = format!("the grace period of {name} is over, and {} records need it", key.vault_records);
        let remedy = format!("masker vault rotate-key --new-kid {}", key.kid);
        return Some(Finding::warning("daemon.keys", found, remedy));
    }
    None
}

/// `daemon.counters`: no damage, no lost event and no honeytoken was counted.
pub fn counters(scrape: &Scrape) -> Vec<Finding> {
    let bad = [
        ("masker_vault_damaged_total", "damaged rows of the vault were read", "masker vault check"),
        (
            "masker_audit_failures_total",
            "events could not be written to the audit log",
            "see the daemon's log: `journalctl --unit masker`",
        ),
        (
            "masker_honeytoken_rehydrated_total",
            "honeytokens were presented",
            "masker audit show --op honeytoken.rehydrated",
        ),
    ];
    let counted = bad.into_iter().filter_map(|(name, what, remedy)| {
        let count = scrape.value(name).filter(|count| *count > 0.0)?;
        Some(Finding::error("daemon.counters", format!("since the daemon started, {what}: {count}"), remedy))
    });
    let mut findings: Vec<Finding> = counted.collect();
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
        let remedy = "the daemon logs the reason when it starts: `journalctl --unit masker --grep sandbox`; `[sandbox]` in the \
                      configuration turns parts off";
        Finding::warning("daemon.sandbox", found, remedy)
    };
    scrape.of("masker_sandbox_in_force").map(part).collect()
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
            let report = Health { status, version: None, uptime_seconds: None, components: None };
            let found: Vec<Severity> = health(&report, "1").iter().map(|finding| finding.status).collect();
            assert_eq!(found, [severity], "the status alone");
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
    }

    #[test]
    fn counted_damage_is_an_error() {
        let statuses = |text| counters(&Scrape::parse(text)).iter().map(|f| f.status).collect::<Vec<_>>();
        assert_eq!(statuses("masker_vault_damaged_total 0\nmasker_audit_failures_total 0\n"), [Severity::Ok]);
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
