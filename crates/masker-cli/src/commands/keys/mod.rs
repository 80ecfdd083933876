//! `masker keys`.

mod generate;
mod rotate;

use std::io::{self, Read};

use zeroize::Zeroizing;

use crate::{
    args::KeysCommand,
    context::{CommandContext, CommandError},
    exit::Exit,
    format::day,
    key_files::fingerprint_of,
    output::yes_or_no,
};
use masker_api::{KeyAction, KeyAdvice, KeyList, KeyStatus, KeysReloadReport};
use masker_core::crypto::{SecretKey, SecretKeyError};
use masker_types::kind::Kid;

/// Longest text of a key, in bytes: 44 characters and white space around them.
const KEY_TEXT_BYTES_MAX: usize = 4_096;

/// Runs a command of the group.
pub(super) async fn run(command: KeysCommand, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    match command {
        KeysCommand::Generate(args) => generate::run(&args, ctx),
        KeysCommand::Fingerprint { kid } => fingerprint(&kid, ctx),
        KeysCommand::Rotate(args) => rotate::rotate(&args, ctx).await,
        KeysCommand::RemoveOld(args) => rotate::remove_old(&args, ctx).await,
        KeysCommand::Status => status(ctx).await,
        KeysCommand::Reload => reload(ctx).await,
    }
}

fn parse_kid(text: &str) -> Result<Kid, CommandError> {
    Kid::parse(&text.to_ascii_uppercase()).ok_or_else(|| {
        CommandError::Usage(
            "--kid: a key id is a letter followed by at most 47 letters, digits and `_`; it must not end in `_OLD` or \
             `_FILE`, and must not be `ROTATION_GRACE_DAYS`"
                .to_owned(),
        )
    })
}

/// `masker keys fingerprint`.
fn fingerprint(kid: &str, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let kid = parse_kid(kid)?;
    let mut text = Zeroizing::new(Vec::with_capacity(KEY_TEXT_BYTES_MAX));
    let input = io::stdin().lock();
    input.take(KEY_TEXT_BYTES_MAX as u64).read_to_end(&mut text).map_err(CommandError::Input)?;
    let key = SecretKey::parse_base64(&text).map_err(|error| {
        // `masker keys generate` prints such a line.
        let advice = if text.contains(&b'=') && matches!(error, SecretKeyError::NotBase64) {
            ": give the base64 alone, without `MASKER_KEY_<KID>=`"
        } else {
            ""
        };
        CommandError::Other(format!("standard input {error}{advice}"))
    })?;
    let fingerprint = fingerprint_of(kid, &key);
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&serde_json::json!({ "kid": kid.as_str(), "fingerprint": fingerprint }))?;
    } else {
        output.line(&fingerprint)?;
    }
    Ok(Exit::Done)
}

/// `masker keys status`.
async fn status(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let reply = ctx.get("/api/v1/keys").await?;
    let list: KeyList = reply.json()?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&list)?;
        return Ok(Exit::Done);
    }
    output.table(&HEADER, list.keys.into_iter().map(row).collect())?;
    // The daemon does not see the files that it loads at its next start.
    let line = |KeyAdvice { kid, action, text, apply }: &KeyAdvice| match action {
        KeyAction::None => {
            format!("{kid}: {text}. If its files have changed since, compare them (`masker doctor`), then {apply}")
        }
        KeyAction::Load | KeyAction::Rotate | KeyAction::Prove | KeyAction::Remove => format!("{kid}: {text}"),
    };
    let advice = list.advice.iter().map(line);
    if output.is_terminal() {
        output.line("")?;
        for line in advice {
            output.line(&line)?;
        }
    } else {
        // On standard error, because another program reads the rows.
        output.flush()?;
        advice.for_each(|line| output.note(&line));
    }
    Ok(Exit::Done)
}

/// `masker keys reload`.
async fn reload(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let reply = ctx.post("/api/v1/keys/reload", &serde_json::json!({})).await?;
    let report: KeysReloadReport = reply.json()?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&report)?;
        return Ok(Exit::Done);
    }
    let loaded = report.keys.into_iter().filter(|key| key.loaded);
    let row = |key: KeyStatus| vec![key.kid, key.fingerprint, key.generation];
    output.table(&["KID", "FINGERPRINT", "GENERATION"], loaded.map(row).collect())?;
    output.flush()?;
    for warning in &report.warnings {
        output.error(&format!("warning: {warning}"));
    }
    Ok(Exit::Done)
}

const HEADER: [&str; 11] = [
    "KID",
    "FINGERPRINT",
    "GENERATION",
    "FIRST SEEN",
    "OLD SINCE",
    "GRACE",
    "RECORDS",
    "INDEX ROWS",
    "LAST USED",
    "SESSIONS",
    "REMOVABLE",
];

fn row(key: KeyStatus) -> Vec<String> {
    let generation = if key.loaded { key.generation.clone() } else { format!("{}, not loaded", key.generation) };
    vec![
        key.kid,
        key.fingerprint,
        generation,
        day(key.first_seen),
        day(key.old_since),
        grace(key.grace_ends, key.grace_days_left),
        key.vault_records.to_string(),
        key.vault_index_rows.to_string(),
        day(key.last_used),
        key.open_sessions.map_or_else(|| "-".to_owned(), |sessions| sessions.to_string()),
        yes_or_no(key.removable),
    ]
}

fn grace(ends: Option<String>, days_left: Option<i64>) -> String {
    match (days_left, day(ends)) {
        (None, _) => "-".to_owned(),
        (Some(..=0), day) => format!("over since {day}"),
        (Some(1), day) => format!("to {day}, 1 day left"),
        (Some(days), day) => format!("to {day}, {days} days left"),
    }
}

#[cfg(test)]
mod tests {
    use super::grace;

    #[test]
    fn a_grace_period_has_its_last_day_and_the_days_left() {
        let at = || Some("2027-02-04T08:00:00.5Z".to_owned());
        let texts = [Some(30), Some(1), Some(0), Some(-3), None].map(|days| grace(at(), days));
        let expected = [
            "to 2027-02-04, 30 days left",
            "to 2027-02-04, 1 day left",
            "over since 2027-02-04",
            "over since 2027-02-04",
            "-",
        ];
        assert_eq!(texts, expected);
    }
}
