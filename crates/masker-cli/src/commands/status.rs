//! `masker health` and `masker whoami`.

use crate::{
    context::{CommandContext, CommandError},
    exit::Exit,
    format,
    output::yes_or_no,
};
use masker_api::{Components, Health, HealthStatus, WhoAmI};

/// `masker health`.
pub(super) async fn health(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let reply = ctx.get("/health").await?;
    let health: Health = reply.json()?;
    let exit = if health.status == HealthStatus::Ok { Exit::Done } else { Exit::Failure };
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&health)?;
        return Ok(exit);
    }
    let name = |status: HealthStatus| match status {
        HealthStatus::Ok => "ok",
        HealthStatus::Degraded => "degraded",
        HealthStatus::Off => "off",
    };
    let about = match (&health.version, health.uptime_seconds) {
        (Some(version), Some(uptime)) => format!("version {version}, up {uptime} s"),
        _ => "the scope `keys:read` shows the details".to_owned(),
    };
    let mut rows = vec![vec!["masker".to_owned(), name(health.status).to_owned(), about]];
    rows.extend(health.components.iter().flat_map(Components::named).map(|(part, state)| {
        vec![part.to_owned(), name(state.status).to_owned(), state.detail.clone().unwrap_or_default()]
    }));
    output.table(&["PART", "STATUS", ""], rows)?;
    Ok(exit)
}

/// `masker whoami`.
pub(super) async fn whoami(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let reply = ctx.get("/api/v1/auth/whoami").await?;
    let caller: WhoAmI = reply.json()?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&caller)?;
        return Ok(Exit::Done);
    }
    let mut rows = vec![
        vec!["name".to_owned(), caller.name],
        vec!["user".to_owned(), caller.user.unwrap_or_else(|| "-".to_owned())],
        vec!["uid".to_owned(), caller.uid.to_string()],
        vec!["gid".to_owned(), caller.gid.to_string()],
        vec!["attested by".to_owned(), caller.attested_by],
        vec!["mode".to_owned(), caller.mode],
    ];
    let of_key = [
        ("key prefix", caller.key_prefix),
        ("workspace", caller.workspace),
        ("certificate", caller.certificate),
        ("gateway", caller.gateway),
        ("address", caller.address),
    ];
    rows.extend(of_key.into_iter().filter_map(|(name, text)| Some(vec![name.to_owned(), text?])));
    rows.push(vec!["limits".to_owned(), format::limits(&caller.limits)]);
    rows.extend(caller.limits_left.into_iter().map(|(limit, left)| vec![format!("left of {limit}"), left.to_string()]));
    let limits =
        [("unit", caller.unit.map(|unit| vec![unit])), ("policies", caller.policies), ("contexts", caller.contexts)];
    for (name, names) in limits {
        rows.extend(names.map(|names| vec![name.to_owned(), names.join(", ")]));
    }
    rows.extend(caller.scopes.into_iter().map(|(scope, has)| vec![format!("may {scope}"), yes_or_no(has)]));
    output.table(&["CALLER", ""], rows)?;
    Ok(Exit::Done)
}
