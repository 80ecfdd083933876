//! Structured logs on standard error.

use std::{any::Any, io, panic, thread};

use tracing::error;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt};

use masker_config::{LogFormat, LogLevel};

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
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = thread::current().name().unwrap_or("unnamed").to_owned();
        error!(place, message = shown(panic.payload()), thread, "panicked: this is a bug in masker");
    }));
}

/// What may be shown of a panic. The usual hook prints its message, and a message can quote a value ("byte index 3 is
/// not a char boundary; it is inside …"), so only texts that were fixed at compile time are passed on.
fn shown(payload: &dyn Any) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(not shown: it may hold data)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_shows_nothing_that_was_put_together_at_run_time() {
        let payload = |cause: fn(&str)| panic::catch_unwind(|| cause("078-05-1120")).unwrap_err();
        let hidden: [fn(&str); 4] = [
            |value| panic!("{value}"),
            |value| assert_eq!(value.parse::<f64>().map_err(|_| value), Ok(0.0)),
            |value| assert!(value.is_empty(), "not empty: {value}"),
            |value| drop(value["ä".len() + value.len()..].to_owned()),
        ];
        for cause in hidden {
            assert_eq!(shown(payload(cause).as_ref()), "(not shown: it may hold data)");
        }
        assert_eq!(shown(payload(|_| panic!("a fixed text")).as_ref()), "a fixed text");
    }
}
