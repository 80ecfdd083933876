//! Finds the values of fields in JSON text.

use std::{borrow::Cow, ops::Range};

use serde::{
    Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use masker_api::Text;

/// Maximum nesting of lists. Bounds the stack.
const LISTS_MAX: usize = 128;

/// The names that lead to a field, from the outermost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FieldPath(Vec<String>);

/// A value of a field.
pub(super) struct FieldMatch<'t> {
    /// The index of the path that leads to it.
    pub(super) path: usize,
    /// Its position in the text.
    pub(super) span: Range<usize>,
    /// Its string. `None` if it is not a string of Unicode text.
    pub(super) string: Option<Cow<'t, str>>,
}

/// Parses paths: names separated by dots.
///
/// # Errors
/// A path is invalid, or one leads into another: a message for the user.
pub(super) fn paths<'p>(texts: impl Iterator<Item = &'p str>) -> Result<Vec<FieldPath>, String> {
    let mut paths: Vec<FieldPath> = Vec::new();
    for text in texts {
        let names: Vec<String> = text.split('.').map(str::to_owned).collect();
        if names.iter().any(String::is_empty) {
            return Err(format!("--field {text:?}: expected names separated by dots, from the outermost"));
        }
        if paths.iter().any(|FieldPath(other)| other.starts_with(&names) || names.starts_with(other)) {
            return Err(format!("--field {text:?}: one field is inside another"));
        }
        paths.push(FieldPath(names));
    }
    Ok(paths)
}

/// Finds every value that one of the paths leads to, in text order. A path through a list, or to a list, leads to each of
/// its elements, and a duplicate name leads to each of its values, so that no value of a field is missed. Null and missing
/// values are not found.
pub(super) fn find<'t>(text: &'t str, paths: &[FieldPath]) -> Result<Vec<FieldMatch<'t>>, serde_json::Error> {
    let mut search = FieldSearch { text, paths, found: Vec::new() };
    let all: Vec<usize> = (0..paths.len()).collect();
    search.descend(text.trim_ascii_start(), 0, &all, 0)?;
    Ok(search.found)
}

struct FieldSearch<'t, 'p> {
    text: &'t str,
    paths: &'p [FieldPath],
    found: Vec<FieldMatch<'t>>,
}

impl<'t> FieldSearch<'t, '_> {
    /// Searches a value that the first `depth` names of the paths in `alive` lead to, inside `lists` lists.
    fn descend(
        &mut self,
        value: &'t str,
        depth: usize,
        alive: &[usize],
        lists: usize,
    ) -> Result<(), serde_json::Error> {
        match value.as_bytes().first() {
            Some(b'[') => {
                for element in elements(value, lists)? {
                    self.descend(element.get(), depth, alive, lists + 1)?;
                }
            }
            Some(b'{') => {
                let here = |path: &usize| &*self.paths[*path].0[depth];
                let members = members(value, |name| alive.iter().any(|path| here(path) == name))?;
                for (name, member) in members {
                    let next: Vec<usize> =
                        alive.iter().copied().filter(|path| self.paths[*path].0[depth] == *name).collect();
                    match next.as_slice() {
                        // No path is a prefix of another, so this is the only one.
                        [path] if self.paths[*path].0.len() == depth + 1 => self.take(*path, member, lists)?,
                        _ => self.descend(member.get(), depth + 1, &next, lists)?,
                    }
                }
            }
            _ => {
                serde_json::from_str::<IgnoredAny>(value)?;
            }
        }
        Ok(())
    }

    /// Adds the value of a field, inside `lists` lists.
    fn take(&mut self, path: usize, value: &'t RawValue, lists: usize) -> Result<(), serde_json::Error> {
        let value = value.get();
        let string = match value.as_bytes().first() {
            Some(b'n') => return Ok(()),
            Some(b'[') => {
                for element in elements(value, lists)? {
                    self.take(path, element, lists + 1)?;
                }
                return Ok(());
            }
            // Half of a surrogate pair is valid JSON and not Unicode text.
            Some(b'"') if value.contains('\\') => serde_json::from_str::<String>(value).ok().map(Cow::Owned),
            Some(b'"') => Some(Cow::Borrowed(value.trim_matches('"'))),
            _ => None,
        };
        // `value` is a part of `self.text`.
        let start = value.as_ptr().addr() - self.text.as_ptr().addr();
        self.found.push(FieldMatch { path, span: start..start + value.len(), string });
        Ok(())
    }
}

/// Returns the elements of a list that is inside `lists` others.
fn elements(list: &str, lists: usize) -> Result<Vec<&RawValue>, serde_json::Error> {
    if lists == LISTS_MAX {
        return Err(serde_json::Error::custom("lists are nested too deeply"));
    }
    serde_json::from_str(list)
}

/// Returns the members of an object whose name is wanted. Of the others, checks only that they are JSON.
fn members<'t>(
    object: &'t str,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(Text<'t>, &'t RawValue)>, serde_json::Error> {
    struct Members<W>(W);

    impl<'t, W: Fn(&str) -> bool> Visitor<'t> for Members<W> {
        type Value = Vec<(Text<'t>, &'t RawValue)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'t>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut members = Vec::new();
            while let Some(name) = map.next_key::<Text<'t>>()? {
                if (self.0)(&name) {
                    members.push((name, map.next_value()?));
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(members)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(object);
    let members = deserializer.deserialize_map(Members(wanted))?;
    deserializer.end()?;
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, names: &[&str]) -> Vec<(usize, String, Option<String>)> {
        let paths = paths(names.iter().copied()).unwrap();
        let found = find(text, &paths).unwrap().into_iter();
        found.map(|found| (found.path, text[found.span].to_owned(), found.string.map(Cow::into_owned))).collect()
    }

    fn strings(text: &str, names: &[&str]) -> Vec<String> {
        found(text, names).into_iter().map(|(_, _, string)| string.unwrap()).collect()
    }

    #[test]
    fn finds_values_by_their_paths() {
        let text = r#" {"a": {"b" : "one", "c": "x"}, "d":"two" , "b": "x"} "#;
        assert_eq!(
            found(text, &["d", "a.b"]),
            [(1, "\"one\"".to_owned(), Some("one".to_owned())), (0, "\"two\"".to_owned(), Some("two".to_owned()))]
        );
        assert_eq!(strings(r#"{"a": "", "b": "\u0041\"\\"}"#, &["a", "b"]), ["", "A\"\\"]);
        assert_eq!(strings(r#"{"\u0061": "by another spelling"}"#, &["a"]), ["by another spelling"]);
    }

    #[test]
    fn finds_every_value_of_a_field() {
        assert_eq!(strings(r#"{"a": "one", "a": "two"}"#, &["a"]), ["one", "two"]);
        assert_eq!(strings(r#"{"a": ["one", null, ["two"]]}"#, &["a"]), ["one", "two"]);
        assert_eq!(strings(r#"[{"a": [{"b": "one"}, {"b": "two"}]}, 1]"#, &["a.b"]), ["one", "two"]);
    }

    #[test]
    fn ignores_missing_values_and_null() {
        for text in [r#"{"a": null}"#, r#"{"a": 1}"#, r#"{"a": {"b": null}}"#, "{}", "[]", "1", "\"a\""] {
            assert!(found(text, &["a.b"]).is_empty(), "{text}");
        }
    }

    #[test]
    fn distinguishes_strings_from_other_values() {
        for value in ["1.50", "true", "{}", r#""\ud800""#] {
            let text = format!("{{\"a\": {value} }}");
            assert_eq!(found(&text, &["a"]), [(0, value.to_owned(), None)]);
        }
    }

    #[test]
    fn rejects_invalid_json() {
        for text in ["{", "{\"a\": \"b\"} x", "{a: 1}", "[1,]", "\"a", "{\"a\": \"\u{1}\"}", "01"] {
            assert!(find(text, &paths(["a"].into_iter()).unwrap()).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds_the_nesting_of_lists() {
        let nested = |lists: usize| "[".repeat(lists) + "{\"a\": \"one\"}" + &"]".repeat(lists);
        let deep = |lists: usize| format!("{{\"a\": {}\"one\"{} }}", "[".repeat(lists), "]".repeat(lists));
        assert_eq!(strings(&nested(LISTS_MAX), &["a"]), ["one"]);
        assert_eq!(strings(&deep(LISTS_MAX), &["a"]), ["one"]);
        let paths = paths(["a"].into_iter()).unwrap();
        for lists in [LISTS_MAX + 1, 1_000] {
            assert!(find(&nested(lists), &paths).is_err() && find(&deep(lists), &paths).is_err(), "{lists}");
        }
    }

    #[test]
    fn rejects_paths_inside_each_other() {
        assert!(paths(["a.b", "a.c", "d"].into_iter()).is_ok());
        for texts in [&["a.b", "a"][..], &["a", "a.b"], &["a", "a"], &["a..b"], &[""]] {
            assert!(paths(texts.iter().copied()).is_err(), "{texts:?}");
        }
    }
}
