//! Sessions over HTTP and by the command line: their counts, their owners, and what survives a crash.

use std::{collections::BTreeSet, fs, process::Command, thread, time::Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{
    api_keys::create,
    harness::{Client, Daemon, LIMIT, Launch, OpenDaemon, Site, TestKey, error_code, events_of, is_root, item},
};

const SESSIONS: &str = "/api/v1/sessions";
/// The first of the uids for clients. No user of this host has them.
const USERS: u32 = 62_000;

fn open(client: &mut Client, label: &str) -> String {
    let response = client.post(SESSIONS, &json!({ "label": label }));
    assert_eq!(response.status, 201);
    let session = response.json();
    assert_eq!((&session["status"], &session["label"], &session["minted"]), (&json!("open"), &json!(label), &json!(0)));
    session["id"].as_str().unwrap().to_owned()
}

fn show(client: &mut Client, id: &str) -> Value {
    client.get(&format!("{SESSIONS}/{id}")).ok()
}

/// Returns the sums of the counts of all kinds.
fn counts(session: &Value) -> [u64; 4] {
    ["minted", "rehydrated", "not_rehydrated", "others_rehydrated"].map(|name| session[name].as_u64().unwrap())
}

/// Returns the ids of a list, and the cursor if there are more.
fn list(client: &mut Client, query: &str) -> (Vec<String>, Option<String>) {
    let page = client.get(&format!("{SESSIONS}?{query}")).ok();
    let ids = page["sessions"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    (ids, page["next_cursor"].as_str().map(str::to_owned))
}

fn launch(site: &Site, generation: u32) -> Launch<'_> {
    let (care, pay) =
        (|age: u32| TestKey::named(&format!("care {age}")), |age: u32| TestKey::named(&format!("pay {age}")));
    let launch = site.launch().key("K_CARE", &care(generation)).key("K_PAY", &pay(generation));
    match generation {
        1 => launch,
        _ => launch.old_key("K_CARE", &care(generation - 1)).old_key("K_PAY", &pay(generation - 1)),
    }
}

#[test]
fn a_session_counts_its_own_operations() {
    let site = Site::new();
    let daemon = launch(&site, 1).start();
    let mut client = daemon.client();
    let id = open(&mut client, "night run");
    let mut inside = daemon.client().within(&id);
    let (phone, name) = (inside.token("PHONE", "415-555-2671"), inside.token("NAME", "Ada"));
    let card = inside.token("CARD", "4111");
    inside.tokenize(&[item("NOTE", "redacted"), item("CITY", "Bern"), item("NOSUCH", "x"), item("NAME", "Ada")]);
    let outside = client.token("PHONE", "415-555-0000");
    inside.rehydrate(&[phone.as_str(), &outside, &outside, "rubbish"]);
    client.rehydrate(&[name.as_str()]);
    // Other requests do not count in a session.
    inside.ask_tokens("/api/v1/rewrap", &[card.as_str()]);

    let session = show(&mut client, &id);
    assert_eq!(counts(&session), [3, 1, 2, 2], "{session}");
    let kinds: Vec<(&str, &Value)> = session["kinds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| (kind["kind"].as_str().unwrap(), &kind["minted"]))
        .collect();
    assert_eq!(kinds, [("CARD", &json!(1)), ("NAME", &json!(1)), ("PHONE", &json!(1))]);
    assert_eq!(session["opened_by"]["name"], "trusted");
    let needs = |session: &Value| -> BTreeSet<String> {
        let needs = session["needs"].as_array().unwrap().iter();
        needs
            .map(|need| format!("{} {} {}", need["kid"], need["fingerprint"], need["tokens"]).replace('"', ""))
            .collect()
    };
    let (care, pay) = (TestKey::named("care 1").fingerprint("K_CARE"), TestKey::named("pay 1").fingerprint("K_PAY"));
    let needed: BTreeSet<String> = [format!("K_CARE {care} 2"), format!("K_PAY {pay} 1")].into();
    assert_eq!(needs(&session), needed);

    let closed = client.exchange("DELETE", &format!("{SESSIONS}/{id}"), b"").ok();
    assert_eq!((counts(&closed), needs(&closed), &closed["status"]), ([3, 1, 2, 2], needed, &json!("closed")));
    let again = client.exchange("DELETE", &format!("{SESSIONS}/{id}"), b"").ok();
    assert_eq!(again, closed, "closed once is closed");
    let body = json!({"items": [item("PHONE", "415-555-1111")]});
    inside.post("/api/v1/tokenize", &body).problem(404, "session.not_found");
    let found = client.ask_items("/api/v1/lookup", &[item("PHONE", "415-555-1111")]);
    assert_eq!(found, [json!({"tokens": [], "exact": false})], "nothing was minted in a session that is not there");
    daemon.stop();
}

#[test]
fn rejects_requests_with_foreign_sessions() {
    if !is_root("being several users") {
        return;
    }
    let mut site = Site::new();
    site.client(&format!("name = \"app\"\nuid = {USERS}\nscopes = [\"tokenize\", \"rehydrate:PHONE\"]"));
    site.client(&format!("name = \"other\"\nuid = {}\nscopes = [\"tokenize\", \"rehydrate\"]", USERS + 1));
    site.client(&format!("name = \"auditor\"\nuid = {}\nscopes = [\"sessions:read\"]", USERS + 2));
    site.client(&format!("name = \"operator\"\nuid = {}\nscopes = [\"vault:admin\"]", USERS + 3));
    let daemon = OpenDaemon::start(&site);
    let [mut app, mut other, mut auditor, mut operator] = [0, 1, 2, 3].map(|place| daemon.client_of(USERS + place));
    let (own, others) = (open(&mut app, "app's"), open(&mut other, "other's"));
    let token = app.token("PHONE", "415-555-2671");

    let absent = "0".repeat(32);
    for name in [others.as_str(), &absent, "no-id", &own.to_uppercase()] {
        let mut named = daemon.client_of(USERS).within(name);
        let items = json!({"items": [item("PHONE", "415-555-1111")]});
        named.post("/api/v1/tokenize", &items).problem(404, "session.not_found");
        named.post("/api/v1/rehydrate", &json!({"tokens": [token]})).problem(404, "session.not_found");
        let detail = named.post("/api/v1/rehydrate", &json!({"tokens": [token]})).problem(404, "session.not_found");
        assert!(!detail.contains(name), "{detail}");
    }
    assert_eq!(counts(&show(&mut other, &others)), [0; 4]);
    assert_eq!(counts(&show(&mut app, &own)), [0; 4], "requests without a session count in none");
    let looked_up =
        daemon.client_of(USERS).post("/api/v1/tokenize", &json!({"items": [item("PHONE", "415-555-1111")]}));
    assert_eq!(looked_up.results(1)[0]["created"], true, "nothing was minted before");

    let path = |id: &str| format!("{SESSIONS}/{id}");
    assert_eq!(list(&mut app, "").0, [own.as_str()]);
    assert_eq!(list(&mut other, "").0, [others.as_str()]);
    // Those of one millisecond have no order.
    let all: BTreeSet<String> = list(&mut auditor, "").0.into_iter().collect();
    assert_eq!(all, BTreeSet::from([own.clone(), others.clone()]));
    app.get(&path(&others)).problem(404, "session.not_found");
    assert_eq!(show(&mut auditor, &others)["label"], "other's");
    app.exchange("DELETE", &path(&others), b"").problem(404, "session.not_found");
    auditor.exchange("DELETE", &path(&others), b"").problem(403, "perm.denied");
    auditor.post(SESSIONS, &json!({})).problem(403, "perm.denied");
    assert_eq!(show(&mut other, &others)["status"], "open");
    assert_eq!(operator.exchange("DELETE", &path(&others), b"").ok()["status"], "closed");
    assert_eq!(app.exchange("DELETE", &path(&own), b"").ok()["status"], "closed");
    daemon.stop();
}

#[test]
fn session_lists_are_paged_and_validate_their_queries() {
    let site = Site::new();
    let daemon = launch(&site, 1).start();
    let mut client = daemon.client();
    let ids: Vec<String> = (0..5).map(|number| open(&mut client, &number.to_string())).collect();
    let by_id: BTreeSet<String> = ids.iter().cloned().collect();
    let mut seen = Vec::new();
    let mut query = "limit=2".to_owned();
    loop {
        let (page, cursor) = list(&mut client, &query);
        assert!(page.len() <= 2);
        seen.extend(page);
        match cursor {
            Some(cursor) => query = format!("limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, by_id.into_iter().collect::<Vec<_>>(), "each once, in the order of ids");
    client.exchange("DELETE", &format!("{SESSIONS}/{}", ids[1]), b"").ok();
    assert_eq!(list(&mut client, "status=closed").0, [ids[1].as_str()]);
    assert_eq!(list(&mut client, "status=open").0.len(), 4);
    assert_eq!(list(&mut client, "since=2000-01-01T00%3A00%3A00Z").0.len(), 5);
    assert_eq!(list(&mut client, "since=2999-01-01T00:00:00%2B01:00").0.len(), 0);
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "status=ended",
        "since=yesterday",
        "cursor=x",
        "secret=1",
        "limit=1&limit=2",
    ] {
        let detail = client.get(&format!("{SESSIONS}?{query}")).problem(400, "request.invalid");
        assert!(!detail.contains("yesterday") && !detail.contains("secret") && !detail.contains("ended"), "{detail}");
    }
    client.get(&format!("{SESSIONS}/{}?limit=1", ids[0])).problem(400, "request.invalid");
    for label in ["l".repeat(129), "two\nlines".to_owned()] {
        client.post(SESSIONS, &json!({ "label": label })).problem(400, "request.invalid");
    }
    daemon.stop();
}

#[test]
fn sessions_survive_a_stop_and_a_kill() {
    let site = Site::new();
    let daemon = launch(&site, 1).start();
    let mut client = daemon.client();
    let id = open(&mut client, "long");
    let gone = open(&mut client, "closed before the kill");
    let token = daemon.client().within(&id).token("PHONE", "415-555-2671");
    daemon.stop();

    let daemon = launch(&site, 1).start();
    let mut inside = daemon.client().within(&id);
    assert_eq!(counts(&show(&mut inside, &id)), [1, 0, 1, 0], "an orderly stop loses no count");
    assert_eq!(inside.value(&token), "415-555-2671");
    let later = open(&mut inside, "later");
    inside.exchange("DELETE", &format!("{SESSIONS}/{gone}"), b"").ok();
    daemon.kill();

    let daemon = launch(&site, 1).start();
    let mut inside = daemon.client().within(&id);
    let session = show(&mut inside, &id);
    assert!(session["status"] == "open" && session["minted"] == 1, "{session}");
    assert_eq!(show(&mut inside, &later)["status"], "open", "what was answered is durable");
    assert_eq!(show(&mut inside, &gone)["status"], "closed");
    assert_eq!(inside.value(&token), "415-555-2671");
    assert_eq!(counts(&show(&mut inside, &id)), [1, 1, 0, 0]);
    daemon.stop();
}

#[test]
fn key_status_counts_open_sessions_of_old_keys() {
    let site = Site::new();
    let daemon = launch(&site, 1).start();
    let mut client = daemon.client();
    let id = open(&mut client, "across a rotation");
    let mut inside = daemon.client().within(&id);
    let (name, card) = (inside.token("NAME", "Ada"), inside.token("CARD", "4111"));
    daemon.stop();

    let daemon = launch(&site, 2).start();
    let mut client = daemon.client();
    let old = |client: &mut Client, kid: &str| -> Value {
        let keys = client.get("/api/v1/keys").ok();
        let mut of_kid = keys["keys"].as_array().unwrap().iter().filter(|key| key["kid"] == kid);
        of_kid.find(|key| key["generation"] == "old").unwrap().clone()
    };
    for kid in ["K_CARE", "K_PAY"] {
        let key = old(&mut client, kid);
        assert_eq!(key["open_sessions"], 1, "{key}");
        assert!(key["reason"].as_str().unwrap().contains("1 open session holds tokens that need it"), "{key}");
    }
    let rotation = client.post("/api/v1/vault/rotations", &json!({"new_kid": "K_CARE"})).json();
    let rotation = format!("/api/v1/vault/rotations/{}", rotation["id"].as_str().unwrap());
    let began = Instant::now();
    while client.get(&rotation).ok()["state"] == "running" {
        assert!(began.elapsed() < LIMIT, "it does not end");
    }
    let key = old(&mut client, "K_CARE");
    assert_eq!((&key["open_sessions"], &key["removable"]), (&json!(0), &json!(true)), "{key}");
    // A stateless token needs its key even after a rewrap, because the session still holds it.
    let rewrapped = client.ask_tokens("/api/v1/rewrap", &[card.as_str()]).remove(0);
    assert_eq!(rewrapped["changed"], true);
    assert_eq!(old(&mut client, "K_PAY")["open_sessions"], 1);
    assert_eq!(client.value(&name), "Ada");
    client.exchange("DELETE", &format!("{SESSIONS}/{id}"), b"").ok();
    assert_eq!(old(&mut client, "K_PAY")["open_sessions"], 0);
    daemon.stop();
}

#[test]
fn a_session_belongs_to_its_api_key() {
    let site = Site::new();
    let daemon = launch(&site, 1).start();
    let mut client = daemon.client();
    let [live, test] = ["live", "test"].map(|mode| {
        let request = json!({"name": mode, "mode": mode, "scopes": ["tokenize", "rehydrate"], "limits": "none"});
        let issued = client.post("/api/v1/api-keys", &request);
        assert_eq!(issued.status, 201);
        issued.json()["key"].as_str().unwrap().to_owned()
    });
    let id = open(&mut daemon.client().show(&test), "of tests");
    let token = daemon.client().show(&test).within(&id).token("PHONE", "415-555-2671");
    let body = json!({"tokens": [token]});
    for mut stranger in [daemon.client(), daemon.client().show(&live)] {
        stranger = stranger.within(&id);
        stranger.post("/api/v1/rehydrate", &body).problem(404, "session.not_found");
    }
    daemon.client().show(&live).get(&format!("{SESSIONS}/{id}")).problem(404, "session.not_found");
    assert_eq!(list(&mut daemon.client().show(&live), ""), (Vec::new(), None));
    let session = show(&mut client, &id);
    assert_eq!(counts(&session), [1, 0, 1, 0]);
    assert_eq!((&session["opened_by"]["name"], session["opened_by"]["api_key_id"].is_string()), (&json!("test"), true));
    assert_eq!(session["needs"][0]["tokens"], 1, "{session}");
    assert_eq!(session["gone"], 0, "{session}");
    daemon.stop();
}

#[test]
fn the_audit_log_names_the_session_of_a_request() {
    let site = Site::new();
    let daemon = launch(&site, 1).env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64()).start();
    let mut client = daemon.client();
    let id = open(&mut client, "a label of the application");
    let mut inside = daemon.client().within(&id);
    let token = inside.token("PHONE", "415-555-2671");
    inside.value(&token);
    client.value(&token);
    show(&mut client, &id);
    daemon
        .client()
        .within(&"ab".repeat(16))
        .post("/api/v1/rehydrate", &json!({"tokens": []}))
        .problem(404, "session.not_found");
    client.exchange("DELETE", &format!("{SESSIONS}/{id}"), b"").ok();
    daemon.stop();
    let events = site.audit_events();
    let named =
        |op: &str| events_of(&events, op).iter().map(|event| event["session"] == id.as_str()).collect::<Vec<_>>();
    assert_eq!(named("session.open"), [true]);
    assert_eq!(named("session.read"), [true]);
    assert_eq!(named("session.close"), [true]);
    assert_eq!(named("tokenize"), [true]);
    assert_eq!(named("rehydrate"), [true, false, false]);
    let text = serde_json::to_string(&events).unwrap();
    assert!(!text.contains("application's making") && !text.contains(&"ab".repeat(16)));
}

/// Runs the command line on the site's socket.
fn masker(site: &Site, words: &[&str], session: Option<&str>) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
    command.args(words).arg("--socket").arg(site.socket()).env_clear();
    if let Some(session) = session {
        command.env("MASKER_APP_SESSION", session);
    }
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_command_line_uses_the_session_of_its_environment() {
    let site = Site::new();
    let daemon = launch(&site, 1).start();
    let (code, id) = masker(&site, &["sessions", "open", "--label", "by hand"], None);
    let id = id.trim_end();
    assert_eq!((code, id.len()), (Some(0), 32));
    let (code, token) = masker(&site, &["tokenize", "--kind", "PHONE", "415-555-2671"], Some(id));
    assert_eq!(code, Some(0));
    assert_eq!(masker(&site, &["rehydrate", token.trim_end()], Some(id)), (Some(0), "415-555-2671\n".to_owned()));
    assert_eq!(masker(&site, &["rehydrate", token.trim_end()], Some("0")).0, Some(1));
    let (code, list) =
        masker(&site, &["sessions", "list", "--status", "open", "--since", "2000-01-01T00:00:00Z"], None);
    // The variable's former name is not ignored.
    let mut former = Command::new(env!("CARGO_BIN_EXE_masker"));
    former.args(["rehydrate", token.trim_end(), "--socket"]).arg(site.socket()).env_clear().env("MASKER_SESSION", id);
    let refused = former.output().unwrap();
    assert_eq!(refused.status.code(), Some(64));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("set MASKER_APP_SESSION instead"));
    let row = list.lines().nth(1).unwrap_or_default();
    assert_eq!((code, row.starts_with(id), row.ends_with("\t1\t1\t0\tby hand")), (Some(0), true, true), "{list}");
    let (_, shown) = masker(&site, &["sessions", "show", id], None);
    assert!(shown.contains("PHONE\t1 minted, 1 rehydrated, 0 not rehydrated;"), "{shown}");
    let (_, closed) = masker(&site, &["sessions", "close", id, "--json"], None);
    assert_eq!(serde_json::from_str::<Value>(&closed).unwrap()["status"], "closed");
    assert_eq!(masker(&site, &["sessions", "show", "0"], None).0, Some(1));
    let failed = daemon.client().within(id).post("/api/v1/rehydrate", &json!({"tokens": ["x"]}));
    failed.problem(404, "session.not_found");
    assert_eq!(error_code(&daemon.client().rehydrate(&["x"])[0]), "token.malformed");
    daemon.stop();
}

/// Returns the time for which the daemon has used the processor.
fn processor_time(daemon: &Daemon) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    // `utime` and `stime`: fields 14 and 15, of which the third is the first here.
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn many_requests_for_a_large_session_read_its_tokens_once() {
    const REQUESTS: u64 = 120;
    let site = Site::new();
    let daemon = launch(&site, 1).start();
    let mut client = daemon.client();
    let id = open(&mut client, "large");
    let items: Vec<Value> = (0..10_000).map(|number| item("NAME", &format!("name {number}"))).collect();
    daemon.client().within(&id).tokenize(&items);
    // The first read fills the cache.
    show(&mut client, &id);
    let before = processor_time(&daemon);
    (0..REQUESTS / 3).for_each(|_| drop(show(&mut client, &id)));
    let third = processor_time(&daemon) - before;

    // They wait for the daemon all at once.
    let mut clients: Vec<Client> = (0..REQUESTS).map(|_| daemon.client()).collect();
    clients.iter_mut().for_each(|client| drop(client.get("/health")));
    let before = processor_time(&daemon);
    daemon.signal(Signal::SIGSTOP);
    clients.iter_mut().for_each(|client| client.send("GET", &format!("{SESSIONS}/{id}"), b""));
    daemon.signal(Signal::SIGCONT);
    for client in &mut clients {
        let session = client.receive().ok();
        assert_eq!((&session["minted"], &session["needs"][0]["tokens"]), (&json!(10_000), &json!(10_000)));
    }
    let all = processor_time(&daemon) - before;
    assert!(
        all < third,
        "at once, {REQUESTS} requests took {all} ticks; a third of them, one after the other, {third}"
    );
    daemon.stop();
}

#[test]
fn a_list_looks_at_a_bounded_number_of_sessions_of_others() {
    const OTHERS: usize = 2_001;
    let site = Site::new();
    let daemon = launch(&site, 1).start();
    thread::scope(|scope| {
        for part in 0..8 {
            let mut client = daemon.client();
            scope.spawn(move || (part..OTHERS).step_by(8).for_each(|_| drop(open(&mut client, "of others"))));
        }
    });
    let key = create(&mut daemon.client(), "app", &["tokenize"], json!({}));
    let mut client = key.client(&daemon);
    let own = open(&mut client, "own");
    let (first, cursor) = list(&mut client, "");
    let cursor = cursor.expect("there is more to look at");
    assert_eq!(first, Vec::<String>::new());
    assert_eq!(list(&mut client, &format!("cursor={cursor}")), (vec![own.clone()], None));
    let mut command = Command::new(env!("CARGO_BIN_EXE_masker"));
    command.args(["sessions", "list", "--socket"]).arg(site.socket()).env_clear().env("MASKER_API_KEY", &key.key);
    let listed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(listed.lines().count() == 2 && listed.contains(&own), "{listed}");
    daemon.stop();
}
