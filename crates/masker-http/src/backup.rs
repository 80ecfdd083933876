//! Exports and imports: bodies that no memory holds as a whole.

use std::{fs::File, future::Future, io, io::Write, path::Path, sync::Arc, time::Duration};

use futures_util::stream::try_unfold;
use http_body_util::{BodyExt, Either, StreamBody};
use hyper::{
    Response,
    body::{Body, Bytes, Frame, Incoming},
    header::{self, HeaderValue},
};
use tokio::{runtime::Handle, task::spawn_blocking, time::timeout};
use tracing::{error, info, warn};

use super::{
    Service, exchange::RequestContext, problem::Problem, query::QueryParameters, request_id::RequestId, router::Route,
    serve::AnswerBody, values::json,
};
use masker_api::ImportReport;
use masker_audit::{AuditError, AuditEvent, AuditLog, AuditOperation, DetailValue};
use masker_types::{error_code::Code, limits::IMPORT_BYTES_MAX};
use masker_vault::{ImportRules, RunningExport, VaultExportError, VaultImportError};

/// Bytes of an import that are gathered before they are written to the disk.
const WRITE_BYTES: usize = 1024 * 1024;

/// The file that an export is.
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// An export on its way to the client.
struct ExportStream {
    exporting: RunningExport,
    id: RequestId,
    bytes: u64,
    ended: bool,
    audit: Option<Arc<AuditLog>>,
}

impl ExportStream {
    /// The next piece. It is made when the connection has room for it.
    async fn next(mut self) -> io::Result<Option<(Frame<Bytes>, Self)>> {
        match self.exporting.next().await {
            Ok(Some(piece)) => {
                self.bytes += piece.len() as u64;
                Ok(Some((Frame::data(Bytes::from(piece)), self)))
            }
            Ok(None) => {
                self.ended = true;
                let (counts, bytes) = (self.exporting.counts(), self.bytes);
                let (records, tombstones) = (counts.records, counts.tombstones);
                info!(request_id = self.id.as_str(), records, tombstones, bytes, "the vault was exported");
                // Without its last chunk what was sent is no export: none is whole that the log does not know of.
                let Some(log) = self.audit.take() else { return Ok(None) };
                let recorded = record_end(&log, self.id, "ok", bytes, Some((records, tombstones))).await;
                recorded.map(|()| None).map_err(io::Error::other)
            }
            Err(failed) => {
                self.ended = true;
                error!(request_id = self.id.as_str(), error = %failed, "an export failed");
                // The connection ends here, and what was sent is no export.
                Err(io::Error::other("the export failed"))
            }
        }
    }
}

impl Drop for ExportStream {
    fn drop(&mut self) {
        if !self.ended {
            warn!(request_id = self.id.as_str(), bytes = self.bytes, "an export was cut short; what was sent is none");
        }
        // Still here unless it ended well.
        if let (Some(log), Ok(runtime)) = (self.audit.take(), Handle::try_current()) {
            let (id, bytes) = (self.id, self.bytes);
            runtime.spawn(async move {
                if let Err(failed) = record_end(&log, id, "incomplete", bytes, None).await {
                    error!(request_id = id.as_str(), error = %failed, "the audit log was not told of an export's end");
                }
            });
        }
    }
}

/// Tells the audit log how an export ended, of which a request began the sending.
async fn record_end(
    log: &AuditLog,
    id: RequestId,
    outcome: &'static str,
    bytes: u64,
    counted: Option<(u64, u64)>,
) -> Result<(), AuditError> {
    let mut detail = vec![("bytes", DetailValue::Number(bytes))];
    if let Some((records, tombstones)) = counted {
        detail.extend([("records", DetailValue::Number(records)), ("tombstones", DetailValue::Number(tombstones))]);
    }
    let request_id = Some(id.as_str());
    log.record(&AuditEvent { request_id, detail: &detail, ..AuditEvent::new(AuditOperation::VaultExported, outcome) })
        .await
}

impl Service {
    pub(super) async fn vault_export(&self, on: &mut RequestContext) -> Result<Response<AnswerBody>, Problem> {
        let permit = on.permit::<masker_access::VaultAdmin>()?;
        let exporting = self.vault.export(&permit, self.place.vault_id).await?;
        let sending = ExportStream { exporting, id: on.id, bytes: 0, ended: false, audit: self.audit.clone() };
        let body = StreamBody::new(try_unfold(sending, ExportStream::next));
        let mut response = Response::new(Either::Right(body.boxed_unsync()));
        response.headers_mut().insert(header::CONTENT_TYPE, OCTETS);
        Ok(response)
    }

    pub(super) async fn vault_import(
        &self,
        on: &mut RequestContext,
        query: Option<&str>,
        body: Incoming,
    ) -> Result<Bytes, Problem> {
        let mut body = UploadBody { body, timeout: self.timeouts.body, received: 0 };
        let imported = self.import(on, query, &mut body).await;
        if let Err(problem) = &imported
            && !problem.close
        {
            // A client hears a refusal once it has sent everything.
            body.discard().await?;
        }
        imported
    }

    async fn import(
        &self,
        on: &mut RequestContext,
        query: Option<&str>,
        body: &mut UploadBody,
    ) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::VaultAdmin>()?;
        self.admit(on, 0)?;
        let rules = rules(query)?;
        let busy = |_| Problem::new(Code::Overloaded, "another import is under way; wait for its end");
        let _guard = self.importing.try_acquire().map_err(busy)?;
        let file = body.spool(&self.place.data_dir).await?;
        let bytes = body.received;
        let outcome = self.vault.import(&permit, file, rules).await?;
        let merged = outcome.merged;
        on.number("records", outcome.records);
        on.number("imported", merged.imported);
        info!(
            request_id = on.id.as_str(),
            uid = on.caller.peer().uid(),
            bytes,
            records = outcome.records,
            imported = merged.imported,
            restored = merged.restored,
            conflicts = merged.conflicts,
            "an export was imported"
        );
        json(&ImportReport {
            records: outcome.records,
            imported: merged.imported,
            resealed: merged.resealed,
            restored: merged.restored,
            present: merged.present,
            conflicts: merged.conflicts,
            alias_conflicts: merged.alias_conflicts,
            erased_skipped: merged.erased_skipped,
            damaged: outcome.damaged,
            tombstones: outcome.tombstones,
            tombstones_added: merged.tombstones_added,
            records_kept: merged.records_kept,
        })
    }
}

fn rules(query: Option<&str>) -> Result<ImportRules, Problem> {
    let query = QueryParameters::parse(query, Route::VaultImport.query_names())?;
    let restore_erased = query.read("restore_erased", "`true` or `false`", |text| text.parse().ok())?;
    Ok(ImportRules { restore_erased: restore_erased.unwrap_or(false) })
}

/// A body that is larger than memory should hold.
struct UploadBody {
    body: Incoming,
    /// How long the client may send nothing.
    timeout: Duration,
    received: u64,
}

impl UploadBody {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if self.body.is_end_stream() {
            return Ok(None);
        }
        let late = || {
            let detail = format!("nothing of the body arrived for {} s", self.timeout.as_secs());
            Problem::unread(Code::RequestTimeout, detail)
        };
        match timeout(self.timeout, self.body.frame()).await.map_err(|_| late())? {
            None => Ok(None),
            Some(Err(_)) => Err(Problem::unread(Code::RequestInvalid, "the body ended before it was complete")),
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

    /// Lays the body into a file without a name: it is gone with the last who has it open, whatever happens.
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

    async fn discard(&mut self) -> Result<(), Problem> {
        while self.next().await?.is_some() {}
        Ok(())
    }
}

/// Runs what may wait for the disk on a thread that may.
fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> impl Future<Output = Result<T, Problem>> {
    let running = spawn_blocking(work);
    async move {
        let done = running.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
        done.map_err(|failed| {
            let detail = "the export could not be laid on the daemon's disk, and nothing was imported; try again once \
                          there is room: the daemon's log says why";
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
