//! Draws the live view.

use std::time::Duration;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Cell, Gauge, Paragraph, Row, Table},
};

use super::{
    model::{self, StatusModel},
    sample::Observed,
};
use crate::format::{bytes, grouped, latency, rate, span};
use masker_api::HealthStatus;

/// Number of digits of a hash that are shown.
const HASH_DIGITS: usize = 16;

/// The input of a frame.
pub(super) struct ViewState<'a> {
    /// The daemon's socket, or the address of a gateway.
    pub(super) endpoint: &'a str,
    /// The last state, if there is one.
    pub(super) model: Option<&'a StatusModel>,
    /// The error, and for how long, while the daemon does not respond.
    pub(super) disconnected: Option<(&'a str, Duration)>,
}

/// Draws a frame, of any size.
pub(super) fn draw(frame: &mut Frame<'_>, state: &ViewState<'_>) {
    let rows = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(3),
        Constraint::Length(6),
        Constraint::Fill(2),
        Constraint::Length(1),
    ];
    let [title, note, requests, middle, low, foot] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(title_line(state), title);
    frame.render_widget(note_line(state), note);
    frame.render_widget(Paragraph::new(" q, Esc or Ctrl-C: quit").style(dim()), foot);
    let Some(model) = state.model else { return };
    let thirds = [Constraint::Fill(1), Constraint::Fill(1), Constraint::Fill(1)];
    let [vault_area, audit_area, rotation_area] = Layout::horizontal(thirds).areas(middle);
    let [keys_area, callers_area] = Layout::horizontal([Constraint::Fill(5), Constraint::Fill(3)]).areas(low);
    draw_requests(frame, requests, model);
    let vault = match &model.vault {
        Observed::Seen(vault) => facts(vault_facts(vault)),
        Observed::Withheld { withheld } => withheld_note(withheld),
    };
    frame.render_widget(vault.block(block("Vault")), vault_area);
    frame.render_widget(audit(&model.audit).block(block("Audit log")), audit_area);
    draw_rotation(frame, rotation_area, &model.rotation);
    draw_keys(frame, keys_area, model);
    draw_callers(frame, callers_area, model);
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn block(title: &str) -> Block<'_> {
    Block::bordered().border_style(dim()).title(format!(" {title} "))
}

/// Returns the text for a part that the daemon refused.
fn withheld_note(why: &str) -> Paragraph<'static> {
    Paragraph::new(format!("not shown: {why}")).style(dim())
}

fn title_line(state: &ViewState<'_>) -> Line<'static> {
    let mut spans = vec![Span::styled(" masker ", Style::new().add_modifier(Modifier::BOLD))];
    if let Some(model) = state.model {
        let (word, color) = match (state.disconnected, model.status) {
            (Some(_), _) => ("no response", Color::Red),
            (None, HealthStatus::Ok) => ("ok", Color::Green),
            (None, _) => ("degraded", Color::Red),
        };
        spans.push(format!("{}  ", model.version).into());
        spans.push(Span::styled(word, Style::new().fg(color).add_modifier(Modifier::BOLD)));
        spans.push(format!("  up {}  ", span(model.uptime_seconds)).into());
    }
    spans.push(Span::styled(printable(state.endpoint), dim()));
    Line::from(spans)
}

/// Returns the line of problems.
fn note_line(state: &ViewState<'_>) -> Line<'static> {
    let (text, color) = match (state.disconnected, state.model) {
        (Some((why, since)), _) => (format!(" no response for {}, retrying: {why}", span(since.as_secs())), Color::Red),
        (None, None) => (" connecting".to_owned(), Color::Reset),
        (None, Some(model)) => (format!(" {}", model.problems.join("; ")), Color::Yellow),
    };
    Line::styled(printable(&text), Style::new().fg(color))
}

/// Replaces control characters, which could move the cursor.
fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn draw_requests(frame: &mut Frame<'_>, area: Rect, model: &StatusModel) {
    let traffic = match &model.traffic {
        Observed::Seen(traffic) => traffic,
        Observed::Withheld { withheld } => {
            return frame.render_widget(withheld_note(withheld).block(block("Requests")), area);
        }
    };
    let row = |line: &model::RouteTraffic| {
        let failed = Style::new().fg(if line.failed > 0.0 { Color::Red } else { Color::Reset });
        let refused = Style::new().fg(if line.refused > 0.0 { Color::Yellow } else { Color::Reset });
        let numbers = [
            Span::raw(rate(line.ok)),
            Span::styled(rate(line.refused), refused),
            Span::styled(rate(line.failed), failed),
            Span::raw(latency(line.p50)),
            Span::raw(latency(line.p99)),
        ];
        let cells = numbers.map(|number| Cell::from(Line::from(number).right_aligned()));
        Row::new([Cell::from(printable(&line.route))].into_iter().chain(cells))
    };
    let header =
        ["OK/S", "REFUSED/S", "FAILED/S", "P50", "P99"].map(|name| Cell::from(Line::from(name).right_aligned()));
    let header = Row::new([Cell::from("ROUTE")].into_iter().chain(header)).style(dim());
    let rows = [&traffic.total].into_iter().chain(&traffic.routes).map(row);
    let widths = [Constraint::Fill(1), Constraint::Length(9), Constraint::Length(9), Constraint::Length(8)];
    let widths = widths.into_iter().chain([Constraint::Length(8), Constraint::Length(8)]);
    let title = format!("Requests ({} connections)", traffic.connections);
    frame.render_widget(Table::new(rows, widths).header(header).block(block(&title)), area);
}

/// Returns lines of a name and a value.
fn facts(facts: Vec<(&'static str, String)>) -> Paragraph<'static> {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): (&str, String)| {
        Line::from(vec![Span::styled(format!("{name:<width$}  "), dim()), Span::raw(printable(&value))])
    };
    Paragraph::new(facts.into_iter().map(line).collect::<Vec<_>>())
}

fn vault_facts(vault: &model::VaultSummary) -> Vec<(&'static str, String)> {
    let written = vault.rows_per_second.map_or_else(|| "-".to_owned(), |rows| format!("{} rows/s", rate(rows)));
    vec![
        ("records", grouped(vault.records)),
        ("size", format!("{} {}", bytes(vault.bytes), vault.engine)),
        ("free", vault.free_bytes.map_or_else(|| "-".to_owned(), bytes)),
        ("written", written),
    ]
}

fn audit(audit: &model::AuditSummary) -> Paragraph<'static> {
    if !audit.on {
        return Paragraph::new("off").style(Style::new().fg(Color::Yellow));
    }
    let or = |part: Observed<String>| match part {
        Observed::Seen(text) => text,
        Observed::Withheld { withheld } => withheld,
    };
    let events = audit.events_per_second.map_or_else(|| "-".to_owned(), |events| format!("{}/s", rate(events)));
    facts(vec![
        ("last", or(audit.sequence.map(|sequence| grouped(*sequence)))),
        ("hash", or(audit.hash.map(|hash| hash.chars().take(HASH_DIGITS).collect()))),
        ("age", audit.age_seconds.map_or_else(|| "-".to_owned(), span)),
        ("events", events),
    ])
}

fn draw_rotation(frame: &mut Frame<'_>, area: Rect, rotation: &Observed<Option<model::RotationSummary>>) {
    let block = block("Rotation");
    let rotation = match rotation {
        Observed::Seen(Some(rotation)) => rotation,
        Observed::Seen(None) => return frame.render_widget(Paragraph::new("none").style(dim()).block(block), area),
        Observed::Withheld { withheld } => return frame.render_widget(withheld_note(withheld).block(block), area),
    };
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [about, bar] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(inner);
    let pace = match rotation.eta_seconds {
        Some(seconds) => format!("{}/s, {} left", rate(rotation.rows_per_second), span(seconds)),
        None => format!("{}/s", rate(rotation.rows_per_second)),
    };
    let failed =
        if rotation.rows_failed > 0 { format!(", {} failed", grouped(rotation.rows_failed)) } else { String::new() };
    let state = if rotation.phase == "ended" {
        rotation.state.clone()
    } else {
        format!("{}, {}", rotation.state, rotation.phase)
    };
    frame.render_widget(facts(vec![("to", rotation.kid.clone()), ("", state + &failed), ("", pace)]), about);
    let done = if rotation.rows_total == 0 { 1.0 } else { rotation.rows_done as f64 / rotation.rows_total as f64 };
    let label = format!("{} of {}", grouped(rotation.rows_done), grouped(rotation.rows_total));
    frame.render_widget(Gauge::default().ratio(done.clamp(0.0, 1.0)).label(label), bar);
}

fn draw_keys(frame: &mut Frame<'_>, area: Rect, model: &StatusModel) {
    let keys = match &model.keys {
        Observed::Seen(keys) => keys,
        Observed::Withheld { withheld } => {
            return frame.render_widget(withheld_note(withheld).block(block("Keys")), area);
        }
    };
    let row = |key: &super::sample::KeySummary| {
        let (state, color) = match (key.loaded, key.removable, key.grace_days_left) {
            (false, ..) if key.records > 0 => ("missing".to_owned(), Color::Red),
            (false, ..) => ("not loaded".to_owned(), Color::Reset),
            (true, true, _) => ("removable".to_owned(), Color::Green),
            (true, false, Some(..=0)) => ("grace over".to_owned(), Color::Red),
            (true, false, Some(1)) => ("old, 1 d left".to_owned(), Color::Yellow),
            (true, false, Some(days)) => (format!("old, {days} d left"), Color::Yellow),
            (true, false, None) => (key.generation.clone(), Color::Reset),
        };
        Row::new([
            Cell::from(printable(&key.kid)),
            Cell::from(key.fingerprint.chars().take(8).collect::<String>()),
            Cell::from(Span::styled(state, Style::new().fg(color))),
            Cell::from(Line::from(grouped(key.records)).right_aligned()),
        ])
    };
    let header = Row::new([Cell::from("KID"), "KEY".into(), "".into(), Line::from("RECORDS").right_aligned().into()]);
    let widths = [Constraint::Fill(1), Constraint::Length(8), Constraint::Length(14), Constraint::Length(10)];
    let table = Table::new(keys.iter().map(row), widths).header(header.style(dim()));
    frame.render_widget(table.block(block("Keys")), area);
}

fn draw_callers(frame: &mut Frame<'_>, area: Rect, model: &StatusModel) {
    let callers = match &model.callers {
        Observed::Seen(callers) => callers,
        Observed::Withheld { withheld } => {
            return frame.render_widget(withheld_note(withheld).block(block("Callers")), area);
        }
    };
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let row = |caller: &model::CallerTraffic| {
        Row::new([
            Cell::from(printable(&caller.name)),
            right(rate(caller.requests_per_second)),
            right(grouped(caller.requests)),
        ])
    };
    let header = Row::new([Cell::from("CALLER"), right("REQ/S".to_owned()), right("ALL".to_owned())]).style(dim());
    let widths = [Constraint::Fill(1), Constraint::Length(7), Constraint::Length(9)];
    let table = Table::new(callers.iter().map(row), widths).header(header);
    frame.render_widget(table.block(block("Callers")), area);
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
