//! Configuration files: one gives settings within their bounds, or every fault of it.

use std::{fs, path::Path, sync::OnceLock};

use masker_config::{Config, Environment, Flags, HostEnvironment};
use tempfile::TempDir;

/// What is loaded is within bounds and the same each time; what is not has a fault that names the file.
pub fn holds(bytes: &[u8]) {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(super::bench::folder).path();
    let thread = format!("{:?}.toml", std::thread::current().id());
    let file = folder.join(thread);
    fs::write(&file, bytes).expect("a file of ours");
    let environment: Environment = [("HOME".into(), "/home/masker".into())].into_iter().collect();
    let load = || {
        let host = HostEnvironment {
            environment: &environment,
            uid: 1_000,
            current_dir: Path::new("/"),
            system_dir: Path::new("/nonexistent"),
            log_is_terminal: false,
        };
        let flags = Flags { config: Some(&file), socket: None };
        (Config::load(flags, host), Config::load_socket(flags, host))
    };
    let config = match load() {
        (Ok(config), socket) => {
            assert_eq!(socket.ok().as_ref(), Some(&config.server.socket), "a client looks elsewhere");
            config
        }
        (Err(faults), _) => {
            assert!(faults.iter().len() > 0, "it was refused for nothing");
            assert!(faults.iter().all(|fault| !fault.to_string().is_empty()));
            return;
        }
    };
    assert_eq!(load().0.ok().as_ref(), Some(&config), "it says the same each time");
    assert_eq!(Config::reload_access(&file).ok().as_ref(), Some(&config.access), "a reload reads something else");
    let server = &config.server;
    assert!(server.socket.is_absolute() && server.socket.as_os_str().len() <= 107);
    assert!(server.socket_mode & 0o600 == 0o600 && server.socket_mode & !0o777 == 0, "{:o}", server.socket_mode);
    assert!(server.socket_mode & 0o002 == 0, "everybody may connect: {:o}", server.socket_mode);
    assert!(server.head_timeout_seconds > 0 && server.body_timeout_seconds > 0 && server.write_timeout_seconds > 0);
    assert!(config.vault.data_dir.is_absolute() && config.policy.path.is_absolute());
    assert!(config.vault.cache_bytes() / (1_024 * 1_024) == config.vault.cache_mb, "a cache beyond all bounds");
    assert!(config.vault.row_cache_bytes() / (1_024 * 1_024) == config.vault.row_cache_mb, "and one of rows");
    assert!(config.keys.grace_days <= 3_650 && (1..=3_650).contains(&config.sessions.retention_days));
    assert!(config.audit.segment_bytes_max() > 0);
}
