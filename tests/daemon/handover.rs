//! A listening socket that is handed from daemon to daemon, as systemd does on a restart: clients see a pause and no
//! error.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, ErrorKind, Read},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use super::harness::{Client, Daemon, LIMIT, Response, Site, TestKey, item, request};

/// Clients of each kind.
const CLIENTS: u64 = 4;
/// How often the socket changes hands.
const ROUNDS: usize = 6;
/// Answers between two changes.
const ANSWERS: usize = 150;

/// Returns a site, and a socket that outlives its daemons.
fn activated() -> (Site, UnixListener, PathBuf) {
    let site = Site::new();
    let path = site.path("handed.sock");
    let listener = UnixListener::bind(&path).unwrap();
    (site, listener, path)
}

fn start(site: &Site, listener: &UnixListener) -> Daemon {
    site.launch().care_keys().handed_over(listener).start()
}

/// Returns the request that mints the token of a number.
fn minting(number: u64) -> Vec<u8> {
    let body = json!({"items": [item("PHONE", &number.to_string())]}).to_string();
    request("POST", "/api/v1/tokenize", body.as_bytes())
}

/// The answer to a client, and whether the value was new.
struct Minted {
    token: String,
    created: bool,
    /// Whether the request was sent again over another connection.
    again: bool,
}

fn minted(response: &Response, again: bool) -> Minted {
    let result = response.results(1).remove(0);
    let token = result["token"].as_str().unwrap_or_else(|| panic!("no token: {result}"));
    Minted { token: token.to_owned(), created: result["created"] == true, again }
}

/// Sends each request over a new connection, and none twice.
fn each_by_itself(path: &Path, number: u64) -> Minted {
    let mut client = Client::connect(path).expect("no connection is refused");
    client.send_raw(&minting(number)).expect("the daemon takes a whole request");
    minted(&client.receive(), false)
}

/// Keeps its connection as long as possible, and sends a request again over another one if the connection ended
/// without an answer (RFC 9110 section 9.2.2).
fn kept(path: &Path, connection: &mut Option<Client>, number: u64) -> Minted {
    for again in [false, true] {
        let mut client = connection.take().unwrap_or_else(|| Client::connect(path).expect("no connection is refused"));
        match client.send_raw(&minting(number)) {
            Ok(()) => {}
            Err(ended) if matches!(ended.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => continue,
            Err(failed) => panic!("{failed}"),
        }
        let Some(response) = client.receive_if_whole() else { continue };
        if !response.close {
            *connection = Some(client);
        }
        return minted(&response, again);
    }
    panic!("two connections ended without an answer");
}

/// Runs clients in a loop while `change` replaces the daemon [`ROUNDS`] times. If `some_send_once`, every other
/// client sends no request twice.
fn under_load(path: &Path, some_send_once: bool, mut change: impl FnMut()) -> Vec<Minted> {
    let done = AtomicBool::new(false);
    let (answered, answers): (Sender<()>, Receiver<()>) = channel();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..2 * CLIENTS)
            .map(|client| {
                let (done, answered) = (&done, answered.clone());
                scope.spawn(move || {
                    let (mut connection, mut all) = (None, Vec::new());
                    while !done.load(Ordering::Relaxed) {
                        let number = client * 1_000_000 + all.len() as u64;
                        all.push(if some_send_once && client % 2 == 0 {
                            each_by_itself(path, number)
                        } else {
                            kept(path, &mut connection, number)
                        });
                        answered.send(()).expect("the receiver counts");
                    }
                    all
                })
            })
            .collect();
        for _ in 0..ROUNDS {
            for _ in 0..ANSWERS {
                answers.recv_timeout(LIMIT).expect("the clients are answered");
            }
            change();
        }
        for _ in 0..ANSWERS {
            answers.recv_timeout(LIMIT).expect("the last daemon answers too");
        }
        done.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("no client failed")).collect()
    })
}

fn records(daemon: &Daemon) -> Value {
    daemon.client().get("/api/v1/vault/stats").ok()["records"].clone()
}

#[test]
fn a_restart_fails_and_repeats_no_request() {
    let (site, listener, path) = activated();
    let mut daemon = Some(start(&site, &listener));
    let all = under_load(&path, true, || {
        daemon.take().expect("one serves").stop();
        daemon = Some(start(&site, &listener));
    });
    let daemon = daemon.expect("one serves");
    let tokens: HashSet<&str> = all.iter().map(|minted| &*minted.token).collect();
    assert_eq!(tokens.len(), all.len(), "each value has a token");
    // A repeated request was not received the first time, so its value is new.
    assert!(all.iter().all(|minted| minted.created), "a request was done twice");
    assert_eq!(records(&daemon), all.len());
    println!("{} requests, {} of them sent again", all.len(), all.iter().filter(|minted| minted.again).count());
    daemon.stop();
}

#[test]
fn a_kill_refuses_no_connection() {
    let (site, listener, path) = activated();
    let mut daemon = Some(start(&site, &listener));
    let all = under_load(&path, false, || {
        daemon.take().expect("one serves").kill();
        // No daemon accepts now: the connection waits for the next one.
        let mut early = Client::connect(&path).expect("no connection is refused");
        early.send("GET", "/health", b"");
        daemon = Some(start(&site, &listener));
        early.receive().ok();
    });
    let daemon = daemon.expect("one serves");
    let tokens: HashSet<&str> = all.iter().map(|minted| &*minted.token).collect();
    assert_eq!(tokens.len(), all.len(), "each value has a token");
    assert!(all.iter().all(|minted| minted.created || minted.again), "what was new was there");
    assert_eq!(records(&daemon), all.len(), "each value has one record, however often it was sent");
    daemon.stop();
}

#[test]
fn accepted_connections_are_served_at_the_end() {
    let (site, listener, path) = activated();
    let daemon = start(&site, &listener);
    let mut fresh = Client::connect(&path).unwrap();
    let mut idle = Client::connect(&path).unwrap();
    // Connections are accepted in order, so after this answer both are accepted.
    idle.get("/health").ok();
    let since = daemon.terminate();

    // Either daemon may accept this one.
    let mut late = Client::connect(&path).unwrap();
    late.send("GET", "/health", b"");
    let response = fresh.get("/health");
    response.ok();
    assert!(response.close, "there will be no other answer on this connection");
    fresh.expect_end();
    idle.expect_end();
    let refused = idle.send_raw(&request("GET", "/health", b"")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::BrokenPipe, "a late request is known to be unprocessed");
    daemon.stopped(since);

    let daemon = start(&site, &listener);
    late.receive().ok();
    daemon.stop();
}

#[test]
fn connections_that_the_kernel_accepted_are_answered() {
    const IDLE: usize = 500;
    let (site, listener, path) = activated();
    let daemon = start(&site, &listener);
    let mut clients: Vec<Client> = (0..IDLE).map(|_| Client::connect(&path).unwrap()).collect();
    for client in &mut clients {
        client.get("/health").ok();
    }
    let since = daemon.terminate();
    // The connections end within this time, while the client sends requests one after the other: before, during, and
    // after.
    let (mut heard, mut refused) = (Vec::new(), 0);
    for (place, mut client) in clients.into_iter().enumerate() {
        let turn = Duration::from_millis(100) + Duration::from_micros(600) * u32::try_from(place).unwrap();
        while since.elapsed() < turn {
            std::hint::spin_loop();
        }
        match client.send_raw(&request("GET", "/health", b"")) {
            Ok(()) => heard.push(client),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                refused += 1;
            }
        }
    }
    println!("{} were heard, {refused} were refused", heard.len());
    for mut client in heard {
        assert!(client.receive().close, "there will be no other answer on this connection");
    }
    daemon.stopped(since);
}

#[test]
fn systemd_starts_the_daemon_for_the_first_client() {
    let site = Site::new();
    site.write();
    let path = site.path("activated.sock");
    let mut command = Command::new("systemd-socket-activate");
    command.arg(format!("--listen={}", path.display()));
    for kid in ["K_CARE", "K_PAY"] {
        let key = TestKey::named(kid).base64();
        fs::write(site.path(kid), key).unwrap();
        command.arg(format!("--setenv=MASKER_KEY_{kid}_FILE={}", site.path(kid).display()));
    }
    command.args([env!("CARGO_BIN_EXE_masker"), "serve", "--config"]).arg(site.path("masker.toml"));
    let mut process = match command.current_dir("/").stderr(Stdio::piped()).spawn() {
        Ok(process) => process,
        Err(missing) => {
            assert!(std::env::var_os("CI").is_none(), "systemd-socket-activate does not run: {missing}");
            eprintln!("skipped: systemd-socket-activate does not run here ({missing}); `make deps` installs it");
            return;
        }
    };
    let mut log = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("Listening on"), "{line}");

    let mut client = Client::connect(&path).unwrap();
    let token = client.token("PHONE", "415-555-2671");
    assert_eq!(client.value(&token), "415-555-2671");
    assert!(!site.socket().exists(), "the configured socket is not created");
    // It has become the daemon, under the same process id.
    kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGTERM).unwrap();
    client.expect_end();
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(process.wait().unwrap().success(), "{rest}");
}
