//! Runs the shell and Python blocks of the README and of the book.
//!
//! Each page begins in an empty directory with a fresh daemon, which has the three policies of the repository. Its blocks run in
//! order and share files, but no variables of the shell. `masker` is in `PATH`, and `MASKER_SOCKET` names the daemon's socket.
//! Blocks that cannot run like this have the language `console`.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
    thread,
};

use nix::{
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use crate::{harness::masker, markdown, markdown_files, read, shipped_site, start_shipped};

/// Seconds that a block may take.
const BLOCK_SECONDS_MAX: &str = "120";
/// Pages at once.
const WORKERS: usize = 4;

/// Returns the command that runs a block, if blocks of its language are run.
fn command(block: &markdown::Block<'_>) -> Option<Command> {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", BLOCK_SECONDS_MAX]);
    match block.language {
        "sh" => command.args(["bash", "-c"]).arg(format!("set -euo pipefail\n{}", block.text)),
        "python" => command.args(["python3", "-B", "-c", &block.text]),
        _ => return None,
    };
    Some(command)
}

/// Runs a block to its end, and ends what it left running. Returns its output if it failed.
fn run(mut command: Command, directory: &Path, socket: &Path) -> Result<(), String> {
    // A file and not a pipe: what a block leaves running would keep a pipe open.
    let output = directory.with_extension("output");
    let file = File::create(&output).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut child = command
        .env_clear()
        .env("PATH", format!("{}:{path}", masker().parent().unwrap().display()))
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", directory)
        .env("MASKER_SOCKET", socket)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .process_group(0)
        .spawn()
        .expect("coreutils are installed");
    let group = Pid::from_raw(child.id().cast_signed());
    // Not reaped before its group is gone, so that the number is not used again.
    waitid(Id::Pid(group), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    let _ = killpg(group, Signal::SIGKILL);
    let status = child.wait().unwrap();
    if status.success() { Ok(()) } else { Err(format!("{status}\n{}", fs::read_to_string(output).unwrap())) }
}

/// Runs the blocks of a page. Returns how many ran, and the first failure: those after it may need what it did not do.
fn run_page(page: &str) -> (usize, Option<String>) {
    let text = read(page);
    let blocks: Vec<_> =
        markdown::blocks(&text).into_iter().filter_map(|block| Some((block.line, command(&block)?))).collect();
    if blocks.is_empty() {
        return (0, None);
    }
    let site = shipped_site();
    let daemon = start_shipped(&site);
    let directory = site.path("page");
    fs::create_dir(&directory).unwrap();
    let mut count = 0;
    for (line, command) in blocks {
        if let Err(failure) = run(command, &directory, daemon.socket()) {
            return (count, Some(format!("{page}:{line}: {failure}")));
        }
        count += 1;
    }
    daemon.stop();
    (count, None)
}

#[test]
fn blocks_of_the_readme_and_the_book_run() {
    for program in ["python3", "curl", "jq"] {
        let found = Command::new(program).arg("--version").output();
        assert!(found.is_ok(), "{program} is missing; `make deps` installs it");
    }
    let mut pages = markdown_files("docs/src");
    pages.push("README.md".to_owned());
    let (pages, results) = (Mutex::new(pages), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(page) = pages.lock().unwrap().pop() else { break };
                    let result = run_page(&page);
                    results.lock().unwrap().push(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let failures: Vec<&str> = results.iter().filter_map(|(_, failure)| failure.as_deref()).collect();
    assert!(failures.is_empty(), "{} pages fail:\n{}", failures.len(), failures.join("\n"));
    let count: usize = results.iter().map(|(count, _)| count).sum();
    assert!(count >= 60, "only {count} blocks ran");
}
