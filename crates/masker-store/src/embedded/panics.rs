//! Turns panics of engines into errors. Engines panic on some damage, and on their own bugs.
//!
//! The message of such a panic may contain rows, and keys of rows are tokens. So it is never shown; the error names the
//! location in the engine's source, which is what a maintainer needs.

use std::{
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// The location in the engine's source where it panicked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the engine panicked at {0}")]
pub struct EnginePanic(String);

const UNKNOWN: &str = "an unknown location";

thread_local! {
    static IN_ENGINE: Cell<bool> = const { Cell::new(false) };
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

static PANICKED_THREADS: AtomicU64 = AtomicU64::new(0);

/// Returns how many threads of engines have panicked since the process began. A call that waits for such a thread waits
/// forever.
pub(super) fn panicked_threads() -> u64 {
    PANICKED_THREADS.load(Ordering::Acquire)
}

/// Calls into an engine, and turns a panic into an error. Nothing of the panic is printed.
///
/// # Errors
///
/// The location of the panic.
pub fn catch_panic<T>(call: impl FnOnce() -> T) -> Result<T, EnginePanic> {
    install_hook();
    let outer = IN_ENGINE.replace(true);
    // After an error the engine is closed and not used again, so a state that the panic left inconsistent is never seen.
    let outcome = panic::catch_unwind(AssertUnwindSafe(call));
    IN_ENGINE.set(outer);
    outcome.map_err(|_| EnginePanic(LOCATION.take().unwrap_or_else(|| UNKNOWN.into())))
}

/// Returns a location without the path of the source on the machine that built it.
fn source_location(file: &str, line: u32) -> String {
    let file = file.rsplit_once("/src/").map_or(file, |(_, file)| file);
    format!("{file}, line {line}")
}

/// Prefixes of the names of threads that engines start.
static THREAD_PREFIXES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

/// Counts panics of threads whose names begin with this prefix.
pub(super) fn watch_threads(prefix: &'static str) {
    let mut prefixes = THREAD_PREFIXES.lock().unwrap_or_else(PoisonError::into_inner);
    if !prefixes.contains(&prefix) {
        prefixes.push(prefix);
    }
}

fn is_engine_thread(thread: &str) -> bool {
    let prefixes = THREAD_PREFIXES.lock().unwrap_or_else(PoisonError::into_inner);
    prefixes.iter().any(|prefix| thread.starts_with(prefix))
}

/// Wraps the process's panic hook once. Panics outside of engines go to the previous hook.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let location =
                || info.location().map_or_else(|| UNKNOWN.into(), |at| source_location(at.file(), at.line()));
            if IN_ENGINE.get() {
                LOCATION.set(Some(location()));
            } else if thread::current().name().is_some_and(is_engine_thread) {
                PANICKED_THREADS.fetch_add(1, Ordering::AcqRel);
                tracing::error!(location = location(), "a thread of the engine panicked");
            } else {
                previous(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_location_without_its_message() {
        let error = catch_panic::<()>(|| panic!("row bytes")).unwrap_err().to_string();
        assert!(error.contains("panics.rs"), "{error}");
        assert!(!error.contains("row bytes"), "{error}");
        assert_eq!(catch_panic(|| 7).ok(), Some(7));
    }

    #[test]
    fn a_location_omits_the_path_of_the_build() {
        assert_eq!(
            source_location("/home/builder/crates/fjall-3.1.13/src/journal/mod.rs", 7),
            "journal/mod.rs, line 7"
        );
        assert_eq!(source_location("tree.rs", 8), "tree.rs, line 8");
    }

    #[test]
    fn counts_engine_threads_that_panicked() {
        watch_threads("engine-test-");
        watch_threads("test-engine-");
        catch_panic(|| ()).unwrap();
        let before = panicked_threads();
        let thread = thread::Builder::new().name("engine-test-1".into()).spawn(|| panic!("gone")).unwrap();
        assert!(thread.join().is_err());
        assert!(panicked_threads() > before);
    }
}
