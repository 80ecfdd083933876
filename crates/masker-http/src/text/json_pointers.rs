//! JSON pointers (RFC 6901) of places in a document.

/// Longest key that a pointer shows, in bytes.
const KEY_BYTES_MAX: usize = 64;

/// Most digits of such a key: `address_2`.
const KEY_DIGITS_MAX: usize = 3;

/// What a pointer is in at one level of the document.
enum Level {
    /// The last key of an object, as a pointer shows it.
    Object(String),
    /// The index in a list.
    List(usize),
}

/// Returns the pointers of the values at some offsets, which are in the order of the document. The document was parsed before.
///
/// A key can be personal data itself. It is `*` if it is long, or has anything but letters, `_`, `-` and a few digits.
pub(super) fn pointers(document: &str, places: &[usize]) -> Vec<String> {
    let bytes = document.as_bytes();
    let mut levels: Vec<Level> = Vec::new();
    let mut pointers = Vec::with_capacity(places.len());
    let mut places = places.iter().peekable();
    let mut at = 0;
    while at < bytes.len() {
        while places.next_if(|&&place| place <= at).is_some() {
            pointers.push(pointer(&levels));
        }
        let Some(place) = places.peek() else { break };
        match bytes[at] {
            b'{' => levels.push(Level::Object(String::new())),
            b'[' => levels.push(Level::List(0)),
            b'}' | b']' => drop(levels.pop()),
            b',' => {
                if let Some(Level::List(index)) = levels.last_mut() {
                    *index += 1;
                }
            }
            b'"' => {
                let length = string_length(&bytes[at + 1..]);
                let end = at + 1 + length;
                let next = bytes.get(end + 1..).unwrap_or_default().iter().find(|byte| !byte.is_ascii_whitespace());
                if let (Some(b':'), Some(Level::Object(key))) = (next, levels.last_mut()) {
                    *key = shown(&document[at + 1..end]);
                }
                at = end;
            }
            // Numbers and words are passed over at once, unless the place is in one.
            byte if byte.is_ascii_alphanumeric() => {
                let length =
                    bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
                at = (at + length).min(**place).max(at + 1) - 1;
            }
            _ => {}
        }
        at += 1;
    }
    pointers.extend(places.map(|_| pointer(&levels)));
    pointers
}

/// Returns how many bytes are before the quote that ends a string.
fn string_length(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = rest.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if rest[at] == b'"' {
            return at;
        }
        at += 2;
    }
    rest.len()
}

fn shown(key: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    match !key.is_empty() && key.len() <= KEY_BYTES_MAX && digits <= KEY_DIGITS_MAX && key.bytes().all(is_plain) {
        true => key.to_owned(),
        false => "*".to_owned(),
    }
}

fn pointer(levels: &[Level]) -> String {
    let part = |level: &Level| match level {
        Level::Object(key) => format!("/{key}"),
        Level::List(index) => format!("/{index}"),
    };
    levels.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(document: &str, values: &[&str]) -> Vec<String> {
        let places: Vec<usize> = values.iter().map(|value| document.find(value).unwrap()).collect();
        pointers(document, &places)
    }

    #[test]
    fn names_the_places() {
        let document = r#"{"id": 1, "patient": {"mrn": 100, "visits": [{"phone": 200, "x": [3, [4, 300]]}, 5, -600]}, "t\"": 700}"#;
        let found = of(document, &["100", "200", "300", "600", "700"]);
        assert_eq!(
            found,
            ["/patient/mrn", "/patient/visits/0/phone", "/patient/visits/0/x/1/1", "/patient/visits/2", "/*"]
        );
        assert_eq!(of("12345", &["12345"]), [""]);
        assert_eq!(of("[1, 2e5]", &["2e5"]), ["/1"]);
        assert_eq!(of(r#"{"a": "{\"[,", "b": 9}"#, &["9"]), ["/b"]);
    }

    #[test]
    fn shows_no_key_that_can_be_personal_data() {
        let document = r#"{"ann@example.com": {"Ann Lee": 100}, "555-0147": 200}"#;
        assert_eq!(of(document, &["100", "200"]), ["/*/*", "/*"]);
    }
}
