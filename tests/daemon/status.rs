//! `masker status` and `masker doctor` with a real daemon, on a terminal and without one.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use nix::{
    pty::{Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{Termios, tcgetattr},
    },
    unistd::Pid,
};
use serde_json::{Value, json};

use super::harness::{Client, Daemon, LIMIT, Launch, OpenDaemon, Site, TestKey, is_root};

fn launch(site: &Site) -> Launch<'_> {
    site.launch().care_keys().env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64())
}

/// Runs a command without a terminal.
fn masker(socket: &std::path::Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
    command.args(words).arg("--socket").arg(socket).env_clear().current_dir("/").stdin(Stdio::null());
    command.output().expect("masker can be run")
}

/// A thread that repeats an action until it is dropped.
struct Busy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    /// Starts to tokenize.
    fn start(daemon: &Daemon) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut client, stopped) = (daemon.client(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                client.token("PHONE", &format!("415-555-{count:04}"));
                count += 1;
            }
        });
        Busy { stop, thread: Some(thread) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

/// The contents of a terminal, as far as the live view writes to one: text, cursor movements, erasing.
#[derive(Default)]
struct Display {
    rows: Vec<Vec<char>>,
    at: (usize, usize),
    /// All bytes that were received.
    bytes: Vec<u8>,
    /// The text that was processed.
    seen: String,
    ended: bool,
}

impl Display {
    fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // A character may arrive in parts: wait until it is complete.
        let all = String::from_utf8_lossy(&self.bytes).into_owned();
        let text = all.trim_end_matches('\u{fffd}');
        let fresh = text[self.seen.len().min(text.len())..].to_owned();
        let mut rest = &*fresh;
        while let Some(first) = rest.chars().next() {
            if let Some(sequence) = rest.strip_prefix("\x1b[") {
                let Some(end) = sequence.find(|c: char| c.is_ascii_alphabetic()) else { break };
                self.control(&sequence[..end], sequence.as_bytes()[end]);
                rest = &sequence[end + 1..];
                continue;
            }
            if rest == "\x1b" {
                break;
            }
            rest = &rest[first.len_utf8()..];
            if !first.is_control() {
                let (row, column) = self.at;
                self.cell(row, column, first);
                self.at.1 += 1;
            }
        }
        self.seen = text[..text.len() - rest.len()].to_owned();
    }

    fn control(&mut self, numbers: &str, letter: u8) {
        let number = |place| numbers.split(';').nth(place).and_then(|text| text.parse().ok()).unwrap_or(1usize) - 1;
        match letter {
            b'H' => self.at = (number(0), number(1)),
            b'J' => self.rows.clear(),
            _ => {}
        }
    }

    fn cell(&mut self, row: usize, column: usize, character: char) {
        if self.rows.len() <= row {
            self.rows.resize(row + 1, Vec::new());
        }
        let row = &mut self.rows[row];
        if row.len() <= column {
            row.resize(column + 1, ' ');
        }
        row[column] = character;
    }

    fn text(&self) -> String {
        self.rows.iter().map(|row| row.iter().collect::<String>()).collect::<Vec<_>>().join("\n")
    }
}

/// `masker status` on its own terminal.
struct Screen {
    child: Child,
    keyboard: File,
    slave: File,
    before: Termios,
    display: Arc<(Mutex<Display>, Condvar)>,
}

impl Screen {
    fn open(socket: &std::path::Path) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("a terminal");
        let before = tcgetattr(&pair.slave).expect("its settings");
        let slave = || Stdio::from(pair.slave.try_clone().expect("another descriptor"));
        // The terminal must be that of the session; otherwise it would have the size of the terminal that runs the
        // tests.
        let mut command = Command::new("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_masker"), "status", "--socket"]).arg(socket);
        command.env_clear().env("TERM", "xterm-256color").env("PATH", "/usr/bin:/bin").current_dir("/");
        let child = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().expect("setsid of util-linux");
        let mut master = File::from(pair.master);
        let display = Arc::new((Mutex::new(Display::default()), Condvar::new()));
        let (shown, keyboard) = (Arc::clone(&display), master.try_clone().expect("another descriptor"));
        thread::spawn(move || {
            let mut buffer = [0; 65_536];
            loop {
                let read = match master.read(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    read => read.unwrap_or(0),
                };
                let mut display = shown.0.lock().unwrap();
                display.take(&buffer[..read]);
                display.ended = read == 0;
                shown.1.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        Screen { child, keyboard, slave: File::from(pair.slave), before, display }
    }

    /// Waits until the screen is right, and returns it.
    fn wait_until(&self, what: &str, is_right: impl Fn(&str) -> bool) -> String {
        let (display, changed) = &*self.display;
        let started = Instant::now();
        let mut display = display.lock().unwrap();
        while !is_right(&display.text()) {
            let left = LIMIT.saturating_sub(started.elapsed());
            assert!(!left.is_zero() && !display.ended, "{what} is not shown:\n{}", display.text());
            display = changed.wait_timeout(display, left).unwrap().0;
        }
        display.text()
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for the end, and checks that the terminal is restored.
    fn expect_restored(mut self) {
        let status = self.child.wait().unwrap();
        let shown = self.display.0.lock().unwrap().text();
        assert_eq!(status.code(), Some(0), "{shown}");
        // Without the speed, which systems encode in two equivalent ways.
        let settings = |of: &Termios| (of.input_flags, of.output_flags, of.local_flags, of.control_chars);
        let after = tcgetattr(&self.slave).unwrap();
        assert_eq!(settings(&after), settings(&self.before), "the terminal's settings");
        let (display, changed) = &*self.display;
        // The last bytes may still be in transit.
        let pending = |display: &mut Display| !display.bytes.ends_with(b"\x1b[?25h") && !display.ended;
        let (display, _) = changed.wait_timeout_while(display.lock().unwrap(), LIMIT, pending).unwrap();
        let text = String::from_utf8_lossy(&display.bytes);
        let (left, entered) = (text.rfind("\x1b[?1049l"), text.rfind("\x1b[?1049h"));
        assert!(entered.is_some() && left > entered, "the other screen was left: {text:?}");
        assert!(text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l"), "the cursor is shown");
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Both fail if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the rate of successful answers of a route, as the view shows it.
fn rate_of(route: &str, shown: &str) -> Option<f64> {
    let line = shown.lines().find_map(|line| line.strip_prefix('│')?.strip_prefix(route))?;
    line.split_whitespace().next()?.replace(',', "").parse().ok()
}

#[test]
fn the_live_view_shows_rates_and_restores_the_terminal() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let busy = Busy::start(&daemon);
    let mut screen = Screen::open(&site.socket());
    let shown = screen.wait_until("a rate", |shown| rate_of("tokenize", shown).is_some_and(|rate| rate > 0.0));
    for part in ["masker 0.", "ok", "Requests (", "Vault", "fjall", "Audit log", "Rotation", "K_CARE", "trusted"] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    assert!(shown.lines().count() <= 24 && shown.lines().all(|line| line.chars().count() <= 80), "{shown}");

    // Resize the terminal, as a window manager does.
    let resized =
        Command::new("stty").args(["rows", "40", "cols", "120"]).stdin(screen.slave.try_clone().unwrap()).status();
    assert!(resized.unwrap().success());
    screen.wait_until("the whole width", |shown| {
        shown.lines().any(|line| line.starts_with('┌') && line.chars().count() == 120)
    });

    drop(busy);
    daemon.stop();
    screen.wait_until("that the daemon is gone", |shown| shown.contains("no response") && shown.contains("retrying"));
    let daemon = launch(&site).start();
    screen.wait_until("that it is back", |shown| !shown.contains("retrying") && shown.contains("ok  up"));
    screen.press(b"q");
    screen.expect_restored();
    daemon.stop();
}

#[test]
fn an_interrupt_and_a_signal_restore_the_terminal() {
    let site = Site::new();
    let daemon = launch(&site).start();
    for end in ["\x03", "\x1b", "SIGTERM"] {
        let mut screen = Screen::open(&site.socket());
        screen.wait_until("the view", |shown| shown.contains("quit"));
        match end {
            "SIGTERM" => screen.signal(Signal::SIGTERM),
            key => screen.press(key.as_bytes()),
        }
        screen.expect_restored();
    }
    daemon.stop();
}

#[test]
fn status_is_one_line_without_a_terminal() {
    let site = Site::new();
    let daemon = launch(&site).start();
    daemon.client().token("PHONE", "415-555-2671");
    let output = masker(&site.socket(), &["status"]);
    let line = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), line.lines().count()), (Some(0), 1), "{line}");
    assert!(
        line.starts_with("ok, masker 0.") && line.contains("1 records in ") && line.contains("audit log at "),
        "{line}"
    );
    let output = masker(&site.socket(), &["status", "--json"]);
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&seen["status"], &seen["vault"]["records"]), (&"ok".into(), &1.into()));
    assert_eq!(seen["requests_per_second"], 0.0, "its own requests are left out: {seen}");
    assert_eq!(seen["audit"]["hash"].as_str().map(str::len), Some(64));
    assert!(seen["vault"]["free_bytes"].as_u64().is_some_and(|free| free > 0));
    assert_eq!(seen["callers"][0]["name"], "trusted");
    daemon.stop();
    assert_eq!(masker(&site.socket(), &["status"]).status.code(), Some(5));
}

#[test]
fn status_omits_parts_without_the_scope() {
    if !is_root("being another user") {
        return;
    }
    let mut site = Site::new();
    let own = nix::unistd::geteuid();
    site.client(&format!("name = \"watcher\"\nuid = {own}\nscopes = [\"metrics:read\"]"));
    let daemon = OpenDaemon::start(&site);
    let output = masker(daemon.socket(), &["status", "--json"]);
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(seen["keys"]["withheld"], "needs keys:read");
    assert_eq!(seen["rotation"]["withheld"], "needs vault:read");
    assert!(seen["traffic"]["total"].is_object());
    assert_eq!(seen["callers"][0]["name"], "watcher");
}

#[test]
fn reading_the_audit_head_leaves_no_event() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let mut client = daemon.client();
    client.token("PHONE", "415-555-2671");
    let first = client.get("/api/v1/audit/head").ok();
    assert_eq!(first["hash"].as_str().map(str::len), Some(64), "{first}");
    let last = client.metric("masker_audit_last_sequence");
    client.get("/api/v1/audit/head").ok();
    assert_eq!(client.metric("masker_audit_last_sequence"), last);
    assert!(client.metric("masker_audit_last_event_timestamp_seconds").is_some_and(|at| at > 1.7e9));
    daemon.stop();
    std::fs::rename(site.path("audit"), site.path("aside")).unwrap();
    let daemon = site.launch().care_keys().start();
    daemon.client().get("/api/v1/audit/head").problem(503, "audit.unavailable");
    daemon.stop();
}

#[test]
fn a_refused_part_of_the_view_is_not_asked_for_each_second() {
    let site = Site::new();
    // Without an audit log, there is no head.
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    let mut screen = Screen::open(&site.socket());
    let samples = |client: &mut Client| client.metric(r#"masker_requests_total{route="/health",status="200"}"#);
    let deadline = Instant::now() + LIMIT;
    while samples(&mut client).unwrap_or_default() < 4.0 {
        assert!(Instant::now() < deadline, "the view takes samples");
    }
    let heads = client.metric(r#"masker_requests_total{route="/api/v1/audit/head",status="503"}"#);
    assert_eq!(heads, Some(1.0));
    screen.press(b"q");
    screen.expect_restored();
    daemon.stop();
}

#[test]
fn completions_ask_the_daemon() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let request = json!({"name": "billing", "scopes": ["tokenize"], "limits": "none"});
    let issued = daemon.client().post("/api/v1/api-keys", &request).json();
    let complete = |words: &[&str]| -> Vec<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
        command.args(["--", "masker"]).args(words).arg("").env_clear().current_dir("/").stdin(Stdio::null());
        command.env("MASKER_COMPLETE", "fish").env("MASKER_SOCKET", site.socket());
        let output = command.output().expect("masker can be run");
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    };
    let kinds = complete(&["tokenize", "--kind"]);
    assert!(["PHONE", "CARD"].iter().all(|kind| kinds.iter().any(|word| word == kind)), "{kinds:?}");
    let kids = complete(&["vault", "rotate-key", "--new-kid"]);
    assert_eq!(kids, ["K_CARE", "K_PAY"]);
    assert_eq!(complete(&["text", "mask", "--policy"]), ["care"]);
    let scopes = complete(&["api-keys", "create", "--scope"]);
    for scope in ["text:mask", "text:restore", "text:detect", "rehydrate"] {
        assert!(scopes.iter().any(|word| word.starts_with(&format!("{scope}\t"))), "{scopes:?}");
    }
    let id = issued["api_key"]["id"].as_str().unwrap();
    let ids = complete(&["api-keys", "revoke"]);
    assert!(ids.iter().any(|word| *word == format!("{id}\tbilling, active")), "{ids:?}");
    daemon.stop();
    // Without a daemon, the program's own words remain.
    assert!(complete(&["tokenize", "--kind"]).is_empty());
    assert!(complete(&["api-keys"]).iter().any(|word| word.starts_with("revoke")));
}

#[test]
fn doctor_asks_a_running_daemon() {
    let site = Site::new();
    let daemon = launch(&site).start();
    let doctor = || {
        let config = site.path("masker.toml");
        let output = masker(&site.socket(), &["doctor", "--json", "--config", config.to_str().unwrap()]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let of = |id: &str| -> Vec<Value> {
            report["checks"].as_array().unwrap().iter().filter(|check| check["id"] == id).cloned().collect()
        };
        (
            output.status.code(),
            ["daemon.health", "daemon.version", "daemon.keys", "daemon.counters", "policies.keys"].map(of),
        )
    };
    let (_, checks) = doctor();
    for check in &checks {
        assert!(check.len() == 1 && check[0]["status"] == "ok", "{checks:#?}");
    }
    // A rejected reload: the previous policies stay in force, and the daemon reports it.
    let policy = site.path("policies/care.toml");
    std::fs::write(&policy, "name = 1\n").unwrap();
    daemon.reload();
    let (code, [health, ..]) = doctor();
    assert_eq!((code, &health[0]["status"]), (Some(1), &"error".into()), "{health:#?}");
    assert!(health[0]["found"].as_str().unwrap().starts_with("policies: the last reload was refused"), "{health:#?}");
    daemon.stop();
}

#[test]
fn doctor_reports_the_parts_of_the_sandbox() {
    const PARTS: [&str; 7] =
        ["core dumps", "tracing", "new privileges", "key memory", "landlock", "capabilities", "seccomp"];
    let mut site = Site::new();
    for mode in ["enforce", "log"] {
        site.set("sandbox", "seccomp", format!("{mode:?}"));
        let daemon = site.launch().care_keys().start();
        let closed = daemon.log().wait_for(1, "the sandbox is closed").remove(0);
        let said = PARTS.map(|part| format!("{part}: {}", closed[part.replace(' ', "_")].as_str().unwrap()));

        let config = site.path("masker.toml");
        let output = masker(&site.socket(), &["doctor", "--json", "--config", config.to_str().unwrap()]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut reported = Vec::new();
        for check in report["checks"].as_array().unwrap().iter().filter(|check| check["id"] == "daemon.sandbox") {
            let found = check["found"].as_str().unwrap();
            let idle = ["degraded", "off", "logged"].iter().any(|word| found.ends_with(word));
            assert_eq!(check["status"], if idle { "warning" } else { "ok" }, "{check}");
            assert_eq!(check["remedy"].is_string(), idle, "{check}");
            reported.push(found.to_owned());
        }
        reported.sort_by_key(|reported| PARTS.iter().position(|part| reported.starts_with(part)));
        assert_eq!(reported, said);
        daemon.stop();
    }
}
