//! The synthetic nonce of deterministic tokens.

use super::{aead::NONCE_BYTES, mac::MacKey};
use masker_types::kind::{Context, EntityKind};

/// Computes `HMAC-SHA256(nonce key, enc(header, kind, context, value))[0..24]`.
///
/// This is the SIV composition (Rogaway and Shrimpton, "A Provable-Security Treatment of the Key-Wrap Problem", 2006).
/// The nonce is a PRF of everything that is sealed and authenticated, so equal inputs give equal tokens, and different
/// inputs share a nonce only by chance. With 192 bits, that chance stays below 2^-32 up to 2^80 tokens of one key; with
/// the 96 bits of plain AES-GCM, up to 2^32.
///
/// Opening a token computes the nonce again and compares it. This also commits the token to its key, because
/// HMAC-SHA256 is collision resistant. Neither GCM nor Poly1305 commits to a key.
pub(super) fn synthetic_nonce(
    key: &MacKey,
    header: &[u8],
    kind: EntityKind,
    context: Context<'_>,
    value: &str,
) -> [u8; NONCE_BYTES] {
    key.tag(&[header, kind.as_str().as_bytes(), context.as_str().as_bytes(), value.as_bytes()])
}
