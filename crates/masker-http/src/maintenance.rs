//! The vault as a whole: its counts, checking it, and making it smaller.

use tracing::info;

use super::{
    Service,
    context::RequestContext,
    erasure_receipt::ErasureReceipt,
    input::Input,
    operation::{Outcome, Reply},
    problem::Problem,
    query::parse_time,
    route::{Route, route},
};
use masker_access::{Permit, VaultAdmin, VaultRead};
use masker_api::{
    CheckReport, CompactReport, ControlKeyHolder, ControlKeyReport, KidRecords, PurgeReport, PurgeRequest,
    PurgedRecords, VaultStats,
};
use masker_core::{crypto::Fingerprint, keyring::Role};
use masker_types::{error_code::Code, kind::Kid};
use masker_vault::{CompactError, ControlKeyStatus, ItemOutcomeKey, PurgeError, PurgeFilter};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route! {
            handler: vault_stats / __path_vault_stats,
            access: Scope(VaultRead),
            audit: Operation(VaultStats),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: vault_check / __path_vault_check,
            access: Scope(VaultAdmin),
            audit: Operation(VaultCheck),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: vault_purge / __path_vault_purge,
            access: Scope(VaultAdmin),
            audit: Operation(VaultPurge),
            cost: Request,
            body: Buffered,
        },
        route! {
            handler: vault_compact / __path_vault_compact,
            access: Scope(VaultAdmin),
            audit: Operation(VaultCompact),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: vault_control_key / __path_vault_control_key,
            access: Scope(VaultAdmin),
            audit: Operation(ControlKeyReplace),
            cost: Request,
            body: Ignored,
        },
    ]
}

/// Show the vault's counts and sizes.
#[utoipa::path(
    get,
    path = "/api/v1/vault/stats",
    responses((status = 200, description = "Counts and sizes", body = VaultStats, example = json!({
        "records": 1000, "index_rows": 1980, "bytes_on_disk": 1048576, "oldest": "2026-01-31T12:00:00Z",
        "newest": "2026-02-01T08:30:00Z",
        "by_kid": [{"kid": "K_HEALTHCARE", "fingerprint": "00112233aabbccdd", "generation": "active", "records": 1000}]
    }))),
)]
async fn vault_stats(
    service: &Service,
    _ctx: &mut RequestContext,
    _permit: Permit<VaultRead>,
    _input: &Input,
) -> Outcome {
    let stats = service.vault.stats().await?;
    let generations = service.vault.generations().into_iter();
    Reply::json(&VaultStats {
        records: stats.records,
        index_rows: stats.index_rows,
        bytes_on_disk: stats.bytes_on_disk,
        oldest: stats.span.map(|(oldest, _)| oldest.to_string()),
        newest: stats.span.map(|(_, newest)| newest.to_string()),
        by_kid: generations
            .map(|generation| KidRecords {
                kid: generation.kid.to_string(),
                fingerprint: generation.fingerprint.to_string(),
                generation: generation.loaded.map_or("unloaded", Role::as_str).to_owned(),
                records: generation.records,
            })
            .collect(),
    })
}

/// Read every row, open every record, verify every index row. Changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/vault/check",
    responses((status = 200, description = "The findings", body = CheckReport, example = json!({
        "ok": true, "records": 1000, "opened": 1000, "key_not_loaded": 0, "damaged_records": 0, "index_rows": 1980,
        "damaged_index_rows": 0, "tombstones": 3, "counts_agree": true, "problems": []
    }))),
)]
async fn vault_check(
    service: &Service,
    ctx: &mut RequestContext,
    permit: Permit<VaultAdmin>,
    _input: &Input,
) -> Outcome {
    let outcome = service.vault.check(&permit).await?;
    ctx.number("records", outcome.records);
    ctx.number("damaged", outcome.damaged_records + outcome.damaged_index_rows);
    Reply::json(&CheckReport {
        ok: outcome.ok(),
        records: outcome.records,
        opened: outcome.opened,
        key_not_loaded: outcome.key_not_loaded,
        damaged_records: outcome.damaged_records,
        index_rows: outcome.index_rows,
        damaged_index_rows: outcome.damaged_index_rows,
        tombstones: outcome.tombstones,
        counts_agree: outcome.counts_agree,
        problems: outcome.problems,
    })
}

/// Erase the records minted before a time, or sealed under a key that is not active; or count them.
#[utoipa::path(
    post,
    path = "/api/v1/vault/purge",
    request_body(content = PurgeRequest<'_>, example = json!({"before": "2025-01-01", "dry_run": false})),
    responses((status = 200, description = "The records that were erased, or would be", body = PurgeReport, example = json!({
        "dry_run": false, "records": 12, "damaged": 0,
        "by_kid": [{"kid": "K_HEALTHCARE", "fingerprint": "00112233aabbccdd", "records": 12}]
    }))),
)]
async fn vault_purge(
    service: &Service,
    ctx: &mut RequestContext,
    permit: Permit<VaultAdmin>,
    input: &Input,
) -> Outcome {
    let request: PurgeRequest<'_> = input.json()?;
    let filter = purge_filter(&request)?;
    // The rule, by which a restore repeats the purge.
    match filter {
        PurgeFilter::Before(time) => ctx.number("before_ms", u64::try_from(time.as_millisecond()).unwrap_or(0)),
        PurgeFilter::Key(fingerprint) => ctx.fact("key", fingerprint.to_string()),
    }
    ctx.flag("dry_run", request.dry_run);
    let (outcome, failed) = match service.vault.purge(&permit, filter, request.dry_run).await {
        Ok(outcome) => (outcome, None),
        // What is erased is recorded, also if the purge failed.
        Err(PurgeError::Interrupted { erased, failed }) => (erased, Some(failed)),
        Err(refused) => return Err(refused.into()),
    };
    ctx.number("records", outcome.records.values().sum());
    ctx.details.counts = outcome
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
        receipt.log(ctx, "records were purged");
    }
    if let Some(failed) = failed {
        return Err(failed.into());
    }
    let by_kid = outcome.records.into_iter().map(|((kid, fingerprint), records)| PurgedRecords {
        kid: kid.to_string(),
        fingerprint: fingerprint.to_string(),
        records,
    });
    let by_kid: Vec<PurgedRecords> = by_kid.collect();
    let records = by_kid.iter().map(|kid| kid.records).sum();
    Reply::json(&PurgeReport { dry_run: request.dry_run, records, damaged: outcome.damaged, by_kid })
}

/// Rewrite the vault's files while it serves. Afterwards none of them holds what was erased or replaced before.
#[utoipa::path(
    post,
    path = "/api/v1/vault/compact",
    responses((
        status = 200,
        description = "The sizes before and after",
        body = CompactReport,
        example = json!({"bytes_before": 2097152, "bytes_after": 1048576})
    )),
)]
async fn vault_compact(
    service: &Service,
    ctx: &mut RequestContext,
    permit: Permit<VaultAdmin>,
    _input: &Input,
) -> Outcome {
    let compacted = service.vault.compact(&permit).await?;
    let (bytes_before, bytes_after) = (compacted.bytes_before, compacted.bytes_after);
    ctx.number("bytes_before", bytes_before);
    ctx.number("bytes_after", bytes_after);
    info!(request_id = ctx.id.as_str(), bytes_before, bytes_after, "vault compacted");
    Reply::json(&CompactReport { bytes_before, bytes_after })
}

/// Put a new control key in the place of the present one. Every row of the vault that no record's key seals is authenticated
/// again, and rows that are void are removed.
#[utoipa::path(
    post,
    path = "/api/v1/vault/control-key",
    responses((
        status = 200,
        description = "The new control key",
        body = ControlKeyReport,
        example = json!({"epoch": 2, "holders": [{"kid": "K_2026", "fingerprint": "0123456789abcdef"}]})
    )),
)]
async fn vault_control_key(
    service: &Service,
    ctx: &mut RequestContext,
    permit: Permit<VaultAdmin>,
    _input: &Input,
) -> Outcome {
    let ControlKeyStatus { epoch, holders } = service.vault.new_control_key(&permit).await?;
    ctx.number("control_epoch", epoch);
    info!(request_id = ctx.id.as_str(), epoch, "new control key of the vault");
    let holder = |(kid, fingerprint): &(Kid, Fingerprint)| ControlKeyHolder {
        kid: kid.to_string(),
        fingerprint: fingerprint.to_string(),
    };
    Reply::json(&ControlKeyReport { epoch, holders: holders.iter().map(holder).collect() })
}

/// Returns the records that a request is about.
fn purge_filter(request: &PurgeRequest<'_>) -> Result<PurgeFilter, Problem> {
    let invalid = |detail| Problem::new(Code::RequestInvalid, detail);
    match (&request.before, &request.key) {
        (Some(before), None) => parse_time(before)
            .map(PurgeFilter::Before)
            .ok_or_else(|| invalid("`before` is a date such as 2025-01-31, or a time such as 2025-01-31T12:00:00Z")),
        (None, Some(key)) => {
            PurgeFilter::of_key(key).ok_or_else(|| invalid("`key` is a fingerprint: 16 digits of lower-case hex"))
        }
        _ => Err(invalid("give either `before` or `key`")),
    }
}

impl From<PurgeError> for Problem {
    fn from(failed: PurgeError) -> Self {
        match failed {
            PurgeError::Vault(failed) | PurgeError::Interrupted { failed, .. } => failed.into(),
            refused => Problem::new(Code::PurgeRefused, refused.to_string()),
        }
    }
}

impl From<CompactError> for Problem {
    fn from(failed: CompactError) -> Self {
        match failed {
            CompactError::Vault(failed) => failed.into(),
            CompactError::Busy => Problem::new(Code::Overloaded, "another compaction is running; wait until it ends"),
            failed => {
                let detail = "the files stay as they were, and the vault serves on; a compaction takes room for a \
                              second copy of the vault: the daemon's log says why there was none";
                Problem { cause: Some(failed.to_string()), ..Problem::new(Code::VaultUnavailable, detail) }
            }
        }
    }
}
