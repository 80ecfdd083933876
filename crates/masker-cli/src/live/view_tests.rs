//! Tests of what the live view draws.

use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::live::{
    model::tests::{route, sample},
    sample::KeySummary,
};

/// Draws a frame of this size, and returns its lines without trailing blanks.
fn screen(width: u16, height: u16, state: &ViewState<'_>) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

fn busy() -> StatusModel {
    let caller = |count: u64| {
        format!(
            "masker_caller_requests_total{{caller=\"billing\"}} {count}\nmasker_caller_requests_total{{caller=\"trusted\"}} 9\n"
        )
    };
    let vault = "masker_vault_records 1234567\nmasker_vault_size_bytes 2147483648\nmasker_disk_free_bytes{of=\"audit\"} 7\nmasker_disk_free_bytes{of=\"vault\"} 53687091200\n\
                 masker_vault_info{engine=\"fjall\"} 1\nmasker_connections 3\n";
    let audit = "masker_audit_last_sequence 81274\nmasker_audit_last_event_timestamp_seconds 1799999990.5\n";
    let before = [&*route("/api/v1/tokenize", [0; 3], [0; 3]), &caller(0), vault, audit].concat();
    let now = [
        &*route("/api/v1/tokenize", [9_000, 0, 10], [9_000, 10, 0]),
        &route("/api/v1/rehydrate", [300, 20, 0], [10, 310, 0]),
        &caller(9_330),
        vault,
        audit,
        "masker_vault_commit_rows_sum 45\n",
    ]
    .concat();
    let mut current = sample(93_784, &now);
    let key = |kid: &str, generation: &str, records, grace_days_left| KeySummary {
        kid: kid.to_owned(),
        fingerprint: "00112233aabbccdd".to_owned(),
        generation: generation.to_owned(),
        loaded: true,
        records,
        grace_days_left,
        removable: false,
    };
    current.keys =
        Observed::Seen(vec![key("K_HEALTHCARE", "active", 1_234_000, None), key("K_HEALTHCARE", "old", 567, Some(12))]);
    StatusModel::new(Some(&sample(93_783, &before)), &current)
}

#[test]
fn everything_fits_on_a_small_terminal() {
    let model = busy();
    let state = ViewState { endpoint: "/run/masker/masker.sock", model: Some(&model), disconnected: None };
    let expected = " masker 0.1.0  ok  up 1 d 2 h  /run/masker/masker.sock

┌ Requests (3 connections) ────────────────────────────────────────────────────┐
│ROUTE                                OK/S REFUSED/S FAILED/S      P50      P99│
│all                                 9,300        20       10   518 µs   7.4 ms│
│tokenize                            9,000         0       10   501 µs   991 µs│
│rehydrate                             300        20        0   5.4 ms   9.9 ms│
│                                                                              │
│                                                                              │
│                                                                              │
└──────────────────────────────────────────────────────────────────────────────┘
┌ Vault ──────────────────┐┌ Audit log ─────────────┐┌ Rotation ───────────────┐
│records  1,234,567       ││last    81,274          ││none                     │
│size     2.0 GiB fjall   ││hash    9f86d081884c7d65││                         │
│free     50.0 GiB        ││age     9 s             ││                         │
│written  45 rows/s       ││events  0/s             ││                         │
└─────────────────────────┘└────────────────────────┘└─────────────────────────┘
┌ Keys ──────────────────────────────────────────┐┌ Callers ───────────────────┐
│KID           KEY                        RECORDS││CALLER       REQ/S       ALL│
│K_HEALTHCARE  00112233 active          1,234,000││billing      9,330     9,330│
│K_HEALTHCARE  00112233 old, 12 d left        567││trusted          0         9│
│                                                ││                            │
└────────────────────────────────────────────────┘└────────────────────────────┘
 q, Esc or Ctrl-C: quit
";
    let found = screen(80, 24, &state).join("\n") + "\n";
    assert_eq!(found, expected, "{found}");
}

#[test]
fn draws_on_terminals_of_every_size() {
    let model = busy();
    for disconnected in [None, Some(("there is no socket", Duration::from_secs(61)))] {
        for (width, height) in [(1, 1), (3, 2), (20, 5), (79, 23), (80, 24), (300, 100)] {
            screen(width, height, &ViewState { endpoint: "/s", model: Some(&model), disconnected });
        }
        screen(80, 24, &ViewState { endpoint: "/s", model: None, disconnected });
    }
}

#[test]
fn keeps_the_last_state_while_the_daemon_does_not_respond() {
    let model = busy();
    let state = ViewState {
        endpoint: "/s",
        model: Some(&model),
        disconnected: Some(("nobody listens", Duration::from_secs(61))),
    };
    let found = screen(80, 24, &state);
    assert_eq!(found[0], " masker 0.1.0  no response  up 1 d 2 h  /s");
    assert_eq!(found[1], " no response for 1 min 1 s, retrying: nobody listens");
    assert!(found[5].contains("tokenize"));
}

#[test]
fn shows_problems_and_refused_parts() {
    let mut current = sample(7, "");
    current.health.status = HealthStatus::Degraded;
    let vault = &mut current.health.components.as_mut().unwrap().vault;
    vault.status = HealthStatus::Degraded;
    vault.detail = Some("the disk\x1b is full".to_owned());
    current.metrics = Observed::withheld("needs metrics:read");
    current.keys = Observed::withheld("needs keys:read");
    current.rotation = Observed::withheld("needs vault:read");
    let model = StatusModel::new(None, &current);
    let found = screen(80, 24, &ViewState { endpoint: "/s", model: Some(&model), disconnected: None });
    assert_eq!(found[0], " masker 0.1.0  degraded  up 7 s  /s");
    assert_eq!(found[1], " vault: the disk  is full");
    let all = found.join("\n");
    assert_eq!(
        all.matches("not shown: needs metrics:read").count() + all.matches("not shown: needs").count(),
        6,
        "{all}"
    );
    assert!(all.contains("not shown: needs keys:read"));
}
