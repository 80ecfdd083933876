//! What an operator does around a daemon: with the real binary, and the steps repeated, left out and swapped.

mod before_start;
mod doctor;
mod init;
mod key_files;
mod recover;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::harness::masker;

/// What a command left.
struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// Checks for success and returns the results.
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Checks for a refusal with results on standard error only, which has these texts, and returns it.
    fn refused(self, texts: &[&str]) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (1, ""), "{}", self.stderr);
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is not in {}", self.stderr);
        }
        self.stderr
    }
}

/// Runs a command of masker in a directory, with an environment that has these variables only.
fn run(directory: &Path, words: &[&str], environment: &[(&str, &Path)]) -> Outcome {
    let mut command = Command::new(masker());
    command.args(words).env_clear().env("HOME", directory).current_dir(directory).stdin(Stdio::null());
    command.envs(environment.iter().copied());
    let output = command.output().expect("masker can be run");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Outcome {
        code: output.status.code().expect("an exit code"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o7777
}

/// Returns the files below a directory with what they contain, sorted.
fn contents(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let text = fs::read_to_string(&path).expect("text");
            found.push((path, text));
        }
    }
    found.sort();
    found
}
