//! The header of an export: its vault, and the keys that open it.

use super::{EXPORT_VERSION, ExportError};
use crate::crypto::{Fingerprint, WrappedKey, export::SALT_BYTES, wrapped_key::WRAPPED_BYTES};
use masker_types::kind::Kid;

/// The first bytes of every export.
const MAGIC: &[u8] = b"masker export\n";
/// Length of the part before the fields of the header, in bytes: the magic, the version, and the length of the fields.
pub const PREFIX_BYTES: usize = MAGIC.len() + 1 + 4;
/// Longest fields of a header, in bytes: enough for 100,000 key generations.
const FIELDS_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// A key generation that sealed records of the export, or that opens the export.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderKey {
    /// The key id.
    pub kid: Kid,
    /// The public name of the generation.
    pub fingerprint: Fingerprint,
    /// The number of records under it when the export began.
    pub records: u64,
    /// The file key under this generation, if it opens the file.
    pub wrapped: Option<WrappedKey>,
}

/// The header of an export. It is authenticated only once the payload was opened under it.
#[derive(Clone, PartialEq, Eq)]
pub struct ExportHeader {
    /// The id of the vault.
    pub vault_id: [u8; 16],
    /// The time when the export began, in milliseconds.
    pub created_at_ms: u64,
    /// A random salt for the derivation of the payload key.
    pub salt: [u8; SALT_BYTES],
    /// The generations, in the order of the file.
    pub keys: Vec<HeaderKey>,
}

impl ExportHeader {
    /// Returns what identifies the export: vault id, time and salt. Wrapped keys are bound to it.
    pub fn export_id(&self) -> Vec<u8> {
        [&self.vault_id[..], &self.created_at_ms.to_be_bytes(), &self.salt].concat()
    }

    /// Returns the bytes of the header, which begin the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = self.export_id();
        fields.extend_from_slice(&(self.keys.len() as u32).to_be_bytes());
        for key in &self.keys {
            fields.push(u8::from(key.wrapped.is_some()));
            // Cannot truncate: a key id has at most 48 bytes.
            fields.push(key.kid.as_str().len() as u8);
            fields.extend_from_slice(key.kid.as_str().as_bytes());
            fields.extend_from_slice(key.fingerprint.as_bytes());
            fields.extend_from_slice(&key.records.to_be_bytes());
            if let Some(wrapped) = &key.wrapped {
                fields.extend_from_slice(&wrapped.nonce);
                fields.extend_from_slice(&wrapped.sealed);
            }
        }
        [MAGIC, &[EXPORT_VERSION], &(fields.len() as u32).to_be_bytes(), &fields].concat()
    }

    /// Returns the length of the fields after the prefix, in bytes.
    ///
    /// # Errors
    /// Returns [`ExportError`] if the prefix does not begin an export that this release can read.
    pub fn fields_bytes(prefix: &[u8; PREFIX_BYTES]) -> Result<usize, ExportError> {
        let rest = prefix.strip_prefix(MAGIC).ok_or(ExportError::Foreign)?;
        match rest {
            [0, ..] => Err(ExportError::Damaged("its format has no version")),
            [version, ..] if *version != EXPORT_VERSION => Err(ExportError::OtherVersion(*version)),
            [_, a, b, c, d] => match u32::from_be_bytes([*a, *b, *c, *d]) {
                bytes if bytes > FIELDS_BYTES_MAX => Err(ExportError::Damaged("its header is too long")),
                bytes => Ok(bytes as usize),
            },
            _ => Err(ExportError::Foreign),
        }
    }

    /// Parses the fields.
    ///
    /// # Errors
    /// Returns [`ExportError::Damaged`] if the fields are malformed.
    pub fn parse_fields(fields: &[u8]) -> Result<Self, ExportError> {
        let mut fields = Fields(fields);
        let vault_id = fields.array()?;
        let created_at_ms = fields.integer()?;
        let salt = fields.array()?;
        let count = u32::from_be_bytes(fields.array()?);
        let mut keys = Vec::new();
        for _ in 0..count {
            let [flags, length] = fields.array()?;
            let kid = std::str::from_utf8(fields.take(usize::from(length))?).ok().and_then(Kid::parse);
            let kid = kid.ok_or(ExportError::Damaged("its header has an invalid key id"))?;
            let fingerprint = Fingerprint::from_bytes(fields.array()?);
            let records = fields.integer()?;
            let wrapped = match flags {
                0 => None,
                1 => Some(WrappedKey { nonce: fields.array()?, sealed: fields.array::<WRAPPED_BYTES>()? }),
                _ => return Err(ExportError::Damaged("its header has unknown flags")),
            };
            keys.push(HeaderKey { kid, fingerprint, records, wrapped });
        }
        if !fields.0.is_empty() {
            return Err(ExportError::Damaged("its header is longer than its fields"));
        }
        Ok(ExportHeader { vault_id, created_at_ms, salt, keys })
    }
}

/// The rest of the fields.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], ExportError> {
        let (taken, rest) =
            self.0.split_at_checked(bytes).ok_or(ExportError::Damaged("its header ends within a field"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ExportError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn integer(&mut self) -> Result<u64, ExportError> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> ExportHeader {
        let key = |kid, wrapped| HeaderKey {
            kid: Kid::parse(kid).unwrap(),
            fingerprint: Fingerprint::from_bytes([3; 8]),
            records: 7,
            wrapped,
        };
        let wrapped = WrappedKey { nonce: [4; 24], sealed: [5; WRAPPED_BYTES] };
        let keys = vec![key("K_A", Some(wrapped)), key("K", None)];
        ExportHeader { vault_id: [1; 16], created_at_ms: 0x0102, salt: [2; 32], keys }
    }

    fn parse(bytes: &[u8]) -> Result<ExportHeader, ExportError> {
        let (prefix, rest) = bytes.split_first_chunk().ok_or(ExportError::Foreign)?;
        let length = ExportHeader::fields_bytes(prefix)?;
        ExportHeader::parse_fields(rest.get(..length).ok_or(ExportError::Damaged("short"))?)
    }

    #[test]
    fn the_bytes_follow_the_specification() {
        let mut expected = b"masker export\n\x02\0\0\0\xB0".to_vec();
        expected.extend_from_slice(&[1; 16]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 1, 2]);
        expected.extend_from_slice(&[2; 32]);
        expected.extend_from_slice(b"\0\0\0\x02\x01\x03K_A");
        expected.extend_from_slice(&[3; 8]);
        expected.extend_from_slice(&7_u64.to_be_bytes());
        expected.extend_from_slice(&[4; 24]);
        expected.extend_from_slice(&[5; 48]);
        expected.extend_from_slice(b"\0\x01K");
        expected.extend_from_slice(&[3; 8]);
        expected.extend_from_slice(&7_u64.to_be_bytes());
        expected[18] = (expected.len() - PREFIX_BYTES) as u8;
        assert_eq!(header().encode(), expected);
        assert!(parse(&expected).is_ok_and(|back| back == header()));
    }

    #[test]
    fn rejects_malformed_headers() {
        let bytes = header().encode();
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "{length} bytes");
        }
        let changed = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            parse(&bytes).err()
        };
        assert_eq!(changed(0, b'M'), Some(ExportError::Foreign));
        assert_eq!(changed(14, 1), Some(ExportError::OtherVersion(1)));
        assert_eq!(changed(14, 3), Some(ExportError::OtherVersion(3)));
        assert_eq!(changed(14, 0), Some(ExportError::Damaged("its format has no version")));
        assert_eq!(changed(15, 255), Some(ExportError::Damaged("its header is too long")));
        assert_eq!(changed(79, 2), Some(ExportError::Damaged("its header has unknown flags")));
        assert_eq!(changed(81, b'k'), Some(ExportError::Damaged("its header has an invalid key id")));
    }
}
