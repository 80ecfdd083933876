//! Sealing and opening of records.

use rand::CryptoRng;

use super::{ItemFailure, metrics::VaultMetrics};
use masker_core::crypto::{GenerationKeys, OpenedRecord, RecordPayload, TokenId, UnsealError};
use masker_store::record::Record;
use masker_types::kind::{Context, EntityKind, Kid, Value};

/// Returns a new record, sealed under `keys`.
pub(super) fn seal(
    keys: &GenerationKeys,
    kind: EntityKind,
    id: TokenId,
    payload: &RecordPayload<'_>,
    now_ms: u64,
    rng: &mut impl CryptoRng,
) -> Record {
    let sealed = keys.seal_record(kind, keys.kid(), id, payload, rng);
    Record {
        sealing_kid: keys.kid(),
        fingerprint: *keys.fingerprint().as_bytes(),
        kind,
        minted_kid: keys.kid(),
        minted_at_ms: now_ms,
        sealed_at_ms: now_ms,
        alias: None,
        nonce: sealed.nonce,
        ciphertext: sealed.ciphertext,
    }
}

/// Opens a record under `keys` as the record of this token.
pub(super) fn open(
    keys: &GenerationKeys,
    kind: EntityKind,
    minted_kid: Kid,
    id: TokenId,
    record: &Record,
) -> Result<OpenedRecord, UnsealError> {
    keys.open_record(kind, minted_kid, id, &record.nonce, &record.ciphertext)
}

/// Returns the payload of a value and its normal form, which is left out if it is the same.
pub(super) fn payload<'a>(context: Context<'a>, value: Value<'a>, normal: &'a str) -> RecordPayload<'a> {
    RecordPayload { context, value, normal: Value::new(normal).filter(|normal| *normal != value) }
}

/// Decodes a record's row; one that does not decode is counted as damage.
pub(super) fn decode(row: &[u8], metrics: &VaultMetrics) -> Result<Record, ItemFailure> {
    Record::decode(row).map_err(|_| {
        metrics.damaged.inc();
        ItemFailure::Damaged
    })
}
