//! Vault records erased.

use zeroize::Zeroizing;

use super::{
    ItemFailure, TokenInput, Vault, VaultError,
    outcomes::{BatchResult, ItemOutcomeKey, OutcomeCounter},
    rehydrate::{ParsedToken, open_record, within_reach},
    writer::{Change, CommitDraft, ReadPlan, Reads},
};
use masker_access::{Forget, Permit};
use masker_core::{
    crypto::{Fingerprint, TokenId},
    keyring::Keyring,
};
use masker_store::{Row, RowKey, record::Record};
use masker_types::{
    kind::{Context, EntityKind, Kid},
    mode::Mode,
};

/// The key generation that sealed the record which was erased; none for tokens that no vault holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten(pub Option<(Kid, Fingerprint)>);

/// A record to erase, as its token names it.
struct EraseRequest {
    mode: Mode,
    kind: EntityKind,
    kid: Kid,
    id: TokenId,
    context: Zeroizing<String>,
}

/// Erases the records of tokens. The outcome has, for each token, the generation that sealed its record.
struct ForgetChange(Vec<EraseRequest>);

impl Change for ForgetChange {
    type Outcome = Vec<Result<(Kid, Fingerprint), ItemFailure>>;

    fn row_count(&self) -> usize {
        self.0.len()
    }

    fn plan_reads(&mut self, plan: &mut ReadPlan<'_>) {
        self.0.iter().for_each(|erasure| plan.row(RowKey::record(erasure.id.as_bytes())));
    }

    fn decide(&mut self, draft: &mut CommitDraft<'_>, reads: &mut Reads<'_, '_>) -> Self::Outcome {
        self.0.iter().map(|erasure| erasure.decide(draft, reads.next_row())).collect()
    }
}

impl EraseRequest {
    fn decide(&self, draft: &mut CommitDraft<'_>, row: Option<Row>) -> Result<(Kid, Fingerprint), ItemFailure> {
        let stored = row.map(|row| draft.decode(&row)).transpose()?;
        let record = draft.record_or(self.id, stored);
        let record = record.filter(|record| self.names(record)).ok_or(ItemFailure::NotFound)?;
        self.check_context(draft.keyring(), &record)?;
        Ok(draft.erase_record(self.id, &record))
    }

    /// Whether the record is the token's: a token relabelled with another kind or kid is not known.
    fn names(&self, record: &Record) -> bool {
        record.kind == self.kind && record.minted_kid == self.kid
    }

    /// Whether the record is of the context that the request gave. The context is under the seal, so with a key that is
    /// not loaded it cannot be known: forgetting needs no key, and goes on.
    fn check_context(&self, ring: &Keyring, record: &Record) -> Result<(), ItemFailure> {
        let context = Context::new(&self.context).ok_or(ItemFailure::ContextLength)?;
        match open_record(ring, self.mode, (self.kind, self.kid, self.id), context, record) {
            Ok(_) | Err(ItemFailure::KeyUnavailable(_)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

impl Vault {
    /// Erases the records of `MSKV1` tokens with their aliases. `MSK1` tokens carry their own value: there is nothing to
    /// erase. Results keep the order of the tokens; an erasure that is returned is durable.
    ///
    /// # Errors
    /// [`VaultError`] if the store failed or the writer is overloaded: then nothing was acknowledged.
    pub async fn forget(
        &self,
        permit: &Permit<Forget>,
        tokens: &[TokenInput<'_>],
    ) -> Result<BatchResult<Result<Forgotten, ItemFailure>>, VaultError> {
        let mut results: Vec<Result<Forgotten, ItemFailure>> = Vec::with_capacity(tokens.len());
        let mut places = Vec::new();
        let mut erasures = Vec::new();
        let parsed: Vec<_> = tokens.iter().map(|input| ParsedToken::admit(permit, input)).collect();
        let denied = self.check_reach(permit, &parsed).await?;
        for (parsed, denied) in parsed.into_iter().zip(denied) {
            results.push(match (parsed, denied) {
                (Err(failure), _) | (_, Some(failure)) => Err(failure),
                (Ok(ParsedToken::Aead { .. }), None) => Ok(Forgotten(None)),
                (Ok(ParsedToken::Vault { kind, kid, id, context }), None) => {
                    places.push(results.len());
                    let context = context.as_str().to_owned().into();
                    erasures.push(EraseRequest { mode: permit.mode(), kind, kid, id, context });
                    Ok(Forgotten(None))
                }
            });
        }
        let mut tally = OutcomeCounter::new("forget");
        if !erasures.is_empty() {
            for (place, erased) in places.into_iter().zip(self.writer.commit(ForgetChange(erasures)).await?) {
                match erased {
                    Ok(sealed_under) => results[place] = Ok(Forgotten(Some(sealed_under))),
                    Err(failure) => results[place] = Err(failure),
                }
            }
        }
        for result in &results {
            tally.count(match result {
                Ok(Forgotten(Some((kid, fingerprint)))) => ItemOutcomeKey {
                    scheme: "MSKV1",
                    kind: None,
                    kid: Some(*kid),
                    fingerprint: Some(*fingerprint),
                    role: None,
                    outcome: "forgotten",
                },
                Ok(Forgotten(None)) => ItemOutcomeKey::keyless(None, "unchanged"),
                Err(failure) => ItemOutcomeKey::keyless(None, failure.code().as_str()),
            });
        }
        Ok(tally.record(&self.shared, results))
    }

    /// What keeps a caller whose grant lists policies from the records of these tokens. A record is read only where the
    /// kid of its token does not decide.
    async fn check_reach(
        &self,
        permit: &Permit<Forget>,
        parsed: &[Result<ParsedToken<'_>, ItemFailure>],
    ) -> Result<Vec<Option<ItemFailure>>, VaultError> {
        let decided = |parsed: &Result<ParsedToken<'_>, ItemFailure>| match parsed {
            Ok(ParsedToken::Vault { kind, kid, .. }) => permit.for_token(*kind, *kid).is_ok(),
            _ => true,
        };
        if parsed.iter().all(decided) {
            return Ok(vec![None; parsed.len()]);
        }
        let rows = self.rows_of(parsed).await?;
        let denied = parsed.iter().zip(rows).map(|(one, row)| match (one, row) {
            (Ok(ParsedToken::Vault { kind, .. }), Some(row)) => {
                self.shared.decode(&row).and_then(|record| within_reach(permit, *kind, &record)).err()
            }
            _ => None,
        });
        Ok(denied.collect())
    }
}
