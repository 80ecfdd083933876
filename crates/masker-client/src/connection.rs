//! A connection that delivers a response even if writing the request fails.
//!
//! A daemon can refuse a request before it has read the body: it sends a response and closes the connection. The next
//! write of the client then fails, but the response is still in the socket's buffer. hyper ends a connection at the
//! first failed write, so the response would be lost. [`ResponsiveStream`] therefore hides such failures from hyper.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use hyper::{
    client::conn::http1::{self, SendRequest},
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::UnixStream,
    time::{Duration, Instant, sleep},
};

use crate::{
    client::{ClientError, RequestBody},
    endpoint::Endpoint,
    server::Stream,
};

/// Time for which a connection is tried again while the daemon's queue of new connections is full, in milliseconds.
const CONNECT_MS_MAX: u64 = 2_000;
/// Pause between two attempts, in milliseconds.
const CONNECT_PAUSE_MS: u64 = 10;

/// A connection to the daemon.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<RequestBody>,
    write_failed: Arc<AtomicBool>,
}

impl Connection {
    /// Connects to a socket, or to a gateway.
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let stream: Stream = match endpoint {
            Endpoint::Socket(socket) => Box::new(open_socket(socket).await?),
            Endpoint::Server(server) => server.connect().await?,
        };
        let write_failed = Arc::new(AtomicBool::new(false));
        let stream = ResponsiveStream { stream: TokioIo::new(stream), write_failed: Arc::clone(&write_failed) };
        let (sender, connection) = http1::handshake(stream).await.map_err(ClientError::Lost)?;
        // The task ends when the sender is dropped. The request in flight reports an error of the connection.
        tokio::spawn(connection);
        Ok(Connection { sender, write_failed })
    }

    /// Returns whether a write has failed, so that the daemon cannot have received all of the last request.
    pub(crate) fn write_failed(&self) -> bool {
        self.write_failed.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(crate) fn write_failure(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.write_failed)
    }
}

async fn open_socket(socket: &Path) -> Result<UnixStream, ClientError> {
    connect(socket).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ClientError::NoSocket(socket.to_owned()),
        io::ErrorKind::ConnectionRefused => ClientError::Refused(socket.to_owned()),
        io::ErrorKind::PermissionDenied => ClientError::Forbidden(socket.to_owned()),
        _ => ClientError::Connect { socket: socket.to_owned(), source },
    })
}

/// Connects, and waits for a moment if the kernel's queue of the socket is full: it then fails with `EAGAIN` (connect(2)).
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let deadline = Instant::now() + Duration::from_millis(CONNECT_MS_MAX);
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                sleep(Duration::from_millis(CONNECT_PAUSE_MS)).await;
            }
            connected => return connected,
        }
    }
}

/// A stream that does not report when the peer stops reading. Its writes then stay pending, and hyper goes on reading
/// until it has the response or reaches the end of the stream, where it ends the connection.
struct ResponsiveStream {
    stream: TokioIo<Stream>,
    write_failed: Arc<AtomicBool>,
}

impl ResponsiveStream {
    fn write<T>(
        &mut self,
        write: impl FnOnce(Pin<&mut TokioIo<Stream>>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.write_failed.load(Ordering::Acquire) {
            // No waker is registered: the task that writes also reads, and reading wakes it.
            return Poll::Pending;
        }
        match ready!(write(Pin::new(&mut self.stream))) {
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                self.write_failed.store(true, Ordering::Release);
                Poll::Pending
            }
            written => Poll::Ready(written),
        }
    }
}

impl Read for ResponsiveStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for ResponsiveStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(|stream| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // With TLS, it writes.
        self.write(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
