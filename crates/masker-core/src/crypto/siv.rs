//! The synthetic nonce of deterministic tokens.

use super::{aead::NONCE_BYTES, mac::MacKey};
use masker_types::kind::{Context, EntityKind};

/// `HMAC-SHA256(nonce key, enc(header, kind, context, value))[0..24]`.
///
/// This is the SIV composition (Rogaway and Shrimpton, "A Provable-Security Treatment of the Key-Wrap Problem", 2006):
/// a nonce that is a PRF of everything sealed and authenticated gives equal tokens for equal inputs, and for different
/// ones repeats only by accident. With 192 bits an accident stays below 2^-32 up to 2^80 tokens of one key, where the
/// 96 bits of plain AES-GCM end at 2^32.
///
/// Computing it again from what was opened, and comparing, also commits the token to its key: HMAC-SHA256 is
/// collision resistant, where neither GCM nor Poly1305 commits to anything.
pub(super) fn synthetic_nonce(
    key: &MacKey,
    header: &[u8],
    kind: EntityKind,
    context: Context<'_>,
    value: &str,
) -> [u8; NONCE_BYTES] {
    key.tag(&[header, kind.as_str().as_bytes(), context.as_str().as_bytes(), value.as_bytes()])
}
