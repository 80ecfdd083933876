//! Engines answer some damage, and their own bugs, with a panic. Here they become errors.
//!
//! The text of such a panic can print rows, and keys of rows are tokens. So it is never shown: what is told is the
//! place in the engine's source, which is what a maintainer needs.

use std::{
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// The place in the engine's source where it gave up.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the engine gave up at {0}")]
pub struct EnginePanic(String);

const UNKNOWN: &str = "an unknown place";

thread_local! {
    static IN_ENGINE: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

static LOST_THREADS: AtomicU64 = AtomicU64::new(0);

/// Threads of the engine's own pool that have panicked since the process began. A call that waits for such a thread
/// waits for ever.
pub(super) fn lost_threads() -> u64 {
    LOST_THREADS.load(Ordering::Acquire)
}

/// Calls into the engine. A panic in there is an error here, and nothing of it is printed.
pub fn caught<T>(call: impl FnOnce() -> T) -> Result<T, EnginePanic> {
    install_hook();
    let outer = IN_ENGINE.replace(true);
    // A caller that gets an error lets go of the engine without using it again, so a state that the panic left
    // broken is never seen.
    let outcome = panic::catch_unwind(AssertUnwindSafe(call));
    IN_ENGINE.set(outer);
    outcome.map_err(|_| EnginePanic(PLACE.take().unwrap_or_else(|| UNKNOWN.into())))
}

/// A place in the source, without the path to where the source lay when this was built.
fn in_source(file: &str, line: u32) -> String {
    let file = file.rsplit_once("/src/").map_or(file, |(_, file)| file);
    format!("{file}, line {line}")
}

/// Prefixes of the names of the threads that engines start.
static THREAD_PREFIXES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

/// Watches the threads whose names begin with this prefix.
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

/// Wraps the process's panic hook once. Panics of every other thread and place go to the hook that was there.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = || info.location().map_or_else(|| UNKNOWN.into(), |at| in_source(at.file(), at.line()));
            if IN_ENGINE.get() {
                PLACE.set(Some(place()));
            } else if thread::current().name().is_some_and(is_engine_thread) {
                LOST_THREADS.fetch_add(1, Ordering::AcqRel);
                tracing::error!(place = place(), "a thread of the store's engine gave up");
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
    fn a_panic_becomes_its_place_without_its_text() {
        let told = caught::<()>(|| panic!("row bytes")).unwrap_err().to_string();
        assert!(told.contains("panics.rs"), "{told}");
        assert!(!told.contains("row bytes"), "{told}");
        assert_eq!(caught(|| 7).ok(), Some(7));
    }

    #[test]
    fn a_place_is_told_without_the_way_to_it() {
        assert_eq!(in_source("/home/builder/crates/sled-0.34.7/src/pagecache/mod.rs", 7), "pagecache/mod.rs, line 7");
        assert_eq!(in_source("tree.rs", 8), "tree.rs, line 8");
    }

    #[test]
    fn a_lost_engine_thread_is_counted() {
        caught(|| ()).unwrap();
        let before = lost_threads();
        let thread = thread::Builder::new().name("sled-io-test".into()).spawn(|| panic!("gone")).unwrap();
        assert!(thread.join().is_err());
        assert!(lost_threads() > before);
    }
}
