//! Request bodies that are read while they are sent.

use std::{
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

use super::client::RequestBody;

/// Bytes to read at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// The progress of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// This many more bytes were read from the source.
    Sent(u64),
    /// The source was read to the end.
    Done,
}

/// The source of an upload.
pub type UploadSource = Box<dyn Read + Send>;

/// A body that reads its source on a thread that may block, so that the connection is served meanwhile.
struct Upload {
    reading: Option<JoinHandle<(UploadSource, io::Result<Vec<u8>>)>>,
    /// The bytes that remain, if the length is known.
    remaining: Option<u64>,
    on_progress: Box<dyn FnMut(Progress) + Send>,
}

/// Returns a body that reads a source. `length` limits it, if it is known.
pub fn body(
    source: UploadSource,
    length: Option<u64>,
    on_progress: impl FnMut(Progress) + Send + 'static,
) -> RequestBody {
    Upload { reading: Some(read(source)), remaining: length, on_progress: Box::new(on_progress) }.boxed_unsync()
}

/// A body whose pieces are sent over a channel.
struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// Returns a body of the pieces that are sent over a channel. An error ends the request, which is then incomplete.
pub fn pieces(pieces: mpsc::Receiver<io::Result<Bytes>>) -> RequestBody {
    Pieces(pieces).boxed_unsync()
}

fn read(mut source: UploadSource) -> JoinHandle<(UploadSource, io::Result<Vec<u8>>)> {
    spawn_blocking(move || {
        let mut piece = vec![0; PIECE_BYTES];
        let read = loop {
            match source.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let piece = read.map(|length| {
            piece.truncate(length);
            piece
        });
        (source, piece)
    })
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let (source, mut piece) = match read {
            Ok((source, Ok(piece))) => (source, piece),
            Ok((_, Err(error))) => return Poll::Ready(Some(Err(error))),
            Err(error) => return Poll::Ready(Some(Err(io::Error::other(error)))),
        };
        if piece.is_empty() {
            (self.on_progress)(Progress::Done);
            return Poll::Ready(None);
        }
        if let Some(remaining) = self.remaining {
            // The file may have grown since its length was read.
            piece.truncate(usize::try_from(remaining).unwrap_or(usize::MAX));
        }
        let length = piece.len() as u64;
        (self.on_progress)(Progress::Sent(length));
        self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(length));
        if self.remaining == Some(0) {
            (self.on_progress)(Progress::Done);
        } else {
            self.reading = Some(self::read(source));
        }
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.reading.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
