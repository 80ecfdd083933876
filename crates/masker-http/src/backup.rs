//! Exports and imports: bodies that are not held in memory as a whole.

use std::{fs::File, future::Future, io, io::Write, path::Path, sync::Arc, time::Duration};

use futures_util::stream::try_unfold;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    header::HeaderValue,
};
use tokio::{runtime::Handle, task::spawn_blocking, time::timeout};
use tracing::{error, info, warn};

use super::{
    Service,
    body::body_ended,
    context::{ConnectionInfo, RequestContext},
    input::Input,
    operation::{Outcome, Reply},
    problem::Problem,
    request_id::RequestId,
    route::{Route, route},
};
use masker_access::{ApiKeysAdmin, Caller, Permit, ScopedOperation, VaultAdmin};
use masker_api::ImportReport;
use masker_audit::{AuditError, AuditEvent, AuditLog, AuditOperation, DetailValue};
use masker_types::{error_code::Code, limits::IMPORT_BYTES_MAX};
use masker_vault::{ImportRules, RunningExport, VaultExportError, VaultImportError};

/// Bytes of an import that are gathered before they are written to the disk.
const WRITE_BYTES: usize = 1024 * 1024;

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

pub(super) fn routes() -> Vec<Route> {
    vec![
        route! {
            handler: vault_export / __path_vault_export,
            access: Scope(VaultAdmin),
            audit: Operation(VaultExport),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: vault_import / __path_vault_import,
            access: Scope(VaultAdmin),
            audit: Operation(VaultImport),
            cost: Request,
            body: Streamed,
        },
    ]
}

/// Export all records into one encrypted, authenticated file, while the daemon serves. An import rejects a file that is cut short.
/// For a backup, `control` adds API keys, honeytokens, key generations and sessions, which needs the scope `api-keys:admin` too.
#[utoipa::path(
    post,
    path = "/api/v1/vault/export",
    params(("control" = Option<bool>, Query, description = "Whether to add the control rows: `false` by default")),
    responses((status = 200, description = "The file", content_type = "application/octet-stream", body = Vec<u8>)),
)]
async fn vault_export(
    service: &Arc<Service>,
    ctx: &mut RequestContext,
    permit: Permit<VaultAdmin>,
    input: &Input,
) -> Outcome {
    let control = input.query.read("control", "`true` or `false`", |text| text.parse().ok())?.unwrap_or(false);
    let exporting = if control {
        let keys: Permit<ApiKeysAdmin> = ctx.permit()?;
        ctx.flag("control", true);
        service.vault.export_for_backup(&permit, &keys, service.vault_id).await?
    } else {
        service.vault.export(&permit, service.vault_id).await?
    };
    let sending = ExportStream {
        exporting,
        control,
        id: ctx.id,
        bytes: 0,
        ended: false,
        audit: service.audit.clone(),
        service: Arc::clone(service),
        caller: ctx.caller.clone(),
        runtime: Handle::current(),
        connection: Arc::clone(&ctx.connection),
    };
    let body = StreamBody::new(try_unfold(sending, ExportStream::next)).boxed_unsync();
    Ok(Reply::streamed(body, OCTETS).for_slow_readers())
}

/// Merge an export into the vault, once all of it is verified. Overwrites nothing. Control rows are left out: only `masker backup
/// restore` reads them.
#[utoipa::path(
    post,
    path = "/api/v1/vault/import",
    params(
        ("restore_erased" = Option<bool>, Query, description = "Whether to restore records that were erased"),
        (
            "skip_missing_keys" = Option<bool>,
            Query,
            description = "Whether to leave out records whose key is not loaded, which otherwise refuse the export"
        ),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file"),
    responses((status = 200, description = "The merge in numbers", body = ImportReport, example = json!({
        "records": 1000, "imported": 980, "resealed": 0, "restored": 0, "present": 20, "conflicts": 0,
        "index_conflicts": 0, "rows_failed": 0, "erased_skipped": 0, "damaged": 0, "key_missing": 0, "tombstones": 3,
        "tombstones_added": 3, "records_kept": 0, "control_rows": 0
    }))),
)]
async fn vault_import(
    service: &Service,
    ctx: &mut RequestContext,
    _permit: Permit<VaultAdmin>,
    input: &mut Input,
) -> Outcome {
    let rule = |name| input.query.read(name, "`true` or `false`", |text| text.parse::<bool>().ok());
    let (restore_erased, skip_missing_keys) = (rule("restore_erased")?, rule("skip_missing_keys")?);
    let rules = ImportRules {
        restore_erased: restore_erased.unwrap_or(false),
        skip_missing_keys: skip_missing_keys.unwrap_or(false),
    };
    let busy = |_| Problem::new(Code::Overloaded, "another import is running; wait until it ends");
    let _guard = service.importing.try_acquire().map_err(busy)?;
    let mut upload = ReceivedExport { body: input.unread_body(), timeout: service.timeouts.body, received: 0 };
    let file = upload.spool(&service.data_dir).await?;
    let bytes = upload.received;
    let permit = service.renew(ctx)?;
    let imported = service.vault.import(&permit, file, rules).await;
    if let Err(VaultImportError::Interrupted { merged, .. }) = &imported {
        ctx.number("imported", merged.imported);
    }
    let outcome = imported?;
    let merged = outcome.merged;
    ctx.number("records", outcome.records);
    ctx.number("imported", merged.imported);
    ctx.number("key_missing", outcome.key_missing);
    info!(
        request_id = ctx.id.as_str(),
        uid = ctx.caller.peer().uid(),
        bytes,
        records = outcome.records,
        imported = merged.imported,
        restored = merged.restored,
        key_missing = outcome.key_missing,
        conflicts = merged.conflicts,
        "export imported"
    );
    Reply::json(&ImportReport {
        records: outcome.records,
        imported: merged.imported,
        resealed: merged.resealed,
        restored: merged.restored,
        present: merged.present,
        conflicts: merged.conflicts,
        index_conflicts: merged.index_conflicts,
        rows_failed: merged.rows_failed,
        erased_skipped: merged.erased_skipped,
        damaged: outcome.damaged,
        key_missing: outcome.key_missing,
        tombstones: outcome.tombstones,
        tombstones_added: merged.tombstones_added,
        records_kept: merged.records_kept,
        control_rows: outcome.control_rows,
    })
}

/// An export that is being sent.
struct ExportStream {
    exporting: RunningExport,
    /// Whether it has the control rows.
    control: bool,
    id: RequestId,
    bytes: u64,
    ended: bool,
    /// `None` once the end is recorded, or without an audit log.
    audit: Option<Arc<AuditLog>>,
    service: Arc<Service>,
    caller: Caller,
    /// The daemon's main runtime, which outlives that of the connection.
    runtime: Handle,
    /// Keeps the slot until the end is recorded, so that a stop waits for the record.
    connection: Arc<ConnectionInfo>,
}

impl ExportStream {
    /// Returns the next piece. It is made when the connection has room for it. A caller whose key ends, or who loses the scope,
    /// gets no further one.
    async fn next(mut self) -> io::Result<Option<(Frame<Bytes>, Self)>> {
        self.service.access.refresh(&mut self.caller, self.service.now_ms()).map_err(io::Error::other)?;
        self.caller.require(VaultAdmin::SCOPE).map_err(io::Error::other)?;
        if self.control {
            self.caller.require(ApiKeysAdmin::SCOPE).map_err(io::Error::other)?;
        }
        match self.exporting.next().await {
            Ok(Some(piece)) => {
                self.bytes += piece.len() as u64;
                Ok(Some((Frame::data(Bytes::from(piece)), self)))
            }
            Ok(None) => {
                self.ended = true;
                let (counts, bytes) = (self.exporting.counts(), self.bytes);
                let (records, tombstones) = (counts.records, counts.tombstones);
                info!(request_id = self.id.as_str(), records, tombstones, bytes, "vault exported");
                // The client takes an export for whole with its last chunk, which must not be sent before its event is recorded.
                let Some(log) = self.audit.take() else { return Ok(None) };
                let recorded = record_end(&log, self.id, "ok", bytes, (records, tombstones)).await;
                recorded.map(|()| None).map_err(|failed| {
                    log_unrecorded(self.id, &failed);
                    io::Error::other(failed)
                })
            }
            Err(failed) => {
                self.ended = true;
                error!(request_id = self.id.as_str(), error = %failed, "export failed");
                // The connection ends here, so the client does not take the export for whole.
                Err(io::Error::other("the export failed"))
            }
        }
    }
}

impl Drop for ExportStream {
    fn drop(&mut self) {
        if !self.ended {
            warn!(request_id = self.id.as_str(), bytes = self.bytes, "export cut short; an import will refuse it");
        }
        if let Some(log) = self.audit.take() {
            let (id, bytes, connection) = (self.id, self.bytes, Arc::clone(&self.connection));
            let counts = self.exporting.counts();
            let counted = (counts.records, counts.tombstones);
            self.runtime.spawn(async move {
                if let Err(failed) = record_end(&log, id, "incomplete", bytes, counted).await {
                    log_unrecorded(id, &failed);
                }
                drop(connection);
            });
        }
    }
}

fn log_unrecorded(id: RequestId, failed: &AuditError) {
    error!(request_id = id.as_str(), error = %failed, "failed to record an export's end in the audit log");
}

/// Records how the export ended that a request began.
async fn record_end(
    log: &AuditLog,
    id: RequestId,
    outcome: &'static str,
    bytes: u64,
    (records, tombstones): (u64, u64),
) -> Result<(), AuditError> {
    let detail = [
        ("bytes", DetailValue::Number(bytes)),
        ("records", DetailValue::Number(records)),
        ("tombstones", DetailValue::Number(tombstones)),
    ];
    let request_id = Some(id.as_str());
    log.record(&AuditEvent { request_id, detail: &detail, ..AuditEvent::new(AuditOperation::VaultExported, outcome) })
        .await
}

/// A body that is too large for memory.
struct ReceivedExport<'i> {
    /// `None` where the request has no body.
    body: Option<&'i mut Incoming>,
    /// How long the client may send nothing.
    timeout: Duration,
    received: u64,
}

impl ReceivedExport<'_> {
    /// Returns the next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let Some(body) = &mut self.body else { return Ok(None) };
        let late = || {
            let detail = format!("nothing of the body arrived for {} s", self.timeout.as_secs());
            Problem::unread(Code::RequestTimeout, detail)
        };
        match timeout(self.timeout, body.frame()).await.map_err(|_| late())? {
            None => Ok(None),
            Some(Err(_)) => Err(body_ended()),
            Some(Ok(frame)) => {
                let piece = frame.into_data().unwrap_or_default();
                self.received += piece.len() as u64;
                if self.received > IMPORT_BYTES_MAX {
                    let detail = format!("an import is at most {} GiB", IMPORT_BYTES_MAX >> 30);
                    return Err(Problem::unread(Code::RequestTooLarge, detail));
                }
                Ok(Some(piece))
            }
        }
    }

    /// Writes the body into a file without a name. It is gone when its last descriptor is closed, also after a crash.
    async fn spool(&mut self, directory: &Path) -> Result<File, Problem> {
        let directory = directory.to_owned();
        let mut file = run_blocking(move || tempfile::tempfile_in(directory)).await?;
        let mut gathered = Vec::with_capacity(WRITE_BYTES);
        loop {
            let piece = self.next().await?;
            let ended = piece.is_none();
            gathered.extend_from_slice(&piece.unwrap_or_default());
            if ended || gathered.len() >= WRITE_BYTES {
                (file, gathered) = run_blocking(move || {
                    file.write_all(&gathered)?;
                    gathered.clear();
                    Ok((file, gathered))
                })
                .await?;
            }
            if ended {
                return Ok(file);
            }
        }
    }
}

/// Runs a call that may wait for the disk on a thread for such calls.
fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> impl Future<Output = Result<T, Problem>> {
    let running = spawn_blocking(work);
    async move {
        let done = running.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
        done.map_err(|failed| {
            let detail = "the export could not be written to the daemon's disk, and nothing was imported; try again once \
                          there is room: the daemon's log has the reason";
            Problem { cause: Some(failed.to_string()), ..Problem::new(Code::VaultUnavailable, detail) }
        })
    }
}

impl From<VaultExportError> for Problem {
    fn from(failed: VaultExportError) -> Self {
        match failed {
            VaultExportError::Vault(failed) => failed.into(),
            failed => unavailable(failed.to_string()),
        }
    }
}

impl From<VaultImportError> for Problem {
    fn from(failed: VaultImportError) -> Self {
        match failed {
            VaultImportError::Vault(failed) => failed.into(),
            VaultImportError::Interrupted { failed, .. } => (*failed).into(),
            VaultImportError::Export(refused) => {
                Problem::new(Code::ExportInvalid, format!("{refused}; nothing was imported"))
            }
            VaultImportError::Closed(_) | VaultImportError::KeysMissing(_) | VaultImportError::KeysChanged(_) => {
                Problem::new(Code::KeyUnavailable, failed.to_string())
            }
            failed => unavailable(failed.to_string()),
        }
    }
}

fn unavailable(cause: String) -> Problem {
    let detail = "the daemon could not do this now; the operator finds the cause in its log, under the request id";
    Problem { cause: Some(cause), ..Problem::new(Code::VaultUnavailable, detail) }
}
