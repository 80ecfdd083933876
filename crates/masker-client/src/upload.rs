//! The body of a request that is read while it is sent.

use std::{
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use super::client::RequestBody;

/// Bytes read at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many more bytes are on their way.
    Sent(u64),
    /// The source was read to its end.
    Done,
}

/// What an upload reads.
pub type UploadSource = Box<dyn Read + Send>;

/// A source that is read on a thread which may block, so that the connection is looked after meanwhile.
struct Upload {
    reading: Option<JoinHandle<(UploadSource, io::Result<Vec<u8>>)>>,
    /// How much is still to come, where that is known.
    left: Option<u64>,
    on_progress: Box<dyn FnMut(Progress) + Send>,
}

/// A body of what a source gives, of a length that may be known.
pub fn body(
    source: UploadSource,
    length: Option<u64>,
    on_progress: impl FnMut(Progress) + Send + 'static,
) -> RequestBody {
    Upload { reading: Some(read(source)), left: length, on_progress: Box::new(on_progress) }.boxed_unsync()
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
            Err(stopped) => return Poll::Ready(Some(Err(io::Error::other(stopped)))),
        };
        if piece.is_empty() {
            (self.on_progress)(Progress::Done);
            return Poll::Ready(None);
        }
        if let Some(left) = self.left {
            // The file may have grown since its length was told.
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        let length = piece.len() as u64;
        (self.on_progress)(Progress::Sent(length));
        self.left = self.left.map(|left| left.saturating_sub(length));
        if self.left == Some(0) {
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
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
