//! The embedded font: Liberation Sans, under the SIL Open Font License (`fonts/LICENSE`).

use krilla::text::{Font, GlyphId, KrillaGlyph};
use skrifa::{
    FontRef, MetadataProvider,
    charmap::Charmap,
    instance::{LocationRef, Size},
    metrics::GlyphMetrics,
};

use crate::RenderError;

static REGULAR: &[u8] = include_bytes!("../../fonts/LiberationSans-Regular.ttf");
static BOLD: &[u8] = include_bytes!("../../fonts/LiberationSans-Bold.ttf");

/// What a character is replaced by that the font does not have.
const REPLACEMENT: char = '?';
/// What a text ends with that was too long.
const ELLIPSIS: char = '…';

/// The two weights of the font.
pub(super) struct Fonts {
    pub(super) regular: Face,
    pub(super) bold: Face,
}

impl Fonts {
    pub(super) fn load() -> Result<Self, RenderError> {
        Ok(Fonts { regular: Face::load(REGULAR)?, bold: Face::load(BOLD)? })
    }
}

/// A font with the widths of its characters.
pub(super) struct Face {
    pub(super) font: Font,
    charmap: Charmap<'static>,
    metrics: GlyphMetrics<'static>,
}

/// A line of text, ready to be drawn.
pub(super) struct Line {
    pub(super) text: String,
    pub(super) glyphs: Vec<KrillaGlyph>,
    /// Its width at the size 1.
    pub(super) width: f32,
}

impl Face {
    fn load(bytes: &'static [u8]) -> Result<Self, RenderError> {
        let damaged = || RenderError::Pdf("the font of the program is damaged".to_owned());
        let font = Font::new(bytes.into(), 0).ok_or_else(damaged)?;
        let file = FontRef::new(bytes).map_err(|_| damaged())?;
        // Without hinting, advances are proportional to the size.
        let metrics = file.glyph_metrics(Size::new(1.0), LocationRef::default());
        Ok(Face { font, charmap: file.charmap(), metrics })
    }

    /// Returns a text as a line of at most `width_max` at the size 1. A longer one is cut, and ends with an ellipsis.
    ///
    /// PDF/A allows no characters that the font lacks, and names of callers can have any.
    pub(super) fn line(&self, text: &str, width_max: f32) -> Line {
        let whole = self.shape(text.chars());
        if whole.width <= width_max {
            return whole;
        }
        let room = width_max - self.advance(ELLIPSIS);
        let mut width = 0.0;
        let fits = text.chars().take_while(|character| {
            width += self.advance(*character);
            width <= room
        });
        self.shape(fits.collect::<Vec<_>>().into_iter().chain([ELLIPSIS]))
    }

    /// Returns a text as lines of at most `width_max` at the size 1, which end between words. A longer word has a line of its own.
    pub(super) fn lines(&self, text: &str, width_max: f32) -> Vec<Line> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            match lines.last_mut() {
                Some(line) if self.shape(format!("{line} {word}").chars()).width <= width_max => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines.iter().map(|line| self.line(line, width_max)).collect()
    }

    fn shape(&self, characters: impl Iterator<Item = char>) -> Line {
        let mut line = Line { text: String::new(), glyphs: Vec::new(), width: 0.0 };
        for character in characters {
            let character = if self.charmap.map(character).is_some() { character } else { REPLACEMENT };
            let glyph = self.charmap.map(character).unwrap_or_default();
            let advance = self.metrics.advance_width(glyph).unwrap_or_default();
            let start = line.text.len();
            line.text.push(character);
            let range = start..line.text.len();
            line.glyphs.push(KrillaGlyph::new(GlyphId::new(glyph.to_u32()), advance, 0.0, 0.0, 0.0, range, None));
            line.width += advance;
        }
        line
    }

    fn advance(&self, character: char) -> f32 {
        let glyph = self.charmap.map(character).or_else(|| self.charmap.map(REPLACEMENT)).unwrap_or_default();
        self.metrics.advance_width(glyph).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_it_is_too_long_and_has_only_characters_of_the_font() {
        let face = Fonts::load().unwrap().regular;
        let line = |text: &str, width: f32| face.line(text, width);
        assert_eq!(line("billing", 100.0).text, "billing");
        let cut = line("a caller with a name that is too long", 5.0);
        assert!(cut.text.ends_with(ELLIPSIS) && cut.width <= 5.0, "{}", cut.text);
        assert_eq!(line("Jörg 名前\u{7}", 100.0).text, "Jörg ???");
        let lines: Vec<String> = face.lines("one two three", 4.0).into_iter().map(|line| line.text).collect();
        assert_eq!(lines, ["one two", "three"]);
    }
}
