//! Progress bars on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Output;

/// A progress bar on standard error. It is hidden with `--quiet` or without a terminal, and removed at the end.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Counts bytes, up to a total if it is known.
    pub(super) fn bytes(total: Option<u64>, done: &'static str, output: &Output) -> Self {
        let template = match total {
            Some(_) => "{bar:30} {bytes} of {total_bytes} {msg}, {bytes_per_sec}",
            None => "{bytes} {msg}, {bytes_per_sec}",
        };
        let progress = Progress::new(total, template, output);
        progress.0.set_message(done);
        progress
    }

    /// Counts records, of a total that can change.
    pub(super) fn records(output: &Output) -> Self {
        Progress::new(Some(0), "{bar:30} {percent}% {human_pos} of {human_len} records, {msg}", output)
    }

    /// Counts the bytes of an input, up to a total if it is known. Hidden if results go to the same terminal.
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

    /// Counts rows of a vault, of a total that can change.
    pub(super) fn rows(output: &Output) -> Self {
        Progress::new(Some(0), "{bar:30} {percent}% {human_pos} of {human_len} rows, {msg}", output)
    }

    fn new(total: Option<u64>, template: &str, output: &Output) -> Self {
        let target = if output.is_quiet() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(total, target);
        // An invalid template leaves the default one.
        Progress(match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    /// Returns whether the bar is not drawn.
    pub(super) fn is_hidden(&self) -> bool {
        self.0.is_hidden()
    }

    /// Sets the position, the total and the message.
    pub(super) fn set(&self, done: u64, total: u64, message: String) {
        self.0.set_length(total);
        self.0.set_position(done);
        self.0.set_message(message);
    }

    /// Sets the position and the message.
    pub(super) fn reach(&self, done: u64, message: String) {
        self.0.set_position(done);
        self.0.set_message(message);
    }

    /// Advances the position.
    pub(super) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
