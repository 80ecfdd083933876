//! How far a command is, for those who wait for it at a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Output;

/// A line on standard error that is drawn anew as the work goes on; nothing where that is no terminal, or with
/// `--quiet`. It goes away at the end.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Counts bytes, of so many where that is known.
    pub(super) fn bytes(total: Option<u64>, done: &'static str, output: &Output) -> Self {
        let template = match total {
            Some(_) => "{bar:30} {bytes} of {total_bytes} {msg}, {bytes_per_sec}",
            None => "{bytes} {msg}, {bytes_per_sec}",
        };
        let progress = Progress::new(total, template, output);
        progress.0.set_message(done);
        progress
    }

    /// Counts records; how many there are can change on the way.
    pub(super) fn records(output: &Output) -> Self {
        Progress::new(Some(0), "{bar:30} {percent}% {human_pos} of {human_len} records, {msg}", output)
    }

    /// Rows of an input of so many bytes, where that is known. Nothing is drawn among results on the same terminal.
    pub(super) fn input(total: Option<u64>, output: &Output) -> Self {
        let template = match total {
            Some(_) => "{bar:30} {percent}% {msg}, {eta} left",
            None => "{bytes} read, {msg}",
        };
        let progress = Progress::new(total, template, output);
        if output.is_terminal() {
            progress.0.set_draw_target(ProgressDrawTarget::hidden());
        }
        progress
    }

    /// Counts rows of a vault.
    pub(super) fn rows(output: &Output) -> Self {
        Progress::new(Some(0), "{bar:30} {percent}% {human_pos} of {human_len} rows, {msg}", output)
    }

    fn new(total: Option<u64>, template: &str, output: &Output) -> Self {
        let target = if output.is_quiet() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(total, target);
        // A template that did not parse would leave the usual one.
        Progress(match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    /// Whether nobody sees it.
    pub(super) fn is_hidden(&self) -> bool {
        self.0.is_hidden()
    }

    /// How far the work is, and what is to be said of it.
    pub(super) fn set(&self, done: u64, total: u64, message: String) {
        self.0.set_length(total);
        self.0.set_position(done);
        self.0.set_message(message);
    }

    /// How far the work is, where its end does not change, and what is to be said of it.
    pub(super) fn reach(&self, done: u64, message: String) {
        self.0.set_position(done);
        self.0.set_message(message);
    }

    pub(super) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Removes the line.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
