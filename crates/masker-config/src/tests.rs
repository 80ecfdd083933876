use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt};

use tempfile::TempDir;

use super::*;
use masker_types::grant::{Grant, Limit, Limits, ScopeSet};

/// A working directory, a home, and an environment in which HOME is set.
struct Place {
    dir: TempDir,
    variables: Vec<(OsString, OsString)>,
    uid: u32,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("work")).unwrap();
        let home = dir.path().join("home").into_os_string();
        Place { dir, variables: vec![("HOME".into(), home)], uid: 1_000 }
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
        self.with_host(|host| Config::load(Flags { config: file, socket: None }, host))
    }
}

fn messages(faults: &ConfigErrors) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn without_a_file_there_are_defaults_for_the_user() {
    let place = Place::new().set("XDG_RUNTIME_DIR", "/run/user/1000");
    let config = place.load().unwrap();
    assert_eq!(config.file, None);
    assert_eq!(config.server.socket, Path::new("/run/user/1000/masker/masker.sock"));
    assert_eq!((config.server.socket_mode, config.server.socket_group), (0o660, None));
    assert_eq!(config.vault.data_dir, place.path("home/.local/state/masker"));
    assert_eq!(config.policy, PolicyConfig { path: place.path("etc/policies"), default: None });
    let keys = KeyConfig { grace_days: 30, grace_action: GraceAction::Warn, accept_second_tokens: BTreeSet::new() };
    assert_eq!(config.keys, keys);
    assert_eq!(config.sessions, SessionConfig { retention_days: 90 });
    assert_eq!(config.log, LogConfig { level: LogLevel::Info, format: LogFormat::Json });
    assert_eq!(config.access, AccessConfig::default());
}

#[test]
fn clients_are_read_in_the_order_of_the_file() {
    let place = Place::new();
    let text = "[access]\nunlisted = [\"tokenize:PHONE\"]\napi_keys_per_workspace = 3\n\n[[clients]]\nname = \"billing\"\n\
                user = \"billing\"\ngroup = \"clerks\"\nscopes = [\"tokenize\", \"rehydrate:PHONE\"]\npolicies = [\"a\"]\n\
                contexts = [\"clinic-7\", \"clinic-7/*\"]\n\n[[clients]]\nname = \"any.unit\"\nuid = 7\ngid = 8\n\
                unit = \"web.service\"\nscopes = [\"*\"]\nlimits = \"standard\"\n\n[[clients]]\nname = \"slow\"\nuid = 9\n\
                scopes = []\n[clients.limits]\nvalues_per_second = 5\n";
    let file = place.write("work/masker.toml", text);
    let access = place.load().unwrap().access;
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
fn every_problem_of_clients_is_reported_with_its_line() {
    let place = Place::new();
    let text = "[access]\nunlisted = [\"tokenise\"]\n[[clients]]\nname = \"Billing\"\nuid = 1\nscopes = [\"rehydrate:phone\"]\n\
                [[clients]]\nname = \"a\"\n[[clients]]\nname = \"a\"\nuid = 1\nscopes = []\nunit = \"web\"\nscope = 1\n\
                [[clients]]\nname = \"unlisted\"\nuid = 1\nscopes = []\n[clients.limits]\nvalues_burst = 5\nvalues_per_hour = 0\n";
    let file = place.write("work/masker.toml", text);
    let faults = messages(&place.load().unwrap_err());
    let told: Vec<&str> = faults.iter().map(|fault| fault.strip_prefix(file.to_str().unwrap()).unwrap()).collect();
    for (line, part) in [
        (2, "did you mean `tokenize`?"),
        (4, "`name` must be a letter or digit"),
        (6, "`rehydrate:PHONE`"),
        (7, "say who it is"),
        (7, "`scopes` is missing"),
        (9, "two clients `a`"),
        (13, "ends in .service"),
        (14, "unknown field `scope`"),
        (16, "choose another"),
        (19, "`values_burst` requires `values_per_second`"),
        (21, "`values_per_hour` in [clients.limits] must be a whole number"),
    ] {
        let found = told.iter().any(|fault| fault.starts_with(&format!(":{line}: ")) && fault.contains(part));
        assert!(found, "{line} {part}: {told:#?}");
    }
    assert_eq!(told.len(), 11, "{told:#?}");
    assert!(Config::reload_access(&file).is_err());
    assert!(Config::reload_access(&place.path("work/absent.toml")).is_err());
}

#[test]
fn root_has_defaults_of_its_own() {
    let mut place = Place::new().set("XDG_RUNTIME_DIR", "/run/user/0").set("XDG_STATE_HOME", "/root/state");
    place.uid = 0;
    let config = place.load().unwrap();
    assert_eq!(config.server.socket, Path::new("/run/masker/masker.sock"));
    assert_eq!(config.vault.data_dir, Path::new("/var/lib/masker"));
    assert_eq!(config.log.format, LogFormat::Pretty, "the log goes to a terminal here");
}

#[test]
fn state_goes_where_the_user_wants_it_and_the_socket_too_without_a_runtime_directory() {
    let config = Place::new().set("XDG_STATE_HOME", "/state").set("XDG_RUNTIME_DIR", "relative").load().unwrap();
    assert_eq!(config.vault.data_dir, Path::new("/state/masker"));
    assert_eq!(config.server.socket, Path::new("/state/masker/masker.sock"));
}

#[test]
fn policies_beside_the_working_directory_are_the_default() {
    let place = Place::new();
    fs::create_dir(place.path("work/policies")).unwrap();
    assert_eq!(place.load().unwrap().policy.path, place.path("work/policies"));
}

#[test]
fn files_are_found_in_order() {
    let group = |group: &str| format!("[server]\nsocket_group = \"{group}\"\n");
    let found = |place: &Place, flag: Option<&Path>| place.load_from(flag).unwrap().server.socket_group.unwrap();
    let mut place = Place::new();
    place.write("etc/masker.toml", &group("host"));
    assert_eq!(found(&place, None), "host");
    place.write("home/.config/masker/config.toml", &group("home"));
    assert_eq!(found(&place, None), "home");
    place.write("work/masker.toml", &group("here"));
    assert_eq!(found(&place, None), "here");
    let variable = place.write("variable.toml", &group("variable"));
    place = place.set("MASKER_CONFIG", variable.clone());
    assert_eq!(found(&place, None), "variable");
    let flag = place.write("flag.toml", &group("flag"));
    assert_eq!(found(&place, Some(&flag)), "flag");
    assert_eq!(place.load().unwrap().file, Some(variable));
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let place = Place::new().set("MASKER_CONFIG", "nowhere.toml");
    let faults = place.load().unwrap_err();
    assert_eq!(messages(&faults), [format!("{}: there is no such file", place.path("work/nowhere.toml").display())]);
    let faults = place.load_from(Some(&place.path("work"))).unwrap_err();
    assert!(messages(&faults)[0].ends_with("is not a regular file"), "{faults}");
}

#[test]
fn relative_paths_start_at_the_file() {
    let place = Place::new();
    let file = place.write(
        "there/masker.toml",
        "[server]\nsocket = \"./run/s\"\n[vault]\ndata_dir = \"/data\"\n[policy]\npath = \"policies\"\ndefault = \"p\"\n",
    );
    let config = place.load_from(Some(&file)).unwrap();
    assert_eq!(config.server.socket, place.path("there/run/s"));
    assert_eq!(config.vault.data_dir, Path::new("/data"));
    assert_eq!(config.policy, PolicyConfig { path: place.path("there/policies"), default: Some("p".to_owned()) });
}

#[test]
fn variables_count_before_the_file() {
    let place = Place::new()
        .set("MASKER_SOCKET", "s")
        .set("MASKER_DATA_DIR", "/d")
        .set("MASKER_POLICY_PATH", "./p")
        .set("MASKER_VAULT_ENGINE", "fjall")
        .set("MASKER_KEY_ROTATION_GRACE_DAYS", "7")
        .set("MASKER_SESSION_METADATA_RETENTION_DAYS", "30")
        .set("MASKER_LOG_LEVEL", "debug")
        .set("MASKER_LOG_FORMAT", "pretty");
    place.write(
        "work/masker.toml",
        "[server]\nsocket = \"/x\"\nsocket_mode = \"0600\"\n[vault]\ndata_dir = \"/x\"\nengine = \"sled\"\ncache_mb = 64\nrow_cache_mb = 32\n[policy]\npath = \"/x\"\n\
         [keys]\ngrace_days = 9\ngrace_action = \"refuse\"\naccept_second_tokens = [\"K_B\", \"k_a\", \"K_A\"]\n[sessions]\nretention_days = 7\n\
         [log]\nlevel = \"error\"\nformat = \"json\"\n",
    );
    let config = place.load().unwrap();
    assert_eq!(config.server.socket, place.path("work/s"));
    assert_eq!(config.server.socket_mode, 0o600);
    assert_eq!(
        config.vault,
        VaultConfig { data_dir: "/d".into(), engine: Some(EngineKind::Fjall), cache_mb: 64, row_cache_mb: 32 }
    );
    assert_eq!(config.vault.cache_bytes(), 67_108_864);
    assert_eq!(config.policy.path, place.path("work/p"));
    assert_eq!((config.keys.grace_days, config.keys.grace_action), (7, GraceAction::Refuse));
    assert_eq!(config.sessions, SessionConfig { retention_days: 30 });
    let kids = ["K_A", "K_B"].into_iter().filter_map(Kid::parse).collect();
    assert_eq!(config.keys.accept_second_tokens, kids, "a kid may be written in lower case, as in a policy");
    assert_eq!(config.log, LogConfig { level: LogLevel::Debug, format: LogFormat::Pretty });
}

#[test]
fn the_sandbox_is_closed_unless_the_file_says_otherwise() {
    let place = Place::new();
    let closed = SandboxConfig { landlock: true, seccomp: SeccompMode::Enforce };
    assert_eq!(place.load().unwrap().sandbox, closed);
    for (text, expected) in [
        ("[sandbox]\n", closed),
        ("[sandbox]\nlandlock = \"off\"\n", SandboxConfig { landlock: false, ..closed }),
        ("[sandbox]\nseccomp = \"log\"\n", SandboxConfig { seccomp: SeccompMode::Log, ..closed }),
        (
            "[sandbox]\nseccomp = \"off\"\nlandlock = \"enforce\"\n",
            SandboxConfig { seccomp: SeccompMode::Off, ..closed },
        ),
    ] {
        place.write("work/masker.toml", text);
        assert_eq!(place.load().unwrap().sandbox, expected, "{text}");
    }
    place.write("work/masker.toml", "[sandbox]\nlandlock = false\nseccomp = \"never\"\nenabled = true\n");
    assert_eq!(place.load().unwrap_err().iter().flat_map(|fault| fault.line).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn an_empty_variable_counts_as_absent() {
    let place = Place::new().set("MASKER_SOCKET", "").set("MASKER_CONFIG", "").set("MASKER_LOG_LEVEL", "");
    assert_eq!(place.load(), Place { dir: place.dir, variables: place.variables[..1].to_vec(), uid: 1_000 }.load());
}

#[test]
fn every_error_of_file_and_variables_is_reported_at_once() {
    let place = Place::new()
        .set("MASKER_LOG_LEVEL", "loud")
        .set("MASKER_KEY_ROTATION_GRACE_DAYS", "3651")
        .set("MASKER_LOG_FORMAT", OsString::from_vec(vec![0xFF]))
        .set("MASKER_SOCKET", "s".repeat(108));
    let file = place.write(
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
    let faults = place.load().unwrap_err();
    let lines: Vec<usize> =
        faults.iter().filter(|f| f.place == file.display().to_string()).flat_map(|f| f.line).collect();
    assert_eq!(lines, [2, 3, 4, 6, 7, 8, 10, 11, 13, 13, 15]);
    let variables: Vec<&str> = faults.iter().filter(|f| f.line.is_none()).map(|f| f.place.as_str()).collect();
    assert_eq!(variables, ["MASKER_SOCKET", "MASKER_KEY_ROTATION_GRACE_DAYS", "MASKER_LOG_LEVEL", "MASKER_LOG_FORMAT"]);
    assert!(faults.to_string().contains("unknown field `policies`: did you mean `policy`?"), "{faults}");
    assert!(faults.to_string().contains("unknown field `socket_grp` in [server]: did you mean `socket_group`?"));
}

#[test]
fn a_socket_mode_lets_the_owner_in_and_not_everybody() {
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
fn a_user_without_a_home_is_told_what_to_set() {
    let mut place = Place::new();
    place.variables.clear();
    let places: Vec<String> = place.load().unwrap_err().iter().map(|fault| fault.place.clone()).collect();
    assert_eq!(places, ["[server] socket", "[vault] data_dir"]);
}

#[test]
fn a_client_needs_the_socket_alone() {
    let mut place = Place::new().set("MASKER_SOCKET", "/s");
    place.write("work/masker.toml", "not TOML");
    let socket = |place: &Place| place.with_host(|host| Config::load_socket(Flags::default(), host));
    assert_eq!(socket(&place).unwrap(), Path::new("/s"));
    let flags = Flags { config: None, socket: Some(Path::new("flag")) };
    let flag = place.with_host(|host| Config::load_socket(flags, host));
    assert_eq!(flag.unwrap(), place.path("work/flag"));
    place.variables.clear();
    assert!(socket(&place).is_err());
    place.write("work/masker.toml", "[server]\nsocket = \"/t\"\n");
    assert_eq!(socket(&place).unwrap(), Path::new("/t"));
}

const POLICY: &str = "version = 1\nkid = \"K\"\ntokenization = \"vault-deterministic\"\n[entities.A]\n";

#[test]
fn policies_come_from_a_file_or_a_directory() {
    let place = Place::new();
    let file = place.write("p/b.toml", &format!("name = \"b\"\n{POLICY}"));
    assert_eq!(load_policies(&file, None).unwrap().default_name(), Some("b"));
    assert_eq!(load_policy(&file).unwrap().name, "b");
    place.write("p/a.toml", &format!("name = \"a\"\n{POLICY}"));
    for ignored in ["p/.a.toml", "p/readme.md", "p/toml", "p/dir.toml/x"] {
        place.write(ignored, "not a policy");
    }
    let set = load_policies(&place.path("p"), Some("b")).unwrap();
    assert_eq!(set.iter().map(|policy| policy.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(set.default_name(), Some("b"));
}

#[test]
fn every_problem_of_every_policy_is_reported_at_once() {
    let place = Place::new();
    let bad = place.write("p/bad.toml", "name = 1\n[entities.A]\nnormalise = \"x\"\n");
    let bytes = place.path("p/bytes.toml");
    fs::write(&bytes, b"# fine\n# \xFF\n").unwrap();
    let large = place.write("p/large.toml", &" ".repeat(1_048_577));
    std::os::unix::fs::symlink("nowhere", place.path("p/link.toml")).unwrap();
    let faults = load_policies(&place.path("p"), None).unwrap_err();
    let seen: Vec<(String, Option<usize>)> = faults.iter().map(|fault| (fault.place.clone(), fault.line)).collect();
    let at = |path: &Path, line| (path.display().to_string(), line);
    assert_eq!(seen.iter().filter(|(place, _)| *place == bad.display().to_string()).count(), 5, "{faults}");
    for expected in [at(&bad, Some(1)), at(&bad, Some(3)), at(&bytes, Some(2)), at(&large, None)] {
        assert!(seen.contains(&expected), "{expected:?} in {faults}");
    }
    assert!(seen.contains(&at(&place.path("p/link.toml"), None)));
}

#[test]
fn a_place_without_policies_is_an_error() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    let faults = load_policies(&place.path("empty"), None).unwrap_err();
    assert!(messages(&faults)[0].contains("there is no policy"), "{faults}");
    let faults = load_policies(&place.path("nowhere"), None).unwrap_err();
    assert!(messages(&faults)[0].contains("no such file or directory"), "{faults}");
}

#[test]
fn policies_that_cannot_be_together_are_an_error() {
    let place = Place::new();
    place.write("p/a.toml", &format!("name = \"a\"\n{POLICY}"));
    place.write("p/b.toml", &format!("name = \"a\"\n{POLICY}"));
    let faults = load_policies(&place.path("p"), Some("c")).unwrap_err();
    assert_eq!(faults.iter().count(), 2);
    assert!(faults.to_string().contains("b.toml has the same name as"), "{faults}");
}

#[test]
fn sessions_are_remembered_for_a_day_to_ten_years() {
    for (days, is_right) in [("0", false), ("1", true), ("3650", true), ("3651", false), ("x", false)] {
        let place = Place::new().set("MASKER_SESSION_METADATA_RETENTION_DAYS", days);
        assert_eq!(place.load().is_ok(), is_right, "{days}");
        let place = Place::new();
        place.write("work/masker.toml", &format!("[sessions]\nretention_days = {days}\n"));
        let config = place.load();
        assert_eq!(config.is_ok(), is_right, "{days}");
        assert!(config.is_err() || config.unwrap().sessions.retention_days.to_string() == days);
    }
}
