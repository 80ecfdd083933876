//! The command line through a gateway: the real `masker` over TLS.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
};

use serde_json::{Value, json};

use crate::{
    authority::Authority,
    harness::{is_root, masker},
    installation::{GATEWAY, Installation, VALUE, install},
    proxy::Proxy,
    recorder::{Recorder, run},
    site::{Gateway, GatewaySite, HOST},
};

/// The exit codes for no permission, and for a server that cannot be reached.
const UNAUTHORIZED: i32 = 4;
const UNREACHABLE: i32 = 5;

/// A command line with its environment, in a directory with nothing.
struct Remote {
    home: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Remote {
    fn new(server: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        Remote { home, variables: vec![("MASKER_SERVER", server.to_owned())] }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Writes a file, and names it in a variable.
    fn with_file(self, name: &'static str, text: &str) -> Self {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        self.with(name, path.to_str().unwrap())
    }

    fn feed(&self, words: &str, input: &str) -> Output {
        let mut command = Command::new(masker());
        command.args(words.split(' ')).env_clear().current_dir(self.home.path()).env("HOME", self.home.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("it can be run");
        // A command that fails early does not read it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Runs a command that succeeds, and returns its output.
    fn succeeds(&self, words: &str, input: &str) -> String {
        let output = self.feed(words, input);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}: {:?} {errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that fails with this exit code, and returns its message.
    fn fails(&self, words: &str, code: i32) -> String {
        let output = self.feed(words, "");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words}: {errors}");
        errors
    }
}

fn url(host: &str, address: SocketAddr) -> String {
    format!("https://{host}:{}", address.port())
}

#[test]
fn an_api_key_has_its_rights_up_to_the_ceiling_through_a_proxy() {
    if !is_root("a user of the gateway") {
        return;
    }
    let Installation { site: _site, daemon, key, token } = install();
    run(async {
        let files = GatewaySite::new().before(daemon.socket(), GATEWAY);
        let gateway = files.start();
        let proxy = Proxy::to(gateway.address("tls"));
        let remote = Remote::new(&format!("https://{HOST}"))
            .with_file("MASKER_CA", &files.authority.pem())
            .with("HTTPS_PROXY", proxy.url_with("user:hunter2"))
            .with("MASKER_API_KEY", &key);
        let caller: Value = serde_json::from_str(&remote.succeeds("whoami --json", "")).unwrap();
        assert_eq!((&caller["name"], &caller["gateway"]), (&json!("remote"), &json!("gateway")));
        assert_eq!(remote.succeeds("tokenize --kind PHONE", VALUE).trim(), token);
        let rows = remote.succeeds("tokenize --csv --column phone=PHONE", &format!("phone\n{VALUE}\n"));
        assert!(rows.contains(&token), "{rows}");
        let session = remote.succeeds("sessions open --label remote", "");
        assert!(remote.succeeds("sessions list", "").contains(session.trim()));
        remote.succeeds("policy reload", "");
        assert!(remote.succeeds("keys status", "").contains("K_CARE"));
        assert!(remote.succeeds("status", "").starts_with("ok"));
        assert!(remote.succeeds("audit show --op tokenize", "").contains("tokenize"));
        let made = remote.succeeds("api-keys create --name made --scope tokenize", "");
        assert!(made.starts_with("masker_live_"));
        assert!(remote.succeeds("api-keys list", "").contains("made"));
        for words in ["rehydrate", "lookup --kind PHONE"] {
            let output = remote.feed(words, if words == "rehydrate" { &token } else { VALUE });
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(UNAUTHORIZED) && errors.contains("`ceiling`"), "{errors}");
        }
        // The proxy knows the host, and nothing of the requests.
        let heads = proxy.heads();
        assert!(heads.iter().all(|head| head.starts_with(&format!("CONNECT {HOST}:443 HTTP/1.1\r\n"))), "{heads:?}");
        assert!(heads.iter().all(|head| head.contains("roxy-authorization: Basic dXNlcjpodW50ZXIy\r\n")), "{heads:?}");
        assert!(heads.iter().all(|head| !head.contains(&key)), "{heads:?}");
        gateway.process.stop();
    });
    daemon.stop();
}

#[test]
fn a_client_certificate_acts_as_its_role() {
    if !is_root("a user of the gateway") {
        return;
    }
    let Installation { site: _site, daemon, key, token } = install();
    run(async {
        let files = GatewaySite::new().under("localhost").before(daemon.socket(), GATEWAY);
        let gateway = files.start();
        let (ci, other) = (files.clients.client(&["ci.example"]), files.clients.client(&["other.example"]));
        let foreign = Authority::new().client(&["ci.example"]);
        let server = url("localhost", gateway.address("mtls"));
        let remote = || Remote::new(&server).with_file("MASKER_CA", &files.authority.pem());
        let with = |identity: &crate::authority::Identity| {
            remote()
                .with_file("MASKER_CLIENT_CERT", &identity.certificate_pem())
                .with_file("MASKER_CLIENT_KEY", &identity.key_pem())
        };
        let holder = with(&ci);
        assert_eq!(holder.succeeds("tokenize --kind PHONE", VALUE).trim(), token);
        let caller: Value = serde_json::from_str(&holder.succeeds("whoami --json", "")).unwrap();
        assert!(caller["certificate"].is_string() && caller["name"] == "role:ci", "{caller}");
        assert!(holder.fails("keys status", UNAUTHORIZED).contains("perm.denied"));
        assert!(with(&other).fails("whoami", UNAUTHORIZED).contains("role.none"));
        assert!(with(&foreign).fails("whoami", UNAUTHORIZED).contains("refuses the client certificate"));
        assert!(remote().fails("whoami", UNAUTHORIZED).contains("asks for a client certificate"));
        let both = holder.with("MASKER_API_KEY", &key);
        assert!(both.fails("whoami", 64).contains("one credential"));
        gateway.process.stop();
    });
    daemon.stop();
}

/// Starts a gateway with a certificate for these names.
fn gateway_with(site: &GatewaySite, names: &[&str], expired: bool) -> Gateway {
    site.install(&site.authority.server_for(names, expired));
    site.start()
}

#[test]
fn a_server_that_cannot_be_trusted_gets_no_request() {
    run(async {
        let site = GatewaySite::new();
        let daemon = Recorder::listen(site.socket());
        let gateway = gateway_with(&site, &[HOST], false);
        let address = gateway.address("tls");
        let at = |host: &str| Remote::new(&url(host, address)).with("MASKER_API_KEY", KEY);
        let trusting = |host: &str| at(host).with_file("MASKER_CA", &site.authority.pem());
        let other = Authority::new();
        let wrong_ca = at("localhost").with_file("MASKER_CA", &other.pem());
        assert!(wrong_ca.fails("health", UNREACHABLE).contains("--ca or MASKER_CA"));
        let of_host = at("localhost").with_file("SSL_CERT_FILE", &other.pem());
        assert!(of_host.fails("health", UNREACHABLE).contains("--ca or MASKER_CA"));
        assert!(trusting("localhost").fails("health", UNREACHABLE).contains("is not for this name"));
        assert!(trusting("127.0.0.1").fails("health", UNREACHABLE).contains("is not for this name"));
        assert!(!daemon.has_more(), "nothing was sent");
        gateway.process.stop();

        let site = GatewaySite::new();
        let daemon = Recorder::listen(site.socket());
        let gateway = gateway_with(&site, &["localhost"], true);
        let expired = Remote::new(&url("localhost", gateway.address("tls")));
        let expired = expired.with_file("MASKER_CA", &site.authority.pem());
        assert!(expired.fails("health", UNREACHABLE).contains("has expired"));
        assert!(!daemon.has_more(), "nothing was sent");
        gateway.process.stop();
    });
}

#[test]
fn the_authorities_of_the_host_are_trusted_without_one_of_its_own() {
    run(async {
        let site = GatewaySite::new().under("localhost");
        let daemon = Recorder::listen(site.socket());
        let gateway = gateway_with(&site, &["localhost"], false);
        let remote = Remote::new(&url("localhost", gateway.address("tls")));
        let remote = remote.with_file("SSL_CERT_FILE", &site.authority.pem()).with("MASKER_API_KEY", KEY);
        // The recorder is no daemon, but it got the request, with the key.
        remote.fails("health", 1);
        let request = daemon.next().await;
        assert_eq!((request.target.as_str(), request.all("authorization").len()), ("/health", 1));
        gateway.process.stop();
    });
}

/// An API key of the right form.
const KEY: &str = "masker_live_PQRSTUVWXYZabcdefghijklmnopqrstuvwxyz4CzFke";

#[test]
fn a_server_that_cannot_be_reached_is_an_error_with_advice() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let authority = Authority::new().pem();
    let at = |url: &str| Remote::new(url).with_file("MASKER_CA", &authority);
    let server = url("localhost", nobody);
    assert!(at(&server).fails("health", UNREACHABLE).contains(&format!("{server} cannot be reached: ")));
    assert!(at("https://masker.invalid").fails("health", UNREACHABLE).contains("Check the address"));
    // A server of another protocol.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = url("localhost", plain.local_addr().unwrap());
    thread::spawn(move || {
        while let Ok((mut client, _)) = plain.accept() {
            client.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").unwrap();
            // Closing while bytes are unread would destroy the answer.
            let _ = std::io::copy(&mut client, &mut std::io::sink());
        }
    });
    assert!(at(&server).fails("health", UNREACHABLE).contains("does not speak TLS"));
    let proxy = Proxy::that_refuses();
    let refused = at("https://masker.example").with("HTTPS_PROXY", proxy.url());
    let message = refused.fails("health", UNREACHABLE);
    assert!(message.contains("status 407") && message.contains(&proxy.url()[7..]), "{message}");
    let direct = at("https://masker.invalid").with("HTTPS_PROXY", proxy.url()).with("NO_PROXY", ".invalid");
    assert!(!direct.fails("health", UNREACHABLE).contains("proxy"));
    assert_eq!(proxy.heads().len(), 1);
}

#[test]
fn commands_of_a_host_are_refused() {
    let remote = Remote::new("https://masker.example");
    assert!(remote.fails("doctor", 64).contains("works on this host, but MASKER_SERVER names a gateway"));
    let served = remote.fails("serve --server https://masker.example", 64);
    assert!(served.contains("--server names a gateway"), "{served}");
    assert!(PathBuf::from(remote.home.path()).read_dir().unwrap().next().is_none(), "nothing was written");
}
