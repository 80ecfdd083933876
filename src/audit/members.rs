//! JSON written member by member: RFC 8785, as long as the caller gives members in the order of their names.
//!
//! Each request writes an event before its answer leaves, so this is on the path of every one of them. What needs
//! escapes is left to serde_json, whose escapes are RFC 8785's; nearly nothing does.

use std::io;

use super::event::NUMBER_MAX;

/// The members of one object, without its braces, at the end of a text.
pub(super) struct Members<'t> {
    pub(super) text: &'t mut Vec<u8>,
    start: usize,
}

impl<'t> Members<'t> {
    /// Begins where the text ends.
    pub(super) fn begin(text: &'t mut Vec<u8>) -> Self {
        Members { start: text.len(), text }
    }

    /// How many bytes there are so far.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() - self.start
    }

    /// Begins a member; its value is to be written next.
    pub(super) fn name(&mut self, name: &'static str) {
        if self.text.len() > self.start {
            self.text.push(b',');
        }
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
    }

    /// A text.
    pub(super) fn string(&mut self, name: &'static str, value: &str) -> io::Result<()> {
        self.name(name);
        string(self.text, value)
    }

    /// A text, if there is one.
    pub(super) fn string_if(&mut self, name: &'static str, value: Option<&str>) -> io::Result<()> {
        value.map_or(Ok(()), |value| self.string(name, value))
    }

    /// A number that is not negative. Past 2^53 - 1 it would stand for its neighbours, too: RFC 8785 knows IEEE 754 doubles
    /// alone. There are no counts or durations that long.
    pub(super) fn number(&mut self, name: &'static str, value: u64) {
        self.name(name);
        self.text.extend_from_slice(itoa::Buffer::new().format(value.min(NUMBER_MAX)).as_bytes());
    }

    /// A number of 32 bits.
    pub(super) fn integer(&mut self, name: &'static str, value: i32) {
        self.name(name);
        self.text.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Whether something is so.
    pub(super) fn flag(&mut self, name: &'static str, value: bool) {
        self.name(name);
        self.text.extend_from_slice(if value { b"true" } else { b"false" });
    }
}

/// A text in quotes.
fn string(text: &mut Vec<u8>, value: &str) -> io::Result<()> {
    // Without a way out of the loop, so that it is done for many bytes at once.
    let escapes = value.bytes().fold(false, |any, byte| any | (byte < b' ') | (byte == b'"') | (byte == b'\\'));
    if escapes {
        return Ok(serde_json::to_writer(text, value)?);
    }
    text.push(b'"');
    text.extend_from_slice(value.as_bytes());
    text.push(b'"');
    Ok(())
}
