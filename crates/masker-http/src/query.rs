//! The query of a URL: names that the route knows, each once at most. Errors quote nothing of it.
//!
//! `serde_urlencoded` and axum's `Query` read `+` as a space, which breaks times with an offset, and their errors quote
//! the request.

use super::problem::Problem;
use masker_types::error_code::Code;

/// The parameters of a query that holds no names but those of its route, each once at most.
#[derive(Default)]
pub(super) struct QueryParameters(Vec<(&'static str, String)>);

impl QueryParameters {
    /// Reads `name=value&…`, percent-encoded as in RFC 3986: a `+` is a plus sign, as times with an offset have it.
    ///
    /// # Errors
    /// `request.invalid`, with the names that there are.
    pub(super) fn parse(query: Option<&str>, known_names: &'static [String]) -> Result<Self, Problem> {
        let Some(query) = query else { return Ok(QueryParameters(Vec::new())) };
        if known_names.is_empty() {
            return Err(invalid("this route takes no query: everything goes in the body"));
        }
        let mut pairs: Vec<(&'static str, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = known_names.iter().find(|known| **known == name) else {
                return Err(invalid(format!(
                    "the query of this route has the names {} and no others",
                    listed(known_names)
                )));
            };
            if pairs.iter().any(|(known, _)| known == name) {
                return Err(invalid(format!("`{name}` is in the query more than once")));
            }
            let Some(value) = decode(value) else {
                return Err(invalid(format!("`{name}` in the query is not percent-encoded UTF-8")));
            };
            pairs.push((name.as_str(), value));
        }
        Ok(QueryParameters(pairs))
    }

    /// Returns the value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Returns the value of a name as `read` reads it; `expected` describes what that takes.
    ///
    /// # Errors
    /// `request.invalid` for anything else.
    pub(super) fn read<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let wrong = || invalid(format!("`{name}` in the query is {expected}"));
        self.get(name).map(|value| read(value).ok_or_else(wrong)).transpose()
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::RequestInvalid, detail)
}

fn listed(known_names: &[String]) -> String {
    known_names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        // `u8::from_str_radix` would accept a sign.
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(digit(digits[0])? * 16 + digit(digits[1])?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::QueryParameters;

    fn known_names() -> &'static [String] {
        static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| vec!["since".to_owned(), "limit".to_owned()]);
        &NAMES
    }

    fn refusal(query: &str, known_names: &'static [String]) -> String {
        QueryParameters::parse(Some(query), known_names).err().expect(query).detail
    }

    #[test]
    fn names_and_values_are_read() {
        let query =
            QueryParameters::parse(Some("since=2026-01-01T00%3a00:00+01:00&limit=7&"), known_names()).ok().unwrap();
        assert_eq!(query.get("since"), Some("2026-01-01T00:00:00+01:00"));
        assert_eq!(query.read("limit", "a number", |text| text.parse().ok()).ok().unwrap(), Some(7));
        assert_eq!(query.read("limit", "`x`", |_| None::<u8>).err().unwrap().detail, "`limit` in the query is `x`");
        for (text, since) in [(None, None), (Some(""), None), (Some("since"), Some("")), (Some("since="), Some(""))] {
            let query = QueryParameters::parse(text, known_names()).ok().unwrap();
            assert_eq!((query.get("since"), query.get("limit")), (since, None), "{text:?}");
        }
        let query = QueryParameters::parse(Some("since=J%C3%B6rg%20%3D%26a=b"), known_names()).ok().unwrap();
        assert_eq!(query.get("since"), Some("Jörg =&a=b"));
    }

    #[test]
    fn errors_quote_nothing_of_the_query() {
        for query in ["secret=1", "since=1&secret=2", "Since=secret", "%73ince=secret", "=secret"] {
            let detail = refusal(query, known_names());
            assert_eq!(detail, "the query of this route has the names `since`, `limit` and no others", "{query}");
        }
        assert_eq!(refusal("limit=1&limit=1", known_names()), "`limit` is in the query more than once");
        for query in ["limit=%", "limit=%2", "limit=%zz", "limit=%+1", "limit=%ff", "limit=%C3", "limit=%é"] {
            assert_eq!(refusal(query, known_names()), "`limit` in the query is not percent-encoded UTF-8", "{query}");
        }
        for query in ["", "limit=1"] {
            assert_eq!(refusal(query, &[]), "this route takes no query: everything goes in the body");
        }
    }
}
