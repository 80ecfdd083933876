//! How many instructions the core operations take, counted by callgrind and held against `counts.toml`.
//!
//! `make bench-check` fails where an operation takes 5 % more than is written there; `make bench-check-update` writes what
//! they take now. Both run this program under valgrind, once for each operation.
//!
//! The crates that wrap callgrind want a runner that is installed beside them in the very same version; what is needed of it
//! is below.
//!
//! Times move with the machine and what else it does; counts hardly do: with how random numbers fall, by a small part of
//! a percent. They move with the compiler, the dependencies and the C library, so an update of those may need an update
//! of the counts. Valgrind shows programs a processor of its own: it has AES, carry-less multiplication and AVX2 where the
//! real one has them, and neither SHA extensions nor AVX-512. SHA-256 is therefore counted as software, and AES narrower
//! than it runs. So counts compare like with like, each operation with itself, and say nothing of time: `cargo bench` and
//! `make bench-peers` do.

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

/// A rise that is let pass, in percent.
const RISE_PERCENT: f64 = 5.0;
/// Unmeasured calls before the measured ones: buffers grow, and what is made once is made.
const WARM: usize = 3;
/// What is measured runs in a function of this name, which callgrind is told.
const MEASURED: &str = "*counted_by_callgrind*";
/// The argument under which this program is the one that is counted: one operation of it, whose name follows.
const COUNTED: &str = "--counted";
const HEADING: &str = "# Instructions of one call of each operation, as `make bench-check` counts them: benches/instructions/main.rs.\n\
                       # `make bench-check-update` writes this file.\n\n";

/// What `counts.toml` holds.
#[derive(Deserialize, Serialize)]
struct Counts {
    /// The compiler that they were counted with.
    rustc: String,
    /// By operation.
    instructions: BTreeMap<String, u64>,
}

fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == COUNTED) {
        let wanted = arguments.get(place + 1).ok_or("which operation is to be counted?")?;
        let found = operations::all()?.into_iter().find(|(name, _)| name == wanted);
        run(found.ok_or("there is no such operation")?.1);
        return Ok(ExitCode::SUCCESS);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/counts.toml");
    let counted = Counts { rustc: rustc()?, instructions: count()? };
    if arguments.iter().any(|argument| argument == "--update") {
        fs::write(&file, format!("{HEADING}{}", toml::to_string(&counted)?))?;
        println!("{} operations: {}", counted.instructions.len(), file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let kept: Counts = toml::from_str(&fs::read_to_string(&file)?)?;
    Ok(if compare(&kept, &counted) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Calls an operation as often as it wants, counted, after some calls that are not.
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
            // Nothing of the environment may change what is counted.
            .env_clear()
            .stdin(Stdio::null())
            .status()
            .map_err(|error| format!("valgrind did not start ({error}): `scripts/deps bench` installs it"))?;
        if !status.success() {
            return Err(format!("{name}: valgrind ended with {status}").into());
        }
        let text = fs::read_to_string(&out)?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
        let total = total.filter(|total| *total > 0).ok_or_else(|| format!("{name}: callgrind has counted nothing"))?;
        counts.insert(name.to_owned(), total / operation.calls);
    }
    Ok(counts)
}

/// Prints each operation beside what is kept of it, and says whether all of them are there and none has risen.
fn compare(kept: &Counts, counted: &Counts) -> bool {
    println!("{:<34} {:>12} {:>12} {:>9}", "instructions of one call", "kept", "now", "change");
    let mut well = true;
    for (name, now) in &counted.instructions {
        let Some(before) = kept.instructions.get(name) else {
            println!("{name:<34} {:>12} {now:>12}           not kept yet: `make bench-check-update`", "");
            well = false;
            continue;
        };
        let change = (*now as f64 / *before as f64 - 1.0) * 100.0;
        let risen = change > RISE_PERCENT;
        println!("{name:<34} {before:>12} {now:>12} {change:>+8.2}%{}", if risen { "  risen" } else { "" });
        well &= !risen;
    }
    for name in kept.instructions.keys().filter(|name| !counted.instructions.contains_key(*name)) {
        println!("{name:<34} is kept, and not measured any more: `make bench-check-update`");
        well = false;
    }
    if !well {
        println!(
            "\nAn operation takes over {RISE_PERCENT} % more than before, or is not known. `make bench-check-update` accepts it."
        );
        if kept.rustc != counted.rustc {
            println!("The counts that are kept are of {}, these of {}.", kept.rustc, counted.rustc);
        }
    }
    well
}

fn rustc() -> Outcome<String> {
    let out = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output()?;
    Ok(String::from_utf8(out.stdout)?.trim().to_owned())
}
