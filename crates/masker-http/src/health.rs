//! The daemon as its operator watches it: health, metrics, and the description of this interface.

use std::{sync::Arc, time::Duration};

use hyper::{StatusCode, header::HeaderValue};
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    Service,
    context::RequestContext,
    input::Input,
    operation::{JSON, Outcome, Reply},
    problem::Problem,
    route::{Route, route},
};
use masker_access::{KeysRead, MetricsRead, Permit};
use masker_api::{Component, Components, Health, HealthStatus};

/// Time in which the store of a healthy daemon answers, in seconds.
const PING_SECONDS_MAX: u64 = 2;

const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

pub(super) fn routes() -> Vec<Route> {
    vec![
        route! {
            handler: openapi / __path_openapi,
            access: Public,
            audit: Unaudited("the document is the same for everyone"),
            cost: Free,
            body: Ignored,
        },
        route! {
            handler: health / __path_health,
            access: Public,
            audit: Unaudited("monitoring would fill the log"),
            cost: Free,
            body: Ignored,
        }
        .serving_gateways(),
        route! {
            handler: metrics / __path_metrics,
            access: Scope(MetricsRead),
            audit: Unaudited("monitoring would fill the log"),
            cost: Request,
            body: Ignored,
        },
    ]
}

/// Show whether the daemon can do all of its work. Callers without the scope `keys:read` see the status alone.
#[utoipa::path(
    get,
    path = "/health",
    responses(
        (status = 200, description = "It can", body = Health, example = json!({
            "status": "ok", "version": "0.1.0", "uptime_seconds": 86400,
            "components": {
                "vault": {"status": "ok"}, "keys": {"status": "ok"},
                "audit_log": {"status": "ok"}, "policies": {"status": "ok"}
            },
            "configuration": {
                "process_id": 812, "uid": 997, "socket": "/run/masker/masker.sock", "file": "/etc/masker/masker.toml",
                "data_dir": "/var/lib/masker", "audit_log": "/var/log/masker", "policies": "/etc/masker/policies",
                "key_files": {"CREDENTIALS_DIRECTORY": "/run/credentials/masker.service"}, "key_variables": []
            }
        })),
        (status = 503, description = "It is degraded; a component has the reason", body = Health, example = json!({
            "status": "degraded", "version": "0.1.0", "uptime_seconds": 86400,
            "components": {
                "vault": {"status": "degraded", "detail": "the store did not answer within 2 s"},
                "keys": {"status": "ok"}, "audit_log": {"status": "ok"}, "policies": {"status": "ok"}
            }
        }))
    ),
)]
async fn health(service: &Service, ctx: &mut RequestContext, _input: &Input) -> Outcome {
    let components = Components {
        vault: service.vault_health().await,
        keys: service.keys_health(),
        audit_log: match &service.audit {
            None => Component {
                status: HealthStatus::Off,
                detail: Some("MASKER_AUDIT_HMAC_KEY is not set: there is no audit log".to_owned()),
            },
            Some(log) => log.health().map_or_else(degraded, |()| healthy()),
        },
        policies: match service.reload_failures.load().policies.clone() {
            None => healthy(),
            Some(problem) => degraded(problem),
        },
    };
    let all = [&components.vault, &components.keys, &components.audit_log, &components.policies];
    let degraded = all.iter().any(|component| component.status == HealthStatus::Degraded);
    let status = if degraded { HealthStatus::Degraded } else { HealthStatus::Ok };
    // The components' details name keys, and say how many records need them.
    let has_details = ctx.permit::<KeysRead>().is_ok();
    let reply = Reply::json(&Health {
        status,
        version: has_details.then(|| env!("CARGO_PKG_VERSION").to_owned()),
        uptime_seconds: has_details.then(|| service.started.elapsed().as_secs()),
        components: has_details.then_some(components),
        configuration: has_details.then(|| service.configuration.clone()),
    })?;
    Ok(if degraded { reply.with_status(StatusCode::SERVICE_UNAVAILABLE) } else { reply })
}

/// Return this document.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    responses((
        status = 200,
        description = "OpenAPI 3.1",
        content_type = "application/json",
        body = serde_json::Value,
        example = json!({"openapi": "3.1.0", "info": {"title": "masker", "version": "0.1.0"}, "paths": {}})
    )),
)]
async fn openapi(service: &Service, _ctx: &mut RequestContext, _input: &Input) -> Outcome {
    Ok(Reply::whole(service.openapi.clone(), JSON))
}

/// Return the daemon's counters in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((
        status = 200,
        description = "Prometheus text",
        content_type = "text/plain",
        body = String,
        example = "masker_requests_total{route=\"/health\",status=\"200\"} 1"
    )),
)]
async fn metrics(
    service: &Service,
    _ctx: &mut RequestContext,
    _permit: Permit<MetricsRead>,
    _input: &Input,
) -> Outcome {
    service.measure().await;
    let text = service.metrics.text().map_err(|failed| Problem::internal(failed.to_string()))?;
    Ok(Reply::whole(text.into(), METRICS))
}

impl Service {
    async fn vault_health(&self) -> Component {
        match timeout(Duration::from_secs(PING_SECONDS_MAX), self.vault.ping()).await {
            Ok(Ok(())) => match self.vault.control_problem() {
                Some(problem) => degraded(problem),
                None => self.data_dir_health().await,
            },
            Ok(Err(failed)) => degraded(failed.to_string()),
            Err(_) => degraded(format!("the store did not answer within {PING_SECONDS_MAX} s")),
        }
    }
}

impl Service {
    /// A directory that was removed or replaced is served on from files without names, which end with the daemon.
    async fn data_dir_health(&self) -> Component {
        let directory = Arc::clone(&self.open_data_dir);
        let looked = spawn_blocking(move || directory.is_in_place());
        match timeout(Duration::from_secs(PING_SECONDS_MAX), looked).await {
            Ok(Ok(Ok(true))) => healthy(),
            Ok(Ok(Ok(false))) => degraded(
                "the data directory was removed or replaced, and the daemon serves from its open files, which are gone \
                 once it stops: export the vault first"
                    .to_owned(),
            ),
            Ok(Ok(Err(failed))) => degraded(format!("failed to look at the data directory: {failed}")),
            Ok(Err(_)) | Err(_) => degraded(format!("the data directory's disk did not answer within {PING_SECONDS_MAX} s")),
        }
    }
}

/// Returns the state of a component that works.
pub(super) fn healthy() -> Component {
    Component { status: HealthStatus::Ok, detail: None }
}

/// Returns the state of a component that does not.
pub(super) fn degraded(detail: String) -> Component {
    Component { status: HealthStatus::Degraded, detail: Some(detail) }
}
