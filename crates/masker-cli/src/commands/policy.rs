//! `masker policy`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Serialize;

use crate::{
    args::PolicyCommand,
    context::{CommandContext, CommandError},
    exit::Exit,
    url::encode,
};
use masker_api::{EntityDescription, PolicyDescription, PolicyList, ReloadReport};
use masker_config::{ConfigErrors, load_policies, load_policy};
use masker_core::{
    normalize::Normalizer,
    policy::{Action, EntityRule, Policy, PolicyCipher, PolicySet, Scheme, TextRules, TokenizeRule, changes},
    validate::Validation,
};
use masker_types::kind::{EntityKind, Kid};

/// Runs a command of the group.
pub(super) async fn run(command: PolicyCommand, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    match command {
        PolicyCommand::Validate { path } => validate(&path, ctx),
        PolicyCommand::Show { name } => show(name.as_deref(), ctx).await,
        PolicyCommand::Diff { before, after } => diff(&before, &after, ctx).await,
        PolicyCommand::Reload => reload(ctx).await,
    }
}

/// `masker policy validate`.
fn validate(path: &Path, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let policies = load_policies(path, None);
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&ValidationReport::of(&policies))?;
        return Ok(if policies.is_ok() { Exit::Done } else { Exit::Invalid });
    }
    let policies = match policies {
        Ok(policies) => policies,
        Err(faults) => {
            for fault in faults.iter() {
                output.error(&fault.to_string());
            }
            let errors = if faults.iter().len() == 1 { "error" } else { "errors" };
            output.note(&format!("{} {errors}", faults.iter().len()));
            return Ok(Exit::Invalid);
        }
    };
    let row = |policy: &Policy| {
        let kids: Vec<String> = policy.kids().map(|kid| kid.to_string()).collect();
        vec![policy.name.clone(), policy.version.to_string(), policy.entities.len().to_string(), kids.join(" ")]
    };
    output.table(&["POLICY", "VERSION", "KINDS", "KEYS"], policies.iter().map(row).collect())?;
    output.flush()?;
    for warning in policies.warnings() {
        output.note(&format!("warning: {warning}"));
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct ValidationReport<'a> {
    valid: bool,
    policies: Vec<&'a str>,
    errors: Vec<ValidationError<'a>>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct ValidationError<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    message: &'a str,
}

impl<'a> ValidationReport<'a> {
    fn of(policies: &'a Result<PolicySet, ConfigErrors>) -> Self {
        let errors = policies.as_ref().err().into_iter().flat_map(ConfigErrors::iter);
        let error = |fault: &'a masker_config::ConfigError| ValidationError {
            file: &fault.place,
            line: fault.line,
            message: &fault.message,
        };
        let errors: Vec<ValidationError<'a>> = errors.map(error).collect();
        ValidationReport {
            valid: errors.is_empty(),
            policies: policies.iter().flat_map(PolicySet::iter).map(|policy| policy.name.as_str()).collect(),
            errors,
            warnings: policies.iter().flat_map(PolicySet::warnings).collect(),
        }
    }
}

/// `masker policy show`.
async fn show(name: Option<&str>, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let Some(name) = name else { return list(ctx).await };
    let policy = fetch(name, ctx).await?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&policy)?;
        return Ok(Exit::Done);
    }
    let default = if policy.default { ", the default" } else { "" };
    output.note(&format!("{} version {}{default}: {}", policy.name, policy.version, policy.description));
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let row = |(kind, entity): (String, EntityDescription)| {
        let nonce = match entity.deterministic {
            Some(true) => "same token each time",
            Some(false) => "new token each time",
            None => "-",
        };
        vec![
            kind,
            entity.action,
            dash(entity.kid),
            dash(entity.tokenization),
            dash(entity.cipher),
            nonce.to_owned(),
            dash(entity.normalize),
            dash(entity.validate),
            entity.context,
        ]
    };
    let header = ["KIND", "ACTION", "KEY", "TOKENIZATION", "CIPHER", "SAME VALUE", "NORMALIZE", "VALIDATE", "CONTEXT"];
    output.table(&header, policy.entities.into_iter().map(row).collect())?;
    if !policy.text.is_empty() {
        output.line("")?;
        output.table(&["TEXTS", ""], policy.text.into_iter().map(|(key, value)| vec![key, value]).collect())?;
    }
    Ok(Exit::Done)
}

async fn list(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let reply = ctx.get("/api/v1/policies").await?;
    let list: PolicyList = reply.json()?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&list)?;
        return Ok(Exit::Done);
    }
    let rows = list.policies.into_iter().map(|policy| {
        let default = if policy.default { "default" } else { "-" };
        let (version, kinds) = (policy.version.to_string(), policy.entities.to_string());
        vec![policy.name, version, kinds, default.to_owned(), policy.description]
    });
    output.table(&["POLICY", "VERSION", "KINDS", "", "DESCRIPTION"], rows.collect())?;
    Ok(Exit::Done)
}

/// `masker policy reload`.
async fn reload(ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let reply = ctx.post("/api/v1/policies/reload", &serde_json::json!({})).await?;
    let report: ReloadReport = reply.json()?;
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&report)?;
        return Ok(Exit::Done);
    }
    for warning in &report.warnings {
        output.error(&format!("warning: {warning}"));
    }
    output.note(&format!("policies in force: {}", report.policies));
    Ok(Exit::Done)
}

/// The effect of another setting about texts.
const SEARCHED_DIFFERENTLY: &str = "texts are searched differently";

#[derive(Serialize)]
struct PolicyDifference {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// A setting about texts, in place of a kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    setting: Option<String>,
    before: Option<String>,
    after: Option<String>,
    effect: String,
    new_tokens: bool,
}

/// `masker policy diff`.
async fn diff(before: &str, after: &str, ctx: &mut CommandContext<'_>) -> Result<Exit, CommandError> {
    let (before, after) = (find(before, ctx).await?, find(after, ctx).await?);
    let mut differences: Vec<PolicyDifference> = changes(&before.policy, &after.policy)
        .into_iter()
        .map(|change| PolicyDifference {
            kind: Some(change.kind.to_string()),
            setting: None,
            before: change.before.as_ref().map(describe),
            after: change.after.as_ref().map(describe),
            effect: change.effect.to_string(),
            new_tokens: change.effect.gives_new_tokens(),
        })
        .collect();
    differences.extend(text_differences(&before, &after));
    let output = &mut ctx.output;
    if output.is_json() {
        output.json(&differences)?;
        return Ok(Exit::Done);
    }
    if differences.is_empty() {
        output.note("no value is treated differently, and texts are searched in the same way");
        if before.lists_are_hidden(&after) {
            output.note("whether the values of `allow` and `deny` differ is not known: the daemon shows only how many there are");
        }
        return Ok(Exit::Done);
    }
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let row = |change: PolicyDifference| {
        let subject = change.kind.or(change.setting).unwrap_or_default();
        vec![subject, dash(change.before), dash(change.after), change.effect]
    };
    output.table(&["KIND", "BEFORE", "AFTER", "EFFECT"], differences.into_iter().map(row).collect())?;
    Ok(Exit::Done)
}

/// A policy to compare.
struct ComparedPolicy {
    policy: Policy,
    /// The settings about texts.
    settings: BTreeMap<String, String>,
    /// Whether the daemon has described it, without the values of its lists.
    is_described: bool,
}

impl ComparedPolicy {
    /// Returns whether lists of values could not be compared.
    fn lists_are_hidden(&self, other: &Self) -> bool {
        let has_values =
            |(key, length): (&String, &String)| (key == "text.allow" || key.ends_with(".deny")) && length != "0 values";
        (self.is_described || other.is_described) && self.settings.iter().any(has_values)
    }
}

/// Returns the settings about texts that differ.
fn text_differences(before: &ComparedPolicy, after: &ComparedPolicy) -> Vec<PolicyDifference> {
    let difference = |setting: &str, before: Option<&String>, after: Option<&String>| PolicyDifference {
        kind: None,
        setting: Some(setting.to_owned()),
        before: before.cloned(),
        after: after.cloned(),
        effect: SEARCHED_DIFFERENTLY.to_owned(),
        new_tokens: false,
    };
    let (old, new) = (&before.settings, &after.settings);
    if old.is_empty() || new.is_empty() {
        // An older daemon does not describe them.
        return Vec::new();
    }
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut differences: Vec<PolicyDifference> = keys
        .into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| difference(key, old.get(key), new.get(key)))
        .collect();
    let are_files = !before.is_described && !after.is_described;
    if are_files && differences.is_empty() && before.policy.text != after.policy.text {
        // Their values are not shown: they can be personal data.
        differences.push(difference("values of `allow` or `deny`", None, None));
    }
    differences
}

/// Loads a policy from a file, or from the daemon.
async fn find(name: &str, ctx: &mut CommandContext<'_>) -> Result<ComparedPolicy, CommandError> {
    let path = Path::new(name);
    if name.contains('/') || path.extension().is_some_and(|extension| extension == "toml") {
        let policy = load_policy(path)?;
        let settings = policy.text.settings();
        return Ok(ComparedPolicy { policy, settings, is_described: false });
    }
    let description = fetch(name, ctx).await?;
    let Some(policy) = policy_of(&description) else {
        let message = format!("the daemon describes {name} with terms that this version of masker does not know");
        return Err(CommandError::Other(message));
    };
    Ok(ComparedPolicy { policy, settings: description.text, is_described: true })
}

async fn fetch(name: &str, ctx: &mut CommandContext<'_>) -> Result<PolicyDescription, CommandError> {
    Ok(ctx.get(&format!("/api/v1/policies/{}", encode(name))).await?.json()?)
}

/// Returns a short description of a rule.
fn describe(rule: &EntityRule) -> String {
    let mut text = match rule.action {
        Action::Redact => "redact".to_owned(),
        Action::Passthrough => "passthrough".to_owned(),
        Action::Tokenize(TokenizeRule { kid, scheme, normalizer, .. }) => match scheme {
            Scheme::VaultDeterministic => format!("{} {kid} {}", scheme.name(), normalizer.name()),
            Scheme::ReversibleAead(suite) => {
                let nonce = if suite.is_deterministic() { "deterministic" } else { "random" };
                format!("{} {kid} {} {nonce}", scheme.name(), PolicyCipher::of(suite).name())
            }
        },
    };
    if let Action::Tokenize(TokenizeRule { validation: Some(validation), .. }) = rule.action {
        text.push_str(&format!(", validated as {}", validation.name()));
    }
    if rule.context_required {
        text.push_str(", context required");
    }
    text
}

/// Converts a description to a policy. Returns `None` if the description has unknown terms.
fn policy_of(description: &PolicyDescription) -> Option<Policy> {
    let entity = |(kind, entity): (&String, &EntityDescription)| Some((EntityKind::parse(kind)?, rule_of(entity)?));
    Some(Policy {
        name: description.name.clone(),
        version: description.version,
        description: description.description.clone(),
        entities: description.entities.iter().map(entity).collect::<Option<_>>()?,
        // These are compared by their settings.
        text: TextRules::default(),
    })
}

fn rule_of(description: &EntityDescription) -> Option<EntityRule> {
    let action = match description.action.as_str() {
        "redact" => Action::Redact,
        "passthrough" => Action::Passthrough,
        "tokenize" => {
            let scheme = match description.tokenization.as_deref()? {
                "vault-deterministic" => Scheme::VaultDeterministic,
                "reversible-aead" => {
                    let name = description.cipher.as_deref()?;
                    let cipher = PolicyCipher::ALL.into_iter().find(|cipher| cipher.name() == name)?;
                    Scheme::ReversibleAead(cipher.suite(description.deterministic?))
                }
                _ => return None,
            };
            // Absent for a kind whose tokens do not depend on it.
            let normalizer = description.normalize.as_deref().map_or(Some(Normalizer::Exact), Normalizer::from_name)?;
            let validation = match description.validate.as_deref() {
                Some(name) => Some(Validation::from_name(name)?),
                None => None,
            };
            let kid = Kid::parse(description.kid.as_deref()?)?;
            Action::Tokenize(TokenizeRule { kid, scheme, normalizer, validation })
        }
        _ => return None,
    };
    Some(EntityRule { action, context_required: description.context == "required" })
}
