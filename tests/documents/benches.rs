//! The benchmarks in Python: the checks of their scorer and of the texts that they make.

use std::process::Command;

use crate::root;

#[test]
fn the_text_benchmark_scores_as_it_says() {
    let output = Command::new("python3")
        .args(["-B", "-m", "unittest", "discover", "--start-directory", "benches/text"])
        .current_dir(root())
        .output()
        .expect("python3 is missing; `make deps` installs it");
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    let ran = report.split_once("Ran ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u32>().ok());
    assert!(ran >= Some(20), "only {ran:?} checks ran:\n{report}");
}
