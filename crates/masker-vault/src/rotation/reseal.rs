//! Moves one record to another key: opens it, seals it again, and gives it the alias by which its value is found there.

use rand::CryptoRng;

use super::key_move::KeyMove;
use crate::records;
use masker_core::{
    crypto::{Fingerprint, TokenId},
    keyring::{Generation, Keyring},
};
use masker_store::{
    Row,
    record::{Alias, Record, ResealFailure},
};
use masker_types::{
    kind::{Context, Value},
    mode::Mode,
};

/// A record to be written under the target key.
pub(crate) struct ResealedRecord {
    pub(crate) id: TokenId,
    /// The row that was read. If the store has another one by now, the record is not written.
    pub(crate) before: Row,
    /// The record to write, with its alias.
    pub(crate) after: Record,
    /// The alias that leads to the record, with its index.
    pub(crate) alias: Option<(TokenId, Alias)>,
}

/// What to do with a record.
pub(crate) enum ResealPlan {
    /// Leave it: it stays under its key.
    Leave,
    /// Move it.
    Reseal(Box<ResealedRecord>),
    /// Report it: it should or may have to be moved, and cannot be.
    Fail(TokenId, ResealFailure),
}

/// Decides what to do with a record, and seals it under the target if it must be moved.
///
/// The token does not change: kind, kid and id stay those under which it was minted. If the value's id under the target key
/// is another one, an alias from that id leads to the record.
pub(crate) fn plan(
    ring: &Keyring,
    key_move: &KeyMove,
    target: &Generation,
    id: TokenId,
    row: &Row,
    now_ms: u64,
    rng: &mut impl CryptoRng,
) -> ResealPlan {
    let Ok(record) = Record::decode(row) else { return ResealPlan::Fail(id, ResealFailure::Undecodable) };
    if !key_move.moves(&record) {
        return ResealPlan::Leave;
    }
    let fingerprint = Fingerprint::from_bytes(record.fingerprint);
    let Some(source) = ring.by_fingerprint(record.sealing_kid, fingerprint) else {
        return ResealPlan::Fail(id, ResealFailure::KeyNotLoaded);
    };
    // The row does not say in which mode it was sealed.
    let resealed = Mode::ALL.into_iter().find_map(|mode| reseal(source, target, mode, id, &record, now_ms, rng));
    match resealed {
        Some((after, alias)) => ResealPlan::Reseal(Box::new(ResealedRecord { id, before: row.clone(), after, alias })),
        None => ResealPlan::Fail(id, ResealFailure::DoesNotOpen),
    }
}

/// Returns `None` if the record does not open in this mode.
fn reseal(
    source: &Generation,
    target: &Generation,
    mode: Mode,
    id: TokenId,
    record: &Record,
    now_ms: u64,
    rng: &mut impl CryptoRng,
) -> Option<(Record, Option<(TokenId, Alias)>)> {
    let (kind, minted_kid) = (record.kind, record.minted_kid);
    let opened = records::open(source.keys(mode), kind, minted_kid, id, record).ok()?;
    let (context, value) = (Context::new(opened.context())?, Value::new(opened.value())?);
    let keys = target.keys(mode);
    let sealed = keys.seal_record(kind, minted_kid, id, &records::payload(context, value, opened.normal()), rng);
    let index = keys.token_id(kind, context, opened.normal());
    let alias = (index != id).then(|| {
        let alias = Alias { target: *id.as_bytes(), tag: keys.alias_tag(index, id) };
        (index, alias)
    });
    let after = Record {
        sealing_kid: target.kid(),
        fingerprint: *target.fingerprint().as_bytes(),
        sealed_at_ms: now_ms,
        alias: alias.as_ref().map(|(index, _)| *index.as_bytes()),
        nonce: sealed.nonce,
        ciphertext: sealed.ciphertext,
        ..*record
    };
    Some((after, alias))
}
