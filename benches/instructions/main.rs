//! Counts the instructions of the core operations with callgrind and compares them with `counts.toml`.
//!
//! `make bench-check` fails if an operation takes 5 % more instructions than recorded; `make bench-check-update` records
//! the current counts. Both run this program under valgrind, once for each operation.
//!
//! The crates that wrap callgrind need a separately installed runner of exactly the same version, so this program invokes
//! callgrind directly.
//!
//! Unlike times, counts hardly depend on the machine and its load: random numbers change them by a fraction of a percent.
//! They depend on the compiler, the dependencies and the C library, so an update of those may require an update of the
//! counts. Valgrind emulates a CPU with AES, carry-less multiplication and AVX2 if the host has them, but without SHA
//! extensions and AVX-512. The counts therefore include a software SHA-256 and a narrower AES than the one used in
//! production. Compare an operation only with itself. Counts do not predict times: measure those with `cargo bench` and
//! `make bench-peers`.

mod operations;

use std::{
    collections::BTreeMap,
    fs,
    hint::black_box,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use operations::Operation;
use serde::{Deserialize, Serialize};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The largest accepted increase, in percent.
const INCREASE_PERCENT_MAX: f64 = 5.0;
/// Uncounted calls before the counted ones, so that buffers have grown and lazy values are initialized.
const WARM: usize = 3;
/// The pattern by which callgrind finds the function to count.
const MEASURED: &str = "*counted_by_callgrind*";
/// The argument that makes this program run one operation, named by the next argument, to be counted.
const COUNTED: &str = "--counted";
const HEADING: &str = "# Instructions per call of each operation, as counted by `make bench-check` (benches/instructions/main.rs).\n\
                       # `make bench-check-update` writes this file.\n\n";

/// The contents of `counts.toml`.
#[derive(Deserialize, Serialize)]
struct Counts {
    /// The version of the compiler.
    rustc: String,
    /// Instructions per call, by operation.
    instructions: BTreeMap<String, u64>,
}

fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(index) = arguments.iter().position(|argument| argument == COUNTED) {
        let wanted = arguments.get(index + 1).ok_or("the name of the operation is missing")?;
        let found = operations::all()?.into_iter().find(|(name, _)| name == wanted);
        run(found.ok_or("unknown operation")?.1);
        return Ok(ExitCode::SUCCESS);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/counts.toml");
    let counted = Counts { rustc: rustc()?, instructions: count()? };
    if arguments.iter().any(|argument| argument == "--update") {
        fs::write(&file, format!("{HEADING}{}", toml::to_string(&counted)?))?;
        println!("{} operations: {}", counted.instructions.len(), file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let recorded: Counts = toml::from_str(&fs::read_to_string(&file)?)?;
    Ok(if compare(&recorded, &counted) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs an operation: first the uncounted calls, then the counted ones.
fn run(mut operation: Operation) {
    for _ in 0..WARM {
        (operation.work)();
    }
    counted_by_callgrind(&mut operation);
}

#[inline(never)]
fn counted_by_callgrind(operation: &mut Operation) {
    for _ in 0..black_box(operation.calls) {
        (operation.work)();
    }
}

/// Runs this program under callgrind for each operation.
fn count() -> Outcome<BTreeMap<String, u64>> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let out = folder.path().join("out");
    let mut counts = BTreeMap::new();
    for (name, operation) in operations::all()? {
        let status = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
            .arg(format!("--toggle-collect={MEASURED}"))
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(std::env::current_exe()?)
            .args([COUNTED, name])
            // The environment must not influence the counts.
            .env_clear()
            .stdin(Stdio::null())
            .status()
            .map_err(|error| format!("failed to start valgrind ({error}); `scripts/deps bench` installs it"))?;
        if !status.success() {
            return Err(format!("{name}: valgrind failed: {status}").into());
        }
        let text = fs::read_to_string(&out)?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
        let total =
            total.filter(|total| *total > 0).ok_or_else(|| format!("{name}: callgrind counted no instructions"))?;
        counts.insert(name.to_owned(), total / operation.calls);
    }
    Ok(counts)
}

/// Prints each operation's recorded and current counts. Returns whether every operation is recorded and none exceeds the
/// accepted increase.
fn compare(recorded: &Counts, counted: &Counts) -> bool {
    println!("{:<34} {:>12} {:>12} {:>9}", "instructions per call", "recorded", "now", "change");
    let mut passed = true;
    for (name, now) in &counted.instructions {
        let Some(before) = recorded.instructions.get(name) else {
            println!("{name:<34} {:>12} {now:>12}           not recorded: run `make bench-check-update`", "");
            passed = false;
            continue;
        };
        let change = (*now as f64 / *before as f64 - 1.0) * 100.0;
        let exceeded = change > INCREASE_PERCENT_MAX;
        println!("{name:<34} {before:>12} {now:>12} {change:>+8.2}%{}", if exceeded { "  too high" } else { "" });
        passed &= !exceeded;
    }
    for name in recorded.instructions.keys().filter(|name| !counted.instructions.contains_key(*name)) {
        println!("{name:<34} is recorded but no longer measured: run `make bench-check-update`");
        passed = false;
    }
    if !passed {
        println!(
            "\nThe counts differ: an increase over {INCREASE_PERCENT_MAX} %, or a new or removed operation. `make bench-check-update` accepts them."
        );
        if recorded.rustc != counted.rustc {
            println!("The recorded counts are from {}, the current ones from {}.", recorded.rustc, counted.rustc);
        }
    }
    passed
}

fn rustc() -> Outcome<String> {
    let out = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output()?;
    Ok(String::from_utf8(out.stdout)?.trim().to_owned())
}
