//! `masker sessions`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::sleep;

use crate::{
    args::{SessionListArgs, SessionStatusArg, SessionsCommand},
    context::{CommandContext, CommandError},
    exit::Exit,
    times::parse_past,
    url::{encode, path_id},
};
use masker_api::{SessionInfo, SessionList, SessionOpen};
use masker_types::limits::SESSIONS_PAGE_MAX;

const SESSIONS: &str = "/api/v1/sessions";
/// Interval between two requests of `tail`.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Runs a command of the group.
pub(super) async fn run(command: SessionsCommand, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    match command {
        SessionsCommand::Open { label } => open(label, ctx).await,
        SessionsCommand::List(args) => list(&args, ctx).await,
        SessionsCommand::Show { id } => show(&id, ctx).await,
        SessionsCommand::Close { id } => close(&id, ctx).await,
        SessionsCommand::Tail => tail(ctx).await,
    }
}

/// `masker sessions open`.
async fn open(label: Option<String>, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let opened: SessionInfo = ctx.post(SESSIONS, &SessionOpen { label }).await?.json()?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&opened)?;
    } else {
        output.line(&opened.id)?;
    }
    Ok(Exit::Done)
}

/// `masker sessions list`.
async fn list(args: &SessionListArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let sessions = pages(args, ctx).await?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&SessionList { sessions, next_cursor: None })?;
        return Ok(Exit::Done);
    }
    output.table(&HEADER, sessions.iter().map(row).collect())?;
    Ok(Exit::Done)
}

/// `masker sessions show`.
async fn show(id: &str, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let info: SessionInfo = ctx.get(&format!("{SESSIONS}/{}", path_id(id)?)).await?.json()?;
    describe(info, ctx)
}

/// `masker sessions close`.
async fn close(id: &str, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let info: SessionInfo = ctx.delete(&format!("{SESSIONS}/{}", path_id(id)?)).await?.json()?;
    describe(info, ctx)
}

/// `masker sessions tail`. Runs until it is interrupted or its output is closed.
async fn tail(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let open = SessionListArgs { since: None, status: Some(SessionStatusArg::Open), limit: None };
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    loop {
        let mut sessions = pages(&open, ctx).await?;
        let open_ids: BTreeSet<&str> = sessions.iter().map(|one| one.id.as_str()).collect();
        let closed: Vec<String> = shown.keys().filter(|id| !open_ids.contains(id.as_str())).cloned().collect();
        for id in closed {
            shown.remove(&id);
            sessions.push(ctx.get(&format!("{SESSIONS}/{id}")).await?.json()?);
        }
        for one in sessions {
            let cells = row(&one);
            if shown.get(&one.id) == Some(&cells) {
                continue;
            }
            let output = &mut ctx.output;
            if output.is_json() {
                output.json(&one)?;
            } else {
                output.line(&cells.join("\t"))?;
            }
            if one.closed_at.is_none() {
                shown.insert(one.id, cells);
            }
        }
        ctx.output.flush()?;
        sleep(POLL_INTERVAL).await;
    }
}

/// Lists sessions page by page, up to the limit.
async fn pages(args: &SessionListArgs, ctx: &mut CommandContext<'_>) -> Result<Vec<SessionInfo>, CommandError> {
    let mut sessions: Vec<SessionInfo> = Vec::new();
    let mut cursor: Option<String> = None;
    let max = args.limit.unwrap_or(usize::MAX);
    while sessions.len() < max {
        let limit = (max - sessions.len()).min(SESSIONS_PAGE_MAX);
        let mut path = format!("{SESSIONS}?limit={limit}");
        if let Some(since) = &args.since {
            let since = parse_past("--since", since, Timestamp::now())?;
            path.push_str(&format!("&since={}", encode(&since.to_string())));
        }
        if let Some(status) = args.status {
            path.push_str(match status {
                SessionStatusArg::Open => "&status=open",
                SessionStatusArg::Closed => "&status=closed",
            });
        }
        if let Some(cursor) = &cursor {
            path.push_str(&format!("&cursor={cursor}"));
        }
        let page: SessionList = ctx.get(&path).await?.json()?;
        sessions.extend(page.sessions);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(sessions)
}

const HEADER: [&str; 9] =
    ["ID", "STATUS", "OPENED", "LAST USED", "BY", "MINTED", "REHYDRATED", "NOT REHYDRATED", "LABEL"];

fn row(info: &SessionInfo) -> Vec<String> {
    let time = |at: &Option<String>| at.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        info.id.clone(),
        info.status.clone(),
        time(&info.opened_at),
        time(&info.last_used_at),
        info.opened_by.name.clone(),
        info.minted.to_string(),
        info.rehydrated.to_string(),
        info.not_rehydrated.to_string(),
        info.label.clone(),
    ]
}

fn describe(info: SessionInfo, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&info)?;
        return Ok(Exit::Done);
    }
    let uid = info.opened_by.uid.map(|uid| format!(" (uid {uid})")).unwrap_or_default();
    let mut rows = vec![
        vec!["id".to_owned(), info.id],
        vec!["label".to_owned(), info.label],
        vec!["status".to_owned(), info.status],
        vec!["opened by".to_owned(), info.opened_by.name + &uid],
    ];
    let times = [("opened", info.opened_at), ("last used", info.last_used_at), ("closed", info.closed_at)];
    for (name, time) in times {
        rows.extend(time.map(|time| vec![name.to_owned(), time]));
    }
    for kind in info.kinds {
        let counts = format!(
            "{} minted, {} rehydrated, {} not rehydrated; {} of other sessions rehydrated",
            kind.minted, kind.rehydrated, kind.not_rehydrated, kind.others_rehydrated
        );
        rows.push(vec![kind.kind, counts]);
    }
    for need in info.needs.into_iter().flatten() {
        rows.push(vec![format!("tokens that need {} {}", need.kid, need.fingerprint), need.tokens.to_string()]);
    }
    let rest =
        [("tokens whose records were erased", info.gone.unwrap_or(0)), ("tokens not tracked", info.tokens_untracked)];
    for (name, tokens) in rest.into_iter().filter(|(_, tokens)| *tokens > 0) {
        rows.push(vec![name.to_owned(), tokens.to_string()]);
    }
    output.table(&["SESSION", ""], rows)?;
    Ok(Exit::Done)
}
