//! Rotations: records moved to another key while the daemon serves.

use serde_json::{Value, json};

use super::{
    Service,
    context::RequestContext,
    input::Input,
    operation::{Outcome, Reply},
    problem::Problem,
    route::{Route, route},
};
use masker_access::{Permit, VaultAdmin, VaultRead};
use masker_api::{ErrorBody, Rotation, RotationBegin, RotationFailure, RotationList};
use masker_types::{error_code::Code, kind::Kid};
use masker_vault::{RotationError, RotationId, RotationRequest, RotationStatus};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route! {
            handler: rotation_begin / __path_rotation_begin,
            access: Scope(VaultAdmin),
            audit: Operation(RotationBegin),
            cost: Request,
            body: Buffered,
        },
        route! {
            handler: rotations / __path_rotations,
            access: Scope(VaultRead),
            audit: Operation(RotationRead),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: rotation / __path_rotation,
            access: Scope(VaultRead),
            audit: Operation(RotationRead),
            cost: Request,
            body: Ignored,
        },
        route! {
            handler: rotation_cancel / __path_rotation_cancel,
            access: Scope(VaultAdmin),
            audit: Operation(RotationCancel),
            cost: Request,
            body: Ignored,
        },
    ]
}

/// Move records to the active key of a key id, while serving. One rotation runs at a time.
#[utoipa::path(
    post,
    path = "/api/v1/vault/rotations",
    request_body(content = RotationBegin, example = json!({"new_kid": "K_HEALTHCARE", "max_rows_per_second": 500})),
    responses(
        (status = 202, description = "The rotation has begun", body = Rotation, example = json!(example_rotation("running"))),
        (status = 409, description = "Another one is running", body = ErrorBody, content_type = "application/problem+json")
    ),
)]
async fn rotation_begin(
    service: &Service,
    ctx: &mut RequestContext,
    permit: Permit<VaultAdmin>,
    input: &Input,
) -> Outcome {
    let request: RotationBegin = input.json()?;
    let request = RotationRequest {
        new_kid: kid("new_kid", &request.new_kid)?,
        old_kid: request.old_kid.as_deref().map(|text| kid("old_kid", text)).transpose()?,
        dry_run: request.dry_run,
        rows_per_second_max: request.max_rows_per_second,
    };
    let begun = service.vault.begin_rotation(&permit, request).await?;
    ctx.fact("rotation", begun.id.to_string());
    ctx.fact("new_kid", begun.new_kid.to_string());
    ctx.fact("old_kid", begun.old_kid.to_string());
    ctx.flag("dry_run", begun.dry_run);
    Reply::json(&rotation_status(begun))
}

/// List the rotations that are remembered, the latest first.
#[utoipa::path(
    get,
    path = "/api/v1/vault/rotations",
    responses((status = 200, description = "The rotations", body = RotationList, example = json!({"rotations": [example_rotation("running")]}))),
)]
async fn rotations(service: &Service, _ctx: &mut RequestContext, permit: Permit<VaultRead>, _input: &Input) -> Outcome {
    Reply::json(&RotationList {
        rotations: service.vault.rotations(&permit).into_iter().map(rotation_status).collect(),
    })
}

/// Show the progress of a rotation.
#[utoipa::path(
    get,
    path = "/api/v1/vault/rotations/{id}",
    params(("id" = String, Path, description = "The rotation's id", example = "0198b2c4d5e6f708192a3b4c5d6e7f80")),
    responses((status = 200, description = "The rotation", body = Rotation, example = json!(example_rotation("running")))),
)]
async fn rotation(service: &Service, _ctx: &mut RequestContext, permit: Permit<VaultRead>, input: &Input) -> Outcome {
    Reply::json(&rotation_status(service.vault.rotation(&permit, rotation_id(&input.parameter)?)?))
}

/// Cancel a rotation. Records that were moved stay moved.
#[utoipa::path(
    delete,
    path = "/api/v1/vault/rotations/{id}",
    params(("id" = String, Path, description = "The rotation's id", example = "0198b2c4d5e6f708192a3b4c5d6e7f80")),
    responses((status = 200, description = "The rotation, cancelled", body = Rotation, example = json!(example_rotation("cancelled")))),
)]
async fn rotation_cancel(
    service: &Service,
    ctx: &mut RequestContext,
    permit: Permit<VaultAdmin>,
    input: &Input,
) -> Outcome {
    let cancelled = service.vault.cancel_rotation(&permit, rotation_id(&input.parameter)?).await?;
    ctx.fact("rotation", cancelled.id.to_string());
    Reply::json(&rotation_status(cancelled))
}

/// Returns a rotation for the OpenAPI document.
fn example_rotation(state: &str) -> Value {
    let is_running = state == "running";
    json!({
        "id": "0198b2c4d5e6f708192a3b4c5d6e7f80",
        "new_kid": "K_HEALTHCARE",
        "fingerprint": "00112233aabbccdd",
        "old_kid": "K_HEALTHCARE",
        "dry_run": false,
        "state": state,
        "phase": if is_running { "moving" } else { "ended" },
        "rows_total": 1_000,
        "rows_done": 500,
        "rows_resealed": 500,
        "rows_failed": 0,
        "conflicts": 0,
        "rows_per_second": 250.0,
        "max_rows_per_second": 500,
        "eta_seconds": is_running.then_some(2),
        "started_at": "2026-01-31T12:00:00Z",
        "finished_at": (!is_running).then_some("2026-01-31T12:00:02Z"),
        "failures": [],
        "detail": null
    })
}

/// Parses a kid, in capitals or not.
fn kid(field: &str, text: &str) -> Result<Kid, Problem> {
    Kid::parse(&text.to_ascii_uppercase()).ok_or_else(|| {
        Problem::new(Code::RequestInvalid, format!("`{field}` is not a key id; GET /api/v1/keys lists them"))
    })
}

/// Text that is not an id is the id of no rotation.
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

fn rotation_status(status: RotationStatus) -> Rotation {
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
