//! The files of a daemon on its host, and the settings of one start.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write,
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use tempfile::TempDir;

use super::{
    Daemon, Ended, TestKey,
    process::{Command, Process, masker},
};

/// The initial policy of each site, with all settings that a policy can have for a kind.
pub const CARE: &str = include_str!("../policies/care.toml");

/// A directory with configuration, policies and a place for the vault. It is removed when dropped.
pub struct Site {
    root: TempDir,
    settings: BTreeMap<(&'static str, &'static str), String>,
    clients: String,
    launches: AtomicUsize,
}

impl Default for Site {
    fn default() -> Self {
        Site::new()
    }
}

impl Site {
    /// Returns a site with the policy [`CARE`] and no vault yet.
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("mskr").tempdir().expect("a directory for the test");
        fs::create_dir(root.path().join("policies")).expect("a directory for policies");
        let mut site = Site { root, settings: BTreeMap::new(), clients: String::new(), launches: AtomicUsize::new(0) };
        site.policy("care.toml", CARE);
        // Many daemons run at the same time, so each gets a small cache.
        site.set("vault", "cache_mb", "16");
        for (section, name, path) in [
            ("server", "socket", site.socket()),
            ("vault", "data_dir", site.vault()),
            ("policy", "path", site.path("policies")),
            ("audit", "path", site.path("audit")),
        ] {
            site.set(section, name, format!("{path:?}"));
        }
        site
    }

    /// Returns a site whose vault has this engine.
    pub fn of(engine: &str) -> Self {
        let mut site = Site::new();
        site.set("vault", "engine", format!("{engine:?}"));
        site
    }

    /// Returns a path in the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Returns the default path of the socket.
    pub fn socket(&self) -> PathBuf {
        self.path("masker.sock")
    }

    /// Returns the data directory.
    pub fn vault(&self) -> PathBuf {
        self.path("vault")
    }

    /// Copies the data directory of a daemon that does not run, and returns the copy.
    pub fn copy_vault(&self, name: &str) -> PathBuf {
        let copy = self.path(name);
        copy_all(&self.vault(), &copy);
        copy
    }

    /// Writes a file into the directory of policies.
    pub fn policy(&self, file: &str, text: &str) {
        // Atomically, so that a reload never reads half a file.
        let (path, draft) = (self.path("policies").join(file), self.path("policy.draft"));
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, &path)).expect("the policy is written");
    }

    /// Sets a field of the configuration file to a TOML value, for later starts.
    pub fn set(&mut self, section: &'static str, name: &'static str, value: impl Into<String>) {
        self.settings.insert((section, name), value.into());
    }

    /// Adds a client: TOML without its header, for later starts or once it is [written](Site::write).
    pub fn client(&mut self, text: &str) {
        writeln!(self.clients, "[[clients]]\n{text}").expect("memory");
    }

    /// Removes all clients.
    pub fn forget_clients(&mut self) {
        self.clients.clear();
    }

    /// Writes the configuration, for a daemon that reloads it.
    pub fn write(&self) {
        self.write_configuration(self.launches.fetch_add(1, Ordering::Relaxed));
    }

    /// Prepares a start.
    pub fn launch(&self) -> Launch<'_> {
        let mut launch = Launch {
            site: self,
            flags: Vec::new(),
            environment: Vec::new(),
            socket: self.socket(),
            prelude: Vec::new(),
            listener: None,
        };
        launch.set_env("MASKER_LOG_LEVEL", "debug");
        launch.set_env("MASKER_LOG_FORMAT", "json");
        launch
    }

    fn write_configuration(&self, launch: usize) -> PathBuf {
        let mut text = String::new();
        let mut current = "";
        for ((section, name), value) in &self.settings {
            if *section != current {
                current = section;
                writeln!(text, "[{section}]").expect("memory");
            }
            writeln!(text, "{name} = {value}").expect("memory");
        }
        text.push_str(&self.clients);
        // Atomically, because two daemons can be started at once.
        let (path, draft) = (self.path("masker.toml"), self.path(&format!("masker.toml.{launch}")));
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, &path)).expect("the configuration is written");
        path
    }
}

/// The settings of one start. The environment has nothing else.
pub struct Launch<'s> {
    site: &'s Site,
    flags: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    socket: PathBuf,
    prelude: Vec<&'static str>,
    listener: Option<UnixListener>,
}

impl Launch<'_> {
    /// Sets the active key of a key id.
    pub fn key(self, kid: &str, key: &TestKey) -> Self {
        self.env(&format!("MASKER_KEY_{kid}"), key.base64())
    }

    /// Sets the old key of a key id.
    pub fn old_key(self, kid: &str, key: &TestKey) -> Self {
        self.env(&format!("MASKER_KEY_{kid}_OLD"), key.base64())
    }

    /// Sets a key for each key id of [`CARE`].
    pub fn care_keys(self) -> Self {
        self.key("K_CARE", &TestKey::named("care")).key("K_PAY", &TestKey::named("pay"))
    }

    /// Adds a flag of `masker serve`.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Sets a variable; the last of several values counts.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.set_env(name, value);
        self
    }

    fn set_env(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Sets another path of the socket.
    pub fn socket(mut self, path: &Path) -> Self {
        self.socket = path.to_owned();
        self.env("MASKER_SOCKET", path)
    }

    /// Adds a line for the shell that becomes the daemon, such as `umask 000`.
    pub fn prelude(mut self, line: &'static str) -> Self {
        self.prelude.push(line);
        self
    }

    /// Passes a listening socket as descriptor 3, as systemd does (sd_listen_fds(3)).
    pub fn handed_over(mut self, listener: &UnixListener) -> Self {
        let address = listener.local_addr().expect("an address");
        self.socket = address.as_pathname().map(Path::to_owned).unwrap_or_default();
        self.listener = Some(listener.try_clone().expect("a second descriptor"));
        self.prelude("export LISTEN_FDS=1 LISTEN_PID=$$").prelude("exec 3<&0 0</dev/null")
    }

    /// Returns a command of masker with the settings of this start.
    pub fn command(&self, words: &[&str]) -> std::process::Command {
        let configuration = self.site.write_configuration(self.site.launches.fetch_add(1, Ordering::Relaxed));
        let mut command = std::process::Command::new(masker());
        command.arg("--config").arg(configuration).args(words);
        command.env_clear().envs(self.environment.iter().cloned()).current_dir("/").stdin(std::process::Stdio::null());
        command
    }

    /// Runs `masker recover` with the settings of this start. Returns the exit code and the output.
    pub fn recover(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = self.command(&[&["recover"], words].concat()).output().expect("masker can be run");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    }

    /// Accepts what `masker recover` shows of this kind, which must be all that it shows.
    pub fn accept(self, kind: &str) -> Self {
        let (code, text) = self.recover(&["--accept", kind]);
        assert_eq!(code, Some(0), "{text}");
        self
    }

    /// Starts the daemon and waits until it is ready.
    pub fn start(self) -> Daemon {
        let socket = self.socket.clone();
        Daemon::ready(self.spawn(), socket)
    }

    /// Starts the daemon and waits until it is ready or has ended.
    pub fn attempt(self) -> Result<Daemon, Ended> {
        let socket = self.socket.clone();
        Daemon::ready_or_gone(self.spawn(), socket)
    }

    /// Starts the daemon and kills it with -9 once it has logged this message.
    pub fn killed_at(self, message: &str) -> Ended {
        self.spawn().killed_at(message)
    }

    /// Starts a daemon that must fail to start, and waits until it has ended.
    pub fn refused(self) -> Ended {
        self.spawn().refused()
    }

    fn spawn(self) -> Process {
        let launch = self.site.launches.fetch_add(1, Ordering::Relaxed);
        let configuration = self.site.write_configuration(launch);
        Process::spawn(Command {
            program: masker(),
            arguments: ["serve".into(), "--config".into(), configuration.into()]
                .into_iter()
                .chain(self.flags)
                .collect(),
            environment: self.environment,
            prelude: self.prelude,
            stdin: self.listener.map(Into::into),
            notify: self.site.path(&format!("notify-{launch}")),
        })
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_all(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a copy");
        }
    }
}
