//! Tokens that carry their value, minted again under the active key.

use super::{
    ItemFailure, TokenInput, Vault,
    keys::KeysInForce,
    outcomes::{BatchResult, ItemOutcomeKey, OutcomeCounter},
    parallel_map,
    rehydrate::{ParsedToken, open_token},
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

impl Vault {
    /// Mints `MSK1` tokens again under the active key of their kid, in their own suite; `MSKV1` tokens come back as they
    /// are. An old key is used even when its grace period is over: this is how one gets rid of it. Results keep the
    /// order of the tokens. No store is asked.
    pub fn rewrap(
        &self,
        permit: &Permit<Rewrap>,
        tokens: &[TokenInput<'_>],
    ) -> BatchResult<Result<Rewrapped, ItemFailure>> {
        let keys = self.shared.keys.load_full();
        let results = parallel_map::map(tokens, |input| rewrap(&keys, permit, input));
        let now_ms = self.now_ms();
        let mut tally = OutcomeCounter::new("rewrap");
        for result in &results {
            tally.count(match result {
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
        tally.record(&self.shared, results)
    }
}

/// What a token that carries its value was opened by.
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
