//! The prepared keys of one key generation in one mode, in one piece of locked memory.

use std::fmt;

use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305};
use data_encoding::HEXLOWER;
use rand::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    aead::{
        AeadBody, AeadCipher, HEADER_BYTES, NONCE_BYTES, PREFIX_BYTES, Suite, TAG_BYTES, UnsealError, random_nonce,
    },
    control::ControlKey,
    encoding::{Encoded, enc_to_vec, encoded_bytes},
    id::{Index, IndexName, TokenId},
    kdf::{SubkeyLabel, Subkeys},
    mac::MacKey,
    padding,
    record::{OpenedRecord, RecordPayload, SealedRecord, into_text},
    secret::{Locked, LockedMemoryError, SecretKey},
    siv::synthetic_nonce,
    wrapped_key::WrappedKey,
    xaes::Xaes256Gcm,
};
use crate::normalize::Normalizer;
use masker_types::{
    kind::{Context, EntityKind, Kid, Value},
    limits::{CONTEXT_BYTES_MAX, KID_BYTES_MAX, KIND_BYTES_MAX},
    mode::Mode,
};

const TOKEN_DOMAIN: &[u8] = b"MSK1";
const RECORD_DOMAIN: &[u8] = b"MSKV1-record";
const EXPORT_DOMAIN: &[u8] = b"masker-export-key";
const CONTROL_DOMAIN: &[u8] = b"masker-control-slot";
/// Length of the longest `enc("MSK1", header, kind, kid, context)`, in bytes.
const TOKEN_AAD_BYTES_MAX: usize =
    encoded_bytes(5, TOKEN_DOMAIN.len() + HEADER_BYTES + KIND_BYTES_MAX + KID_BYTES_MAX + CONTEXT_BYTES_MAX);
/// Length of the longest `enc("MSKV1-record", kind, kid, id, minted_at, value index, form index)`, in bytes.
const RECORD_AAD_BYTES_MAX: usize = encoded_bytes(
    7,
    RECORD_DOMAIN.len() + KIND_BYTES_MAX + KID_BYTES_MAX + TokenId::BYTES + size_of::<u64>() + 2 * Index::BYTES,
);

/// The public name of a key generation: the first 8 bytes of a subkey with no other use. It is written as 16 lower-case
/// hex digits, and is the same in both modes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    /// Creates a fingerprint from its bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Fingerprint(bytes)
    }

    /// Parses 16 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 8];
        if HEXLOWER.decode_len(text.len()) != Ok(bytes.len()) {
            return None;
        }
        HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).ok()?;
        Some(Fingerprint(bytes))
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// Returns the part that is in the header of reversible tokens.
    pub const fn prefix(&self) -> [u8; PREFIX_BYTES] {
        let [a, b, c, d, ..] = self.0;
        [a, b, c, d]
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 16];
        f.write_str(HEXLOWER.encode_mut_str(&self.0, &mut digits))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the seal of a record is bound to: what stands outside the seal and never changes, and the record's two indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordBinding {
    /// The kind in the text of the token.
    pub kind: EntityKind,
    /// The kid in the text of the token. The key that seals the record may be of another one.
    pub minted_kid: Kid,
    /// The id in the text of the token.
    pub id: TokenId,
    /// When the token was minted, in milliseconds of Unix time.
    pub minted_at_ms: u64,
    /// The index of the value under the sealing key; `None` for a honeytoken.
    pub value_index: Option<Index>,
    /// The index of the form under the sealing key; `None` for a honeytoken, and for the normalizer `exact`.
    pub form_index: Option<Index>,
}

/// The states that are computed once from a key. They are as secret as the key.
struct DerivedKeys {
    index: MacKey,
    index_tag: MacKey,
    nonce: MacKey,
    xaes: Xaes256Gcm,
    xchacha: XChaCha20Poly1305,
    record: Xaes256Gcm,
    export: Xaes256Gcm,
    control: Xaes256Gcm,
}

/// The prepared keys of one key generation in one mode, shared by all threads.
///
/// They take whole pages of locked memory. They have no `Debug` and no `Clone`.
pub struct GenerationKeys {
    kid: Kid,
    fingerprint: Fingerprint,
    states: Locked<DerivedKeys>,
}

impl GenerationKeys {
    /// Derives all subkeys of a key generation (HKDF-SHA256, RFC 5869) and prepares their ciphers and MACs.
    ///
    /// # Errors
    /// Returns [`LockedMemoryError`] if no locked memory is available.
    pub fn derive(kid: Kid, key: &SecretKey, mode: Mode) -> Result<Self, LockedMemoryError> {
        let mut fingerprint = [0; 8];
        let states = Locked::init(|| {
            let subkeys = Subkeys::extract(kid, key);
            let subkey = |label| subkeys.subkey(mode, label);
            fingerprint.copy_from_slice(&subkey(SubkeyLabel::Fingerprint)[..8]);
            DerivedKeys {
                index: MacKey::new(subkey(SubkeyLabel::Index).as_slice()),
                index_tag: MacKey::new(subkey(SubkeyLabel::IndexTag).as_slice()),
                nonce: MacKey::new(subkey(SubkeyLabel::Nonce).as_slice()),
                xaes: Xaes256Gcm::new(&subkey(SubkeyLabel::AeadXaes256Gcm)),
                xchacha: XChaCha20Poly1305::new((&*subkey(SubkeyLabel::AeadXChaCha20Poly1305)).into()),
                record: Xaes256Gcm::new(&subkey(SubkeyLabel::Record)),
                export: Xaes256Gcm::new(&subkey(SubkeyLabel::Export)),
                control: Xaes256Gcm::new(&subkey(SubkeyLabel::Control)),
            }
        })?;
        Ok(GenerationKeys { kid, fingerprint: Fingerprint(fingerprint), states })
    }

    /// Returns the fingerprint that a key has under a key id, in both modes.
    pub fn fingerprint_of(kid: Kid, key: &SecretKey) -> Fingerprint {
        let mut fingerprint = [0; 8];
        fingerprint.copy_from_slice(&Subkeys::extract(kid, key).subkey(Mode::Live, SubkeyLabel::Fingerprint)[..8]);
        Fingerprint(fingerprint)
    }

    /// Returns the key id of this generation.
    pub fn kid(&self) -> Kid {
        self.kid
    }

    /// Returns the public name of the generation.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Computes the index under which the vault lists the tokens of a value:
    /// `HMAC-SHA256(subkey("index"), enc("value", kind, context, value))[..20]`.
    pub fn value_index(&self, kind: EntityKind, context: Context<'_>, value: Value<'_>) -> Index {
        let [kind, context, value] = [kind.as_str(), context.as_str(), value.as_str()].map(str::as_bytes);
        Index::from_bytes(self.states.index.tag(&[IndexName::Value.as_str().as_bytes(), kind, context, value]))
    }

    /// Computes the index under which the vault lists the match parts of a form:
    /// `HMAC-SHA256(subkey("index"), enc("form", normalizer, kind, context, form))[..20]`.
    pub fn form_index(&self, normalizer: Normalizer, kind: EntityKind, context: Context<'_>, form: &str) -> Index {
        let parts = [IndexName::Form.as_str(), normalizer.name(), kind.as_str(), context.as_str(), form];
        Index::from_bytes(self.states.index.tag(&parts.map(str::as_bytes)))
    }

    /// Seals a value in a reversible token.
    ///
    /// The nonce of deterministic suites is synthetic; they do not use `rng`. The nonce of the others is 24 random
    /// bytes. In both cases, the probability that a nonce repeats with other data stays below 2^-32 up to 2^80 tokens
    /// of one key.
    ///
    /// ```text
    /// header = suite || fingerprint[..4]
    /// aad    = enc("MSK1", header, kind, kid, context)
    /// body   = header || nonce || AEAD(subkey("aead/" + cipher), nonce, pad(value), aad)
    /// ```
    pub fn mint(
        &self,
        suite: Suite,
        kind: EntityKind,
        context: Context<'_>,
        value: Value<'_>,
        rng: &mut impl CryptoRng,
    ) -> AeadBody {
        let [a, b, c, d] = self.fingerprint.prefix();
        let header = [suite.code(), a, b, c, d];
        let nonce = if suite.is_deterministic() {
            synthetic_nonce(&self.states.nonce, &header, kind, context, value.as_str())
        } else {
            random_nonce(rng)
        };
        let aad = self.token_aad(&header, kind, context);
        AeadBody::seal(suite, header, &nonce, value.as_str(), |data| match suite.cipher() {
            AeadCipher::Xaes256Gcm => self.states.xaes.seal(&nonce, aad.as_slice(), data),
            AeadCipher::XChaCha20Poly1305 => self
                .states
                .xchacha
                .encrypt_inout_detached((&nonce).into(), aad.as_slice(), data.into())
                .expect("a value is far shorter than the 256 GiB that ChaCha20 can seal")
                .into(),
        })
    }

    /// Opens a reversible token under this generation, without checking the fingerprint in the body.
    ///
    /// For deterministic suites, the nonce is computed again from the opened value and compared in constant time, so a
    /// token opens under one key only.
    ///
    /// # Errors
    /// Returns [`UnsealError`] for a wrong tag, for invalid padding, text or length, and for a nonce that does not
    /// belong to the value.
    pub fn open(
        &self,
        kind: EntityKind,
        context: Context<'_>,
        body: &AeadBody,
    ) -> Result<Zeroizing<String>, UnsealError> {
        let (header, nonce, tag) = (body.header(), body.nonce(), body.tag());
        let aad = self.token_aad(&header, kind, context);
        let mut data = Zeroizing::new(body.ciphertext().to_vec());
        match body.suite().cipher() {
            AeadCipher::Xaes256Gcm => self.states.xaes.open(&nonce, aad.as_slice(), &mut data, &tag)?,
            AeadCipher::XChaCha20Poly1305 => {
                let data = data.as_mut_slice().into();
                let opened =
                    self.states.xchacha.decrypt_inout_detached((&nonce).into(), aad.as_slice(), data, (&tag).into());
                opened.map_err(|_| UnsealError)?;
            }
        }
        let length = padding::unpadded_bytes(&data).ok_or(UnsealError)?;
        data.truncate(length);
        let value = into_text(data)?;
        Value::new(&value).ok_or(UnsealError)?;
        if body.suite().is_deterministic() {
            let own = synthetic_nonce(&self.states.nonce, &header, kind, context, &value);
            if !bool::from(own.ct_eq(&nonce)) {
                return Err(UnsealError);
            }
        }
        Ok(value)
    }

    /// Seals the payload of a record with XAES-256-GCM under `subkey("record")`, with a random nonce and
    /// `aad = enc("MSKV1-record", kind, kid, id, minted_at, value index or "", form index or "")`.
    pub fn seal_record(
        &self,
        binding: &RecordBinding,
        payload: &RecordPayload<'_>,
        rng: &mut impl CryptoRng,
    ) -> SealedRecord {
        let nonce = random_nonce(rng);
        let mut ciphertext = payload.to_plaintext();
        let tag = self.states.record.seal(&nonce, record_aad(binding).as_slice(), &mut ciphertext);
        ciphertext.extend_from_slice(&tag);
        SealedRecord { nonce, ciphertext }
    }

    /// Opens a record that [`GenerationKeys::seal_record`] sealed with the same binding.
    ///
    /// # Errors
    /// Returns [`UnsealError`] for every other record.
    pub fn open_record(
        &self,
        binding: &RecordBinding,
        nonce: &[u8; NONCE_BYTES],
        ciphertext: &[u8],
    ) -> Result<OpenedRecord, UnsealError> {
        let (data, tag) = ciphertext.split_last_chunk::<TAG_BYTES>().ok_or(UnsealError)?;
        let mut data = Zeroizing::new(data.to_vec());
        self.states.record.open(nonce, record_aad(binding).as_slice(), &mut data, tag)?;
        OpenedRecord::from_plaintext(data)
    }

    /// Computes the tag that authenticates an index row: `HMAC-SHA256(subkey("index-tag"), enc(name, index, list))[..16]`.
    /// `list` has the row's entries, concatenated.
    pub fn index_tag(&self, name: IndexName, index: Index, list: &[u8]) -> [u8; TAG_BYTES] {
        self.states.index_tag.tag(&[name.as_str().as_bytes(), index.as_bytes(), list])
    }

    /// Checks the tag of an index row in constant time. A wrong tag means a damaged vault.
    pub fn index_tag_verifies(&self, name: IndexName, index: Index, list: &[u8], tag: &[u8; TAG_BYTES]) -> bool {
        self.index_tag(name, index, list).ct_eq(tag).into()
    }

    /// Seals the key of an export with XAES-256-GCM under `subkey("export")`, with a random nonce and
    /// `aad = enc("masker-export-key", kid, fingerprint, export_id)`. `export_id` identifies the export.
    pub fn wrap_export_key(&self, file_key: &SecretKey, export_id: &[u8], rng: &mut impl CryptoRng) -> WrappedKey {
        WrappedKey::seal(&self.states.export, file_key, &self.export_aad(export_id), rng)
    }

    /// Opens a key that [`GenerationKeys::wrap_export_key`] sealed for the same export. Returns `None` for every
    /// other key.
    ///
    /// # Errors
    /// Returns [`LockedMemoryError`] if no locked memory is available.
    pub fn unwrap_export_key(
        &self,
        wrapped: &WrappedKey,
        export_id: &[u8],
    ) -> Result<Option<SecretKey>, LockedMemoryError> {
        wrapped.open(&self.states.export, &self.export_aad(export_id))
    }

    /// Seals the control key of a vault with XAES-256-GCM under `subkey("control")`, with a random nonce and
    /// `aad = enc("masker-control-slot", vault id, control epoch, kid, fingerprint)`.
    pub fn wrap_control_key(&self, key: &ControlKey, rng: &mut impl CryptoRng) -> WrappedKey {
        let aad = self.control_aad(&key.vault_id(), key.epoch());
        WrappedKey::seal(&self.states.control, key.secret(), &aad, rng)
    }

    /// Opens the control key of a vault that [`GenerationKeys::wrap_control_key`] sealed in this epoch. Returns `None` for
    /// every other key.
    ///
    /// # Errors
    /// Returns [`LockedMemoryError`] if no locked memory is available.
    pub fn unwrap_control_key(
        &self,
        wrapped: &WrappedKey,
        vault_id: [u8; 16],
        epoch: u64,
    ) -> Result<Option<ControlKey>, LockedMemoryError> {
        let key = wrapped.open(&self.states.control, &self.control_aad(&vault_id, epoch))?;
        key.map(|key| ControlKey::new(key, vault_id, epoch)).transpose()
    }

    fn export_aad(&self, export_id: &[u8]) -> Vec<u8> {
        enc_to_vec(&[EXPORT_DOMAIN, self.kid.as_str().as_bytes(), self.fingerprint.as_bytes(), export_id])
    }

    fn control_aad(&self, vault_id: &[u8; 16], epoch: u64) -> Vec<u8> {
        let (kid, fingerprint) = (self.kid.as_str().as_bytes(), self.fingerprint.as_bytes());
        enc_to_vec(&[CONTROL_DOMAIN, vault_id, &epoch.to_be_bytes(), kid, fingerprint])
    }

    fn token_aad(
        &self,
        header: &[u8; HEADER_BYTES],
        kind: EntityKind,
        context: Context<'_>,
    ) -> Encoded<TOKEN_AAD_BYTES_MAX> {
        let (kind, kid, context) = (kind.as_str(), self.kid.as_str(), context.as_str());
        Encoded::new(&[TOKEN_DOMAIN, header, kind.as_bytes(), kid.as_bytes(), context.as_bytes()])
    }
}

fn record_aad(binding: &RecordBinding) -> Encoded<RECORD_AAD_BYTES_MAX> {
    fn bytes(index: &Option<Index>) -> &[u8] {
        index.as_ref().map_or(&[], |index| index.as_bytes())
    }
    let RecordBinding { kind, minted_kid, id, minted_at_ms, value_index, form_index } = binding;
    Encoded::new(&[
        RECORD_DOMAIN,
        kind.as_str().as_bytes(),
        minted_kid.as_str().as_bytes(),
        id.as_bytes(),
        &minted_at_ms.to_be_bytes(),
        bytes(value_index),
        bytes(form_index),
    ])
}

#[cfg(test)]
mod tests;
