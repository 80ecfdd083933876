//! Parses the text of `/metrics`: Prometheus' text format, as far as masker uses it.

use std::collections::BTreeMap;

/// The samples of one response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape(Vec<Series>);

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The metric. A part of a histogram ends in `_bucket`, `_sum` or `_count`.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Series {
    /// Returns the value of a label, or an empty text if there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Scrape {
    /// Parses a text. Ignores lines that are not samples.
    pub fn parse(text: &str) -> Self {
        Scrape(text.lines().filter_map(series).collect())
    }

    /// Returns every sample of a metric.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Series> {
        self.0.iter().filter(move |series| series.name == name)
    }

    /// Returns the value of a metric without labels.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.of(name).next().map(|series| series.value)
    }
}

fn series(line: &str) -> Option<Series> {
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.trim_start().split(' ').next()?;
    Some(Series { name: name.to_owned(), labels, value: value.parse().ok()? })
}

/// Parses labels up to their closing brace. Returns them and the rest of the line.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, character) => value.push(character),
            }
        };
        labels.insert(name.to_owned(), value);
        rest = &after[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignores_lines_that_are_not_samples() {
        let text = "# HELP x y\nx\nx{a=\"b\" 1\nx{a=\"b\"} one\nx{a=\"\\\n\nx{a=\"b\",} 2 1700000000\n";
        let scrape = Scrape::parse(text);
        assert_eq!(scrape.0.len(), 1);
        assert_eq!(scrape.0[0].value, 2.0);
    }
}
