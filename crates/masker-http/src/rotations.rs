//! Handlers of rotations.

use hyper::body::Bytes;

use super::{Service, body::parse, exchange::RequestContext, problem::Problem, values::json};
use masker_api::{Rotation, RotationBegin, RotationFailure, RotationList};
use masker_types::{error_code::Code, kind::Kid};
use masker_vault::{RotationError, RotationId, RotationRequest, RotationStatus};

impl Service {
    pub(super) async fn begin_rotation(&self, on: &mut RequestContext, body: &[u8]) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::VaultAdmin>()?;
        let request: RotationBegin = parse(body)?;
        let request = RotationRequest {
            new_kid: kid("new_kid", &request.new_kid)?,
            old_kid: request.old_kid.as_deref().map(|text| kid("old_kid", text)).transpose()?,
            dry_run: request.dry_run,
            rows_per_second_max: request.max_rows_per_second,
        };
        let begun = self.vault.begin_rotation(&permit, request).await?;
        on.fact("rotation", begun.id.to_string());
        on.fact("new_kid", begun.new_kid.to_string());
        on.fact("old_kid", begun.old_kid.to_string());
        on.flag("dry_run", begun.dry_run);
        json(&rotation(begun))
    }

    pub(super) fn rotations(&self, on: &mut RequestContext) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::VaultRead>()?;
        json(&RotationList { rotations: self.vault.rotations(&permit).into_iter().map(rotation).collect() })
    }

    pub(super) fn rotation(&self, on: &mut RequestContext, id: &str) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::VaultRead>()?;
        json(&rotation(self.vault.rotation(&permit, rotation_id(id)?)?))
    }

    pub(super) async fn cancel_rotation(&self, on: &mut RequestContext, id: &str) -> Result<Bytes, Problem> {
        let permit = on.permit::<masker_access::VaultAdmin>()?;
        let cancelled = self.vault.cancel_rotation(&permit, rotation_id(id)?).await?;
        on.fact("rotation", cancelled.id.to_string());
        json(&rotation(cancelled))
    }
}

/// A kid, in capitals or not.
fn kid(field: &str, text: &str) -> Result<Kid, Problem> {
    Kid::parse(&text.to_ascii_uppercase()).ok_or_else(|| {
        Problem::new(Code::RequestInvalid, format!("`{field}` is not a key id; GET /api/v1/keys lists those there are"))
    })
}

/// What is no id is the id of no rotation.
fn rotation_id(text: &str) -> Result<RotationId, Problem> {
    RotationId::parse(text).ok_or_else(|| RotationError::NotFound.into())
}

impl From<RotationError> for Problem {
    fn from(error: RotationError) -> Self {
        let code = match error {
            RotationError::Vault(failed) => return failed.into(),
            RotationError::Running(_) => Code::RotationRunning,
            RotationError::Ended(_) => Code::RotationEnded,
            RotationError::NotFound => Code::RotationNotFound,
            RotationError::TargetNotLoaded(_) | RotationError::SourceUnknown(_) => Code::KeyUnavailable,
        };
        Problem::new(code, error.to_string())
    }
}

fn rotation(status: RotationStatus) -> Rotation {
    Rotation {
        id: status.id.to_string(),
        new_kid: status.new_kid.to_string(),
        fingerprint: status.fingerprint.to_string(),
        old_kid: status.old_kid.to_string(),
        dry_run: status.dry_run,
        state: status.state.as_str().to_owned(),
        phase: status.phase.as_str().to_owned(),
        rows_total: status.rows_total,
        rows_done: status.rows_done,
        rows_resealed: status.rows_resealed,
        rows_failed: status.rows_failed,
        conflicts: status.conflicts,
        rows_per_second: status.rows_per_second,
        max_rows_per_second: status.rows_per_second_max,
        eta_seconds: status.eta_seconds,
        started_at: status.started_at.map(|at| at.to_string()),
        finished_at: status.finished_at.map(|at| at.to_string()),
        failures: status
            .failures
            .into_iter()
            .map(|(record, reason)| RotationFailure { record, reason: reason.to_owned() })
            .collect(),
        detail: status.detail,
    }
}
