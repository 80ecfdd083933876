//! The context of a command: its output, the configuration, and a connection to the daemon.

use std::{
    ffi::OsStr,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use hyper::header::HeaderValue;
use serde::Serialize;

use super::{
    args::Global,
    credential::{self, CredentialError},
    endpoint::{self, is_gateway},
    exit::Exit,
    offline::OfflineTools,
    output::Output,
    progress::Progress,
};
use masker_audit::ChainHead;
use masker_client::{Client, ClientError, ClientReply, Download, Endpoint, RequestBody};
use masker_config::{CommandLineOptions, Config, ConfigErrors, Environment, HostEnvironment};
use masker_types::error_code::Code;

/// Length of the id of an application session, in hexadecimal digits.
const SESSION_ID_CHARS: usize = 32;

/// The status of requests beyond a limit.
const TOO_MANY_REQUESTS: u16 = 429;

/// The error of a command.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
    #[error("{0}")]
    Usage(String),
    #[error("failed to read standard input: {0}")]
    Input(#[source] io::Error),
    #[error("failed to write standard output: {0}")]
    Output(#[source] io::Error),
    #[error("failed to use the terminal: {0}")]
    Terminal(#[source] io::Error),
    #[error("failed to start the runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("{text}")]
    Refused {
        /// Whether the caller lacks a permission.
        denied: bool,
        text: String,
    },
    /// A row of a file of records.
    #[error("{0}")]
    Row(String),
    /// A row of a file of records whose end, or the rows after it, cannot be found.
    #[error("{text}")]
    BrokenRow { row: u64, text: String },
    /// The file of `--failures` cannot be written.
    #[error("{0}")]
    FailureList(String),
    /// The name of the signal.
    #[error("interrupted by {0}")]
    Interrupted(&'static str),
    #[error("{cause}\n{}", resume_advice(cause, *rows))]
    Stopped {
        cause: Box<CommandError>,
        /// Number of rows that are done.
        rows: u64,
    },
    #[error("{cause}\nNo row is done: a dry run swaps nothing. Before this, it has checked {rows} {}", if *rows == 1 { "row" } else { "rows" })]
    DryRunStopped {
        cause: Box<CommandError>,
        /// Number of rows that were skipped or checked.
        rows: u64,
    },
    /// A run over values or tokens, one on each line.
    #[error("{cause}\n{}", items_done(cause, items, *done))]
    LinesStopped {
        cause: Box<CommandError>,
        /// What the items are called.
        items: &'static str,
        /// Number of items whose result is written.
        done: u64,
    },
    /// A run over texts whose output ends early.
    #[error("{cause}\n{advice}")]
    TextStopped { cause: Box<CommandError>, advice: String },
    #[error("{0}")]
    Other(String),
}

impl CommandError {
    /// Returns the exit code.
    pub(super) fn exit(&self) -> Exit {
        match self {
            CommandError::Client(error) => error.into(),
            CommandError::Credential(_) | CommandError::Refused { denied: true, .. } => Exit::Unauthorized,
            CommandError::Stopped { cause, .. }
            | CommandError::DryRunStopped { cause, .. }
            | CommandError::LinesStopped { cause, .. }
            | CommandError::TextStopped { cause, .. } => cause.exit(),
            CommandError::Row(_) | CommandError::BrokenRow { .. } => Exit::Failure,
            CommandError::Invalid(_) => Exit::Invalid,
            CommandError::Usage(_) => Exit::Usage,
            CommandError::Refused { denied: false, .. } => Exit::Error,
            CommandError::Input(_)
            | CommandError::Output(_)
            | CommandError::Other(_)
            | CommandError::FailureList(_) => Exit::Error,
            CommandError::Interrupted(_) | CommandError::Terminal(_) | CommandError::Runtime(_) => Exit::Error,
        }
    }

    /// Returns whether a request has more values than the caller's limits ever allow at once.
    pub(super) fn is_too_large_for_limit(&self) -> bool {
        matches!(self, CommandError::Client(ClientError::Problem(problem)) if problem.status == TOO_MANY_REQUESTS)
    }

    /// Returns whether a request needs more than is left of one of the caller's limits, also after a wait that is not too long:
    /// one of a day, or of an hour.
    pub(super) fn is_used_up(&self) -> bool {
        match self {
            CommandError::Client(ClientError::Busy { problem, .. }) => problem.status == TOO_MANY_REQUESTS,
            CommandError::Client(ClientError::Problem(problem)) => problem.code == Code::QuotaExceeded.as_str(),
            _ => false,
        }
    }

    /// Returns whether the reader of the results has closed its end, as `head` does. That is not a failure.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, CommandError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Returns how many items of a list are done. `items` is their name in the plural.
fn items_done(cause: &CommandError, items: &str, done: u64) -> String {
    let is_output = matches!(cause, CommandError::Output(_));
    match (first_done(done, items), is_output) {
        (None, true) => format!("No {} is done: start again with an empty output", singular(items)),
        (None, false) => format!("No {} is done", singular(items)),
        (Some(are_done), true) => {
            format!("{are_done}: truncate the output after their lines, then continue with those after them")
        }
        (Some(are_done), false) => format!("{are_done}: continue with those after them"),
    }
}

/// Returns how to continue with a file of which this many rows are done.
fn resume_advice(cause: &CommandError, rows: u64) -> String {
    let Some(are_done) = first_done(rows, "rows") else {
        return "No row is done: start again with an empty output".to_owned();
    };
    match cause {
        CommandError::Output(_) => {
            format!("{are_done}: truncate the output after them, then continue with --skip-rows {rows}")
        }
        CommandError::Row(_) | CommandError::BrokenRow { .. } => {
            format!("{are_done}: correct the row, then continue with --skip-rows {rows}")
        }
        _ => format!("{are_done}: continue with --skip-rows {rows}"),
    }
}

/// Returns that the first items are done, unless none is.
fn first_done(done: u64, items: &str) -> Option<String> {
    match done {
        0 => None,
        1 => Some(format!("1 {} is done", singular(items))),
        _ => Some(format!("The first {done} {items} are done")),
    }
}

fn singular(items: &str) -> &str {
    items.strip_suffix('s').unwrap_or(items)
}

/// The context of a running command.
pub(super) struct CommandContext<'a> {
    pub(super) output: Output,
    global: &'a Global,
    host: HostEnvironment<'a>,
    client: Option<Client>,
    pub(super) offline: OfflineTools,
}

impl<'a> CommandContext<'a> {
    pub(super) fn new(global: &'a Global, host: HostEnvironment<'a>, offline: OfflineTools) -> Self {
        CommandContext { output: Output::new(global), global, host, client: None, offline }
    }

    /// Sends a GET request.
    pub(super) async fn get(&mut self, path: &str) -> Result<ClientReply, CommandError> {
        let reply = self.client().await?.get(path).await?;
        self.describe("GET", path, &reply);
        Ok(reply)
    }

    /// Sends a POST request.
    pub(super) async fn post<T: Serialize + ?Sized>(
        &mut self,
        path: &str,
        body: &T,
    ) -> Result<ClientReply, CommandError> {
        let reply = self.client().await?.post(path, body).await?;
        self.describe("POST", path, &reply);
        Ok(reply)
    }

    /// Sends a PATCH request.
    pub(super) async fn patch<T: Serialize + ?Sized>(
        &mut self,
        path: &str,
        body: &T,
    ) -> Result<ClientReply, CommandError> {
        let reply = self.client().await?.patch(path, body).await?;
        self.describe("PATCH", path, &reply);
        Ok(reply)
    }

    /// Sends a POST request in the session of `MASKER_APP_SESSION`, if it is set.
    pub(super) async fn post_in_session<T: Serialize + ?Sized>(
        &mut self,
        path: &str,
        body: &T,
    ) -> Result<ClientReply, CommandError> {
        let Some(session) = self.app_session()? else { return self.post(path, body).await };
        let reply = self.client().await?.post_in_session(&session, path, body).await?;
        self.describe("POST", path, &reply);
        Ok(reply)
    }

    /// Returns the session id of `MASKER_APP_SESSION`, if it is set.
    ///
    /// # Errors
    /// It is not UTF-8, or the variable has its former name.
    pub(super) fn app_session(&self) -> Result<Option<String>, CommandError> {
        let is_session = |id: &OsStr| id.len() == SESSION_ID_CHARS && id.as_bytes().iter().all(u8::is_ascii_hexdigit);
        let Some(session) = self.host.environment.setting("MASKER_APP_SESSION") else {
            // Without its session, a command would mint tokens that no session closes.
            return match self.host.environment.setting("MASKER_SESSION") {
                Some(id) if is_session(id) => Err(CommandError::Usage(
                    "MASKER_SESSION has an application session: set MASKER_APP_SESSION instead".to_owned(),
                )),
                _ => Ok(None),
            };
        };
        let not_text = || CommandError::Usage("MASKER_APP_SESSION is not UTF-8".to_owned());
        Ok(Some(session.to_str().ok_or_else(not_text)?.to_owned()))
    }

    /// Downloads a file.
    pub(super) async fn download(&mut self, path: &str) -> Result<Download, CommandError> {
        let download = self.client().await?.download(path).await?;
        self.output.detail(&format!("POST {path}: request {}", download.request_id));
        Ok(download)
    }

    /// Sends lines of JSON in the session of `MASKER_APP_SESSION`, if it is set, and receives lines of JSON meanwhile.
    pub(super) async fn exchange_lines(&mut self, path: &str, body: RequestBody) -> Result<Download, CommandError> {
        let session = self.app_session()?;
        let download = self.client().await?.exchange_lines(session.as_deref(), path, body).await?;
        self.output.detail(&format!("POST {path}: request {}", download.request_id));
        Ok(download)
    }

    /// Uploads a file, whose length may be unknown.
    pub(super) async fn upload(
        &mut self,
        path: &str,
        source: Box<dyn Read + Send>,
        length: Option<u64>,
        progress: Progress,
    ) -> Result<ClientReply, CommandError> {
        let body = masker_client::upload::body(source, length, move |so_far| match so_far {
            masker_client::upload::Progress::Sent(bytes) => progress.advance(bytes),
            masker_client::upload::Progress::Done => progress.finish(),
        });
        let reply = self.client().await?.upload(path, body).await?;
        self.describe("POST", path, &reply);
        Ok(reply)
    }

    /// Sends a DELETE request.
    pub(super) async fn delete(&mut self, path: &str) -> Result<ClientReply, CommandError> {
        let reply = self.client().await?.delete(path).await?;
        self.describe("DELETE", path, &reply);
        Ok(reply)
    }

    /// Returns where requests go: to the daemon's socket, or to a gateway.
    pub(super) fn endpoint(&self) -> Result<Endpoint, CommandError> {
        endpoint::endpoint(self.global, self.host)
    }

    /// Returns the path of the daemon's socket.
    pub(super) fn socket(&self) -> Result<PathBuf, CommandError> {
        daemon_socket(self.global, self.host)
    }

    /// Returns the `Authorization` header of requests, if the environment has a credential.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, CommandError> {
        Ok(credential::authorization(self.host.environment)?)
    }

    /// Returns the configuration file of `--config`.
    pub(super) fn config_flag(&self) -> Option<&'a Path> {
        self.global.config.as_deref()
    }

    /// Returns the socket of `--socket` or `--server`.
    pub(super) fn socket_flag(&self) -> Result<Option<PathBuf>, CommandError> {
        self.global.socket_flag().map_err(CommandError::Usage)
    }

    /// Returns the path of the configuration file that the command line or the environment names.
    pub(super) fn named_config(&self) -> Option<PathBuf> {
        let named = self.global.config.clone();
        named.or_else(|| self.host.environment.setting("MASKER_CONFIG").map(PathBuf::from))
    }

    /// Loads the configuration as the daemon would.
    pub(super) fn config(&self) -> Result<Config, CommandError> {
        let socket = self.global.socket_flag().map_err(CommandError::Usage)?;
        Ok(Config::load(
            CommandLineOptions { config: self.global.config.as_deref(), socket: socket.as_deref() },
            self.host,
        )?)
    }

    /// Returns the environment and the user of this command.
    pub(super) fn host(&self) -> HostEnvironment<'a> {
        self.host
    }

    /// Returns the environment variables of this command.
    pub(super) fn environment(&self) -> &Environment {
        self.host.environment
    }

    /// Reads the head of the audit log that the vault in this data directory has recorded.
    pub(super) fn recorded_audit_head(&self, data_dir: &Path) -> Result<Option<ChainHead>, String> {
        (self.offline.recorded_audit_head)(data_dir)
    }

    /// Returns the connection to the daemon. Connects on the first call.
    pub(super) async fn client(&mut self) -> Result<&mut Client, CommandError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                let (endpoint, authorization) = (self.endpoint()?, self.authorization()?);
                Client::connect_to(endpoint).await?.with_authorization(authorization)
            }
        };
        Ok(self.client.insert(client))
    }

    fn describe(&self, method: &str, path: &str, reply: &ClientReply) {
        let milliseconds = reply.elapsed.as_secs_f64() * 1_000.0;
        let (status, id) = (reply.status, &reply.request_id);
        self.output.detail(&format!("{method} {path}: {status} in {milliseconds:.1} ms, request {id}"));
    }
}

/// Returns the daemon's socket: `--socket` or `--server`, else `MASKER_SERVER`, else the one that the daemon would use.
pub(super) fn daemon_socket(global: &Global, host: HostEnvironment<'_>) -> Result<PathBuf, CommandError> {
    let flag = global.socket_flag().map_err(CommandError::Usage)?;
    let flag = match (flag, host.environment.setting("MASKER_SERVER")) {
        (None, Some(server)) => {
            let server = server.to_str().ok_or_else(|| CommandError::Usage("MASKER_SERVER is not UTF-8".to_owned()))?;
            Some(socket_of_server("MASKER_SERVER", server).map_err(CommandError::Usage)?)
        }
        (flag, _) => flag,
    };
    Ok(Config::find_socket_path(
        CommandLineOptions { config: global.config.as_deref(), socket: flag.as_deref() },
        host,
    )?)
}

impl Global {
    /// Returns the socket of `--socket` or `--server`, if one is given.
    ///
    /// # Errors
    /// The address of `--server` is invalid: a message for the user.
    pub fn socket_flag(&self) -> Result<Option<PathBuf>, String> {
        match (&self.socket, &self.server) {
            (Some(socket), _) => Ok(Some(socket.clone())),
            (None, Some(server)) => socket_of_server("--server", server).map(Some),
            (None, None) => Ok(None),
        }
    }
}

fn socket_of_server(source: &str, server: &str) -> Result<PathBuf, String> {
    let path = server.strip_prefix("unix://").filter(|path| path.starts_with('/'));
    if let Some(path) = path {
        return Ok(Path::new(path).to_owned());
    }
    if is_gateway(server) {
        return Err(format!(
            "{source} names a gateway, but this needs the socket of a daemon on this host: use unix:///path/of/the/socket, or --socket"
        ));
    }
    Err(format!("{source}: expected https://HOST for a gateway, or unix:///path/of/the/socket"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use masker_config::Environment;

    fn socket(global: &Global, variables: &[(&str, &str)]) -> Result<PathBuf, Exit> {
        let environment: Environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let nowhere = Path::new("/nonexistent");
        let host = HostEnvironment {
            environment: &environment,
            uid: 0,
            current_dir: nowhere,
            system_dir: nowhere,
            log_is_terminal: false,
        };
        daemon_socket(global, host).map_err(|error| error.exit())
    }

    fn global(socket: Option<&str>, server: Option<&str>) -> Global {
        Global { socket: socket.map(PathBuf::from), server: server.map(str::to_owned), ..Global::default() }
    }

    #[test]
    fn flags_take_precedence_over_variables_and_a_server_over_a_socket() {
        let variables = [("MASKER_SERVER", "unix:///server"), ("MASKER_SOCKET", "/socket")];
        let path = |path: &str| Ok(PathBuf::from(path));
        assert_eq!(socket(&global(Some("/flag"), None), &variables), path("/flag"));
        assert_eq!(socket(&global(None, Some("unix:///flag")), &variables), path("/flag"));
        assert_eq!(socket(&Global::default(), &variables), path("/server"));
        assert_eq!(socket(&Global::default(), &variables[1..]), path("/socket"));
        assert_eq!(socket(&Global::default(), &[]), path("/run/masker/masker.sock"));
        assert_eq!(socket(&global(Some("here"), None), &[]), path("/nonexistent/here"));
    }

    #[test]
    fn a_gateway_is_no_socket() {
        for server in ["http://localhost:8080", "https://masker.example"] {
            let Err(message) = global(None, Some(server)).socket_flag() else { panic!("{server} was accepted") };
            assert!(message.contains("names a gateway"), "{message}");
            assert_eq!(socket(&Global::default(), &[("MASKER_SERVER", server)]), Err(Exit::Usage));
        }
        for server in ["", "tcp://127.0.0.1:1", "unix://relative", "unix:", "/path", "localhost"] {
            assert!(global(None, Some(server)).socket_flag().is_err_and(|message| message.contains("unix:///path")));
        }
    }

    #[test]
    fn an_invalid_configuration_has_its_own_exit_code() {
        let config = Global { config: Some("/nonexistent.toml".into()), ..Global::default() };
        assert_eq!(socket(&config, &[]), Err(Exit::Invalid));
        assert_eq!(socket(&config, &[("MASKER_SOCKET", "/s")]), Ok(PathBuf::from("/s")));
    }
}
