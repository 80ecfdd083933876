//! The input of a handler: the parts of a request that are left once it was admitted.

use hyper::body::{Body, Bytes, Incoming};
use serde::Deserialize;

use super::{
    body::{CollectedBody, parse},
    problem::Problem,
    query::QueryParameters,
};

/// What a handler reads.
#[derive(Default)]
pub(super) struct Input {
    /// The value of `{name}` or `{id}` in the path; empty where the route has neither.
    pub(super) parameter: String,
    pub(super) query: QueryParameters,
    body: Bytes,
    /// The pieces of `body`, until [`Input::assemble`].
    collected: Option<CollectedBody>,
    /// The request's body, as far as it was not read.
    unread: Option<Incoming>,
    /// Whether the client holds the body back until it is asked for.
    pub(super) is_held_back: bool,
}

impl Input {
    /// Returns the input of a request of which only the head was read.
    pub(super) fn new(body: Incoming) -> Self {
        Input { unread: Some(body), ..Input::default() }
    }

    /// Keeps a body that was read.
    pub(super) fn set_body(&mut self, collected: CollectedBody) {
        (self.collected, self.unread) = (Some(collected), None);
    }

    /// Puts the body together. For a large one this is a copy, so it is left to the thread that runs the operation.
    pub(super) fn assemble(&mut self) {
        if let Some(collected) = &mut self.collected {
            let whole = collected.take_whole();
            if !whole.is_empty() {
                self.body = whole;
            }
        }
    }

    /// Returns how many bytes of the body were read.
    pub(super) fn body_bytes(&self) -> usize {
        self.collected.as_ref().map_or(self.body.len(), CollectedBody::bytes)
    }

    /// Returns the announced length of the body, in bytes: `None` if none was announced, and `Some(0)` once the body was
    /// read.
    pub(super) fn announced_bytes(&self) -> Option<u64> {
        self.unread.as_ref().map_or(Some(0), |body| body.size_hint().exact())
    }

    /// Returns the body, to be read.
    pub(super) fn unread_body(&mut self) -> Option<&mut Incoming> {
        self.unread.as_mut().filter(|body| !body.is_end_stream())
    }

    /// Takes the body, to be read by an operation that outlives its handler.
    pub(super) fn take_unread(&mut self) -> Option<Incoming> {
        self.unread.take()
    }

    /// Gives back a body that was taken, and what was read of it to no effect.
    pub(super) fn put_back(&mut self, read: Vec<u8>, unread: Option<Incoming>) {
        (self.body, self.unread) = (read.into(), unread);
    }

    /// Returns the rest of the body, unless it was read to its end.
    pub(super) fn into_unread(self) -> Option<Incoming> {
        self.unread.filter(|body| !body.is_end_stream())
    }

    /// Returns the body, read as JSON.
    ///
    /// # Errors
    /// `request.invalid`.
    pub(super) fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        parse(&self.body)
    }

    /// Returns the body, read as JSON, or the default where there is none.
    ///
    /// # Errors
    /// `request.invalid`.
    pub(super) fn json_or_default<'a, T: Deserialize<'a> + Default>(&'a self) -> Result<T, Problem> {
        if self.body.is_empty() { Ok(T::default()) } else { parse(&self.body) }
    }

    /// Returns the whole body, if it was read.
    pub(super) fn whole_body(&mut self) -> &[u8] {
        self.assemble();
        &self.body
    }

    /// Returns an input as if it had been read from a request.
    #[cfg(test)]
    pub(super) fn for_tests(parameter: &str, body: &str) -> Self {
        Input { parameter: parameter.to_owned(), body: Bytes::copy_from_slice(body.as_bytes()), ..Input::default() }
    }
}
