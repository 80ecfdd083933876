//! A writer of JSON members. Its output is canonical (RFC 8785) if the caller writes members in the order of their names.
//!
//! Every request writes an event before its response leaves, so this code is on a hot path: names are literals, and texts
//! that cannot need escapes are not searched for them. serde_json writes the texts that do; its escapes are those of
//! RFC 8785.
//!
//! Every member ends with a comma, also the last one of an object, which [`Members::close`] removes.

use data_encoding::HEXLOWER;

use masker_core::crypto::Fingerprint;

/// The greatest number that an event can hold: RFC 8785 numbers are IEEE 754 doubles, which are exact up to it.
pub(super) const NUMBER_MAX: u64 = (1 << 53) - 1;

/// Expands to the name of a member and its colon.
macro_rules! name {
    ($name:literal) => {
        concat!("\"", $name, "\":")
    };
}
pub(super) use name;

/// Appends members to a text. Methods that take a literal name are inlined, so that its length is a constant.
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

    /// Writes a text that may need escapes.
    #[inline]
    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.text_value(value);
    }

    /// Writes a text that may need escapes, if there is one.
    #[inline]
    pub(super) fn text_if(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// Writes a text without characters that need escapes, such as a key id, a kind or digits.
    #[inline]
    pub(super) fn plain(&mut self, name: &'static str, value: &str) {
        debug_assert!(!needs_escapes(value));
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.extend_from_slice(b"\",");
    }

    /// Writes a text without characters that need escapes, if there is one.
    #[inline]
    pub(super) fn plain_if(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.plain(name, value);
        }
    }

    /// Writes members that are already JSON.
    #[inline]
    pub(super) fn raw(&mut self, members: &[u8]) {
        self.0.extend_from_slice(members);
    }

    /// Writes the fingerprint of a key.
    #[inline]
    pub(super) fn fingerprint(&mut self, name: &'static str, value: &Fingerprint) {
        let mut digits = [0; 16];
        HEXLOWER.encode_mut(value.as_bytes(), &mut digits);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'"');
        self.0.extend_from_slice(&digits);
        self.0.extend_from_slice(b"\",");
    }

    /// Writes a number that is not negative, limited to [`NUMBER_MAX`]. No count or duration comes near that.
    #[inline]
    pub(super) fn number(&mut self, name: &'static str, value: u64) {
        self.0.extend_from_slice(name.as_bytes());
        self.number_value(value);
    }

    /// Writes a number of 32 bits.
    #[inline]
    pub(super) fn integer(&mut self, name: &'static str, value: i32) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.0.push(b',');
    }

    /// Begins a member; the caller writes its value next.
    pub(super) fn name(&mut self, name: &'static str) {
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    /// Writes a value: a number, as [`Members::number`] does.
    pub(super) fn number_value(&mut self, value: u64) {
        self.0.extend_from_slice(itoa::Buffer::new().format(value.min(NUMBER_MAX)).as_bytes());
        self.0.push(b',');
    }

    /// Writes a value: a boolean.
    pub(super) fn flag_value(&mut self, value: bool) {
        self.0.extend_from_slice(if value { b"true," } else { b"false," });
    }

    /// Writes a value: a text that may need escapes.
    pub(super) fn text_value(&mut self, value: &str) {
        if needs_escapes(value) {
            // Writing to a vector cannot fail.
            let _ = serde_json::to_writer(&mut *self.0, value);
            self.0.push(b',');
            return;
        }
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.extend_from_slice(b"\",");
    }
}

/// Returns whether a text needs escapes. The loop has no early exit, so that the compiler vectorizes it.
fn needs_escapes(value: &str) -> bool {
    value.bytes().fold(false, |any, byte| any | (byte < b' ') | (byte == b'"') | (byte == b'\\'))
}
