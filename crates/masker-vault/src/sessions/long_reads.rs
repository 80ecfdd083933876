//! Reads of the records of whole sessions, which take long: one caller's do not hold up others.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, MutexGuard};

/// The number of the last event of this module: a clock that shows no time twice.
static EVENTS: AtomicU64 = AtomicU64::new(0);

/// Returns the number of an event, which is greater than those before it.
fn next_event() -> u64 {
    EVENTS.fetch_add(1, Ordering::SeqCst)
}

/// The long reads of one caller: one at a time, so that many requests of it take no more of the processor than one.
#[derive(Default)]
pub struct LongReads(Mutex<()>);

/// The turn of one request.
pub(super) struct LongReadTurn<'a> {
    /// When the request asked for it.
    asked: u64,
    _others_wait: MutexGuard<'a, ()>,
}

impl LongReads {
    /// Waits until the long reads that this caller asked for before have ended.
    pub(super) async fn turn(&self) -> LongReadTurn<'_> {
        let asked = next_event();
        LongReadTurn { asked, _others_wait: self.0.lock().await }
    }
}

/// An answer that a long read finds. Requests that waited while it was found, and asked before it was begun, share the next
/// one.
pub(super) struct SharedAnswer<T>(Mutex<Option<(u64, T)>>);

impl<T> Default for SharedAnswer<T> {
    fn default() -> Self {
        SharedAnswer(Mutex::default())
    }
}

impl<T: Clone> SharedAnswer<T> {
    /// Returns an answer that is as new as the request of this turn. Finds it, unless another request has done so.
    pub(super) async fn get<E>(
        &self,
        turn: &LongReadTurn<'_>,
        find: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut last = self.0.lock().await;
        if let Some((began, answer)) = &*last
            && *began > turn.asked
        {
            return Ok(answer.clone());
        }
        let began = next_event();
        let answer = find.await?;
        *last = Some((began, answer.clone()));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn requests_that_wait_share_the_next_answer() {
        let (reads, answer, found) = (LongReads::default(), SharedAnswer::default(), AtomicU32::new(0));
        let ask = async || {
            let turn = reads.turn().await;
            let find = async {
                yield_now().await;
                Ok::<u32, ()>(found.fetch_add(1, Ordering::SeqCst) + 1)
            };
            answer.get(&turn, find).await
        };
        // The first is being found when the others ask, so it can lack what they know.
        assert_eq!(tokio::join!(ask(), ask(), ask(), ask()), (Ok(1), Ok(2), Ok(2), Ok(2)));
        assert_eq!(ask().await, Ok(3));
    }
}
