//! Reports as HTML and PDF, from the JSON that the daemon answers.
//!
//! - [`html()`] makes one page without scripts and without anything that is loaded from elsewhere. It escapes every text.
//! - [`pdf()`] makes two pages of PDF/A-3b with charts, an embedded font, and the report's JSON attached. What does not fit on
//!   them is in that attachment.
//!
//! Both are made from one [`view`]: what they say cannot differ. The crate has no I/O, and uses only `masker-api`. The command
//! line uses it; the daemon does not, so that it reads no fonts.

#![warn(missing_docs)]

mod chart;
mod html;
mod pdf;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
mod view;

pub use html::html;
pub use pdf::pdf;

/// Why a report was not rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The template failed.
    #[error("failed to render the report as HTML: {0}")]
    Html(String),
    /// The document does not conform to PDF/A, or a font is damaged: a bug.
    #[error("failed to render the report as PDF: {0}")]
    Pdf(String),
    /// A time of the report is not RFC 3339.
    #[error(
        "the report has a time that is not RFC 3339 in `{0}`: it was made by another version of masker, or it was changed"
    )]
    Time(&'static str),
}
