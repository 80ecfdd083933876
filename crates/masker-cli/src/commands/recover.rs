//! `masker recover`: shows what a start refuses, and accepts exactly that.

use std::{collections::BTreeSet, path::Path};

use serde::Serialize;

use crate::{
    args::RecoverArgs,
    context::{CommandContext, CommandError},
    doctor,
    exit::Exit,
    offline::{Refusal, Refusals},
};
use masker_config::{AcceptableState, AcceptedKind, AcceptedStates};

#[derive(Serialize)]
struct RecoverReport {
    refused: Vec<RefusalReport>,
    problems: Vec<String>,
    missing_keys: Vec<String>,
    repairs: Vec<String>,
}

#[derive(Serialize)]
struct RefusalReport {
    what: &'static str,
    why: String,
    state: serde_json::Map<String, serde_json::Value>,
    accepted: bool,
}

/// Runs the command.
pub(super) fn run(args: &RecoverArgs, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let config = ctx.config()?;
    let credentials = doctor::provided_keys(ctx.environment()).map_err(CommandError::Other)?;
    let has_keys = !credentials.keys.is_empty();
    let is_system = config.file.as_deref().and_then(Path::parent) == Some(ctx.host().system_dir);
    let service_uid = is_system.then(doctor::service_uid).flatten();
    let mut findings = (ctx.offline.find_refusals)(&config, credentials, service_uid);
    let mut seen = BTreeSet::new();
    findings.problems.retain(|problem| seen.insert(problem.clone()));
    if !has_keys && !findings.problems.is_empty() {
        findings.problem(
            "this command has no keys, so it cannot see what the daemon sees: set CREDENTIALS_DIRECTORY, or the variables of the \
             keys, as for `masker serve`"
                .to_owned(),
        );
    }
    let Refusals { refused, problems, is_serving, .. } = &findings;
    let is_serving = *is_serving;
    let wanted: BTreeSet<AcceptedKind> = args.accept.iter().map(|kind| kind.0).collect();
    let kinds: BTreeSet<AcceptedKind> = refused.iter().map(|refusal| refusal.state.kind).collect();
    if let Some(other) = wanted.difference(&kinds).next() {
        show(&findings, &AcceptedStates::default(), ctx)?;
        ctx.output.flush()?;
        return Err(CommandError::Other(format!(
            "nothing was accepted: a start does not ask for `{}`",
            other.as_str()
        )));
    }
    let Some(file) = &config.file else {
        return Err(CommandError::Other(
            "there is no configuration file, and so no place for what is accepted: put it back from a backup. If there never was one, \
             `masker init` makes one with the defaults".to_owned(),
        ));
    };
    let runs_as = ctx.host().uid;
    let path = AcceptedStates::path(file);
    let unusable = |why: &dyn std::fmt::Display| CommandError::Other(format!("{} {why}", path.display()));
    let mut accepted = AcceptedStates::read(file, runs_as).map_err(|error| unusable(&error))?;
    let to_accept: Vec<&AcceptableState> =
        refused.iter().map(|refusal| &refusal.state).filter(|state| wanted.contains(&state.kind)).collect();
    let is_new = to_accept.iter().any(|state| !accepted.accepts(state));
    to_accept.into_iter().for_each(|state| accepted.add(state.clone()));
    if is_new {
        accepted.write(file).map_err(|error| unusable(&format_args!("was not written: {error}")))?;
    }
    show(&findings, &accepted, ctx)?;
    ctx.output.flush()?;
    let open: Vec<&Refusal> = refused.iter().filter(|refusal| !accepted.covers(&refusal.state)).collect();
    if !wanted.is_empty() {
        ctx.output.note(&format!(
            "\n{} accepts this. It holds for exactly this state: nothing needs to be deleted.",
            path.display()
        ));
        ctx.output.note(&format!("Next: {}", next(file, is_serving, ctx)));
    }
    Ok(if !problems.is_empty() {
        Exit::Error
    } else if open.is_empty() {
        Exit::Done
    } else {
        Exit::Failure
    })
}

fn show(findings: &Refusals, accepted: &AcceptedStates, ctx: &mut CommandContext<'_>) -> Result<(), CommandError> {
    let Refusals { refused, problems, missing_keys, repairs, is_serving } = findings;
    if ctx.output.is_json() {
        let report = |refusal: &Refusal| RefusalReport {
            what: refusal.state.kind.as_str(),
            why: refusal.why.clone(),
            state: refusal.state.fields().map(|(name, value)| (name.to_owned(), value.into())).collect(),
            accepted: accepted.covers(&refusal.state),
        };
        let refused = refused.iter().map(report).collect();
        let (problems, missing_keys, repairs) = (problems.clone(), missing_keys.clone(), repairs.clone());
        return ctx.output.json(&RecoverReport { refused, problems, missing_keys, repairs });
    }
    for problem in problems {
        // One of several lines stays one problem.
        let problem = problem.replace('\n', "\n  ");
        ctx.output.line(&format!("a start fails, and nothing can be accepted: {problem}"))?;
    }
    for missing in missing_keys {
        ctx.output.line(&format!("a start goes on without a key: {missing}"))?;
    }
    for repair in repairs {
        ctx.output.line(&format!("a start puts right, and nothing needs to be accepted: {repair}"))?;
    }
    for refusal in refused {
        let kind = refusal.state.kind;
        ctx.output.line(&format!("{}: {}", kind.as_str(), refusal.why))?;
        for (name, value) in refusal.state.fields() {
            ctx.output.line(&format!("  {name:12} {value}"))?;
        }
        if accepted.covers(&refusal.state) {
            ctx.output.line("  accepted")?;
        } else {
            ctx.output.line(&format!("  To accept exactly this: masker recover --accept {}", kind.as_str()))?;
            ctx.output.line(&format!("  {}", effect(kind)))?;
        }
    }
    if refused.is_empty() && problems.is_empty() {
        ctx.output.line(match *is_serving {
            true => "a daemon serves the vault, and nothing needs to be accepted",
            false => "nothing prevents a start",
        })?;
    }
    Ok(())
}

/// Returns what accepting means.
fn effect(kind: AcceptedKind) -> &'static str {
    match kind {
        AcceptedKind::Loss => {
            "The daemon then continues with the rows that are left. Look for a newer copy of the vault first, and keep a copy of its \
             directory. If it has no rows, the start says so, and only a backup helps. Afterwards: masker vault check, and import the latest export"
        }
        AcceptedKind::NewVault => {
            "Tokens of the recorded vault are then unknown, until it is restored. Is its disk mounted? Is this the right directory?"
        }
        AcceptedKind::NewControlKey => {
            "Records, honeytokens and tombstones stay, and all API keys are removed. Look for one of the holders' keys first"
        }
        AcceptedKind::KeyRollback => {
            "New tokens are then minted under the key that had been replaced. The usual cause is that two key files are swapped: then \
             swap them back instead"
        }
        AcceptedKind::AuditBreak => {
            "Keep a copy of the log first: it is evidence. Health then reports the next break, and `masker audit verify` still names \
             this one"
        }
        AcceptedKind::Clock => "What is past its retention by this clock is then deleted. Is the clock right?",
    }
}

/// Returns how to start the daemon again.
fn next(config: &Path, is_serving: bool, ctx: &CommandContext<'_>) -> &'static str {
    match (config.parent() == Some(ctx.host().system_dir), is_serving) {
        (true, true) => "systemctl restart masker.service",
        (true, false) => super::START_AFTER_FAILURES,
        (false, true) => "restart the daemon",
        (false, false) => "start the daemon again",
    }
}
