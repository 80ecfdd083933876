//! `masker vault rotate-key`, `rotations` and `cancel-rotation`.

use std::time::Duration;

use indicatif::{HumanCount, HumanDuration};
use tokio::time::{Instant, sleep};

use crate::{
    args::RotateArgs,
    context::{CommandContext, CommandError},
    exit::Exit,
    output::Output,
    progress::Progress,
};
use masker_api::{Rotation, RotationBegin, RotationList};

const ROTATIONS: &str = "/api/v1/vault/rotations";
/// Interval between two requests for the state of a rotation.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Interval between two lines of progress without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// How long the command waits for a daemon that restarts. The rotation continues in any case.
const RECONNECT_MAX: Duration = Duration::from_secs(60);

/// `masker vault rotate-key`.
pub(super) async fn rotate(args: &RotateArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let begin = RotationBegin {
        new_kid: args.new_kid.clone(),
        old_kid: args.old_kid.clone(),
        dry_run: args.dry_run,
        max_rows_per_second: args.max_rows_per_second,
    };
    let mut rotation: Rotation = ctx.post(ROTATIONS, &begin).await?.json()?;
    if args.detach {
        return show(&rotation, ctx).map(|()| Exit::Done);
    }
    ctx.output.note(&format!(
        "{} {} continues without this command and after a restart; `masker vault cancel-rotation {}` cancels it",
        if rotation.dry_run { "dry run" } else { "rotation" },
        rotation.id,
        rotation.id
    ));
    let mut watch = RotationWatch::new(&ctx.output);
    while rotation.state == "running" {
        watch.show(&rotation, ctx);
        sleep(POLL_INTERVAL).await;
        rotation = watch.poll(&rotation, ctx).await?;
    }
    watch.end();
    show(&rotation, ctx)?;
    Ok(if rotation.state == "done" { Exit::Done } else { Exit::Failure })
}

/// `masker vault rotations`.
pub(super) async fn list(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let list: RotationList = ctx.get(ROTATIONS).await?.json()?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&list)?;
        return Ok(Exit::Done);
    }
    let rows = list.rotations.into_iter().map(|rotation| {
        vec![
            rotation.id,
            rotation.old_kid,
            rotation.new_kid,
            rotation.fingerprint,
            if rotation.dry_run { "dry run, ".to_owned() + &rotation.state } else { rotation.state },
            rotation.rows_done.to_string(),
            rotation.rows_total.to_string(),
            rotation.rows_failed.to_string(),
            rotation.started_at.unwrap_or_default(),
            rotation.finished_at.unwrap_or_default(),
        ]
    });
    let header = ["ID", "FROM", "TO", "FINGERPRINT", "STATE", "DONE", "OF", "FAILED", "STARTED", "ENDED"];
    output.table(&header, rows.collect())?;
    Ok(Exit::Done)
}

/// `masker vault cancel-rotation`.
pub(super) async fn cancel(id: &str, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    // The id becomes a part of the request's path.
    if !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(CommandError::Usage("an id is 32 hex digits: `masker vault rotations` lists them".to_owned()));
    }
    let rotation: Rotation = ctx.delete(&format!("{ROTATIONS}/{id}")).await?.json()?;
    show(&rotation, ctx)?;
    Ok(Exit::Done)
}

fn show(rotation: &Rotation, ctx: &mut CommandContext<'_>) -> Result<(), CommandError> {
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(rotation)?;
        return Ok(());
    }
    let mut rows = vec![
        ("id", rotation.id.clone()),
        ("from", rotation.old_kid.clone()),
        ("to", format!("{} {}", rotation.new_kid, rotation.fingerprint)),
        ("state", rotation.state.clone()),
        (if rotation.dry_run { "would be moved" } else { "moved" }, rotation.rows_resealed.to_string()),
        ("failed", rotation.rows_failed.to_string()),
        ("of", rotation.rows_total.to_string()),
    ];
    if rotation.conflicts > 0 {
        rows.push(("with a second token", rotation.conflicts.to_string()));
    }
    output.table(&["ROTATION", ""], rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect())?;
    output.flush()?;
    for failure in &rotation.failures {
        output.error(&format!("record {}: {}", failure.record, failure.reason));
    }
    if let Some(detail) = &rotation.detail {
        output.error(detail);
    } else if rotation.state == "done" && rotation.rows_total == 0 {
        output.note(&format!(
            "nothing was to be moved: every record of {} is under the key {} already. If you have just replaced the key's file, the \
             daemon has not loaded it: `masker keys status` shows the keys that it has",
            rotation.old_kid, rotation.fingerprint
        ));
    } else if rotation.state == "done" && !rotation.dry_run {
        output.note("nothing in the vault needs the old key: `masker keys status` shows whether it can be removed");
    }
    Ok(())
}

/// Shows the progress of a rotation: a bar on a terminal, otherwise a line now and then.
struct RotationWatch {
    bar: Progress,
    last_line: Option<Instant>,
    /// When the daemon stopped responding.
    disconnected_since: Option<Instant>,
}

impl RotationWatch {
    fn new(output: &Output) -> Self {
        RotationWatch { bar: Progress::records(output), last_line: None, disconnected_since: None }
    }

    /// Requests the state of the rotation. While the daemon restarts, returns the last state.
    async fn poll(&mut self, rotation: &Rotation, ctx: &mut CommandContext<'_>) -> Result<Rotation, CommandError> {
        match ctx.get(&format!("{ROTATIONS}/{}", rotation.id)).await {
            Ok(reply) => {
                self.disconnected_since = None;
                Ok(reply.json()?)
            }
            Err(error) if error.exit() == Exit::Unreachable => {
                if self.disconnected_since.get_or_insert_with(Instant::now).elapsed() >= RECONNECT_MAX {
                    return Err(error);
                }
                Ok(rotation.clone())
            }
            Err(error) => Err(error),
        }
    }

    fn show(&mut self, rotation: &Rotation, ctx: &CommandContext<'_>) {
        self.bar.set(rotation.rows_done, rotation.rows_total, pace(rotation));
        if self.bar.is_hidden() && self.last_line.is_none_or(|at| at.elapsed() >= LINE_INTERVAL) {
            self.last_line = Some(Instant::now());
            let (done, total) = (HumanCount(rotation.rows_done), HumanCount(rotation.rows_total));
            ctx.output.note(&format!("{done} of {total} records, {}", pace(rotation)));
        }
    }

    fn end(self) {
        self.bar.finish();
    }
}

fn pace(rotation: &Rotation) -> String {
    let rate = format!("{}/s", HumanCount(rotation.rows_per_second as u64));
    match (rotation.phase.as_str(), rotation.eta_seconds) {
        ("proving", _) => "every record is moved; reading everything again to verify it".to_owned(),
        (_, Some(seconds)) => format!("{rate}, {} left", HumanDuration(Duration::from_secs(seconds))),
        (_, None) => rate,
    }
}
