//! API keys in the fragments of URLs.
//!
//! A request's target has no fragment (RFC 9112 section 3.2), and hyper drops one that a client sends all the same. Logs
//! between client and daemon may keep it, so the lines of requests are looked at as they arrive.

use masker_types::{api_key::looks_like_key, limits::HEAD_BYTES_MAX};

/// The lines that a connection has read. Only those that begin like a request are held, until their end.
#[derive(Default)]
pub(super) struct RequestLines {
    line: Vec<u8>,
    is_skipped: bool,
}

impl RequestLines {
    /// Reads what has arrived. Returns whether that completes a request's line with a key in its fragment.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        let mut found = false;
        while !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let (piece, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            if !self.is_skipped {
                self.line.extend_from_slice(&piece[..piece.len().min(HEAD_BYTES_MAX)]);
                // Neither a header nor JSON begins with a word in capitals and a space.
                let ends_method = |byte: &u8| !byte.is_ascii_uppercase();
                let is_request = self.line.iter().find(|byte| ends_method(byte)).is_none_or(|byte| *byte == b' ');
                self.is_skipped = !is_request || self.line.len() > HEAD_BYTES_MAX;
            }
            if end.is_some() {
                found |= !self.is_skipped && has_key_in_fragment(&self.line);
            }
            if end.is_some() || self.is_skipped {
                self.line.clear();
            }
            self.is_skipped &= end.is_none();
            bytes = rest;
        }
        found
    }
}

fn has_key_in_fragment(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ').skip(1);
    let (Some(target), Some(version)) = (words.next(), words.next()) else { return false };
    let fragment = target.iter().position(|byte| *byte == b'#').map(|begin| &target[begin..]);
    version.starts_with(b"HTTP/") && fragment.is_some_and(looks_like_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "masker_live_5Q2MEXAMPLEexampleEXAMPLEexample";

    fn finds(text: &str) -> bool {
        let found = |piece: usize| {
            let mut lines = RequestLines::default();
            text.as_bytes().chunks(piece).filter(|piece| lines.read(piece)).count() > 0
        };
        let (whole, single) = (found(text.len()), found(1));
        assert_eq!(whole, single, "{text}");
        whole
    }

    #[test]
    fn finds_keys_in_fragments_of_requests_alone() {
        for text in [
            format!("GET /health#{KEY} HTTP/1.1\r\n"),
            format!("GET http://masker/health?a#b={KEY} HTTP/1.1\r\nhost: masker\r\n\r\n"),
            "\r\nPOST /#%6Dasker_live_x HTTP/1.0\n".to_owned(),
            format!("GET / HTTP/1.1\r\nHost: x\r\n\r\nDELETE /a#{KEY} HTTP/1.1\r\n"),
        ] {
            assert!(finds(&text), "{text}");
        }
        for text in [
            format!("GET /health HTTP/1.1\r\nReferer: /health#{KEY} HTTP/1.1\r\n"),
            format!("GET /{KEY}#a HTTP/1.1\r\n"),
            format!("GET /#{KEY}"),
            format!("{{\"items\": [\"GET /#{KEY} HTTP/1.1\r\n"),
            format!("A #{KEY}\r\n"),
            format!("GET /#{} HTTP/1.1\r\n", "x".repeat(2 * HEAD_BYTES_MAX)),
        ] {
            assert!(!finds(&text), "{text}");
        }
    }

    #[test]
    fn holds_no_line_that_is_not_a_request() {
        let mut lines = RequestLines::default();
        lines.read(b"POST / HTTP/1.1\r\nAuthorization: Bearer ");
        assert!(lines.line.is_empty() && lines.is_skipped);
        lines.read(&vec![b'x'; 1 << 20]);
        assert!(lines.line.is_empty());
    }
}
