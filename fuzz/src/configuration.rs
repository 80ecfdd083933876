//! Configuration files: a file yields settings within their bounds, or all its errors.

use std::{fs, path::Path, sync::OnceLock};

use masker_config::{CommandLineOptions, Config, Environment, HostEnvironment};
use tempfile::TempDir;

/// Checks that a valid file gives the same settings each time, within their bounds, and an invalid file has an error.
pub fn check(bytes: &[u8]) {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(super::bench::folder).path();
    let thread = format!("{:?}.toml", std::thread::current().id());
    let file = folder.join(thread);
    fs::write(&file, bytes).expect("failed to write the file");
    let environment: Environment = [("HOME".into(), "/home/masker".into())].into_iter().collect();
    let load = || {
        let host = HostEnvironment {
            environment: &environment,
            uid: 1_000,
            current_dir: Path::new("/"),
            system_dir: Path::new("/nonexistent"),
            log_is_terminal: false,
        };
        let options = CommandLineOptions { config: Some(&file), socket: None };
        (Config::load(options, host), Config::find_socket_path(options, host))
    };
    let config = match load() {
        (Ok(config), socket) => {
            assert_eq!(socket.ok().as_ref(), Some(&config.server.socket), "a client would use another socket");
            config
        }
        (Err(errors), _) => {
            assert!(errors.iter().len() > 0, "a rejected file has no error");
            assert!(errors.iter().all(|error| !error.to_string().is_empty()));
            return;
        }
    };
    assert_eq!(load().0.ok().as_ref(), Some(&config), "loading the file again gives other settings");
    assert_eq!(Config::reload_access(&file).ok().as_ref(), Some(&config.access), "a reload gives other access rules");
    let server = &config.server;
    assert!(server.socket.is_absolute() && server.socket.as_os_str().len() <= 107);
    assert!(server.socket_mode & 0o600 == 0o600 && server.socket_mode & !0o777 == 0, "{:o}", server.socket_mode);
    assert!(server.socket_mode & 0o002 == 0, "the socket is world-writable: {:o}", server.socket_mode);
    assert!(server.head_timeout_seconds > 0 && server.body_timeout_seconds > 0 && server.write_timeout_seconds > 0);
    assert!(config.vault.data_dir.is_absolute() && config.policy.path.is_absolute());
    assert!(config.vault.cache_bytes() / (1_024 * 1_024) == config.vault.cache_mb, "the size of the cache overflows");
    assert!(
        config.vault.row_cache_bytes() / (1_024 * 1_024) == config.vault.row_cache_mb,
        "the size of the row cache overflows"
    );
    assert!(config.keys.grace_days <= 3_650 && (1..=3_650).contains(&config.sessions.retention_days));
    assert!(config.audit.segment_bytes_max() > 0);
}
