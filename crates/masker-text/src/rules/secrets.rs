//! Secrets: how far they reach, also over the end of a segment.
//!
//! A secret that was found is redacted whole, or the rest of it would stay in the text.

use super::Scan;
use crate::{
    candidate::{Candidate, Rank},
    kind::Kind,
};

/// Longest header of a private key, in bytes: `DEK-Info: AES-256-CBC,…`.
const HEADER_BYTES_MAX: usize = 200;
/// What ends a value, but is not part of it.
const TRAILING: [char; 6] = [',', ';', ')', ']', '}', '.'];

/// A secret that the end of a segment has cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenSecret {
    /// A private key.
    PrivateKey,
    /// A value without white space.
    Value,
}

/// Proposes the rest of a secret that began in the segment before. Returns where it ends.
pub(super) fn resume(scan: &mut Scan<'_>, open: &mut Option<OpenSecret>) -> usize {
    let (end, rule) = match open.take() {
        None => return 0,
        Some(OpenSecret::PrivateKey) => (private_key_end(scan.text, 0, open), "private-key"),
        Some(OpenSecret::Value) => (value_end(scan.text, 0, open), "secret"),
    };
    if end > 0 {
        scan.out.push(Candidate::new((0, end), Kind::Secret, Rank::Validated, 97, rule));
    }
    end
}

/// Returns where a private key ends, whose text goes on at `from`.
pub(super) fn private_key_end(text: &str, from: usize, open: &mut Option<OpenSecret>) -> usize {
    let body = &text[from..];
    if let Some(mark) = body.find("-----END ") {
        let after = mark + "-----END ".len();
        // A part of the last line can be in the next segment. It is no secret.
        return from + body[after..].find("-----").map_or(body.len(), |dashes| after + dashes + 5);
    }
    // Without an end, the key reaches as far as its characters do.
    let bytes = body.as_bytes();
    let (mut at, mut begins_line) = (0, true);
    while at < bytes.len() {
        if std::mem::take(&mut begins_line)
            && let Some(length) = header_len(&body[at..])
        {
            at += length;
            continue;
        }
        match bytes[at] {
            b'\n' => (at, begins_line) = (at + 1, true),
            // Line breaks in JSON, and in variables of shells.
            b'\\' if matches!(bytes.get(at + 1), Some(b'n' | b'r')) => {
                begins_line = bytes[at + 1] == b'n';
                at += 2;
            }
            byte if byte.is_ascii_alphanumeric() || b"+/= \r\t".contains(&byte) => at += 1,
            _ => return from + at,
        }
    }
    *open = Some(OpenSecret::PrivateKey);
    text.len()
}

/// Returns the length of a header such as `Version: GnuPG v2`, if the text begins with one.
fn header_len(text: &str) -> Option<usize> {
    let length = [text.find('\n'), text.find("\\n"), Some(text.len())].into_iter().flatten().min()?;
    let name = text[..length].find(": ").filter(|_| length <= HEADER_BYTES_MAX)?;
    let is_name = name > 0 && text[..name].bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_name.then_some(length)
}

/// Returns where a token ends, of which a pattern has matched the bytes before `from`. One with parts has them after full stops.
pub(super) fn token_end(text: &str, from: usize, has_parts: bool, open: &mut Option<OpenSecret>) -> usize {
    let bytes = text.as_bytes();
    let is_inner = |at: usize| bytes.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte));
    let mut at = from;
    while is_inner(at) || has_parts && bytes.get(at) == Some(&b'.') && is_inner(at + 1) {
        at += 1;
    }
    if at == text.len() || has_parts && at + 1 == text.len() && bytes[at] == b'.' {
        *open = Some(OpenSecret::Value);
        return text.len();
    }
    at
}

/// Returns where a value ends that goes on at `from`.
fn value_end(text: &str, from: usize, open: &mut Option<OpenSecret>) -> usize {
    let rest = &text[from..];
    let length = rest.find(|next| !continues_value(next)).unwrap_or(rest.len());
    if length == rest.len() {
        *open = Some(OpenSecret::Value);
    }
    text[..from + length].trim_end_matches(TRAILING).len()
}

fn continues_value(next: char) -> bool {
    !next.is_ascii_whitespace() && !"\"'<>".contains(next)
}

/// Returns the value of `password=…`, of which a pattern has matched the first bytes.
pub(super) fn assignment(text: &str, start: usize, end: usize, open: &mut Option<OpenSecret>) -> Option<Candidate> {
    let found = &text[start..end];
    let sign = found.find([':', '='])?;
    let rest = &found[sign..];
    let value = rest.trim_start_matches([':', '=', '>', ' ', '\t', '"', '\'']);
    let from = end - value.len();
    // A private key in a variable has its own rule.
    let key_begins = value.find("-----BEGIN");
    let has_key = key_begins.is_some();
    let value = &value[..key_begins.unwrap_or(value.len())];
    let value = value.trim_end_matches(TRAILING);
    let key = found[..sign].to_ascii_lowercase();
    let placeholder = [
        "null",
        "none",
        "true",
        "false",
        "required",
        "optional",
        "redacted",
        "changeme",
        "string",
        "undefined",
        "reset",
    ];
    if value.len() < 4
        || placeholder.iter().any(|word| value.eq_ignore_ascii_case(word))
        || value.starts_with(['$', '{', '%', '*', '<', '['])
    {
        return None;
    }
    // `secret: a plain word` is prose, `password: hunter` may be one.
    let digit = value.bytes().any(|byte| byte.is_ascii_digit());
    let mark = value.bytes().any(|byte| byte.is_ascii_punctuation());
    let strong = digit
        || mark
        || rest.starts_with('=')
        || key.contains("pass")
        || key.contains("pwd")
        || key.contains("kennwort");
    if !strong {
        return None;
    }
    // The match has a bounded length, and a long value goes on.
    let is_cut = !has_key && text[end..].starts_with(continues_value);
    let (to, rank) = match is_cut || !has_key && end == text.len() {
        true => (from.max(value_end(text, end, open)), if is_cut { Rank::Validated } else { Rank::Labelled }),
        false => (from + value.len(), Rank::Labelled),
    };
    let confidence = if digit || mark { 95 } else { 70 };
    Some(Candidate::new((from, to), Kind::Secret, rank, confidence, "assignment").labelled(start, start + sign))
}
