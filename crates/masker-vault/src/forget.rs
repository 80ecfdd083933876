//! Forgetting: the records of tokens erased.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{
    ItemFailure, TokenInput, VaultError,
    handles::Handles,
    outcomes::{BatchResult, ItemOutcomeKey, OutcomeCounter, RequestCounters},
    reader::Reader,
    rehydrate::{ParsedToken, check_reach, open_record, rows_of},
    writer::{Change, CommitDraft, ReadPlan, Reads, WriterHandle},
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

/// The key generation that sealed the erased record; `None` for a token without a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten(pub Option<(Kid, Fingerprint)>);

/// A record to erase, by what its token says.
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

    /// Returns whether the record belongs to the token: a token relabelled with another kind or kid is unknown.
    fn names(&self, record: &Record) -> bool {
        record.kind == self.kind && record.minted_kid == self.kid
    }

    /// Checks that the record is of the request's context. The context is sealed, so it cannot be checked without the
    /// key: then forgetting, which needs no key, continues.
    fn check_context(&self, ring: &Keyring, record: &Record) -> Result<(), ItemFailure> {
        let context = Context::new(&self.context).ok_or(ItemFailure::ContextLength)?;
        match open_record(ring, self.mode, (self.kind, self.kid, self.id), context, record) {
            Ok(_) | Err(ItemFailure::KeyUnavailable(_)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

/// Erases the records of tokens.
pub(crate) struct Eraser {
    reader: Arc<Reader>,
    writer: Arc<WriterHandle>,
    counters: Arc<RequestCounters>,
}

impl Eraser {
    pub(crate) fn new(handles: &Handles) -> Self {
        Eraser {
            reader: Arc::clone(&handles.reader),
            writer: Arc::clone(&handles.writer),
            counters: Arc::clone(&handles.counters),
        }
    }

    /// Implements [`Vault::forget`](crate::Vault::forget).
    pub(crate) async fn forget(
        &self,
        permit: &Permit<Forget>,
        tokens: &[TokenInput<'_>],
    ) -> Result<BatchResult<Result<Forgotten, ItemFailure>>, VaultError> {
        let mut results: Vec<Result<Forgotten, ItemFailure>> = Vec::with_capacity(tokens.len());
        let mut positions = Vec::new();
        let mut erasures = Vec::new();
        let parsed: Vec<_> = tokens.iter().map(|input| ParsedToken::admit(permit, input)).collect();
        let denied = self.denied_items(permit, &parsed).await?;
        for (parsed, denied) in parsed.into_iter().zip(denied) {
            results.push(match (parsed, denied) {
                (Err(failure), _) | (_, Some(failure)) => Err(failure),
                (Ok(ParsedToken::Aead { .. }), None) => Ok(Forgotten(None)),
                (Ok(ParsedToken::Vault { kind, kid, id, context }), None) => {
                    positions.push(results.len());
                    let context = context.as_str().to_owned().into();
                    erasures.push(EraseRequest { mode: permit.mode(), kind, kid, id, context });
                    Ok(Forgotten(None))
                }
            });
        }
        let mut counter = OutcomeCounter::new("forget");
        if !erasures.is_empty() {
            for (position, erased) in positions.into_iter().zip(self.writer.commit(ForgetChange(erasures)).await?) {
                match erased {
                    Ok(sealed_under) => results[position] = Ok(Forgotten(Some(sealed_under))),
                    Err(failure) => results[position] = Err(failure),
                }
            }
        }
        for result in &results {
            counter.count(match result {
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
        Ok(counter.record(&self.counters, results))
    }

    /// Returns, for each token, why the caller's policies do not permit its record. A record is read only if the kid of its
    /// token does not decide.
    async fn denied_items(
        &self,
        permit: &Permit<Forget>,
        parsed: &[Result<ParsedToken<'_>, ItemFailure>],
    ) -> Result<Vec<Option<ItemFailure>>, VaultError> {
        let decided = |parsed: &Result<ParsedToken<'_>, ItemFailure>| match parsed {
            Ok(ParsedToken::Vault { kind, kid, .. }) => permit.check_token(*kind, *kid).is_ok(),
            _ => true,
        };
        if parsed.iter().all(decided) {
            return Ok(vec![None; parsed.len()]);
        }
        let rows = rows_of(&self.reader, parsed).await?;
        let denied = parsed.iter().zip(rows).map(|(one, row)| match (one, row) {
            (Ok(ParsedToken::Vault { kind, .. }), Some(row)) => {
                self.reader.decode(&row).and_then(|record| check_reach(permit, *kind, &record)).err()
            }
            _ => None,
        });
        Ok(denied.collect())
    }
}
