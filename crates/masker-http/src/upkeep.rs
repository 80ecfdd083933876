//! Handlers that make the vault smaller.

use hyper::body::Bytes;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use tracing::info;

use super::{Service, body::parse, exchange::RequestContext, problem::Problem, receipt::ErasureReceipt, values::json};
use masker_api::{CompactReport, PurgeReport, PurgeRequest, PurgedRecords};
use masker_types::error_code::Code;
use masker_vault::{CompactError, ItemOutcomeKey, PurgeError, PurgeFilter};

impl Service {
    pub(super) async fn vault_purge(&self, on: &mut RequestContext, body: &[u8]) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::VaultAdmin>()?;
        let request: PurgeRequest<'_> = parse(body)?;
        let outcome = self.vault.purge(&permit, which(&request)?, request.dry_run).await?;
        on.number("records", outcome.records.values().sum());
        on.flag("dry_run", request.dry_run);
        on.account.counts = outcome
            .records
            .iter()
            .map(|((kid, fingerprint), records)| {
                (
                    ItemOutcomeKey::of_generation(
                        *kid,
                        *fingerprint,
                        None,
                        if request.dry_run { "counted" } else { "erased" },
                    ),
                    *records,
                )
            })
            .collect();
        if !request.dry_run {
            let mut receipt = ErasureReceipt::default();
            for ((kid, fingerprint), records) in &outcome.records {
                receipt.add(kid, fingerprint, *records);
            }
            receipt.log(on, "records were purged");
        }
        let by_kid = outcome.records.into_iter().map(|((kid, fingerprint), records)| PurgedRecords {
            kid: kid.to_string(),
            fingerprint: fingerprint.to_string(),
            records,
        });
        let by_kid: Vec<PurgedRecords> = by_kid.collect();
        let records = by_kid.iter().map(|kid| kid.records).sum();
        json(&PurgeReport { dry_run: request.dry_run, records, damaged: outcome.damaged, by_kid })
    }

    pub(super) async fn vault_compact(&self, on: &mut RequestContext) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::VaultAdmin>()?;
        let compacted = self.vault.compact(&permit).await?;
        let (bytes_before, bytes_after) = (compacted.bytes_before, compacted.bytes_after);
        on.number("bytes_before", bytes_before);
        on.number("bytes_after", bytes_after);
        info!(request_id = on.id.as_str(), bytes_before, bytes_after, "the vault was compacted");
        json(&CompactReport { bytes_before, bytes_after })
    }
}

fn which(request: &PurgeRequest<'_>) -> Result<PurgeFilter, Problem> {
    let invalid = |detail| Problem::new(Code::RequestInvalid, detail);
    match (&request.before, &request.key) {
        (Some(before), None) => time(before)
            .map(PurgeFilter::Before)
            .ok_or_else(|| invalid("`before` is a date such as 2025-01-31, or a time such as 2025-01-31T12:00:00Z")),
        (None, Some(key)) => {
            PurgeFilter::of_key(key).ok_or_else(|| invalid("`key` is a fingerprint: 16 digits of lower-case hex"))
        }
        _ => Err(invalid("give either `before` or `key`")),
    }
}

/// A time, or the first moment of a day in UTC.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    if text.len() == "2025-01-31".len() {
        let day: Date = text.parse().ok()?;
        return Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp());
    }
    text.parse().ok()
}

impl From<PurgeError> for Problem {
    fn from(failed: PurgeError) -> Self {
        match failed {
            PurgeError::Vault(failed) => failed.into(),
            refused => Problem::new(Code::PurgeRefused, refused.to_string()),
        }
    }
}

impl From<CompactError> for Problem {
    fn from(failed: CompactError) -> Self {
        match failed {
            CompactError::Vault(failed) => failed.into(),
            CompactError::Busy => Problem::new(Code::Overloaded, "another compaction is under way; wait for its end"),
            failed => {
                let detail = "the files stay as they were, and the vault serves on; a compaction takes room for a \
                              second copy of the vault: the daemon's log says why there was none";
                Problem { cause: Some(failed.to_string()), ..Problem::new(Code::VaultUnavailable, detail) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn a_day_begins_at_midnight_in_utc() {
        for (text, told) in [
            ("2025-01-31", Some("2025-01-31T00:00:00Z")),
            ("2025-01-31T12:00:00Z", Some("2025-01-31T12:00:00Z")),
            ("2025-01-31T12:00:00+02:00", Some("2025-01-31T10:00:00Z")),
            ("2025-02-30", None),
            ("2025-01-31T12:00:00", None),
            ("yesterday", None),
            ("20250131", None),
            ("", None),
        ] {
            assert_eq!(time(text).map(|time| time.to_string()).as_deref(), told, "{text}");
        }
    }
}
