//! The content of a vault record, and its layout before sealing.
//!
//! ```text
//! payload   = u16 length of the context || u16 length of the value || u16 length of the normalizer's name
//!             || u16 length of the form || context || value || name || form
//! plaintext = payload, padded by ISO/IEC 7816-4 to a multiple of 16 bytes
//! sealed    = XAES-256-GCM(subkey("record"), random 24-byte nonce, plaintext,
//!                          aad = enc("MSKV1-record", kind, kid, id, minted_at, value index, form index)),
//!             ciphertext || tag
//! ```
//!
//! Integers are big-endian; texts are UTF-8. A form of length 0 means that it equals the value. Kind and kid are those
//! under which the token was minted, even if another key now seals the record.

use std::ops::Range;

use zeroize::{Zeroize, Zeroizing};

use super::{
    aead::{NONCE_BYTES, TAG_BYTES, UnsealError},
    padding,
};
use crate::normalize::Normalizer;
use masker_types::{
    kind::{Context, Value},
    limits::{CONTEXT_BYTES_MAX, NORMALIZER_BYTES_MAX, ROW_BYTES_MAX, VALUE_BYTES_MAX},
};

/// Bytes of the four lengths.
const LENGTHS_BYTES: usize = 8;
/// Length of the longest sealed payload with its tag, in bytes.
pub const SEALED_BYTES_MAX: usize =
    padding::padded_bytes(LENGTHS_BYTES + CONTEXT_BYTES_MAX + 2 * VALUE_BYTES_MAX + NORMALIZER_BYTES_MAX) + TAG_BYTES;

const _: () = assert!(SEALED_BYTES_MAX + NONCE_BYTES < ROW_BYTES_MAX);
const _: () = assert!(CONTEXT_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(VALUE_BYTES_MAX <= u16::MAX as usize);

/// The sealed content of a record. It has no `Debug`, because it is personal data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RecordPayload<'a> {
    /// The context that the token is bound to.
    pub context: Context<'a>,
    /// The value, byte for byte as it was given.
    pub value: Value<'a>,
    /// The normalizer of the policy that minted the token. Rotation computes the form's new index with it.
    pub normalizer: Normalizer,
    /// The form, if it differs from the value. It has the bounds of a value.
    pub form: Option<Value<'a>>,
}

impl RecordPayload<'_> {
    /// Returns the padded plaintext in one allocation with capacity for the tag, so that it can be encrypted in place.
    pub(super) fn to_plaintext(self) -> Vec<u8> {
        let form = self.form.map_or("", |form| form.as_str());
        let texts = [self.context.as_str(), self.value.as_str(), self.normalizer.name(), form];
        let length = LENGTHS_BYTES + texts.iter().map(|text| text.len()).sum::<usize>();
        let mut plaintext = Vec::with_capacity(padding::padded_bytes(length) + TAG_BYTES);
        for text in texts {
            // Cannot truncate: the types bound contexts and values, and the assertions above bound the bounds.
            plaintext.extend_from_slice(&(text.len() as u16).to_be_bytes());
        }
        for text in texts {
            plaintext.extend_from_slice(text.as_bytes());
        }
        padding::pad(&mut plaintext, length);
        plaintext
    }
}

/// A sealed payload, as a row stores it.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedRecord {
    /// The random nonce.
    pub nonce: [u8; NONCE_BYTES],
    /// The encrypted payload, then its 16-byte tag.
    pub ciphertext: Vec<u8>,
}

/// An opened payload. It is wiped when it is dropped, and has no `Debug`.
pub struct OpenedRecord {
    /// Context, value, the normalizer's name and form, concatenated.
    texts: Zeroizing<String>,
    context_end: usize,
    value_end: usize,
    normalizer: Normalizer,
    form_start: usize,
}

impl OpenedRecord {
    /// Parses a decrypted plaintext.
    ///
    /// # Errors
    /// Returns [`UnsealError`] for bytes that [`RecordPayload::to_plaintext`] does not produce.
    pub(super) fn from_plaintext(mut plaintext: Zeroizing<Vec<u8>>) -> Result<Self, UnsealError> {
        let length = padding::unpadded_bytes(&plaintext).ok_or(UnsealError)?;
        plaintext.truncate(length);
        let (lengths, _) = plaintext.split_first_chunk::<LENGTHS_BYTES>().ok_or(UnsealError)?;
        let [context, value, name, form] =
            [0, 2, 4, 6].map(|at| usize::from(u16::from_be_bytes([lengths[at], lengths[at + 1]])));
        if LENGTHS_BYTES + context + value + name + form != length {
            return Err(UnsealError);
        }
        plaintext.drain(..LENGTHS_BYTES);
        let texts = into_text(plaintext)?;
        let (value_end, form_start) = (context + value, context + value + name);
        let normalizer = texts.get(value_end..form_start).and_then(Normalizer::from_name).ok_or(UnsealError)?;
        let opened = OpenedRecord { texts, context_end: context, value_end, normalizer, form_start };
        // The accessors rely on these checks: the texts have valid lengths and are split at character boundaries.
        Context::new(opened.text(0..context)?).ok_or(UnsealError)?;
        Value::new(opened.text(context..value_end)?).ok_or(UnsealError)?;
        if form > 0 {
            Value::new(opened.text(form_start..opened.texts.len())?).ok_or(UnsealError)?;
        }
        Ok(opened)
    }

    fn text(&self, range: Range<usize>) -> Result<&str, UnsealError> {
        self.texts.get(range).ok_or(UnsealError)
    }

    /// Returns the context that the token is bound to. It may be empty.
    pub fn context(&self) -> &str {
        &self.texts[..self.context_end]
    }

    /// Returns the value, byte for byte as it was given.
    pub fn value(&self) -> &str {
        &self.texts[self.context_end..self.value_end]
    }

    /// Returns the normalizer of the policy that minted the token.
    pub fn normalizer(&self) -> Normalizer {
        self.normalizer
    }

    /// Returns the form of the value, by which it matches other spellings.
    pub fn form(&self) -> &str {
        match &self.texts[self.form_start..] {
            "" => self.value(),
            form => form,
        }
    }

    /// Returns the payload, to seal it under another key.
    pub fn payload(&self) -> RecordPayload<'_> {
        let value = |text| Value::new(text).expect("checked when the record was opened");
        RecordPayload {
            context: Context::new(self.context()).expect("checked when the record was opened"),
            value: value(self.value()),
            normalizer: self.normalizer,
            form: match &self.texts[self.form_start..] {
                "" => None,
                form => Some(value(form)),
            },
        }
    }
}

/// Converts bytes to text without copying them. Wipes them if they are not UTF-8.
pub(super) fn into_text(mut bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, UnsealError> {
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            error.into_bytes().zeroize();
            Err(UnsealError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload<'a>(context: &'a str, value: &'a str, normalizer: Normalizer, form: &'a str) -> RecordPayload<'a> {
        RecordPayload {
            context: Context::new(context).unwrap(),
            value: Value::new(value).unwrap(),
            normalizer,
            form: Value::new(form),
        }
    }

    fn open(plaintext: &[u8]) -> Result<OpenedRecord, UnsealError> {
        OpenedRecord::from_plaintext(Zeroizing::new(plaintext.to_vec()))
    }

    #[test]
    fn the_layout_follows_the_documentation() {
        assert_eq!(
            payload("ctx", "Väl", Normalizer::Ip, "f").to_plaintext(),
            b"\x00\x03\x00\x04\x00\x02\x00\x01ctxV\xC3\xA4lipf\x80\0\0\0\0\0\0\0\0\0\0\0\0\0" // 8 + 3 + 4 + 2 + 1 bytes
        );
    }

    #[test]
    fn opens_every_payload() {
        let long = "é".repeat(2_048);
        for normalizer in Normalizer::ALL {
            for (context, value, form) in
                [("", "v", ""), ("c", "value", "VALUE"), (&"x".repeat(256), &long, &long), ("ä", "ö", "ü")]
            {
                let plaintext = payload(context, value, normalizer, form).to_plaintext();
                assert!(plaintext.len() + TAG_BYTES <= SEALED_BYTES_MAX);
                assert_eq!(plaintext.len() % 16, 0);
                let opened = open(&plaintext).unwrap();
                assert_eq!((opened.context(), opened.value(), opened.normalizer()), (context, value, normalizer));
                assert_eq!(opened.form(), if form.is_empty() { value } else { form });
                assert!(opened.payload() == payload(context, value, normalizer, form));
            }
        }
    }

    #[test]
    fn rejects_malformed_payloads() {
        let padded = |payload: &[u8]| {
            let mut plaintext = payload.to_vec();
            padding::pad(&mut plaintext, payload.len());
            plaintext
        };
        assert!(open(&padded(b"\0\0\0\x01\0\x02\0\0vip")).is_ok());
        let cases: [&[u8]; 11] = [
            b"",
            b"\0\0\0\x01\0\x02\0",
            b"\0\0\0\0\0\x02\0\0ip",              // no value
            b"\0\0\0\x02\0\x02\0\0vip",           // shorter than its lengths
            b"\0\0\0\x01\0\x02\0\0vipv",          // longer than its lengths
            b"\0\0\0\x01\0\x02\0\0\xFFip",        // not UTF-8
            b"\0\x01\0\x01\0\x02\0\0\xC3\xA4ip",  // a character across a boundary
            b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFv", // lengths whose sum must not overflow
            b"\0\0\0\x01\0\x02\x80\0vip",         // a form that is missing
            b"\0\0\0\x01\0\0\0\0v",               // no normalizer
            b"\0\0\0\x01\0\x02\0\0viq",           // a normalizer that is unknown
        ];
        for case in cases {
            assert!(open(&padded(case)).is_err(), "{case:02x?}");
        }
        assert!(open(b"\0\0\0\x01\0\x02\0\0vip\0\0\0\0\0").is_err(), "no padding");
        let too_long = |context: usize, value: usize, form: usize| {
            let mut payload = Vec::new();
            for length in [context, value, 2, form] {
                payload.extend_from_slice(&(length as u16).to_be_bytes());
            }
            payload.resize(payload.len() + context + value, b'x');
            payload.extend_from_slice(b"ip");
            payload.resize(payload.len() + form, b'x');
            open(&padded(&payload)).is_err()
        };
        assert!(!too_long(256, 4_096, 4_096));
        assert!(too_long(257, 1, 0) && too_long(0, 4_097, 0) && too_long(0, 1, 4_097));
    }
}
