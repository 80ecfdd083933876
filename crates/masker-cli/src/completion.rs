//! Completion in shells. The script that `masker completions` prints runs this program with a variable at each Tab. The
//! program then knows its own arguments, and asks the daemon for kinds, key ids, policies and API keys.

use std::{env, io, time::Duration};

use clap::CommandFactory;
use clap_complete::{CompletionCandidate, Shell, env::Shells};
use serde::de::DeserializeOwned;
use tokio::{runtime, time::timeout};

use super::{
    args::{Arguments, Global},
    credential::authorization,
    endpoint::endpoint,
};
use masker_api::{ApiKeyList, KeyList, PolicyDescription, PolicyList};
use masker_client::Client;
use masker_config::{Environment, HostEnvironment};
use masker_types::grant::Scope;

/// The variable that asks for completions instead of a command.
const VARIABLE: &str = "MASKER_COMPLETE";
/// How long to wait for the daemon, in milliseconds. A user who presses Tab does not wait long.
const RESPONSE_MS_MAX: u64 = 1_000;

/// Prints completions, if the shell asks for them. Returns whether it does. Must not be called from within a tokio runtime.
///
/// # Errors
/// The shell is not known, or standard output is closed. The error is to be printed.
pub fn complete_if_asked() -> Result<bool, clap::Error> {
    let current_dir = env::current_dir().ok();
    clap_complete::CompleteEnv::with_factory(Arguments::command)
        .var(VARIABLE)
        .try_complete(env::args_os(), current_dir.as_deref())
}

/// Returns the script that makes a shell ask this program.
///
/// # Errors
/// The shell is not supported.
pub(super) fn script(shell: Shell) -> io::Result<Vec<u8>> {
    let name = shell.to_string();
    let shells = Shells::builtins();
    let shell = shells.completer(&name).ok_or_else(|| io::Error::other(format!("{name} is not supported")))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "masker", "masker", "masker", &mut script)?;
    Ok(script)
}

/// Returns the kinds of all policies.
pub(super) fn kinds() -> Vec<CompletionCandidate> {
    let described = ask(async |client| {
        let policies: PolicyList = get(client, "/api/v1/policies").await?;
        let mut kinds = Vec::new();
        for policy in policies.policies {
            let policy: PolicyDescription = get(client, &format!("/api/v1/policies/{}", policy.name)).await?;
            kinds.extend(policy.entities.into_keys());
        }
        Some(kinds)
    });
    candidates(described)
}

/// Returns the scopes, with what they allow.
pub(super) fn scopes() -> Vec<CompletionCandidate> {
    Scope::ALL.iter().map(|scope| CompletionCandidate::new(scope.as_str()).help(Some(scope.meaning().into()))).collect()
}

/// Returns the names of the policies.
pub(super) fn policies() -> Vec<CompletionCandidate> {
    candidates(ask(async |client| {
        let list: PolicyList = get(client, "/api/v1/policies").await?;
        Some(list.policies.into_iter().map(|policy| policy.name).collect())
    }))
}

/// Returns the key ids.
pub(super) fn kids() -> Vec<CompletionCandidate> {
    candidates(ask(async |client| {
        let list: KeyList = get(client, "/api/v1/keys").await?;
        Some(list.keys.into_iter().map(|key| key.kid).collect())
    }))
}

/// Returns the ids of the API keys, with their names.
pub(super) fn api_key_ids() -> Vec<CompletionCandidate> {
    let list = ask(async |client| get::<ApiKeyList>(client, "/api/v1/api-keys").await);
    let keys = list.into_iter().flat_map(|list| list.api_keys);
    keys.map(|key| CompletionCandidate::new(key.id).help(Some(format!("{}, {}", key.name, key.state).into()))).collect()
}

fn candidates(words: Option<Vec<String>>) -> Vec<CompletionCandidate> {
    let mut words = words.unwrap_or_default();
    words.sort();
    words.dedup();
    words.into_iter().map(CompletionCandidate::new).collect()
}

/// Asks the daemon that a command without options would ask. Returns `None` if there is no answer: a shell that completes has
/// no place for a reason.
fn ask<T>(question: impl AsyncFnOnce(&mut Client) -> Option<T>) -> Option<T> {
    let environment: Environment = env::vars_os().collect();
    let current_dir = env::current_dir().ok()?;
    let host = HostEnvironment::of_process(&environment, &current_dir);
    let endpoint = endpoint(&Global::default(), host).ok()?;
    let authorization = authorization(&environment).ok()?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let asked = async {
            let mut client = Client::connect_to(endpoint).await.ok()?.with_authorization(authorization);
            question(&mut client).await
        };
        timeout(Duration::from_millis(RESPONSE_MS_MAX), asked).await.ok()?
    })
}

async fn get<T: DeserializeOwned>(client: &mut Client, path: &str) -> Option<T> {
    client.get(path).await.ok()?.json().ok()
}
