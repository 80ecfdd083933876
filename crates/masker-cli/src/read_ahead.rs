//! Reading standard input while requests are in flight.

use tokio::sync::mpsc;

use crate::context::CommandError;

/// Items that a separate thread reads.
pub(super) struct ReadAhead<T>(mpsc::Receiver<Result<Option<T>, CommandError>>);

impl<T: Send + 'static> ReadAhead<T> {
    /// Starts the thread. It reads until there is no further item or one fails. If the command ends early, it is abandoned,
    /// because a blocking read of standard input cannot be interrupted.
    pub(super) fn start(mut next: impl FnMut() -> Result<Option<T>, CommandError> + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        std::thread::spawn(move || {
            loop {
                let item = next();
                let is_last = !matches!(item, Ok(Some(_)));
                if sender.blocking_send(item).is_err() || is_last {
                    return;
                }
            }
        });
        ReadAhead(receiver)
    }

    /// Returns the next item, or `None` at the end. After that, or after an error, it must not be called again. No item is
    /// lost if the future is dropped.
    ///
    /// # Errors
    /// The item cannot be read.
    pub(super) async fn next(&mut self) -> Result<Option<T>, CommandError> {
        let panicked = || Err(CommandError::Other("the reader of the input panicked".to_owned()));
        self.0.recv().await.unwrap_or_else(panicked)
    }
}
