//! The files of a gateway, and the gateway itself.

use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    os::unix::fs::{OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    authority::{Authority, Identity},
    harness::{Daemon, Ended, masker_gateway, start_gateway},
};

/// The host of the gateways of the tests.
pub const HOST: &str = "masker.example";

/// A directory with the files of a gateway.
pub struct GatewaySite {
    root: TempDir,
    /// The authority of the gateway's certificate.
    pub authority: Authority,
    /// The authority of client certificates.
    pub clients: Authority,
    settings: Vec<String>,
    daemon: PathBuf,
    user: Option<u32>,
    host: &'static str,
    mtls: &'static str,
}

impl GatewaySite {
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("mskg").tempdir().unwrap();
        let daemon = root.path().join("masker.sock");
        let (authority, clients) = (Authority::new(), Authority::new());
        let site =
            GatewaySite { root, authority, clients, settings: Vec::new(), daemon, user: None, host: HOST, mtls: "" };
        site.install(&site.authority.server());
        site.install_client_ca(&site.clients);
        site
    }

    /// Adds a setting of `[gateway]`.
    pub fn with(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// Adds a line to `[gateway.mtls]`.
    pub fn with_mtls(self, mtls: &'static str) -> Self {
        GatewaySite { mtls, ..self }
    }

    /// Is for a gateway that clients know under this host, with a certificate for it.
    pub fn under(mut self, host: &'static str) -> Self {
        self.host = host;
        self.install(&self.authority.server_for(&[host], false));
        self
    }

    /// Is for a gateway that runs as this user, before the daemon on this socket.
    pub fn before(mut self, daemon: &Path, user: u32) -> Self {
        (self.daemon, self.user) = (daemon.to_owned(), Some(user));
        self
    }

    /// Returns the path of the daemon's socket.
    pub fn socket(&self) -> &Path {
        &self.daemon
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Puts a certificate and its key in place.
    pub fn install(&self, server: &Identity) {
        self.install_certificate(server);
        self.replace("key.pem", &server.key_pem(), 0o600);
    }

    /// Puts a certificate in place, and leaves the key as it is.
    pub fn install_certificate(&self, server: &Identity) {
        self.replace("cert.pem", &server.certificate_pem(), 0o644);
    }

    pub fn install_client_ca(&self, authority: &Authority) {
        self.replace("ca.pem", &authority.pem(), 0o644);
    }

    /// Replaces a file at once, so that no reload reads half of it.
    pub fn replace(&self, name: &str, text: &str, mode: u32) {
        let draft = self.path("draft");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&draft).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(&draft, self.path(name)).unwrap();
    }

    /// Writes the configuration, and checks it. Returns the exit code and the errors.
    pub fn check(&self) -> (Option<i32>, String) {
        let mut command = Command::new(masker_gateway());
        command.arg("--config").arg(self.configure()).arg("--check");
        let output = command.env_clear().output().expect("it can be run");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    }

    fn configure(&self) -> PathBuf {
        let mut text = format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\npublic_url = \"https://{}\"\ncertificate = \"cert.pem\"\n\
             key = \"key.pem\"\ndaemon = {:?}\nredirect = \"127.0.0.1:0\"\n",
            self.host, self.daemon
        );
        for setting in &self.settings {
            writeln!(text, "{setting}").unwrap();
        }
        writeln!(text, "[gateway.mtls]\nlisten = \"127.0.0.1:0\"\nclient_ca = \"ca.pem\"\n{}", self.mtls).unwrap();
        text.push_str("[log]\nlevel = \"debug\"\nformat = \"json\"\n");
        let configuration = self.path("gateway.toml");
        fs::write(&configuration, text).unwrap();
        configuration
    }

    /// Writes the configuration, and starts the gateway.
    pub fn attempt(&self) -> Result<Gateway, Ended> {
        let configuration = self.configure();
        if let Some(uid) = self.user {
            let give = |path: &Path| chown(path, Some(uid), Some(uid)).unwrap();
            fs::read_dir(self.root.path()).unwrap().for_each(|entry| give(&entry.unwrap().path()));
            give(self.root.path());
        }
        start_gateway(&configuration, self.user).map(|process| Gateway { process })
    }

    pub fn start(&self) -> Gateway {
        self.attempt().unwrap_or_else(|ended| panic!("it did not start: {}", ended.log.text()))
    }
}

/// A gateway that is ready.
pub struct Gateway {
    pub process: Daemon,
}

impl Gateway {
    /// Returns where one of its listeners is: `tls`, `mtls` or `redirect`.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let lines = self.process.log().wait_for(3, "listening");
        let line = lines.iter().find(|line| line["listener"] == listener).expect("the listener");
        line["address"].as_str().unwrap().parse().unwrap()
    }
}
