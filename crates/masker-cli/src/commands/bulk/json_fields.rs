//! Finds the values of fields in JSON text.

use std::{borrow::Cow, collections::BTreeSet, ops::Range};

use serde::{
    Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::columns;
use masker_api::Text;
use masker_types::quote::nearest;

/// Maximum number of names that are remembered, to suggest one for a field that is missing.
const BESIDE_MAX: usize = 256;
/// Maximum nesting of lists. Bounds the stack.
const LISTS_MAX: usize = 128;

/// The names that lead to a field, from the outermost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FieldPath {
    names: Vec<String>,
    /// Whether the field can be missing in all rows.
    pub(super) optional: bool,
}

/// A value of a field.
pub(super) struct FieldMatch<'t> {
    /// The index of the path that leads to it.
    pub(super) path: usize,
    /// Its position in the text.
    pub(super) span: Range<usize>,
    pub(super) value: FieldValue<'t>,
}

/// What a value of a field is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FieldValue<'t> {
    String(Cow<'t, str>),
    /// Not a string of Unicode text.
    Other,
    /// Not an object, where the path leads into one.
    NotObject,
}

/// What was seen of the fields in all rows.
#[derive(Default)]
pub(super) struct FieldsSeen {
    /// Whether each path has led to a value, which can be null.
    found: Vec<bool>,
    /// Whether each path may lead to none.
    optional: Vec<bool>,
    /// For paths that have not, names that are beside their missing name.
    beside: BTreeSet<(usize, String)>,
}

impl FieldsSeen {
    pub(super) fn new(paths: &[FieldPath]) -> Self {
        let optional = paths.iter().map(|path| path.optional).collect();
        FieldsSeen { found: vec![false; paths.len()], optional, beside: BTreeSet::new() }
    }

    /// Returns the index of a path that has led to no value, unless its field is optional.
    pub(super) fn missing(&self) -> Option<usize> {
        self.absent().find(|path| !self.optional[*path])
    }

    /// Returns the indices of all paths that have led to no value.
    pub(super) fn absent(&self) -> impl Iterator<Item = usize> {
        self.found.iter().enumerate().filter(|(_, found)| !**found).map(|(path, _)| path)
    }

    /// Returns the spelling of a path in which dots are a part of a name that was seen.
    pub(super) fn quoted(&self, path: usize, paths: &[FieldPath]) -> Option<String> {
        let names = &paths.get(path)?.names;
        let ranges = (0..names.len()).flat_map(|start| (start + 2..=names.len()).map(move |end| start..end));
        let is_seen = |name: &String| self.beside.contains(&(path, name.clone()));
        let (range, name) =
            ranges.map(|range| (range.clone(), names[range].join("."))).find(|(_, name)| is_seen(name))?;
        let name = [serde_json::to_string(&name).ok()?];
        Some([&names[..range.start], &name, &names[range.end..]].concat().join("."))
    }

    /// Returns the name that was seen and is the most similar to the missing one of a path, unless it could be a value.
    pub(super) fn similar(&self, path: usize, paths: &[FieldPath]) -> Option<&str> {
        let beside = self.beside.iter().filter(|(of, _)| *of == path).map(|(_, name)| name.as_str());
        let names: Vec<&str> = beside.filter(|name| columns::is_plain(name)).collect();
        paths.get(path)?.names.iter().rev().find_map(|name| nearest(name, &names))
    }

    /// Notes the names of an object that lacks a name of a path.
    fn note_beside(&mut self, path: usize, name: &str) {
        if !self.found[path] && self.beside.len() < BESIDE_MAX {
            self.beside.insert((path, name.to_owned()));
        }
    }
}

/// Parses paths: names separated by dots, of which some are JSON strings, and `?` at the end of optional ones.
///
/// # Errors
/// A path is invalid, or one leads into another: a message for the user.
pub(super) fn paths<'p>(texts: impl Iterator<Item = &'p str>) -> Result<Vec<FieldPath>, String> {
    let mut paths: Vec<FieldPath> = Vec::new();
    for text in texts {
        let path = path(text).ok_or_else(|| {
            format!("--field {text:?}: expected names separated by dots, from the outermost; quote a name with a dot, as in '\"a.b\".c'")
        })?;
        if paths.iter().any(|other| other.names.starts_with(&path.names) || path.names.starts_with(&other.names)) {
            return Err(format!("--field {text:?}: one field is inside another"));
        }
        paths.push(path);
    }
    Ok(paths)
}

fn path(text: &str) -> Option<FieldPath> {
    let mut names = Vec::new();
    let mut rest = text;
    loop {
        let name;
        (name, rest) = if rest.starts_with('"') {
            let mut names = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let name = names.next()?.ok()?;
            (name, &rest[names.byte_offset()..])
        } else {
            let end = rest.find(['.', '?', '"']).unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        if name.is_empty() && !text.contains('"') {
            return None;
        }
        names.push(name);
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None => break,
        }
    }
    matches!(rest, "" | "?").then_some(FieldPath { names, optional: rest == "?" })
}

/// Finds every value that one of the paths leads to, in text order. A path through a list, or to a list, leads to each of
/// its elements, and a duplicate name leads to each of its values, so that no value of a field is missed. Null and missing
/// values are not found. A value on the way that is not an object is found too, because it may be what the field contains.
pub(super) fn find<'t>(
    text: &'t str,
    paths: &[FieldPath],
    seen: &mut FieldsSeen,
) -> Result<Vec<FieldMatch<'t>>, serde_json::Error> {
    let mut search = FieldSearch { text, paths, seen, found: Vec::new() };
    let all: Vec<usize> = (0..paths.len()).collect();
    search.descend(text.trim_ascii_start(), 0, &all, 0)?;
    Ok(search.found)
}

struct FieldSearch<'t, 'p> {
    text: &'t str,
    paths: &'p [FieldPath],
    seen: &'p mut FieldsSeen,
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
                let paths = self.paths;
                let here = |path: &usize| paths[*path].names[depth].as_str();
                let members = members(value, |name| {
                    let wanted = alive.iter().any(|path| here(path) == name);
                    if !wanted {
                        alive.iter().for_each(|path| self.seen.note_beside(*path, name));
                    }
                    wanted
                })?;
                for (name, member) in members {
                    let next: Vec<usize> = alive.iter().copied().filter(|path| here(path) == &*name).collect();
                    match next.as_slice() {
                        // No path is a prefix of another, so this is the only one.
                        [path] if paths[*path].names.len() == depth + 1 => self.take(*path, member, lists)?,
                        _ => self.descend(member.get(), depth + 1, &next, lists)?,
                    }
                }
            }
            _ => {
                let scalar = serde_json::from_str::<&RawValue>(value)?.get();
                if let Some(path) = alive.first().filter(|_| scalar != "null") {
                    self.add(*path, scalar, FieldValue::NotObject);
                }
            }
        }
        Ok(())
    }

    /// Adds the value of a field, inside `lists` lists.
    fn take(&mut self, path: usize, value: &'t RawValue, lists: usize) -> Result<(), serde_json::Error> {
        self.seen.found[path] = true;
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
        self.add(path, value, string.map_or(FieldValue::Other, FieldValue::String));
        Ok(())
    }

    /// Adds a value, which is a part of the text.
    fn add(&mut self, path: usize, part: &'t str, value: FieldValue<'t>) {
        let start = part.as_ptr().addr() - self.text.as_ptr().addr();
        self.found.push(FieldMatch { path, span: start..start + part.len(), value });
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
    wanted: impl FnMut(&str) -> bool,
) -> Result<Vec<(Text<'t>, &'t RawValue)>, serde_json::Error> {
    struct Members<W>(W);

    impl<'t, W: FnMut(&str) -> bool> Visitor<'t> for Members<W> {
        type Value = Vec<(Text<'t>, &'t RawValue)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'t>>(mut self, mut map: M) -> Result<Self::Value, M::Error> {
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

    fn search<'t>(text: &'t str, names: &[&str]) -> Result<Vec<FieldMatch<'t>>, serde_json::Error> {
        let paths = paths(names.iter().copied()).unwrap();
        find(text, &paths, &mut FieldsSeen::new(&paths))
    }

    fn found(text: &str, names: &[&str]) -> Vec<(usize, String, Option<String>)> {
        let string = |value| match value {
            FieldValue::String(string) => Some(string.into_owned()),
            _ => None,
        };
        let found = search(text, names).unwrap().into_iter();
        found.map(|found| (found.path, text[found.span].to_owned(), string(found.value))).collect()
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
        assert_eq!(strings(r#"[{"a": [{"b": "one"}, {"b": "two"}]}, null]"#, &["a.b"]), ["one", "two"]);
    }

    #[test]
    fn ignores_missing_values_and_null() {
        for text in [r#"{"a": null}"#, r#"{"a": {"b": null}}"#, "{}", "[]", "null", r#"[{"a": []}]"#] {
            assert!(found(text, &["a.b"]).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_value_in_place_of_an_object_is_found() {
        for (text, part) in [
            (r#"{"a": 1}"#, "1"),
            (r#"{"a": "415"}"#, "\"415\""),
            (r#"{"a": [{"b": null}, "415" ]}"#, "\"415\""),
            (" \"415\" ", "\"415\""),
            (r#"[1.50]"#, "1.50"),
            ("true", "true"),
        ] {
            let found = search(text, &["a.b", "c"]).unwrap();
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!((&text[found[0].span.clone()], &found[0].value), (part, &FieldValue::NotObject));
        }
    }

    #[test]
    fn fields_that_are_in_no_row_have_similar_names_beside_them() {
        let paths = paths(["patient.fone", "name", "fax?"].into_iter()).unwrap();
        let mut seen = FieldsSeen::new(&paths);
        for row in [r#"{"id": 1, "patient": {"phone": "415"}}"#, r#"{"name": null}"#] {
            find(row, &paths, &mut seen).unwrap();
        }
        assert_eq!(seen.missing(), Some(0));
        assert_eq!(seen.similar(0, &paths), Some("phone"));
        find(r#"{"patient": {"fone": []}}"#, &paths, &mut seen).unwrap();
        assert_eq!(seen.missing(), None);
        assert_eq!(seen.absent().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_name_with_dots_is_recognized() {
        let paths = paths(["a.home.fax.b", "c.d?", "x.y"].into_iter()).unwrap();
        let mut seen = FieldsSeen::new(&paths);
        find(r#"{"a": {"home.fax": {"b": "1"}}, "c.d": "2"}"#, &paths, &mut seen).unwrap();
        let quoted: Vec<_> = (0..3).map(|path| seen.quoted(path, &paths)).collect();
        assert_eq!(quoted, [Some(r#"a."home.fax".b"#.to_owned()), Some(r#""c.d""#.to_owned()), None]);
    }

    #[test]
    fn names_with_dots_are_quoted() {
        assert_eq!(strings(r#"{"a.b": {"c": "one"}, "a": {"b": {"c": "x"}}}"#, &[r#""a.b".c"#]), ["one"]);
        assert_eq!(strings(r#"{"a": {"b?": "one", "\"": "two"}}"#, &[r#"a."b?""#, r#"a."\""?"#]), ["one", "two"]);
        assert_eq!(strings(r#"{"": "one"}"#, &[r#""""#]), ["one"]);
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
            assert!(search(text, &["a"]).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds_the_nesting_of_lists() {
        let nested = |lists: usize| "[".repeat(lists) + "{\"a\": \"one\"}" + &"]".repeat(lists);
        let deep = |lists: usize| format!("{{\"a\": {}\"one\"{} }}", "[".repeat(lists), "]".repeat(lists));
        assert_eq!(strings(&nested(LISTS_MAX), &["a"]), ["one"]);
        assert_eq!(strings(&deep(LISTS_MAX), &["a"]), ["one"]);
        for lists in [LISTS_MAX + 1, 1_000] {
            assert!(search(&nested(lists), &["a"]).is_err() && search(&deep(lists), &["a"]).is_err(), "{lists}");
        }
    }

    #[test]
    fn rejects_paths_inside_each_other() {
        assert!(paths(["a.b", "a.c", "d"].into_iter()).is_ok());
        for texts in [
            &["a.b", "a"][..],
            &["a", "a.b"],
            &["a", "a"],
            &["a..b"],
            &[""],
            &["\"a"],
            &["a?b"],
            &["\"a\"b"],
            &["a\"b\""],
        ] {
            assert!(paths(texts.iter().copied()).is_err(), "{texts:?}");
        }
    }
}
