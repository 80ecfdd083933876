//! Where a command connects: the daemon's socket, or a gateway that `--server` or `MASKER_SERVER` names.

use std::{path::PathBuf, sync::Arc};

use crate::{
    args::{AuditCommand, BackupCommand, ClientCommand, Global, KeysCommand, PolicyCommand, VaultCommand},
    context::{CommandError, daemon_socket},
};
use masker_client::{Endpoint, Server, ServerError, ServerOptions};
use masker_config::{Environment, HostEnvironment};

/// The variables that name the proxy of `https://` addresses. The first that is set counts, as in curl.
const PROXIES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// The variables that name the hosts without a proxy.
const NO_PROXIES: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// What a command works on.
enum Place {
    /// The daemon, wherever it is.
    Anywhere,
    /// The daemon and the files of this host. The text is the name of the command.
    ThisHost(&'static str),
    /// Files, or nothing but its arguments.
    NoDaemon(&'static str),
}

impl Place {
    fn of(command: &ClientCommand) -> Self {
        match command {
            ClientCommand::Tokenize(_)
            | ClientCommand::Rehydrate(_)
            | ClientCommand::Lookup(_)
            | ClientCommand::Text(_)
            | ClientCommand::ApiKeys(_)
            | ClientCommand::Report(_)
            | ClientCommand::Sessions(_)
            | ClientCommand::Health
            | ClientCommand::Status(_)
            | ClientCommand::Whoami => Place::Anywhere,
            ClientCommand::Init(_) => Place::NoDaemon("init"),
            ClientCommand::Recover(_) => Place::NoDaemon("recover"),
            ClientCommand::Completions { .. } => Place::NoDaemon("completions"),
            ClientCommand::Doctor => Place::ThisHost("doctor"),
            ClientCommand::Keys(command) => match command {
                KeysCommand::Status | KeysCommand::Reload => Place::Anywhere,
                KeysCommand::Generate(_) => Place::NoDaemon("keys generate"),
                KeysCommand::Fingerprint { .. } => Place::NoDaemon("keys fingerprint"),
                KeysCommand::Rotate(_) => Place::ThisHost("keys rotate"),
                KeysCommand::RemoveOld(_) => Place::ThisHost("keys remove-old"),
            },
            ClientCommand::Vault(command) => match command {
                VaultCommand::Migrate { .. } => Place::NoDaemon("vault migrate"),
                _ => Place::Anywhere,
            },
            ClientCommand::Backup(command) => match command {
                BackupCommand::Create(_) => Place::ThisHost("backup create"),
                BackupCommand::Verify { .. } => Place::NoDaemon("backup verify"),
                BackupCommand::Restore { .. } => Place::NoDaemon("backup restore"),
            },
            ClientCommand::Audit(command) => match command {
                AuditCommand::Verify(_) => Place::ThisHost("audit verify"),
                AuditCommand::Show(_) | AuditCommand::Tail(_) => Place::Anywhere,
            },
            ClientCommand::Policy(command) => match command {
                PolicyCommand::Validate { .. } => Place::NoDaemon("policy validate"),
                PolicyCommand::Show { .. } | PolicyCommand::Diff { .. } | PolicyCommand::Reload => Place::Anywhere,
            },
        }
    }
}

/// Refuses a command that works on this host, if a gateway is named.
///
/// # Errors
/// The command cannot work through a gateway.
pub(super) fn check_place(
    command: &ClientCommand,
    global: &Global,
    environment: &Environment,
) -> Result<(), CommandError> {
    let (name, is_served) = match Place::of(command) {
        Place::Anywhere => return Ok(()),
        Place::ThisHost(name) => (name, true),
        Place::NoDaemon(name) => (name, false),
    };
    match gateway(global, environment)? {
        // Without the option, a command that asks no daemon has no use for the variable.
        Some(("MASKER_SERVER", _)) if !is_served => Ok(()),
        Some(("MASKER_SERVER", _)) => Err(CommandError::Usage(format!(
            "`masker {name}` works on this host, but MASKER_SERVER names a gateway: unset it, or name the daemon's socket with --socket"
        ))),
        Some((source, _)) => {
            Err(CommandError::Usage(format!("`masker {name}` works on this host: run it there, without {source}")))
        }
        None => Ok(()),
    }
}

/// Returns where to connect.
pub(super) fn endpoint(global: &Global, host: HostEnvironment<'_>) -> Result<Endpoint, CommandError> {
    let environment = host.environment;
    let Some((source, url)) = gateway(global, environment)? else {
        let options =
            [("--ca", &global.ca), ("--client-cert", &global.client_cert), ("--client-key", &global.client_key)];
        if let Some((option, _)) = options.iter().find(|(_, given)| given.is_some()) {
            let message = format!("{option} is for a gateway: name it with --server https://HOST or MASKER_SERVER");
            return Err(CommandError::Usage(message));
        }
        return Ok(Endpoint::Socket(daemon_socket(global, host)?));
    };
    let file = |given: &Option<PathBuf>, name| given.clone().or_else(|| environment.setting(name).map(PathBuf::from));
    let ca = file(&global.ca, "MASKER_CA");
    let certificate = file(&global.client_cert, "MASKER_CLIENT_CERT");
    let key = file(&global.client_key, "MASKER_CLIENT_KEY");
    let client_certificate = match (&certificate, &key) {
        (Some(certificate), Some(key)) => Some((certificate.as_path(), key.as_path())),
        (None, None) => None,
        _ => return Err(CommandError::Usage("--client-cert and --client-key are needed together".to_owned())),
    };
    if client_certificate.is_some() && environment.get("MASKER_API_KEY").is_some() {
        let message = "a request has one credential: unset MASKER_API_KEY, or leave the client certificate out";
        return Err(CommandError::Usage(message.to_owned()));
    }
    let server = Server::new(&ServerOptions {
        url,
        ca: ca.as_deref(),
        client_certificate,
        proxy: text(environment, &PROXIES)?,
        no_proxy: text(environment, &NO_PROXIES)?,
    });
    server.map(|server| Endpoint::Server(Arc::new(server))).map_err(|error| match error {
        ServerError::Url(error) => CommandError::Usage(format!("{source}: {error}")),
        ServerError::Proxy => CommandError::Usage(error.to_string()),
        other => CommandError::Other(other.to_string()),
    })
}

/// Returns the gateway that is named, and by what. `--socket` takes precedence over `MASKER_SERVER`.
fn gateway<'a>(
    global: &'a Global,
    environment: &'a Environment,
) -> Result<Option<(&'static str, &'a str)>, CommandError> {
    let named = match (&global.server, &global.socket) {
        (Some(server), _) => Some(("--server", server.as_str())),
        (None, Some(_)) => None,
        (None, None) => Some(("MASKER_SERVER", text(environment, &["MASKER_SERVER"])?)),
    };
    Ok(named.filter(|(_, server)| is_gateway(server)))
}

/// Returns whether an address is that of a gateway, and not of a socket.
pub(super) fn is_gateway(server: &str) -> bool {
    let scheme = server.split_once("://").map_or("", |(scheme, _)| scheme);
    scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")
}

/// Returns the first of some variables that is set, or an empty text.
fn text<'a>(environment: &'a Environment, names: &[&'static str]) -> Result<&'a str, CommandError> {
    let Some((name, value)) = names.iter().find_map(|name| Some((name, environment.setting(name)?))) else {
        return Ok("");
    };
    value.to_str().ok_or_else(|| CommandError::Usage(format!("{name} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::args::{Arguments, Command};

    /// Returns where a command line connects, or its error.
    fn of(arguments: &str, variables: &[(&str, &str)]) -> Result<String, String> {
        let words = std::iter::once("masker").chain(arguments.split(' '));
        let Ok(arguments) = Arguments::read(words.map(Into::into)) else { panic!("{arguments}") };
        let Command::Client(command) = arguments.command else { panic!("no client command") };
        let environment: Environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let nowhere = Path::new("/nonexistent");
        let host = HostEnvironment {
            environment: &environment,
            uid: 0,
            current_dir: nowhere,
            system_dir: nowhere,
            log_is_terminal: false,
        };
        check_place(&command, &arguments.global, &environment)
            .and_then(|()| endpoint(&arguments.global, host))
            .map(|endpoint| endpoint.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_gateway_is_named_by_the_option_or_the_variable() {
        let local = "http://127.0.0.1:1";
        let variable = [("MASKER_SERVER", local)];
        assert_eq!(of("whoami", &variable).unwrap(), local);
        assert_eq!(of("whoami --server http://localhost", &variable).unwrap(), "http://localhost");
        assert_eq!(of("whoami --socket /s", &variable).unwrap(), "/s");
        assert_eq!(of("whoami --server unix:///s", &variable).unwrap(), "/s");
        assert_eq!(of("whoami", &[("MASKER_SOCKET", "/s"), ("HTTPS_PROXY", "socks5://x")]).unwrap(), "/s");
    }

    #[test]
    fn an_unusable_address_is_refused_with_its_source() {
        for (arguments, variables, expected) in [
            ("whoami --server http://masker.example", &[][..], "--server: http:// would send credentials"),
            ("whoami --server HTTP://masker.example", &[], "--server: http:// would send credentials"),
            ("whoami", &[("MASKER_SERVER", "https://a/b")][..], "MASKER_SERVER: expected https://HOST"),
            ("whoami --server https://a", &[("https_proxy", "socks5://p")][..], "the proxy of HTTPS_PROXY"),
            ("whoami --server tcp://a", &[], "--server: expected"),
            ("whoami --server https://a --ca /nonexistent/ca.pem", &[], "/nonexistent/ca.pem cannot be read"),
            ("whoami --server https://a --client-key /k", &[], "are needed together"),
            ("whoami --ca /ca.pem", &[], "--ca is for a gateway"),
            ("whoami --socket /s --client-cert /c", &[], "--client-cert is for a gateway"),
        ] {
            let error = of(arguments, variables).unwrap_err();
            assert!(error.contains(expected), "{arguments}: {error}");
        }
        let both = [("MASKER_API_KEY", "x"), ("MASKER_CLIENT_CERT", "/c"), ("MASKER_CLIENT_KEY", "/k")];
        assert!(of("whoami --server https://a", &both).unwrap_err().contains("one credential"));
        assert_eq!(of("whoami --socket /s", &both).unwrap(), "/s", "variables are no mistake");
    }

    #[test]
    fn commands_of_this_host_refuse_a_gateway() {
        let variable = [("MASKER_SERVER", "http://127.0.0.1:1")];
        for command in ["doctor", "audit verify", "backup create /b", "keys rotate --dir /d --kid K"] {
            let error = of(&format!("{command} --server http://127.0.0.1:1"), &[]).unwrap_err();
            assert!(error.contains("works on this host: run it there, without --server"), "{error}");
            assert!(of(command, &variable).unwrap_err().contains("but MASKER_SERVER names a gateway"));
            assert_eq!(of(&format!("{command} --socket /s"), &variable).unwrap(), "/s");
        }
        for command in ["init", "recover", "keys generate", "policy validate /p", "vault migrate --to fjall"] {
            assert!(of(&format!("{command} --server http://127.0.0.1:1"), &[]).unwrap_err().contains("run it there"));
            assert!(of(command, &variable).is_ok(), "{command}");
        }
    }
}
