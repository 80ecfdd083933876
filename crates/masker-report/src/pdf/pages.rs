//! The two pages: what happened, and who did it with which keys.

use super::{
    PAGE_HEIGHT, PAGE_WIDTH,
    canvas::{BAD, Canvas, GOOD, MUTED, RULE, Style},
};
use crate::{
    chart,
    view::{Table, View, grouped},
};

const MARGIN: f32 = 45.0;
const WIDTH: f32 = PAGE_WIDTH - 2.0 * MARGIN;
const CHART_HEIGHT: f32 = 105.0;
/// The width of the names of facts.
const NAME_WIDTH: f32 = 95.0;
/// The height of a row of a table.
const ROW_HEIGHT: f32 = 10.5;
/// Space between two cells.
const CELL_GAP: f32 = 6.0;
/// The height of the title of a table with the names of its columns.
const TABLE_HEAD_HEIGHT: f32 = 25.0;
/// The height of a table of which only the number of rows is shown, with the space after it.
const TABLE_HEIGHT_MIN: f32 = 41.0;
/// Where the lines for signatures are.
const SIGNATURES_TOP: f32 = PAGE_HEIGHT - 82.0;

const TITLE: Style = Style::new(17.0).bold();
const HEADING: Style = Style::new(10.5).bold();
const BODY: Style = Style::new(9.0);
const CELL: Style = Style::new(7.5);

/// The tables of the first page, with how many rows each shows at most.
const FIRST_TABLES: [(&str, usize); 5] =
    [("Who was given values", 9), ("Operations", 8), ("Callers", 5), ("Failures and refusals", 5), ("Incidents", 5)];
/// The tables of the second page.
const SECOND_TABLES: [(&str, usize); 10] = [
    ("Keys now", 6),
    ("Rotations and changes of keys", 4),
    ("API keys now", 7),
    ("Changes of API keys", 4),
    ("API keys that are not used", 3),
    ("Honeytokens", 4),
    ("Budgets", 3),
    ("Erasures on request", 3),
    ("Erasures by rule", 3),
    ("Configuration and operation", 5),
];

/// Draws the first page: whether the log verifies, the figures and charts, and who was given values.
pub(super) fn first(view: &View, canvas: &mut Canvas<'_, '_>) {
    let mut y = MARGIN + 14.0;
    canvas.text(MARGIN, y, WIDTH, &view.title, TITLE);
    y += 14.0;
    let verdict = BODY.bold().coloured(if view.is_verified { GOOD } else { BAD });
    let top = y;
    y = canvas.paragraph(MARGIN + 9.0, y + 9.0, WIDTH - 9.0, &view.verdict, verdict);
    canvas.rectangle(MARGIN, top, 3.0, y - top - 4.0, verdict.colour);
    y += 8.0;
    for (name, value) in &view.facts {
        canvas.text(MARGIN, y, NAME_WIDTH, name, CELL.coloured(MUTED));
        y = canvas.paragraph(MARGIN + NAME_WIDTH, y, WIDTH - NAME_WIDTH, value, CELL);
    }
    y = figures(view, canvas, y + 6.0);
    canvas.text(MARGIN, y, WIDTH, if view.by_month { "Requests by month" } else { "Requests by day" }, HEADING);
    y += 7.0;
    canvas.chart(MARGIN, y, &chart::requests(&view.requests, WIDTH, CHART_HEIGHT));
    y += CHART_HEIGHT + 16.0;
    if !view.kinds.is_empty() {
        canvas.text(MARGIN, y, WIDTH, "Values given out by kind", HEADING);
        y += 7.0;
        let drawn = chart::kinds(&view.kinds, WIDTH);
        canvas.chart(MARGIN, y, &drawn);
        y += drawn.height + 14.0;
    }
    tables(view, &FIRST_TABLES, canvas, y, PAGE_HEIGHT - 40.0);
    footer(view, 1, canvas);
}

/// Draws the second page: keys, API keys, honeytokens, erasures, changes, and lines for signatures.
pub(super) fn second(view: &View, canvas: &mut Canvas<'_, '_>) {
    tables(view, &SECOND_TABLES, canvas, MARGIN + 10.0, SIGNATURES_TOP - 34.0);
    let column = (WIDTH - 20.0) / 2.0;
    for (index, name) in
        ["Prepared by (name, date, signature)", "Reviewed by (name, date, signature)"].into_iter().enumerate()
    {
        let x = if index == 0 { MARGIN } else { MARGIN + column + 20.0 };
        canvas.rectangle(x, SIGNATURES_TOP, column, 0.7, MUTED);
        canvas.text(x, SIGNATURES_TOP + 10.0, column, name, CELL.coloured(MUTED));
    }
    footer(view, 2, canvas);
}

fn figures(view: &View, canvas: &mut Canvas<'_, '_>, y: f32) -> f32 {
    let mut x = MARGIN;
    let step = WIDTH / 6.0;
    for (name, number) in &view.figures {
        canvas.text(x, y + 12.0, step - 4.0, &grouped(*number), Style::new(13.0).bold());
        canvas.text(x, y + 22.0, step - 4.0, name, CELL.coloured(MUTED));
        x += step;
    }
    y + 42.0
}

/// Draws tables below each other, as far as there is room. A table that has to be cut says how many rows it leaves out.
fn tables(view: &View, shown: &[(&str, usize)], canvas: &mut Canvas<'_, '_>, top: f32, bottom: f32) {
    let mut y = top;
    // Tables are below each other, so those that follow need room too.
    let mut bottom = bottom - TABLE_HEIGHT_MIN * shown.iter().skip(1).map(|_| 1.0).sum::<f32>();
    for (title, rows_max) in shown {
        let Some(table) = view.tables.iter().find(|table| table.title == *title) else { continue };
        // The last line is for what is left out.
        let fit = ((bottom - y - TABLE_HEAD_HEIGHT) / ROW_HEIGHT - 1.0).max(0.0);
        let rows = (*rows_max).min(fit as usize);
        y = draw_table(table, rows, canvas, y);
        bottom += TABLE_HEIGHT_MIN;
    }
}

fn draw_table(table: &Table, rows_max: usize, canvas: &mut Canvas<'_, '_>, top: f32) -> f32 {
    let mut y = top;
    canvas.text(MARGIN, y, WIDTH, table.title, HEADING);
    if table.rows.is_empty() {
        canvas.text(MARGIN, y + 11.0, WIDTH, table.empty, CELL.coloured(MUTED));
        return y + 11.0 + 17.0;
    }
    y += 11.0;
    let columns: Vec<_> = table.columns.iter().collect();
    let draw_row = |canvas: &mut Canvas<'_, '_>, y: f32, cells: &[String], style: Style| {
        let mut x = MARGIN;
        for (column, cell) in columns.iter().zip(cells) {
            let width = column.part * WIDTH;
            if column.is_number {
                canvas.text_before(x + width, y, width - CELL_GAP, cell, style);
            } else {
                canvas.text(x, y, width - CELL_GAP, cell, style);
            }
            x += width;
        }
    };
    let names: Vec<String> = columns.iter().map(|column| column.name.to_owned()).collect();
    draw_row(canvas, y, &names, CELL.coloured(MUTED));
    canvas.rectangle(MARGIN, y + 2.5, WIDTH, 0.5, RULE);
    for row in table.rows.iter().take(rows_max) {
        y += ROW_HEIGHT;
        draw_row(canvas, y, row, CELL);
    }
    let left_out = table.rows.len().saturating_sub(rows_max);
    if left_out > 0 {
        y += ROW_HEIGHT;
        let note = format!("and {} more, in the attached report.json", grouped(left_out as u64));
        canvas.text(MARGIN, y, WIDTH, &note, CELL.coloured(MUTED));
    }
    y + 19.0
}

fn footer(view: &View, page: u8, canvas: &mut Canvas<'_, '_>) {
    let y = PAGE_HEIGHT - 24.0;
    canvas.text(MARGIN, y, WIDTH - 60.0, &view.title, CELL.coloured(MUTED));
    canvas.text_before(MARGIN + WIDTH, y, 60.0, &format!("page {page} of 2"), CELL.coloured(MUTED));
}
