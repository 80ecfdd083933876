//! One record moved to another key: opened, sealed again, and given the alias by which its value is found there.

use rand::CryptoRng;

use super::KeyMove;
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
    /// The row that was read: where another stands by now, this is not written.
    pub(crate) before: Row,
    /// The record as it is to be, with its alias.
    pub(crate) after: Record,
    /// The alias that leads to it, with its index.
    pub(crate) alias: Option<(TokenId, Alias)>,
}

/// What is to become of a record.
pub(crate) enum ResealPlan {
    /// It is none of those to be moved.
    Leave,
    /// It is moved.
    Reseal(Box<ResealedRecord>),
    /// It is one, or may be one, and cannot be moved.
    Fail(TokenId, ResealFailure),
}

/// Decides what becomes of a record, and seals it again under the target where it is to be moved.
///
/// The token stays as it is: kind, kid and id are those under which it was minted. Where the id of the value under the
/// target key is another, an alias from there leads to it.
pub(crate) fn plan(
    ring: &Keyring,
    route: &KeyMove,
    target: &Generation,
    id: TokenId,
    row: &Row,
    now_ms: u64,
    rng: &mut impl CryptoRng,
) -> ResealPlan {
    let Ok(record) = Record::decode(row) else { return ResealPlan::Fail(id, ResealFailure::Undecodable) };
    if !route.moves(&record) {
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

/// `None` where the record does not open in this mode.
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
