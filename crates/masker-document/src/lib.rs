//! A reader of TOML documents that reports all problems with their lines.
//!
//! With a parser that stops at the first mistake, an operator would have to fix a file one start at a time. This reader
//! continues: the TOML parser recovers from syntax errors, each typed getter records a problem and returns `None`, and
//! [`Section::finish`] records unknown fields. The caller builds its result from what it got, and discards it if there
//! is any [`DocumentError`].
//!
//! The crate has no I/O. It uses only `masker-types`; `masker-core`, which the daemon's configuration and policies use, exports
//! it as `document`, and the gateway reads its configuration with it.

#![warn(missing_docs)]

use std::{cell::RefCell, fmt, ops::RangeInclusive};

use masker_types::quote::{quoted, suggestion};
use toml::de::{DeTable, DeValue};

/// A problem in a document, for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DocumentError {
    /// The line, counted from 1.
    pub line: usize,
    /// The problem, and what to do about it.
    pub message: String,
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// The value of a field, with its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The line, counted from 1.
    pub line: usize,
}

/// A parsed document, with the problems found so far.
pub struct Document<'t> {
    table: DeTable<'t>,
    line_starts: Vec<usize>,
    /// Lines with syntax errors. Other problems on these lines are probably consequences.
    unreadable_lines: Vec<usize>,
    problems: RefCell<Vec<DocumentError>>,
}

impl<'t> Document<'t> {
    /// Parses a document. Syntax errors become problems; the readable rest is available.
    pub fn parse(text: &'t str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut document = Document {
            table: table.into_inner(),
            line_starts,
            unreadable_lines: Vec::new(),
            problems: RefCell::default(),
        };
        for error in errors {
            let line = document.line_at(error.span().map_or(0, |span| span.start));
            document.unreadable_lines.push(line);
            document.problems.get_mut().push(DocumentError { line, message: error.message().to_owned() });
        }
        document
    }

    /// Returns the section of the fields outside any section.
    pub fn root(&self) -> Section<'_> {
        Section { document: self, table: &self.table, path: String::new(), line: 1, known: RefCell::default() }
    }

    /// Records a problem, unless its line has a syntax error.
    pub fn report(&self, line: usize, message: impl Into<String>) {
        if !self.unreadable_lines.contains(&line) {
            self.problems.borrow_mut().push(DocumentError { line, message: message.into() });
        }
    }

    /// Returns all problems, in the order of lines.
    pub fn into_problems(self) -> Vec<DocumentError> {
        let mut problems = self.problems.into_inner();
        problems.sort();
        problems.dedup();
        problems
    }

    fn line_at(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }
}

/// The fields between one `[header]` and the next.
pub struct Section<'d> {
    document: &'d Document<'d>,
    table: &'d DeTable<'d>,
    /// The dotted name of the header; empty for the root.
    path: String,
    line: usize,
    /// The names of the fields that were read. All others are unknown.
    known: RefCell<Vec<&'static str>>,
}

impl<'d> Section<'d> {
    /// Returns the line of the section's header, or 1 for the root.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Returns whether the section has a field with this name, valid or not.
    pub fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Returns whether the section has no fields.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Records a problem with this section.
    pub fn report(&self, line: usize, message: impl Into<String>) {
        self.document.report(line, message);
    }

    /// Records that a field is missing. Does nothing if the document has syntax errors, because the field may be in an
    /// unreadable line.
    pub fn report_missing(&self, name: &str, advice: &str) {
        if self.document.unreadable_lines.is_empty() {
            self.report(self.line, format!("`{name}` is missing{}: {advice}", self.in_path()));
        }
    }

    /// Reads a string.
    pub fn string(&self, name: &'static str) -> Option<Located<&'d str>> {
        self.field(name, "a string in quotes", DeValue::as_str)
    }

    /// Reads a boolean.
    pub fn boolean(&self, name: &'static str) -> Option<Located<bool>> {
        self.field(name, "true or false", DeValue::as_bool)
    }

    /// Reads a whole number within bounds.
    pub fn integer(&self, name: &'static str, bounds: RangeInclusive<u64>) -> Option<Located<u64>> {
        let (low, high) = (bounds.start(), bounds.end());
        self.field(name, &format!("a whole number from {low} to {high}"), |value| {
            let integer = value.as_integer()?;
            u64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|number| bounds.contains(number))
        })
    }

    /// Reads a share from 0 to 1, such as `0.85`, in percent.
    pub fn percent(&self, name: &'static str) -> Option<Located<u8>> {
        self.field(name, "a number from 0 to 1 with at most two decimals", |value| {
            let number = match (value.as_float(), value.as_integer()) {
                (Some(float), _) => float.as_str().parse::<f64>().ok()?,
                (None, Some(integer)) => integer.as_str().parse::<f64>().ok().filter(|_| integer.radix() == 10)?,
                (None, None) => return None,
            };
            let percent = (number * 100.0).round();
            let is_whole = (percent - number * 100.0).abs() < 1e-6;
            ((0.0..=100.0).contains(&percent) && is_whole).then_some(percent as u8)
        })
    }

    /// Reads one of several names.
    pub fn choice<T: Copy>(&self, name: &'static str, choices: &[(&str, T)]) -> Option<Located<T>> {
        let Located { value, line } = self.string(name)?;
        if let Some((_, choice)) = choices.iter().find(|(text, _)| *text == value) {
            return Some(Located { value: *choice, line });
        }
        let names: Vec<&str> = choices.iter().map(|(text, _)| *text).collect();
        self.report(line, format!("`{name}` cannot be {}: {}", quoted(value), suggestion(value, &names)));
        None
    }

    /// Reads a list of strings. Returns `None` if any element is not a string.
    pub fn strings(&self, name: &'static str) -> Option<Vec<Located<&'d str>>> {
        let elements = self.field(name, "a list of strings in quotes", DeValue::as_array)?.value;
        let texts = elements.iter().map(|element| {
            let line = self.document.line_at(element.span().start);
            let text = element.get_ref().as_str();
            if text.is_none() {
                self.report(line, format!("`{name}`{} must contain only strings in quotes", self.in_path()));
            }
            text.map(|value| Located { value, line })
        });
        // Checks every element before it decides.
        let texts: Vec<_> = texts.collect();
        texts.into_iter().collect()
    }

    /// Returns the subsection with this name.
    pub fn section(&self, name: &'static str) -> Option<Section<'d>> {
        self.known.borrow_mut().push(name);
        let (key, value) = self.table.get_key_value(name)?;
        self.open(key.get_ref(), self.document.line_at(key.span().start), value.get_ref())
    }

    /// Returns all subsections with their names, in the order of names.
    pub fn sections(&self) -> Vec<(&'d str, Section<'d>)> {
        let open = |key: &'d toml::Spanned<_>, value: &'d toml::Spanned<_>| {
            let name: &'d std::borrow::Cow<'_, str> = key.get_ref();
            Some((&**name, self.open(name, self.document.line_at(key.span().start), value.get_ref())?))
        };
        self.table.iter().filter_map(|(key, value)| open(key, value)).collect()
    }

    /// Returns the sections of a list, each under its own header `[[name]]`.
    pub fn list(&self, name: &'static str) -> Vec<Section<'d>> {
        self.known.borrow_mut().push(name);
        let Some((key, value)) = self.table.get_key_value(name) else { return Vec::new() };
        let Some(elements) = value.get_ref().as_array() else {
            let line = self.document.line_at(key.span().start);
            self.report(line, format!("{} must be a list of sections: write [[{name}]]", quoted(name)));
            return Vec::new();
        };
        let open = |element: &'d toml::Spanned<DeValue<'d>>| {
            self.open(name, self.document.line_at(element.span().start), element.get_ref())
        };
        elements.iter().filter_map(open).collect()
    }

    /// Returns whether a field is a section.
    pub fn is_section(&self, name: &str) -> bool {
        self.table.get(name).is_some_and(|value| value.get_ref().as_table().is_some())
    }

    /// Records a problem for each field that was not read.
    pub fn finish(&self) {
        let known = self.known.borrow();
        for key in self.table.keys().filter(|key| !known.iter().any(|name| *name == key.get_ref().as_ref())) {
            let name = key.get_ref();
            let message = format!("unknown field {}{}: {}", quoted(name), self.in_path(), suggestion(name, &known));
            self.report(self.document.line_at(key.span().start), message);
        }
    }

    fn open(&self, name: &str, line: usize, value: &'d DeValue<'d>) -> Option<Section<'d>> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        let Some(table) = value.as_table() else {
            self.report(line, format!("{} must be a section: write [{}]", quoted(name), path.escape_debug()));
            return None;
        };
        Some(Section { document: self.document, table, path, line, known: RefCell::default() })
    }

    fn field<T>(
        &self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&'d DeValue<'d>) -> Option<T>,
    ) -> Option<Located<T>> {
        self.known.borrow_mut().push(name);
        let (key, value) = self.table.get_key_value(name)?;
        let line = self.document.line_at(key.span().start);
        let read = read(value.get_ref());
        if read.is_none() {
            self.report(line, format!("`{name}`{} must be {expected}", self.in_path()));
        }
        read.map(|value| Located { value, line })
    }

    fn in_path(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!(" in [{}]", self.path.escape_debug()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(problems: &[DocumentError]) -> Vec<usize> {
        problems.iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn reads_fields_with_their_lines() {
        let document = Document::parse("a = \"x\"\nb = true\n\n[s]\nn = 0x10\nl = [\"x\",\n  \"y\"]\n[t.u]\n");
        let root = document.root();
        assert_eq!(root.string("a"), Some(Located { value: "x", line: 1 }));
        assert_eq!(root.boolean("b"), Some(Located { value: true, line: 2 }));
        assert_eq!(root.string("absent"), None);
        let section = root.section("s").unwrap();
        assert_eq!(section.line(), 4);
        assert_eq!(section.integer("n", 0..=16), Some(Located { value: 16, line: 5 }));
        assert_eq!(section.strings("l"), Some(vec![Located { value: "x", line: 6 }, Located { value: "y", line: 7 }]));
        section.finish();
        let below: Vec<(&str, usize)> =
            root.section("t").unwrap().sections().iter().map(|(name, section)| (*name, section.line())).collect();
        assert_eq!(below, [("u", 8)]);
        root.finish();
        assert_eq!(document.into_problems(), []);
    }

    #[test]
    fn reports_every_problem_with_its_line() {
        let document =
            Document::parse("a = 1\nb = \"no\"\nc = -1\nd = \"rde\"\n[s]\nx = 1\nl = \"x\"\nm = [1, \"x\",\n2]\n");
        let root = document.root();
        assert_eq!(root.string("a"), None);
        assert_eq!(root.boolean("b"), None);
        assert_eq!(root.integer("c", 0..=9), None);
        assert_eq!(root.choice("d", &[("red", 1), ("blue", 2)]), None);
        root.report_missing("e", "give it");
        let section = root.section("s").unwrap();
        assert_eq!((section.strings("l"), section.strings("m")), (None, None));
        section.finish();
        root.finish();
        let problems = document.into_problems();
        assert_eq!(lines(&problems), [1, 1, 2, 3, 4, 6, 7, 8, 9]);
        assert!(problems[4].message.ends_with("did you mean `red`?"), "{}", problems[4]);
    }

    #[test]
    fn reports_several_syntax_errors_and_reads_the_rest() {
        let document = Document::parse("a = = 1\nb = 2\nc = \"open\nd = true\n[s\nd = 1\nd = 2\n");
        let root = document.root();
        assert_eq!(root.string("b"), None);
        root.report_missing("z", "not reported: the field may be in an unreadable line");
        let problems = document.into_problems();
        for line in [1, 2, 3, 5, 7] {
            assert!(lines(&problems).contains(&line), "{line}: {problems:?}");
        }
        assert!(!problems.iter().any(|problem| problem.message.contains("missing")), "{problems:?}");
    }

    #[test]
    fn reports_a_field_in_place_of_a_section() {
        let document = Document::parse("s = 1\n");
        assert!(document.root().section("s").is_none());
        assert_eq!(lines(&document.into_problems()), [1]);
    }

    #[test]
    fn reads_a_list_of_sections_with_their_lines() {
        let document = Document::parse("[[s]]\na = 1\n\n[[s]]\nb = 2\n[s.t]\nc = 3\n");
        let root = document.root();
        let sections = root.list("s");
        assert_eq!(sections.iter().map(Section::line).collect::<Vec<_>>(), [1, 4]);
        assert!(sections[1].is_section("t") && !sections[1].is_section("b") && !sections[0].is_section("t"));
        assert!(root.list("absent").is_empty());
        root.finish();
        sections[0].finish();
        assert_eq!(lines(&document.into_problems()), [2]);
        for text in ["s = 1\n", "[s]\na = 1\n"] {
            let document = Document::parse(text);
            assert!(document.root().list("s").is_empty());
            assert_eq!(lines(&document.into_problems()), [1], "{text}");
        }
    }

    #[test]
    fn suggests_the_nearest_name_for_unknown_fields() {
        let document = Document::parse("[s]\nnormalise = 1\nzzz = 1\n");
        let section = document.root().section("s").unwrap();
        assert!(section.string("normalize").is_none());
        assert!(section.string("kid").is_none());
        section.finish();
        let messages: Vec<String> = document.into_problems().into_iter().map(|problem| problem.message).collect();
        assert_eq!(
            messages,
            [
                "unknown field `normalise` in [s]: did you mean `normalize`?",
                "unknown field `zzz` in [s]: there is `normalize` and `kid`"
            ]
        );
    }

    #[test]
    fn does_not_repeat_a_pasted_key() {
        let key = "RCCCPP3m8cJrMPkOx90B3kiHU0og8LDQTDbtgOceD919";
        let document = Document::parse("kid = \"RCCCPP3m8cJrMPkOx90B3kiHU0og8LDQTDbtgOceD919\"\n");
        assert!(document.root().choice("kid", &[("red", ())]).is_none());
        document.root().finish();
        assert!(document.into_problems().iter().all(|problem| !problem.message.contains(key)));
    }
}
