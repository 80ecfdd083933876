//! `masker api-keys`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;

use crate::{
    args::{ApiKeyCreateArgs, ApiKeyRotateArgs, ApiKeysCommand},
    context::{CommandContext, CommandError},
    exit::Exit,
    format::{self, day},
    output::yes_or_no,
    times::parse_time,
};
use masker_api::{ApiKeyCreate, ApiKeyIssued, ApiKeyList, ApiKeyPatch, ApiKeyRotate, ApiKeyStatus};
use masker_types::grant::{Limit, Limits, ScopeSet};

const API_KEYS: &str = "/api/v1/api-keys";

/// Runs a command of the group.
pub(super) async fn run(command: ApiKeysCommand, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    match command {
        ApiKeysCommand::Create(args) => create(&args, ctx).await,
        ApiKeysCommand::List => list(ctx).await,
        ApiKeysCommand::Show { id } => show(&id, ctx).await,
        ApiKeysCommand::Rotate(args) => rotate(&args, ctx).await,
        ApiKeysCommand::Suspend { id } => suspend(&id, true, ctx).await,
        ApiKeysCommand::Resume { id } => suspend(&id, false, ctx).await,
        ApiKeysCommand::Revoke { id, keep_descendants } => revoke(&id, keep_descendants, ctx).await,
    }
}

/// `masker api-keys create`.
async fn create(args: &ApiKeyCreateArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    ScopeSet::parse(&args.scopes).map_err(|error| CommandError::Usage(format!("--scope: {error}")))?;
    let some = |texts: &[String]| (!texts.is_empty()).then(|| texts.to_vec());
    let request = ApiKeyCreate {
        name: args.name.clone(),
        workspace: args.workspace.clone(),
        owner: args.owner.clone(),
        scopes: args.scopes.clone(),
        policies: some(&args.policies),
        contexts: some(&args.contexts),
        expires_at: args.expires.as_deref().map(|text| expiry(text, Timestamp::now())).transpose()?,
        mode: args.test.then(|| "test".to_owned()),
        limits: args.limits.as_deref().map(limits).transpose()?,
    };
    let issued: ApiKeyIssued = ctx.post(API_KEYS, &request).await?.json()?;
    show_issued(&issued, ctx)
}

/// `masker api-keys list`.
async fn list(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let list: ApiKeyList = ctx.get(API_KEYS).await?.json()?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&list)?;
        return Ok(Exit::Done);
    }
    let row = |key: ApiKeyStatus| {
        let last_used = day(key.last_used.and_then(|last| last.at));
        let (created, expires) = (day(key.created_at), day(key.expires_at));
        let state = if key.inactive { format!("{}, INACTIVE", key.state) } else { key.state };
        let replaced = key.secrets_in_grace.into_iter().map(|secret| secret.prefix);
        vec![
            key.id,
            key.name,
            std::iter::once(key.prefix).chain(replaced).collect::<Vec<_>>().join(","),
            state,
            key.mode,
            key.workspace,
            key.owner,
            key.scopes.join(","),
            created,
            expires,
            last_used,
        ]
    };
    let header =
        ["ID", "NAME", "PREFIX", "STATE", "MODE", "WORKSPACE", "OWNER", "SCOPES", "CREATED", "EXPIRES", "LAST USED"];
    output.table(&header, list.api_keys.into_iter().map(row).collect())?;
    Ok(Exit::Done)
}

/// `masker api-keys show`.
async fn show(id: &str, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let key: ApiKeyStatus = ctx.get(&path(id)?).await?.json()?;
    show_status(key, ctx)
}

/// `masker api-keys rotate`.
async fn rotate(args: &ApiKeyRotateArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let grace_seconds = args.grace.as_deref().map(grace).transpose()?;
    let path = format!("{}/rotate", path(&args.id)?);
    let issued: ApiKeyIssued = ctx.post(&path, &ApiKeyRotate { grace_seconds }).await?.json()?;
    show_issued(&issued, ctx)?;
    if let Some(ends) = &issued.api_key.grace_ends {
        ctx.output
            .note(&format!("the previous secret is valid until {ends}; revoking the API key ends both immediately"));
    }
    Ok(Exit::Done)
}

/// `masker api-keys revoke`.
async fn revoke(id: &str, keep_descendants: bool, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let query = if keep_descendants { "?keep_descendants=true" } else { "" };
    let key: ApiKeyStatus = ctx.delete(&format!("{}{query}", path(id)?)).await?.json()?;
    show_state(key, ctx)
}

/// `masker api-keys suspend` and `resume`.
async fn suspend(id: &str, suspended: bool, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let change = ApiKeyPatch { suspended: Some(suspended), ..ApiKeyPatch::default() };
    let key: ApiKeyStatus = ctx.patch(&path(id)?, &change).await?.json()?;
    show_state(key, ctx)
}

fn show_state(key: ApiKeyStatus, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&key)?;
        return Ok(Exit::Done);
    }
    output.table(&["API KEY", "STATE"], vec![vec![key.id, key.state]])?;
    Ok(Exit::Done)
}

/// Prints a secret. It cannot be shown again.
fn show_issued(issued: &ApiKeyIssued, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let output = &mut ctx.output;
    let key = &issued.api_key;
    output.once(issued, issued.key.expose_secret(), || {
        format!(
            "the secret of the API key {0} is lost: `masker api-keys rotate {0}` makes another one, `masker api-keys revoke {0}` \
             ends the key",
            key.id
        )
    })?;
    output.note(&format!(
        "this key is shown once and stored nowhere: give it to its application as MASKER_API_KEY, or for the header \
         `Authorization: Bearer`; its id is {} and its prefix {}; its limits: {}",
        key.id,
        key.prefix,
        format::limits(&key.limits)
    ));
    Ok(Exit::Done)
}

fn show_status(key: ApiKeyStatus, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&key)?;
        return Ok(Exit::Done);
    }
    let mut rows = vec![
        ("id", key.id),
        ("name", key.name),
        ("prefix", key.prefix),
        ("state", key.state),
        ("inactive", yes_or_no(key.inactive)),
        ("mode", key.mode),
        ("workspace", key.workspace),
        ("owner", key.owner),
        ("scopes", key.scopes.join(", ")),
    ];
    let last_used = key.last_used.map(|last| {
        let at = last.at.unwrap_or_default();
        let unit = last.unit.map(|unit| format!(" in {unit}")).unwrap_or_default();
        let secret = last.prefix.map(|prefix| format!(" with {prefix}")).unwrap_or_default();
        format!("{at} by uid {}{unit}{secret}", last.uid)
    });
    let bounds = [("policies", key.policies), ("contexts", key.contexts)];
    rows.extend(bounds.into_iter().filter_map(|(name, names)| Some((name, names?.join(", ")))));
    rows.extend([("limits", format::limits(&key.limits)), ("created by", key.created_by)]);
    rows.extend(key.parent_id.map(|id| ("created by key", id)));
    rows.extend(
        key.secrets_in_grace
            .into_iter()
            .map(|secret| ("replaced secret", format!("{} until {}", secret.prefix, secret.ends.unwrap_or_default()))),
    );
    let times = [
        ("created at", key.created_at),
        ("expires at", key.expires_at),
        ("rotated at", key.rotated_at),
        ("grace ends", key.grace_ends),
        ("revoked at", key.revoked_at),
        ("last used", last_used),
    ];
    rows.extend(times.into_iter().filter_map(|(name, at)| Some((name, at?))));
    output.table(&["API KEY", ""], rows.into_iter().map(|(name, text)| vec![name.to_owned(), text]).collect())?;
    Ok(Exit::Done)
}

/// Returns the path of an API key. Rejects invalid ids without repeating them: one could be a key, which must not be in a
/// URL.
fn path(id: &str) -> Result<String, CommandError> {
    if id.len() == ID_CHARS && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(format!("{API_KEYS}/{id}"));
    }
    Err(CommandError::Usage("expected the id of an API key, 32 hex digits: `masker api-keys list` shows it".to_owned()))
}

/// Length of an id, in characters.
const ID_CHARS: usize = 32;

/// Parses an expiry: a day (00:00 UTC), a time, or a number of days from now.
fn expiry(text: &str, now: Timestamp) -> Result<String, CommandError> {
    let days = || Some(SignedDuration::from_hours(text.strip_suffix('d')?.parse::<u32>().ok()? as i64 * 24));
    let ahead = || now.checked_add(days()?).ok();
    ahead().or_else(|| parse_time(text)).map(|at| at.to_string()).ok_or_else(|| {
        let forms = "a date, 2030-01-31, a time, 2030-01-31T12:00:00Z, or a number of days, 90d";
        CommandError::Usage(format!("--expires: expected {forms}"))
    })
}

/// Parses a duration with its unit, and returns seconds.
fn grace(text: &str) -> Result<u64, CommandError> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let seconds = match unit {
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => 1,
    };
    let number: Option<u64> = number.parse().ok();
    let grace = number.and_then(|number| number.checked_mul(seconds));
    grace.ok_or_else(|| CommandError::Usage("--grace: expected a duration such as 0, 90s, 30m, 24h or 7d".to_owned()))
}

/// Parses a preset, or limits such as `requests_per_hour=100,values_per_hour=5000`.
fn limits(text: &str) -> Result<Limits, CommandError> {
    if let Some(preset) = Limits::from_preset(text) {
        return Ok(preset);
    }
    let mut numbers = BTreeMap::new();
    for part in text.split(',') {
        let (name, number) = part.split_once('=').unwrap_or((part, ""));
        let limit = Limit::ALL.iter().find(|limit| limit.as_str() == name.trim());
        let (Some(limit), Ok(number)) = (limit, number.trim().parse::<u64>()) else {
            let names: Vec<&str> = Limit::ALL.iter().map(|limit| limit.as_str()).collect();
            return Err(CommandError::Usage(format!(
                "--limits: expected none, standard, or numbers separated by commas, such as requests_per_hour=100; the limits \
                 are {}",
                names.join(", ")
            )));
        };
        numbers.insert(*limit, number);
    }
    Limits::new(numbers).map_err(|error| CommandError::Usage(format!("--limits: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_day_a_time_or_a_number_of_days() {
        let now: Timestamp = "2027-01-31T10:00:00Z".parse().unwrap();
        for (text, at) in [
            ("2027-03-01", "2027-03-01T00:00:00Z"),
            ("2027-03-01T12:30:00+02:00", "2027-03-01T10:30:00Z"),
            ("90d", "2027-05-01T10:00:00Z"),
            ("0d", "2027-01-31T10:00:00Z"),
        ] {
            assert_eq!(expiry(text, now).unwrap(), at, "{text}");
        }
        for wrong in ["", "d", "90", "-1d", "90h", "2027-02-30", "tomorrow", "2027-03-01T12:30:00", "4294967295d"] {
            assert!(matches!(expiry(wrong, now), Err(CommandError::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn a_grace_period_has_a_unit() {
        let read = |text| grace(text).ok();
        assert_eq!(["0", "90", "90s", "30m", "24h", "7d"].map(read), [0, 90, 90, 1_800, 86_400, 604_800].map(Some));
        for wrong in ["", "d", "-1", "1w", "1.5h", "18446744073709551615d"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn limits_are_a_preset_or_numbers() {
        for (text, shown) in [
            ("none", "none"),
            (
                "standard",
                "standard: requests_per_second=1,requests_burst=60,requests_per_hour=1000,values_per_second=100,\
                 values_burst=1000",
            ),
            ("values_per_hour=7", "values_per_hour=7"),
            ("requests_burst=9, requests_per_second=3", "requests_per_second=3,requests_burst=9"),
            ("values_per_hour=7,values_per_hour=8", "values_per_hour=8"),
        ] {
            assert_eq!(format::limits(&limits(text).unwrap()), shown, "{text}");
        }
        for wrong in
            ["", "Standard", "values_per_hour", "values_per_hour=", "values_per_hour=0", "values_burst=1", "x=1"]
        {
            assert!(matches!(limits(wrong), Err(CommandError::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn rejects_a_key_in_place_of_its_id() {
        assert_eq!(path(&"0a".repeat(16)).unwrap(), format!("{API_KEYS}/{}", "0a".repeat(16)));
        for wrong in ["", "..", "masker_live_PQRSTUVWXYZabcdefghijklmnopqrstuvwxyz4CzFke", &"g".repeat(32)] {
            let Err(CommandError::Usage(message)) = path(wrong) else { panic!("{wrong} was accepted") };
            assert!(wrong.len() < 3 || !message.contains(wrong), "{message}");
        }
    }
}
