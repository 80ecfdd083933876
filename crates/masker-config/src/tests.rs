mod gateway;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{file::FileSettings, *};
use masker_core::keyring::GraceAction;
use masker_types::{
    grant::{Grant, Limit, Limits, ScopeSet},
    kind::Kid,
    log::{LogFormat, LogLevel},
    share::Share,
};

/// A working directory, a home, and an environment in which HOME is set.
struct TestHost {
    dir: TempDir,
    variables: Vec<(OsString, OsString)>,
    uid: u32,
}

impl TestHost {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("work")).unwrap();
        let home = dir.path().join("home").into_os_string();
        // The files belong to the user of the test.
        let uid = Some(nix::unistd::geteuid().as_raw()).filter(|uid| *uid != 0).unwrap_or(1_000);
        TestHost { dir, variables: vec![("HOME".into(), home)], uid }
    }

    fn set(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn with_host<T>(&self, run: impl FnOnce(HostEnvironment<'_>) -> T) -> T {
        let environment = self.variables.iter().cloned().collect();
        run(HostEnvironment {
            environment: &environment,
            uid: self.uid,
            current_dir: &self.path("work"),
            system_dir: &self.path("etc"),
            log_is_terminal: self.uid == 0,
        })
    }

    fn load(&self) -> Result<Config, ConfigErrors> {
        self.load_from(None)
    }

    fn load_from(&self, file: Option<&Path>) -> Result<Config, ConfigErrors> {
        self.with_host(|host| Config::load(CommandLineOptions { config: file, socket: None }, host))
    }
}

fn messages(errors: &ConfigErrors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn without_a_file_the_defaults_of_the_user_apply() {
    let host = TestHost::new().set("XDG_RUNTIME_DIR", "/run/user/1000");
    let config = host.load().unwrap();
    assert_eq!(config.file, None);
    assert_eq!(config.server.socket, Path::new("/run/user/1000/masker/masker.sock"));
    assert_eq!((config.server.socket_mode, config.server.socket_group), (0o660, None));
    assert_eq!(config.vault.data_dir, host.path("home/.local/state/masker"));
    assert_eq!(config.audit.path, host.path("home/.local/state/masker-audit"));
    assert_eq!(config.vault.engine, None, "the vault in the data directory decides");
    assert_eq!(config.policy, PolicyConfig { path: host.path("etc/policies"), default: None });
    let keys = KeyConfig { grace_days: 30, grace_action: GraceAction::Warn, accept_second_tokens: BTreeSet::new() };
    assert_eq!(config.keys, keys);
    assert_eq!(config.sessions, SessionConfig { retention_days: 90 });
    assert_eq!(config.log, LogConfig { level: LogLevel::Info, format: LogFormat::Json });
    assert_eq!(config.access, AccessConfig::default());
}

#[test]
fn reads_clients_in_the_order_of_the_file() {
    let host = TestHost::new();
    let text = "[access]\nunlisted = [\"tokenize:PHONE\"]\napi_keys_per_workspace = 3\n\n[[clients]]\nname = \"billing\"\n\
                user = \"billing\"\ngroup = \"clerks\"\nscopes = [\"tokenize\", \"rehydrate:PHONE\"]\npolicies = [\"a\"]\n\
                contexts = [\"clinic-7\", \"clinic-7/*\"]\n\n[[clients]]\nname = \"any.unit\"\nuid = 7\ngid = 8\n\
                unit = \"web.service\"\nscopes = [\"*\"]\nlimits = \"standard\"\n\n[[clients]]\nname = \"slow\"\nuid = 9\n\
                scopes = []\n[clients.limits]\nvalues_per_second = 5\n";
    let file = host.write("work/masker.toml", text);
    let access = host.load().unwrap().access;
    assert_eq!(access.unlisted, Some(ScopeSet::parse(&["tokenize:PHONE"]).unwrap()));
    assert_eq!(access.api_keys_per_workspace, 3);
    let [billing, unit, slow] = access.clients.as_slice() else { panic!("{access:?}") };
    assert_eq!((billing.name.as_str(), billing.place.clone()), ("billing", format!("{}:5", file.display())));
    assert_eq!((billing.user.as_deref(), billing.uid), (Some("billing"), None));
    assert_eq!((billing.group.as_deref(), billing.gid, billing.unit.as_deref()), (Some("clerks"), None, None));
    assert_eq!(billing.grant.scopes.to_texts(), ["tokenize", "rehydrate:PHONE"]);
    assert!(billing.grant.allows_policy("a") && !billing.grant.allows_policy("b"));
    assert!(billing.grant.allows_context("clinic-7/x") && !billing.grant.allows_context(""));
    assert_eq!((unit.uid, unit.gid, unit.unit.as_deref()), (Some(7), Some(8), Some("web.service")));
    assert_eq!(unit.grant, Grant::all());
    assert_eq!((billing.limits, unit.limits), (Limits::none(), Limits::standard()));
    assert_eq!(slow.limits, Limits::new([(Limit::ValuesPerSecond, 5)]).unwrap());
    assert_eq!(Config::reload_access(&file).unwrap(), access);
}

#[test]
fn reports_every_error_of_clients_with_its_line() {
    let host = TestHost::new();
    let text = "[access]\nunlisted = [\"tokenise\"]\n[[clients]]\nname = \"Billing\"\nuid = 1\nscopes = [\"rehydrate:phone\"]\n\
                [[clients]]\nname = \"a\"\n[[clients]]\nname = \"a\"\nuid = 1\nscopes = []\nunit = \"web\"\nscope = 1\n\
                [[clients]]\nname = \"unlisted\"\nuid = 1\nscopes = []\n[clients.limits]\nvalues_burst = 5\nvalues_per_hour = 0\n";
    let file = host.write("work/masker.toml", text);
    let errors = messages(&host.load().unwrap_err());
    let texts: Vec<&str> = errors.iter().map(|error| error.strip_prefix(file.to_str().unwrap()).unwrap()).collect();
    for (line, part) in [
        (2, "did you mean `tokenize`?"),
        (4, "`name` must be a letter or digit"),
        (6, "`rehydrate:PHONE`"),
        (7, "the client needs `user`"),
        (7, "`scopes` is missing"),
        (9, "two clients `a`"),
        (13, "must end in .service"),
        (14, "unknown field `scope`"),
        (16, "choose another"),
        (19, "`values_burst` requires `values_per_second`"),
        (21, "`values_per_hour` in [clients.limits] must be a whole number"),
    ] {
        let found = texts.iter().any(|error| error.starts_with(&format!(":{line}: ")) && error.contains(part));
        assert!(found, "{line} {part}: {texts:#?}");
    }
    assert_eq!(texts.len(), 11, "{texts:#?}");
    assert!(Config::reload_access(&file).is_err());
    assert!(Config::reload_access(&host.path("work/absent.toml")).is_err());
}

#[test]
fn reads_shares_and_the_limits_of_unlisted_callers() {
    let host = TestHost::new();
    let client = |name: &str, share: &str| format!("[[clients]]\nname = \"{name}\"\nuid = 1\nscopes = []\n{share}");
    let text = [
        "[access.unlisted_limits]\nvalues_per_second = 5\n",
        &client("a", "[clients.share]\nguaranteed_percent = 20\nmax_percent = 40\n"),
        &client("b", "share = { max_percent = 1 }\n"),
        &client("c", ""),
    ]
    .concat();
    host.write("work/masker.toml", &text);
    let access = host.load().unwrap().access;
    assert_eq!(access.unlisted_limits, Limits::new([(Limit::ValuesPerSecond, 5)]).unwrap());
    let shares: Vec<Option<Share>> = access.clients.iter().map(|client| client.share).collect();
    let share = |guaranteed_percent, max_percent| Some(Share { guaranteed_percent, max_percent });
    assert_eq!(shares, [share(20, 40), share(0, 1), None]);

    let text = [
        "[access]\nunlisted_limits = \"fast\"\n",
        &client("a", "[clients.share]\nguaranteed_percent = 40\nmax_percent = 30\n"),
        &client("b", "[clients.share]\nguaranteed_percent = 51\nmax_percent = 0\nleast = 1\n"),
        &client("c", "share = { guaranteed_percent = 11 }\n"),
    ]
    .concat();
    host.write("work/masker.toml", &text);
    let errors = host.load().unwrap_err();
    assert_eq!(errors.iter().flat_map(|error| error.line).collect::<Vec<_>>(), [2, 7, 15, 16, 17, 18], "{errors:?}");
}

#[test]
fn root_has_other_defaults() {
    let mut host = TestHost::new().set("XDG_RUNTIME_DIR", "/run/user/0").set("XDG_STATE_HOME", "/root/state");
    host.uid = 0;
    let config = host.load().unwrap();
    assert_eq!(config.server.socket, Path::new("/run/masker/masker.sock"));
    assert_eq!(config.vault.data_dir, Path::new("/var/lib/masker"));
    assert_eq!(config.audit.path, Path::new("/var/log/masker"));
    assert_eq!(config.log.format, LogFormat::Pretty, "the log goes to a terminal here");
}

#[test]
fn each_data_directory_has_an_audit_log_of_its_own_beside_it() {
    let mut host = TestHost::new().set("MASKER_DATA_DIR", "/srv/a/vault");
    for uid in [0, 1_000] {
        host.uid = uid;
        assert_eq!(host.load().unwrap().audit.path, Path::new("/srv/a/vault-audit"));
    }
}

#[test]
fn uses_the_state_directory_also_for_the_socket_without_a_runtime_directory() {
    let config = TestHost::new().set("XDG_STATE_HOME", "/state").set("XDG_RUNTIME_DIR", "relative").load().unwrap();
    assert_eq!(config.vault.data_dir, Path::new("/state/masker"));
    assert_eq!(config.audit.path, Path::new("/state/masker-audit"));
    assert_eq!(config.server.socket, Path::new("/state/masker/masker.sock"));
}

#[test]
fn prefers_policies_in_the_working_directory() {
    let host = TestHost::new();
    fs::create_dir(host.path("work/policies")).unwrap();
    assert_eq!(host.load().unwrap().policy.path, host.path("work/policies"));
}

#[test]
fn searches_files_in_order() {
    let group = |group: &str| format!("[server]\nsocket_group = \"{group}\"\n");
    let found = |host: &TestHost, flag: Option<&Path>| host.load_from(flag).unwrap().server.socket_group.unwrap();
    let mut host = TestHost::new();
    host.write("etc/masker.toml", &group("host"));
    assert_eq!(found(&host, None), "host");
    host.write("home/.config/masker/config.toml", &group("home"));
    assert_eq!(found(&host, None), "home");
    host.write("work/masker.toml", &group("here"));
    assert_eq!(found(&host, None), "here");
    let variable = host.write("variable.toml", &group("variable"));
    host = host.set("MASKER_CONFIG", variable.clone());
    assert_eq!(found(&host, None), "variable");
    let flag = host.write("flag.toml", &group("flag"));
    assert_eq!(found(&host, Some(&flag)), "flag");
    assert_eq!(host.load().unwrap().file, Some(variable));
}

#[test]
fn a_named_file_must_exist() {
    let host = TestHost::new().set("MASKER_CONFIG", "nowhere.toml");
    let errors = host.load().unwrap_err();
    assert_eq!(messages(&errors), [format!("{}: there is no such file", host.path("work/nowhere.toml").display())]);
    let errors = host.load_from(Some(&host.path("work"))).unwrap_err();
    assert!(messages(&errors)[0].ends_with("is not a regular file"), "{errors}");
}

#[test]
fn paths_are_relative_to_the_file() {
    let host = TestHost::new();
    let file = host.write(
        "there/masker.toml",
        "[server]\nsocket = \"./run/s\"\n[vault]\ndata_dir = \"/data\"\n[policy]\npath = \"policies\"\ndefault = \"p\"\n",
    );
    let config = host.load_from(Some(&file)).unwrap();
    assert_eq!(config.server.socket, host.path("there/run/s"));
    assert_eq!(config.vault.data_dir, Path::new("/data"));
    assert_eq!(config.policy, PolicyConfig { path: host.path("there/policies"), default: Some("p".to_owned()) });
}

#[test]
fn variables_override_the_file() {
    let host = TestHost::new()
        .set("MASKER_SOCKET", "s")
        .set("MASKER_DATA_DIR", "/d")
        .set("MASKER_POLICY_PATH", "./p")
        .set("MASKER_VAULT_ENGINE", "fjall")
        .set("MASKER_KEY_ROTATION_GRACE_DAYS", "7")
        .set("MASKER_SESSION_METADATA_RETENTION_DAYS", "30")
        .set("MASKER_LOG_LEVEL", "debug")
        .set("MASKER_LOG_FORMAT", "pretty");
    host.write(
        "work/masker.toml",
        "[server]\nsocket = \"/x\"\nsocket_mode = \"0600\"\n[vault]\ndata_dir = \"/x\"\nengine = \"sled\"\ncache_mb = 64\nrow_cache_mb = 32\n[policy]\npath = \"/x\"\n\
         [keys]\ngrace_days = 9\ngrace_action = \"refuse\"\naccept_second_tokens = [\"K_B\", \"k_a\", \"K_A\"]\n[sessions]\nretention_days = 7\n\
         [log]\nlevel = \"error\"\nformat = \"json\"\n",
    );
    let config = host.load().unwrap();
    assert_eq!(config.server.socket, host.path("work/s"));
    assert_eq!(config.server.socket_mode, 0o600);
    assert_eq!(
        config.vault,
        VaultConfig { data_dir: "/d".into(), engine: Some(EngineKind::Fjall), cache_mb: 64, row_cache_mb: 32 }
    );
    assert_eq!(config.vault.cache_bytes(), 67_108_864);
    assert_eq!(config.policy.path, host.path("work/p"));
    assert_eq!((config.keys.grace_days, config.keys.grace_action), (7, GraceAction::Refuse));
    assert_eq!(config.sessions, SessionConfig { retention_days: 30 });
    let kids = ["K_A", "K_B"].into_iter().filter_map(Kid::parse).collect();
    assert_eq!(config.keys.accept_second_tokens, kids, "a key id may be in lower case, as in a policy");
    assert_eq!(config.log, LogConfig { level: LogLevel::Debug, format: LogFormat::Pretty });
}

#[test]
fn the_sandbox_is_enforced_unless_the_file_turns_it_off() {
    let host = TestHost::new();
    let enforced = SandboxConfig { landlock: true, seccomp: SeccompMode::Enforce };
    assert_eq!(host.load().unwrap().sandbox, enforced);
    for (text, expected) in [
        ("[sandbox]\n", enforced),
        ("[sandbox]\nlandlock = \"off\"\n", SandboxConfig { landlock: false, ..enforced }),
        ("[sandbox]\nseccomp = \"log\"\n", SandboxConfig { seccomp: SeccompMode::Log, ..enforced }),
        (
            "[sandbox]\nseccomp = \"off\"\nlandlock = \"enforce\"\n",
            SandboxConfig { seccomp: SeccompMode::Off, ..enforced },
        ),
    ] {
        host.write("work/masker.toml", text);
        assert_eq!(host.load().unwrap().sandbox, expected, "{text}");
    }
    host.write("work/masker.toml", "[sandbox]\nlandlock = false\nseccomp = \"never\"\nenabled = true\n");
    assert_eq!(host.load().unwrap_err().iter().flat_map(|error| error.line).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let host = TestHost::new().set("MASKER_SOCKET", "").set("MASKER_CONFIG", "").set("MASKER_LOG_LEVEL", "");
    assert_eq!(host.load(), TestHost { dir: host.dir, variables: host.variables[..1].to_vec(), uid: 1_000 }.load());
}

#[test]
fn reports_every_error_of_file_and_variables_at_once() {
    let host = TestHost::new()
        .set("MASKER_LOG_LEVEL", "loud")
        .set("MASKER_KEY_ROTATION_GRACE_DAYS", "3651")
        .set("MASKER_LOG_FORMAT", OsString::from_vec(vec![0xFF]))
        .set("MASKER_SOCKET", "s".repeat(108));
    let file = host.write(
        "work/masker.toml",
        r#"[server]
socket = "~/masker.sock"
socket_mode = 660
socket_grp = "masker"
[vault]
data_dir = ""
cache_mb = 1
[policies]
[keys]
grace_days = -1
grace_action = "delete"
accept_second_tokens = ["K_A",
  "K_A_OLD", "K-B"]
[log]
level = "verbose"
"#,
    );
    let errors = host.load().unwrap_err();
    let lines: Vec<usize> =
        errors.iter().filter(|f| f.place == file.display().to_string()).flat_map(|f| f.line).collect();
    assert_eq!(lines, [2, 3, 4, 6, 7, 8, 10, 11, 13, 13, 15]);
    let variables: Vec<&str> = errors.iter().filter(|f| f.line.is_none()).map(|f| f.place.as_str()).collect();
    assert_eq!(variables, ["MASKER_SOCKET", "MASKER_KEY_ROTATION_GRACE_DAYS", "MASKER_LOG_LEVEL", "MASKER_LOG_FORMAT"]);
    assert!(errors.to_string().contains("unknown field `policies`: did you mean `policy`?"), "{errors}");
    assert!(errors.to_string().contains("unknown field `socket_grp` in [server]: did you mean `socket_group`?"));
}

#[test]
fn a_socket_mode_lets_the_owner_connect_and_not_every_user() {
    let mode =
        |mode: &str| FileSettings::parse(&format!("[server]\nsocket_mode = \"{mode}\"\n"), Path::new("/masker.toml"));
    for (text, bits) in [("0660", 0o660), ("600", 0o600), ("0o640", 0o640), ("0770", 0o770), ("0664", 0o664)] {
        assert_eq!(mode(text).ok().and_then(|settings| settings.socket_mode), Some(bits), "{text}");
    }
    for text in ["0666", "0662", "0777", "0060", "0440", "", "0689", "+660", "rw-rw----", "1660", "06600"] {
        let problems = mode(text).err().unwrap_or_default();
        assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2], "{text}");
    }
}

#[test]
fn without_a_home_the_errors_name_the_settings() {
    let mut host = TestHost::new();
    host.variables.clear();
    let places: Vec<String> = host.load().unwrap_err().iter().map(|error| error.place.clone()).collect();
    assert_eq!(places, ["[server] socket", "[vault] data_dir"]);
}

#[test]
fn a_client_needs_only_the_socket() {
    let mut host = TestHost::new().set("MASKER_SOCKET", "/s");
    host.write("work/masker.toml", "not TOML");
    let socket = |host: &TestHost| {
        host.with_host(|environment| Config::find_socket_path(CommandLineOptions::default(), environment))
    };
    assert_eq!(socket(&host).unwrap(), Path::new("/s"));
    let options = CommandLineOptions { config: None, socket: Some(Path::new("flag")) };
    let flag = host.with_host(|environment| Config::find_socket_path(options, environment));
    assert_eq!(flag.unwrap(), host.path("work/flag"));
    host.variables.clear();
    assert!(socket(&host).is_err());
    host.write("work/masker.toml", "[server]\nsocket = \"/t\"\n");
    assert_eq!(socket(&host).unwrap(), Path::new("/t"));
}

const POLICY: &str = "version = 1\nkid = \"K\"\ntokenization = \"vault-deterministic\"\n[entities.A]\n";

#[test]
fn reads_policies_from_a_file_or_a_directory() {
    let host = TestHost::new();
    let file = host.write("p/b.toml", &format!("name = \"b\"\n{POLICY}"));
    assert_eq!(load_policies(&file, None).unwrap().default_name(), Some("b"));
    assert_eq!(load_policy(&file).unwrap().name, "b");
    host.write("p/a.toml", &format!("name = \"a\"\n{POLICY}"));
    for ignored in ["p/.a.toml", "p/readme.md", "p/toml", "p/dir.toml/x"] {
        host.write(ignored, "not a policy");
    }
    let set = load_policies(&host.path("p"), Some("b")).unwrap();
    assert_eq!(set.iter().map(|policy| policy.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(set.default_name(), Some("b"));
}

#[test]
fn reports_every_error_of_every_policy_at_once() {
    let host = TestHost::new();
    let bad = host.write("p/bad.toml", "name = 1\n[entities.A]\nnormalise = \"x\"\n");
    let bytes = host.path("p/bytes.toml");
    fs::write(&bytes, b"# fine\n# \xFF\n").unwrap();
    let large = host.write("p/large.toml", &" ".repeat(1_048_577));
    std::os::unix::fs::symlink("nowhere", host.path("p/link.toml")).unwrap();
    let errors = load_policies(&host.path("p"), None).unwrap_err();
    let seen: Vec<(String, Option<usize>)> = errors.iter().map(|error| (error.place.clone(), error.line)).collect();
    let at = |path: &Path, line| (path.display().to_string(), line);
    assert_eq!(seen.iter().filter(|(place, _)| *place == bad.display().to_string()).count(), 5, "{errors}");
    for expected in [at(&bad, Some(1)), at(&bad, Some(3)), at(&bytes, Some(2)), at(&large, None)] {
        assert!(seen.contains(&expected), "{expected:?} in {errors}");
    }
    assert!(seen.contains(&at(&host.path("p/link.toml"), None)));
}

#[test]
fn a_path_without_policies_is_an_error() {
    let host = TestHost::new();
    fs::create_dir(host.path("empty")).unwrap();
    let errors = load_policies(&host.path("empty"), None).unwrap_err();
    assert!(messages(&errors)[0].contains("there is no policy"), "{errors}");
    let errors = load_policies(&host.path("nowhere"), None).unwrap_err();
    assert!(messages(&errors)[0].contains("no such file or directory"), "{errors}");
}

#[test]
fn conflicting_policies_are_an_error() {
    let host = TestHost::new();
    host.write("p/a.toml", &format!("name = \"a\"\n{POLICY}"));
    host.write("p/b.toml", &format!("name = \"a\"\n{POLICY}"));
    let errors = load_policies(&host.path("p"), Some("c")).unwrap_err();
    assert_eq!(errors.iter().count(), 2);
    assert!(errors.to_string().contains("b.toml has the same name as"), "{errors}");
}

#[test]
fn sessions_are_kept_for_a_day_to_ten_years() {
    for (days, is_valid) in [("0", false), ("1", true), ("3650", true), ("3651", false), ("x", false)] {
        let host = TestHost::new().set("MASKER_SESSION_METADATA_RETENTION_DAYS", days);
        assert_eq!(host.load().is_ok(), is_valid, "{days}");
        let host = TestHost::new();
        host.write("work/masker.toml", &format!("[sessions]\nretention_days = {days}\n"));
        let config = host.load();
        assert_eq!(config.is_ok(), is_valid, "{days}");
        assert!(config.is_err() || config.unwrap().sessions.retention_days.to_string() == days);
    }
}

#[test]
fn a_file_in_the_working_directory_that_others_can_change_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let host = TestHost::new();
    let file = host.write("work/masker.toml", "[server]\nsocket = \"/t\"\n");
    let set = |path: &str, mode| fs::set_permissions(host.path(path), fs::Permissions::from_mode(mode)).unwrap();
    let is_refused = || {
        let refused = host.load().unwrap_err().to_string();
        assert!(refused.contains("work/masker.toml") && refused.contains("--config"), "{refused}");
    };
    set("work/masker.toml", 0o666);
    is_refused();
    // Who names it trusts it.
    host.load_from(Some(&file)).unwrap();
    set("work/masker.toml", 0o644);
    host.load().unwrap();
    // In a directory of others, a link can lead to a file of this user.
    set("work", 0o777);
    is_refused();
    set("work", 0o755);
    set("", 0o777);
    is_refused();
    // Nobody else can replace the directory there.
    set("", 0o1777);
    host.load().unwrap();
}

#[test]
fn policies_in_the_working_directory_that_others_can_change_are_not_used() {
    use std::os::unix::fs::PermissionsExt;

    let host = TestHost::new();
    host.write("work/policies/a.toml", "");
    assert_eq!(host.load().unwrap().policy.path, host.path("work/policies"));
    fs::set_permissions(host.path("work/policies"), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(host.load().unwrap().policy.path, host.path("etc/policies"));
}
