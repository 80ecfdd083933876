//! A report as two pages of PDF/A-3b, with its JSON attached.

mod canvas;
mod font;
mod pages;

use jiff::{Timestamp, tz::TimeZone};
use krilla::{
    Data, Document, SerializeSettings,
    configure::{Archival, ConfigurationBuilder},
    embed::{AssociationKind, EmbeddedFile, MimeType},
    metadata::{DateTime, Metadata},
    page::PageSettings,
};
use masker_api::Report;

use self::{canvas::Canvas, font::Fonts};
use crate::{RenderError, view::View};

/// The width of a page of A4, in points.
const PAGE_WIDTH: f32 = 595.28;
/// Its height.
const PAGE_HEIGHT: f32 = 841.89;
/// The name of the attachment.
const ATTACHMENT: &str = "report.json";

/// Renders a report as PDF.
///
/// # Errors
/// [`RenderError`] if a time of the report is invalid, or the document does not conform to PDF/A-3b.
pub fn pdf(report: &Report) -> Result<Vec<u8>, RenderError> {
    let view = View::new(report)?;
    let fonts = Fonts::load()?;
    let made = date_time(&report.generated_at)?;
    let configuration = ConfigurationBuilder::new().with_archival_validator(Archival::A3_B).finish();
    let configuration = configuration.map_err(|failed| RenderError::Pdf(format!("{failed:?}")))?;
    let mut document = Document::new_with(SerializeSettings { configuration, ..SerializeSettings::default() });
    document.set_metadata(
        Metadata::new()
            .title(view.title.clone())
            .description("What the audit log, the keys and the API keys of masker say of a period".to_owned())
            .language("en".to_owned())
            .creator(format!("masker {}", report.version))
            .creation_date(made),
    );
    attach(&mut document, report, made)?;
    let draws: [fn(&View, &mut Canvas<'_, '_>); 2] = [pages::first, pages::second];
    for draw in draws {
        let settings = PageSettings::from_wh(PAGE_WIDTH, PAGE_HEIGHT)
            .ok_or_else(|| RenderError::Pdf("the page has no size".to_owned()))?;
        let mut page = document.start_page_with(settings);
        let mut surface = page.surface();
        draw(&view, &mut Canvas::new(&mut surface, &fonts));
        surface.finish();
        page.finish();
    }
    document.finish().map_err(|failed| RenderError::Pdf(format!("{failed:?}")))
}

fn attach(document: &mut Document, report: &Report, made: DateTime) -> Result<(), RenderError> {
    let json = serde_json::to_vec_pretty(report).map_err(|failed| RenderError::Pdf(failed.to_string()))?;
    let attached = document.embed_file(EmbeddedFile {
        path: ATTACHMENT.to_owned(),
        mime_type: MimeType::new("application/json"),
        description: Some("The whole report, as the daemon answered it".to_owned()),
        association_kind: AssociationKind::Source,
        data: Data::from(json),
        modification_date: Some(made),
        compress: Some(true),
        location: None,
    });
    attached.ok_or_else(|| RenderError::Pdf("the report was attached twice".to_owned()))
}

/// Returns a time as PDF writes it.
fn date_time(text: &str) -> Result<DateTime, RenderError> {
    let invalid = || RenderError::Time("generated_at");
    let time: Timestamp = text.parse().map_err(|_| invalid())?;
    let time = time.to_zoned(TimeZone::UTC);
    let part = |number: i8| u8::try_from(number).map_err(|_| invalid());
    Ok(DateTime::new(u16::try_from(time.year()).map_err(|_| invalid())?)
        .month(part(time.month())?)
        .day(part(time.day())?)
        .hour(part(time.hour())?)
        .minute(part(time.minute())?)
        .second(part(time.second())?)
        .utc_offset_hour(0)
        .utc_offset_minute(0))
}
