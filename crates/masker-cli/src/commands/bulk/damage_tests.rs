//! Random tables, sound and damaged in one byte, through the reader, the chunks with a fake daemon, and the held output, as a run
//! puts them together: no value of a column that is swapped is in the output, and a run that ends at its first failure has the
//! output that an independent reader expects.

use std::{
    io::{self, Read},
    sync::Arc,
};

use clap::Parser;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng, seq::IndexedRandom};
use serde_json::{Value, json};

use super::{
    fill,
    held::{HeldOutput, WaitFor},
    plan::BulkPlan,
    reader::ChunkReader,
};
use crate::args::{Arguments, ClientCommand, Command};

/// Only values of swapped columns contain it.
const MARK: char = 'X';
const TABLES: u64 = 1_000;

/// Returns pieces of random sizes, as a pipe does.
struct Pieces(Vec<u8>, ChaCha8Rng);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.1.random_range(1..=40).min(self.0.len()).min(buffer.len());
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0.drain(..length);
        Ok(length)
    }
}

/// Swaps a value for the token of the fake daemon, or back.
fn fake_swap(item: &Value) -> Value {
    match item {
        Value::String(token) => {
            let value =
                token.strip_prefix("MSKV1.A.K.").and_then(|hex| data_encoding::HEXLOWER.decode(hex.as_bytes()).ok());
            match value {
                Some(value) => json!({"value": String::from_utf8(value).unwrap()}),
                None => json!({"error": {"code": "token.malformed", "detail": "not a token"}}),
            }
        }
        item => json!({"token": token(item["value"].as_str().unwrap())}),
    }
}

fn token(value: &str) -> String {
    format!("MSKV1.A.K.{}", data_encoding::HEXLOWER.encode(value.as_bytes()))
}

/// What the input of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Pipe,
    File,
}

/// Runs a command line on an input. Returns the output, and whether the run succeeded.
fn run(source: Source, line: &[String], input: &[u8], random: &mut ChaCha8Rng) -> (Vec<u8>, bool) {
    let arguments = Arguments::try_parse_from(line).unwrap();
    let plan = match arguments.command {
        Command::Client(ClientCommand::Tokenize(args)) => BulkPlan::tokenize(&args),
        Command::Client(ClientCommand::Rehydrate(args)) => BulkPlan::rehydrate(&args),
        _ => panic!("{line:?}"),
    };
    let plan = Arc::new(plan.unwrap());
    let pieces = Pieces(input.to_vec(), ChaCha8Rng::seed_from_u64(random.random()));
    let Ok(mut reader) = ChunkReader::open(Arc::clone(&plan), pieces) else { return (Vec::new(), false) };
    let wait_for = match source {
        Source::Pipe => WaitFor::Input,
        Source::File => {
            let checked = ChunkReader::open(Arc::clone(&plan), io::Cursor::new(input.to_vec())).unwrap().check();
            if !matches!(checked, Ok(None)) {
                return (Vec::new(), false);
            }
            WaitFor::Columns
        }
    };
    let mut held = HeldOutput::new(wait_for, reader.header());
    let (mut output, mut failed) = (Vec::new(), false);
    loop {
        let chunk = match reader.next_chunk() {
            Err(_) => return (output, false),
            Ok(None) => break,
            Ok(Some(chunk)) => chunk,
        };
        let answers: Vec<(String, usize)> = chunk
            .bodies(&plan)
            .iter()
            .map(|(body, sent)| {
                let body: Value = serde_json::from_slice(body).unwrap();
                let items = body["items"].as_array().or(body["tokens"].as_array()).unwrap();
                let results: Vec<Value> = items.iter().map(fake_swap).collect();
                (json!({"results": results}).to_string(), *sent)
            })
            .collect();
        let mut outcomes = Vec::new();
        for (answer, sent) in &answers {
            fill::add_outcomes(serde_json::from_str(answer).unwrap(), *sent, &mut outcomes).unwrap();
        }
        let mut swapped = fill::fill(chunk, &plan, outcomes, None);
        held.add(&mut swapped);
        while let Some((text, _)) = held.next_due() {
            output.extend_from_slice(&text);
        }
        failed |= !swapped.failures.is_empty();
        if swapped.is_last {
            if swapped.failures[0].column.is_some() && held.may_end() {
                break;
            }
            return (output, false);
        }
        if swapped.ended.is_some() {
            return (output, false);
        }
    }
    while let Some((text, _)) = held.next() {
        output.extend_from_slice(&text);
    }
    (output, !failed)
}

/// A random table and the columns to swap, from 0.
#[derive(Debug)]
struct Table {
    text: Vec<u8>,
    delimiter: u8,
    header: bool,
    swapped: Vec<usize>,
}

impl Table {
    fn random(random: &mut ChaCha8Rng) -> Self {
        let width = random.random_range(1..=5);
        let delimiter = *b",;\t|".choose(random).unwrap();
        let header = random.random_bool(0.7);
        let mut swapped: Vec<usize> = (0..width).filter(|_| random.random_bool(0.5)).collect();
        if swapped.is_empty() {
            swapped.push(random.random_range(0..width));
        }
        let ends: &[&str] = [&["\n"][..], &["\r\n"], &["\r"], &["\n", "\r\n"]].choose(random).unwrap();
        let mut text = if random.random_bool(0.1) { "\u{feff}".as_bytes().to_vec() } else { Vec::new() };
        // Of two rows that have lost the line end between them, a table without a header has no trace.
        let rows = random.random_range(3..=9);
        for row in 0..rows {
            for column in 0..width {
                text.extend((column > 0).then_some(delimiter));
                let content = match (row == 0 && header, swapped.contains(&column)) {
                    (true, _) => format!("c{column}"),
                    (false, true) if random.random_bool(0.9) => {
                        let marks = MARK.to_string().repeat(random.random_range(1..4));
                        format!("{marks}{}{marks}", structural(random, delimiter))
                    }
                    // An empty cell is a null or an empty string.
                    (false, true) => String::new(),
                    (false, false) => structural(random, delimiter),
                };
                let must = content.contains(['"', '\n', '\r', char::from(delimiter)]);
                // A row of one empty cell would be an empty line.
                if must || random.random_bool(0.3) || (width == 1 && content.is_empty()) {
                    text.extend_from_slice(format!("\"{}\"", content.replace('"', "\"\"")).as_bytes());
                } else {
                    text.extend_from_slice(content.as_bytes());
                }
            }
            if row + 1 < rows || random.random_bool(0.7) {
                text.extend_from_slice(ends.choose(random).unwrap().as_bytes());
            }
        }
        Table { text, delimiter, header, swapped }
    }

    /// Returns the command line, for `tokenize` or `rehydrate`.
    fn line(&self, command: &str, on_error: &str, random: &mut ChaCha8Rng) -> Vec<String> {
        let batch = random.random_range(1..9).to_string();
        let delimiter = char::from(self.delimiter).to_string();
        let mut line: Vec<String> = ["masker", command, "--csv", "--delimiter", &delimiter, "--batch", &batch]
            .iter()
            .map(|word| (*word).to_owned())
            .collect();
        line.extend(["--on-error".to_owned(), on_error.to_owned()]);
        line.extend((!self.header).then(|| "--no-header".to_owned()));
        for column in &self.swapped {
            let name = if self.header { format!("c{column}") } else { (column + 1).to_string() };
            line.push("--column".to_owned());
            line.push(if command == "tokenize" { format!("{name}=A") } else { name });
        }
        line
    }

    /// Damages the text in one structural byte: one is removed, doubled or added, or the text is cut short.
    fn damage(&mut self, random: &mut ChaCha8Rng) {
        let structural = [b'"', self.delimiter, b'\n', b'\r'];
        let places: Vec<usize> = (0..self.text.len()).filter(|at| structural.contains(&self.text[*at])).collect();
        match (random.random_range(0..4), places.choose(random)) {
            (0, Some(at)) => drop(self.text.remove(*at)),
            (1, Some(at)) => self.text.insert(*at, self.text[*at]),
            (2, _) => self.text.truncate(random.random_range(0..self.text.len())),
            _ => {
                let at = random.random_range(0..=self.text.len());
                self.text.insert(at, *structural.choose(random).unwrap());
            }
        }
    }

    /// Returns the output that is expected, and whether the run succeeds.
    fn expected(&self) -> (Vec<u8>, bool) {
        let mark = "\u{feff}".as_bytes();
        let (mut output, text) = match self.text.strip_prefix(mark) {
            Some(text) => (mark.to_vec(), text),
            None => (Vec::new(), &self.text[..]),
        };
        let (rows, is_sound) = read(text, self.delimiter);
        let Some(first) = rows.first() else {
            let sound = is_sound && !self.header;
            return (if sound { output } else { Vec::new() }, sound);
        };
        let width = first.cells.len();
        let columns: Vec<usize> = if self.header {
            let names: Vec<Vec<u8>> = first.cells.iter().map(|cell| content(cell)).collect();
            let wanted: Vec<Vec<u8>> = self.swapped.iter().map(|column| format!("c{column}").into_bytes()).collect();
            if wanted.iter().any(|name| names.iter().filter(|other| *other == name).count() != 1) {
                return (Vec::new(), false);
            }
            (0..width).filter(|column| wanted.contains(&names[*column])).collect()
        } else if self.swapped.iter().any(|column| *column >= width) {
            return (Vec::new(), false);
        } else {
            self.swapped.clone()
        };
        if self.header {
            output.extend_from_slice(&first.raw(self.delimiter));
        }
        let (mut agreeing, mut rows_before, mut is_damaged, mut sound) = (0, 0, !is_sound, is_sound);
        for row in &rows[usize::from(self.header)..] {
            let is_empty = row.cells.len() == 1 && row.cells[0].is_empty() && width > 1;
            let fits = row.cells.len() == width;
            let is_text = |column: &usize| std::str::from_utf8(&row.cells[*column]).is_ok();
            if !is_empty && fits {
                agreeing += 1;
            }
            if !(is_empty || fits && columns.iter().all(is_text)) {
                sound = false;
                is_damaged = !fits;
                break;
            }
            rows_before += 1;
            let mut swapped = row.clone();
            for column in columns.iter().filter(|_| !is_empty) {
                let cell = &row.cells[*column];
                let value = content(cell);
                if !value.is_empty() {
                    let token = token(std::str::from_utf8(&value).unwrap());
                    swapped.cells[*column] =
                        if cell.starts_with(b"\"") { format!("\"{token}\"") } else { token }.into_bytes();
                }
            }
            output.extend_from_slice(&swapped.raw(self.delimiter));
        }
        // The rows before one that is damaged are not written; those before one whose value fails are, once the width is sure.
        let sure = rows_before > 0 && agreeing >= if self.header { 1 } else { 3 };
        if !sound && (is_damaged || !sure) {
            output.clear();
        }
        (output, sound)
    }
}

fn structural(random: &mut ChaCha8Rng, delimiter: u8) -> String {
    let delimiter = char::from(delimiter).to_string();
    let alphabet = ["a", "é", "\"", "\n", "\r\n", "\\", "0", &delimiter];
    (0..random.random_range(0..5)).map(|_| *alphabet.choose(random).unwrap()).collect()
}

/// A row as the independent reader sees it.
#[derive(Clone)]
struct Row {
    /// The cells with their quotes.
    cells: Vec<Vec<u8>>,
    end: Vec<u8>,
}

impl Row {
    fn raw(&self, delimiter: u8) -> Vec<u8> {
        [self.cells.join(&delimiter), self.end.clone()].concat()
    }
}

/// Returns the rows before the first malformed one, and whether there is none.
fn read(text: &[u8], delimiter: u8) -> (Vec<Row>, bool) {
    let mut rows = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let mut cells = Vec::new();
        loop {
            let start = at;
            if text.get(at) == Some(&b'"') {
                // An even number of quotes, of which the last is not followed by another.
                at += 1;
                loop {
                    match (text.get(at), text.get(at + 1)) {
                        (None, _) => return (rows, false),
                        (Some(b'"'), Some(b'"')) => at += 2,
                        (Some(b'"'), _) => break,
                        _ => at += 1,
                    }
                }
                at += 1;
            } else {
                at += text[at..].iter().take_while(|byte| ![b'\n', b'\r', delimiter].contains(byte)).count();
                if text[start..at].contains(&b'"') {
                    return (rows, false);
                }
            }
            cells.push(text[start..at].to_vec());
            match text.get(at) {
                Some(byte) if *byte == delimiter => at += 1,
                None | Some(b'\n' | b'\r') => break,
                Some(_) => return (rows, false),
            }
        }
        let end: &[u8] = match &text[at..] {
            [b'\r', b'\n', ..] => b"\r\n",
            [byte, ..] => &[*byte],
            [] => b"",
        };
        at += end.len();
        rows.push(Row { cells, end: end.to_vec() });
    }
    (rows, true)
}

/// Returns the content of a cell.
fn content(cell: &[u8]) -> Vec<u8> {
    match cell.strip_prefix(b"\"").and_then(|cell| cell.strip_suffix(b"\"")) {
        Some(quoted) => String::from_utf8_lossy(quoted).replace("\"\"", "\"").into_bytes(),
        None => cell.to_vec(),
    }
}

/// Returns the generator of the table with this number.
fn seeded(number: u64) -> ChaCha8Rng {
    let seed = std::env::var("MASKER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x7AB1E_u64);
    if number == 0 {
        println!("MASKER_SEED={seed}");
    }
    ChaCha8Rng::seed_from_u64(seed.wrapping_add(number))
}

#[test]
fn sound_tables_come_back_byte_for_byte() {
    for number in 0..TABLES {
        let mut random = seeded(number);
        let table = Table::random(&mut random);
        let (tokens, succeeded) =
            run(Source::Pipe, &table.line("tokenize", "stop", &mut random), &table.text, &mut random);
        assert!(succeeded && !tokens.contains(&(MARK as u8)), "{number}: {table:?}");
        assert_eq!((&tokens, true), (&table.expected().0, table.expected().1), "{number}: {table:?}");
        let (back, succeeded) = run(Source::File, &table.line("rehydrate", "stop", &mut random), &tokens, &mut random);
        assert!(succeeded && back == table.text, "{number}: {table:?}");
    }
}

#[test]
fn damaged_tables_leak_nothing_and_have_the_expected_output() {
    let mut refused = 0;
    for number in 0..TABLES {
        let mut random = seeded(number);
        let mut table = Table::random(&mut random);
        table.damage(&mut random);
        let (expected, sound) = table.expected();
        for source in [Source::Pipe, Source::File] {
            let line = table.line("tokenize", "stop", &mut random);
            let (output, succeeded) = run(source, &line, &table.text, &mut random);
            let output = String::from_utf8_lossy(&output);
            assert!(!output.contains(MARK), "{number}: {source:?}: {table:?}: {output:?}");
            let expected = String::from_utf8_lossy(&expected);
            assert_eq!((&output, succeeded), (&expected, sound), "{number}: {source:?}: {table:?}");
        }
        refused += u64::from(!sound);
    }
    println!("{refused} of {TABLES} refused");
    assert!(refused > TABLES / 3, "{refused}");
}

#[test]
fn runs_that_go_on_after_failures_leak_nothing() {
    for number in 0..TABLES {
        let mut random = seeded(number);
        let mut table = Table::random(&mut random);
        table.damage(&mut random);
        let (_, sound) = table.expected();
        for on_error in ["keep-row-empty", "keep-others"] {
            for source in [Source::Pipe, Source::File] {
                let line = table.line("tokenize", on_error, &mut random);
                let (output, succeeded) = run(source, &line, &table.text, &mut random);
                let output = String::from_utf8_lossy(&output);
                assert!(!output.contains(MARK), "{number}: {source:?} {on_error}: {table:?}: {output:?}");
                assert_eq!(succeeded, sound, "{number}: {source:?} {on_error}: {table:?}");
            }
        }
    }
}
