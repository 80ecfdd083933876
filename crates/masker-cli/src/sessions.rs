//! `masker sessions`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    args::{SessionListArgs, SessionStatusArg},
    context::{CommandContext, CommandError},
    exit::Exit,
    percent_encoding::encoded,
};
use masker_api::{SessionInfo, SessionList, SessionOpen};
use masker_types::limits::SESSIONS_PAGE_MAX;

const SESSIONS: &str = "/api/v1/sessions";
/// Pause between two looks of `tail`.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// `masker sessions open`.
pub(super) async fn open(label: Option<String>, session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let opened: SessionInfo = session.post(SESSIONS, &SessionOpen { label }).await?.json()?;
    let output = &mut session.output;
    if output.is_json() {
        output.json(&opened)?;
    } else {
        output.line(&opened.id)?;
    }
    Ok(Exit::Done)
}

/// `masker sessions list`.
pub(super) async fn list(args: &SessionListArgs, session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let sessions = pages(args, session).await?;
    let output = &mut session.output;
    if output.is_json() {
        output.json(&SessionList { sessions, next_cursor: None })?;
        return Ok(Exit::Done);
    }
    output.table(&HEADER, sessions.iter().map(row).collect())?;
    Ok(Exit::Done)
}

/// `masker sessions show`.
pub(super) async fn show(id: &str, session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let info: SessionInfo = session.get(&format!("{SESSIONS}/{}", in_path(id)?)).await?.json()?;
    describe(info, session)
}

/// `masker sessions close`.
pub(super) async fn close(id: &str, session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let info: SessionInfo = session.delete(&format!("{SESSIONS}/{}", in_path(id)?)).await?.json()?;
    describe(info, session)
}

/// `masker sessions tail`: until nobody reads it any more.
pub(super) async fn tail(session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let open = SessionListArgs { since: None, status: Some(SessionStatusArg::Open), limit: None };
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    loop {
        let mut sessions = pages(&open, session).await?;
        let still: BTreeSet<&str> = sessions.iter().map(|one| one.id.as_str()).collect();
        let ended: Vec<String> = shown.keys().filter(|id| !still.contains(id.as_str())).cloned().collect();
        for id in ended {
            shown.remove(&id);
            sessions.push(session.get(&format!("{SESSIONS}/{id}")).await?.json()?);
        }
        for one in sessions {
            let cells = row(&one);
            if shown.get(&one.id) == Some(&cells) {
                continue;
            }
            let output = &mut session.output;
            if output.is_json() {
                output.json(&one)?;
            } else {
                output.line(&cells.join("\t"))?;
            }
            if one.closed_at.is_none() {
                shown.insert(one.id, cells);
            }
        }
        session.output.flush()?;
        sleep(POLL_INTERVAL).await;
    }
}

/// Page after page, up to the limit.
async fn pages(args: &SessionListArgs, session: &mut CommandContext<'_>) -> Result<Vec<SessionInfo>, CommandError> {
    let mut sessions: Vec<SessionInfo> = Vec::new();
    let mut cursor: Option<String> = None;
    let most = args.limit.unwrap_or(usize::MAX);
    while sessions.len() < most {
        let limit = (most - sessions.len()).min(SESSIONS_PAGE_MAX);
        let mut path = format!("{SESSIONS}?limit={limit}");
        if let Some(since) = &args.since {
            path.push_str(&format!("&since={}", encoded(since)));
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
        let page: SessionList = session.get(&path).await?.json()?;
        sessions.extend(page.sessions);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(sessions)
}

/// An id as it can stand in a path.
pub(super) fn in_path(id: &str) -> Result<&str, CommandError> {
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(id);
    }
    Err(CommandError::Usage("an id is 32 hex digits".to_owned()))
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

fn describe(info: SessionInfo, session: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let output = &mut session.output;
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
            "{} minted, {} rehydrated, {} not; {} times those of others",
            kind.minted, kind.rehydrated, kind.not_rehydrated, kind.others_rehydrated
        );
        rows.push(vec![kind.kind, counts]);
    }
    for need in info.needs.into_iter().flatten() {
        rows.push(vec![format!("tokens that need {} {}", need.kid, need.fingerprint), need.tokens.to_string()]);
    }
    let rest =
        [("tokens whose records are gone", info.gone.unwrap_or(0)), ("tokens not tracked", info.tokens_untracked)];
    for (name, tokens) in rest.into_iter().filter(|(_, tokens)| *tokens > 0) {
        rows.push(vec![name.to_owned(), tokens.to_string()]);
    }
    output.table(&["SESSION", ""], rows)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::{encoded, in_path};

    #[test]
    fn what_stands_in_a_url_is_encoded_or_refused() {
        assert_eq!(encoded("2026-01-31T00:00:00+01:00 &ü"), "2026-01-31T00:00:00%2B01:00%20%26%C3%BC");
        assert!(in_path("0196c1f2").is_ok());
        for id in ["", "a/b", "a?b", "..", "a b", "é"] {
            assert!(in_path(id).is_err(), "{id}");
        }
    }
}
