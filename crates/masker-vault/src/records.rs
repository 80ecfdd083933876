//! Sealing and opening of records.

use rand::CryptoRng;

use super::{ItemFailure, metrics::VaultMetrics};
use masker_core::{
    crypto::{Fingerprint, GenerationKeys, Index, OpenedRecord, RecordBinding, RecordPayload, TokenId, UnsealError},
    keyring::Keyring,
    normalize::Normalizer,
};
use masker_store::{
    Row, RowKey,
    record::{Record, RowName},
};
use masker_types::{
    kind::{Context, EntityKind, Kid, Value},
    mode::Mode,
};

/// The indexes of a record under the key that seals it. Both are absent for a honeytoken, so that no search finds it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RecordIndexes {
    pub(crate) value: Option<Index>,
    pub(crate) form: Option<Index>,
}

impl RecordIndexes {
    /// Computes the indexes of a payload under `keys`.
    pub(crate) fn compute(keys: &GenerationKeys, kind: EntityKind, payload: &RecordPayload<'_>) -> Self {
        let form = payload.form.map_or(payload.value.as_str(), |form| form.as_str());
        let has_form = payload.normalizer != Normalizer::Exact;
        RecordIndexes {
            value: Some(keys.value_index(kind, payload.context, payload.value)),
            form: has_form.then(|| keys.form_index(payload.normalizer, kind, payload.context, form)),
        }
    }

    /// Returns the indexes that a record names.
    pub(crate) fn of(record: &Record) -> Self {
        RecordIndexes {
            value: record.value_index.map(Index::from_bytes),
            form: record.form_index.map(Index::from_bytes),
        }
    }
}

/// The token of a record, with the time when it was minted.
#[derive(Clone, Copy)]
pub(crate) struct MintedToken {
    pub(crate) kind: EntityKind,
    pub(crate) kid: Kid,
    pub(crate) id: TokenId,
    pub(crate) minted_at_ms: u64,
}

impl MintedToken {
    pub(crate) fn of(id: TokenId, record: &Record) -> Self {
        MintedToken { kind: record.kind, kid: record.minted_kid, id, minted_at_ms: record.minted_at_ms }
    }

    fn binding(&self, indexes: RecordIndexes) -> RecordBinding {
        RecordBinding {
            kind: self.kind,
            minted_kid: self.kid,
            id: self.id,
            minted_at_ms: self.minted_at_ms,
            value_index: indexes.value,
            form_index: indexes.form,
        }
    }
}

/// Returns the record of a token, sealed under `keys`.
pub(super) fn seal(
    keys: &GenerationKeys,
    token: &MintedToken,
    indexes: RecordIndexes,
    payload: &RecordPayload<'_>,
    now_ms: u64,
    rng: &mut impl CryptoRng,
) -> Record {
    let sealed = keys.seal_record(&token.binding(indexes), payload, rng);
    Record {
        sealing_kid: keys.kid(),
        fingerprint: *keys.fingerprint().as_bytes(),
        kind: token.kind,
        minted_kid: token.kid,
        minted_at_ms: token.minted_at_ms,
        sealed_at_ms: now_ms,
        value_index: indexes.value.map(|index| *index.as_bytes()),
        form_index: indexes.form.map(|index| *index.as_bytes()),
        nonce: sealed.nonce,
        ciphertext: sealed.ciphertext,
    }
}

/// Opens a record under `keys`.
pub(super) fn open(keys: &GenerationKeys, id: TokenId, record: &Record) -> Result<OpenedRecord, UnsealError> {
    let binding = MintedToken::of(id, record).binding(RecordIndexes::of(record));
    keys.open_record(&binding, &record.nonce, &record.ciphertext)
}

/// Opens a record under the key that seals it, in the mode that it was sealed in, which its row does not say. Returns `None`
/// if that key is not loaded.
pub(super) fn open_in_either_mode(
    ring: &Keyring,
    id: TokenId,
    record: &Record,
) -> Option<Result<(Mode, OpenedRecord), UnsealError>> {
    let fingerprint = Fingerprint::from_bytes(record.fingerprint);
    let generation = ring.by_fingerprint(record.sealing_kid, fingerprint)?;
    let opened = Mode::ALL.into_iter().find_map(|mode| Some((mode, open(generation.keys(mode), id, record).ok()?)));
    Some(opened.ok_or(UnsealError))
}

/// Returns the payload of a value. The form is left out if it is the value itself.
pub(super) fn payload<'a>(
    context: Context<'a>,
    value: Value<'a>,
    normalizer: Normalizer,
    form: &'a str,
) -> RecordPayload<'a> {
    RecordPayload { context, value, normalizer, form: Value::new(form).filter(|form| *form != value) }
}

/// Decodes a record's row; one that does not decode is counted as damage.
pub(super) fn decode(row: &[u8], metrics: &VaultMetrics) -> Result<Record, ItemFailure> {
    Record::decode(row).map_err(|_| {
        metrics.damaged.inc();
        ItemFailure::Damaged
    })
}

/// Replaces the keys of records' rows by the ids in them.
pub(super) fn with_ids(rows: Vec<(RowKey, Row)>) -> Vec<(TokenId, Row)> {
    let id = |(key, row): (RowKey, Row)| match RowName::parse(&key) {
        Ok(RowName::Record(id)) => Some((TokenId::from_bytes(id), row)),
        _ => None,
    };
    rows.into_iter().filter_map(id).collect()
}
