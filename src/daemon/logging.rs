//! Structured logs on standard error.

use std::{io, panic, thread};

use tracing::error;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt};

use crate::config::{LogFormat, LogLevel};

/// Starts logging. `level` holds for masker's own lines; libraries are heard from `warn` on.
pub(super) fn start(level: LogLevel, format: LogFormat) {
    let filter = EnvFilter::new(format!("warn,masker={}", level.as_str()));
    let lines = fmt::layer().with_writer(io::stderr);
    let logs = registry().with(filter);
    // A process logs once: a second start, as in a test, keeps the first.
    let _ = match format {
        LogFormat::Json => logs.with(lines.json().flatten_event(true).with_current_span(false)).try_init(),
        LogFormat::Pretty => logs.with(lines.with_target(false)).try_init(),
    };
    // The usual hook prints the panic's message, and a message can quote a value ("byte index 3 is not a char boundary;
    // it is inside …"). Only texts that were fixed at compile time are passed on.
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message =
            panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(not shown: it may hold data)");
        let thread = thread::current().name().unwrap_or("unnamed").to_owned();
        error!(place, message, thread, "panicked: this is a bug in masker");
    }));
}
