//! A table of patients, and the replacement of its fields with tokens and back.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    DemoError,
    patients::{self, COLUMNS, Patient},
};
use masker_api::{
    BatchResponse, ItemError, RehydrateRequest, RehydrateResult, TokenItem, TokenizeItem, TokenizeRequest,
    TokenizeResult,
};
use masker_client::Client;

/// Values in one request.
const BATCH: usize = 1_000;

/// A table with one row for each patient. Its fields are values or tokens.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Sheet {
    pub(super) rows: Vec<Patient>,
}

/// The statistics of one pass over a sheet.
pub(super) struct PassStats {
    /// Fields that were replaced.
    pub(super) fields: usize,
    /// Requests that were sent.
    pub(super) requests: usize,
    /// The duration.
    pub(super) took: Duration,
    /// The number of fields by outcome: `new` or `known` for tokens, `active` or `old` for values.
    pub(super) outcomes: BTreeMap<String, usize>,
}

impl PassStats {
    pub(super) fn count(&self, outcome: &str) -> usize {
        self.outcomes.get(outcome).copied().unwrap_or_default()
    }

    /// Returns the fields per second.
    pub(super) fn rate(&self) -> u64 {
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 { (self.fields as f64 / seconds) as u64 } else { 0 }
    }
}

impl Sheet {
    pub(super) fn read(path: &Path) -> Result<Self, DemoError> {
        let failed = |source| DemoError::File { path: path.to_owned(), source };
        let mut rows = Vec::new();
        for record in csv::Reader::from_path(path).map_err(failed)?.records() {
            let fields: Vec<String> = record.map_err(failed)?.iter().map(str::to_owned).collect();
            // The reader has checked that every record is as long as the heading.
            rows.push(Patient::try_from(fields).map_err(|_| DemoError::Check("a column was lost".to_owned()))?);
        }
        Ok(Sheet { rows })
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), DemoError> {
        let failed = |source| DemoError::File { path: path.to_owned(), source };
        let text = patients::csv(&self.rows).map_err(failed)?;
        fs::write(path, text).map_err(|error| failed(error.into()))
    }

    /// Returns the non-empty fields that have a kind, with that kind.
    pub(super) fn identifying(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.rows.iter().flatten().zip(COLUMNS.iter().cycle()).filter_map(|(field, column)| {
            let kind = column.kind.filter(|_| !field.is_empty())?;
            Some((kind, field.as_str()))
        })
    }

    /// Returns the sheet with each [`Sheet::identifying`] field replaced by the next of `replacements`.
    fn with(&self, replacements: Vec<String>) -> Self {
        let mut replacements = replacements.into_iter();
        let mut sheet = self.clone();
        for (field, column) in sheet.rows.iter_mut().flatten().zip(COLUMNS.iter().cycle()) {
            if column.kind.is_some()
                && !field.is_empty()
                && let Some(replacement) = replacements.next()
            {
                *field = replacement;
            }
        }
        sheet
    }

    /// Replaces every value with its token.
    pub(super) async fn tokenize(&self, client: &mut Client) -> Result<(Self, PassStats), DemoError> {
        let items = self.identifying().map(|(kind, value)| TokenizeItem {
            kind: kind.into(),
            value: value.into(),
            context: None,
        });
        let mut items = items.peekable();
        let (mut replacements, mut pass) = (Vec::new(), PassProgress::start());
        while items.peek().is_some() {
            let request = TokenizeRequest { policy: None, context: None, items: items.by_ref().take(BATCH).collect() };
            let reply = client.post("/api/v1/tokenize", &request).await?;
            let answer: BatchResponse<TokenizeResult<'_>> = reply.json()?;
            check_complete(answer.results.len(), request.items.len())?;
            pass.requests += 1;
            for result in answer.results {
                match result {
                    TokenizeResult::Token { token, created } => {
                        pass.count(if created == Some(true) { "new" } else { "known" });
                        replacements.push(token.to_string());
                    }
                    TokenizeResult::Error { error } => return Err(item_failed(&error)),
                    _ => return Err(DemoError::Check("a value was not answered with a token".to_owned())),
                }
            }
        }
        Ok((self.with(replacements), pass.finish()))
    }

    /// Replaces every token with its value.
    pub(super) async fn rehydrate(&self, client: &mut Client) -> Result<(Self, PassStats), DemoError> {
        let mut tokens = self.identifying().map(|(_, token)| TokenItem::Plain(token.into())).peekable();
        let (mut replacements, mut pass) = (Vec::new(), PassProgress::start());
        while tokens.peek().is_some() {
            let request = RehydrateRequest { context: None, tokens: tokens.by_ref().take(BATCH).collect() };
            let reply = client.post("/api/v1/rehydrate", &request).await?;
            let answer: BatchResponse<RehydrateResult<'_>> = reply.json()?;
            check_complete(answer.results.len(), request.tokens.len())?;
            pass.requests += 1;
            for result in answer.results {
                match result {
                    RehydrateResult::Value { value, generation, .. } => {
                        pass.count(&generation);
                        replacements.push(value.to_string());
                    }
                    RehydrateResult::Error { error } => return Err(item_failed(&error)),
                }
            }
        }
        Ok((self.with(replacements), pass.finish()))
    }
}

fn check_complete(results: usize, items: usize) -> Result<(), DemoError> {
    if results == items {
        return Ok(());
    }
    Err(DemoError::Check(format!("a request with {items} items got {results} results")))
}

fn item_failed(error: &ItemError) -> DemoError {
    DemoError::Check(format!("a field failed with {}: {}", error.code, error.detail))
}

/// The statistics of a pass in progress.
struct PassProgress {
    requests: usize,
    started: Instant,
    outcomes: BTreeMap<String, usize>,
}

impl PassProgress {
    fn start() -> Self {
        PassProgress { requests: 0, started: Instant::now(), outcomes: BTreeMap::new() }
    }

    fn count(&mut self, outcome: &str) {
        match self.outcomes.get_mut(outcome) {
            Some(count) => *count += 1,
            None => drop(self.outcomes.insert(outcome.to_owned(), 1)),
        }
    }

    fn finish(self) -> PassStats {
        let fields = self.outcomes.values().sum();
        PassStats { fields, requests: self.requests, took: self.started.elapsed(), outcomes: self.outcomes }
    }
}
