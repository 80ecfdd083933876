//! The file `gateway.toml`. All of its errors are reported at once, each with its line.

use std::{
    fmt, fs,
    io::{IsTerminal, Read},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;

use crate::url::PublicUrl;
use masker_document::{Document, DocumentError, Located, Section};
use masker_types::{
    limits::{
        CLIENT_SECONDS_MAX, GATEWAY_ADDRESS_CONNECTIONS_DEFAULT, GATEWAY_ADDRESS_REQUESTS_DEFAULT,
        GATEWAY_CONNECTIONS_DEFAULT, GATEWAY_COUNT_MAX, GATEWAY_FILES_SECONDS_DEFAULT,
        GATEWAY_HANDSHAKE_SECONDS_DEFAULT, HEAD_SECONDS_DEFAULT, TEXT_FILE_BYTES_MAX, WRITE_STALL_SECONDS_DEFAULT,
    },
    log::{LogFormat, LogLevel},
    quote::quoted,
};

/// The daemon's socket unless the file names another one: that of the package.
const DAEMON_SOCKET: &str = "/run/masker/masker.sock";

/// All settings, with defaults applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where clients with a bearer connect.
    pub listen: SocketAddr,
    /// The URL under which clients know the gateway.
    pub public_url: PublicUrl,
    /// The certificate and its key.
    pub files: CertificateFiles,
    /// The daemon's socket.
    pub daemon: PathBuf,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where plain HTTP is redirected.
    pub redirect: Option<SocketAddr>,
    /// Where clients with a certificate connect.
    pub mtls: Option<SocketAddr>,
    /// The bounds of connections and requests.
    pub bounds: Bounds,
    /// The time between two checks whether the files have changed.
    pub check_files: Duration,
    /// The lowest level that is logged.
    pub log_level: LogLevel,
    /// The format of the log.
    pub log_format: LogFormat,
}

/// A file that a setting names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Its path.
    pub path: PathBuf,
    /// The line of the setting.
    pub line: usize,
}

/// The files of the listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificates, from that of the gateway to that of its authority.
    pub certificate: NamedFile,
    /// The private key.
    pub key: NamedFile,
    /// The authorities of client certificates; `None` without that listener.
    pub client_ca: Option<NamedFile>,
    /// The lists of certificates that these authorities have revoked.
    pub client_crl: Option<NamedFile>,
}

/// The bounds of connections and requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// Connections of one address at once.
    pub connections_per_address: usize,
    /// Requests of one address at once.
    pub requests_per_address: usize,
    /// The time for a TLS handshake.
    pub handshake: Duration,
    /// The time for the head of a request, and for which a connection may be idle.
    pub head: Duration,
    /// The time for which a client may accept nothing of an answer.
    pub write: Duration,
}

/// The errors of the configuration, at least one. They are displayed one per line, as compilers do.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: PathBuf,
    problems: Vec<DocumentError>,
    unreadable: Option<String>,
}

impl ConfigErrors {
    /// Returns the errors of a file that was read.
    pub(crate) fn new(file: &Path, problems: Vec<DocumentError>) -> Self {
        ConfigErrors { file: file.to_owned(), problems, unreadable: None }
    }

    fn unreadable(file: &Path, message: impl Into<String>) -> Self {
        ConfigErrors { file: file.to_owned(), problems: Vec::new(), unreadable: Some(message.into()) }
    }

    /// Returns the lines to show.
    pub fn lines(&self) -> Vec<String> {
        let file = self.file.display();
        let unreadable = self.unreadable.iter().map(|message| format!("{file}: {message}"));
        let problems = self.problems.iter().map(|problem| format!("{file}:{}: {}", problem.line, problem.message));
        unreadable.chain(problems).collect()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Every error of the file.
    pub fn load(file: &Path) -> Result<Self, ConfigErrors> {
        let text = read_text(file).map_err(|message| ConfigErrors::unreadable(file, message))?;
        // A relative path is relative to the directory of the file.
        let base = file.parent().unwrap_or(Path::new(""));
        Config::parse(&text, base).map_err(|problems| ConfigErrors::new(file, problems))
    }

    fn parse(text: &str, base: &Path) -> Result<Self, Vec<DocumentError>> {
        let document = Document::parse(text);
        let root = document.root();
        let log = root.section("log");
        let log_level = log.as_ref().and_then(|log| log.choice("level", &LogLevel::choices()));
        let log_format = log.as_ref().and_then(|log| log.choice("format", &LogFormat::CHOICES));
        if let Some(log) = &log {
            log.finish();
        }
        let config = match root.section("gateway") {
            Some(gateway) => read_gateway(&gateway, base),
            None => {
                root.report_missing("[gateway]", "the section has the settings of the gateway");
                None
            }
        };
        root.finish();
        let problems = document.into_problems();
        match config {
            Some(config) if problems.is_empty() => Ok(Config {
                log_level: log_level.map_or(LogLevel::Info, |level| level.value),
                log_format: log_format.map_or_else(default_format, |format| format.value),
                ..config
            }),
            _ => Err(problems),
        }
    }
}

fn default_format() -> LogFormat {
    if std::io::stderr().is_terminal() { LogFormat::Pretty } else { LogFormat::Json }
}

/// Reads the section `[gateway]`, every field of it before it decides.
fn read_gateway(section: &Section<'_>, base: &Path) -> Option<Config> {
    let listen = required(section, "listen", "an address and a port, such as \"0.0.0.0:8443\"", socket_address);
    let public_url = required(
        section,
        "public_url",
        "how clients reach the gateway, such as \"https://masker.example\"",
        public_url,
    );
    let certificate =
        required(section, "certificate", "a PEM file with the certificate and its chain", |section, name| {
            named_file(section, name, base)
        });
    let key = required(section, "key", "a PEM file with the private key of the certificate", |section, name| {
        named_file(section, name, base)
    });
    let daemon = named_file(section, "daemon", base).map_or_else(|| DAEMON_SOCKET.into(), |file| file.path);
    let trusted_proxies = networks(section, "trusted_proxies");
    let redirect = socket_address(section, "redirect");
    let bounds = read_bounds(section);
    let check_files = seconds(section, "check_files_seconds", GATEWAY_FILES_SECONDS_DEFAULT);
    let (mtls, client_ca, client_crl) = match section.section("mtls") {
        None => (None, None, None),
        Some(mtls) => {
            let listen = required(&mtls, "listen", "an address and a port, such as \"0.0.0.0:8444\"", socket_address);
            let client_ca = required(
                &mtls,
                "client_ca",
                "a PEM file with the authorities of client certificates",
                |section, name| named_file(section, name, base),
            );
            let client_crl = named_file(&mtls, "client_crl", base);
            mtls.finish();
            (listen, client_ca, client_crl)
        }
    };
    section.finish();
    let named = [(listen, "listen"), (mtls, "[gateway.mtls] listen"), (redirect, "redirect")];
    for (first, second) in [(0, 1), (0, 2), (1, 2)] {
        let ((one, name), (other, other_name)) = (named[first], named[second]);
        if one.zip(other).is_some_and(|(one, other)| one == other && one.port() != 0) {
            section.report(section.line(), format!("`{name}` and `{other_name}` are the same address and port"));
        }
    }
    Some(Config {
        listen: listen?,
        public_url: public_url?,
        files: CertificateFiles { certificate: certificate?, key: key?, client_ca, client_crl },
        daemon,
        trusted_proxies,
        redirect,
        mtls,
        bounds,
        check_files,
        log_level: LogLevel::Info,
        log_format: LogFormat::Json,
    })
}

fn read_bounds(section: &Section<'_>) -> Bounds {
    let count = |name, default| {
        let read: Option<Located<u64>> = section.integer(name, 1..=GATEWAY_COUNT_MAX);
        usize::try_from(read.map_or(default, |count| count.value)).unwrap_or(usize::MAX)
    };
    Bounds {
        connections: count("connections", GATEWAY_CONNECTIONS_DEFAULT),
        connections_per_address: count("connections_per_address", GATEWAY_ADDRESS_CONNECTIONS_DEFAULT),
        requests_per_address: count("requests_per_address", GATEWAY_ADDRESS_REQUESTS_DEFAULT),
        handshake: seconds(section, "handshake_timeout_seconds", GATEWAY_HANDSHAKE_SECONDS_DEFAULT),
        head: seconds(section, "head_timeout_seconds", HEAD_SECONDS_DEFAULT),
        write: seconds(section, "write_timeout_seconds", WRITE_STALL_SECONDS_DEFAULT),
    }
}

fn seconds(section: &Section<'_>, name: &'static str, default: u64) -> Duration {
    let read = section.integer(name, 1..=CLIENT_SECONDS_MAX);
    Duration::from_secs(read.map_or(default, |seconds| seconds.value))
}

fn required<T>(
    section: &Section<'_>,
    name: &'static str,
    advice: &str,
    read: impl FnOnce(&Section<'_>, &'static str) -> Option<T>,
) -> Option<T> {
    let value = read(section, name);
    if !section.has(name) {
        section.report_missing(name, &format!("it is {advice}"));
    }
    value
}

fn socket_address(section: &Section<'_>, name: &'static str) -> Option<SocketAddr> {
    let Located { value, line } = section.string(name)?;
    let address = value.parse().ok();
    if address.is_none() {
        let advice = "write an IP address and a port, such as \"0.0.0.0:8443\" or \"[::]:8443\"";
        section.report(line, format!("`{name}` cannot be {}: {advice}", quoted(value)));
    }
    address
}

fn public_url(section: &Section<'_>, name: &'static str) -> Option<PublicUrl> {
    let Located { value, line } = section.string(name)?;
    PublicUrl::parse(value).map_err(|problem| section.report(line, format!("`{name}` {problem}"))).ok()
}

fn named_file(section: &Section<'_>, name: &'static str, base: &Path) -> Option<NamedFile> {
    let Located { value, line } = section.string(name)?;
    let problem = if value.is_empty() {
        "is empty"
    } else if value.contains('\0') {
        "contains a zero byte, which paths cannot contain"
    } else if value == "~" || value.starts_with("~/") {
        "begins with `~`, which only shells expand: write the whole path"
    } else {
        return Some(NamedFile { path: base.join(value), line });
    };
    section.report(line, format!("`{name}` {problem}"));
    None
}

fn networks(section: &Section<'_>, name: &'static str) -> Vec<IpNet> {
    let texts = section.strings(name).unwrap_or_default();
    let parsed = texts.iter().filter_map(|Located { value, line }| {
        let network = value.parse().or_else(|_| value.parse::<IpAddr>().map(IpNet::from)).ok().filter(|network| {
            // Addresses of clients are compared in their IPv4 form.
            !matches!(network, IpNet::V6(network) if network.addr().to_ipv4_mapped().is_some())
        });
        if network.is_none() {
            let advice = "write an IP address, or a network such as \"10.0.0.0/8\", IPv4 without `::ffff:`";
            section.report(*line, format!("`{name}` cannot contain {}: {advice}", quoted(value)));
        }
        network
    });
    parsed.collect()
}

/// Reads a regular file of UTF-8 text of a limited size.
fn read_text(file: &Path) -> Result<String, String> {
    let unreadable = |error| format!("cannot be read: {error}");
    let metadata = fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    fs::File::open(file)
        .and_then(|opened| opened.take(TEXT_FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > TEXT_FILE_BYTES_MAX {
        return Err(format!("is over {} KiB long", TEXT_FILE_BYTES_MAX / 1_024));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[gateway]\nlisten = \"0.0.0.0:8443\"\npublic_url = \"https://masker.example\"\n\
                         certificate = \"tls/cert.pem\"\nkey = \"/etc/ssl/key.pem\"\n";

    fn parse(text: &str) -> Result<Config, Vec<DocumentError>> {
        Config::parse(text, Path::new("/etc/masker"))
    }

    #[test]
    fn defaults_are_applied() {
        let config = parse(LEAST).unwrap();
        assert_eq!(config.listen, "0.0.0.0:8443".parse().unwrap());
        assert_eq!(config.files.certificate, NamedFile { path: "/etc/masker/tls/cert.pem".into(), line: 4 });
        assert_eq!(config.files.key.path, Path::new("/etc/ssl/key.pem"));
        assert_eq!(config.daemon, Path::new("/run/masker/masker.sock"));
        assert_eq!((config.redirect, config.mtls, &config.files.client_ca), (None, None, &None));
        assert_eq!(config.files.client_crl, None);
        assert_eq!((config.bounds.connections, config.bounds.connections_per_address), (512, 32));
        assert_eq!((config.bounds.head, config.bounds.write), (Duration::from_secs(60), Duration::from_secs(30)));
        assert_eq!(config.log_level, LogLevel::Info);
    }

    #[test]
    fn all_settings_are_read() {
        let text = format!(
            "{LEAST}daemon = \"m.sock\"\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nredirect = \"[::]:80\"\n\
             connections = 9\nconnections_per_address = 3\nrequests_per_address = 4\nhandshake_timeout_seconds = 1\n\
             head_timeout_seconds = 2\nwrite_timeout_seconds = 5\ncheck_files_seconds = 6\n[gateway.mtls]\n\
             listen = \"0.0.0.0:8444\"\nclient_ca = \"ca.pem\"\nclient_crl = \"crl.pem\"\n[log]\nlevel = \"debug\"\nformat = \"pretty\"\n"
        );
        let config = parse(&text).unwrap();
        assert_eq!(config.daemon, Path::new("/etc/masker/m.sock"));
        assert_eq!(config.trusted_proxies.len(), 2);
        assert!(config.trusted_proxies[1].contains(&"::1".parse::<IpAddr>().unwrap()));
        assert_eq!(config.mtls, Some("0.0.0.0:8444".parse().unwrap()));
        assert_eq!(config.files.client_ca.map(|file| file.path), Some("/etc/masker/ca.pem".into()));
        assert_eq!(config.files.client_crl.map(|file| file.path), Some("/etc/masker/crl.pem".into()));
        let second = Duration::from_secs(1);
        let expected = Bounds {
            connections: 9,
            connections_per_address: 3,
            requests_per_address: 4,
            handshake: second,
            head: 2 * second,
            write: 5 * second,
        };
        assert_eq!(config.bounds, expected);
        assert_eq!((config.check_files, config.log_level), (6 * second, LogLevel::Debug));
        assert_eq!(config.log_format, LogFormat::Pretty);
    }

    #[test]
    fn every_error_has_its_line() {
        let text = "[gateway]\nlisten = \"8443\"\npublic_url = \"http://x\"\ncertificate = \"\"\nconnections = 0\n\
                    trusted_proxies = [\"10.0.0.0/8\",\n\"10.0.0.0/33\"]\nlimit = 1\n[gateway.mtls]\nclient_ca = 1\n\
                    [log]\nlevel = \"loud\"\n[other]\n";
        let problems = parse(text).unwrap_err();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        for expected in [
            "line 1: `key` is missing in [gateway]",
            "line 2: `listen` cannot be `8443`",
            "line 3: `public_url` must begin with `https://`",
            "line 4: `certificate` is empty",
            "line 5: `connections` in [gateway] must be a whole number",
            "line 7: `trusted_proxies` cannot contain",
            "line 8: unknown field `limit`",
            "line 9: `listen` is missing in [gateway.mtls]",
            "line 10: `client_ca` in [gateway.mtls] must be a string",
            "line 12: `level` cannot be `loud`",
            "line 13: unknown field `other`",
        ] {
            assert!(shown.iter().any(|line| line.starts_with(expected)), "{expected}\n{}", shown.join("\n"));
        }
        assert_eq!(shown.len(), 11, "{}", shown.join("\n"));
    }

    #[test]
    fn listeners_need_addresses_of_their_own() {
        let text = format!("{LEAST}redirect = \"0.0.0.0:8443\"\n");
        assert_eq!(
            parse(&text).unwrap_err()[0].to_string(),
            "line 1: `listen` and `redirect` are the same address and port"
        );
        let text = format!(
            "{LEAST}redirect = \"0.0.0.0:80\"\n[gateway.mtls]\nlisten = \"0.0.0.0:80\"\nclient_ca = \"ca.pem\"\n"
        );
        assert_eq!(
            parse(&text).unwrap_err()[0].to_string(),
            "line 1: `[gateway.mtls] listen` and `redirect` are the same address and port"
        );
        assert!(parse("").unwrap_err()[0].message.contains("[gateway]"));
    }

    #[test]
    fn a_network_that_no_address_is_in_is_refused() {
        for network in ["::ffff:10.0.0.0/104", "::ffff:10.0.0.1"] {
            let problems = parse(&format!("{LEAST}trusted_proxies = [\"{network}\"]\n")).unwrap_err();
            assert!(problems[0].message.contains("IPv4 without `::ffff:`"), "{problems:?}");
        }
    }
}
