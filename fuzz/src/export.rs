//! Exports: the import rejects a changed export as a whole.

use std::sync::{Mutex, PoisonError};

use masker_core::export::{EntryReader, ExportEntry, ExportError, ExportHeader, ListPositions, PREFIX_BYTES};

use super::{bench::Bench, edits::edited, request::statuses};

/// Checks an input. The first byte selects how the others are used: as a header, as entries, as a file, or as edits to a
/// valid export.
pub fn check(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b'h', header)) => check_header(header),
        Some((b'e', entries)) => check_entries(entries),
        Some((b'f', file)) => check_import(|_| file.to_vec()),
        Some((_, edits)) => check_import(|export| edited(export, edits)),
        None => {}
    }
}

/// Checks that a parsed header encodes to the same bytes.
fn check_header(bytes: &[u8]) {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else { return };
    let Ok(length) = ExportHeader::fields_bytes(prefix) else { return };
    let Some(fields) = rest.get(..length) else { return };
    if let Ok(header) = ExportHeader::parse_fields(fields) {
        assert!(header.encode() == bytes[..PREFIX_BYTES + length], "a header has one layout");
    }
}

/// Checks that the entries do not depend on how the input is split.
fn check_entries(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    assert_eq!(read(bytes, bytes.len().max(1)), read(bytes, usize::from(piece).max(1)));
}

type Entry = (u8, Vec<u8>, ListPositions, Vec<u8>);

fn read(bytes: &[u8], piece: usize) -> (Vec<Entry>, Option<ExportError>, bool) {
    let (mut reader, mut entries) = (EntryReader::default(), Vec::new());
    for piece in bytes.chunks(piece) {
        reader.push(piece);
        loop {
            match reader.take_next() {
                Ok(Some(ExportEntry::Record(id, positions, row))) => {
                    entries.push((b'r', id.to_vec(), positions, row.to_vec()));
                }
                Ok(Some(ExportEntry::Tombstone(id, row))) => {
                    entries.push((b't', id.to_vec(), ListPositions::default(), row.to_vec()));
                }
                Ok(Some(ExportEntry::Control { key, row })) => {
                    entries.push((b'x', key.to_vec(), ListPositions::default(), row.to_vec()));
                }
                Ok(Some(ExportEntry::End(counts))) => {
                    let count = |wanted| entries.iter().filter(|(kind, ..)| *kind == wanted).count() as u64;
                    let counted = (count(b'r'), count(b't'), count(b'x'));
                    assert_eq!((counts.records, counts.tombstones, counts.control_rows), counted, "a count is wrong");
                }
                Ok(None) => break,
                Err(error) => return (entries, Some(error), false),
            }
        }
    }
    (entries, None, reader.is_at_end())
}

/// A service, and an export of its vault.
struct Imports {
    bench: Bench,
    export: Vec<u8>,
}

fn check_import(change: impl FnOnce(&[u8]) -> Vec<u8>) {
    static IMPORTS: Mutex<Option<Imports>> = Mutex::new(None);
    let mut slot = IMPORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let imports = slot.take().unwrap_or_else(Imports::new);
    let file = change(&imports.export);
    let before = imports.bench.records();
    let answer = imports.bench.exchange(&request("/api/v1/vault/import", &file));
    let expected = if file == imports.export { 200 } else { 422 };
    let statuses = statuses(&answer, true);
    let output = String::from_utf8_lossy(&answer);
    // An empty body is rejected with 400.
    assert!(statuses == [expected] || (file.is_empty() && statuses == [400]), "expected {expected}, got {output}");
    assert_eq!(imports.bench.records(), before, "the import added records");
    *slot = Some(imports);
}

impl Imports {
    fn new() -> Self {
        let bench = Bench::new();
        let items: Vec<String> =
            (0..12).map(|number| format!(r#"{{"kind":"NAME","value":"somebody {number}"}}"#)).collect();
        let body = format!(r#"{{"items":[{}]}}"#, items.join(","));
        let tokens = body_of(&bench.exchange(&request("/api/v1/tokenize", body.as_bytes())));
        let tokens: serde_json::Value = serde_json::from_slice(&tokens).expect("tokens");
        let forget = format!(r#"{{"tokens":[{}]}}"#, tokens["results"][0]["token"]);
        assert!(bench.exchange(&request("/api/v1/forget", forget.as_bytes())).starts_with(b"HTTP/1.1 200 "));
        assert_eq!(bench.records(), 11);
        // With control rows, which the import leaves out.
        let export = body_of(&bench.exchange(&request("/api/v1/vault/export?control=true", b"")));
        Imports { bench, export }
    }
}

fn request(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: masker\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Returns the body of a complete response.
fn body_of(answer: &[u8]) -> Vec<u8> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let (head, mut rest) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    if !head.to_ascii_lowercase().contains("transfer-encoding") {
        return rest.to_vec();
    }
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").expect("a chunk");
        let length = std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let length = length.expect("the length of a chunk");
        if length == 0 {
            return body;
        }
        rest = &rest[end + 2..];
        body.extend_from_slice(&rest[..length]);
        rest = &rest[length + 2..];
    }
}
