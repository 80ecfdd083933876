//! Structured logs on standard error, the same for each program of masker.
//!
//! [`start`] formats lines and logs panics. [`LOG`] is the queue that the lines pass once a thread writes them, so that a reader
//! of the log that stops reading stops nothing else.
//!
//! The crate uses only `masker-types`. Programs use it; other crates log with `tracing`.

#![warn(missing_docs)]

mod queue;

use std::{any::Any, panic, thread};

use tracing::error;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt};

pub use self::queue::{LOG, LogQueue};
use masker_types::log::{LogFormat, LogLevel};

/// Starts logging, and logs panics. `level` applies to masker's own crates; libraries log warnings and errors only.
pub fn start(level: LogLevel, format: LogFormat) {
    // A target matches by its prefix, so this includes `masker_vault` and the other crates.
    let filter = EnvFilter::new(format!("warn,masker={}", level.as_str()));
    let lines = fmt::layer().with_writer(|| &LOG);
    let logs = registry().with(filter);
    // A second start in one process, as in a test, keeps the first logger.
    let _ = match format {
        LogFormat::Json => logs.with(lines.json().flatten_event(true).with_current_span(false)).try_init(),
        LogFormat::Pretty => logs.with(lines.with_target(false)).try_init(),
    };
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = thread::current().name().unwrap_or("unnamed").to_owned();
        error!(place, message = safe_message(panic.payload()), thread, "panicked: this is a bug in masker");
    }));
}

/// Returns the message of a panic if it was fixed at compile time. The standard hook prints every message, and a message
/// can quote a value ("byte index 3 is not a char boundary; it is inside …").
fn safe_message(payload: &dyn Any) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(withheld: it may contain data)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn withholds_panic_messages_built_at_run_time() {
        let payload = |cause: fn(&str)| panic::catch_unwind(|| cause("078-05-1120")).unwrap_err();
        let hidden: [fn(&str); 4] = [
            |value| panic!("{value}"),
            |value| assert_eq!(value.parse::<f64>().map_err(|_| value), Ok(0.0)),
            |value| assert!(value.is_empty(), "not empty: {value}"),
            |value| drop(value["ä".len() + value.len()..].to_owned()),
        ];
        for cause in hidden {
            assert_eq!(safe_message(payload(cause).as_ref()), "(withheld: it may contain data)");
        }
        assert_eq!(safe_message(payload(|_| panic!("a fixed text")).as_ref()), "a fixed text");
    }
}
