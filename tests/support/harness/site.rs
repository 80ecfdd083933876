//! What a daemon finds on its host, and what one start is given.

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
    process::{Command, Process},
};

/// The policy that every site begins with: each thing that a policy can say of a kind, once.
pub const CARE: &str = include_str!("../policies/care.toml");

/// A directory with configuration, policies and a place for the vault. It goes when it is dropped.
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
    /// A site with the policy [`CARE`] and no vault yet.
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("mskr").tempdir().expect("a directory for the test");
        fs::create_dir(root.path().join("policies")).expect("a directory for policies");
        let mut site = Site { root, settings: BTreeMap::new(), clients: String::new(), launches: AtomicUsize::new(0) };
        site.policy("care.toml", CARE);
        // Many daemons run at once; none of them has much to remember.
        site.set("vault", "cache_mb", "16");
        for (section, name, path) in [
            ("server", "socket", site.socket()),
            ("vault", "data_dir", site.vault()),
            ("policy", "path", site.path("policies")),
        ] {
            site.set(section, name, format!("{path:?}"));
        }
        site
    }

    /// The same, with a vault of this engine.
    pub fn of(engine: &str) -> Self {
        let mut site = Site::new();
        site.set("vault", "engine", format!("{engine:?}"));
        site
    }

    /// Something in the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Where daemons of this site listen unless told otherwise.
    pub fn socket(&self) -> PathBuf {
        self.path("masker.sock")
    }

    /// The vault's directory.
    pub fn vault(&self) -> PathBuf {
        self.path("vault")
    }

    /// Writes a policy, or anything else, into the directory of policies.
    pub fn policy(&self, file: &str, text: &str) {
        // As an editor does it: a reload never sees half a file.
        let (path, draft) = (self.path("policies").join(file), self.path("policy.draft"));
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, &path)).expect("the policy is written");
    }

    /// Sets a field of the configuration file: `value` is TOML. It counts from the next start on.
    pub fn set(&mut self, section: &'static str, name: &'static str, value: impl Into<String>) {
        self.settings.insert((section, name), value.into());
    }

    /// Adds a client: TOML, without its header. It counts from the next start on, or once it is [written](Site::write).
    pub fn client(&mut self, text: &str) {
        writeln!(self.clients, "[[clients]]\n{text}").expect("memory");
    }

    /// Takes all clients back.
    pub fn forget_clients(&mut self) {
        self.clients.clear();
    }

    /// Writes the configuration for a daemon that is to read it again.
    pub fn write(&self) {
        self.write_configuration(self.launches.fetch_add(1, Ordering::Relaxed));
    }

    /// Begins a start.
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
        // Two daemons can be started at once: neither sees half a file.
        let (path, draft) = (self.path("masker.toml"), self.path(&format!("masker.toml.{launch}")));
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, &path)).expect("the configuration is written");
        path
    }
}

/// What one start is given. The environment is empty but for this.
pub struct Launch<'s> {
    site: &'s Site,
    flags: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    socket: PathBuf,
    prelude: Vec<&'static str>,
    listener: Option<UnixListener>,
}

impl Launch<'_> {
    /// The active key of a key id.
    pub fn key(self, kid: &str, key: &TestKey) -> Self {
        self.env(&format!("MASKER_KEY_{kid}"), key.base64())
    }

    /// The old key of a key id.
    pub fn old_key(self, kid: &str, key: &TestKey) -> Self {
        self.env(&format!("MASKER_KEY_{kid}_OLD"), key.base64())
    }

    /// Keys for every key id of [`CARE`].
    pub fn care_keys(self) -> Self {
        self.key("K_CARE", &TestKey::named("care")).key("K_PAY", &TestKey::named("pay"))
    }

    /// A flag of `masker serve`.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// A variable; of a name given twice the last one counts.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.set_env(name, value);
        self
    }

    fn set_env(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Another socket than the site's.
    pub fn socket(mut self, path: &Path) -> Self {
        self.socket = path.to_owned();
        self.env("MASKER_SOCKET", path)
    }

    /// A line for the shell that becomes the daemon, such as `umask 000`.
    pub fn prelude(mut self, line: &'static str) -> Self {
        self.prelude.push(line);
        self
    }

    /// Hands over a listening socket as systemd does (sd_listen_fds(3)): as descriptor 3.
    pub fn handed_over(mut self, listener: &UnixListener) -> Self {
        let address = listener.local_addr().expect("an address");
        self.socket = address.as_pathname().map(Path::to_owned).unwrap_or_default();
        self.listener = Some(listener.try_clone().expect("a second descriptor"));
        self.prelude("export LISTEN_FDS=1 LISTEN_PID=$$").prelude("exec 3<&0 0</dev/null")
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub fn start(self) -> Daemon {
        let socket = self.socket.clone();
        Daemon::ready(self.spawn(), socket)
    }

    /// Starts the daemon and waits until it is ready or has given up.
    pub fn attempt(self) -> Result<Daemon, Ended> {
        let socket = self.socket.clone();
        Daemon::ready_or_gone(self.spawn(), socket)
    }

    /// Starts the daemon and kills it with -9 once it has logged this, wherever that is on its way.
    pub fn killed_at(self, message: &str) -> Ended {
        self.spawn().killed_at(message)
    }

    /// Starts what must not start, and waits until it has given up.
    pub fn refused(self) -> Ended {
        self.spawn().refused()
    }

    fn spawn(self) -> Process {
        let launch = self.site.launches.fetch_add(1, Ordering::Relaxed);
        let configuration = self.site.write_configuration(launch);
        Process::spawn(Command {
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
