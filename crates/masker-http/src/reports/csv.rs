//! A report as a table: one row for each number or event, with the name of its section.

use std::collections::BTreeMap;

use masker_api::{Report, ReportCaller, ReportEvent, ReportItems, ReportVerification};
use serde_json::Value;

const COLUMNS: &str =
    "section,day,time,op,code,name,uid,key_id,certificate,gateway,kind,requests,items,failed,number,detail\r\n";

/// A row of the table. Cells without content are empty.
#[derive(Default)]
struct Row<'a> {
    section: &'static str,
    day: &'a str,
    time: &'a str,
    op: &'a str,
    code: &'a str,
    caller: Option<&'a ReportCaller>,
    kind: &'a str,
    requests: Option<u64>,
    items: Option<u64>,
    failed: Option<u64>,
    number: Option<u64>,
    detail: &'a str,
}

/// Returns the table, as RFC 4180 describes it.
pub(super) fn to_csv(report: &Report) -> String {
    let mut table = Table(COLUMNS.to_owned());
    table.about(report);
    table.counts(report);
    table.state(report);
    table.events("rotation", &report.rotations);
    table.events("api_key", &report.api_keys.events);
    table.events("honeytoken", &report.honeytokens.events);
    table.events("erasure", &report.erasures.events);
    table.events("configuration", &report.configuration);
    table.events("incident", &report.incidents);
    table.0
}

struct Table(String);

impl Table {
    fn about(&mut self, report: &Report) {
        let log = &report.log;
        let verification = match log.verification {
            ReportVerification::Verified => "verified",
            ReportVerification::Failed => "failed",
        };
        let failure = log
            .failure
            .as_ref()
            .map_or_else(String::new, |failed| format!("{}, line {}: {}", failed.segment, failed.line, failed.why));
        let covers = if log.covers_period { "yes" } else { "no" };
        let facts = [
            ("version", &*report.version),
            ("generated_at", &report.generated_at),
            ("since", &report.period.since),
            ("until", &report.period.until),
            ("verification", verification),
            ("verification_failure", &failure),
            ("head", &log.head),
            ("covers_period", covers),
        ];
        for (op, detail) in facts {
            self.row(&Row { section: "report", op, detail, ..Row::default() });
        }
        self.row(&Row {
            section: "report",
            op: "generated_for",
            caller: Some(&report.generated_for),
            ..Row::default()
        });
        let numbers = [
            ("events", log.events),
            ("events_in_period", log.events_in_period),
            ("failed_lines", log.failed_lines),
            ("segments", log.segments),
            ("segments_read", log.segments_read),
            ("honeytokens", report.honeytokens.planted),
            ("left_out", report.left_out),
        ];
        for (op, number) in numbers {
            self.row(&Row { section: "report", op, number: Some(number), ..Row::default() });
        }
        for (state, number) in &report.api_keys.states {
            self.row(&Row { section: "api_keys", op: state, number: Some(*number), ..Row::default() });
        }
    }

    fn counts(&mut self, report: &Report) {
        for day in &report.days {
            let (requests, failed) = (Some(day.requests), Some(day.failed));
            self.row(&Row {
                section: "day",
                day: &day.day,
                requests,
                failed,
                number: Some(day.events),
                ..Row::default()
            });
            for (op, items) in &day.items {
                self.row(&Row { section: "day_items", day: &day.day, op, items: Some(*items), ..Row::default() });
            }
        }
        for row in &report.operations {
            let (requests, items, failed) = (Some(row.requests), Some(row.items), Some(row.failed));
            self.row(&Row { section: "operation", op: &row.op, requests, items, failed, ..Row::default() });
        }
        for row in &report.callers {
            let (requests, items, failed) = (Some(row.requests), Some(row.items), Some(row.failed));
            self.row(&Row { section: "caller", caller: Some(&row.caller), requests, items, failed, ..Row::default() });
        }
        for row in &report.kinds {
            let (kind, items, failed) = (row.kind.as_deref().unwrap_or_default(), Some(row.items), Some(row.failed));
            self.row(&Row { section: "kind", op: &row.op, kind, items, failed, ..Row::default() });
        }
        self.items("rehydration", &report.rehydrations);
        for row in &report.failures {
            let (caller, requests) = (Some(&row.caller), Some(row.requests));
            self.row(&Row { section: "failure", op: &row.op, code: &row.code, caller, requests, ..Row::default() });
        }
        for row in &report.budgets {
            let (caller, number) = (Some(&row.caller), Some(row.times));
            let detail = row.limit.to_string();
            self.row(&Row { section: "budget", op: &row.which, caller, number, detail: &detail, ..Row::default() });
        }
        self.items("forgotten", &report.erasures.forgotten);
    }

    fn state(&mut self, report: &Report) {
        for key in &report.keys {
            let detail = format!("fingerprint {}; {}", key.fingerprint, key.generation);
            let (op, time, number) =
                (&*key.kid, key.first_seen.as_deref().unwrap_or_default(), Some(key.vault_records));
            self.row(&Row { section: "key", op, time, number, detail: &detail, ..Row::default() });
        }
        for key in &report.api_keys.inactive {
            let caller =
                ReportCaller { name: key.name.clone(), key_id: Some(key.id.clone()), ..ReportCaller::default() };
            let time = key.last_used.as_deref().unwrap_or_default();
            let detail = format!("owner {}", key.owner);
            self.row(&Row {
                section: "api_key_inactive",
                time,
                caller: Some(&caller),
                detail: &detail,
                ..Row::default()
            });
        }
    }

    fn items(&mut self, section: &'static str, rows: &[ReportItems]) {
        for row in rows {
            let (kind, items, failed) = (row.kind.as_deref().unwrap_or_default(), Some(row.items), Some(row.failed));
            self.row(&Row { section, op: &row.op, caller: Some(&row.caller), kind, items, failed, ..Row::default() });
        }
    }

    fn events(&mut self, section: &'static str, events: &[ReportEvent]) {
        for event in events {
            let detail = details(&event.detail);
            let (time, code, caller) = (&*event.time, &*event.outcome, Some(&event.caller));
            let number = Some(event.seq);
            self.row(&Row { section, time, op: &event.op, code, caller, number, detail: &detail, ..Row::default() });
        }
    }

    fn row(&mut self, row: &Row<'_>) {
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let of = |text: Option<&String>| text.cloned().unwrap_or_default();
        let caller = row.caller;
        let cells = [
            row.section.to_owned(),
            row.day.to_owned(),
            row.time.to_owned(),
            row.op.to_owned(),
            row.code.to_owned(),
            of(caller.map(|caller| &caller.name)),
            number(caller.and_then(|caller| caller.uid).map(u64::from)),
            of(caller.and_then(|caller| caller.key_id.as_ref())),
            of(caller.and_then(|caller| caller.certificate.as_ref())),
            of(caller.and_then(|caller| caller.gateway.as_ref())),
            row.kind.to_owned(),
            number(row.requests),
            number(row.items),
            number(row.failed),
            number(row.number),
            row.detail.to_owned(),
        ];
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            push_cell(&mut self.0, cell);
        }
        self.0.push_str("\r\n");
    }
}

/// Appends a cell, quoted where necessary. A text that a spreadsheet would take for a formula begins with an apostrophe: names
/// of API keys are the choice of those who create them.
fn push_cell(table: &mut String, cell: &str) {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if !formula && !cell.contains([',', '"', '\r', '\n']) {
        table.push_str(cell);
        return;
    }
    table.push('"');
    if formula {
        table.push('\'');
    }
    table.push_str(&cell.replace('"', "\"\""));
    table.push('"');
}

fn details(detail: &BTreeMap<String, Value>) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    detail.iter().map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_and_never_a_formula() {
        for (text, expected) in [
            ("", ""),
            ("billing", "billing"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "\"'=1+1\""),
            ("@sum", "\"'@sum\""),
            ("-1", "\"'-1\""),
        ] {
            let mut table = String::new();
            push_cell(&mut table, text);
            assert_eq!(table, expected);
        }
    }

    #[test]
    fn every_row_has_the_cells_of_the_header() {
        let report: Report = serde_json::from_value(super::super::content::example()).unwrap();
        let table = to_csv(&report);
        let cells: Vec<usize> = table.lines().map(|line| line.split(',').count()).collect();
        assert!(cells.len() > 20 && cells.iter().all(|count| *count == 16), "{table}");
        assert!(table.contains("rehydration,,,rehydrate,,auditor,1001,,,,PHONE,,40,0,,"), "{table}");
    }
}
