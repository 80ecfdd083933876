//! JSON written member by member: RFC 8785, as long as the caller gives members in the order of their names.
//!
//! Each request writes an event before its answer leaves, so this is on the path of every one of them: names are whole
//! literals, and what can need no escape is not looked through for any. What does need escapes is left to serde_json, whose
//! escapes are RFC 8785's.
//!
//! Every member ends with a comma, the last one of an object too, until [`Members::close`] takes it away.

use data_encoding::HEXLOWER;

use super::event::NUMBER_MAX;
use masker_core::crypto::Fingerprint;

/// What stands before a member's value.
macro_rules! name {
    ($name:literal) => {
        concat!("\"", $name, "\":")
    };
}
pub(super) use name;

/// Members of objects, at the end of a text. What has a literal for a name is inlined, so that its length is known.
pub(super) struct Members<'t>(pub(super) &'t mut Vec<u8>);

impl Members<'_> {
    /// Begins a member that is an object or an array: `name` has the bracket at its end.
    #[inline]
    pub(super) fn open(&mut self, name: &'static str) {
        self.0.extend_from_slice(name.as_bytes());
    }

    /// Ends an object or an array.
    pub(super) fn close(&mut self, bracket: u8) {
        if self.0.last() == Some(&b',') {
            self.0.pop();
        }
        self.0.extend_from_slice(&[bracket, b',']);
    }

    /// A text that may need escapes.
    #[inline]
    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.text_value(value);
    }

    /// A text, if there is one.
    #[inline]
    pub(super) fn text_if(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A name of masker's own, of a key or of a kind, or digits: none of them has anything that needs an escape.
    #[inline]
    pub(super) fn plain(&mut self, name: &'static str, value: &str) {
        debug_assert!(!needs_escapes(value));
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.extend_from_slice(b"\",");
    }

    /// Such a text, if there is one.
    #[inline]
    pub(super) fn plain_if(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.plain(name, value);
        }
    }

    /// What was written before.
    #[inline]
    pub(super) fn written(&mut self, members: &[u8]) {
        self.0.extend_from_slice(members);
    }

    /// The fingerprint of a key.
    #[inline]
    pub(super) fn fingerprint(&mut self, name: &'static str, value: &Fingerprint) {
        let mut digits = [0; 16];
        HEXLOWER.encode_mut(value.as_bytes(), &mut digits);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'"');
        self.0.extend_from_slice(&digits);
        self.0.extend_from_slice(b"\",");
    }

    /// A number that is not negative. Past 2^53 - 1 it would stand for its neighbours, too: RFC 8785 knows IEEE 754 doubles
    /// alone. There are no counts or durations that long.
    #[inline]
    pub(super) fn number(&mut self, name: &'static str, value: u64) {
        self.0.extend_from_slice(name.as_bytes());
        self.number_value(value);
    }

    /// A number of 32 bits.
    #[inline]
    pub(super) fn integer(&mut self, name: &'static str, value: i32) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.0.push(b',');
    }

    /// Begins a member of any name; its value is to be written next.
    pub(super) fn name(&mut self, name: &'static str) {
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    /// The value of a member: a number, as [`Members::number`] writes it.
    pub(super) fn number_value(&mut self, value: u64) {
        self.0.extend_from_slice(itoa::Buffer::new().format(value.min(NUMBER_MAX)).as_bytes());
        self.0.push(b',');
    }

    /// The value of a member: whether something is so.
    pub(super) fn flag_value(&mut self, value: bool) {
        self.0.extend_from_slice(if value { b"true," } else { b"false," });
    }

    /// The value of a member: a text that may need escapes.
    pub(super) fn text_value(&mut self, value: &str) {
        if needs_escapes(value) {
            // Writing a text to a vector cannot fail.
            let _ = serde_json::to_writer(&mut *self.0, value);
            self.0.push(b',');
            return;
        }
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.extend_from_slice(b"\",");
    }
}

/// Without a way out of the loop, so that it is done for many bytes at once.
fn needs_escapes(value: &str) -> bool {
    value.bytes().fold(false, |any, byte| any | (byte < b' ') | (byte == b'"') | (byte == b'\\'))
}
