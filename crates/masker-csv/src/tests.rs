//! Properties of reading and quoting, on seeded random text.

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng, seq::IndexedRandom};

use super::{Cell, Dialect, Quoting, RowEnd, RowError, RowScanner};

const STRICT: Dialect = Dialect { delimiter: b',', quoting: Quoting::Strict, escape: None };

/// Returns a generator, and prints its seed.
fn seeded(seed: u64) -> ChaCha8Rng {
    println!("seed {seed}");
    ChaCha8Rng::seed_from_u64(seed)
}

/// A row: its bytes, its end and its cells.
type Row<'t> = (&'t [u8], RowEnd, Vec<Cell>);

/// Splits a text into rows.
fn rows(dialect: Dialect, mut text: &[u8]) -> Result<Vec<Row<'_>>, RowError> {
    let mut scanner = RowScanner::new(dialect);
    let mut rows = Vec::new();
    while !text.is_empty() {
        scanner.begin();
        let end = scanner.scan(text, true)?.expect("the input ends");
        rows.push((&text[..end.total], end, scanner.cells().to_vec()));
        text = &text[end.total..];
    }
    Ok(rows)
}

/// Returns the decoded cells of every row.
fn decoded(dialect: Dialect, text: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, RowError> {
    let decode = |row: &[u8], cell: &Cell| dialect.decode(row, cell, &mut Vec::new()).to_vec();
    let rows = rows(dialect, text)?.into_iter();
    Ok(rows.map(|(row, _, cells)| cells.iter().map(|cell| decode(row, cell)).collect()).collect())
}

/// Returns the rows as the csv crate reads them: it leaves out empty lines.
fn by_csv(delimiter: u8, text: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new();
    let reader = reader.has_headers(false).flexible(true).delimiter(delimiter).from_reader(text);
    reader.into_byte_records().map(|row| row.unwrap().iter().map(<[u8]>::to_vec).collect()).collect()
}

/// Returns the rows without those that are an empty line.
fn without_empty_lines(dialect: Dialect, text: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, RowError> {
    let all = rows(dialect, text)?;
    let kept = decoded(dialect, text)?.into_iter().zip(all).filter(|(_, (_, end, _))| end.content > 0);
    Ok(kept.map(|(cells, _)| cells).collect())
}

fn random_text(random: &mut ChaCha8Rng, alphabet: &[&str], length: usize) -> Vec<u8> {
    let pieces = (0..random.random_range(0..=length)).map(|_| *alphabet.choose(random).unwrap());
    pieces.collect::<String>().into_bytes()
}

#[test]
fn well_formed_tables_are_read_as_the_csv_crate_reads_them() {
    let mut random = seeded(0xC5);
    for _ in 0..2_000 {
        let delimiter = *b",;\t|".choose(&mut random).unwrap();
        let dialect = Dialect { delimiter, ..STRICT };
        let alphabet = ["a", "é", "\"", ",", ";", "\t", "|", "\n", "\r", "\r\n", "\\", " ", "0"];
        let (mut text, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..random.random_range(0..8) {
            let cells: Vec<_> =
                (0..random.random_range(1..5)).map(|_| random_text(&mut random, &alphabet, 6)).collect();
            for (index, cell) in cells.iter().enumerate() {
                text.extend((index > 0).then_some(delimiter));
                // A row of one empty cell is not an empty line.
                let quoted = random.random_bool(0.3) || cells.len() == 1;
                dialect.encode(cell, quoted, &mut text).unwrap();
            }
            text.extend_from_slice(["\n", "\r\n", "\r"].choose(&mut random).unwrap().as_bytes());
            expected.push(cells);
        }
        assert_eq!(decoded(dialect, &text).as_ref(), Ok(&expected), "{:?}", String::from_utf8_lossy(&text));
        assert_eq!(by_csv(delimiter, &text), expected, "{:?}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn accepted_text_is_read_as_the_csv_crate_reads_it() {
    let mut random = seeded(0xACC);
    let mut accepted = 0;
    for _ in 0..50_000 {
        let text = random_text(&mut random, &["a", "\"", "\"", ",", "\n", "\r", "é"], 12);
        if let Ok(rows) = without_empty_lines(STRICT, &text) {
            accepted += 1;
            assert_eq!(rows, by_csv(b',', &text), "{:?}", String::from_utf8_lossy(&text));
        }
    }
    assert!(accepted > 5_000, "{accepted}");
}

#[test]
fn the_bytes_of_the_rows_are_the_text() {
    let mut random = seeded(0xB17E);
    for _ in 0..10_000 {
        let quoting = *[Quoting::Strict, Quoting::Lenient, Quoting::None].choose(&mut random).unwrap();
        let dialect = Dialect { delimiter: b',', quoting, escape: random.random_bool(0.5).then_some(b'\\') };
        let text = random_text(&mut random, &["a", "\"", ",", "\n", "\r", "\\"], 12);
        let Ok(rows) = rows(dialect, &text) else { continue };
        assert_eq!(rows.iter().map(|(row, ..)| *row).collect::<Vec<_>>().concat(), text);
        for (row, end, cells) in rows {
            // Each cell begins after the delimiter of the one before.
            let starts = std::iter::once(0).chain(cells.iter().map(|cell| cell.end + 1));
            assert!(starts.zip(&cells).all(|(start, cell)| start == cell.start), "{row:?}");
            assert_eq!(cells.last().map(|cell| cell.end), Some(end.content));
            let content = String::from_utf8_lossy(&row[..end.content]).replace("\r\n", "\n");
            assert_eq!(end.breaks, content.matches(['\r', '\n']).count() as u64, "{row:?}");
        }
    }
}

#[test]
fn rows_that_arrive_in_pieces_are_the_same() {
    let mut random = seeded(0x9);
    for _ in 0..10_000 {
        let dialect = Dialect { escape: random.random_bool(0.3).then_some(b'\\'), ..STRICT };
        let text = random_text(&mut random, &["a", "\"", "\"", ",", "\n", "\r", "\\"], 10);
        let mut whole = RowScanner::new(dialect);
        let expected = whole.scan(&text, true);
        let mut pieces = RowScanner::new(dialect);
        let mut end = Ok(None);
        for length in 0..=text.len() {
            end = pieces.scan(&text[..length], false);
            if end != Ok(None) {
                break;
            }
        }
        let end = if end == Ok(None) { pieces.scan(&text, true) } else { end };
        assert_eq!(end, expected, "{:?}", String::from_utf8_lossy(&text));
        if end.is_ok() {
            assert_eq!(pieces.cells(), whole.cells());
        }
        // A row that is skipped in pieces ends at the same place.
        let (mut skipping, mut skipped) = (RowScanner::new(dialect), 0);
        let skipped = loop {
            let length = random.random_range(0..3).min(text.len() - skipped);
            let is_end = skipped + length == text.len();
            match skipping.scan(&text[skipped..skipped + length], is_end) {
                Ok(None) => skipped += skipping.discard(),
                Ok(Some(end)) => break Ok((skipped + end.total, end.total - end.content)),
                Err(error) => break Err(error),
            }
        };
        let expected = expected.map(|end| end.map_or((0, 0), |end| (end.total, end.total - end.content)));
        assert_eq!(skipped, expected, "{:?}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn every_text_round_trips_in_every_dialect() {
    let mut random = seeded(0x7E);
    let alphabet = ["a", "N", "n", "\"", ",", "\t", "\n", "\r", "\\", "é", "0", "Z", "\u{0}"];
    for _ in 0..10_000 {
        let quoting = *[Quoting::Strict, Quoting::Lenient, Quoting::None].choose(&mut random).unwrap();
        let dialect = Dialect {
            delimiter: *b",\t".choose(&mut random).unwrap(),
            quoting,
            escape: random.random_bool(0.5).then_some(b'\\'),
        };
        let cells = [random_text(&mut random, &alphabet, 6), b"x".to_vec(), random_text(&mut random, &alphabet, 6)];
        let mut row = Vec::new();
        let mut refused = false;
        for (index, cell) in cells.iter().enumerate() {
            row.extend((index > 0).then_some(dialect.delimiter));
            refused |= dialect.encode(cell, random.random_bool(0.3), &mut row).is_err();
        }
        assert!(!refused || (quoting == Quoting::None && dialect.escape.is_none()), "{dialect:?} {cells:?}");
        if !refused {
            // A program that splits lines first, or ends texts at a NUL byte, reads the same cells.
            let escapes = |at: usize| row[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
            let is_bare = |at: usize| matches!(row[at], b'\n' | b'\r' | 0) && escapes(at) % 2 == 0;
            assert!(dialect.escape.is_none() || !(0..row.len()).any(is_bare), "{dialect:?} {cells:?}");
            assert_eq!(
                decoded(dialect, &row),
                Ok(vec![cells.to_vec()]),
                "{dialect:?} {:?}",
                String::from_utf8_lossy(&row)
            );
        }
    }
}

#[test]
fn text_that_other_programs_could_split_differently_is_an_error() {
    for (text, error) in [
        ("a,b\"c\n", RowError::QuoteInCell),
        ("a,b\"\n", RowError::QuoteInCell),
        ("a, \"b\"\n", RowError::QuoteInCell),
        ("\"a\"b,c\n", RowError::TextAfterQuote),
        ("\"a\" ,c\n", RowError::TextAfterQuote),
        ("\"\"a\"\",c\n", RowError::TextAfterQuote),
        ("\"a \\\" b\",c\n", RowError::TextAfterQuote),
        ("a,\"b\n", RowError::OpenQuote),
        ("a,\"b\"\"", RowError::OpenQuote),
        ("a,\"", RowError::OpenQuote),
    ] {
        assert_eq!(rows(STRICT, text.as_bytes()), Err(error), "{text:?}");
    }
    let escaped = Dialect { escape: Some(b'\\'), ..STRICT };
    assert_eq!(rows(escaped, b"a,b\\"), Err(RowError::OpenEscape));
}

#[test]
fn cells_keep_their_quotes_and_line_ends() {
    let text = b"\"\",\"\\N\",x\r\"a\r\nb\",\"\"\"\",\n\r\nlast";
    let rows = rows(STRICT, text).unwrap();
    let ends: Vec<_> = rows.iter().map(|(_, end, cells)| (end.content, end.total, end.breaks, cells.len())).collect();
    assert_eq!(ends, [(9, 10, 0, 3), (12, 13, 1, 3), (0, 2, 0, 1), (4, 4, 0, 1)]);
    assert!(rows[0].2[0].quoted && rows[0].2[1].quoted && !rows[0].2[2].quoted);
    assert_eq!(decoded(STRICT, text).unwrap()[1], [&b"a\r\nb"[..], b"\"", b""]);
}

#[test]
fn other_dialects_read_quotes_and_escapes_differently() {
    let lenient = Dialect { quoting: Quoting::Lenient, ..STRICT };
    assert_eq!(decoded(lenient, b"size 5\"10,\"a\"\"\"\n").unwrap(), [[&b"size 5\"10"[..], b"a\""]]);
    assert_eq!(rows(lenient, b"\"a\" b\n"), Err(RowError::TextAfterQuote));
    let plain = Dialect { delimiter: b'\t', quoting: Quoting::None, escape: None };
    assert_eq!(decoded(plain, b"\"a\tb\"\"\n").unwrap(), [[&b"\"a"[..], b"b\"\""]]);
    let mysql = Dialect { escape: Some(b'\\'), ..STRICT };
    assert_eq!(
        decoded(mysql, b"\"foo \\\" bar\",a\\,b\\\nc,\\0\\n\\\\,\"\"\n").unwrap(),
        [[&b"foo \" bar"[..], b"a,b\nc", b"\0\n\\", b""]]
    );
}

#[test]
fn escapes_are_written_as_mysql_writes_them() {
    let text = b"a\0b\nc\"d\\e\tf";
    for (dialect, quoted, written) in [
        (Dialect { escape: Some(b'\\'), ..STRICT }, false, &b"\"a\\0b\\\nc\\\"d\\\\e\tf\""[..]),
        (Dialect { escape: Some(b'\\'), delimiter: b'\t', quoting: Quoting::None }, false, b"a\\0b\\\nc\"d\\\\e\\\tf"),
        (STRICT, false, b"\"a\0b\nc\"\"d\\e\tf\""),
    ] {
        let mut cell = Vec::new();
        dialect.encode(text, quoted, &mut cell).unwrap();
        assert_eq!(cell, written, "{dialect:?}");
    }
    let mut cell = Vec::new();
    Dialect { escape: Some(b'\\'), ..STRICT }.encode(b"\0", false, &mut cell).unwrap();
    assert_eq!(cell, b"\"\\0\"");
}
