//! A connection on which an answer is read even if the request could not be written to its end.
//!
//! The daemon refuses some requests on their head alone, and reads only so much of the body behind it. A client that is
//! still writing then fails, with the reason in its receive queue.

use std::{
    io::{self, ErrorKind, Read},
    os::{fd::AsFd, unix::net},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

/// The bytes of an answer that are looked for when a write has failed.
const PEEKED_BYTES: usize = 4_096;

/// A stream that does not fail to write while an answer is there to read.
pub(crate) struct EarlyAnswerStream {
    stream: UnixStream,
    /// What was read of the answer when a write had failed. From then on everything written is dropped.
    early: Option<Vec<u8>>,
}

impl EarlyAnswerStream {
    pub(crate) fn new(stream: UnixStream) -> Self {
        EarlyAnswerStream { stream, early: None }
    }

    /// Returns whether an answer is there, and keeps its beginning.
    fn has_answer(&mut self) -> bool {
        // Not by tokio, which may not know yet that there is something to read.
        let Ok(descriptor) = self.stream.as_fd().try_clone_to_owned() else { return false };
        let mut peeked = vec![0; PEEKED_BYTES];
        match net::UnixStream::from(descriptor).read(&mut peeked) {
            Ok(read) if read > 0 => {
                peeked.truncate(read);
                self.early = Some(peeked);
                true
            }
            _ => false,
        }
    }
}

impl AsyncRead for EarlyAnswerStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(early) = self.early.as_mut().filter(|early| !early.is_empty()) {
            let taken = early.len().min(buffer.remaining());
            buffer.put_slice(&early[..taken]);
            early.drain(..taken);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for EarlyAnswerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.early.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(Err(failed))
                if matches!(failed.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) && self.has_answer() =>
            {
                // The next read begins with the answer.
                cx.waker().wake_by_ref();
                Poll::Ready(Ok(bytes.len()))
            }
            polled => polled,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn an_answer_is_read_after_a_failed_write() {
        block_on(async {
            let (here, mut there) = UnixStream::pair().unwrap();
            there.write_all(b"answer").await.unwrap();
            drop(there);
            let mut stream = EarlyAnswerStream::new(here);
            stream.write_all(b"a body that nobody reads").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "answer");
        });
    }

    #[test]
    fn a_failed_write_without_an_answer_is_an_error() {
        block_on(async {
            let (here, there) = UnixStream::pair().unwrap();
            drop(there);
            let failed = EarlyAnswerStream::new(here).write_all(b"body").await.unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::BrokenPipe);
        });
    }
}
