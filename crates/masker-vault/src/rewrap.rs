//! Rewrapping: tokens that contain their value, minted again under the active key.

use std::sync::Arc;

use super::{
    ItemFailure, TokenInput,
    handles::Handles,
    keys::{CurrentKeys, KeysInForce},
    outcomes::{BatchResult, ItemOutcomeKey, OutcomeCounter, RequestCounters},
    parallel_map,
    rehydrate::{ParsedToken, open_token},
    time::{self, Clock},
};
use masker_access::{Permit, Rewrap};
use masker_core::{crypto::Fingerprint, keyring::Role, token::Token};
use masker_types::kind::{EntityKind, Kid, Value};

/// The token to store from now on.
pub struct Rewrapped {
    /// The token's text.
    pub token: String,
    /// Whether it differs from the one given.
    pub changed: bool,
}

/// Mints tokens again under active keys.
pub(crate) struct Rewrapper {
    keys: Arc<CurrentKeys>,
    counters: Arc<RequestCounters>,
    clock: Clock,
}

impl Rewrapper {
    pub(crate) fn new(handles: &Handles) -> Self {
        Rewrapper {
            keys: Arc::clone(&handles.keys),
            counters: Arc::clone(&handles.counters),
            clock: Arc::clone(&handles.clock),
        }
    }

    /// Implements [`Vault::rewrap`](crate::Vault::rewrap).
    pub(crate) fn rewrap(
        &self,
        permit: &Permit<Rewrap>,
        tokens: &[TokenInput<'_>],
    ) -> BatchResult<Result<Rewrapped, ItemFailure>> {
        let keys = self.keys.load_full();
        let results = parallel_map::map(tokens, |input| rewrap(&keys, permit, input));
        let now_ms = time::unix_ms(&self.clock);
        let mut counter = OutcomeCounter::new("rewrap");
        for result in &results {
            counter.count(match result {
                Ok((rewrapped, opened_by)) => {
                    if let Some(by) = opened_by {
                        keys.uses.note_token_opened(by.name, now_ms);
                    }
                    ItemOutcomeKey {
                        scheme: if opened_by.is_some() { "MSK1" } else { "MSKV1" },
                        kind: opened_by.map(|by| by.kind),
                        kid: opened_by.map(|by| by.name.0),
                        fingerprint: opened_by.map(|by| by.name.1),
                        role: opened_by.map(|by| by.role),
                        outcome: if rewrapped.changed { "changed" } else { "unchanged" },
                    }
                }
                Err(failure) => ItemOutcomeKey::keyless(None, failure.code().as_str()),
            });
        }
        let results = results.into_iter().map(|result| result.map(|(rewrapped, _)| rewrapped)).collect();
        counter.record(&self.counters, results)
    }
}

/// The key that opened a token which contains its value.
#[derive(Clone, Copy)]
struct OpenedBy {
    kind: EntityKind,
    name: (Kid, Fingerprint),
    role: Role,
}

fn rewrap(
    keys: &KeysInForce,
    permit: &Permit<Rewrap>,
    input: &TokenInput<'_>,
) -> Result<(Rewrapped, Option<OpenedBy>), ItemFailure> {
    let mode = permit.mode();
    let unchanged = || Rewrapped { token: input.token.to_owned(), changed: false };
    let (kind, kid, body, context) = match ParsedToken::admit(permit, input)? {
        ParsedToken::Vault { .. } => return Ok((unchanged(), None)),
        ParsedToken::Aead { kind, kid, body, context } => (kind, kid, body, context),
    };
    let (value, generation) = open_token(&keys.ring, mode, kind, kid, &body, context)?;
    let opened_by = Some(OpenedBy { kind, name: (kid, generation.fingerprint()), role: generation.role() });
    let active = match (generation.role(), keys.ring.get(kid)) {
        (Role::Old, Some(pair)) => pair.active().keys(mode),
        _ => return Ok((unchanged(), opened_by)),
    };
    let value = Value::new(&value).ok_or(ItemFailure::NotFound)?;
    let body = active.mint(body.suite(), kind, context, value, &mut rand::rng());
    let token = Token::Aead { kind, kid, body }.to_text();
    Ok((Rewrapped { token, changed: true }, opened_by))
}
