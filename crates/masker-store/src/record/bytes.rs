//! Encoding rows, and decoding them without a panic on any input.

use masker_types::kind::{EntityKind, Kid};

use super::layout::{RecordError, is_valid_caller, is_valid_label};
use crate::Row;

/// Builds a row that begins with the version of its layout.
pub(super) struct RowWriter(Row);

impl RowWriter {
    pub(super) fn new(version: u8, capacity: usize) -> Self {
        let mut row = Row::with_capacity(1 + capacity);
        row.push(version);
        RowWriter(row)
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Writes a byte of flags, the first in the lowest bit.
    pub(super) fn flags<const N: usize>(&mut self, flags: [bool; N]) {
        self.byte(flags.into_iter().rev().fold(0, |byte, flag| byte << 1 | u8::from(flag)));
    }

    pub(super) fn integer(&mut self, integer: u64) {
        self.0.extend_from_slice(&integer.to_be_bytes());
    }

    pub(super) fn array(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Writes a name. The caller ensures that it has at most 255 bytes.
    pub(super) fn name(&mut self, name: &str) {
        self.0.push(name.len() as u8);
        self.0.extend_from_slice(name.as_bytes());
    }

    pub(super) fn finish(self) -> Row {
        self.0
    }
}

/// Reads a row from its front. Every method fails at the row's end instead of going past it.
pub(super) struct RowReader<'a>(&'a [u8]);

impl<'a> RowReader<'a> {
    pub(super) fn new(version_max: u8, row: &'a [u8]) -> Result<Self, RecordError> {
        match row.split_first() {
            None => Err(RecordError::Damaged("it is empty")),
            Some((0, _)) => Err(RecordError::Damaged("its layout has no version")),
            Some((&version, _)) if version > version_max => Err(RecordError::NewerVersion(version)),
            Some((_, rest)) => Ok(RowReader(rest)),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, RecordError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Reads a byte of flags, the first in the lowest bit. This layout knows `N` of them.
    pub(super) fn flags<const N: usize>(&mut self) -> Result<[bool; N], RecordError> {
        let byte = self.byte()?;
        if u32::from(byte) >> N != 0 {
            return Err(RecordError::Damaged("it has flags that its layout does not know"));
        }
        Ok(std::array::from_fn(|bit| byte >> bit & 1 == 1))
    }

    pub(super) fn integer(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(RecordError::Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn name(&mut self) -> Result<&'a str, RecordError> {
        let length = usize::from(self.byte()?);
        let (name, rest) = self.0.split_at_checked(length).ok_or(RecordError::Damaged("it ends too early"))?;
        self.0 = rest;
        std::str::from_utf8(name).map_err(|_| RecordError::Damaged("a name in it is not text"))
    }

    pub(super) fn label(&mut self) -> Result<String, RecordError> {
        let label = self.name()?;
        if !is_valid_label(label) {
            return Err(RecordError::Damaged("it has an invalid label"));
        }
        Ok(label.to_owned())
    }

    pub(super) fn caller(&mut self) -> Result<String, RecordError> {
        self.label().and_then(|name| match is_valid_caller(&name) {
            true => Ok(name),
            false => Err(RecordError::Damaged("it has no caller")),
        })
    }

    pub(super) fn kid(&mut self) -> Result<Kid, RecordError> {
        Kid::parse(self.name()?).ok_or(RecordError::Damaged("it has an invalid key id"))
    }

    pub(super) fn kind(&mut self) -> Result<EntityKind, RecordError> {
        EntityKind::parse(self.name()?).ok_or(RecordError::Damaged("it has an invalid kind"))
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn finish(self) -> Result<(), RecordError> {
        if self.0.is_empty() { Ok(()) } else { Err(RecordError::Damaged("it is longer than its layout")) }
    }
}
