//! Where in a request an error is, such as `items[7777].value`.

/// The names of fields that a place can contain. Others are text of the request, which messages do not quote.
const NAMES: [&str; 7] = ["policy", "context", "items", "kind", "value", "tokens", "token"];

/// Largest number of names and indexes in a place.
const DEPTH_MAX: usize = 6;

/// An object or a list around the place.
enum Container<'a> {
    /// With the name of the current member, if it is one of [`NAMES`].
    Object(Option<&'a str>),
    /// With the index of the current element.
    List(u64),
}

/// Returns the path to the value that ends or is incomplete after `length` bytes of JSON. Empty for the whole, and shorter
/// where a name is unknown.
pub(super) fn place(json: &[u8], length: usize) -> String {
    let json = &json[..length.min(json.len())];
    let mut around: Vec<Container<'_>> = Vec::new();
    let mut at = 0;
    // Whether the next string is the name of a member.
    let mut is_name = false;
    while let Some(byte) = json.get(at) {
        at += 1;
        match byte {
            b'{' => {
                around.push(Container::Object(None));
                is_name = true;
            }
            b'[' => {
                around.push(Container::List(0));
                is_name = false;
            }
            b'}' | b']' => {
                around.pop();
                is_name = false;
            }
            b',' => match around.last_mut() {
                Some(Container::Object(name)) => {
                    *name = None;
                    is_name = true;
                }
                Some(Container::List(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                let start = at;
                while json.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if json[at] == b'\\' { 2 } else { 1 };
                }
                let text = json.get(start..at).unwrap_or_default();
                at += 1;
                if let Some(Container::Object(name)) = around.last_mut().filter(|_| is_name) {
                    *name = NAMES.into_iter().find(|known| known.as_bytes() == text);
                    is_name = false;
                }
            }
            _ => {}
        }
    }
    let mut place = String::new();
    for container in around.into_iter().take(DEPTH_MAX) {
        match container {
            Container::Object(None) => break,
            Container::Object(Some(name)) if place.is_empty() => place.push_str(name),
            Container::Object(Some(name)) => place.push_str(&format!(".{name}")),
            // A request is an object.
            Container::List(_) if place.is_empty() => break,
            Container::List(index) => place.push_str(&format!("[{index}]")),
        }
    }
    place
}

/// Returns the offset after this column of this line. Lines begin at 1; columns count bytes.
pub(super) fn offset(json: &[u8], line: usize, column: usize) -> usize {
    let before: usize = json.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    before + column
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_members_and_elements() {
        for (json, expected) in [
            ("", ""),
            ("{", ""),
            (r#"{"items": 7"#, "items"),
            (r#"{"items": ["#, "items[0]"),
            (r#"{"items": [{"kind": "A", "value": "a"}, {"kind": "B", "value": 7"#, "items[1].value"),
            (r#"{"items": [{"kind": "A"}"#, "items[0]"),
            (r#"{"items": [{"kind": "A", "secret""#, "items[0]"),
            (r#"{"items": [{"kind": "A", "secret": {"kind": 1"#, "items[0]"),
            (r#"{"items": [{"value": "a\",{[\\"}, {"context": ["#, "items[1].context[0]"),
            (r#"{"tokens": ["a", {"token": tr"#, "tokens[1].token"),
            (r#"{"items": [{"value": "unfinished"#, "items[0].value"),
            (r#"{"value": "kind", "#, ""),
            ("]]}}{[,,", ""),
        ] {
            assert_eq!(place(json.as_bytes(), json.len()), expected, "{json}");
        }
    }

    #[test]
    fn columns_are_counted_in_their_line() {
        let json = b"{\n \"items\":\n 7}";
        assert_eq!(offset(json, 3, 2), 14);
        assert_eq!(place(json, offset(json, 3, 2)), "items");
        assert_eq!(place(json, offset(json, 9, 900)), "");
    }
}
