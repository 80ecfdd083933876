//! Draws texts and shapes on a page.

use krilla::{
    color::rgb,
    geom::{PathBuilder, Point, Rect},
    num::NormalizedF32,
    paint::{Fill, FillRule},
    surface::Surface,
};

use super::font::{Face, Fonts, Line};
use crate::chart::{Anchor, Chart, Ink, Shape, TEXT_SIZE};

/// A colour: red, green, blue.
pub(super) type Colour = (u8, u8, u8);

pub(super) const TEXT: Colour = (27, 31, 36);
pub(super) const MUTED: Colour = (87, 96, 106);
pub(super) const RULE: Colour = (208, 215, 222);
pub(super) const GOOD: Colour = (26, 127, 55);
pub(super) const BAD: Colour = (180, 35, 24);
const BAR: Colour = (51, 101, 138);

/// How a text is set.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub(super) size: f32,
    pub(super) is_bold: bool,
    pub(super) colour: Colour,
}

impl Style {
    pub(super) const fn new(size: f32) -> Self {
        Style { size, is_bold: false, colour: TEXT }
    }

    pub(super) const fn bold(self) -> Self {
        Style { is_bold: true, ..self }
    }

    pub(super) const fn coloured(self, colour: Colour) -> Self {
        Style { colour, ..self }
    }
}

/// A page with the fonts.
pub(super) struct Canvas<'c, 's> {
    surface: &'c mut Surface<'s>,
    fonts: &'c Fonts,
}

impl<'c, 's> Canvas<'c, 's> {
    pub(super) fn new(surface: &'c mut Surface<'s>, fonts: &'c Fonts) -> Self {
        Canvas { surface, fonts }
    }

    fn face(&self, style: Style) -> &'c Face {
        if style.is_bold { &self.fonts.bold } else { &self.fonts.regular }
    }

    /// Draws a text that begins at `x`, cut to a width.
    pub(super) fn text(&mut self, x: f32, y: f32, width: f32, text: &str, style: Style) {
        let face = self.face(style);
        self.draw(x, y, &face.line(text, width / style.size), face, style);
    }

    /// Draws a text that ends at `x`.
    pub(super) fn text_before(&mut self, x: f32, y: f32, width: f32, text: &str, style: Style) {
        let face = self.face(style);
        let line = face.line(text, width / style.size);
        self.draw(x - line.width * style.size, y, &line, face, style);
    }

    fn text_around(&mut self, x: f32, y: f32, text: &str, style: Style) {
        let face = self.face(style);
        let line = face.line(text, f32::MAX);
        self.draw(x - line.width * style.size / 2.0, y, &line, face, style);
    }

    /// Draws a text over several lines. Returns where the next line would be.
    pub(super) fn paragraph(&mut self, x: f32, y: f32, width: f32, text: &str, style: Style) -> f32 {
        let face = self.face(style);
        let mut y = y;
        for line in face.lines(text, width / style.size) {
            self.draw(x, y, &line, face, style);
            y += style.size * 1.35;
        }
        y
    }

    fn draw(&mut self, x: f32, y: f32, line: &Line, face: &Face, style: Style) {
        if line.glyphs.is_empty() {
            return;
        }
        self.surface.set_fill(Some(fill(style.colour)));
        let start = Point::from_xy(x, y);
        self.surface.draw_glyphs(start, &line.glyphs, face.font.clone(), &line.text, style.size, false);
    }

    pub(super) fn rectangle(&mut self, x: f32, y: f32, width: f32, height: f32, colour: Colour) {
        let mut path = PathBuilder::new();
        let Some(rectangle) = Rect::from_xywh(x, y, width, height) else { return };
        path.push_rect(rectangle);
        if let Some(path) = path.finish() {
            self.surface.set_fill(Some(fill(colour)));
            self.surface.draw_path(&path);
        }
    }

    /// Draws a chart with its upper left corner at a point.
    pub(super) fn chart(&mut self, left: f32, top: f32, chart: &Chart) {
        for shape in &chart.shapes {
            match shape {
                Shape::Rectangle { x, y, width, height, ink, title: _ } => {
                    let colour = match ink {
                        Ink::Rule => RULE,
                        Ink::Bar => BAR,
                        Ink::Failed => BAD,
                    };
                    self.rectangle(left + x, top + y, *width, *height, colour);
                }
                Shape::Text { x, y, anchor, text } => {
                    let style = Style::new(TEXT_SIZE);
                    match anchor {
                        Anchor::Start => self.text(left + x, top + y, chart.width - x, text, style),
                        Anchor::Middle => self.text_around(left + x, top + y, text, style),
                    }
                }
            }
        }
    }
}

fn fill(colour: Colour) -> Fill {
    let (red, green, blue) = colour;
    Fill { paint: rgb::Color::new(red, green, blue).into(), opacity: NormalizedF32::ONE, rule: FillRule::NonZero }
}
