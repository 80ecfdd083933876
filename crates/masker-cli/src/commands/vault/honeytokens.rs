//! `masker vault plant-honeytoken`, `honeytokens` and `remove-honeytoken`.

use std::io::{self, BufRead};

use zeroize::Zeroizing;

use crate::{
    args::PlantArgs,
    context::{CommandContext, CommandError},
    exit::Exit,
    output::yes_or_no,
    url::path_id,
};
use masker_api::{Health, HealthStatus, Honeytoken, HoneytokenList, HoneytokenPlant, HoneytokenPlanted};

const HONEYTOKENS: &str = "/api/v1/vault/honeytokens";

/// `masker vault plant-honeytoken`.
pub(super) async fn plant(args: &PlantArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let mut value = Zeroizing::new(String::new());
    if args.value_stdin {
        let mut stdin = io::stdin().lock();
        stdin.read_line(&mut value).map_err(CommandError::Input)?;
        if !stdin.fill_buf().map_err(CommandError::Input)?.is_empty() {
            return Err(CommandError::Usage("--value-stdin: expected one line".to_owned()));
        }
    }
    let request = HoneytokenPlant {
        kind: args.kind.as_str().into(),
        value: args.value_stdin.then(|| value.trim_end_matches(['\n', '\r']).into()),
        context: args.context.as_deref().map(Into::into),
        policy: args.policy.as_deref().map(Into::into),
        label: args.label.as_deref().map(Into::into),
    };
    let reply = ctx.post(HONEYTOKENS, &request).await?;
    let planted: HoneytokenPlanted<'_> = reply.json()?;
    let output = &mut ctx.output;
    let id = &planted.honeytoken.id;
    output.once(&planted, &planted.token, || {
        format!("the honeytoken {id} is planted, and its token is lost: `masker vault remove-honeytoken {id}` removes its mark")
    })?;
    let health: Health = ctx.get("/health").await?.json()?;
    if health.components.is_some_and(|parts| parts.audit_log.status == HealthStatus::Off) {
        ctx.output.error(
            "warning: there is no audit log, so only the metric `masker_honeytoken_rehydrated_total` will show that the \
             honeytoken was used",
        );
    } else if !ctx.output.is_json() {
        ctx.output.note(&format!("the audit log identifies it by the id {}", planted.honeytoken.id));
    }
    Ok(Exit::Done)
}

/// `masker vault honeytokens`.
pub(super) async fn list(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let list: HoneytokenList = ctx.get(HONEYTOKENS).await?.json()?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&list)?;
        return Ok(Exit::Done);
    }
    show(list.honeytokens, ctx)
}

/// `masker vault remove-honeytoken`.
pub(super) async fn remove(id: &str, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let removed: Honeytoken = ctx.delete(&format!("{HONEYTOKENS}/{}", path_id(id)?)).await?.json()?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&removed)?;
        return Ok(Exit::Done);
    }
    show(vec![removed], ctx)
}

fn show(honeytokens: Vec<Honeytoken>, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let row = |one: Honeytoken| {
        let planted_at = one.planted_at.unwrap_or_else(|| "-".to_owned());
        vec![one.id, one.kind, one.kid, yes_or_no(!one.carries_value), planted_at, one.planted_by, one.label]
    };
    let header = ["ID", "KIND", "KID", "IN THE VAULT", "PLANTED", "BY", "LABEL"];
    ctx.output.table(&header, honeytokens.into_iter().map(row).collect())?;
    Ok(Exit::Done)
}
