//! The keys of placeholders, which name values in the texts of one session or caller.

use zeroize::Zeroizing;

use super::{
    mac::MacKey,
    secret::{Locked, LockedMemoryError},
};
use masker_types::{
    kind::{Context, EntityKind, Value},
    limits::KEY_BYTES,
};

const TEXT_PLACEHOLDER: &[u8] = b"text-placeholder";

/// The random key of the placeholders of one session or caller, in locked memory. It has no `Debug` and no `Clone`.
pub struct PlaceholderKey(Locked<MacKey>);

impl PlaceholderKey {
    /// Prepares a key.
    ///
    /// # Errors
    /// Returns [`LockedMemoryError`] if no locked memory is available.
    pub fn new(key: &Zeroizing<[u8; KEY_BYTES]>) -> Result<Self, LockedMemoryError> {
        Ok(PlaceholderKey(Locked::init(|| MacKey::new(key.as_slice()))?))
    }

    /// Computes the hash whose first bits are the code of a value's placeholder:
    /// `HMAC-SHA256(key, enc("text-placeholder", kind, context, value))`.
    pub fn hash(&self, kind: EntityKind, context: Context<'_>, value: Value<'_>) -> [u8; 32] {
        let parts = [kind.as_str(), context.as_str(), value.as_str()].map(str::as_bytes);
        self.0.tag(&[TEXT_PLACEHOLDER, parts[0], parts[1], parts[2]])
    }
}
