//! A report as one page of HTML.

use askama::Template;
use masker_api::Report;

use crate::{
    RenderError,
    chart::{self, Anchor, Chart, Ink, Shape},
    view::{View, grouped},
};

/// The width of the charts, in CSS pixels.
const CHART_WIDTH: f32 = 720.0;
/// The height of the chart of requests.
const CHART_HEIGHT: f32 = 160.0;

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    view: &'a View,
    requests: Chart,
    kinds: Chart,
}

impl Page<'_> {
    /// Returns the class of what a shape is drawn with.
    fn class(ink: &Ink) -> &'static str {
        match ink {
            Ink::Rule => "rule",
            Ink::Bar => "bar",
            Ink::Failed => "failed",
        }
    }

    fn grouped(number: &u64) -> String {
        grouped(*number)
    }

    fn anchor(anchor: &Anchor) -> &'static str {
        match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
        }
    }
}

/// Renders a report as HTML.
///
/// # Errors
/// [`RenderError`] if a time of the report is invalid.
pub fn html(report: &Report) -> Result<String, RenderError> {
    let view = View::new(report)?;
    let page = Page {
        requests: chart::requests(&view.requests, CHART_WIDTH, CHART_HEIGHT),
        kinds: chart::kinds(&view.kinds, CHART_WIDTH),
        view: &view,
    };
    page.render().map_err(|failed| RenderError::Html(failed.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_page_loads_nothing_and_runs_nothing() {
        let page = html(&samples::week()).unwrap();
        for part in ["<script", "src=", "href=", "url(", "@import", "onload", "javascript:"] {
            assert!(!page.contains(part), "{part}");
        }
        assert!(page.contains("default-src 'none'"));
        for part in ["The audit log verifies", "K_CARE", "<rect ", "1,234", "Who was given values", "rate.limited"] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn every_text_is_escaped() {
        let page = html(&samples::hostile()).unwrap();
        assert!(!page.contains("<img"), "{page}");
        assert!(page.contains("&#60;img"), "{page}");
    }

    #[test]
    fn a_log_that_does_not_verify_is_what_is_read_first() {
        let page = html(&samples::broken()).unwrap();
        assert!(page.contains("class=\"verdict bad\""));
        assert!(page.contains("does NOT verify. audit-20260301T000000Z-000001, line 7: changed"), "{page}");
    }
}
