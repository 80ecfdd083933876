//! The cryptography of tokens and records: keys in locked memory, subkeys, ciphers, synthetic nonces.
//!
//! All constructions have a published analysis: HKDF (RFC 5869) for subkeys, HMAC-SHA256 (RFC 2104) as the PRF,
//! XAES-256-GCM (C2SP) and XChaCha20-Poly1305 as AEADs with 192-bit nonces, and the SIV composition (Rogaway and
//! Shrimpton, 2006) for deterministic tokens. Code outside this module uses [`GenerationKeys`] and never sees the bytes
//! of a key.

pub mod aead;
pub mod chain;
pub mod control;
mod encoding;
pub mod export;
pub mod generation;
mod id;
pub mod kdf;
mod locked;
mod mac;
mod padding;
mod placeholder;
pub mod record;
pub mod secret;
mod siv;
mod weakness;
pub mod wrapped_key;
mod xaes;

pub use aead::{AeadBody, Suite, UnsealError};
pub use chain::ChainKey;
pub use control::{ControlCounts, ControlKey, RowSum};
pub use export::ExportCipher;
pub use generation::{Fingerprint, GenerationKeys, RecordBinding};
pub use id::{Index, IndexName, MatchPart, TokenId};
pub use locked::{KeyMemory, key_memory};
pub use placeholder::PlaceholderKey;
pub use record::{OpenedRecord, RecordPayload, SealedRecord};
pub use secret::{Locked, LockedMemoryError, SecretKey, SecretKeyError, Weakness};
pub use wrapped_key::WrappedKey;
