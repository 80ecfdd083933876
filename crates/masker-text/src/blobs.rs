//! Long runs of letters and digits without a word: base64, hashes, keys. Rules pass over them, because nothing in them has a
//! meaning, and because they have a token for every few bytes.

/// Bytes of a run that are judged together, and the length of the shortest run.
const WINDOW_BYTES: usize = 64;
/// Fewest changes between letters and digits, and from a small letter to a capital, in a window. Random base64 has about 27,
/// hexadecimal digits 29, words and numbers fewer than 12.
const CHANGES_MIN: usize = 14;

/// A run, as a range of bytes.
pub(crate) type Blob = (usize, usize);

/// Finds the runs in a text, in its order.
pub(crate) fn find(text: &str) -> Vec<Blob> {
    let bytes = text.as_bytes();
    let mut blobs: Vec<Blob> = Vec::new();
    let mut at = 0;
    while let Some(window) = bytes.get(at..at + WINDOW_BYTES) {
        // Most windows end in another word, so that most of their bytes are not read.
        if let Some(last) = window.iter().rposition(|&byte| !is_inner(byte)) {
            at += last + 1;
            continue;
        }
        let next = at + WINDOW_BYTES;
        if is_random(window) {
            match blobs.last_mut().filter(|last| last.1 == at) {
                Some(last) => last.1 = next,
                None => blobs.push((at, next)),
            }
            let rest = bytes[next..].iter().take(WINDOW_BYTES).take_while(|&&byte| is_inner(byte)).count();
            // The end of a run belongs to it, unless it is that of an email address.
            if rest < WINDOW_BYTES
                && bytes.get(next + rest) != Some(&b'@')
                && let Some(last) = blobs.last_mut()
            {
                last.1 = next + rest;
                at = next + rest;
                continue;
            }
        }
        at = next;
    }
    blobs
}

/// Joins runs with nothing but line breaks and white space between.
pub(crate) fn joined(text: &str, blobs: &[Blob]) -> Vec<Blob> {
    let mut joined: Vec<Blob> = Vec::new();
    for &(start, end) in blobs {
        match joined.last_mut() {
            Some(last) if text[last.1..start].trim_end_matches('=').bytes().all(|byte| byte.is_ascii_whitespace()) => {
                last.1 = end;
            }
            _ => joined.push((start, end)),
        }
    }
    joined
}

fn is_inner(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

fn is_random(window: &[u8]) -> bool {
    let changes = window.windows(2).filter(|pair| {
        let digits = pair[0].is_ascii_digit() != pair[1].is_ascii_digit();
        digits && pair[0].is_ascii_alphanumeric() && pair[1].is_ascii_alphanumeric()
            || pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase()
    });
    changes.count() >= CHANGES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE64: &str = "iVBORw0KGgoAbcd5dGVyIGFuZCB0aGUgcm9hZCB3YXMgZHJ5Lg0x9KqTz7Ew2mPq8vYbN4sRf1LhXc6JdUoA3tGi5kZ";

    #[test]
    fn finds_runs_without_words() {
        assert_eq!(find(BASE64), [(0, BASE64.len())]);
        let text = format!("see {BASE64}{BASE64}== and more");
        assert_eq!(find(&text), [(4, 4 + 2 * BASE64.len())]);
        let lines = format!("{BASE64}\n{BASE64}\r\n {BASE64}");
        assert_eq!(find(&lines).len(), 3);
        assert_eq!(joined(&lines, &find(&lines)), [(0, lines.len())]);
    }

    #[test]
    fn words_and_numbers_are_no_runs() {
        for text in [
            "maria-lopez-12-elm-street-springfield-il-62704-and-john-smith-14-oak-avenue-dallas-tx-75201".to_owned(),
            "MariaLopez/JohnSmith/AnnLee/PeterMiller/SusanTurner/KevinBecker/LauraNovak/EmilyHughes".to_owned(),
            "415-555-2671/".repeat(12),
            "A".repeat(300),
            "Nothing else is of interest in this line. ".repeat(20),
        ] {
            assert_eq!(find(&text), [], "{text}");
        }
    }

    #[test]
    fn the_end_of_an_address_is_no_part() {
        let text = format!("{BASE64}@example.com");
        assert!(find(&text).iter().all(|blob| blob.1 < BASE64.len()));
    }
}
