//! Charts, as shapes that HTML and PDF draw alike.

use crate::view::{Bucket, grouped};

/// Space below the bars of days, for their labels.
const LABEL_HEIGHT: f32 = 14.0;
/// Space above the bars, for the scale.
const TOP_HEIGHT: f32 = 14.0;
/// The height of the bar of a kind, with the space after it.
const ROW_HEIGHT: f32 = 16.0;
/// The width of the names of kinds.
const NAME_WIDTH: f32 = 110.0;
/// The width of the numbers after the bars of kinds.
const NUMBER_WIDTH: f32 = 60.0;
/// Labels of days that fit beside each other.
const LABELS_MAX: usize = 8;
/// The size of texts.
pub(crate) const TEXT_SIZE: f32 = 8.0;

/// What a shape is drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Rule,
    Bar,
    Failed,
}

/// Where a text is, relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
}

/// A part of a chart. The origin is the upper left corner.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Rectangle { x: f32, y: f32, width: f32, height: f32, ink: Ink, title: String },
    Text { x: f32, y: f32, anchor: Anchor, text: String },
}

/// A chart.
pub(crate) struct Chart {
    pub(crate) width: f32,
    pub(crate) height: f32,
    pub(crate) shapes: Vec<Shape>,
}

/// Returns the part of a length that a number is of another one.
fn part(number: u64, of: u64, length: f32) -> f32 {
    if of == 0 { 0.0 } else { (number as f64 / of as f64) as f32 * length }
}

/// Draws requests by day or month: failed ones at the bottom of each bar.
pub(crate) fn requests(buckets: &[Bucket], width: f32, height: f32) -> Chart {
    let most = buckets.iter().map(|bucket| bucket.requests).max().unwrap_or(0);
    let base = height - LABEL_HEIGHT;
    let room = base - TOP_HEIGHT;
    let mut shapes = vec![
        Shape::Text { x: 0.0, y: TEXT_SIZE, anchor: Anchor::Start, text: format!("most: {} requests", grouped(most)) },
        rule(0.0, TOP_HEIGHT, width),
        rule(0.0, base, width),
    ];
    let step = width / buckets.len().max(1) as f32;
    let labels_every = buckets.len().div_ceil(LABELS_MAX).max(1);
    for (index, bucket) in buckets.iter().enumerate() {
        let x = index as f32 * step;
        let (all, failed) = (part(bucket.requests, most, room), part(bucket.failed, most, room));
        let title =
            format!("{}: {} requests, {} failed", bucket.label, grouped(bucket.requests), grouped(bucket.failed));
        let bar = |y: f32, height: f32, ink: Ink| Shape::Rectangle {
            x: x + step * 0.1,
            y,
            width: step * 0.8,
            height,
            ink,
            title: title.clone(),
        };
        if all > 0.0 {
            shapes.push(bar(base - all, all, Ink::Bar));
        }
        if failed > 0.0 {
            shapes.push(bar(base - failed, failed, Ink::Failed));
        }
        if index % labels_every == 0 {
            let text = bucket.label.clone();
            shapes.push(Shape::Text { x: x + step / 2.0, y: height - 3.0, anchor: Anchor::Middle, text });
        }
    }
    // The first and the last label must not leave the chart.
    for shape in &mut shapes {
        if let Shape::Text { x, anchor: Anchor::Middle, .. } = shape {
            *x = x.clamp(22.0_f32.min(width / 2.0), (width - 22.0).max(width / 2.0));
        }
    }
    Chart { width, height, shapes }
}

/// Draws items by kind.
pub(crate) fn kinds(kinds: &[(String, u64)], width: f32) -> Chart {
    let most = kinds.iter().map(|(_, items)| *items).max().unwrap_or(0);
    let mut shapes = Vec::new();
    for (index, (kind, items)) in kinds.iter().enumerate() {
        let y = index as f32 * ROW_HEIGHT;
        let length = part(*items, most, width - NAME_WIDTH - NUMBER_WIDTH).max(1.0);
        let text_y = y + ROW_HEIGHT - 5.0;
        shapes.push(Shape::Text { x: 0.0, y: text_y, anchor: Anchor::Start, text: kind.clone() });
        shapes.push(Shape::Rectangle {
            x: NAME_WIDTH,
            y: y + 2.0,
            width: length,
            height: ROW_HEIGHT - 4.0,
            ink: Ink::Bar,
            title: format!("{kind}: {} values", grouped(*items)),
        });
        let x = NAME_WIDTH + length + 4.0;
        shapes.push(Shape::Text { x, y: text_y, anchor: Anchor::Start, text: grouped(*items) });
    }
    Chart { width, height: (kinds.len() as f32 * ROW_HEIGHT).max(1.0), shapes }
}

fn rule(x: f32, y: f32, width: f32) -> Shape {
    Shape::Rectangle { x, y, width, height: 0.5, ink: Ink::Rule, title: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_numbers() {
        let bucket = |label: &str, requests, failed| Bucket { label: label.to_owned(), requests, failed };
        let chart = requests(&[bucket("a", 100, 25), bucket("b", 50, 0), bucket("c", 0, 0)], 300.0, 128.0);
        let heights: Vec<_> = chart
            .shapes
            .iter()
            .filter_map(|shape| match shape {
                Shape::Rectangle { height, ink: ink @ (Ink::Bar | Ink::Failed), .. } => Some((*ink, *height)),
                _ => None,
            })
            .collect();
        assert_eq!(heights, [(Ink::Bar, 100.0), (Ink::Failed, 25.0), (Ink::Bar, 50.0)]);
    }

    #[test]
    fn a_chart_of_nothing_has_no_bars() {
        assert_eq!(requests(&[], 300.0, 100.0).shapes.len(), 3);
        assert!(kinds(&[], 300.0).shapes.is_empty());
    }
}
