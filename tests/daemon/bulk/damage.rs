//! Random tables, each damaged in one byte, through the real program and a real daemon: no value gets through, and what is
//! accepted comes back. The tests of the command line's crate compare many more with an independent reader.

use std::fs::{self, File};

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng, seq::IndexedRandom};

use super::{command, ended, masker, start};
use crate::harness::Site;

const TABLES: u64 = 60;

#[test]
fn damaged_tables_leak_nothing_and_come_back_or_fail() {
    let site = Site::new();
    let daemon = start(&site);
    let seed = 0xDA3A6E;
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut refused = 0;
    for number in 0..TABLES {
        let line_end = *["\n", "\r\n", "\r"].choose(&mut random).unwrap();
        let mut table = format!("id,note,phone,text{line_end}").into_bytes();
        for row in 0..random.random_range(3..30) {
            let mut content =
                || (0..4).map(|_| *["a", "\"\"", ",", "\n", "é"].choose(&mut random).unwrap()).collect::<String>();
            let (note, phone, text) = (content(), content(), content());
            table
                .extend_from_slice(format!("{row},\"{note}\",\"SECRET{phone}SECRET\",\"{text}\"{line_end}").as_bytes());
        }
        // Each byte of the structure, in turn.
        let places: Vec<usize> = (0..table.len()).filter(|at| b"\",\r\n".contains(&table[*at])).collect();
        let at = *places.choose(&mut random).unwrap();
        match number % 4 {
            0 => drop(table.remove(at)),
            1 => table.insert(at, table[at]),
            2 => table.truncate(random.random_range(0..table.len())),
            _ => table.insert(random.random_range(0..table.len()), *b"\",\n".choose(&mut random).unwrap()),
        }
        let line = "tokenize --csv --column phone=CARD";
        let file = site.path("table.csv");
        fs::write(&file, &table).unwrap();
        let mut from_file = command(&daemon, line);
        from_file.stdin(File::open(&file).unwrap());
        let (piped, from_file) = (masker(&daemon, line, &table), ended(from_file));
        let shown = String::from_utf8_lossy(&table).into_owned();
        for swapped in [&piped, &from_file] {
            let output = String::from_utf8_lossy(&swapped.stdout);
            assert!(!output.contains("SECRET") && !swapped.stderr.contains("SECRET"), "{number}: {shown:?}");
        }
        assert_eq!(piped.code, from_file.code, "{number}: {shown:?}");
        if piped.code != Some(0) {
            refused += 1;
            continue;
        }
        let back = masker(&daemon, "rehydrate --csv --column phone", &piped.stdout).whole();
        assert!(back == table && from_file.stdout == piped.stdout, "{number}: {shown:?}");
    }
    println!("{refused} of {TABLES} refused");
    assert!(refused > TABLES / 3 && refused < TABLES, "{refused}");
    daemon.stop();
}
